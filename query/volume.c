/* Volume: a block that lies in one bucket gives what its header says. One at an edge, or with
 * entries that stand in another block too, has its times and lengths decoded; its metadata is
 * shared out evenly over its entries.
 *
 * Loki counts the size of its own encoding: the lines, PAIR_BYTES for each metadata pair, and
 * each distinct metadata name and value once per stream. Headers know only the size of all names
 * and values together, so the metadata columns of one block per stream are read, and what they
 * say about pairs is taken to hold for the stream. */
#include "volume.h"

#include <errno.h>
#include <stdlib.h>

#include "arena.h"
#include "blockref.h"
#include "buf.h"
#include "clock.h"
#include "exec.h"
#include "map.h"
#include "parser.h"
#include "units.h"

enum { PAIR_BYTES = 8 };

/* What the metadata of a stream counts, found from one of its blocks. */
struct meta_weight {
    bool known;
    uint64_t pair_bytes, for_bytes; /* so many for so many bytes of names and values */
    uint64_t text_bytes;            /* of distinct names and values, once per stream */
};

/* One row of the answer while it grows. */
struct volume_row {
    struct labels labels;
    uint64_t total;
    uint64_t *buckets;
};

struct volume {
    const struct volume_query *query;
    const struct log_expr *log;
    struct arena *arena; /* the result's */
    struct err *reterr;
    bool all_labels;

    int64_t first_ns; /* start of the first bucket, at or before query->start_ns */
    size_t n_buckets;
    uint64_t *stream_buckets;  /* of the stream at hand */
    struct meta_weight weight; /* of the stream at hand */

    struct block_reader *reader;
    struct buf key;
    struct label *wanted; /* of the stream at hand */
    size_t wanted_capacity;
    struct map by_labels; /* encoded label set -> struct volume_row */
    struct volume_row **rows;
    size_t n_rows, rows_capacity;
    struct query_stats stats;
};

/* ---- buckets */

static int64_t bucket_start(const struct volume *v, size_t i) {
    int64_t offset_ns;
    if (i == 0 || __builtin_mul_overflow((int64_t)i, v->query->step_ns, &offset_ns))
        return v->first_ns;
    return time_add(v->first_ns, offset_ns);
}

static size_t bucket_of(const struct volume *v, int64_t ts_ns) {
    if (v->n_buckets == 1)
        return 0;
    return (size_t)((uint64_t)ts_ns - (uint64_t)v->first_ns) / (size_t)v->query->step_ns;
}

static int64_t bucket_stamp(const struct volume *v, size_t i) {
    return i + 1 == v->n_buckets ? v->query->end_ns : bucket_start(v, i + 1) - NS_PER_MS;
}

static int make_buckets(struct volume *v) {
    const struct volume_query *q = v->query;
    v->first_ns = q->start_ns;
    v->n_buckets = 1;
    if (q->step_ns > 0 && q->end_ns > q->start_ns) {
        int64_t rest = q->start_ns % q->step_ns;
        v->first_ns = time_sub(q->start_ns, rest < 0 ? rest + q->step_ns : rest);
        uint64_t span = (uint64_t)q->end_ns - (uint64_t)v->first_ns;
        uint64_t count = (span - 1) / (uint64_t)q->step_ns + 1;
        if (count > VOLUME_POINTS_MAX)
            return err_set(v->reterr, -EREFUSED,
                           "%llu steps of volume, limit is %d; use a larger step",
                           (unsigned long long)count, VOLUME_POINTS_MAX);
        v->n_buckets = (size_t)count;
    }
    v->stream_buckets = arena_array(v->arena, v->n_buckets, sizeof(*v->stream_buckets));
    return v->stream_buckets ? 0 : exec_no_memory(v->reterr);
}

/* ---- bytes of a stream */

