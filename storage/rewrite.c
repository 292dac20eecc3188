/* rewrite: new chunk files in place of old ones. Crash states, and what the next start does:
 *
 *   1. NAME.tmp of some outputs: nobody knows them; the orphan sweep removes them. The sources are served.
 *   2. All outputs durable as NAME.tmp; all but the first renamed, folder synced: as 1, files that the index does not
 *      know are orphans. An index rebuilt from this state takes them beside the sources: entries stand twice on
 *      disk and once in every answer (overlap.c), until the next merge.
 *   3. The first output renamed, folder synced. It alone names the sources as replaced and carries their WAL position: with
 *      the index, still as 1; an index rebuilt from this state leaves the sources out.
 *   4. The index transaction is committed: sources out, outputs in, at once. The sources' files are orphans.
 *   5. The sources' files are removed, as soon as no snapshot can need them. An output names, beside its sources, what those
 *      had replaced: files of state 4 of an earlier rewrite never come back.
 *
 * When nothing is left to write there is no output and no state 2 or 3; should the index be lost before state 5 is
 * over, the sources' entries come back with it. */
#include "rewrite.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "io.h"
#include "snapshot.h"
#include "units.h"

enum {
    OUTPUTS_MAX = 4096,
    OUTPUT_BLOCKS_MAX = 8192, /* half of what a chunk may have */
    META_CUT_BYTES = 4 << 20, /* as heads are cut */
    FULL_PERCENT = 75,        /* of BLOCK_RAW_TARGET: such a block is worth copying */
    FOLDER_ATTEMPTS = 5,
    IDLE_READERS = 4, /* what mostly is open at once; each keeps its buffers */
};

struct source_block {
    struct block_ref ref;
    size_t source;
};

/* A source block being read. */
struct cursor {
    struct block_reader *reader;
    const struct source_block *block;
    const int64_t *times;
    const uint32_t *offsets;
    struct str lines;
    const struct meta_column *columns;
    size_t n_columns;
    uint64_t *erased; /* bitmap, or NULL */
    uint32_t at, count;
};

struct output {
    uint64_t seq;
    struct chunk_sums sums;
    bool renamed;
    char path[CHUNK_PATH_MAX];
};

struct work {
    struct store *store;
    const struct rewrite *w;
    struct labels labels; /* of the first source's header */
    int32_t day;
    struct cached_chunk **held; /* per source */
    struct source_block *blocks;
    size_t n_blocks, next;
    bool *touched;     /* per block: `erase` wants some of it */
    uint64_t **erased; /* per block that is touched: its bitmap, until a cursor takes it */
    struct cursor cursors[REWRITE_OPEN_MAX];
    size_t n_cursors;
    struct block_reader *idle[IDLE_READERS];
    size_t n_idle;
    struct label *pairs; /* ENTRY_META_MAX: metadata of the entry at hand */
    struct rows_builder open;
    struct block_encoder *encoder;
    struct buf encoded, filter;
    struct block_input input; /* its arrays belong to us */
    uint32_t input_capacity, input_sets;
    uint64_t *replaces;
    size_t n_replaces;
    struct wal_pos position;
    struct output *outputs;
    size_t n_outputs;
    struct chunk_writer *writer; /* of the last output */
    uint64_t unpaced;
    struct rewrite_result result;
    bool one_by_one; /* blocks are not read side by side */
    size_t bad;
    struct err *reterr;
};

static int no_memory(struct work *k) {
    return err_set(k->reterr, -ENOMEM, "no memory to rewrite chunks");
}

static int pace(struct work *k, uint64_t bytes) {
    return k->w->pace ? k->w->pace(k->w->pace_ctx, bytes) : 0;
}

/* ---- sources */

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The sources' numbers and all that they had replaced. */
static int gather_replaces(struct work *k) {
    size_t n = 0;
    for (size_t i = 0; i < k->w->n_sources; i++)
        n += 1 + chunk_get_head(cached_chunk_get(k->held[i]))->n_replaces;
    if (n > CHUNK_REPLACES_MAX)
        return err_set(k->reterr, -EREFUSED, "%zu chunks would be replaced by one, limit is %d", n,
                       CHUNK_REPLACES_MAX);
    k->replaces = malloc(sizeof(*k->replaces) * n);
    if (!k->replaces)
        return no_memory(k);
    size_t at = 0;
    for (size_t i = 0; i < k->w->n_sources; i++) {
        const struct chunk_head *head = chunk_get_head(cached_chunk_get(k->held[i]));
        k->replaces[at++] = head->chunk_seq;
        for (size_t m = 0; m < head->n_replaces; m++)
            k->replaces[at++] = head->replaces[m];
    }
    qsort(k->replaces, n, sizeof(*k->replaces), compare_u64);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || k->replaces[i] != k->replaces[i - 1])
            k->replaces[k->n_replaces++] = k->replaces[i];
    return 0;
}

