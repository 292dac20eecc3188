/* Metric queries: the expression evaluated from its leaves up, each node for all steps at once. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exec.h"
#include "parser.h"
#include "vector.h"

static int eval(struct exec *x, const struct expr *e, unsigned depth, struct vec *ret,
                struct err *reterr);

/* vector(n): one series without labels at every step. */
static int eval_constant(struct exec *x, double number, struct vec *ret, struct err *reterr) {
    struct vec_series *series = arena_array(&x->arena, 1, sizeof(*series));
    if (!series || vec_series_make(x, (struct labels){0}, series) < 0)
        return exec_no_memory(reterr);
    for (uint32_t i = 0; i < x->steps.count; i++) {
        series->present[i] = true;
        series->values[i] = number;
    }
    *ret = (struct vec){.series = series, .count = 1};
    return 0;
}

/* A sum() directly around one of these may group already where lines are counted: fewer labels are extracted
 * and fewer series kept. (What then is an error or a limit is Loki's too.) */
static bool takes_grouping(const struct vector_agg *agg) {
    if (agg->op != AGG_SUM || agg->inner->kind != EXPR_RANGE || agg->inner->range.grouping.present)
        return false;
    switch (agg->inner->range.op) {
    case RANGE_COUNT:
    case RANGE_RATE:
    case RANGE_BYTES:
    case RANGE_BYTES_RATE:
    case RANGE_SUM:
        return true;
    case RANGE_RATE_COUNTER:
    case RANGE_AVG:
    case RANGE_MIN:
    case RANGE_MAX:
    case RANGE_STDVAR:
    case RANGE_STDDEV:
    case RANGE_QUANTILE:
    case RANGE_FIRST:
    case RANGE_LAST:
    case RANGE_ABSENT:
        break;
    }
    return false;
}

static int eval_aggregation(struct exec *x, const struct vector_agg *agg, unsigned depth,
                            struct vec *ret, struct err *reterr) {
    struct vec inner;
    struct grouping pushed = agg->grouping;
    pushed.present = true; /* sum() without by is by () */
    int r = takes_grouping(agg) ? range_eval(x, &agg->inner->range, &pushed, &inner, reterr)
                                : eval(x, agg->inner, depth + 1, &inner, reterr);
    if (r < 0)
        return r;
    if (inner.is_scalar)
        return err_set(reterr, -ESYNTAX, "an aggregation needs a vector, not a number");
    return vec_aggregate(x, agg, &inner, ret, reterr);
}

static int eval_binary(struct exec *x, const struct binary *b, unsigned depth, struct vec *ret,
                       struct err *reterr) {
    struct vec left, right;
    int r = eval(x, b->left, depth + 1, &left, reterr);
    if (r == 0)
        r = eval(x, b->right, depth + 1, &right, reterr);
    return r < 0 ? r : vec_binary(x, b, &left, &right, ret, reterr);
}

static int eval(struct exec *x, const struct expr *e, unsigned depth, struct vec *ret,
                struct err *reterr) {
    assert(depth <= QUERY_TREE_DEPTH_MAX);
    int r = exec_check(x, reterr);
    if (r < 0)
        return r;
    switch (e->kind) {
    case EXPR_LITERAL:
        *ret = (struct vec){.is_scalar = true, .scalar = e->number};
        return 0;
    case EXPR_VECTOR:
        return eval_constant(x, e->number, ret, reterr);
    case EXPR_RANGE:
        return range_eval(x, &e->range, NULL, ret, reterr);
    case EXPR_VECTOR_AGG:
        return eval_aggregation(x, &e->vector_agg, depth, ret, reterr);
    case EXPR_BINARY:
        return eval_binary(x, &e->binary, depth, ret, reterr);
    case EXPR_LABEL_REPLACE:
        r = eval(x, e->label_replace.inner, depth + 1, ret, reterr);
        return r < 0 ? r : vec_label_replace(x, e, ret, ret, reterr);
    case EXPR_VARIANTS:
        return err_set(reterr, -EREFUSED, "multi variant queries are disabled for this instance");
    case EXPR_LOG:
        break;
    }
    return err_set(reterr, -ESYNTAX, "a log query has no value");
}

/* ---- steps and the answer */

enum { POINTS_MAX = 11000 }; /* Prometheus' and Loki's limit: more than a screen has columns */

static int64_t floor_to(int64_t t, int64_t step) {
    int64_t rest = t % step;
    return time_sub(t, rest < 0 ? rest + step : rest);
}

