/* compactor: the background thread that keeps the store in shape: retention, orphan sweep, delayed file deletion,
 * LMDB reader slots. */
#pragma once

#include "retention.h"
#include "store.h"

struct compactor;

struct compactor_options {
    int64_t interval_ns; /* Loki's compactor.compaction_interval; 0 = 10 min */
    void (*log)(int level, const char *msg, const char *pairs);
};

/* Takes a reference of the policy (NULL: nothing expires). Installs store visibility: expired entries are
 * invisible at once. The first pass runs one interval after the start. */
int compactor_start(struct store *store, struct retention_policy *policy,
                    const struct compactor_options *o, struct compactor **ret, struct err *reterr);
/* NULL is fine. Takes the visibility out again: no query may be running any more, and no other thread may call
 * into the compactor. */
void compactor_stop(struct compactor *c);

void compactor_set_policy(struct compactor *c, struct retention_policy *policy);
/* Runs one whole pass now and waits for it; returns its result. -ECANCELED when the compactor is stopped. */
int compactor_run_once(struct compactor *c, struct err *reterr);

struct compactor_stats {
    uint64_t runs, failures;
    int64_t last_run_ns, last_duration_ns;
    struct retention_result totals;
};
void compactor_get_stats(struct compactor *c, struct compactor_stats *ret);
