/* Windows put together from cells against windows summed sample by sample. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

#include "test.h"

enum { SAMPLES = 300 };

struct expected {
    size_t count;
    double sum, min, max, first, last, mean, variance;
    double values[SAMPLES];
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct expected slow_window(const struct sample *samples, int64_t t, int64_t range) {
    struct expected e = {0};
    int64_t first_ns = INT64_MAX, last_ns = INT64_MIN;
    for (size_t i = 0; i < SAMPLES; i++) {
        if (samples[i].ts_ns <= t - range || samples[i].ts_ns > t)
            continue;
        double v = samples[i].value;
        e.min = e.count == 0 || v < e.min ? v : e.min;
        e.max = e.count == 0 || v > e.max ? v : e.max;
        if (samples[i].ts_ns < first_ns) {
            first_ns = samples[i].ts_ns;
            e.first = v;
        }
        if (samples[i].ts_ns >= last_ns) {
            last_ns = samples[i].ts_ns;
            e.last = v;
        }
        e.values[e.count++] = v;
        e.sum += v;
    }
    e.mean = e.sum / (double)e.count;
    for (size_t i = 0; i < e.count; i++)
        e.variance += (e.values[i] - e.mean) * (e.values[i] - e.mean) / (double)e.count;
    qsort(e.values, e.count, sizeof(double), compare);
    return e;
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

static double wanted(const struct expected *e, enum range_op op, double range_seconds) {
    switch (op) {
    case RANGE_COUNT:
        return (double)e->count;
    case RANGE_RATE:
        return e->sum / range_seconds;
    case RANGE_BYTES:
    case RANGE_SUM:
        return e->sum;
    case RANGE_BYTES_RATE:
        return e->sum / range_seconds;
    case RANGE_AVG:
        return e->mean;
    case RANGE_MIN:
        return e->min;
    case RANGE_MAX:
        return e->max;
    case RANGE_STDVAR:
        return e->variance;
    case RANGE_STDDEV:
        return sqrt(e->variance);
    case RANGE_FIRST:
        return e->first;
    case RANGE_LAST:
        return e->last;
    case RANGE_QUANTILE: {
        double rank = 0.75 * (double)(e->count - 1);
        size_t low = (size_t)rank, high = low + 1 < e->count ? low + 1 : low;
        return e->values[low] + (e->values[high] - e->values[low]) * (rank - (double)low);
    }
    case RANGE_ABSENT:
    case RANGE_RATE_COUNTER:
        break;
    }
    return 1;
}

/* Adds all samples, split over two parts that are merged, as two workers would. */
static void check_op(enum range_op op, const struct steps *steps, int64_t range, int64_t offset,
                     const struct sample *samples) {
    struct arena arena = arena_make(64 << 20);
    struct windows w;
    struct err err;
    CHECK_INT(windows_make(&arena, steps, range, offset, &w, &err), 0);
    enum cell_kind kind = cell_kind_of(op, true);
    struct series_sums parts[2];
    for (int i = 0; i < 2; i++)
        CHECK_INT(sums_make(&arena, kind, &w, &parts[i]), 0);
    size_t hint = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t cell = windows_cell(&w, samples[i].ts_ns, hint);
        if (cell == w.n_cells || !w.covered[cell])
            continue;
        hint = cell;
        const struct moment at = {.ts_ns = samples[i].ts_ns};
        CHECK(sums_add(&parts[i * 2 / SAMPLES], kind, cell, &at, samples[i].value) >= 0);
    }
    CHECK_INT(sums_merge(&parts[0], &parts[1], kind, w.n_cells), 0);
    struct window_value v = {
        .op = op,
        .kind = kind,
        .has_unwrap = true,
        .parameter = 0.75,
        .range_seconds = (double)range / 1e9,
        .windows = &w,
    };
    sums_finish(&parts[0], &v);
    for (uint32_t step = 0; step < steps->count; step++) {
        struct expected e = slow_window(samples, step_time(steps, step) - offset, range);
        double value = 0;
        int present = sums_window(&parts[0], &v, step, &value);
        CHECK_INT(present, e.count > 0);
        if (present && op != RANGE_RATE_COUNTER)
            CHECK(near(value, wanted(&e, op, v.range_seconds)));
    }
    sums_done(&parts[0]);
    sums_done(&parts[1]);
    arena_done(&arena);
}

static void windows_from_cells(void) {
    static const struct {
        int64_t start, step, range, offset;
        uint32_t count;
    } cases[] = {
        {0, 10, 10, 0, 30},     /* tumbling */
        {0, 10, 35, 0, 30},     /* overlapping, ends never coincide */
        {0, 10, 40, 0, 30},     /* overlapping, ends coincide */
        {0, 30, 7, 0, 10},      /* gaps between windows */
        {100, 0, 55, 0, 1},     /* instant */
        {100, 10, 20, 50, 10},  /* offset */
        {100, 10, 20, -50, 10}, /* into the future */
        {-50, 1, 400, 0, 100},  /* wide and dense */
        {1000, 10, 5, 0, 5},    /* nothing there */
    };
    srand(3);
    struct sample samples[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++)
        samples[i] = (struct sample){
            .ts_ns = rand() % 300,
            /* Equal times have equal values, so that first and last are decided. */
            .value = 0,
        };
    for (size_t i = 0; i < SAMPLES; i++)
        samples[i].value = (double)(samples[i].ts_ns * 7919 % 101);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct steps steps = {cases[i].start, cases[i].step, cases[i].count};
        for (enum range_op op = RANGE_COUNT; op <= RANGE_ABSENT; op++)
            check_op(op, &steps, cases[i].range, cases[i].offset, samples);
    }
}

static void window_ends(void) {
    struct arena arena = arena_make(1 << 20);
    struct steps steps = {.start_ns = 100, .step_ns = 10, .count = 2};
    struct windows w;
    struct err err;
    CHECK_INT(windows_make(&arena, &steps, 10, 0, &w, &err), 0);
    CHECK_INT(w.n_cells, 2);
    CHECK_INT(w.from_ns, 91);
    CHECK_INT(w.to_ns, 110);
    static const struct {
        int64_t ts;
        size_t cell;
    } cases[] = {{90, 2}, {91, 0}, {100, 0}, {101, 1}, {110, 1}, {111, 2}, {INT64_MIN, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (size_t hint = 0; hint < 4; hint++)
            CHECK_INT(windows_cell(&w, cases[i].ts, hint), cases[i].cell);
    arena_done(&arena);
}

/* Times at the ends of int64 must not wrap into other windows. */
static void extreme_times(void) {
    struct arena arena = arena_make(1 << 20);
    struct steps steps = {.start_ns = INT64_MIN + 5, .step_ns = 0, .count = 1};
    struct windows w;
    struct err err;
    CHECK_INT(windows_make(&arena, &steps, 3600 * INT64_C(1000000000), 0, &w, &err), 0);
    CHECK(w.from_ns <= w.to_ns);
    CHECK_INT(windows_cell(&w, 0, 0), w.n_cells);
    arena_done(&arena);
}

int main(void) {
    RUN(windows_from_cells);
    RUN(window_ends);
    RUN(extreme_times);
    return test_done();
}
