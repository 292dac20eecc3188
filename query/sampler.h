/* sampler: the windows of a range aggregation and the partial sums of one series over them.
 *
 * Windows (t - range, t] of all steps have at most two ends each; the ends cut time into cells (a, b] in which
 * every moment belongs to the same windows. A sample is added to its cell once, and a window's value is put
 * together from its cells afterwards: work per line does not depend on how much windows overlap, and memory
 * grows with series and steps, never with lines. Two aggregations cannot be put together from parts: quantile keeps
 * each cell's distinct values with their counts (valuebag.h), rate_counter its samples. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "ast.h"
#include "err.h"
#include "exec.h"
#include "valuebag.h"

struct windows {
    const int64_t *edges; /* ascending; cell i is (edges[i], edges[i + 1]] */
    size_t n_cells;
    const bool *covered;   /* per cell: is it in any window */
    const uint32_t *first; /* per step: the window's first cell */
    const uint32_t *end;   /* per step: behind its last cell */
    uint32_t n_steps;
    int64_t from_ns, to_ns; /* all windows together, both inclusive */
    bool whole_minutes;     /* every edge is one: a minute is in one cell (rollup.h) */
};

int windows_make(struct arena *arena, const struct steps *steps, int64_t range_ns,
                 int64_t offset_ns, struct windows *ret, struct err *reterr);

/* The cell of a time, or n_cells when it lies outside; `hint` is a cell to try first. */
size_t windows_cell(const struct windows *w, int64_t ts_ns, size_t hint);

/* What a cell must hold for an aggregation. */
enum cell_kind {
    CELL_COUNT, /* count */
    CELL_SUM,   /* count, sum */
    CELL_MIN,   /* count, value */
    CELL_MAX,
    CELL_SPREAD, /* count, mean, sum of squared distances */
    CELL_FIRST,  /* count, value, time */
    CELL_LAST,
    CELL_SAMPLES, /* all samples with their times */
    CELL_VALUES,  /* distinct values with their counts */
};
enum cell_kind cell_kind_of(enum range_op op, bool has_unwrap);

struct sample {
    int64_t ts_ns;
    double value;
};

/* When a sample was, for first and last: of those with the same time, in the order of the streams' hashes (tie.h), then of
 * arrival. */
struct moment {
    int64_t ts_ns;
    uint64_t stream; /* these two only for CELL_FIRST and CELL_LAST */
    uint64_t order;  /* of the block among those of the stream */
};

/* The partial sums of one series of one worker, then of all. Arrays over cells; those that the kind does not
 * need are NULL. */
struct series_sums {
    double *count;
    double *x;
    double *y;
    struct moment *at;
    struct sample *samples;
    size_t n_samples, samples_capacity;
    struct valuebag *bags;
    size_t n_bags;
};

/* Zeroed sums; -ENOMEM. */
int sums_make(struct arena *arena, enum cell_kind kind, const struct windows *w,
              struct series_sums *ret);
/* Frees the samples alone; the rest is the arena's. */
void sums_done(struct series_sums *s);

/* Adds `n` samples whose values sum to `sum` (CELL_COUNT, CELL_SUM). */
static inline void sums_add_many(struct series_sums *s, size_t cell, double n, double sum) {
    s->count[cell] += n;
    if (s->x)
        s->x[cell] += sum;
}

/* Bytes that memory grew by (only with CELL_SAMPLES and CELL_VALUES), or -ENOMEM, -E2BIG. Samples of one block come in their
 * order. */
int64_t sums_add(struct series_sums *s, enum cell_kind kind, size_t cell, const struct moment *at,
                 double value);

/* Adds `part` to `total`. */
int sums_merge(struct series_sums *total, const struct series_sums *part, enum cell_kind kind,
               size_t n_cells);

/* How a window's value is put together. */
struct window_value {
    enum range_op op;
    enum cell_kind kind;
    bool has_unwrap;
    double parameter;
    double range_seconds;
    const struct windows *windows;
};

/* Once all parts are merged and before sums_window: sorts samples; makes running totals of whole numbers, so
 * that a window is one subtraction. */
void sums_finish(struct series_sums *s, const struct window_value *v);

/* The value of one window: 1, 0 when it has no sample, -ENOMEM or -E2BIG. */
int sums_window(struct series_sums *s, const struct window_value *v, uint32_t step, double *ret);
