/* retention: which entries have expired, and their removal.
 *
 * A policy is immutable: period of a tenant's default, and selectors with periods and priorities (Loki's
 * retention_stream: the matching rule of highest priority wins, at equal priority the shorter period). It
 * is swapped whole on reload. Selectors are matcher lists compiled by the server (regex needs query's RE2). */
#pragma once

#include <stdint.h>

#include "matcher.h"
#include "store.h"

struct retention_rule {
    struct str tenant; /* empty = every tenant that has no rules of its own */
    const struct matcher *matchers;
    size_t n_matchers;
    int priority;
    int64_t period_ns;  /* 0 = keep for ever; -1 = says nothing about the period */
    uint64_t max_bytes; /* of the chunk files of all matching streams together; 0 = no limit */
};

/* Rules with max_bytes in one policy. */
enum { RETENTION_BUDGET_RULES_MAX = 64 };

/* What all may take; 0 = no limit. */
struct retention_budgets {
    uint64_t store_bytes;     /* chunk files of the store */
    uint64_t tenant_bytes;    /* of each tenant */
    uint64_t keep_free_bytes; /* of the disk */
};

/* Why something goes. */
enum retention_cause {
    RETENTION_STAYS,
    RETENTION_PERIOD,
    RETENTION_RULE_BYTES,
    RETENTION_TENANT_BYTES,
    RETENTION_STORE_BYTES,
    RETENTION_KEEP_FREE,
};
const char *retention_cause_text(enum retention_cause cause);

struct retention_policy; /* reference counted */

/* Copies nothing: `owner` is handed to `release` when the policy's last user lets go. */
struct retention_policy *retention_policy_new(int64_t default_period_ns,
                                              const struct retention_rule *rules, size_t n_rules,
                                              void *owner, void (*release)(void *owner));
/* Before others see the policy. */
void retention_policy_set_budgets(struct retention_policy *p, const struct retention_budgets *b);
struct retention_policy *retention_policy_ref(struct retention_policy *p);
void retention_policy_unref(struct retention_policy *p);

/* Period of a stream; 0 = keep for ever. */
int64_t retention_period(const struct retention_policy *p, struct str tenant, struct labels labels);

struct retention_result {
    uint64_t chunks, bytes, entries, streams, orphans;
    uint64_t budget_chunks, budget_bytes; /* of these, those that went for space */
};
/* One pass over all tenants at time `now_ns`: chunks whose last entry has expired lose their index row and then
 * their file; streams left without chunks and without activity lose theirs. Entries expired inside a living
 * chunk stay on disk until the chunk expires, invisible. Then what exceeds a budget goes, the oldest chunks first
 * (budget.h). Batches index transactions. */
int retention_run(struct store *store, const struct retention_policy *p, int64_t now_ns,
                  struct retention_result *ret, struct err *reterr);

/* What would go: per stream, day and cause. */
struct retention_item {
    struct str tenant;
    struct labels labels;
    uint64_t stream_id;
    int32_t day;
    enum retention_cause cause;
    uint64_t chunks, bytes, entries;
    int64_t at_ns; /* when the last of them is due; the next pass removes them */
};
struct retention_usage {
    uint64_t chunks, bytes;             /* of the store */
    uint64_t going_chunks, going_bytes; /* of these, what would go */
    uint64_t disk_free_bytes;
};
/* Lists what has gone by `now_ns` + `within_ns` if nothing new comes; changes nothing. fn non-zero stops and is
 * returned. `p` may be NULL: nothing goes. */
typedef int retention_item_fn(const struct retention_item *item, void *ctx);
int retention_plan(struct store *store, const struct retention_policy *p, int64_t now_ns,
                   int64_t within_ns, retention_item_fn *fn, void *ctx, struct retention_usage *ret,
                   struct err *reterr);
