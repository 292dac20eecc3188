/* distinct: a set of 64-bit hashes, to count distinct values without keeping them. Two values
 * with the same hash count as one: among the DISTINCT_MAX that fit, that is less likely than one
 * in a million. One thread at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    DISTINCT_MAX = 1 << 22, /* 64 MiB of table; what comes later is not counted */
};

struct distinct {
    uint64_t *slots; /* 0 = free */
    size_t capacity; /* power of two */
    size_t count;
};

static inline struct distinct distinct_make(void) {
    return (struct distinct){0};
}
void distinct_done(struct distinct *d);

/* 1 when the hash is new, 0 when it is there already or the set is full, -ENOMEM. */
int distinct_add(struct distinct *d, uint64_t hash);
