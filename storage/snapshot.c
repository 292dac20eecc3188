/* snapshot: what a query sees.
 *
 * Heads are looked at first, the index second: a block that is flushed in between stands in both, and is
 * recognised by its chunk_seq, which is set before the index commit. Files of chunks that the index gives up while a
 * snapshot runs stay until the snapshot ends (store_delete_chunk). */
#include "snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "chunk_ahead.h"
#include "clock.h"
#include "snapshot_sieve.h"
#include "snapshot_union.h"

enum { SNAPSHOT_ARENA_MAX = 1 << 30, SELECT_ATTEMPTS = 4 };

/* Blocks of one stream that stand in memory. */
struct memory_part {
    struct stream *stream; /* pinned through the snapshot */
    struct mem_block **blocks;
    size_t n_blocks;
    struct rows *open; /* reference, or NULL */
    uint32_t open_count, open_sets, open_line_bytes, open_meta_bytes;
    int64_t open_first_ns, open_last_ns;
    bool open_sorted;
    uint64_t open_order;
    int64_t first_ns, last_ns;
    struct wal_pos end; /* behind the last entry of the head */
};

/* A stream that is to be built. */
struct plan {
    uint64_t id;
    const struct index_stream *row; /* either may be NULL */
    struct memory_part *part;
    struct index_chunk *chunks;
    size_t n_chunks;
    const struct index_chunk **wanted; /* those that are opened */
    size_t n_wanted;
};

struct builder {
    struct store *store;
    const struct select *sel;
    struct snapshot *snap;
    struct memory_part *parts;
    size_t n_parts;
    struct index_reader *reader;
    struct err *reterr;
    struct plan *plans; /* one per stream, sorted by id */
    size_t n_plans;
    size_t n_chunks; /* of all plans */
    struct chunk_ahead ahead;
    struct block_ref **refs; /* of the stream being built */
    size_t n_refs, refs_capacity;
    bool last_attempt; /* a chunk file that is not there is lost, not just deleted by the server */
};

/* ---- heads */

static bool ranges_meet(int64_t a_first, int64_t a_last, int64_t b_first, int64_t b_last) {
    return a_first <= b_last && b_first <= a_last;
}

