/* tap: the queue of a tap is one buffer of records that the appending thread fills; taking swaps
 * it for an empty one.
 *
 *     record | names' and values' sizes, two u32 for each pair | names and values | line
 *
 * Each record pins its stream, so that the labels are there as long as the record is. */
#include "tap_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "buf.h"
#include "clock.h"
#include "hash.h"
#include "store_private.h"

struct record {
    struct stream *stream; /* pinned */
    struct wal_pos pos;
    int64_t ts_ns;
    uint32_t size; /* of all of it */
    uint32_t line_size;
    uint32_t meta_count;
};

struct drop {
    struct stream *stream; /* pinned */
    struct wal_pos pos;
    int64_t ts_ns;
};

struct drops {
    struct drop *list; /* TAP_DROPS_MAX, or NULL before the first */
    size_t count;
    uint64_t total;
};

struct seam {
    uint64_t stream_id;
    struct wal_pos end;
};

struct tap {
    struct store *store;
    struct tap *next, *previous; /* append_lock */
    char *tenant;
    struct tap_options options; /* tenant points to the copy */
    uint64_t start_lsn;         /* records from here on are offered */

    pthread_mutex_t lock; /* guards: waiting, missed; taken for copies and swaps only */
    struct buf waiting;
    struct drops missed;

    /* The reader's own. */
    struct buf taken;
    size_t at;
    struct drops told;
    size_t told_at;
    struct label *meta;
    size_t meta_capacity;

    /* Written by the snapshot, before the reader reads. Sorted by stream. */
    struct seam *seams;
    size_t n_seams, seams_capacity;
    uint64_t last_seam_lsn;
    int64_t seam_start_ns;
};

/* ---- the appending side */

const struct tap_route *tap_route_find(struct tap_list *list, struct stream *stream) {
    list->now_ns = clock_mono_ns();
    if (stream->tap_generation == list->generation)
        return stream->taps;
    free(stream->taps);
    stream->taps = NULL;
    stream->tap_generation = list->generation;
    size_t max = atomic_load(&list->count);
    struct tap_route *route = malloc(sizeof(*route) + max * sizeof(struct tap *));
    if (!route) {
        stream->tap_generation = 0; /* tried again with the next append */
        return NULL;
    }
    route->list = list;
    route->count = 0;
    for (struct tap *t = list->first; t; t = t->next)
        if (str_eq(t->options.tenant, stream->tenant->name) &&
            matchers_accept(t->options.matchers, t->options.n_matchers, stream->labels))
            route->taps[route->count++] = t;
    if (route->count == 0) {
        free(route);
        return NULL;
    }
    stream->taps = route;
    return route;
}

static size_t record_size(const struct entry *e) {
    size_t size = sizeof(struct record) + e->line.size + e->meta_count * 2 * sizeof(uint32_t);
    for (uint32_t i = 0; i < e->meta_count; i++)
        size += e->meta[i].name.size + e->meta[i].value.size;
    return size;
}

static void record_write(struct buf *out, struct stream *stream, const struct entry *e,
                         struct wal_pos pos, size_t size) {
    const struct record record = {.stream = stream,
                                  .pos = pos,
                                  .ts_ns = e->ts_ns,
                                  .size = (uint32_t)size,
                                  .line_size = (uint32_t)e->line.size,
                                  .meta_count = e->meta_count};
    buf_add(out, &record, sizeof(record));
    for (uint32_t i = 0; i < e->meta_count; i++) {
        const uint32_t sizes[2] = {(uint32_t)e->meta[i].name.size, (uint32_t)e->meta[i].value.size};
        buf_add(out, sizes, sizeof(sizes));
    }
    for (uint32_t i = 0; i < e->meta_count; i++) {
        buf_add_str(out, e->meta[i].name);
        buf_add_str(out, e->meta[i].value);
    }
    buf_add_str(out, e->line);
}

static void note_drop(struct drops *d, struct stream *stream, int64_t ts_ns, struct wal_pos pos) {
    d->total++;
    if (!d->list) /* most tails never drop anything */
        d->list = calloc(TAP_DROPS_MAX, sizeof(*d->list));
    if (!d->list || d->count == TAP_DROPS_MAX)
        return;
    stream_pin(stream);
    d->list[d->count++] = (struct drop){.stream = stream, .pos = pos, .ts_ns = ts_ns};
}

