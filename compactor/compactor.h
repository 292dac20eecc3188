/* compactor: the background threads that keep the store in shape. One makes passes: retention, delete requests,
 * orphan sweep, delayed file deletion, LMDB reader slots. The other one merges chunks (merge.h), at low priority; it stands
 * aside while a pass changes chunks, and writes the sieves of days (sieves.h) when it has merged, and each minute when
 * chunks have come. */
#pragma once

#include "deletes.h"
#include "merge.h"
#include "retention.h"
#include "sieves.h"
#include "store.h"

struct compactor;

struct compactor_options {
    int64_t interval_ns; /* Loki's compactor.compaction_interval; 0 = 10 min */
    bool merge;          /* one round per interval */
    struct merge_policy merge_policy;
    const struct delete_language *delete_language; /* NULL: no delete requests */
    int64_t delete_cancel_period_ns;
    void (*log)(int level, const char *msg, const char *pairs);
};

/* Takes a reference of the policy (NULL: nothing expires). Installs store visibility: expired entries are
 * invisible at once. The first pass runs one interval after the start. */
int compactor_start(struct store *store, struct retention_policy *policy,
                    const struct compactor_options *o, struct compactor **ret, struct err *reterr);
/* Whatever runs, in whichever thread, ends soon and nothing new begins: for the time until compactor_stop. NULL is fine. */
void compactor_interrupt(struct compactor *c);
/* NULL is fine. Takes the visibility out again: no query may be running any more, and no other thread may call
 * into the compactor. */
void compactor_stop(struct compactor *c);

void compactor_set_policy(struct compactor *c, struct retention_policy *policy);
/* Runs one whole pass now and waits for it; returns its result. -ECANCELED when the compactor is stopped. */
int compactor_run_once(struct compactor *c, struct err *reterr);

/* Other rules for merging from the next round on. */
void compactor_set_merge(struct compactor *c, bool enabled, const struct merge_policy *policy);
/* Runs one whole round of merges, and of sieves, in the calling thread, beside or after one that runs; `everything`: the
 * present day, too. Works when merging is switched off as well. */
int compactor_merge_once(struct compactor *c, bool everything, struct merge_result *ret,
                         struct err *reterr);

/* Lists what would go by the policy as it is now; see retention.h. */
int compactor_plan(struct compactor *c, int64_t within_ns, retention_item_fn *fn, void *ctx,
                   struct retention_usage *ret, struct err *reterr);
/* The delete requests; NULL without a language. Each pass processes what is due. */
struct deletes *compactor_deletes(struct compactor *c);

struct compactor_stats {
    uint64_t runs, failures;
    int64_t last_run_ns, last_duration_ns;
    struct retention_result totals;
    struct deletes_result deletes;
    uint64_t merge_rounds, merge_failures; /* rounds that ended with an error */
    int64_t last_merge_ns, last_merge_duration_ns;
    struct merge_result merges;  /* grows while a round runs */
    struct sieves_result sieves; /* file_bytes: after the last round */
};
void compactor_get_stats(struct compactor *c, struct compactor_stats *ret);