/* Is it what the index says? By its labels, for a rebuild may have given their stream another number than the header has. */
static bool is_source(const struct work *k, size_t i) {
    const struct index_chunk *c = &k->w->sources[i];
    const struct chunk *chunk = cached_chunk_get(k->held[i]);
    const struct chunk_head *head = chunk_get_head(chunk),
                            *first = chunk_get_head(cached_chunk_get(k->held[0]));
    return !chunk_is_damaged(chunk) && head->day == c->day && head->chunk_seq == c->chunk_seq &&
           labels_eq(head->labels, first->labels);
}

static int open_source(struct work *k, size_t i) {
    const struct index_chunk *c = &k->w->sources[i];
    struct chunk_id id = chunk_id_of(k->w->tenant, c);
    int r = chunk_cache_get(k->store->cache, &id, &k->held[i], k->reterr);
    if (r < 0)
        goto bad;
    const struct chunk *chunk = cached_chunk_get(k->held[i]);
    const struct chunk_head *head = chunk_get_head(chunk);
    if (!is_source(k, i)) {
        r = err_set(k->reterr, -ECORRUPT, "%s is damaged", cached_chunk_path(k->held[i]));
        goto bad;
    }
    struct wal_pos position = {.lsn = head->wal_lsn, .index = head->wal_index};
    if (wal_pos_before(k->position, position))
        k->position = position;
    k->n_blocks += chunk_block_count(chunk);
    return 0;
bad:
    k->bad = i;
    return r == -ENOENT ? -ECORRUPT : r;
}

static int compare_blocks(const void *a, const void *b) {
    const struct source_block *x = a, *y = b;
    if (x->ref.info.first_ns != y->ref.info.first_ns)
        return x->ref.info.first_ns < y->ref.info.first_ns ? -1 : 1;
    return (x->ref.order > y->ref.order) - (x->ref.order < y->ref.order);
}

static void list_blocks(struct work *k) {
    size_t n = 0;
    for (size_t i = 0; i < k->w->n_sources; i++) {
        const struct chunk *chunk = cached_chunk_get(k->held[i]);
        for (uint32_t m = 0; m < chunk_block_count(chunk); m++) {
            const struct block_info *info = chunk_block_info(chunk, m);
            struct source_block *b = &k->blocks[n++];
            b->source = i;
            b->ref.place = PLACE_CHUNK;
            b->ref.data_dir_fd = k->store->dir_fd;
            b->ref.order = chunk_get_head(chunk)->chunk_seq << 20 | m;
            b->ref.chunk.cached = k->held[i];
            b->ref.chunk.index = m;
            b->ref.info = (struct block_ref_info){.first_ns = info->first_ns,
                                                  .last_ns = info->last_ns,
                                                  .count = info->count,
                                                  .line_bytes = info->line_bytes,
                                                  .meta_bytes = info->meta_bytes,
                                                  .stored_bytes = info->stored_size};
        }
    }
    assert(n == k->n_blocks);
    qsort(k->blocks, n, sizeof(*k->blocks), compare_blocks);
}

static uint64_t block_memory(const struct source_block *b) {
    return (uint64_t)b->ref.info.line_bytes + b->ref.info.meta_bytes +
           (uint64_t)b->ref.info.count * 16;
}

/* How much is open side by side at the worst place: each block with all before it that reach over its start. */
static int check_overlap(const struct work *k) {
    const struct source_block *open[REWRITE_OPEN_MAX];
    size_t n_open = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < k->n_blocks; i++) {
        const struct source_block *b = &k->blocks[i];
        for (size_t m = 0; m < n_open;) {
            if (open[m]->ref.info.last_ns >= b->ref.info.first_ns) {
                m++;
                continue;
            }
            bytes -= block_memory(open[m]);
            open[m] = open[--n_open];
        }
        bytes += block_memory(b);
        if (n_open == REWRITE_OPEN_MAX || (bytes > REWRITE_OPEN_BYTES && n_open > 0))
            return -E2BIG;
        open[n_open++] = b;
    }
    return 0;
}

