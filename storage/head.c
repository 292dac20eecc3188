/* The head of a stream: appending, cutting blocks, encoding what was cut. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "stock.h"
#include "stream.h"
#include "tap_private.h"
#include "units.h"

enum {
    /* Smaller blocks are left to zstd until they are merged: encoding 5 KB with a table takes 41 microseconds instead of
     * 27, for a seventh less; 8 KB 51 instead of 39, for a fifth less; 16 KB the same, for a quarter less. */
    TABLE_LEAST_BYTES = 6 << 10,
    /* While memory is short, blocks of streams so small are left to LZ4: 5 KB take 6 microseconds instead of 14 with zstd or
     * more than 30 as a table, and two thirds more bytes. A merge packs them when their day is over, as it does all others. */
    HURRIED_LEAST_BYTES = 8 << 10,
    SECTIONS_FIRST = 256, /* bytes: the sections of most blocks */
};

struct mem_block *mem_block_ref(struct mem_block *b) {
    (void)atomic_fetch_add(&b->refs, 1);
    return b;
}

void mem_block_unref(struct mem_block *b) {
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    rows_unref(b->rows);
    stock_give(b);
}

static void count_memory(struct registry *r, size_t *counted, size_t now) {
    if (now >= *counted)
        registry_hold(r, now - *counted);
    else
        registry_release(r, *counted - now);
    *counted = now;
}

/* Most of many streams never have more than one. */
static int grow_sealed(struct stream *s) {
    if (s->sealed_capacity == 0) {
        s->sealed = &s->first_sealed;
        s->sealed_capacity = 1;
        return 0;
    }
    bool inside = s->sealed == &s->first_sealed;
    size_t capacity = inside ? 4 : s->sealed_capacity * 2;
    struct mem_block **sealed =
        realloc(inside ? NULL : s->sealed, sizeof(struct mem_block *) * capacity);
    if (!sealed)
        return -ENOMEM;
    if (inside)
        sealed[0] = s->first_sealed;
    s->sealed = sealed;
    s->sealed_capacity = capacity;
    return 0;
}

static int push_sealed(struct stream *s, struct mem_block *b) {
    if (s->n_sealed == s->sealed_capacity) {
        int r = grow_sealed(s);
        if (r < 0)
            return r;
    }
    s->sealed[s->n_sealed++] = b;
    return 0;
}

int head_cut(struct registry *r, struct stream *s) {
    if (s->open.count == 0)
        return 0;
    size_t room;
    struct mem_block *b = stock_take(sizeof(*b), &room);
    if (!b)
        return -ENOMEM;
    *b = (struct mem_block){0};
    atomic_init(&b->refs, 1);
    b->order = s->open_order;
    b->first_ns = s->open.min_ns;
    b->last_ns = s->open.max_ns;
    b->count = s->open.count;
    b->line_bytes = s->open.line_bytes;
    b->meta_bytes = s->open.meta_bytes;
    b->first = s->open_first;
    b->end = s->open_end;
    b->final = true;
    b->since_mono_ns = s->open_since_mono_ns;
    b->n_sets = s->open.n_sets;
    b->sorted = s->open.sorted;
    b->memory_bytes = rows_memory(&s->open);
    int status = push_sealed(s, b);
    if (status < 0) {
        stock_give(b);
        return status;
    }
    b->rows = rows_take(&s->open);
    s->sealed_bytes += b->memory_bytes;
    /* The memory has only changed its name: open to sealed. */
    registry_hold(r, b->memory_bytes);
    count_memory(r, &s->open_memory, 0);
    return 0;
}

/* Neighbours of the record that the open block took; pos is the last one's. */
static void note_run(struct registry *r, struct stream *s, const struct entry *entries,
                     size_t count, struct wal_pos pos) {
    if (s->open.count == count) {
        s->open_order = atomic_fetch_add(&r->next_order, 1);
        s->open_since_mono_ns = s->last_append_mono_ns;
    }
    const struct entry *last = &entries[count - 1];
    assert(entries->ts_ns <= last->ts_ns);
    if (entries->ts_ns < s->first_ns)
        s->first_ns = entries->ts_ns;
    if (last->ts_ns > s->last_ns)
        s->last_ns = last->ts_ns;
    s->open_end = (struct wal_pos){.lsn = pos.lsn, .index = pos.index + 1};
}