static void offer(struct tap *t, struct stream *stream, const struct entry *e, struct wal_pos pos,
                  size_t size) {
    (void)pthread_mutex_lock(&t->lock);
    bool fits = size <= t->options.queue_max - t->waiting.size;
    if (fits && buf_reserve(&t->waiting, size) < 0) {
        t->waiting.failed = false;
        fits = false;
    }
    if (fits) {
        stream_pin(stream);
        size_t half = t->options.queue_max / 2;
        bool reached = t->waiting.size < half && t->waiting.size + size >= half;
        record_write(&t->waiting, stream, e, pos, size);
        assert(!t->waiting.failed);
        if (reached && t->options.wake)
            t->options.wake(t->options.wake_ctx);
    } else {
        note_drop(&t->missed, stream, e->ts_ns, pos);
    }
    (void)pthread_mutex_unlock(&t->lock);
}

/* A retry that comes when the first copy is in another block already is an entry for the head, but
 * one that no reader of the stored stream ever sees. */
static bool is_repeated(struct tap_list *list, const struct stream *stream, const struct entry *e) {
    uint64_t hash = hash_mix(hash_mix(stream->id, (uint64_t)e->ts_ns), hash_str(e->line));
    for (uint32_t i = 0; i < e->meta_count; i++)
        hash = hash_mix(hash_mix(hash, hash_str(e->meta[i].name)), hash_str(e->meta[i].value));
    return !recent_add(&list->offered, hash, list->now_ns);
}

void tap_route_offer(const struct tap_route *route, struct stream *stream, const struct entry *e,
                     struct wal_pos pos) {
    if (is_repeated(route->list, stream, e))
        return;
    size_t size = record_size(e);
    for (size_t i = 0; i < route->count; i++)
        offer(route->taps[i], stream, e, pos, size);
}

/* ---- the seam */

void tap_seam_begin(struct tap *t, int64_t start_ns) {
    t->n_seams = 0;
    t->last_seam_lsn = 0;
    t->seam_start_ns = start_ns;
}

int tap_seam_add(struct tap *t, uint64_t stream_id, struct wal_pos end) {
    if (end.lsn < t->start_lsn)
        return 0; /* nothing of this stream came since the tap was opened */
    if (t->n_seams == t->seams_capacity) {
        size_t capacity = t->seams_capacity ? t->seams_capacity * 2 : 16;
        struct seam *seams = realloc(t->seams, capacity * sizeof(*seams));
        if (!seams)
            return -ENOMEM;
        t->seams = seams;
        t->seams_capacity = capacity;
    }
    assert(t->n_seams == 0 || t->seams[t->n_seams - 1].stream_id < stream_id);
    t->seams[t->n_seams++] = (struct seam){.stream_id = stream_id, .end = end};
    if (end.lsn > t->last_seam_lsn)
        t->last_seam_lsn = end.lsn;
    return 0;
}

/* Does the snapshot contain the entry? */
static bool is_shown(const struct tap *t, uint64_t stream_id, struct wal_pos pos, int64_t ts_ns) {
    if (t->n_seams == 0 || pos.lsn > t->last_seam_lsn || ts_ns < t->seam_start_ns)
        return false;
    size_t low = 0, high = t->n_seams;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->seams[middle].stream_id < stream_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->n_seams && t->seams[low].stream_id == stream_id &&
           wal_pos_before(pos, t->seams[low].end);
}

/* ---- the reader's side */

static struct record record_at(const struct buf *b, size_t at) {
    struct record record;
    assert(b->size - at >= sizeof(record));
    memcpy(&record, b->data + at, sizeof(record));
    assert(record.size >= sizeof(record) && record.size <= b->size - at);
    return record;
}

static void records_forget(struct buf *b) {
    for (size_t at = 0; at < b->size;) {
        struct record record = record_at(b, at);
        stream_unpin(record.stream);
        at += record.size;
    }
    buf_clear(b);
}

static void drops_forget(struct drops *d) {
    for (size_t i = 0; i < d->count; i++)
        stream_unpin(d->list[i].stream);
    d->count = 0;
    d->total = 0;
}

uint64_t tap_take(struct tap *t) {
    records_forget(&t->taken);
    drops_forget(&t->told);
    t->at = 0;
    t->told_at = 0;
    (void)pthread_mutex_lock(&t->lock);
    struct buf waiting = t->waiting;
    struct drops missed = t->missed;
    t->waiting = t->taken;
    t->missed = t->told;
    (void)pthread_mutex_unlock(&t->lock);
    t->taken = waiting;
    t->told = missed;
    return missed.total;
}

