#include "sampler.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Merges the ascending window starts and window ends into edges; notes where each stands. */
static size_t merge_edges(const struct steps *steps, int64_t range_ns, int64_t offset_ns,
                          int64_t *edges, uint32_t *first, uint32_t *end) {
    size_t n = 0;
    uint32_t low = 0, high = 0;
    while (high < steps->count) {
        int64_t high_ns = time_sub(step_time(steps, high), offset_ns);
        int64_t low_ns = low < steps->count
                             ? time_sub(time_sub(step_time(steps, low), offset_ns), range_ns)
                             : INT64_MAX;
        int64_t edge = low_ns < high_ns ? low_ns : high_ns;
        if (n == 0 || edges[n - 1] != edge)
            edges[n++] = edge;
        if (low < steps->count && low_ns == edge)
            first[low++] = (uint32_t)(n - 1);
        if (high_ns == edge)
            end[high++] = (uint32_t)(n - 1);
    }
    return n;
}

int windows_make(struct arena *arena, const struct steps *steps, int64_t range_ns,
                 int64_t offset_ns, struct windows *ret, struct err *reterr) {
    assert(steps->count > 0);
    assert(range_ns > 0);
    int64_t *edges = arena_array(arena, 2 * (size_t)steps->count, sizeof(*edges));
    uint32_t *first = arena_array(arena, steps->count, sizeof(*first));
    uint32_t *end = arena_array(arena, steps->count, sizeof(*end));
    bool *covered = arena_array(arena, 2 * (size_t)steps->count, sizeof(*covered));
    if (!edges || !first || !end || !covered)
        return exec_no_memory(reterr);
    size_t n_edges = merge_edges(steps, range_ns, offset_ns, edges, first, end);
    assert(n_edges >= 2);
    for (uint32_t i = 0, done = 0; i < steps->count; i++)
        for (done = done > first[i] ? done : first[i]; done < end[i]; done++)
            covered[done] = true;
    bool whole_minutes = true;
    for (size_t i = 0; i < n_edges && whole_minutes; i++)
        whole_minutes = edges[i] % ROLLUP_MINUTE_NS == 0;
    *ret = (struct windows){
        .edges = edges,
        .n_cells = n_edges - 1,
        .covered = covered,
        .first = first,
        .end = end,
        .n_steps = steps->count,
        .from_ns = time_add(edges[0], 1),
        .to_ns = edges[n_edges - 1],
        .whole_minutes = whole_minutes,
    };
    return 0;
}

