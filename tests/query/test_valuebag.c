/* Quantiles of bags against a sorted array: few and many distinct values, NaN, infinities, both signs, merged parts. */
#include "valuebag.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"
#include "test.h"
#include "test_random.h"

enum { VALUES_MAX = 20000 };

static double values[VALUES_MAX], sorted[VALUES_MAX];
static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return !isnan(x) - !isnan(y);
    return (x > y) - (x < y);
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static double expected(size_t n, double q) {
    memcpy(sorted, values, n * sizeof(*values));
    qsort(sorted, n, sizeof(*sorted), compare);
    double rank = q * (double)(n - 1);
    size_t lower = (size_t)floor(rank), upper = lower + 1 < n ? lower + 1 : n - 1;
    double weight = rank - floor(rank);
    return sorted[lower] * (1 - weight) + sorted[upper] * weight;
}

static double random_value(unsigned kind) {
    switch (kind) {
    case 0: /* few distinct: a thousand milliseconds */
        return (double)random_below(1000);
    case 1: /* nearly all distinct, both signs */
        return ((double)random_below(1 << 30) - (1 << 29)) / 7;
    case 2:
        return random_below(50) == 0 ? NAN : (double)random_below(5);
    default:
        return random_below(50) == 0 ? INFINITY : -(double)random_below(1 << 20);
    }
}

static void check(const struct valuebag *parts, size_t n_parts, size_t n) {
    static const double quantiles[] = {0, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999, 1};
    struct valuebag all = {0};
    size_t grown;
    for (size_t i = 0; i < n_parts; i++)
        CHECK_INT(valuebag_merge(&all, &parts[i], &grown), 0);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double got, want = expected(n, quantiles[i]);
        CHECK_INT(valuebag_quantile(&all, quantiles[i], &got), 0);
        CHECK(same(got, want));
    }
    valuebag_done(&all);
}

static void test_against_sorting(void) {
    static const size_t sizes[] = {1, 2, 31, 32, 33, 127, 128, 129, 1000, VALUES_MAX};
    for (unsigned kind = 0; kind < 4; kind++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct valuebag parts[3] = {{0}};
            size_t grown;
            for (size_t k = 0; k < sizes[i]; k++) {
                values[k] = random_value(kind);
                CHECK_INT(valuebag_add(&parts[random_below(3)], values[k], &grown), 0);
            }
            check(parts, 3, sizes[i]);
            for (size_t k = 0; k < 3; k++)
                valuebag_done(&parts[k]);
        }
}

/* A million values of which a thousand differ take the memory of thousands. */
static void test_memory_grows_with_distinct_values(void) {
    struct valuebag b = {0};
    size_t total = 0, grown;
    for (size_t i = 0; i < 1000000; i++) {
        CHECK_INT(valuebag_add(&b, (double)random_below(1000), &grown), 0);
        total += grown;
    }
    CHECK(total < 100 << 10);
    double median;
    CHECK_INT(valuebag_quantile(&b, 0.5, &median), 0);
    CHECK(median > 480 && median < 520);
    valuebag_done(&b);
}

static void test_edges(void) {
    struct valuebag b = {0};
    size_t grown;
    double got;
    CHECK_INT(valuebag_quantile(&b, 0.5, &got), 0);
    CHECK(isnan(got));
    CHECK_INT(valuebag_add(&b, 3, &grown), 0);
    CHECK_INT(valuebag_quantile(&b, -1, &got), 0);
    CHECK(got == -INFINITY);
    CHECK_INT(valuebag_quantile(&b, 2, &got), 0);
    CHECK(got == INFINITY);
    CHECK_INT(valuebag_quantile(&b, NAN, &got), 0);
    CHECK(isnan(got));
    CHECK_INT(valuebag_quantile(&b, 0.3, &got), 0);
    CHECK(got == 3);
    valuebag_done(&b);
}

int main(void) {
    RUN(test_against_sorting);
    RUN(test_memory_grows_with_distinct_values);
    RUN(test_edges);
    return test_done();
}
