/* A range aggregation over the store: blocks to partial sums per worker, merged at the end.
 *
 * Four ways through a block, cheapest first:
 *  - No stage looks at the line and every window is whole minutes: the block's rollup has the counts.
 *  - No stage looks at the line: the answer of the pipeline depends on the stream and the metadata values
 *    alone. The pipeline is run once for each combination of values in the block (a "tuple"), and the entries
 *    are counted by walking the bit-packed ids; without metadata in play whole stretches are added at once,
 *    and a block that lies in one cell is not decoded at all.
 *  - Lines are filtered: the block is searched for the needle, the pipeline runs on lines that hit.
 *  - Else the pipeline runs on every line. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hash.h"
#include "plan.h"
#include "sampler.h"
#include "scan.h"
#include "tie.h"
#include "vector.h"

enum {
    TUPLES_MAX =
        4096,        /* combinations of metadata values worth a table; more, and lines go singly */
    RANGE_BATCH = 4, /* blocks taken at a time */
    GROUPS_FIRST = 64,
    HELD_BYTES_MAX = 256 << 20, /* some 14 million distinct values of quantiles */
    HEAD_MAX = 256,             /* bytes of a rollup's values that are remembered */
};

/* What a tuple's lines are: not asked yet, dropped, or of series n. */
enum { TUPLE_UNKNOWN = -1, TUPLE_DROPPED = -2 };

struct worker_series {
    const struct line_labels *labels;
    struct series_sums sums;
};

struct range_worker {
    bool ready;
    struct range_query *query;
    struct scanner scanner;
    struct arena arena;
    struct worker_series *series;
    size_t n_series, series_capacity;
    uint32_t *series_of_group; /* by the group's id: series + 1 */
    size_t n_groups;
    size_t cell; /* of the last sample: the next one's is most likely the same */
    int32_t tuple_series[TUPLES_MAX];
    /* Of which stream's rollup the first of them are, by value; NULL: of none. */
    const struct snap_stream *rollup_stream;
    char rollup_head[HEAD_MAX];
    size_t rollup_head_size;
    uint32_t *tuples; /* per entry of the block */
    size_t tuples_capacity;
    uint64_t tie; /* of tie_stream, where it matters who is first */
    const struct snap_stream *tie_stream;
    struct buf scratch;
};

struct range_query {
    struct exec *exec;
    const struct range_agg *agg;
    struct grouping grouping;
    struct plan plan;
    struct windows windows;
    enum cell_kind kind;
    bool sums_bytes;
    bool by_columns; /* the first way */
    bool by_clauses; /* the same of what is left where blocks tell of line filters */
    struct range_worker *workers;
    unsigned n_workers;
    atomic_size_t held_bytes; /* of values that cannot be summed up */
};

static int pipeline_error(const struct line_labels *labels, struct err *reterr) {
    struct buf set = buf_make(ERR_TEXT_MAX);
    labels_format(&set, labels->merged);
    int r = err_set(
        reterr, -ESYNTAX,
        "pipeline error: '%.*s' for series: '%.*s'.\n"
        "Use a label filter to intentionally skip this error. (e.g | __error__!=\"%.*s\").\n"
        "To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n"
        "The label filter can also be specified after unwrap. (e.g | unwrap latency | "
        "__error__=\"\" )",
        STR_ARG(labels->error), STR_ARG(buf_str(&set)), STR_ARG(labels->error));
    buf_done(&set);
    return r;
}

/* ---- series of a worker */

static int add_series(struct range_worker *w, const struct line_labels *labels,
                      struct err *reterr) {
    struct range_query *q = w->query;
    int r = vec_check_series(q->exec, w->n_series + 1, reterr);
    if (r < 0)
        return r;
    if (w->n_series == w->series_capacity) {
        size_t capacity = w->series_capacity ? w->series_capacity * 2 : GROUPS_FIRST;
        struct worker_series *series = realloc(w->series, capacity * sizeof(*series));
        if (!series)
            return exec_no_memory(reterr);
        w->series = series;
        w->series_capacity = capacity;
    }
    struct worker_series *s = &w->series[w->n_series];
    s->labels = labels;
    if (sums_make(&w->arena, q->kind, &q->windows, &s->sums) < 0)
        return exec_no_memory(reterr);
    w->n_series++;
    return 0;
}

