#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "vector.h"

/* Which group each series of a vector belongs to. */
struct groups {
    uint32_t *of_series;
    struct labels *labels;
    size_t count;
};

/* The labels that by (...) names, empty ones as well: a label that a parser has left empty makes another group than none. */
static int keep_labels(struct arena *arena, struct labels set, const struct grouping *g,
                       struct labels *ret) {
    struct label *items = arena_array(arena, set.count ? set.count : 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < set.count && g->present; i++)
        for (size_t k = 0; k < g->count; k++)
            if (str_eq(g->names[k], set.items[i].name)) {
                items[count++] = set.items[i];
                break;
            }
    *ret = (struct labels){.items = items, .count = count};
    return 0;
}

static int group_series(struct exec *x, const struct grouping *g, const struct vec *in,
                        struct groups *ret) {
    struct label_index index;
    int r = label_index_make(&x->arena, in->count, &index);
    uint32_t *of_series = arena_array(&x->arena, in->count, sizeof(*of_series));
    if (r < 0 || !of_series)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++) {
        struct labels key;
        r = g->present && g->without
                ? labels_reduce(&x->arena, in->series[i].labels, g->names, g->count, false, &key)
                : keep_labels(&x->arena, in->series[i].labels, g, &key);
        if (r == 0)
            r = label_index_find(&index, key, &of_series[i], NULL);
        if (r < 0)
            return r;
    }
    *ret = (struct groups){.of_series = of_series, .labels = index.sets, .count = index.count};
    return 0;
}

/* The running state of one group at one step. */
struct tally {
    double value, mean, squares;
    uint32_t count;
};

static void tally_add(struct tally *t, enum vector_op op, double v) {
    t->count++;
    switch (op) {
    case AGG_SUM:
        t->value += v;
        break;
    case AGG_MIN:
        if (t->count == 1 || v < t->value || isnan(t->value))
            t->value = v;
        break;
    case AGG_MAX:
        if (t->count == 1 || v > t->value || isnan(t->value))
            t->value = v;
        break;
    case AGG_AVG:
    case AGG_STDDEV:
    case AGG_STDVAR: {
        double delta = v - t->mean;
        t->mean += delta / t->count;
        t->squares += delta * (v - t->mean);
        t->value += v;
        break;
    }
    case AGG_COUNT:
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_APPROX_TOPK:
    case AGG_SORT:
    case AGG_SORT_DESC:
        break;
    }
}

static double tally_result(const struct tally *t, enum vector_op op) {
    switch (op) {
    case AGG_COUNT:
        return t->count;
    case AGG_AVG:
        return t->value / t->count;
    case AGG_STDVAR:
        return t->squares / t->count;
    case AGG_STDDEV:
        return sqrt(t->squares / t->count);
    case AGG_SUM:
    case AGG_MIN:
    case AGG_MAX:
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_APPROX_TOPK:
    case AGG_SORT:
    case AGG_SORT_DESC:
        break;
    }
    return t->value;
}

/* sum, avg, ...: one series per group. */
static int reduce(struct exec *x, enum vector_op op, const struct groups *g, const struct vec *in,
                  struct vec *ret) {
    struct vec_series *out = arena_array(&x->arena, g->count, sizeof(*out));
    struct tally *tallies = arena_array(&x->arena, g->count, sizeof(*tallies));
    if (!out || !tallies)
        return -ENOMEM;
    for (size_t i = 0; i < g->count; i++) {
        int r = vec_series_make(x, g->labels[i], &out[i]);
        if (r < 0)
            return r;
    }
    for (uint32_t step = 0; step < x->steps.count; step++) {
        memset(tallies, 0, g->count * sizeof(*tallies));
        for (size_t i = 0; i < in->count; i++)
            if (in->series[i].present[step])
                tally_add(&tallies[g->of_series[i]], op, in->series[i].values[step]);
        for (size_t i = 0; i < g->count; i++) {
            if (tallies[i].count == 0)
                continue;
            out[i].present[step] = true;
            out[i].values[step] = tally_result(&tallies[i], op);
        }
    }
    *ret = (struct vec){.series = out, .count = g->count};
    return 0;
}

static int compare_labels(const void *a, const void *b) {
    const struct vec_series *x = a, *y = b;
    return labels_order(x->labels, y->labels);
}

/* The same series in the order of their labels, so that of equal values the same ones are chosen whenever the query runs: in
 * which order series come depends on which of the workers was first. */