/* Which of a record's entries is the first that is not in chunk files. */
static size_t first_after(struct wal_pos flushed, uint64_t lsn, size_t count) {
    if (lsn > flushed.lsn)
        return 0;
    return lsn == flushed.lsn && flushed.index < count ? flushed.index : count;
}

/* Appends as many of the entries as go alike, one at least: all are new, or the one is a duplicate (0). */
static int append_some(struct stream *s, const struct entry *entries, size_t count,
                       struct rows_recent *recent, size_t *ret_taken) {
    size_t run = rows_add_run(&s->open, entries, count, recent);
    *ret_taken = run > 0 ? run : 1;
    return run > 0 ? 1 : rows_add(&s->open, entries, recent);
}

int head_append(struct registry *r, struct stream *s, const struct entry *entries, size_t count,
                uint64_t lsn, const struct tap_route *route, bool *ret_sealable) {
    uint64_t appended = 0, duplicates = 0, bytes = 0;
    *ret_sealable = false;
    (void)pthread_mutex_lock(&s->lock);
    atomic_store_explicit(&s->filled, true, memory_order_relaxed);
    s->last_append_mono_ns = clock_mono_ns();
    struct rows_recent recent = {0};
    size_t first = first_after(s->flushed, lsn, count);
    int status = rows_reserve(&s->open, entries + first, count - first);
    for (size_t i = first, n = 0; i < count && status >= 0; i += n) {
        struct wal_pos pos = {.lsn = lsn, .index = (uint32_t)i};
        if (s->open.count == 0)
            s->open_first = pos;
        uint32_t bytes_before = s->open.line_bytes;
        status = append_some(s, entries + i, count - i, &recent, &n);
        if (status < 0)
            break;
        pos.index += (uint32_t)n - 1;
        if (status == 0) {
            duplicates++;
            s->open_end = (struct wal_pos){.lsn = lsn, .index = pos.index + 1};
            continue;
        }
        note_run(r, s, entries + i, n, pos);
        for (size_t k = 0; route && k < n; k++)
            tap_route_offer(route, s, &entries[i + k],
                            (struct wal_pos){.lsn = lsn, .index = (uint32_t)(i + k)});
        appended += n;
        bytes += s->open.line_bytes - bytes_before;
        if (rows_are_full(&s->open)) {
            status = head_cut(r, s);
            if (status == 0)
                status = rows_reserve(&s->open, entries + i + n, count - i - n);
            recent = (struct rows_recent){0};
        }
    }
    count_memory(r, &s->open_memory, rows_memory(&s->open));
    *ret_sealable = s->n_sealed > 0 && s->sealed[s->n_sealed - 1]->rows && !s->sealing;
    (void)pthread_mutex_unlock(&s->lock);
    (void)atomic_fetch_add(&r->appended, appended);
    (void)atomic_fetch_add(&r->appended_bytes, bytes);
    (void)atomic_fetch_add(&r->duplicates, duplicates);
    return status < 0 ? status : 0;
}

/* What a part of a raw block consists of. Entries in order stand in the rows as they are; the encoder has
 * room for what does not. */
static int part_input(const struct mem_block *raw, const uint32_t *order, uint32_t from, uint32_t n,
                      struct block_encoder *encoder, struct block_input *ret) {
    const struct rows *rows = raw->rows;
    size_t per_entry = sizeof(struct str) + (order ? sizeof(int64_t) + sizeof(uint32_t) : 0);
    struct labels *sets = block_encoder_room(encoder, sizeof(*sets) * raw->n_sets + per_entry * n);
    if (!sets)
        return -ENOMEM;
    struct str *lines = (struct str *)(sets + raw->n_sets);
    int64_t *times = (int64_t *)(lines + n);
    uint32_t *meta_ids = (uint32_t *)(times + n);
    for (uint32_t i = 0; i < raw->n_sets; i++)
        sets[i] = *rows->sets[i];
    for (uint32_t i = 0; i < n; i++)
        lines[i] = rows_line(rows, order ? order[from + i] : from + i);
    for (uint32_t i = 0; order && i < n; i++) {
        times[i] = rows->times[order[from + i]];
        meta_ids[i] = rows->meta_ids[order[from + i]];
    }
    *ret = (struct block_input){.count = n,
                                .times = order ? times : rows->times + from,
                                .lines = lines,
                                .text = order || from > 0 ? NULL : rows->lines,
                                .offsets = rows->offsets,
                                .meta_ids = order ? meta_ids : rows->meta_ids + from,
                                .meta_sets = sets,
                                .n_meta_sets = raw->n_sets,
                                .hurried = raw->hurried};
    return 0;
}