/* The series of the line that the run has just passed: its number, or a negative error. */
static int line_series(struct range_worker *w, struct err *reterr) {
    const struct line_labels *labels = pipeline_run_group(w->scanner.run, &w->query->grouping);
    if (!labels)
        return exec_no_memory(reterr);
    if (labels->error.size > 0 && pipeline_run_fails(w->scanner.run))
        return pipeline_error(labels, reterr);
    if (labels->id >= w->n_groups) {
        size_t n = w->n_groups ? w->n_groups * 2 : GROUPS_FIRST;
        while (n <= labels->id)
            n *= 2;
        uint32_t *grown = realloc(w->series_of_group, n * sizeof(*grown));
        if (!grown)
            return exec_no_memory(reterr);
        memset(grown + w->n_groups, 0, (n - w->n_groups) * sizeof(*grown));
        w->series_of_group = grown;
        w->n_groups = n;
    }
    if (w->series_of_group[labels->id] == 0) {
        int r = add_series(w, labels, reterr);
        if (r < 0)
            return r;
        w->series_of_group[labels->id] = (uint32_t)w->n_series;
    }
    return (int)(w->series_of_group[labels->id] - 1);
}

/* ---- line by line */

static int note_growth(struct range_query *q, int64_t grown, struct err *reterr) {
    if (grown == -ENOMEM)
        return exec_no_memory(reterr);
    if (!budget_take(BUDGET_QUERIES, (size_t)grown))
        return exec_no_memory(reterr);
    if (grown > 0 && atomic_fetch_add_explicit(&q->held_bytes, (size_t)grown,
                                               memory_order_relaxed) <= HELD_BYTES_MAX)
        return 0;
    return err_set(reterr, -EREFUSED,
                   "the query would hold more than %d MiB of values for its aggregation; reduce "
                   "the time range or add more specific stream selectors",
                   HELD_BYTES_MAX >> 20);
}

/* The series of a line whose combination of fields is known by its number. */
static int combination_series(struct range_worker *w, struct err *reterr) {
    struct scanner *s = &w->scanner;
    static_assert((int)TUPLES_MAX >= (int)LINETAB_COMBINATIONS_MAX, "a place for each");
    if (s->answers[s->combination] == SCAN_PASSES)
        return w->tuple_series[s->combination];
    int series = line_series(w, reterr);
    w->tuple_series[s->combination] = series;
    if (series >= 0)
        s->answers[s->combination] = SCAN_PASSES;
    return series;
}

static int take_sample(void *ctx, struct scanner *s, uint32_t entry, int64_t ts_ns,
                       const struct pipeline_output *out, struct err *reterr) {
    struct range_worker *w = ctx;
    struct range_query *q = w->query;
    size_t cell = windows_cell(&q->windows, ts_ns, w->cell);
    if (cell == q->windows.n_cells || !q->windows.covered[cell])
        return 0;
    w->cell = cell;
    int series =
        s->combination == LINETAB_UNWANTED ? line_series(w, reterr) : combination_series(w, reterr);
    if (series < 0)
        return series;
    double value = 1;
    if (q->agg->unwrap)
        value = out->value;
    else if (q->sums_bytes && q->plan.needs_lines)
        value = (double)out->line.size;
    else if (q->sums_bytes)
        value = (double)(s->offsets[entry + 1] - 1 - s->offsets[entry]);
    const struct moment at = {.ts_ns = ts_ns, .stream = w->tie, .order = s->task->order};
    int64_t grown = sums_add(&w->series[series].sums, q->kind, cell, &at, value);
    return grown == 0 ? 0 : note_growth(q, grown, reterr);
}

