#include "erase_query.h"

#include <errno.h>
#include <stdlib.h>

#include "gram.h"
#include "parser.h"
#include "pipeline.h"

struct erase_query {
    struct parsed_query *parsed;
    const struct log_expr *log;
    struct pipeline *pipeline; /* NULL: the selector alone decides */
    struct gram_query grams;   /* of literals that every line must contain */
};

int erase_query_new(struct str text, struct erase_query **ret, struct err *reterr) {
    struct erase_query *q = calloc(1, sizeof(*q));
    if (!q)
        return err_set(reterr, -ENOMEM, "no memory for a query");
    int r = query_parse(text, &q->parsed, reterr);
    if (r < 0)
        goto out;
    const struct expr *e = parsed_query_expr(q->parsed);
    if (e->kind != EXPR_LOG) {
        r = err_set(reterr, -ESYNTAX, "only a log selector can be deleted");
        goto out;
    }
    q->log = &e->log;
    if (!q->log->stages)
        goto out;
    struct pipeline_options o = {.needs.none = true};
    r = pipeline_compile(q->log->stages, &o, &q->pipeline, reterr);
    if (r < 0)
        goto out;
    const struct needle *needles;
    size_t count = pipeline_needles(q->pipeline, &needles);
    for (size_t i = 0; i < count; i++) {
        struct gram_query grams;
        gram_query_init(&grams, needles[i].text, needles[i].fold);
        gram_query_add(&q->grams, &grams);
    }
out:
    if (r < 0)
        erase_query_free(q);
    else
        *ret = q;
    return r;
}

void erase_query_free(struct erase_query *q) {
    if (!q)
        return;
    pipeline_free(q->pipeline);
    parsed_query_free(q->parsed);
    free(q);
}

bool erase_query_has_filter(const struct erase_query *q) {
    return q->pipeline != NULL;
}

bool erase_query_accepts(const struct erase_query *q, struct labels labels) {
    return matchers_accept(q->log->matchers, q->log->n_matchers, labels);
}

/* The block's columns and one entry's metadata. */
struct lines {
    const int64_t *times;
    const uint32_t *offsets;
    struct str text;
    const struct meta_column *columns;
    size_t n_columns;
    struct label *meta; /* room for n_columns */
};

static int load(struct block_reader *r, struct lines *ret, struct err *reterr) {
    int status = block_reader_offsets(r, &ret->offsets, reterr);
    if (status == 0)
        status = block_reader_lines(r, &ret->text, reterr);
    if (status == 0)
        status = block_reader_meta(r, &ret->columns, &ret->n_columns, reterr);
    if (status == 0) {
        ret->meta = malloc(sizeof(*ret->meta) * (ret->n_columns + 1));
        status = ret->meta ? 0 : err_set(reterr, -ENOMEM, "no memory to read a block");
    }
    return status;
}

static struct pipeline_line line_at(const struct lines *l, uint32_t i) {
    size_t n = 0;
    for (size_t m = 0; m < l->n_columns; m++) {
        uint32_t id = l->columns[m].ids[i];
        if (id != 0)
            l->meta[n++] =
                (struct label){.name = l->columns[m].name, .value = l->columns[m].values[id - 1]};
    }
    return (struct pipeline_line){
        .ts_ns = l->times[i],
        .line = str_make(l->text.data + l->offsets[i], l->offsets[i + 1] - 1 - l->offsets[i]),
        .meta = l->meta,
        .meta_count = n};
}

static int mark_lines(const struct erase_query *q, struct labels labels, struct block_reader *r,
                      struct lines *l, uint32_t from, uint32_t to, uint64_t *bits,
                      struct err *reterr) {
    struct pipeline_run *run = pipeline_run_new(q->pipeline);
    int status = run ? load(r, l, reterr) : err_set(reterr, -ENOMEM, "no memory to read a block");
    if (status == 0)
        pipeline_run_stream(run, labels);
    for (uint32_t i = from; i < to && status == 0; i++) {
        struct pipeline_line in = line_at(l, i);
        struct pipeline_output out;
        if (pipeline_run_line(run, &in, &out))
            bits[i >> 6] |= UINT64_C(1) << (i & 63);
    }
    free(l->meta);
    pipeline_run_free(run);
    return status;
}

int erase_query_mark(const struct erase_query *q, struct labels labels, int64_t start_ns,
                     int64_t end_ns, struct block_reader *r, const struct block_ref_info *info,
                     uint64_t *bits, struct err *reterr) {
    if (info->last_ns < start_ns || info->first_ns > end_ns ||
        !block_ref_may_contain(block_reader_block(r), &q->grams))
        return 0;
    struct lines l = {0};
    int status = block_reader_times(r, &l.times, reterr);
    if (status < 0)
        return status;
    uint32_t from = 0, to = info->count;
    while (from < to && l.times[from] < start_ns)
        from++;
    while (to > from && l.times[to - 1] > end_ns)
        to--;
    if (from == to)
        return 0;
    if (q->pipeline)
        return mark_lines(q, labels, r, &l, from, to, bits, reterr);
    for (uint32_t i = from; i < to; i++)
        bits[i >> 6] |= UINT64_C(1) << (i & 63);
    return 0;
}