static int by_labels(struct exec *x, const struct vec *in, struct vec *ret) {
    struct vec_series *sorted = arena_array(&x->arena, in->count, sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++)
        sorted[i] = in->series[i];
    if (in->count > 1)
        qsort(sorted, in->count, sizeof(*sorted), compare_labels);
    *ret = (struct vec){.series = sorted, .count = in->count};
    return 0;
}

/* One series of a step, in the order of a selection: best first, NaN last, else as they came. */
struct ranked {
    double value;
    uint32_t series, group;
    bool descending;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (isnan(x->value) != isnan(y->value))
        return isnan(x->value) ? 1 : -1;
    if (x->value != y->value && !isnan(x->value))
        return (x->value < y->value) == x->descending ? 1 : -1;
    return x->series < y->series ? -1 : 1;
}

static size_t rank_step(const struct groups *g, const struct vec *in, uint32_t step,
                        bool descending, struct ranked *ranked) {
    size_t n = 0;
    for (size_t i = 0; i < in->count; i++)
        if (in->series[i].present[step])
            ranked[n++] = (struct ranked){
                .value = in->series[i].values[step],
                .series = (uint32_t)i,
                .group = g ? g->of_series[i] : 0,
                .descending = descending,
            };
    qsort(ranked, n, sizeof(*ranked), compare_ranked);
    return n;
}

/* topk, bottomk: the same series, with values only where they are among the k of their group. */
static int select_k(struct exec *x, const struct vector_agg *agg, const struct groups *g,
                    const struct vec *in, struct vec *ret) {
    struct vec_series *out = arena_array(&x->arena, in->count, sizeof(*out));
    struct ranked *ranked = arena_array(&x->arena, in->count, sizeof(*ranked));
    if (!out || !ranked)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++) {
        int r = vec_series_make(x, in->series[i].labels, &out[i]);
        if (r < 0)
            return r;
    }
    for (uint32_t step = 0; step < x->steps.count; step++) {
        size_t n = rank_step(g, in, step, agg->op != AGG_BOTTOMK, ranked);
        int64_t taken = 0;
        for (size_t i = 0; i < n; i++) {
            taken = i > 0 && ranked[i].group == ranked[i - 1].group ? taken + 1 : 1;
            if (taken > agg->parameter)
                continue;
            out[ranked[i].series].present[step] = true;
            out[ranked[i].series].values[step] = ranked[i].value;
        }
    }
    *ret = (struct vec){.series = out, .count = in->count};
    return 0;
}

/* sort, sort_desc: only an instant vector has an order. */
static int order(struct exec *x, bool descending, const struct vec *in, struct vec *ret) {
    *ret = *in;
    if (!x->query->instant)
        return 0;
    struct vec_series *out = arena_array(&x->arena, in->count, sizeof(*out));
    struct ranked *ranked = arena_array(&x->arena, in->count, sizeof(*ranked));
    if (!out || !ranked)
        return -ENOMEM;
    size_t n = rank_step(NULL, in, 0, descending, ranked);
    for (size_t i = 0; i < n; i++)
        out[i] = in->series[ranked[i].series];
    *ret = (struct vec){.series = out, .count = n, .ordered = true};
    return 0;
}

int vec_aggregate(struct exec *x, const struct vector_agg *agg, const struct vec *in,
                  struct vec *ret, struct err *reterr) {
    struct groups groups;
    struct vec sorted;
    bool chooses = agg->op == AGG_TOPK || agg->op == AGG_BOTTOMK || agg->op == AGG_APPROX_TOPK ||
                   agg->op == AGG_SORT || agg->op == AGG_SORT_DESC;
    int r = chooses ? by_labels(x, in, &sorted) : 0;
    if (chooses)
        in = &sorted;
    if (r == 0)
        r = group_series(x, &agg->grouping, in, &groups);
    if (r < 0)
        return exec_no_memory(reterr);
    switch (agg->op) {
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_APPROX_TOPK:
        r = select_k(x, agg, &groups, in, ret);
        break;
    case AGG_SORT:
    case AGG_SORT_DESC:
        r = order(x, agg->op == AGG_SORT_DESC, in, ret);
        break;
    case AGG_SUM:
    case AGG_AVG:
    case AGG_COUNT:
    case AGG_MAX:
    case AGG_MIN:
    case AGG_STDDEV:
    case AGG_STDVAR:
        r = reduce(x, agg->op, &groups, in, ret);
        break;
    }
    return r < 0 ? exec_no_memory(reterr) : 0;
}