/* One allocation: the struct, its sections, the block, the filter. There are many, and who frees them is not who makes
 * them. */
static struct mem_block *encoded_block(struct str encoded, struct str filter,
                                       const struct block_info *info) {
    size_t sections_size = sizeof(*info->sections) * info->n_sections;
    size_t size = sizeof(struct mem_block) + sections_size + encoded.size + filter.size;
    struct mem_block *b = stock_take(size, &size);
    if (!b)
        return NULL;
    struct section *sections = (struct section *)(b + 1);
    *b = (struct mem_block){.encoded = (const char *)sections + sections_size,
                            .encoded_size = encoded.size,
                            .filter_size = filter.size,
                            .memory_bytes = size,
                            .info = *info};
    b->filter = b->encoded + encoded.size;
    b->info.sections = sections;
    memcpy(sections, info->sections, sections_size);
    memcpy((char *)sections + sections_size, encoded.data, encoded.size);
    if (filter.size > 0)
        memcpy((char *)sections + sections_size + encoded.size, filter.data, filter.size);
    return b;
}

static enum block_effort effort_of(const struct registry *r, const struct block_input *in) {
    size_t bytes = 0, least = in->hurried ? HURRIED_LEAST_BYTES : TABLE_LEAST_BYTES;
    for (uint32_t i = 0; i < in->count && bytes < least; i++)
        bytes += in->lines[i].size;
    if (r->effort != EFFORT_TABLE || bytes >= least)
        return r->effort;
    return in->hurried ? EFFORT_FAST : EFFORT_ZSTD_FAST;
}

/* Encodes entries order[from..to) of a raw block, all of one day. */
static int encode_part(const struct mem_block *raw, const uint32_t *order, uint32_t from,
                       uint32_t to, struct block_encoder *encoder, const struct registry *r,
                       struct mem_block **ret) {
    struct block_input input;
    struct block_info info;
    struct str encoded, filter;
    int status = part_input(raw, order, from, to - from, encoder, &input);
    if (status < 0)
        return status;
    input.no_patterns = r->no_patterns;
    status = block_encode_view(encoder, &input, effort_of(r, &input), &encoded, &filter);
    if (status < 0)
        return status;
    struct arena arena = arena_make(1 << 20);
    arena.first_bytes = SECTIONS_FIRST;
    status = block_parse_header(encoded, &arena, &info, NULL);
    struct mem_block *b = status == 0 ? encoded_block(encoded, filter, &info) : NULL;
    arena_done(&arena);
    if (!b)
        return status < 0 ? status : -ENOMEM;
    atomic_init(&b->refs, 1);
    b->order = raw->order;
    b->since_mono_ns = raw->since_mono_ns;
    b->first = raw->first;
    b->end = raw->end;
    b->first_ns = b->info.first_ns;
    b->last_ns = b->info.last_ns;
    b->count = b->info.count;
    b->line_bytes = b->info.line_bytes;
    b->meta_bytes = b->info.meta_bytes;
    b->day = time_day(b->first_ns);
    assert(b->day == time_day(b->last_ns));
    *ret = b;
    return 0;
}

