/* valuebag: the values of one series in one cell, for quantiles, which cannot be put together from sums. Equal values
 * are kept once with a count: durations and sizes repeat, so memory grows with distinct values, not with lines. One
 * thread per bag. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct valuebag {
    /* Values as keys that sort as Prometheus sorts floats: NaN first. The first n_sorted are distinct, ascending and
     * counted; behind them are single ones as they came. */
    uint64_t *keys;
    uint32_t *counts; /* of the first n_sorted; as large as keys */
    uint32_t n, n_sorted, capacity;
};

void valuebag_done(struct valuebag *b);

/* -ENOMEM, -E2BIG (more than 2^28 distinct values). `ret_grown`: bytes that its memory grew by, 0 mostly. */
int valuebag_add(struct valuebag *b, double value, size_t *ret_grown);

/* Adds all of `other`, which stays. */
int valuebag_merge(struct valuebag *b, const struct valuebag *other, size_t *ret_grown);

/* The q-quantile as Prometheus interpolates it; NaN of an empty bag or q, infinities outside [0, 1]. Sorts. -ENOMEM. */
int valuebag_quantile(struct valuebag *b, double q, double *ret);