/* What orders samples of the block at hand among those of other streams. */
static int find_tie(struct range_worker *w, struct err *reterr) {
    const struct snap_stream *stream = &w->query->plan.streams[w->scanner.task->stream];
    bool matters = w->query->kind == CELL_FIRST || w->query->kind == CELL_LAST;
    if (!matters || w->tie_stream == stream)
        return 0;
    if (tie_hash(stream->labels, &w->scratch, &w->tie) < 0)
        return exec_no_memory(reterr);
    w->tie_stream = stream;
    return 0;
}

/* Line by line; the sizes of lines that are not decoded are known from where they begin. */
static int count_lines(struct range_worker *w, struct err *reterr) {
    int r = find_tie(w, reterr);
    if (r == 0 && w->query->sums_bytes)
        r = scan_offsets(&w->scanner, reterr);
    return r < 0 ? r : scan_entries(&w->scanner, take_sample, w, reterr);
}

/* ---- by columns */

/* Numbers the block's tuples into w->tuples: NULL stays when no column is in play. The number of possible
 * tuples, 0 when there are too many, or negative. */
static int64_t number_tuples(struct range_worker *w, const uint32_t **ret, struct err *reterr) {
    struct scanner *s = &w->scanner;
    size_t total = 1;
    for (size_t i = 0; i < s->n_columns; i++) {
        total *= (size_t)s->columns[i].n_values + 1;
        if (total > TUPLES_MAX)
            return 0;
    }
    *ret = NULL;
    if (s->n_columns == 0)
        return 1;
    *ret = s->columns[0].ids;
    if (s->n_columns == 1)
        return (int64_t)total;
    if (s->info.count > w->tuples_capacity) {
        uint32_t *grown = realloc(w->tuples, s->info.count * sizeof(*grown));
        if (!grown)
            return exec_no_memory(reterr);
        w->tuples = grown;
        w->tuples_capacity = s->info.count;
    }
    memcpy(w->tuples, s->columns[0].ids, s->info.count * sizeof(*w->tuples));
    for (size_t c = 1; c < s->n_columns; c++) {
        uint32_t base = s->columns[c].n_values + 1;
        const uint32_t *ids = s->columns[c].ids;
        for (uint32_t i = s->from; i < s->to; i++)
            w->tuples[i] = w->tuples[i] * base + ids[i];
    }
    *ret = w->tuples;
    return (int64_t)total;
}

/* Runs the pipeline for one line in place of all that have its metadata. */
static int ask_line(struct range_worker *w, const struct pipeline_line *in, int32_t *ret,
                    struct err *reterr) {
    struct pipeline_output out;
    *ret = TUPLE_DROPPED;
    if (!pipeline_run_line(w->scanner.run, in, &out))
        return 0;
    int series = line_series(w, reterr);
    if (series < 0)
        return series;
    *ret = series;
    return 0;
}

static int ask_tuple(struct range_worker *w, uint32_t entry, int32_t *ret, struct err *reterr) {
    struct scanner *s = &w->scanner;
    struct pipeline_line in = {
        .meta = s->meta, .meta_count = scan_meta(s, entry), .decided = w->query->by_clauses};
    return ask_line(w, &in, ret, reterr);
}

/* Entries [from, to) are all in one cell and all of one tuple. */
static int add_stretch(struct range_worker *w, uint32_t from, uint32_t to, size_t cell,
                       struct err *reterr) {
    struct scanner *s = &w->scanner;
    bool bytes = w->query->sums_bytes;
    uint64_t n = to - from, sum = 0;
    if (bytes && from == 0 && to == s->info.count) {
        sum = s->info.line_bytes;
    } else if (bytes) {
        int r = scan_offsets(s, reterr);
        if (r < 0)
            return r;
        sum = s->offsets[to] - s->offsets[from] - n;
    }
    for (uint32_t i = from; s->dead && i < to; i++) {
        if (!dead_test(s->dead, i))
            continue;
        n--;
        if (!bytes)
            continue;
        int r = scan_offsets(s, reterr);
        if (r < 0)
            return r;
        sum -= s->offsets[i + 1] - 1 - s->offsets[i];
    }
    if (n == 0)
        return 0;
    if (w->tuple_series[0] == TUPLE_UNKNOWN) {
        int r = ask_tuple(w, from, &w->tuple_series[0], reterr);
        if (r < 0)
            return r;
    }
    if (w->tuple_series[0] == TUPLE_DROPPED)
        return 0;
    s->stats.lines_matched += n;
    sums_add_many(&w->series[w->tuple_series[0]].sums, cell, (double)n, (double)sum);
    return 0;
}