static int make_steps(const struct query *q, struct steps *ret, struct err *reterr) {
    if (q->instant) {
        *ret = (struct steps){.start_ns = q->end_ns, .count = 1};
        return 0;
    }
    if (q->step_ns <= 0)
        return err_set(reterr, -ESYNTAX,
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
    if (q->end_ns < q->start_ns)
        return err_set(reterr, -ESYNTAX, "end timestamp must not be before or equal to start time");
    if (time_sub(q->end_ns, q->start_ns) / q->step_ns > POINTS_MAX)
        return err_set(
            reterr, -ESYNTAX,
            "exceeded maximum resolution of 11,000 points per time series. Try increasing "
            "the value of the step parameter");
    int64_t start = floor_to(q->start_ns, q->step_ns);
    int64_t end = floor_to(time_add(q->end_ns, q->step_ns - 1), q->step_ns);
    *ret = (struct steps){
        .start_ns = start,
        .step_ns = q->step_ns,
        .count = (uint32_t)(time_sub(end, start) / q->step_ns) + 1,
    };
    return 0;
}

static int compare_points(const void *a, const void *b) {
    const struct result_point *x = a, *y = b;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

/* Of equal labels, as `or` and label_replace make them, the lower value is first: so that the answer is the same each time. */
static int compare_series(const void *a, const void *b) {
    const struct result_series *x = a, *y = b;
    int order = labels_order(x->labels, y->labels);
    if (order != 0 || x->n_points == 0 || y->n_points == 0)
        return order;
    return compare_points(x->points, y->points);
}

static int copy_points(struct exec *x, const struct vec_series *from, struct arena *arena,
                       struct result_series *ret) {
    size_t count = 0;
    for (uint32_t i = 0; i < x->steps.count; i++)
        count += from->present[i];
    struct result_point *points = arena_array(arena, count, sizeof(*points));
    if (!points)
        return -ENOMEM;
    size_t n = 0;
    for (uint32_t i = 0; i < x->steps.count; i++)
        if (from->present[i])
            points[n++] = (struct result_point){
                .ts_ns = step_time(&x->steps, i),
                .value = from->values[i],
            };
    ret->points = points;
    ret->n_points = count;
    return exec_copy_labels(arena, from->labels, &ret->labels);
}

/* Series with the same labels, as `or` and label_replace make them, are one in a matrix. Sorted by labels on the way in
 * and out. */
static int merge_equal(struct arena *arena, struct result_series *series, size_t *count) {
    size_t n = 0;
    for (size_t i = 0; i < *count; i++) {
        if (n == 0 || labels_order(series[n - 1].labels, series[i].labels) != 0) {
            series[n++] = series[i];
            continue;
        }
        struct result_series *to = &series[n - 1];
        size_t total = to->n_points + series[i].n_points;
        struct result_point *points = arena_array(arena, total, sizeof(*points));
        if (!points)
            return -ENOMEM;
        memcpy(points, to->points, to->n_points * sizeof(*points));
        memcpy(points + to->n_points, series[i].points, series[i].n_points * sizeof(*points));
        qsort(points, total, sizeof(*points), compare_points);
        to->points = points;
        to->n_points = total;
    }
    *count = n;
    return 0;
}

static int answer(struct exec *x, const struct vec *v, struct query_result *result,
                  struct err *reterr) {
    result->type = x->query->instant ? RESULT_VECTOR : RESULT_MATRIX;
    struct result_series *series = arena_array(&result->arena, v->count, sizeof(*series));
    if (!series)
        return exec_no_memory(reterr);
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (copy_points(x, &v->series[i], &result->arena, &series[n]) < 0)
            return exec_no_memory(reterr);
        n += series[n].n_points > 0;
    }
    if (!v->ordered && n > 1)
        qsort(series, n, sizeof(*series), compare_series);
    if (result->type == RESULT_MATRIX && merge_equal(&result->arena, series, &n) < 0)
        return exec_no_memory(reterr);
    result->series = series;
    result->n_series = n;
    return vec_check_series(x, n, reterr);
}

int exec_metric(struct exec *x, const struct expr *expr, struct query_result *result,
                struct err *reterr) {
    int r = make_steps(x->query, &x->steps, reterr);
    if (r < 0)
        return r;
    struct vec v;
    r = eval(x, expr, 0, &v, reterr);
    if (r < 0)
        return r;
    if (v.is_scalar && x->query->instant) {
        result->type = RESULT_SCALAR;
        result->scalar = (struct result_point){.ts_ns = x->steps.start_ns, .value = v.scalar};
        return 0;
    }
    if (v.is_scalar) {
        r = eval_constant(x, v.scalar, &v, reterr);
        if (r < 0)
            return r;
    }
    return answer(x, &v, result, reterr);
}
