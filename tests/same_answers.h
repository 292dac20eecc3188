/* same_answers: two answers of a query compared. */
#pragma once

#include <math.h>
#include <stdbool.h>

#include "engine.h"
#include "labels.h"

/* Sums may be added in any order: they may differ by that share of them, and that much besides. 0: they may not. */
static inline bool same_number(double a, double b, double share) {
    return a == b || (isnan(a) && isnan(b)) ||
           (share > 0 && fabs(a - b) <= share * (fabs(a) > fabs(b) ? fabs(a) : fabs(b)) + share);
}

static inline bool same_answers(const struct query_result *a, const struct query_result *b,
                                double share) {
    if (a->type != b->type || a->n_entries != b->n_entries || a->n_series != b->n_series)
        return false;
    for (size_t i = 0; i < a->n_entries; i++) {
        const struct result_entry *x = &a->entries[i], *y = &b->entries[i];
        if (x->ts_ns != y->ts_ns || !str_eq(x->line, y->line) ||
            !labels_eq(a->sets[x->set].merged, b->sets[y->set].merged))
            return false;
    }
    for (size_t i = 0; i < a->n_series; i++) {
        const struct result_series *x = &a->series[i], *y = &b->series[i];
        if (!labels_eq(x->labels, y->labels) || x->n_points != y->n_points)
            return false;
        for (size_t k = 0; k < x->n_points; k++)
            if (x->points[k].ts_ns != y->points[k].ts_ns ||
                !same_number(x->points[k].value, y->points[k].value, share))
                return false;
    }
    return true;
}
