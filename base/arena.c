#include "arena.h"

#include <assert.h>
#include <stdlib.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* usable bytes behind this header */
};

enum { CHUNK_FIRST = 4096, CHUNK_LARGEST = 1 << 20, HEADER = 16 };

static_assert(sizeof(struct arena_chunk) <= HEADER, "objects start 16-aligned behind the header");

static void chunk_free(const struct arena *a, struct arena_chunk *c) {
    budget_give(a->account, HEADER + c->size);
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
    *a = (struct arena){
        .max_bytes = a->max_bytes, .account = a->account, .first_bytes = a->first_bytes};
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

void *arena_alloc_slow(struct arena *a, size_t size) {
    if (size > SIZE_MAX / 4)
        return NULL;
    size_t rounded = size == 0 ? 16 : (size + 15) & ~(size_t)15;
    if (rounded <= (size_t)(a->end - a->at) && a->at) {
        void *p = a->at;
        a->at += rounded;
        return p;
    }
    size_t first = a->first_bytes ? a->first_bytes : CHUNK_FIRST;
    size_t wanted = a->head ? a->head->size * 2 : first;
    if (wanted > CHUNK_LARGEST)
        wanted = CHUNK_LARGEST;
    if (wanted < rounded)
        wanted = rounded;
    /* The last chunk may be smaller than wanted, so that all of the maximum can be used. */
    size_t left = a->max_bytes - a->total_bytes;
    if (wanted > left)
        wanted = left & ~(size_t)15;
    if (wanted < rounded)
        return NULL;
    if (!budget_take(a->account, HEADER + wanted))
        return NULL;
    struct arena_chunk *c = malloc(HEADER + wanted);
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
