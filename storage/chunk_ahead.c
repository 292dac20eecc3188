#include "chunk_ahead.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "buf.h"
#include "io.h"

enum {
    SLOTS = 2 * AHEAD_WINDOW,
    SHARE_MIN = 16, /* files: some 10 us each, which is what it takes to wake a thread */
};

static struct ahead_slot *slot_of(struct chunk_ahead *a, size_t i) {
    return &a->slots[i % SLOTS];
}

/* Marks the blocks that have to do with the time range. */
static int mark_in_range(const struct chunk_ahead *a, struct ahead_slot *s) {
    const struct chunk *chunk = cached_chunk_get(s->cached);
    const struct chunk_sums *sums = chunk_get_sums(chunk);
    uint32_t n = chunk_block_count(chunk), words = (n + 63) / 64;
    s->wanted = words <= AHEAD_WORDS ? s->few : malloc(words * sizeof(*s->wanted));
    if (!s->wanted)
        return -ENOMEM;
    memset(s->wanted, 0, words * sizeof(*s->wanted));
    s->in_range = 0;
    bool all = a->start_ns <= sums->first_ns && sums->last_ns <= a->end_ns;
    for (uint32_t i = 0; i < n; i++) {
        const struct block_info *info = all ? NULL : chunk_block_info(chunk, i);
        if (!all && (info->first_ns > a->end_ns || info->last_ns < a->start_ns))
            continue;
        s->wanted[i >> 6] |= (uint64_t)1 << (i & 63);
        s->in_range++;
    }
    return 0;
}

static void close_file(struct ahead_slot *s) {
    io_close(s->fd);
    s->fd = -1;
}

/* Blocks that are wanted will be read from it. */
static void leave_file(struct ahead_slot *s) {
    bool any = false;
    for (uint32_t i = 0; i < (chunk_block_count(cached_chunk_get(s->cached)) + 63) / 64; i++)
        any |= s->wanted[i] != 0;
    if (any && s->fd >= 0 && cached_chunk_keep_fd(s->cached, s->fd))
        s->fd = -1;
    close_file(s);
}

/* Asks the filters, unless `wait` only as far as they are in memory. A slot that stays without `wanted` is asked again when
 * it is used. */
static void ask(const struct chunk_ahead *a, struct ahead_slot *s, bool wait, struct buf *scratch) {
    const struct filters *filters = chunk_filters(cached_chunk_get(s->cached));
    if (!s->wanted && mark_in_range(a, s) < 0)
        return;
    s->is_ready = true;
    if ((a->grams || a->later) && s->fd < 0 && cached_chunk_fd(s->cached) >= 0)
        filters_map(filters, cached_chunk_fd(s->cached));
    if (a->grams && s->in_range > 0 && s->fd >= 0)
        s->is_ready = filters_try(filters, s->fd, a->grams, wait, scratch, s->wanted) == 0;
    else if (a->grams && s->in_range > 0 && (filters_expect(filters, a->grams) || wait))
        (void)filters_narrow(filters, a->grams, s->wanted);
    else if (a->grams && s->in_range > 0)
        s->is_ready = false;
    else if (a->later)
        (void)filters_expect(filters, a->later);
    if (s->is_ready)
        leave_file(s);
}

static void begin(struct chunk_ahead *a, size_t i, struct buf *scratch) {
    struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
    struct ahead_slot *s = slot_of(a, i);
    *s = (struct ahead_slot){.fd = -1};
    s->fd = chunk_cache_begin(a->cache, &id, &s->cached);
    if (s->cached)
        ask(a, s, false, scratch);
}

/* What cannot be opened is tried again, and its error told, when it is used. */
static void open_begun(struct chunk_ahead *a, size_t i, struct buf *scratch) {
    struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
    struct ahead_slot *s = slot_of(a, i);
    struct err ignored;
    if (s->cached || s->fd < 0)
        return;
    (void)chunk_cache_get_begun(a->cache, &id, s->fd, &s->cached, &ignored);
    if (s->cached)
        ask(a, s, false, scratch);
}