size_t windows_cell(const struct windows *w, int64_t ts_ns, size_t hint) {
    if (hint < w->n_cells && ts_ns > w->edges[hint] && ts_ns <= w->edges[hint + 1])
        return hint;
    if (hint + 1 < w->n_cells && ts_ns > w->edges[hint + 1] && ts_ns <= w->edges[hint + 2])
        return hint + 1; /* time goes on */
    if (ts_ns < w->from_ns || ts_ns > w->to_ns)
        return w->n_cells;
    size_t low = 0, high = w->n_cells; /* edges[low] < ts <= edges[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (w->edges[middle] < ts_ns)
            low = middle;
        else
            high = middle;
    }
    return low;
}

enum cell_kind cell_kind_of(enum range_op op, bool has_unwrap) {
    switch (op) {
    case RANGE_COUNT:
    case RANGE_ABSENT:
        return CELL_COUNT;
    case RANGE_RATE:
        return has_unwrap ? CELL_SUM : CELL_COUNT;
    case RANGE_BYTES:
    case RANGE_BYTES_RATE:
    case RANGE_AVG:
    case RANGE_SUM:
        return CELL_SUM;
    case RANGE_MIN:
        return CELL_MIN;
    case RANGE_MAX:
        return CELL_MAX;
    case RANGE_STDVAR:
    case RANGE_STDDEV:
        return CELL_SPREAD;
    case RANGE_FIRST:
        return CELL_FIRST;
    case RANGE_LAST:
        return CELL_LAST;
    case RANGE_QUANTILE:
        return CELL_VALUES;
    case RANGE_RATE_COUNTER:
        return CELL_SAMPLES;
    }
    return CELL_COUNT;
}

int sums_make(struct arena *arena, enum cell_kind kind, const struct windows *w,
              struct series_sums *ret) {
    struct series_sums s = {0};
    if (kind == CELL_VALUES) {
        s.bags = arena_array(arena, w->n_cells, sizeof(*s.bags));
        s.n_bags = w->n_cells;
        if (!s.bags)
            return -ENOMEM;
    }
    if (kind != CELL_SAMPLES && kind != CELL_VALUES) {
        s.count = arena_array(arena, w->n_cells, sizeof(*s.count));
        if (!s.count)
            return -ENOMEM;
    }
    if (s.count && kind != CELL_COUNT) {
        s.x = arena_array(arena, w->n_cells, sizeof(*s.x));
        if (!s.x)
            return -ENOMEM;
    }
    if (kind == CELL_SPREAD) {
        s.y = arena_array(arena, w->n_cells, sizeof(*s.y));
        if (!s.y)
            return -ENOMEM;
    }
    if (kind == CELL_FIRST || kind == CELL_LAST) {
        s.at = arena_array(arena, w->n_cells, sizeof(*s.at));
        if (!s.at)
            return -ENOMEM;
    }
    *ret = s;
    return 0;
}

void sums_done(struct series_sums *s) {
    free(s->samples);
    s->samples = NULL;
    for (size_t i = 0; i < s->n_bags; i++)
        valuebag_done(&s->bags[i]);
}

static int64_t samples_append(struct series_sums *s, const struct sample *samples, size_t count) {
    size_t grown_bytes = 0;
    if (s->n_samples + count > s->samples_capacity) {
        size_t capacity = s->samples_capacity ? s->samples_capacity * 2 : 64;
        while (capacity < s->n_samples + count)
            capacity *= 2;
        struct sample *grown = realloc(s->samples, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        grown_bytes = (capacity - s->samples_capacity) * sizeof(*grown);
        s->samples = grown;
        s->samples_capacity = capacity;
    }
    memcpy(s->samples + s->n_samples, samples, count * sizeof(*samples));
    s->n_samples += count;
    return (int64_t)grown_bytes;
}

/* A NaN gives way to any number, as in Loki. */
static bool replaces_min(double present, double value) {
    return value < present || isnan(present);
}

static bool replaces_max(double present, double value) {
    return value > present || isnan(present);
}

static int compare_moments(const struct moment *a, const struct moment *b) {
    if (a->ts_ns != b->ts_ns)
        return a->ts_ns < b->ts_ns ? -1 : 1;
    if (a->stream != b->stream)
        return a->stream < b->stream ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

/* Of equal ones what was there first is the first, what is added the last. */
static bool replaces_end(enum cell_kind kind, const struct moment *present,
                         const struct moment *at) {
    int order = compare_moments(at, present);
    return kind == CELL_FIRST ? order < 0 : order >= 0;
}

int64_t sums_add(struct series_sums *s, enum cell_kind kind, size_t cell, const struct moment *at,
                 double value) {
    if (kind == CELL_VALUES) {
        size_t grown;
        int r = valuebag_add(&s->bags[cell], value, &grown);
        return r < 0 ? r : (int64_t)grown;
    }
    if (kind == CELL_SAMPLES) {
        struct sample sample = {.ts_ns = at->ts_ns, .value = value};
        return samples_append(s, &sample, 1);
    }
    bool is_first = s->count[cell] == 0;
    s->count[cell]++;
    switch (kind) {
    case CELL_COUNT:
    case CELL_SAMPLES:
    case CELL_VALUES:
        break;
    case CELL_SUM:
        s->x[cell] += value;
        break;
    case CELL_MIN:
        if (is_first || replaces_min(s->x[cell], value))
            s->x[cell] = value;
        break;
    case CELL_MAX:
        if (is_first || replaces_max(s->x[cell], value))
            s->x[cell] = value;
        break;
    case CELL_SPREAD: {
        double delta = value - s->x[cell];
        s->x[cell] += delta / s->count[cell];
        s->y[cell] += delta * (value - s->x[cell]);
        break;
    }
    case CELL_FIRST:
    case CELL_LAST:
        if (is_first || replaces_end(kind, &s->at[cell], at)) {
            s->x[cell] = value;
            s->at[cell] = *at;
        }
        break;
    }
    return 0;
}

/* One cell's state outside the arrays, to put cells together. */
struct cell {
    double count, x, y;
    struct moment at;
};

static struct cell cell_get(const struct series_sums *s, size_t i) {
    return (struct cell){
        .count = s->count[i],
        .x = s->x ? s->x[i] : 0,
        .y = s->y ? s->y[i] : 0,
        .at = s->at ? s->at[i] : (struct moment){0},
    };
}

static void cell_merge(struct cell *total, const struct cell *part, enum cell_kind kind) {
    if (part->count == 0)
        return;
    if (total->count == 0) {
        *total = *part;
        return;
    }
    double count = total->count + part->count;
    switch (kind) {
    case CELL_COUNT:
    case CELL_SAMPLES:
    case CELL_VALUES:
        break;
    case CELL_SUM:
        total->x += part->x;
        break;
    case CELL_MIN:
        if (replaces_min(total->x, part->x))
            total->x = part->x;
        break;
    case CELL_MAX:
        if (replaces_max(total->x, part->x))
            total->x = part->x;
        break;
    case CELL_SPREAD: {
        double delta = part->x - total->x;
        total->x += delta * part->count / count;
        total->y += part->y + delta * delta * total->count * part->count / count;
        break;
    }
    case CELL_FIRST:
    case CELL_LAST:
        if (replaces_end(kind, &total->at, &part->at)) {
            total->x = part->x;
            total->at = part->at;
        }
        break;
    }
    total->count = count;
}

int sums_merge(struct series_sums *total, const struct series_sums *part, enum cell_kind kind,
               size_t n_cells) {
    if (kind == CELL_SAMPLES && part->n_samples > 0)
        return samples_append(total, part->samples, part->n_samples) < 0 ? -ENOMEM : 0;
    for (size_t i = 0; kind == CELL_VALUES && i < n_cells; i++) {
        size_t grown;
        int r = valuebag_merge(&total->bags[i], &part->bags[i], &grown);
        if (r < 0)
            return r;
    }
    if (!total->count)
        return 0;
    for (size_t i = 0; i < n_cells; i++) {
        struct cell a = cell_get(total, i), b = cell_get(part, i);
        cell_merge(&a, &b, kind);
        total->count[i] = a.count;
        if (total->x)
            total->x[i] = a.x;
        if (total->y)
            total->y[i] = a.y;
        if (total->at)
            total->at[i] = a.at;
    }
    return 0;
}

static int compare_samples(const void *a, const void *b) {
    const struct sample *x = a, *y = b;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

/* Counts and byte sums are whole numbers below 2^53: adding and subtracting them is exact. Sums of unwrapped
 * values are not, a large value would leave its rounding behind in every later window. */
static bool has_totals(const struct window_value *v) {
    return v->kind == CELL_COUNT || v->op == RANGE_BYTES || v->op == RANGE_BYTES_RATE;
}

void sums_finish(struct series_sums *s, const struct window_value *v) {
    if (s->n_samples > 1)
        qsort(s->samples, s->n_samples, sizeof(*s->samples), compare_samples);
    if (!has_totals(v))
        return;
    for (size_t i = 1; i < v->windows->n_cells; i++) {
        s->count[i] += s->count[i - 1];
        if (s->x)
            s->x[i] += s->x[i - 1];
    }
}

static struct cell window_total(const struct series_sums *s, const struct window_value *v,
                                uint32_t step) {
    uint32_t first = v->windows->first[step], end = v->windows->end[step];
    struct cell total = {0};
    if (has_totals(v)) {
        total = cell_get(s, end - 1);
        if (first > 0) {
            struct cell before = cell_get(s, first - 1);
            total.count -= before.count;
            total.x -= before.x;
        }
        return total;
    }
    for (uint32_t i = first; i < end; i++) {
        struct cell part = cell_get(s, i);
        cell_merge(&total, &part, v->kind);
    }
    return total;
}

/* First sample behind `ns`. */
static size_t sample_after(const struct series_sums *s, int64_t ns) {
    size_t low = 0, high = s->n_samples;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->samples[middle].ts_ns <= ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* rate_counter is Prometheus' rate: the increase with resets added back, stretched over the window (from_ns,
 * to_ns]. Towards an end of the window that is nearer than about one distance between samples the increase goes
 * on, else for half a distance; before the first sample never beyond the point where the counter was 0. */
static double rate_counter(const struct sample *samples, size_t count, int64_t from_ns,
                           int64_t to_ns) {
    if (count < 2)
        return 0;
    const struct sample *first = &samples[0], *last = &samples[count - 1];
    double increase = last->value - first->value;
    for (size_t i = 1; i < count; i++)
        if (samples[i].value < samples[i - 1].value)
            increase += samples[i - 1].value;
    double to_start = (double)(first->ts_ns - from_ns) / 1e9;
    double to_end = (double)(to_ns - last->ts_ns) / 1e9;
    double interval = (double)(last->ts_ns - first->ts_ns) / 1e9;
    double average = interval / (double)(count - 1);
    double near = average * 1.1;
    if (to_start >= near)
        to_start = average / 2;
    if (increase > 0 && first->value >= 0) {
        double to_zero = interval * (first->value / increase);
        if (to_zero < to_start)
            to_start = to_zero;
    }
    if (to_end >= near)
        to_end = average / 2;
    double range = (double)(to_ns - from_ns) / 1e9;
    return increase * ((interval + to_start + to_end) / interval) / range;
}

static int samples_window(const struct series_sums *s, const struct window_value *v, uint32_t step,
                          double *ret) {
    const struct windows *w = v->windows;
    size_t from = sample_after(s, w->edges[w->first[step]]);
    size_t to = sample_after(s, w->edges[w->end[step]]);
    if (from == to)
        return 0;
    *ret = rate_counter(s->samples + from, to - from, w->edges[w->first[step]],
                        w->edges[w->end[step]]);
    return 1;
}

/* The values of all cells of the window together. */
static int values_window(struct series_sums *s, const struct window_value *v, uint32_t step,
                         double *ret) {
    uint32_t first = v->windows->first[step], end = v->windows->end[step];
    struct valuebag all = {0}, *whole = NULL;
    size_t grown;
    int r = 0;
    for (uint32_t i = first; i < end && r == 0; i++) {
        if (s->bags[i].n == 0)
            continue;
        if (!whole) {
            whole = &s->bags[i];
            continue;
        }
        r = whole == &all ? 0 : valuebag_merge(&all, whole, &grown);
        whole = &all;
        if (r == 0)
            r = valuebag_merge(&all, &s->bags[i], &grown);
    }
    if (r == 0 && whole)
        r = valuebag_quantile(whole, v->parameter, ret);
    valuebag_done(&all);
    return r < 0 ? r : whole != NULL;
}

int sums_window(struct series_sums *s, const struct window_value *v, uint32_t step, double *ret) {
    if (v->kind == CELL_SAMPLES)
        return samples_window(s, v, step, ret);
    if (v->kind == CELL_VALUES)
        return values_window(s, v, step, ret);
    struct cell total = window_total(s, v, step);
    if (total.count == 0)
        return 0;
    switch (v->op) {
    case RANGE_COUNT:
        *ret = total.count;
        break;
    case RANGE_RATE:
        *ret = (v->has_unwrap ? total.x : total.count) / v->range_seconds;
        break;
    case RANGE_BYTES_RATE:
        *ret = total.x / v->range_seconds;
        break;
    case RANGE_AVG:
        *ret = total.x / total.count;
        break;
    case RANGE_STDVAR:
        *ret = total.y / total.count;
        break;
    case RANGE_STDDEV:
        *ret = sqrt(total.y / total.count);
        break;
    case RANGE_BYTES:
    case RANGE_SUM:
    case RANGE_MIN:
    case RANGE_MAX:
    case RANGE_FIRST:
    case RANGE_LAST:
        *ret = total.x;
        break;
    case RANGE_ABSENT:
    case RANGE_RATE_COUNTER:
    case RANGE_QUANTILE:
        *ret = 1;
        break;
    }
    return 1;
}
