#include "arena.h"

#include <assert.h>
#include <stdlib.h>

#include "slab.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* usable bytes behind this header */
};

enum {
    CHUNK_FIRST = 4096,
    CHUNK_LARGEST = 1 << 20,
    HEADER = 16,
    SLAB_CHUNK = 16 << 10, /* all chunks of a slab but those for larger objects */
};

static_assert(sizeof(struct arena_chunk) <= HEADER, "objects start 16-aligned behind the header");

static void chunk_free(const struct arena *a, struct arena_chunk *c) {
    budget_give(a->account, HEADER + c->size);
    if (a->slab && HEADER + c->size <= SLAB_RUN_MAX)
        slab_give(a->slab, c, HEADER + c->size);
    else
        free(c);
}

void arena_done(struct arena *a) {
    if (!a)
        return;
    struct arena_chunk *c = a->head;
    while (c) {
        struct arena_chunk *next = c->next;
        chunk_free(a, c);
        c = next;
    }
    *a = (struct arena){.max_bytes = a->max_bytes,
                        .account = a->account,
                        .first_bytes = a->first_bytes,
                        .slab = a->slab};
}

void arena_reset(struct arena *a) {
    struct arena_chunk *keep = a->head;
    if (!keep)
        return;
    struct arena_chunk *c = keep->next;
    while (c) {
        struct arena_chunk *next = c->next;
        chunk_free(a, c);
        c = next;
    }
    keep->next = NULL;
    a->at = (char *)keep + HEADER;
    a->end = a->at + keep->size;
    a->total_bytes = keep->size;
}

/* Bytes behind the header of the next chunk. */
static size_t chunk_size(const struct arena *a, size_t needed) {
    if (a->slab) {
        size_t chunk = HEADER + needed < SLAB_CHUNK ? SLAB_CHUNK : HEADER + needed;
        return (chunk + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT - HEADER;
    }
    size_t first = a->first_bytes ? a->first_bytes : CHUNK_FIRST;
    size_t size = a->head ? a->head->size * 2 : first;
    if (size > CHUNK_LARGEST)
        size = CHUNK_LARGEST;
    return size < needed ? needed : size;
}

void *arena_alloc_slow(struct arena *a, size_t size) {
    if (size > SIZE_MAX / 4)
        return NULL;
    size_t rounded = size == 0 ? 16 : (size + 15) & ~(size_t)15;
    if (rounded <= (size_t)(a->end - a->at) && a->at) {
        void *p = a->at;
        a->at += rounded;
        return p;
    }
    size_t wanted = chunk_size(a, rounded);
    /* The last chunk may be smaller than wanted, so that all of the maximum can be used. */
    size_t left = a->max_bytes - a->total_bytes;
    if (wanted > left && !a->slab)
        wanted = left & ~(size_t)15;
    if (wanted < rounded || wanted > left)
        return NULL;
    if (!budget_take(a->account, HEADER + wanted))
        return NULL;
    bool in_slab = a->slab && HEADER + wanted <= SLAB_RUN_MAX;
    struct arena_chunk *c = in_slab ? slab_take(a->slab, HEADER + wanted) : malloc(HEADER + wanted);
    if (!c) {
        budget_give(a->account, HEADER + wanted);
        return NULL;
    }
    c->next = a->head;
    c->size = wanted;
    a->head = c;
    a->total_bytes += wanted;
    a->at = (char *)c + HEADER + rounded;
    a->end = (char *)c + HEADER + wanted;
    return (char *)c + HEADER;
}

void *arena_array(struct arena *a, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *p = arena_alloc(a, total);
    if (p)
        memset(p, 0, total);
    return p;
}

struct str arena_copy(struct arena *a, struct str s) {
    char *p = arena_alloc(a, s.size);
    if (!p)
        return (struct str){0};
    if (s.size > 0)
        memcpy(p, s.data, s.size);
    return str_make(p, s.size);
}