static void finish(struct chunk_ahead *a, size_t i, struct buf *scratch) {
    struct ahead_slot *s = slot_of(a, i);
    if (s->cached && !s->is_ready)
        ask(a, s, true, scratch);
    close_file(s);
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Something that is done with each file of [first, first + n): files are apart, so threads may share them. */
struct step {
    struct chunk_ahead *ahead;
    size_t first;
    void (*one)(struct chunk_ahead *a, size_t i, struct buf *scratch);
};

static void run_step(void *ctx, size_t from, size_t to) {
    const struct step *step = ctx;
    struct buf scratch = buf_make(BUF_NO_MAX);
    for (size_t i = from; i < to; i++)
        step->one(step->ahead, step->first + i, &scratch);
    buf_done(&scratch);
}

static void run(struct chunk_ahead *a, size_t from, size_t to,
                void (*one)(struct chunk_ahead *a, size_t i, struct buf *scratch)) {
    struct step step = {.ahead = a, .first = from, .one = one};
    if (a->share && to >= from + SHARE_MIN)
        a->share->run(a->share->threads, to - from, run_step, &step);
    else if (from < to)
        run_step(&step, 0, to - from);
}

static bool all_ready(struct chunk_ahead *a, size_t end) {
    bool ready = true;
    for (size_t i = a->ready; i < end && ready; i++)
        ready = slot_of(a, i)->is_ready;
    return ready;
}

/* Makes the next window ready, and begins the one behind it. */
static void advance(struct chunk_ahead *a) {
    size_t begun_end = smaller(a->n, a->ready + SLOTS),
           end = smaller(a->n, a->ready + AHEAD_WINDOW);
    run(a, a->begun, begun_end, begin);
    a->begun = begun_end;
    if (!all_ready(a, end)) {
        run(a, a->ready, end, open_begun);
        run(a, a->ready, end, finish);
    }
    a->ready = end;
}

static void forget_wanted(struct ahead_slot *s) {
    if (s->wanted != s->few)
        free(s->wanted);
    s->wanted = NULL;
}

/* It was not to be had ahead. */
static int get_now(struct chunk_ahead *a, size_t i, struct err *reterr) {
    struct chunk_id id = chunk_id_of(a->tenant, a->rows[i]);
    struct ahead_slot *s = slot_of(a, i);
    int r = s->cached ? 0 : chunk_cache_get(a->cache, &id, &s->cached, reterr);
    if (r < 0)
        return r;
    struct buf scratch = buf_make(BUF_NO_MAX);
    ask(a, s, true, &scratch);
    buf_done(&scratch);
    return s->wanted ? 0 : err_set(reterr, -ENOMEM, "no memory to open a chunk");
}

int chunk_ahead_next(struct chunk_ahead *a, struct ahead_chunk *ret, struct err *reterr) {
    assert(a->used < a->n);
    if (a->used > 0)
        forget_wanted(slot_of(a, a->used - 1));
    if (a->used == a->ready)
        advance(a);
    struct ahead_slot *s = slot_of(a, a->used);
    int r = s->wanted ? 0 : get_now(a, a->used, reterr);
    a->used++;
    if (r < 0) {
        chunk_cache_put(a->cache, s->cached);
        s->cached = NULL;
        return r;
    }
    *ret = (struct ahead_chunk){.cached = s->cached, .wanted = s->wanted, .in_range = s->in_range};
    s->cached = NULL;
    return 0;
}

void chunk_ahead_done(struct chunk_ahead *a) {
    if (a->used > 0)
        forget_wanted(slot_of(a, a->used - 1));
    for (size_t i = a->used; i < a->begun; i++) {
        struct ahead_slot *s = slot_of(a, i);
        chunk_cache_put(a->cache, s->cached);
        forget_wanted(s);
        close_file(s);
    }
}