static int fill_meta(struct tap *t, const char *sizes, uint32_t count, const char *bytes,
                     const char **ret_end) {
    if (count > t->meta_capacity) {
        struct label *meta = realloc(t->meta, count * sizeof(*meta));
        if (!meta)
            return -ENOMEM;
        t->meta = meta;
        t->meta_capacity = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pair[2];
        memcpy(pair, sizes + i * sizeof(pair), sizeof(pair));
        t->meta[i].name = str_make(bytes, pair[0]);
        t->meta[i].value = str_make(bytes + pair[0], pair[1]);
        bytes += (size_t)pair[0] + pair[1];
    }
    *ret_end = bytes;
    return 0;
}

int tap_next(struct tap *t, struct tap_entry *ret) {
    while (t->at < t->taken.size) {
        struct record record = record_at(&t->taken, t->at);
        const char *begin = t->taken.data + t->at;
        if (is_shown(t, record.stream->id, record.pos, record.ts_ns)) {
            t->at += record.size;
            continue;
        }
        const char *sizes = begin + sizeof(record);
        const char *line = sizes + record.meta_count * 2 * sizeof(uint32_t);
        int r = fill_meta(t, sizes, record.meta_count, line, &line);
        if (r < 0)
            return r;
        assert(line + record.line_size == begin + record.size);
        t->at += record.size;
        *ret = (struct tap_entry){
            .stream_id = record.stream->id,
            .labels = record.stream->labels,
            .entry = {.ts_ns = record.ts_ns,
                      .line = str_make(line, record.line_size),
                      .meta = t->meta,
                      .meta_count = record.meta_count},
        };
        return 1;
    }
    return 0;
}

int tap_next_drop(struct tap *t, struct tap_drop *ret) {
    while (t->told_at < t->told.count) {
        const struct drop *d = &t->told.list[t->told_at++];
        if (is_shown(t, d->stream->id, d->pos, d->ts_ns))
            continue;
        *ret = (struct tap_drop){.ts_ns = d->ts_ns, .labels = d->stream->labels};
        return 1;
    }
    return 0;
}

/* ---- opening and closing */

static void tap_free(struct tap *t) {
    records_forget(&t->taken);
    records_forget(&t->waiting);
    drops_forget(&t->missed);
    drops_forget(&t->told);
    buf_done(&t->taken);
    buf_done(&t->waiting);
    free(t->missed.list);
    free(t->told.list);
    free(t->meta);
    free(t->seams);
    free(t->tenant);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

int tap_open(struct store *s, const struct tap_options *o, struct tap **ret, struct err *reterr) {
    if (!s->wal)
        return err_set(reterr, -EROFS, "a store opened for reading takes no pushes to follow");
    struct tap *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(reterr, -ENOMEM, "no memory for a tail");
    (void)pthread_mutex_init(&t->lock, NULL);
    t->store = s;
    t->options = *o;
    if (t->options.queue_max < TAP_QUEUE_MIN)
        t->options.queue_max = TAP_QUEUE_MIN;
    t->waiting = t->taken = buf_make(t->options.queue_max);
    t->tenant = strndup(o->tenant.data, o->tenant.size);
    if (!t->tenant) {
        tap_free(t);
        return err_set(reterr, -ENOMEM, "no memory for a tail");
    }
    t->options.tenant = str_make(t->tenant, o->tenant.size);
    (void)pthread_mutex_lock(&s->append_lock);
    struct wal_stats wal;
    wal_get_stats(s->wal, &wal);
    t->start_lsn = wal.next_lsn;
    t->next = s->taps.first;
    if (t->next)
        t->next->previous = t;
    s->taps.first = t;
    s->taps.generation++;
    (void)atomic_fetch_add(&s->taps.count, 1);
    (void)pthread_mutex_unlock(&s->append_lock);
    *ret = t;
    return 0;
}

void tap_close(struct tap *t) {
    if (!t)
        return;
    struct store *s = t->store;
    (void)pthread_mutex_lock(&s->append_lock);
    if (t->previous)
        t->previous->next = t->next;
    else
        s->taps.first = t->next;
    if (t->next)
        t->next->previous = t->previous;
    s->taps.generation++;
    if (atomic_fetch_sub(&s->taps.count, 1) == 1)
        recent_done(&s->taps.offered);
    (void)pthread_mutex_unlock(&s->append_lock);
    tap_free(t);
}
