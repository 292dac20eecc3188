/* New keys gather behind the sorted ones. When the arrays are full the new keys are sorted (radix, 8 bits at a time,
 * digits that all keys share are skipped) and merged into the sorted part; only when that leaves less than half of the
 * room free do the arrays grow, so each key is moved a bounded number of times on average. */
#include "valuebag.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 32, CAPACITY_MAX = 1 << 28, RADIX_FROM = 128 };

void valuebag_done(struct valuebag *b) {
    free(b->keys);
    free(b->counts);
    *b = (struct valuebag){0};
}

static const uint64_t sign = UINT64_C(1) << 63;

static uint64_t key_of(double value) {
    if (isnan(value))
        return 0;
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits & sign ? ~bits : bits | sign;
}

static double value_of(uint64_t key) {
    if (key == 0)
        return NAN;
    uint64_t bits = key & sign ? key & ~sign : ~key;
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* ---- sorting */

static void insertion_sort(uint64_t *keys, uint32_t n) {
    for (uint32_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        uint32_t k = i;
        for (; k > 0 && keys[k - 1] > key; k--)
            keys[k] = keys[k - 1];
        keys[k] = key;
    }
}

static int compare_keys(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* `spare` has room for n keys. */
static void radix_sort(uint64_t *keys, uint32_t n, uint64_t *spare) {
    uint64_t *from = keys, *to = spare;
    uint64_t all_and = UINT64_MAX, all_or = 0;
    for (uint32_t i = 0; i < n; i++) {
        all_and &= keys[i];
        all_or |= keys[i];
    }
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (((all_and ^ all_or) >> shift & 0xff) == 0)
            continue;
        uint32_t starts[256] = {0}, at = 0;
        for (uint32_t i = 0; i < n; i++)
            starts[from[i] >> shift & 0xff]++;
        for (unsigned d = 0; d < 256; d++) {
            uint32_t count = starts[d];
            starts[d] = at;
            at += count;
        }
        for (uint32_t i = 0; i < n; i++)
            to[starts[from[i] >> shift & 0xff]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, n * sizeof(*keys));
}

static void sort_keys(uint64_t *keys, uint32_t n) {
    if (n < RADIX_FROM) {
        insertion_sort(keys, n);
        return;
    }
    uint64_t *spare = malloc(n * sizeof(*spare));
    if (spare)
        radix_sort(keys, n, spare);
    else
        qsort(keys, n, sizeof(*keys), compare_keys); /* slower, needs nothing */
    free(spare);
}

/* ---- room */

static int resize(struct valuebag *b, uint32_t capacity, size_t *ret_grown) {
    if (capacity > CAPACITY_MAX)
        return -E2BIG;
    uint64_t *keys = realloc(b->keys, capacity * sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    b->keys = keys;
    uint32_t *counts = realloc(b->counts, capacity * sizeof(*counts));
    if (!counts)
        return -ENOMEM;
    b->counts = counts;
    *ret_grown += (capacity - b->capacity) * (sizeof(*keys) + sizeof(*counts));
    b->capacity = capacity;
    return 0;
}

/* One more of the largest key so far, or a new one. */
static void put(uint64_t *keys, uint32_t *counts, uint32_t *n, uint64_t key, uint32_t count) {
    if (*n > 0 && keys[*n - 1] == key && counts[*n - 1] <= UINT32_MAX - count) {
        counts[*n - 1] += count;
        return;
    }
    keys[*n] = key;
    counts[(*n)++] = count;
}

/* Two sorted and counted runs into one; `to` has room for both. */
static uint32_t merge_runs(const uint64_t *a_keys, const uint32_t *a_counts, uint32_t n_a,
                           const uint64_t *b_keys, const uint32_t *b_counts, uint32_t n_b,
                           uint64_t *to_keys, uint32_t *to_counts) {
    uint32_t n = 0, i = 0, k = 0;
    while (i < n_a || k < n_b) {
        bool from_a = k == n_b || (i < n_a && a_keys[i] <= b_keys[k]);
        if (from_a) {
            put(to_keys, to_counts, &n, a_keys[i], a_counts[i]);
            i++;
        } else {
            put(to_keys, to_counts, &n, b_keys[k], b_counts ? b_counts[k] : 1);
            k++;
        }
    }
    return n;
}

/* Sorts what has come and merges it in. */
static int settle(struct valuebag *b) {
    uint32_t fresh = b->n - b->n_sorted;
    if (fresh == 0)
        return 0;
    sort_keys(b->keys + b->n_sorted, fresh);
    if (b->n_sorted == 0) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < fresh; i++)
            put(b->keys, b->counts, &n, b->keys[i], 1); /* never ahead of what it reads */
        b->n = b->n_sorted = n;
        return 0;
    }
    uint64_t *keys = malloc(b->n * sizeof(*keys));
    uint32_t *counts = malloc(b->n * sizeof(*counts));
    if (!keys || !counts) {
        free(keys);
        free(counts);
        return -ENOMEM;
    }
    uint32_t n = merge_runs(b->keys, b->counts, b->n_sorted, b->keys + b->n_sorted, NULL, fresh,
                            keys, counts);
    memcpy(b->keys, keys, n * sizeof(*keys));
    memcpy(b->counts, counts, n * sizeof(*counts));
    free(keys);
    free(counts);
    b->n = b->n_sorted = n;
    return 0;
}

static int make_room(struct valuebag *b, size_t *ret_grown) {
    if (b->capacity == 0)
        return resize(b, FIRST_CAPACITY, ret_grown);
    int r = settle(b);
    if (r == 0 && b->n > b->capacity / 2)
        r = resize(b, b->capacity * 2, ret_grown);
    return r;
}

int valuebag_add(struct valuebag *b, double value, size_t *ret_grown) {
    *ret_grown = 0;
    if (b->n == b->capacity) {
        int r = make_room(b, ret_grown);
        if (r < 0)
            return r;
    }
    b->keys[b->n++] = key_of(value);
    return 0;
}

int valuebag_merge(struct valuebag *b, const struct valuebag *other, size_t *ret_grown) {
    *ret_grown = 0;
    int r = settle(b);
    if (r < 0)
        return r;
    struct valuebag sum = {0};
    if (b->n > CAPACITY_MAX - other->n)
        return -E2BIG;
    r = b->n + other->n > 0 ? resize(&sum, b->n + other->n, ret_grown) : 0;
    if (r == 0 && sum.capacity > 0)
        sum.n = merge_runs(b->keys, b->counts, b->n, other->keys, other->counts, other->n_sorted,
                           sum.keys, sum.counts);
    if (r < 0) {
        valuebag_done(&sum);
        return r;
    }
    sum.n_sorted = sum.n;
    uint32_t fresh = other->n - other->n_sorted;
    assert(fresh <= sum.capacity - sum.n);
    if (fresh > 0)
        memcpy(sum.keys + sum.n, other->keys + other->n_sorted, fresh * sizeof(*sum.keys));
    sum.n += fresh;
    valuebag_done(b);
    *b = sum;
    return 0;
}

static double nth(const struct valuebag *b, uint64_t rank) {
    uint64_t before = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        before += b->counts[i];
        if (rank < before)
            return value_of(b->keys[i]);
    }
    return NAN;
}

int valuebag_quantile(struct valuebag *b, double q, double *ret) {
    int r = settle(b);
    if (r < 0)
        return r;
    *ret = NAN;
    if (isnan(q) || b->n == 0)
        return 0;
    if (q < 0 || q > 1) {
        *ret = q < 0 ? -INFINITY : INFINITY;
        return 0;
    }
    uint64_t count = 0;
    for (uint32_t i = 0; i < b->n; i++)
        count += b->counts[i];
    double rank = q * (double)(count - 1);
    uint64_t lower = (uint64_t)floor(rank);
    uint64_t upper = lower + 1 < count ? lower + 1 : count - 1;
    double weight = rank - floor(rank);
    *ret = nth(b, lower) * (1 - weight) + nth(b, upper) * weight;
    return 0;
}