static int open_sources(struct work *k) {
    size_t n = k->w->n_sources;
    k->held = calloc(n, sizeof(struct cached_chunk *));
    if (!k->held)
        return no_memory(k);
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = open_source(k, i);
    if (r == 0)
        r = gather_replaces(k);
    if (r < 0)
        return r;
    k->labels = chunk_get_head(cached_chunk_get(k->held[0]))->labels;
    k->day = k->w->sources[0].day;
    k->blocks = calloc(k->n_blocks + 1, sizeof(*k->blocks));
    k->touched = calloc(k->n_blocks + 1, sizeof(*k->touched));
    k->erased = calloc(k->n_blocks + 1, sizeof(*k->erased));
    if (!k->blocks || !k->touched || !k->erased)
        return no_memory(k);
    list_blocks(k);
    return 0;
}

/* ---- outputs */

static int make_folder(struct store *s, const char *path) {
    char folder[CHUNK_PATH_MAX];
    size_t n = (size_t)(strrchr(path, '/') - path);
    memcpy(folder, path, n);
    folder[n] = '\0';
    return io_mkdirs(s->dir_fd, folder, 0755);
}

static int open_output(struct work *k) {
    if (k->n_outputs == OUTPUTS_MAX)
        return err_set(k->reterr, -E2BIG, "a rewrite makes at most %d files", OUTPUTS_MAX);
    struct output *grown = realloc(k->outputs, sizeof(*grown) * (k->n_outputs + 1));
    if (!grown)
        return no_memory(k);
    k->outputs = grown;
    struct output *o = &k->outputs[k->n_outputs];
    *o = (struct output){.seq = atomic_fetch_add(&k->store->next_chunk_seq, 1)};
    uint64_t stream_id = k->w->sources[0].stream_id;
    int r = chunk_path(o->path, k->w->tenant, k->day, stream_id, o->seq);
    if (r < 0)
        return err_set(k->reterr, r, "cannot name a chunk: %s", err_name(r));
    bool first = k->n_outputs == 0; /* published last */
    struct chunk_head head = {.tenant = k->w->tenant,
                              .labels = k->labels,
                              .stream_id = stream_id,
                              .chunk_seq = o->seq,
                              .wal_lsn = first ? k->position.lsn : 0,
                              .wal_index = first ? k->position.index : 0,
                              .day = k->day,
                              .grade = k->w->grade,
                              .replaces = k->replaces,
                              .n_replaces = first ? k->n_replaces : 0};
    char temporary[CHUNK_PATH_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", o->path);
    r = chunk_writer_open(k->store->dir_fd, temporary, &head, &k->writer, k->reterr);
    for (int attempt = 0; r == -ENOENT && attempt < FOLDER_ATTEMPTS; attempt++) {
        r = make_folder(k->store, o->path);
        if (r == 0)
            r = chunk_writer_open(k->store->dir_fd, temporary, &head, &k->writer, k->reterr);
    }
    if (r == 0)
        k->n_outputs++;
    return r;
}

static int finish_output(struct work *k) {
    if (!k->writer)
        return 0;
    struct output *o = &k->outputs[k->n_outputs - 1];
    int fd = -1;
    int r = chunk_writer_finish(k->writer, &fd, &o->sums, k->reterr);
    if (r < 0)
        return r; /* the writer is aborted with all else */
    k->writer = NULL;
    r = io_fsync(fd);
    io_close(fd);
    return r < 0 ? err_set(k->reterr, r, "cannot sync %s: %s", o->path, err_name(r)) : 0;
}

static int put_block(struct work *k, struct str encoded, struct str filter) {
    struct chunk_block block = {.encoded = encoded, .filter = filter};
    int r = 0;
    if (k->writer && (chunk_writer_size(k->writer) + encoded.size > k->w->target_bytes ||
                      chunk_writer_blocks(k->writer) >= OUTPUT_BLOCKS_MAX))
        r = finish_output(k);
    if (r == 0 && !k->writer)
        r = open_output(k);
    if (r == 0)
        r = chunk_writer_add(k->writer, &block, k->reterr);
    k->unpaced += encoded.size;
    return r;
}

/* ---- the block being filled */

static int grow_input(struct work *k, uint32_t count, uint32_t n_sets) {
    struct block_input *in = &k->input;
    if (count > k->input_capacity) {
        free((void *)in->times);
        free((void *)in->lines);
        free((void *)in->meta_ids);
        in->times = malloc(sizeof(*in->times) * count);
        in->lines = malloc(sizeof(*in->lines) * count);
        in->meta_ids = malloc(sizeof(*in->meta_ids) * count);
        k->input_capacity = in->times && in->lines && in->meta_ids ? count : 0;
    }
    if (n_sets > k->input_sets) {
        free((void *)in->meta_sets);
        in->meta_sets = malloc(sizeof(*in->meta_sets) * n_sets);
        k->input_sets = in->meta_sets ? n_sets : 0;
    }
    return k->input_capacity >= count && k->input_sets >= n_sets ? 0 : no_memory(k);
}

static int encode_range(struct work *k, const struct rows *rows, uint32_t from, uint32_t to,
                        uint32_t n_sets) {
    uint32_t n = to - from;
    int r = grow_input(k, n, n_sets);
    if (r < 0)
        return r;
    struct str *lines = (struct str *)k->input.lines;
    struct labels *sets = (struct labels *)k->input.meta_sets;
    memcpy((int64_t *)k->input.times, rows->times + from, sizeof(int64_t) * n);
    memcpy((uint32_t *)k->input.meta_ids, rows->meta_ids + from, sizeof(uint32_t) * n);
    for (uint32_t i = 0; i < n; i++)
        lines[i] = rows_line(rows, from + i);
    for (uint32_t i = 0; i < n_sets; i++)
        sets[i] = *rows->sets[i];
    k->input.count = n;
    k->input.n_meta_sets = n_sets;
    buf_clear(&k->encoded);
    buf_clear(&k->filter);
    return block_encode(k->encoder, &k->input, k->w->effort, &k->encoded, &k->filter);
}

/* Closes the block: encodes it, in halves while it is too big for one, and writes it. */
static int cut(struct work *k) {
    uint32_t count = k->open.count, n_sets = k->open.n_sets;
    if (count == 0)
        return 0;
    assert(k->open.sorted);
    struct rows *rows = rows_take(&k->open);
    int r = 0;
    for (uint32_t from = 0, to = count; from < count && r == 0;) {
        r = encode_range(k, rows, from, to, n_sets);
        if (r == -E2BIG && to - from > 1) {
            to = from + (to - from) / 2;
            r = 0;
            continue;
        }
        if (r == 0)
            r = put_block(k, buf_str(&k->encoded), buf_str(&k->filter));
        else if (r != -ENOMEM)
            (void)err_set(k->reterr, r, "cannot encode a block: %s", err_name(r));
        k->result.blocks_encoded++;
        from = to;
        to = count;
    }
    rows_unref(rows);
    return r;
}

/* Full, and not in the middle of equal times, among which duplicates are looked for. A last bit of the only block
 * at hand is taken along, so that the next one can be copied as it is. */
static bool must_cut(const struct work *k, const struct cursor *c, int64_t next_ns) {
    const struct rows_builder *b = &k->open;
    if (b->count >= BLOCK_ENTRIES_MAX || b->meta_bytes >= 2 * META_CUT_BYTES ||
        b->line_bytes >= 4 * BLOCK_RAW_TARGET)
        return true;
    if (next_ns == b->max_ns)
        return false;
    if (b->meta_bytes >= META_CUT_BYTES)
        return true;
    if (b->line_bytes < BLOCK_RAW_TARGET)
        return false;
    uint32_t left = c->offsets[c->count] - c->offsets[c->at];
    return k->n_cursors > 1 || left > BLOCK_RAW_TARGET / 2 ||
           b->count + (c->count - c->at) > BLOCK_ENTRIES_MAX;
}

static struct entry entry_at(const struct work *k, const struct cursor *c, uint32_t i) {
    struct entry e = {
        .ts_ns = c->times[i],
        .line = str_make(c->lines.data + c->offsets[i], c->offsets[i + 1] - 1 - c->offsets[i]),
        .meta = k->pairs};
    for (size_t m = 0; m < c->n_columns; m++) {
        uint32_t id = c->columns[m].ids[i];
        if (id != 0 && e.meta_count < ENTRY_META_MAX)
            k->pairs[e.meta_count++] =
                (struct label){.name = c->columns[m].name, .value = c->columns[m].values[id - 1]};
    }
    return e;
}

/* Takes entries of the cursor while they are before (or at, when `inclusive`) `bound_ns`. */
static int take_run(struct work *k, struct cursor *c, int64_t bound_ns, bool inclusive) {
    for (; c->at < c->count; c->at++) {
        int64_t ts = c->times[c->at];
        if (ts > bound_ns || (ts == bound_ns && !inclusive))
            return 0;
        if (dead_test(c->erased, c->at)) {
            k->result.erased_entries++;
            k->result.erased_bytes += c->offsets[c->at + 1] - 1 - c->offsets[c->at];
            continue;
        }
        if (k->open.count > 0 && must_cut(k, c, ts)) {
            int r = cut(k);
            if (r < 0)
                return r;
        }
        struct entry e = entry_at(k, c, c->at);
        int r = rows_add(&k->open, &e, NULL);
        if (r < 0)
            return no_memory(k);
        k->result.entries += (uint64_t)r;
        k->result.duplicates += r == 0;
    }
    return 0;
}

/* ---- cursors */

static struct block_reader *take_reader(struct work *k) {
    return k->n_idle > 0 ? k->idle[--k->n_idle] : block_reader_new();
}

static void give_reader(struct work *k, struct block_reader *r) {
    if (k->n_idle < IDLE_READERS)
        k->idle[k->n_idle++] = r;
    else
        block_reader_free(r);
}

static void close_cursor(struct work *k, struct cursor *c) {
    give_reader(k, c->reader);
    free(c->erased);
    *c = (struct cursor){0};
}

static int blame(struct work *k, const struct source_block *b, int r) {
    if (r == -ECORRUPT || r == -ENOENT || r == -EIO)
        k->bad = b->source;
    return r == -ENOENT ? -ECORRUPT : r;
}

static int open_cursor(struct work *k, size_t i) {
    const struct source_block *b = &k->blocks[i];
    assert(k->n_cursors < REWRITE_OPEN_MAX);
    struct cursor *c = &k->cursors[k->n_cursors];
    *c = (struct cursor){.reader = take_reader(k), .block = b, .count = b->ref.info.count};
    if (!c->reader)
        return no_memory(k);
    k->n_cursors++;
    c->erased = k->erased[i];
    k->erased[i] = NULL;
    block_reader_open_raw(c->reader, &b->ref);
    int r = block_reader_times(c->reader, &c->times, k->reterr);
    if (r == 0)
        r = block_reader_offsets(c->reader, &c->offsets, k->reterr);
    if (r == 0)
        r = block_reader_lines(c->reader, &c->lines, k->reterr);
    if (r == 0)
        r = block_reader_meta(c->reader, &c->columns, &c->n_columns, k->reterr);
    k->unpaced += b->ref.info.stored_bytes;
    return r < 0 ? blame(k, b, r) : 0;
}

/* Earlier time first; among equal times the older block. */
static bool cursor_before(const struct cursor *a, const struct cursor *b) {
    int64_t x = a->times[a->at], y = b->times[b->at];
    return x < y || (x == y && a->block->ref.order < b->block->ref.order);
}

/* One run of entries of the cursor that comes first, up to where another one or the next block has its turn. */
static int step(struct work *k) {
    size_t best = 0;
    for (size_t i = 1; i < k->n_cursors; i++)
        if (cursor_before(&k->cursors[i], &k->cursors[best]))
            best = i;
    struct cursor *c = &k->cursors[best];
    int64_t bound_ns = INT64_MAX;
    bool inclusive = true;
    for (size_t i = 0; i < k->n_cursors; i++) {
        const struct cursor *other = &k->cursors[i];
        bool older = other->block->ref.order < c->block->ref.order;
        if (i == best || other->times[other->at] > bound_ns)
            continue;
        if (other->times[other->at] < bound_ns)
            inclusive = true;
        bound_ns = other->times[other->at];
        inclusive = inclusive && !older;
    }
    if (!k->one_by_one && k->next < k->n_blocks &&
        k->blocks[k->next].ref.info.first_ns <= bound_ns) {
        bound_ns = k->blocks[k->next].ref.info.first_ns;
        inclusive = false;
    }
    int r = take_run(k, c, bound_ns, inclusive);
    if (r == 0 && c->at == c->count) {
        close_cursor(k, c);
        *c = k->cursors[--k->n_cursors];
        k->cursors[k->n_cursors] = (struct cursor){0};
        uint64_t bytes = k->unpaced;
        k->unpaced = 0;
        r = pace(k, bytes);
    }
    return r;
}

/* ---- copying blocks as they are */

/* Does no other source block share a time with block i? All before it are done with. */
static bool stands_alone(const struct work *k, size_t i) {
    const struct block_ref_info *info = &k->blocks[i].ref.info;
    return k->n_cursors == 0 && (k->open.count == 0 || k->open.max_ns < info->first_ns) &&
           (i + 1 == k->n_blocks || k->blocks[i + 1].ref.info.first_ns > info->last_ns);
}

static bool may_copy(const struct work *k, size_t i) {
    const struct source_block *b = &k->blocks[i];
    const struct block_ref_info *info = &b->ref.info;
    bool full = info->line_bytes >= BLOCK_RAW_TARGET / 100 * FULL_PERCENT ||
                info->count >= BLOCK_ENTRIES_MAX / 100 * FULL_PERCENT ||
                info->meta_bytes >= META_CUT_BYTES / 100 * FULL_PERCENT;
    /* Erasing alone leaves all blocks as they are but those that lose entries. */
    if ((k->w->erase || k->w->as_is) && k->w->n_sources == 1)
        full = true;
    else if (k->open.count > 0 && k->open.line_bytes < BLOCK_RAW_TARGET / 4)
        return false; /* the small rest is taken along */
    const struct chunk *chunk = cached_chunk_get(b->ref.chunk.cached);
    return full && !k->touched[i] && filters_has(chunk_filters(chunk), b->ref.chunk.index) &&
           k->w->sources[b->source].grade >= k->w->reencode_below && stands_alone(k, i);
}

static int copy_block(struct work *k, size_t i) {
    const struct source_block *b = &k->blocks[i];
    const struct chunk *chunk = cached_chunk_get(b->ref.chunk.cached);
    struct block_reader *reader = take_reader(k);
    if (!reader)
        return no_memory(k);
    struct str encoded;
    block_reader_open_raw(reader, &b->ref);
    int r = cut(k);
    if (r == 0) {
        r = block_reader_encoded(reader, &encoded, k->reterr);
        if (r < 0)
            r = blame(k, b, r);
    }
    if (r == 0 && !filters_take(chunk_filters(chunk), b->ref.chunk.index, &k->filter))
        r = no_memory(k);
    if (r == 0)
        r = put_block(k, encoded, buf_str(&k->filter));
    k->result.blocks_copied++;
    k->result.entries += b->ref.info.count;
    give_reader(k, reader);
    return r < 0 ? r : pace(k, 2 * (uint64_t)b->ref.info.stored_bytes);
}

/* ---- erasing */

static int ask_block(struct work *k, size_t i, struct block_reader *reader, bool *ret_any) {
    const struct source_block *b = &k->blocks[i];
    size_t words = (b->ref.info.count + 63) / 64;
    uint64_t *bits = calloc(words, sizeof(*bits));
    if (!bits)
        return no_memory(k);
    block_reader_open_raw(reader, &b->ref);
    int r = k->w->erase(k->w->erase_ctx, k->labels, reader, &b->ref.info, bits, k->reterr);
    for (size_t n = 0; n < words && r == 0; n++)
        k->touched[i] = k->touched[i] || bits[n] != 0;
    if (r == 0 && k->touched[i]) {
        k->erased[i] = bits;
        bits = NULL;
        *ret_any = true;
    }
    free(bits);
    return r < 0 ? blame(k, b, r) : 0;
}

/* Which entries go, before anything is written: mostly nothing has to be. */
static int ask_all(struct work *k, bool *ret_any) {
    struct block_reader *reader = take_reader(k);
    if (!reader)
        return no_memory(k);
    int r = 0;
    for (size_t i = 0; i < k->n_blocks && r == 0; i++) {
        r = ask_block(k, i, reader, ret_any);
        if (r == 0)
            r = pace(k, k->blocks[i].ref.info.stored_bytes);
    }
    give_reader(k, reader);
    return r;
}

/* ---- all entries */

/* When too many blocks overlap to be read side by side, erasing still has to work: block by block then, each sorted in
 * itself, as flushed ones are. */
static bool next_opens(const struct work *k) {
    if (k->next == k->n_blocks)
        return false;
    if (k->n_cursors > 0 && k->one_by_one)
        return false;
    for (size_t i = 0; i < k->n_cursors; i++)
        if (k->blocks[k->next].ref.info.first_ns > k->cursors[i].times[k->cursors[i].at])
            return false;
    return true;
}

static int run(struct work *k) {
    int r = 0;
    while (r == 0 && (k->next < k->n_blocks || k->n_cursors > 0)) {
        if (next_opens(k)) {
            size_t i = k->next++;
            r = may_copy(k, i) ? copy_block(k, i) : open_cursor(k, i);
        } else {
            r = step(k);
            if (r == 0 && k->one_by_one && k->n_cursors == 0)
                r = cut(k);
        }
    }
    return r == 0 ? cut(k) : r;
}

/* ---- publishing */

static int rename_output(struct work *k, struct output *o) {
    char temporary[CHUNK_PATH_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", o->path);
    int r = io_rename(k->store->dir_fd, temporary, k->store->dir_fd, o->path);
    if (r < 0)
        return err_set(k->reterr, r, "cannot rename %s: %s", temporary, err_name(r));
    o->renamed = true;
    return 0;
}

static int sync_folder(struct work *k) {
    char folder[CHUNK_PATH_MAX];
    const char *path = k->outputs[0].path;
    size_t n = (size_t)(strrchr(path, '/') - path);
    memcpy(folder, path, n);
    folder[n] = '\0';
    int r = io_fsync_dir(k->store->dir_fd, folder);
    return r < 0 ? err_set(k->reterr, r, "cannot sync folder %s: %s", folder, err_name(r)) : 0;
}

/* The first one, which says what is replaced, last. */
static int publish(struct work *k) {
    int r = 0;
    for (size_t i = 1; i < k->n_outputs && r == 0; i++)
        r = rename_output(k, &k->outputs[i]);
    if (r == 0 && k->n_outputs > 1)
        r = sync_folder(k);
    if (r == 0 && k->n_outputs > 0)
        r = rename_output(k, &k->outputs[0]);
    if (r == 0 && k->n_outputs > 0)
        r = sync_folder(k);
    return r;
}

static int swap_rows(struct index_txn *txn, void *ctx, struct err *reterr) {
    struct work *k = ctx;
    const struct rewrite *w = k->w;
    int r = 0;
    for (size_t i = 0; i < w->n_sources && r == 0; i++) {
        r = index_txn_has_chunk(txn, w->tenant, &w->sources[i], reterr);
        if (r == -ENOENT)
            r = err_set(reterr, -ESTALE, "chunk %llu has gone meanwhile",
                        (unsigned long long)w->sources[i].chunk_seq);
        if (r == 0)
            r = index_del_chunk(txn, w->tenant, &w->sources[i], reterr);
    }
    for (size_t i = 0; i < k->n_outputs && r == 0; i++) {
        struct index_chunk row = {.stream_id = w->sources[0].stream_id,
                                  .chunk_seq = k->outputs[i].seq,
                                  .day = k->day,
                                  .grade = w->grade,
                                  .sums = k->outputs[i].sums};
        r = index_put_chunk(txn, w->tenant, &row, reterr);
    }
    if (r == 0)
        r = index_put_counter(txn, STORE_COUNTER_CHUNK,
                              atomic_load(&k->store->next_chunk_seq) + COUNTER_GAP, reterr);
    return r;
}

static void undo(struct work *k) {
    chunk_writer_abort(k->writer);
    k->writer = NULL;
    for (size_t i = 0; i < k->n_outputs; i++) {
        char temporary[CHUNK_PATH_MAX + 8];
        (void)snprintf(temporary, sizeof(temporary), "%s.tmp", k->outputs[i].path);
        (void)io_unlink(k->store->dir_fd, k->outputs[i].renamed ? k->outputs[i].path : temporary);
    }
}

/* When erasing leaves nothing, no file tells the position of the sources any more. */
static int keep_position(struct work *k) {
    bool untold = k->w->erase && k->n_outputs == 0;
    return untold ? store_keep_positions(k->store, &k->w->sources[0].stream_id, 1, k->reterr) : 0;
}

static int commit(struct work *k) {
    int r = keep_position(k);
    if (r == 0)
        r = publish(k);
    if (r < 0)
        goto fail;
    r = store_index_update(k->store, swap_rows, k, k->reterr);
    if (r < 0) {
        /* As for flushes: after an error of the device nobody knows what the index will say after the next start. Both
         * sets of files stay; the orphan sweep removes the wrong ones. */
        bool in_doubt = r != -ENOSPC && r != -ENOMEM && r != -ESTALE;
        if (in_doubt)
            return r;
        goto fail;
    }
    for (size_t i = 0; i < k->w->n_sources; i++) {
        const struct index_chunk *c = &k->w->sources[i];
        store_delete_chunk(k->store, k->w->tenant, c);
        k->result.source_bytes += c->sums.file_bytes;
    }
    for (size_t i = 0; i < k->n_outputs; i++)
        k->result.output_bytes += k->outputs[i].sums.file_bytes;
    k->result.sources = k->w->n_sources;
    k->result.outputs = k->n_outputs;
    return 0;
fail:
    undo(k);
    return r;
}

/* ---- the door */

static void release(struct work *k) {
    for (size_t i = 0; i < k->n_cursors; i++)
        close_cursor(k, &k->cursors[i]);
    for (size_t i = 0; i < k->n_idle; i++)
        block_reader_free(k->idle[i]);
    for (size_t i = 0; k->held && i < k->w->n_sources; i++)
        chunk_cache_put(k->store->cache, k->held[i]);
    for (size_t i = 0; k->erased && i < k->n_blocks; i++)
        free(k->erased[i]);
    rows_builder_done(&k->open);
    if (!k->w->encoder)
        block_encoder_free(k->encoder);
    buf_done(&k->encoded);
    buf_done(&k->filter);
    free((void *)k->input.times);
    free((void *)k->input.lines);
    free((void *)k->input.meta_ids);
    free((void *)k->input.meta_sets);
    free(k->held);
    free(k->blocks);
    free(k->touched);
    free(k->erased);
    free(k->replaces);
    free(k->outputs);
    free(k->pairs);
    free(k);
}

static int rewrite_all(struct work *k) {
    int r = open_sources(k);
    if (r < 0)
        return r;
    k->one_by_one = check_overlap(k) < 0;
    if (k->one_by_one && !((k->w->erase || k->w->as_is) && k->w->n_sources == 1))
        return err_set(k->reterr, -E2BIG, "too many blocks of %zu chunks overlap", k->w->n_sources);
    bool any = false;
    if (k->w->erase) {
        r = ask_all(k, &any);
        if (r == 0 && any && k->w->ask_only)
            k->result.sources = k->w->n_sources;
        if (r < 0 || !any || k->w->ask_only)
            return r;
    }
    r = run(k);
    if (r == 0)
        r = finish_output(k);
    if (r == 0)
        return commit(k);
    undo(k);
    return r;
}

int store_rewrite(struct store *s, const struct rewrite *w, struct rewrite_result *ret,
                  size_t *ret_bad, struct err *reterr) {
    assert(w->n_sources > 0 && w->n_sources <= REWRITE_SOURCES_MAX);
    for (size_t i = 1; i < w->n_sources; i++)
        assert(w->sources[i].stream_id == w->sources[0].stream_id &&
               w->sources[i].day == w->sources[0].day);
    struct work *k = calloc(1, sizeof(*k));
    if (!k)
        return err_set(reterr, -ENOMEM, "no memory to rewrite chunks");
    k->store = s;
    k->w = w;
    k->reterr = reterr;
    k->encoded = k->filter = buf_make(BUF_NO_MAX);
    k->encoder = w->encoder ? w->encoder : block_encoder_new();
    k->pairs = malloc(sizeof(*k->pairs) * ENTRY_META_MAX);
    int r = k->encoder && k->pairs ? rewrite_all(k) : no_memory(k);
    if (r == 0)
        *ret = k->result;
    else if (ret_bad)
        *ret_bad = k->bad;
    release(k);
    return r;
}

void rewrite_result_add(struct rewrite_result *sums, const struct rewrite_result *r) {
    sums->sources += r->sources;
    sums->source_bytes += r->source_bytes;
    sums->outputs += r->outputs;
    sums->output_bytes += r->output_bytes;
    sums->blocks_copied += r->blocks_copied;
    sums->blocks_encoded += r->blocks_encoded;
    sums->entries += r->entries;
    sums->duplicates += r->duplicates;
    sums->erased_entries += r->erased_entries;
    sums->erased_bytes += r->erased_bytes;
}
