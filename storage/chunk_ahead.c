#include "chunk_ahead.h"

#include <assert.h>

#include "io.h"

enum { SLOTS = AHEAD_BEGUN + AHEAD_OPENED };

static void begin(struct chunk_ahead *a, size_t i) {
    struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
    a->slots[i % SLOTS].fd = chunk_cache_begin(a->cache, &id, &a->slots[i % SLOTS].cached);
}

/* What cannot be opened is tried again, and its error told, when it is used. */
static void open_begun(struct chunk_ahead *a, size_t i) {
    struct cached_chunk **cached = &a->slots[i % SLOTS].cached;
    struct err ignored;
    struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
    if (!*cached && a->slots[i % SLOTS].fd >= 0)
        (void)chunk_cache_get_begun(a->cache, &id, a->slots[i % SLOTS].fd, cached, &ignored);
    a->slots[i % SLOTS].fd = -1;
    if (*cached && a->grams)
        filters_expect(chunk_filters(cached_chunk_get(*cached)), a->grams);
}

int chunk_ahead_next(struct chunk_ahead *a, struct cached_chunk **ret, struct err *reterr) {
    assert(a->used < a->n);
    for (; a->begun < a->n && a->begun < a->used + SLOTS; a->begun++)
        begin(a, a->begun);
    for (; a->opened < a->begun && a->opened <= a->used + AHEAD_OPENED; a->opened++)
        open_begun(a, a->opened);
    size_t i = a->used++;
    struct cached_chunk *cached = a->slots[i % SLOTS].cached;
    a->slots[i % SLOTS].cached = NULL;
    if (!cached) {
        struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
        return chunk_cache_get(a->cache, &id, ret, reterr);
    }
    *ret = cached;
    return 0;
}

void chunk_ahead_done(struct chunk_ahead *a) {
    for (size_t i = a->used; i < a->begun; i++) {
        chunk_cache_put(a->cache, a->slots[i % SLOTS].cached);
        if (a->slots[i % SLOTS].fd >= 0)
            io_close(a->slots[i % SLOTS].fd);
    }
}
