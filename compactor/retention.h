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
    int64_t period_ns; /* 0 = keep for ever */
};

struct retention_policy; /* reference counted */

/* Copies nothing: `owner` is handed to `release` when the policy's last user lets go. */
struct retention_policy *retention_policy_new(int64_t default_period_ns,
                                              const struct retention_rule *rules, size_t n_rules,
                                              void *owner, void (*release)(void *owner));
struct retention_policy *retention_policy_ref(struct retention_policy *p);
void retention_policy_unref(struct retention_policy *p);

/* Period of a stream; 0 = keep for ever. */
int64_t retention_period(const struct retention_policy *p, struct str tenant, struct labels labels);

struct retention_result {
    uint64_t chunks, bytes, entries, streams, orphans;
};
/* One pass over all tenants at time `now_ns`: chunks whose last entry has expired lose their index row and then
 * their file; streams left without chunks and without activity lose theirs. Entries expired inside a living
 * chunk stay on disk until the chunk expires, invisible. Batches index transactions. */
int retention_run(struct store *store, const struct retention_policy *p, int64_t now_ns,
                  struct retention_result *ret, struct err *reterr);