static int look_at_head(struct builder *b, struct stream *s, struct memory_part *p) {
    const struct select *sel = b->sel;
    int r = 0;
    (void)pthread_mutex_lock(&s->lock);
    p->stream = s;
    p->first_ns = s->first_ns;
    p->last_ns = s->last_ns;
    p->end = wal_pos_before(s->open_end, s->flushed) ? s->flushed : s->open_end;
    if (s->n_sealed > 0) {
        p->blocks = arena_array(&b->snap->arena, s->n_sealed, sizeof(struct mem_block *));
        if (!p->blocks)
            r = -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < s->n_sealed; i++)
        if (ranges_meet(s->sealed[i]->first_ns, s->sealed[i]->last_ns, sel->start_ns, sel->end_ns))
            p->blocks[p->n_blocks++] = mem_block_ref(s->sealed[i]);
    const struct rows_builder *open = &s->open;
    if (open->count > 0 && ranges_meet(open->min_ns, open->max_ns, sel->start_ns, sel->end_ns)) {
        p->open = rows_ref(open->rows);
        p->open_count = open->count;
        p->open_sets = open->n_sets;
        p->open_line_bytes = open->line_bytes;
        p->open_meta_bytes = open->meta_bytes;
        p->open_first_ns = open->min_ns;
        p->open_last_ns = open->max_ns;
        p->open_sorted = open->sorted;
        p->open_order = s->open_order;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

static void part_done(struct memory_part *p) {
    for (size_t i = 0; i < p->n_blocks; i++)
        mem_block_unref(p->blocks[i]);
    rows_unref(p->open);
    p->n_blocks = 0;
    p->open = NULL;
}

/* Only from when to when the stream reaches: for label sets. */
static void look_at_span(struct stream *s, struct memory_part *p) {
    (void)pthread_mutex_lock(&s->lock);
    p->stream = s;
    p->first_ns = s->first_ns;
    p->last_ns = s->last_ns;
    (void)pthread_mutex_unlock(&s->lock);
}

static int compare_streams(const void *a, const void *b) {
    uint64_t x = (*(struct stream *const *)a)->id, y = (*(struct stream *const *)b)->id;
    return (x > y) - (x < y);
}

/* Streams of the tenant that match, pinned for the life of the snapshot, sorted by id; with their blocks unless only
 * label sets are asked for. */
static int collect_heads(struct builder *b, bool with_blocks) {
    struct store *s = b->store;
    struct snapshot *snap = b->snap;
    int r = 0;
    (void)pthread_rwlock_rdlock(&s->registry.lock);
    struct tenant *t = map_get(&s->registry.tenants, b->sel->tenant);
    size_t max = t ? t->by_labels.count : 0;
    snap->pinned = arena_array(&snap->arena, max + 1, sizeof(struct stream *));
    b->parts = arena_array(&snap->arena, max + 1, sizeof(*b->parts));
    if (!snap->pinned || !b->parts) {
        r = -ENOMEM;
        max = 0;
    }
    size_t at = 0;
    struct str key;
    void *value;
    while (max > 0 && map_next(&t->by_labels, &at, &key, &value)) {
        struct stream *stream = value;
        if (!matchers_accept(b->sel->matchers, b->sel->n_matchers, stream->labels))
            continue;
        stream_pin(stream);
        snap->pinned[snap->n_pinned++] = stream;
    }
    (void)pthread_rwlock_unlock(&s->registry.lock);
    if (snap->n_pinned > 0)
        qsort(snap->pinned, snap->n_pinned, sizeof(snap->pinned[0]), compare_streams);
    for (size_t i = 0; i < snap->n_pinned && r == 0; i++) {
        struct memory_part *p = &b->parts[b->n_parts++];
        if (with_blocks)
            r = look_at_head(b, snap->pinned[i], p);
        else
            look_at_span(snap->pinned[i], p);
    }
    return r;
}

/* ---- one stream */

static struct block_ref *add_ref(struct builder *b) {
    if (b->n_refs == b->refs_capacity) {
        size_t capacity = b->refs_capacity ? b->refs_capacity * 2 : 64;
        struct block_ref **refs = realloc(b->refs, sizeof(struct block_ref *) * capacity);
        if (!refs)
            return NULL;
        b->refs = refs;
        b->refs_capacity = capacity;
    }
    struct block_ref *ref = arena_array(&b->snap->arena, 1, sizeof(*ref));
    if (!ref)
        return NULL;
    ref->data_dir_fd = b->store->dir_fd;
    b->refs[b->n_refs++] = ref;
    return ref;
}

/* Could a block with this filter hold what is looked for? */
static bool is_wanted(struct builder *b, struct str filter) {
    const struct gram_query *grams = b->sel->grams;
    if (!grams || filter.size == 0 ||
        gram_may_contain((const uint8_t *)filter.data, filter.size, grams))
        return true;
    b->snap->n_excluded++;
    return false;
}

static int add_chunk_block(struct builder *b, const struct index_chunk *row,
                           struct cached_chunk *cached, uint32_t i) {
    const struct block_info *info = chunk_block_info(cached_chunk_get(cached), i);
    struct block_ref *ref = add_ref(b);
    if (!ref)
        return -ENOMEM;
    ref->place = PLACE_CHUNK;
    ref->chunk.cached = cached;
    ref->chunk.index = i;
    ref->order = row->chunk_seq << 20 | i;
    ref->info = (struct block_ref_info){.first_ns = info->first_ns,
                                        .last_ns = info->last_ns,
                                        .count = info->count,
                                        .line_bytes = info->line_bytes,
                                        .meta_bytes = info->meta_bytes,
                                        .stored_bytes = info->stored_size};
    return 0;
}

static int add_chunk_blocks(struct builder *b, const struct index_chunk *row,
                            const struct ahead_chunk *ahead) {
    uint32_t added = 0;
    for (uint32_t word = 0; word * 64 < chunk_block_count(cached_chunk_get(ahead->cached)); word++)
        for (uint64_t bits = ahead->wanted[word]; bits != 0; bits &= bits - 1, added++) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(bits);
            int r = add_chunk_block(b, row, ahead->cached, i);
            if (r < 0)
                return r;
        }
    b->snap->n_excluded += ahead->in_range - added;
    return 0;
}

static int add_chunk(struct builder *b, const struct index_chunk *row) {
    struct ahead_chunk ahead;
    struct err err = {0};
    int r = chunk_ahead_next(&b->ahead, &ahead, &err);
    if (r == -ENOMEM)
        return r;
    if (r == -ENOENT && !b->last_attempt)
        return -EAGAIN;
    if (r == -EMFILE || r == -ENFILE) /* says nothing about the file: the answer would lack data */
        return err_set(b->reterr, r, "%s", err.text);
    if (r < 0) { /* a damaged or lost file costs itself only */
        b->snap->n_lost++;
        char path[CHUNK_PATH_MAX];
        struct chunk_id id = chunk_id_of(b->sel->tenant, row);
        if (chunk_id_path(&id, path) == 0)
            store_log(b->store, LOG_LEVEL_ERROR, "chunk left out of a query",
                      "file=%s error=\"%s\"", path, err.text);
        return 0;
    }
    struct snapshot *snap = b->snap;
    struct cached_chunk *cached = ahead.cached;
    size_t refs_before = b->n_refs;
    if (chunk_get_sums(cached_chunk_get(cached))->entries != row->sums.entries) {
        store_log(b->store, LOG_LEVEL_ERROR, "a chunk has not all its blocks", "file=%s",
                  cached_chunk_path(cached));
        snap->n_lost++;
    }
    r = add_chunk_blocks(b, row, &ahead);
    if (b->n_refs > refs_before)
        snap->held[snap->n_held++] = cached;
    else if (b->store->options
                 .read_only) /* it ends with the query: memory that is used again is warm */
        chunk_cache_drop(b->store->cache, cached);
    else
        chunk_cache_put(b->store->cache, cached);
    return r;
}

#define MEMORY_ORDER (UINT64_C(1) << 63)

static bool is_flushed(const struct mem_block *m, const struct index_chunk *rows, size_t n_rows) {
    uint64_t seq = atomic_load(&m->chunk_seq);
    for (size_t i = 0; seq != 0 && i < n_rows; i++)
        if (rows[i].chunk_seq == seq)
            return true;
    return false;
}

static int add_memory(struct builder *b, struct memory_part *p, const struct index_chunk *rows,
                      size_t n_rows) {
    for (size_t i = 0; i < p->n_blocks; i++) {
        struct mem_block *m = p->blocks[i];
        if (is_flushed(m, rows, n_rows) ||
            (!m->rows && !is_wanted(b, str_make(m->filter, m->filter_size))))
            continue;
        struct block_ref *ref = add_ref(b);
        if (!ref)
            return -ENOMEM;
        ref->place = PLACE_MEMORY;
        ref->memory = mem_block_ref(m);
        ref->order = MEMORY_ORDER | m->order;
        ref->info = (struct block_ref_info){.first_ns = m->first_ns,
                                            .last_ns = m->last_ns,
                                            .count = m->count,
                                            .line_bytes = m->line_bytes,
                                            .meta_bytes = m->meta_bytes,
                                            .stored_bytes = (uint32_t)m->encoded_size,
                                            .in_memory = true};
    }
    if (!p->open)
        return 0;
    struct block_ref *ref = add_ref(b);
    if (!ref)
        return -ENOMEM;
    ref->place = PLACE_ROWS;
    ref->rows.rows = rows_ref(p->open);
    ref->rows.n_sets = p->open_sets;
    ref->rows.sorted = p->open_sorted;
    ref->order = MEMORY_ORDER | p->open_order;
    ref->info = (struct block_ref_info){.first_ns = p->open_first_ns,
                                        .last_ns = p->open_last_ns,
                                        .count = p->open_count,
                                        .line_bytes = p->open_line_bytes,
                                        .meta_bytes = p->open_meta_bytes,
                                        .in_memory = true};
    return 0;
}

static int compare_refs(const void *a, const void *b) {
    const struct block_ref *x = *(struct block_ref *const *)a, *y = *(struct block_ref *const *)b;
    if (x->info.first_ns != y->info.first_ns)
        return x->info.first_ns < y->info.first_ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* Sorts the stream's blocks and marks those whose ranges touch. */
static void find_overlaps(struct builder *b) {
    qsort(b->refs, b->n_refs, sizeof(struct block_ref *), compare_refs);
    struct block_ref *longest = NULL; /* the one that reaches furthest so far */
    for (size_t i = 0; i < b->n_refs; i++) {
        struct block_ref *ref = b->refs[i];
        if (longest && ref->info.first_ns <= longest->info.last_ns)
            ref->info.may_overlap = longest->info.may_overlap = true;
        if (!longest || ref->info.last_ns > longest->info.last_ns)
            longest = ref;
    }
}

/* Notes which blocks of the stream may hold entries that have been asked to vanish. */
static int find_erased(struct builder *b, struct labels labels) {
    struct snapshot *snap = b->snap;
    const struct eraser *eraser = snap->eraser;
    if (!snap->erase_set ||
        !eraser->concerns(snap->erase_set, labels, b->sel->start_ns, b->sel->end_ns))
        return 0;
    struct erasing *e = arena_alloc(&snap->arena, sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (struct erasing){.eraser = eraser, .set = snap->erase_set, .labels = labels};
    for (size_t i = 0; i < b->n_refs; i++) {
        struct block_ref *ref = b->refs[i];
        if (!eraser->concerns(snap->erase_set, labels, ref->info.first_ns, ref->info.last_ns))
            continue;
        ref->erasing = e;
        ref->info.may_overlap = true;
    }
    return 0;
}

static int finish_stream(struct builder *b, uint64_t id, struct labels labels, int64_t first_ns,
                         int64_t last_ns) {
    if (b->n_refs == 0)
        return 0;
    struct snapshot *snap = b->snap;
    find_overlaps(b);
    if (find_erased(b, labels) < 0)
        return -ENOMEM;
    const struct block_ref **blocks =
        arena_array(&snap->arena, b->n_refs, sizeof(struct block_ref *));
    if (!blocks)
        return -ENOMEM;
    for (size_t i = 0; i < b->n_refs; i++) {
        blocks[i] = b->refs[i];
        b->refs[i]->siblings = blocks;
        b->refs[i]->n_siblings = b->n_refs;
    }
    snap->n_refs += b->n_refs;
    store_visible_fn *visible = atomic_load(&b->store->visible);
    int64_t from =
        visible ? visible(atomic_load(&b->store->visible_ctx), b->sel->tenant, labels) : INT64_MIN;
    snap->streams[snap->n_streams++] = (struct snap_stream){.id = id,
                                                            .hash = labels_hash(labels),
                                                            .labels = labels,
                                                            .visible_from_ns = from,
                                                            .blocks = blocks,
                                                            .n_blocks = b->n_refs,
                                                            .first_ns = first_ns,
                                                            .last_ns = last_ns};
    return 0;
}

static void release_refs(struct builder *b) {
    for (size_t i = 0; i < b->n_refs; i++) {
        if (b->refs[i]->place == PLACE_MEMORY)
            mem_block_unref(b->refs[i]->memory);
        else if (b->refs[i]->place == PLACE_ROWS)
            rows_unref(b->refs[i]->rows.rows);
    }
    b->n_refs = 0;
}

/* Tells the tap up to where the snapshot has the stream. A block that was cut and flushed after the head was looked at
 * is read from its chunk, with entries that came later, too: so the index counts as well, in the transaction that the
 * chunks are read in. */
static int note_seam(struct builder *b, uint64_t id, const struct memory_part *part) {
    struct wal_pos end = part ? part->end : (struct wal_pos){0};
    struct wal_pos flushed;
    int r = index_reader_flushed(b->reader, id, &flushed.lsn, &flushed.index);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0 && wal_pos_before(end, flushed))
        end = flushed;
    return tap_seam_add(b->sel->tap, id, end);
}

static int build_stream(struct builder *b, const struct plan *p) {
    struct snapshot *snap = b->snap;
    int r = b->sel->tap ? note_seam(b, p->id, p->part) : 0;
    b->n_refs = 0;
    size_t streams_before = snap->n_streams;
    for (size_t i = 0; i < p->n_wanted && r == 0; i++)
        r = add_chunk(b, p->wanted[i]);
    if (r == 0 && p->part)
        r = add_memory(b, p->part, p->chunks, p->n_chunks);
    struct labels labels = p->part ? p->part->stream->labels : p->row->labels;
    int64_t first = p->part ? p->part->first_ns : p->row->first_ns;
    int64_t last = p->part ? p->part->last_ns : p->row->last_ns;
    if (r == 0)
        r = finish_stream(b, p->id, labels, first, last);
    if (snap->n_streams == streams_before)
        release_refs(b);
    return r;
}

/* ---- all streams */

/* Merges the streams of the index and those in memory, both sorted by id, and looks up their chunks. A stream in memory
 * may have chunks in the range even when the index row's own range, read before, does not say so. */
static int plan_streams(struct builder *b, const struct index_stream *rows, size_t n_rows) {
    struct arena *arena = &b->snap->arena;
    b->plans = arena_array(arena, n_rows + b->n_parts + 1, sizeof(*b->plans));
    if (!b->plans)
        return -ENOMEM;
    size_t i = 0, k = 0;
    int r = 0;
    while (r == 0 && (i < n_rows || k < b->n_parts)) {
        uint64_t row_id = i < n_rows ? rows[i].id : UINT64_MAX;
        uint64_t part_id = k < b->n_parts ? b->parts[k].stream->id : UINT64_MAX;
        struct plan *p = &b->plans[b->n_plans++];
        p->id = row_id < part_id ? row_id : part_id;
        if (row_id == p->id)
            p->row = &rows[i++];
        if (part_id == p->id)
            p->part = &b->parts[k++];
        r = index_reader_chunks(b->reader, b->sel->tenant, p->id, b->sel->start_ns, b->sel->end_ns,
                                arena, &p->chunks, &p->n_chunks, NULL);
        b->n_chunks += p->n_chunks;
    }
    return r;
}

/* Of each stream the chunks that are to be opened, one stream after the other. Blocks of those that are not are counted
 * as excluded, also where they begin or end outside the range: that could only be told by opening them. */
static int sift_chunks(struct builder *b, const struct index_chunk **rows, size_t *ret_n) {
    struct arena *arena = &b->snap->arena;
    size_t n = 0;
    for (size_t i = 0; i < b->n_plans; i++)
        for (size_t k = 0; k < b->plans[i].n_chunks; k++)
            rows[n++] = &b->plans[i].chunks[k];
    bool *wanted = arena_array(arena, n + 1, sizeof(*wanted));
    int r = wanted ? snapshot_sieve(b->store, b->sel, rows, n, arena, wanted) : -ENOMEM;
    size_t from = 0, kept = 0;
    for (size_t i = 0; i < b->n_plans && r == 0; i++) {
        struct plan *p = &b->plans[i];
        p->wanted = rows + kept;
        for (size_t end = from + p->n_chunks; from < end; from++) {
            if (wanted[from])
                p->wanted[p->n_wanted++] = rows[from];
            else
                b->snap->n_excluded += rows[from]->sums.blocks;
        }
        kept += p->n_wanted;
    }
    *ret_n = kept;
    return r;
}

static int plan_chunks(struct builder *b) {
    struct snapshot *snap = b->snap;
    size_t n = 0;
    const struct index_chunk **rows = arena_array(&snap->arena, b->n_chunks + 1, sizeof(*rows));
    int r = rows ? sift_chunks(b, rows, &n) : -ENOMEM;
    if (r < 0)
        return r;
    snap->held = calloc(n + 1, sizeof(struct cached_chunk *));
    if (!snap->held)
        return -ENOMEM;
    b->ahead = (struct chunk_ahead){.cache = b->store->cache,
                                    .tenant = b->sel->tenant,
                                    .start_ns = b->sel->start_ns,
                                    .end_ns = b->sel->end_ns,
                                    .grams = b->sel->grams,
                                    .later = b->sel->later,
                                    .share = b->sel->share,
                                    .rows = rows,
                                    .n = n};
    return 0;
}

static int build_streams(struct builder *b, const struct index_stream *rows, size_t n_rows) {
    struct snapshot *snap = b->snap;
    int r = plan_streams(b, rows, n_rows);
    if (r == 0)
        r = plan_chunks(b);
    snap->streams = arena_array(&snap->arena, b->n_plans + 1, sizeof(*snap->streams));
    if (!snap->streams)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < b->n_plans; i++)
        r = build_stream(b, &b->plans[i]);
    chunk_ahead_done(&b->ahead);
    return r;
}

/* ---- the door */

static void enter(struct store *s, struct snapshot *snap) {
    (void)pthread_mutex_lock(&s->snap_lock);
    snap->clock = s->clock;
    snap->next = s->snapshots;
    if (snap->next)
        snap->next->previous = snap;
    s->snapshots = snap;
    (void)pthread_mutex_unlock(&s->snap_lock);
}

static void leave(struct store *s, struct snapshot *snap) {
    (void)pthread_mutex_lock(&s->snap_lock);
    if (snap->previous)
        snap->previous->next = snap->next;
    else
        s->snapshots = snap->next;
    if (snap->next)
        snap->next->previous = snap->previous;
    (void)pthread_mutex_unlock(&s->snap_lock);
}

static int select_once(struct store *s, const struct select *sel, bool last_attempt,
                       struct snapshot **ret, struct err *reterr) {
    struct snapshot *snap = calloc(1, sizeof(*snap));
    if (!snap)
        return err_set(reterr, -ENOMEM, "no memory for a snapshot");
    snap->store = s;
    snap->arena = arena_make_for(BUDGET_QUERIES, SNAPSHOT_ARENA_MAX);
    enter(s, snap);
    struct builder b = {
        .store = s, .sel = sel, .snap = snap, .reterr = reterr, .last_attempt = last_attempt};
    struct index_stream *rows = NULL;
    size_t n_rows = 0;
    /* Before anything is looked at: what vanishes from disk meanwhile is hidden until the snapshot ends. */
    snap->eraser = atomic_load(&s->eraser);
    if (snap->eraser)
        snap->erase_set = snap->eraser->get(snap->eraser->ctx, sel->tenant);
    if (sel->tap)
        tap_seam_begin(sel->tap, sel->start_ns);
    int r = collect_heads(&b, true);
    if (r == 0)
        r = index_select(s->index, sel->tenant, sel->matchers, sel->n_matchers, sel->start_ns,
                         sel->end_ns, &snap->arena, &rows, &n_rows, reterr);
    if (r == 0)
        r = index_reader_begin(s->index, &b.reader, reterr);
    if (r == 0)
        r = build_streams(&b, rows, n_rows);
    index_reader_end(b.reader);
    for (size_t i = 0; i < b.n_parts; i++)
        part_done(&b.parts[i]);
    free(b.refs);
    if (r < 0) {
        store_snapshot_free(snap);
        return r == -ENOMEM ? err_set(reterr, r, "no memory for a snapshot") : r;
    }
    *ret = snap;
    return 0;
}

/* A server does not know of the readers of other processes: between their look at the index and at the files it may
 * have deleted some. The index then says what came in their place. */
int store_select(struct store *s, const struct select *sel, struct snapshot **ret,
                 struct err *reterr) {
    if (is_union(sel->tenant))
        return union_select(s, sel, ret, reterr);
    int r = -EAGAIN;
    for (int left = s->options.read_only ? SELECT_ATTEMPTS : 1; r == -EAGAIN && left > 0; left--)
        r = select_once(s, sel, left == 1, ret, reterr);
    return r;
}

void store_snapshot_free(struct snapshot *snap) {
    if (!snap)
        return;
    struct store *s = snap->store;
    for (size_t i = 0; i < snap->n_children; i++)
        store_snapshot_free(snap->children[i]);
    if (snap->is_union) {
        arena_done(&snap->arena);
        free(snap);
        return;
    }
    for (size_t i = 0; i < snap->n_streams; i++)
        for (size_t k = 0; k < snap->streams[i].n_blocks; k++) {
            struct block_ref *ref = (struct block_ref *)snap->streams[i].blocks[k];
            uint64_t *dead = atomic_load(&ref->dead);
            if (dead != &no_dead)
                free(dead);
            if (ref->place == PLACE_MEMORY)
                mem_block_unref(ref->memory);
            else if (ref->place == PLACE_ROWS)
                rows_unref(ref->rows.rows);
        }
    for (size_t i = 0; i < snap->n_held; i++)
        chunk_cache_put(s->cache, snap->held[i]);
    for (size_t i = 0; i < snap->n_pinned; i++)
        stream_unpin(snap->pinned[i]);
    leave(s, snap);
    if (snap->erase_set)
        snap->eraser->put(snap->erase_set);
    free(snap->held);
    arena_done(&snap->arena);
    free(snap);
}

size_t snapshot_streams(const struct snapshot *snap, const struct snap_stream **ret) {
    *ret = snap->streams;
    return snap->n_streams;
}

uint64_t snapshot_lost(const struct snapshot *snap) {
    return snap->n_lost;
}

uint64_t snapshot_excluded(const struct snapshot *snap) {
    return snap->n_excluded;
}

/* ---- label sets only */

static bool is_visible(struct store *s, struct str tenant, struct labels labels, int64_t last_ns) {
    store_visible_fn *visible = atomic_load(&s->visible);
    return !visible || last_ns >= visible(atomic_load(&s->visible_ctx), tenant, labels);
}

int store_series(struct store *s, const struct select *sel, store_series_fn *fn, void *ctx,
                 struct err *reterr) {
    if (is_union(sel->tenant))
        return union_series(s, sel, fn, ctx, reterr);
    struct snapshot snap = {.store = s,
                            .arena = arena_make_for(BUDGET_QUERIES, SNAPSHOT_ARENA_MAX)};
    struct builder b = {.store = s, .sel = sel, .snap = &snap};
    struct index_stream *rows = NULL;
    size_t n_rows = 0;
    int r = collect_heads(&b, false);
    if (r == 0)
        r = index_select(s->index, sel->tenant, sel->matchers, sel->n_matchers, sel->start_ns,
                         sel->end_ns, &snap.arena, &rows, &n_rows, reterr);
    size_t k = 0;
    for (size_t i = 0; i < n_rows && r == 0; i++) {
        while (k < b.n_parts && b.parts[k].stream->id < rows[i].id)
            k++;
        if (k < b.n_parts && b.parts[k].stream->id == rows[i].id)
            continue; /* told below, with what memory knows */
        if (is_visible(s, sel->tenant, rows[i].labels, rows[i].last_ns))
            r = fn(rows[i].labels, ctx);
    }
    for (size_t i = 0; i < b.n_parts && r == 0; i++) {
        const struct memory_part *p = &b.parts[i];
        if (p->first_ns <= p->last_ns &&
            ranges_meet(p->first_ns, p->last_ns, sel->start_ns, sel->end_ns) &&
            is_visible(s, sel->tenant, p->stream->labels, p->last_ns))
            r = fn(p->stream->labels, ctx);
    }
    for (size_t i = 0; i < b.n_parts; i++)
        part_done(&b.parts[i]);
    for (size_t i = 0; i < snap.n_pinned; i++)
        stream_unpin(snap.pinned[i]);
    arena_done(&snap.arena);
    return r;
}

/* ---- names alone */

struct names_search {
    struct store *store;
    const struct name_query *query;
    struct name_set *into;
};

static bool counts(void *ctx, struct labels labels, int64_t last_ns) {
    const struct names_search *n = ctx;
    return is_visible(n->store, n->query->tenant, labels, last_ns);
}

static int add_series_names(struct labels labels, void *ctx) {
    const struct names_search *n = ctx;
    size_t left = SIZE_MAX;
    return name_set_add_labels(n->into, n->query, labels, &left);
}

/* Memory first, the index second: what is flushed in between stands in both. */
int store_names(struct store *s, const struct select *sel, struct str label, struct name_set *into,
                struct err *reterr) {
    struct name_query q = {.tenant = sel->tenant,
                           .label = label,
                           .start_ns = sel->start_ns,
                           .end_ns = sel->end_ns,
                           .counts = counts};
    struct names_search n = {.store = s, .query = &q, .into = into};
    q.ctx = &n;
    if (label.data && label.size == 0)
        return 0; /* no label has that name */
    if (sel->n_matchers > 0 || is_union(sel->tenant))
        return store_series(s, sel, add_series_names, &n, reterr);
    int r = registry_names(&s->registry, &q, into);
    return r < 0 ? r : index_names(s->index, &q, into, reterr);
}