/* One encoded block per UTC day that the raw one touches: a chunk never crosses a day. */
static int encode_days(const struct mem_block *raw, struct block_encoder *encoder,
                       const struct registry *r, struct mem_block ***ret, size_t *ret_count) {
    uint32_t *order = NULL;
    bool one_day = time_day(raw->first_ns) == time_day(raw->last_ns);
    if (!raw->sorted) {
        order = malloc(sizeof(*order) * raw->count);
        int error = order ? rows_time_order(raw->rows, raw->count, order) : -ENOMEM;
        if (error < 0) {
            free(order);
            return error;
        }
    }
    struct mem_block **blocks = NULL;
    size_t n = 0;
    int status = 0;
    for (uint32_t from = 0; from < raw->count && status == 0;) {
        uint32_t to = raw->count;
        if (!one_day) {
            int32_t day = time_day(raw->rows->times[order ? order[from] : from]);
            for (to = from + 1; to < raw->count; to++)
                if (time_day(raw->rows->times[order ? order[to] : to]) != day)
                    break;
        }
        struct mem_block **grown = realloc(blocks, sizeof(struct mem_block *) * (n + 1));
        if (!grown) {
            status = -ENOMEM;
            break;
        }
        blocks = grown;
        status = encode_part(raw, order, from, to, encoder, r, &blocks[n]);
        while (status == -E2BIG && to - from > 1) { /* too many metadata names: in smaller parts */
            to = from + (to - from) / 2;
            status = encode_part(raw, order, from, to, encoder, r, &blocks[n]);
        }
        if (status == 0)
            n++;
        from = to;
    }
    free(order);
    if (status < 0) {
        for (size_t i = 0; i < n; i++)
            mem_block_unref(blocks[i]);
        free(blocks);
        return status;
    }
    blocks[n - 1]->final = true;
    *ret = blocks;
    *ret_count = n;
    return 0;
}

/* Puts the encoded blocks where the raw one stands. s->lock held. */
static int replace_sealed(struct registry *r, struct stream *s, struct mem_block *raw,
                          struct mem_block **blocks, size_t n) {
    for (size_t i = 1; i < n; i++) {
        int status = push_sealed(s, NULL); /* room; shifted below */
        if (status < 0) {
            s->n_sealed -= i - 1;
            return status;
        }
    }
    size_t at = 0;
    while (s->sealed[at] != raw)
        at++;
    size_t tail = s->n_sealed - (n - 1) - at - 1;
    memmove(&s->sealed[at + n], &s->sealed[at + 1], sizeof(struct mem_block *) * tail);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        s->sealed[at + i] = blocks[i];
        bytes += blocks[i]->memory_bytes;
    }
    s->sealed_bytes = s->sealed_bytes - raw->memory_bytes + bytes;
    registry_hold(r, bytes);
    registry_release(r, raw->memory_bytes);
    return 0;
}

static struct mem_block *first_raw(const struct stream *s) {
    for (size_t i = 0; i < s->n_sealed; i++)
        if (s->sealed[i]->rows)
            return s->sealed[i];
    return NULL;
}

int head_seal(struct registry *r, struct stream *s, struct block_encoder *encoder, bool wait) {
    int status = 0;
    (void)pthread_mutex_lock(&s->lock);
    while (s->sealing && wait) {
        (void)pthread_mutex_unlock(&s->lock);
        struct timespec pause = {.tv_nsec = NS_PER_MS / 2};
        (void)nanosleep(&pause, NULL);
        (void)pthread_mutex_lock(&s->lock);
    }
    if (s->sealing) {
        (void)pthread_mutex_unlock(&s->lock);
        return 0;
    }
    s->sealing = true;
    for (struct mem_block *raw = first_raw(s); raw && status == 0; raw = first_raw(s)) {
        (void)pthread_mutex_unlock(&s->lock);
        struct mem_block **blocks = NULL;
        size_t n = 0;
        status = encode_days(raw, encoder, r, &blocks, &n);
        (void)pthread_mutex_lock(&s->lock);
        if (status == 0) {
            status = replace_sealed(r, s, raw, blocks, n);
            if (status == 0)
                mem_block_unref(raw);
            else
                for (size_t i = 0; i < n; i++)
                    mem_block_unref(blocks[i]);
        }
        free(blocks);
    }
    s->sealing = false;
    (void)pthread_mutex_unlock(&s->lock);
    return status;
}

bool head_oldest(const struct stream *s, struct wal_pos *ret) {
    if (s->n_sealed > 0) {
        *ret = s->sealed[0]->first;
        return true;
    }
    if (s->open.count > 0) {
        *ret = s->open_first;
        return true;
    }
    return false;
}
