/* arena: memory of one request. Everything allocated dies with arena_done() or arena_reset(); single
 * objects are never freed. Grows in chunks up to a maximum given at creation. One thread at a time. */
#pragma once

#include <stddef.h>

#include "budget.h"
#include "str.h"

struct arena_chunk;
struct slab;

struct arena {
    struct arena_chunk *head; /* the chunk being filled */
    char *at;
    char *end;
    size_t total_bytes; /* of all chunks */
    size_t max_bytes;
    enum budget_kind account; /* pays for the chunks */
    uint32_t first_bytes;     /* of the first chunk; 0 = 4 KiB */
    struct slab *slab;        /* where chunks come from, all but large ones; NULL: the heap */
};

static inline struct arena arena_make(size_t max_bytes) {
    return (struct arena){.max_bytes = max_bytes};
}

/* An arena whose memory counts in the budget: it is also used up when that refuses. */
static inline struct arena arena_make_for(enum budget_kind account, size_t max_bytes) {
    return (struct arena){.max_bytes = max_bytes, .account = account};
}

/* An arena for what stays, with others like it. */
static inline struct arena arena_make_in(struct slab *slab, size_t max_bytes) {
    return (struct arena){.max_bytes = max_bytes, .slab = slab};
}

void arena_done(struct arena *a);

/* Forgets all objects, keeps one chunk for the next use. */
void arena_reset(struct arena *a);

/* NULL when memory or the maximum is used up. Aligned for any type; not zeroed. */
void *arena_alloc_slow(struct arena *a, size_t size);

static inline void *arena_alloc(struct arena *a, size_t size) {
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded >= size && rounded <= (size_t)(a->end - a->at) && rounded > 0) {
        void *p = a->at;
        a->at += rounded;
        return p;
    }
    return arena_alloc_slow(a, size);
}

/* Keeps the first `used` bytes of what was allocated last. */
static inline void arena_trim(struct arena *a, void *last, size_t used) {
    size_t rounded = (used + 15) & ~(size_t)15;
    a->at = (char *)last + (rounded > 0 ? rounded : 16);
}

/* Zeroed array of `count` objects; NULL also when count * size overflows. */
void *arena_array(struct arena *a, size_t count, size_t size);

/* A copy that lives as long as the arena; .data is NULL when memory is used up. */
struct str arena_copy(struct arena *a, struct str s);