static int check(const struct volume *v) {
    const struct volume_query *q = v->query;
    if (q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
        return err_set(v->reterr, -ECANCELED, "The request was cancelled by the client.");
    if (q->deadline_mono_ns && clock_mono_ns() >= q->deadline_mono_ns)
        return err_set(v->reterr, -EEXPIRED, "request timed out");
    return 0;
}

static int find_weight(struct volume *v, const struct block_ref_info *info) {
    const struct meta_column *columns;
    size_t n_columns;
    int r = block_reader_meta(v->reader, &columns, &n_columns, v->reterr);
    if (r < 0)
        return r;
    struct meta_weight w = {.known = true, .for_bytes = info->meta_bytes};
    for (size_t c = 0; c < n_columns; c++) {
        w.text_bytes += columns[c].name.size;
        for (uint32_t i = 0; i < columns[c].n_values; i++)
            w.text_bytes += columns[c].values[i].size;
        for (uint32_t i = 0; i < info->count; i++)
            w.pair_bytes += columns[c].ids[i] ? PAIR_BYTES : 0;
    }
    v->weight = w;
    return 0;
}

static uint64_t weigh(const struct volume *v, uint64_t meta_bytes) {
    const struct meta_weight *w = &v->weight;
    return w->known ? meta_bytes * w->pair_bytes / w->for_bytes : 0;
}

/* Entry by entry. */
static int add_entries(struct volume *v, const struct block_ref_info *info, int64_t from_ns,
                       const uint64_t *dead) {
    const int64_t *times;
    const uint32_t *offsets;
    int r = block_reader_times(v->reader, &times, v->reterr);
    if (r == 0)
        r = block_reader_offsets(v->reader, &offsets, v->reterr);
    if (r < 0)
        return r;
    v->stats.blocks_decoded++;
    uint64_t meta_bytes = weigh(v, info->meta_bytes), meta_done = 0;
    for (uint32_t i = 0; i < info->count; i++) {
        uint64_t meta_until = meta_bytes * (i + 1) / info->count;
        uint64_t meta = meta_until - meta_done;
        meta_done = meta_until;
        if (times[i] < from_ns || times[i] >= v->query->end_ns || dead_test(dead, i))
            continue;
        v->stream_buckets[bucket_of(v, times[i])] += offsets[i + 1] - 1 - offsets[i] + meta;
    }
    return 0;
}

static int add_readable_block(struct volume *v, const struct block_ref *block, int64_t from_ns) {
    struct block_ref_info info;
    block_ref_get(block, &info);
    v->stats.blocks_considered++;
    if (info.last_ns < from_ns || info.first_ns >= v->query->end_ns) {
        v->stats.blocks_skipped_time++;
        return 0;
    }
    int r = check(v);
    if (r < 0)
        return r;
    const uint64_t *dead = NULL;
    bool inside = info.first_ns >= from_ns && info.last_ns < v->query->end_ns &&
                  bucket_of(v, info.first_ns) == bucket_of(v, info.last_ns);
    bool weighs = info.meta_bytes > 0 && !v->weight.known;
    if (!inside || info.may_overlap || weighs) {
        r = block_reader_open(v->reader, block, v->reterr);
        if (r == 0 && weighs)
            r = find_weight(v, &info);
        if (r < 0)
            return r;
        dead = block_reader_dead(v->reader);
    }
    if (!inside || dead)
        return add_entries(v, &info, from_ns, dead);
    v->stream_buckets[bucket_of(v, info.first_ns)] += info.line_bytes + weigh(v, info.meta_bytes);
    return 0;
}

/* A damaged block costs itself. */
static int add_block(struct volume *v, const struct block_ref *block, int64_t from_ns) {
    int r = add_readable_block(v, block, from_ns);
    if (r == 0 || !block_ref_is_lost(block, r))
        return r;
    exec_note_lost(&v->stats, 1, v->reterr->text);
    return 0;
}

/* ---- rows */

static bool is_target(const struct volume_query *q, struct str name) {
    for (size_t i = 0; i < q->n_targets; i++)
        if (str_eq(q->targets[i], name))
            return true;
    return false;
}

static bool is_matched(const struct log_expr *log, struct str name) {
    for (size_t i = 0; i < log->n_matchers; i++)
        if (str_eq(log->matchers[i].name, name))
            return true;
    return false;
}

static bool is_wanted(const struct volume *v, struct str name) {
    if (v->query->n_targets > 0)
        return is_target(v->query, name);
    /* As in Loki volumes of several tenants are summed up, unless the query looks at the tenant. */
    if (v->all_labels)
        return !str_eq(name, STR(STORE_TENANT_LABEL));
    return is_matched(v->log, name);
}

/* A stream counts only when it has all targets, unless the selector itself says something about
 * the missing one. */
static bool has_targets(const struct volume *v, struct labels labels) {
    for (size_t i = 0; i < v->query->n_targets; i++) {
        struct str name = v->query->targets[i];
        if (labels_get(labels, name).size == 0 && !is_matched(v->log, name))
            return false;
    }
    return true;
}

static int row_add(struct volume *v, struct labels labels, struct volume_row **ret) {
    const struct volume_query *q = v->query;
    if (q->max_series > 0 && v->n_rows >= q->max_series)
        return err_set(v->reterr, -EREFUSED,
                       "the query hit the max number of series limit (limit: %u series)",
                       q->max_series);
    if ((v->n_rows + 1) * v->n_buckets > VOLUME_POINTS_MAX)
        return err_set(v->reterr, -EREFUSED,
                       "the volume has more than %d points; use a larger step or fewer labels",
                       VOLUME_POINTS_MAX);
    if (v->n_rows == v->rows_capacity) {
        size_t capacity = v->rows_capacity ? v->rows_capacity * 2 : 64;
        struct volume_row **rows = realloc(v->rows, capacity * sizeof(struct volume_row *));
        if (!rows)
            return exec_no_memory(v->reterr);
        v->rows = rows;
        v->rows_capacity = capacity;
    }
    struct volume_row *row = arena_array(v->arena, 1, sizeof(*row));
    struct str key = arena_copy(v->arena, buf_str(&v->key));
    if (!row || !key.data || exec_copy_labels(v->arena, labels, &row->labels) < 0)
        return exec_no_memory(v->reterr);
    row->buckets = arena_array(v->arena, v->n_buckets, sizeof(*row->buckets));
    if (!row->buckets || map_put(&v->by_labels, key, row) < 0)
        return exec_no_memory(v->reterr);
    v->rows[v->n_rows++] = row;
    *ret = row;
    return 0;
}

static int add_to_row(struct volume *v, struct labels labels) {
    buf_clear(&v->key);
    labels_encode(&v->key, labels);
    if (v->key.failed)
        return exec_no_memory(v->reterr);
    struct volume_row *row = map_get(&v->by_labels, buf_str(&v->key));
    int r = row ? 0 : row_add(v, labels, &row);
    if (r < 0)
        return r;
    for (size_t i = 0; i < v->n_buckets; i++) {
        row->buckets[i] += v->stream_buckets[i];
        row->total += v->stream_buckets[i];
    }
    return 0;
}

/* The stream's distinct texts go to its first bucket with data. The sum of all buckets. */
static uint64_t finish_buckets(struct volume *v) {
    uint64_t total = 0;
    for (size_t i = 0; i < v->n_buckets; i++) {
        if (total == 0 && v->stream_buckets[i] > 0)
            v->stream_buckets[i] += v->weight.text_bytes;
        total += v->stream_buckets[i];
    }
    return total;
}

static int add_stream(struct volume *v, const struct snap_stream *s) {
    if (!has_targets(v, s->labels))
        return 0;
    const struct volume_query *q = v->query;
    int64_t from_ns = q->start_ns > s->visible_from_ns ? q->start_ns : s->visible_from_ns;
    v->weight = (struct meta_weight){0};
    memset(v->stream_buckets, 0, v->n_buckets * sizeof(*v->stream_buckets));
    int r = 0;
    for (size_t i = 0; i < s->n_blocks && r == 0; i++)
        r = add_block(v, s->blocks[i], from_ns);
    uint64_t total = finish_buckets(v);
    if (r < 0 || total == 0)
        return r;
    v->stats.streams++;
    v->stats.bytes_processed += total;
    if (s->labels.count > v->wanted_capacity) {
        struct label *wanted = realloc(v->wanted, s->labels.count * sizeof(*wanted));
        if (!wanted)
            return exec_no_memory(v->reterr);
        v->wanted = wanted;
        v->wanted_capacity = s->labels.count;
    }
    size_t count = 0;
    for (size_t i = 0; i < s->labels.count && r == 0; i++) {
        struct label label = s->labels.items[i];
        if (q->by == VOLUME_BY_SERIES) {
            if (is_wanted(v, label.name))
                v->wanted[count++] = label;
        } else if (q->n_targets > 0 ? is_target(q, label.name)
                                    : !str_eq(label.name, STR(STORE_TENANT_LABEL))) {
            label.value = STR("");
            r = add_to_row(v, (struct labels){.items = &label, .count = 1});
        }
    }
    if (q->by == VOLUME_BY_SERIES)
        r = add_to_row(v, (struct labels){.items = v->wanted, .count = count});
    return r;
}

/* ---- the answer */

static int compare_labels(struct labels x, struct labels y) {
    for (size_t i = 0; i < x.count && i < y.count; i++) {
        int c = str_cmp(x.items[i].name, y.items[i].name);
        if (c == 0)
            c = str_cmp(x.items[i].value, y.items[i].value);
        if (c != 0)
            return c;
    }
    return (x.count > y.count) - (x.count < y.count);
}

static int compare_rows(const void *a, const void *b) {
    const struct volume_row *x = *(struct volume_row *const *)a;
    const struct volume_row *y = *(struct volume_row *const *)b;
    if (x->total != y->total)
        return x->total > y->total ? -1 : 1;
    return compare_labels(x->labels, y->labels);
}

/* The value of a row's first point. A row has one. */
static uint64_t first_value(const struct volume_row *row) {
    size_t i = 0;
    while (row->buckets[i] == 0)
        i++;
    return row->buckets[i];
}

/* Loki's order of rows with several points: by the first one. */
static int compare_first(const void *a, const void *b) {
    const struct volume_row *x = *(struct volume_row *const *)a;
    const struct volume_row *y = *(struct volume_row *const *)b;
    uint64_t first = first_value(x), second = first_value(y);
    if (first != second)
        return first > second ? -1 : 1;
    return compare_labels(x->labels, y->labels);
}

static int answer(struct volume *v, struct query_result *result) {
    if (v->n_rows > 0)
        qsort(v->rows, v->n_rows, sizeof(*v->rows), compare_rows);
    size_t count = v->n_rows < v->query->limit ? v->n_rows : v->query->limit;
    if (v->n_buckets > 1 && count > 0)
        qsort(v->rows, count, sizeof(*v->rows), compare_first);
    struct result_series *series = arena_array(v->arena, count, sizeof(*series));
    if (count > 0 && !series)
        return exec_no_memory(v->reterr);
    result->type = RESULT_VECTOR;
    for (size_t i = 0; i < count; i++) {
        const struct volume_row *row = v->rows[i];
        size_t n_points = 0;
        for (size_t n = 0; n < v->n_buckets; n++)
            n_points += row->buckets[n] > 0;
        struct result_point *points = arena_array(v->arena, n_points, sizeof(*points));
        if (!points)
            return exec_no_memory(v->reterr);
        series[i] = (struct result_series){.labels = row->labels, .points = points};
        for (size_t n = 0; n < v->n_buckets; n++)
            if (row->buckets[n] > 0)
                points[series[i].n_points++] = (struct result_point){
                    .ts_ns = bucket_stamp(v, n), .value = (double)row->buckets[n]};
        if (n_points > 1)
            result->type = RESULT_MATRIX;
    }
    result->series = series;
    result->n_series = count;
    return 0;
}

static int sum_streams(struct volume *v, struct store *store) {
    const struct volume_query *q = v->query;
    if (q->end_ns <= q->start_ns)
        return 0;
    const struct select sel = {
        .tenant = q->tenant,
        .matchers = v->log->matchers,
        .n_matchers = v->log->n_matchers,
        .start_ns = q->start_ns,
        .end_ns = q->end_ns - 1,
    };
    struct snapshot *snap = NULL;
    int r = store_select(store, &sel, &snap, v->reterr);
    if (r < 0)
        return r;
    const struct snap_stream *streams;
    size_t count = snapshot_streams(snap, &streams);
    for (size_t i = 0; i < count && r == 0; i++)
        r = add_stream(v, &streams[i]);
    store_snapshot_free(snap);
    return r;
}

/* Only the empty selector may select everything. */
static int parse_selector(struct str text, struct parsed_query **ret, struct err *reterr) {
    struct parsed_query *parsed;
    int r = selector_parse(text, true, &parsed, reterr);
    if (r < 0)
        return r;
    if (parsed_query_expr(parsed)->log.n_matchers > 0) {
        parsed_query_free(parsed);
        return selector_parse(text, false, ret, reterr);
    }
    *ret = parsed;
    return 0;
}

int volume_query(struct store *store, const struct volume_query *q, struct query_result **ret,
                 struct err *reterr) {
    int64_t began = clock_mono_ns();
    struct parsed_query *parsed = NULL;
    int r = parse_selector(q->selector, &parsed, reterr);
    if (r < 0)
        return r;
    struct query_result *result = calloc(1, sizeof(*result));
    struct volume v = {
        .query = q,
        .log = &parsed_query_expr(parsed)->log,
        .reterr = reterr,
        .reader = block_reader_new(),
        .key = buf_make(EXEC_BYTES_MAX),
        .by_labels = map_make(),
    };
    v.all_labels = v.log->n_matchers == 0;
    if (!result || !v.reader) {
        r = exec_no_memory(reterr);
        goto out;
    }
    result->arena = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX);
    v.arena = &result->arena;
    r = make_buckets(&v);
    if (r == 0)
        r = sum_streams(&v, store);
    if (r == 0)
        r = answer(&v, result);
    result->stats = v.stats;
    result->stats.exec_seconds = (double)(clock_mono_ns() - began) / 1e9;
    if (r == 0) {
        *ret = result;
        result = NULL;
    }
out:
    query_result_free(result);
    free(v.rows);
    free(v.wanted);
    map_done(&v.by_labels);
    buf_done(&v.key);
    block_reader_free(v.reader);
    parsed_query_free(parsed);
    return r;
}