static int add_by_tuple(struct range_worker *w, const uint32_t *tuples, uint32_t from, uint32_t to,
                        size_t cell, struct err *reterr) {
    struct scanner *s = &w->scanner;
    bool bytes = w->query->sums_bytes;
    int r = bytes ? scan_offsets(s, reterr) : 0;
    if (r < 0)
        return r;
    for (uint32_t i = from; i < to; i++) {
        int32_t *series = &w->tuple_series[tuples[i]];
        if (dead_test(s->dead, i))
            continue;
        if (*series < 0) {
            if (*series == TUPLE_UNKNOWN) {
                r = ask_tuple(w, i, series, reterr);
                if (r < 0)
                    return r;
            }
            if (*series == TUPLE_DROPPED)
                continue;
        }
        s->stats.lines_matched++;
        sums_add_many(&w->series[*series].sums, cell, 1,
                      bytes ? (double)(s->offsets[i + 1] - 1 - s->offsets[i]) : 0);
    }
    return 0;
}

/* First entry in [from, to) later than `ns`. */
static uint32_t entries_until(const int64_t *times, uint32_t from, uint32_t to, int64_t ns) {
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (times[middle] <= ns)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* ---- by rollup */

/* The series of the entries that have a value of the rollup's column, or TUPLE_DROPPED. */
static int ask_value(struct range_worker *w, const struct rollup *rollup, uint32_t id, int32_t *ret,
                     struct err *reterr) {
    struct label meta = {.name = rollup->name, .value = rollup->values[id]};
    struct pipeline_line in = {.meta = &meta, .meta_count = id > 0};
    return ask_line(w, &in, ret, reterr);
}

static int add_row(struct range_worker *w, const struct rollup *rollup,
                   const struct rollup_row *row, struct err *reterr) {
    struct scanner *s = &w->scanner;
    const struct windows *windows = &w->query->windows;
    size_t cell = windows_cell(windows, (row->minute + 1) * ROLLUP_MINUTE_NS, w->cell);
    assert(cell < windows->n_cells);
    w->cell = cell;
    if (!windows->covered[cell])
        return 0;
    for (uint32_t id = 0; id <= rollup->n_values; id++) {
        int32_t *series = &w->tuple_series[id];
        if (row->entries[id] == 0)
            continue;
        int r = *series == TUPLE_UNKNOWN ? ask_value(w, rollup, id, series, reterr) : 0;
        if (r < 0)
            return r;
        if (*series == TUPLE_DROPPED)
            continue;
        s->stats.lines_matched += row->entries[id];
        sums_add_many(&w->series[*series].sums, cell, (double)row->entries[id],
                      (double)row->bytes[id]);
    }
    return 0;
}

/* Blocks of a stream mostly have the same values in the same order: what these are is asked once. */
static void expect_values(struct range_worker *w, const struct rollup *rollup) {
    const struct snap_stream *stream = w->scanner.stream;
    if (w->rollup_stream == stream &&
        str_eq(rollup->head, str_make(w->rollup_head, w->rollup_head_size)))
        return;
    for (uint32_t id = 0; id <= rollup->n_values; id++)
        w->tuple_series[id] = TUPLE_UNKNOWN;
    w->rollup_stream = NULL;
    if (rollup->head.size > HEAD_MAX)
        return;
    memcpy(w->rollup_head, rollup->head.data, rollup->head.size);
    w->rollup_head_size = rollup->head.size;
    w->rollup_stream = stream;
}

/* A whole block from its rollup: 1 when that was possible, 0 when its columns are needed. */
static int count_rollup(struct range_worker *w, struct err *reterr) {
    struct scanner *s = &w->scanner;
    const struct plan *p = s->plan;
    if (!w->query->windows.whole_minutes || s->from > 0 || s->to < s->info.count || s->dead)
        return 0;
    struct rollup rollup;
    size_t n_names = p->meta_limited ? p->n_meta_names : SIZE_MAX;
    int r =
        block_reader_rollup(s->reader, p->meta_names, p->needs_meta ? n_names : 0, &rollup, reterr);
    if (r <= 0)
        return r;
    bool told_apart = p->needs_meta && rollup.name.size > 0;
    scan_enter_stream(s);
    expect_values(w, &rollup);
    struct rollup_row row;
    while (r > 0 && rollup_next(&rollup, &row)) {
        for (uint32_t id = 1; !told_apart && id <= rollup.n_values; id++) {
            row.entries[0] += row.entries[id];
            row.bytes[0] += row.bytes[id];
            row.entries[id] = 0;
        }
        int status = add_row(w, &rollup, &row, reterr);
        if (status < 0)
            return status;
    }
    return 1;
}

static int count_block(struct range_worker *w, struct err *reterr) {
    struct scanner *s = &w->scanner;
    const struct windows *windows = &w->query->windows;
    int r = count_rollup(w, reterr);
    if (r != 0)
        return r < 0 ? r : 0;
    r = scan_columns(s, reterr);
    if (r < 0)
        return r;
    const uint32_t *tuples;
    int64_t n_tuples = number_tuples(w, &tuples, reterr);
    if (n_tuples < 0)
        return (int)n_tuples;
    if (n_tuples == 0)
        return count_lines(w, reterr);
    w->rollup_stream = NULL;
    for (int64_t i = 0; i < n_tuples; i++)
        w->tuple_series[i] = TUPLE_UNKNOWN;
    scan_enter_stream(s);
    for (uint32_t from = s->from; from < s->to;) {
        /* A block that is whole in one cell needs no times. */
        int64_t first_ns = s->times ? s->times[from] : s->task->first_ns;
        size_t cell = windows_cell(windows, first_ns, w->cell);
        assert(cell < windows->n_cells);
        uint32_t to = s->to;
        if (s->task->last_ns > windows->edges[cell + 1]) {
            r = scan_times(s, reterr);
            if (r < 0)
                return r;
            to = entries_until(s->times, from, s->to, windows->edges[cell + 1]);
        }
        w->cell = cell;
        if (windows->covered[cell])
            r = tuples ? add_by_tuple(w, tuples, from, to, cell, reterr)
                       : add_stretch(w, from, to, cell, reterr);
        if (r < 0)
            return r;
        from = to;
    }
    return 0;
}

/* The same where line filters have to be asked first. */
static int count_decided(struct range_worker *w, struct err *reterr) {
    int r = scan_decide(&w->scanner, reterr);
    if (r < 0)
        return r;
    return r > 0 ? count_block(w, reterr) : count_lines(w, reterr);
}

/* ---- all blocks */

static int run_blocks(void *ctx, unsigned worker, size_t from, size_t to, struct err *reterr) {
    struct range_query *q = ctx;
    struct range_worker *w = &q->workers[worker];
    if (!w->ready) {
        w->ready = true;
        w->scratch = buf_make(BUF_NO_MAX);
        w->query = q;
        w->arena = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX);
        int r = scanner_init(&w->scanner, &q->plan, reterr);
        if (r < 0)
            return r;
    }
    for (size_t i = from; i < to; i++) {
        int r = exec_check(q->exec, reterr);
        if (r == 0)
            r = scan_begin(&w->scanner, &q->plan.tasks[i], reterr);
        if (r > 0 && q->by_columns)
            r = count_block(w, reterr);
        else if (r > 0 && q->by_clauses)
            r = count_decided(w, reterr);
        else if (r > 0)
            r = count_lines(w, reterr);
        if (r < 0 && block_ref_is_lost(q->plan.tasks[i].block, r))
            exec_note_lost(&w->scanner.stats, 1, reterr->text);
        else if (r < 0)
            return r;
    }
    return 0;
}

