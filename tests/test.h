/* test: the harness of the C suites. A suite is a main() that calls TEST(name) { ... } blocks through
 * test_run and ends with `return test_done();`, which prints "N passed, N failed" and gives the exit status. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int test_passed, test_failed, test_case_failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_case_failures++;                                                                  \
            printf("  %s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                     \
        }                                                                                          \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_) {                                                                       \
            test_case_failures++;                                                                  \
            printf("  %s:%d: %s is %lld, want %lld\n", __FILE__, __LINE__, #got, got_, want_);     \
        }                                                                                          \
    } while (0)

/* Both are struct str. */
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        struct str got_ = (got), want_ = (want);                                                   \
        if (!str_eq(got_, want_)) {                                                                \
            test_case_failures++;                                                                  \
            printf("  %s:%d: %s is \"%.*s\", want \"%.*s\"\n", __FILE__, __LINE__, #got,           \
                   STR_ARG(got_), STR_ARG(want_));                                                 \
        }                                                                                          \
    } while (0)

static inline void test_run(const char *name, void (*fn)(void)) {
    test_case_failures = 0;
    fn();
    if (test_case_failures == 0) {
        test_passed++;
    } else {
        test_failed++;
        printf("FAIL %s\n", name);
    }
    fflush(stdout);
}

#define RUN(fn) test_run(#fn, fn)

static inline int test_done(void) {
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed > 0;
}
