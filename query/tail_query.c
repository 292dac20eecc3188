#include "tail_query.h"

#include <errno.h>
#include <stdlib.h>

#include "exec.h"
#include "parser.h"

enum {
    LABEL_BYTES_MAX = 16 << 20, /* of the distinct sets of one tail */
    ENTRIES_MAX =
        1 << 20, /* names seen in lines that were dropped are kept, too: counted by lines */
};

struct tail_query {
    struct parsed_query *parsed;
    const struct log_expr *log;
    struct pipeline *pipeline;
    struct pipeline_run *run;
    uint32_t n_sets; /* that have been counted */
    size_t label_bytes;
    size_t entries;
};

int tail_query_new(struct str text, struct tail_query **ret, struct err *reterr) {
    struct tail_query *q = calloc(1, sizeof(*q));
    if (!q)
        return exec_no_memory(reterr);
    int r = query_parse(text, &q->parsed, reterr);
    if (r < 0)
        goto out;
    const struct expr *expr = parsed_query_expr(q->parsed);
    if (expr->kind != EXPR_LOG) {
        r = err_set(reterr, -EREFUSED, "only log selector is supported");
        goto out;
    }
    q->log = &expr->log;
    const struct pipeline_options options = {.needs = {.all = true}};
    r = pipeline_compile(q->log->stages, &options, &q->pipeline, reterr);
    if (r < 0)
        goto out;
    q->run = pipeline_run_new(q->pipeline);
    if (!q->run)
        r = exec_no_memory(reterr);
out:
    if (r < 0)
        tail_query_free(q);
    else
        *ret = q;
    return r;
}

void tail_query_free(struct tail_query *q) {
    if (!q)
        return;
    pipeline_run_free(q->run);
    pipeline_free(q->pipeline);
    parsed_query_free(q->parsed);
    free(q);
}

const struct matcher *tail_query_matchers(const struct tail_query *q, size_t *ret_count) {
    *ret_count = q->log->n_matchers;
    return q->log->matchers;
}

int tail_query_stream(struct tail_query *q, struct labels labels) {
    if (!q->run)
        return -ENOMEM;
    pipeline_run_stream(q->run, labels);
    return 0;
}

static void count_set(struct tail_query *q, const struct line_labels *l) {
    if (l->id < q->n_sets)
        return;
    q->n_sets = l->id + 1;
    q->label_bytes += sizeof(*l);
    for (size_t i = 0; i < l->merged.count; i++)
        q->label_bytes +=
            4 * sizeof(struct label) + l->merged.items[i].name.size + l->merged.items[i].value.size;
}

int tail_query_entry(struct tail_query *q, const struct entry *e, struct tail_line *ret) {
    if (!q->run)
        return -ENOMEM;
    q->entries++;
    const struct pipeline_line in = {
        .ts_ns = e->ts_ns, .line = e->line, .meta = e->meta, .meta_count = e->meta_count};
    struct pipeline_output out;
    if (!pipeline_run_line(q->run, &in, &out))
        return 0;
    const struct line_labels *labels = pipeline_run_labels(q->run);
    if (!labels)
        return -ENOMEM;
    count_set(q, labels);
    *ret = (struct tail_line){.line = out.line, .labels = labels};
    return 1;
}

bool tail_query_is_full(const struct tail_query *q) {
    return !q->run || q->label_bytes >= LABEL_BYTES_MAX || q->entries >= ENTRIES_MAX;
}

int tail_query_forget(struct tail_query *q) {
    pipeline_run_free(q->run);
    q->n_sets = 0;
    q->label_bytes = 0;
    q->entries = 0;
    q->run = pipeline_run_new(q->pipeline);
    return q->run ? 0 : -ENOMEM;
}