static void workers_done(struct range_query *q) {
    for (unsigned i = 0; q->workers && i < q->n_workers; i++) {
        struct range_worker *w = &q->workers[i];
        if (!w->ready)
            continue;
        exec_add_stats(&q->exec->stats, &w->scanner.stats);
        for (size_t j = 0; j < w->n_series; j++)
            sums_done(&w->series[j].sums);
        free(w->series);
        free(w->series_of_group);
        free(w->tuples);
        buf_done(&w->scratch);
        scanner_done(&w->scanner);
        arena_done(&w->arena);
    }
    budget_give(BUDGET_QUERIES, atomic_load(&q->held_bytes));
    free(q->workers);
}

/* ---- merging */

/* Every series of every worker added to the first that has its labels. */
static int merge_workers(struct range_query *q, struct worker_series ***ret, size_t *ret_count,
                         struct err *reterr) {
    size_t total = 0;
    for (unsigned i = 0; i < q->n_workers; i++)
        total += q->workers[i].n_series;
    struct label_index index;
    struct worker_series **merged = arena_array(&q->exec->arena, total, sizeof(*merged));
    if (!merged || label_index_make(&q->exec->arena, total, &index) < 0)
        return exec_no_memory(reterr);
    for (unsigned i = 0; i < q->n_workers; i++) {
        for (size_t j = 0; j < q->workers[i].n_series; j++) {
            struct worker_series *s = &q->workers[i].series[j];
            uint32_t id;
            bool is_new;
            int r = label_index_find(&index, s->labels->merged, &id, &is_new);
            if (r == 0 && is_new)
                merged[id] = s;
            else if (r == 0)
                r = sums_merge(&merged[id]->sums, &s->sums, q->kind, q->windows.n_cells);
            if (r < 0)
                return exec_no_memory(reterr);
        }
    }
    *ret = merged;
    *ret_count = index.count;
    return vec_check_series(q->exec, index.count, reterr);
}

static int fill_vector(struct range_query *q, struct worker_series **merged, size_t count,
                       struct vec *ret) {
    struct exec *x = q->exec;
    struct window_value value = {
        .op = q->agg->op,
        .kind = q->kind,
        .has_unwrap = q->agg->unwrap != NULL,
        .parameter = q->agg->parameter,
        .range_seconds = (double)q->agg->range_ns / 1e9,
        .windows = &q->windows,
    };
    struct vec_series *series = arena_array(&x->arena, count, sizeof(*series));
    if (!series)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct labels labels;
        int r = exec_copy_labels(&x->arena, merged[i]->labels->merged, &labels);
        if (r == 0)
            r = vec_series_make(x, labels, &series[i]);
        if (r < 0)
            return r;
        sums_finish(&merged[i]->sums, &value);
        for (uint32_t step = 0; step < x->steps.count; step++) {
            r = sums_window(&merged[i]->sums, &value, step, &series[i].values[step]);
            if (r < 0)
                return r;
            series[i].present[step] = r > 0;
        }
    }
    *ret = (struct vec){.series = series, .count = count};
    return 0;
}

/* absent_over_time: 1 where no series has a value, labelled with what the selector says for certain. */
static int invert(struct range_query *q, struct vec *v) {
    struct exec *x = q->exec;
    const struct log_expr *log = &q->agg->log;
    struct label *items = arena_array(&x->arena, log->n_matchers, sizeof(*items));
    struct vec_series *series = arena_array(&x->arena, 1, sizeof(*series));
    if (!items || !series)
        return -ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < log->n_matchers; i++) {
        const struct matcher *m = &log->matchers[i];
        bool certain = m->op == MATCH_EQ && m->value.size > 0;
        for (size_t j = 0; certain && j < log->n_matchers; j++)
            certain = j == i || !str_eq(log->matchers[j].name, m->name);
        if (certain)
            items[count++] = (struct label){.name = m->name, .value = m->value};
    }
    struct labels labels = {.items = items, .count = labels_normalize(items, count)};
    if (vec_series_make(x, labels, series) < 0)
        return -ENOMEM;
    for (uint32_t step = 0; step < x->steps.count; step++) {
        bool any = false;
        for (size_t i = 0; i < v->count && !any; i++)
            any = v->series[i].present[step];
        series->present[step] = !any;
        series->values[step] = 1;
    }
    *v = (struct vec){.series = series, .count = 1};
    return 0;
}

/* Does a stage give each line something of its own: another text, or a label made by a template (which may
 * show the time)? */
static bool has_stage(const struct stage *stages, enum stage_kind kind) {
    for (const struct stage *s = stages; s; s = s->next)
        if (s->kind == kind)
            return true;
    return false;
}

static int make_plan(struct range_query *q, const struct grouping *pushed, struct err *reterr) {
    const struct range_agg *agg = q->agg;
    if (agg->op == RANGE_ABSENT)
        q->grouping = (struct grouping){.present = true};
    else if (agg->grouping.present)
        q->grouping = agg->grouping;
    else if (pushed)
        q->grouping = *pushed;
    q->kind = cell_kind_of(agg->op, agg->unwrap != NULL);
    q->sums_bytes = agg->op == RANGE_BYTES || agg->op == RANGE_BYTES_RATE;
    bool by = q->grouping.present && !q->grouping.without;
    struct plan_options options = {
        .log = &agg->log,
        .pipeline =
            {
                .needs =
                    {
                        .all = !by,
                        .none = by && q->grouping.count == 0,
                        .names = q->grouping.names,
                        .count = by ? q->grouping.count : 0,
                    },
                .unwrap = agg->unwrap,
                .line_unseen = !q->sums_bytes,
            },
        .start_ns = q->windows.from_ns,
        .end_ns = q->windows.to_ns,
        .shows_lines = q->sums_bytes && has_stage(agg->log.stages, STAGE_LINE_FORMAT),
    };
    int r = plan_make(q->exec, &options, &q->plan, reterr);
    /* But a template may show the time. */
    q->plan.same_for_same_fields =
        r == 0 && !agg->unwrap && !has_stage(agg->log.stages, STAGE_LABEL_FORMAT);
    bool by_columns = r == 0 && !agg->unwrap && !has_stage(agg->log.stages, STAGE_LINE_FORMAT) &&
                      !has_stage(agg->log.stages, STAGE_LABEL_FORMAT);
    q->by_columns = by_columns && !q->plan.needs_lines;
    q->by_clauses = by_columns && q->plan.needs_lines && q->plan.clauses_decide;
    return r;
}

int range_eval(struct exec *x, const struct range_agg *agg, const struct grouping *pushed,
               struct vec *ret, struct err *reterr) {
    struct range_query q = {.exec = x, .agg = agg};
    if (agg->range_ns <= 0) { /* [0s] has no moment in it */
        *ret = (struct vec){0};
        return agg->op == RANGE_ABSENT && invert(&q, ret) < 0 ? exec_no_memory(reterr) : 0;
    }
    int r = windows_make(&x->arena, &x->steps, agg->range_ns, agg->offset_ns, &q.windows, reterr);
    if (r < 0)
        return r;
    r = make_plan(&q, pushed, reterr);
    if (r < 0)
        return r;
    q.n_workers = crew_slots(x->crew);
    q.workers = calloc(q.n_workers, sizeof(*q.workers));
    if (!q.workers) {
        r = exec_no_memory(reterr);
        goto out;
    }
    struct crew_job job = {
        .run = run_blocks, .ctx = &q, .n_tasks = q.plan.n_tasks, .batch = RANGE_BATCH};
    r = crew_run(x->crew, &job, reterr);
    struct worker_series **merged = NULL;
    size_t count = 0;
    if (r == 0)
        r = merge_workers(&q, &merged, &count, reterr);
    if (r == 0 && (fill_vector(&q, merged, count, ret) < 0 ||
                   (agg->op == RANGE_ABSENT && invert(&q, ret) < 0)))
        r = exec_no_memory(reterr);
out:
    workers_done(&q);
    plan_done(&q.plan);
    return r;
}
