/* The horizon against a sorted array of all that it was told. */
#include "horizon.h"

#include <stdlib.h>

#include "test.h"
#include "test_random.h"

enum { TIMES_MAX = 600, ROUNDS = 400 };

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* In the order in which a block is looked at. */
static void sort(int64_t *times, size_t n, bool backward) {
    qsort(times, n, sizeof(*times), compare);
    for (size_t i = 0; backward && i < n / 2; i++) {
        int64_t t = times[i];
        times[i] = times[n - 1 - i];
        times[n - 1 - i] = t;
    }
}

/* Few distinct times, so that many are equal, and the ends of what a time can be. */
static int64_t random_time(void) {
    switch (random_below(40)) {
    case 0:
        return INT64_MIN;
    case 1:
        return INT64_MAX;
    default:
        return (int64_t)random_below(200) - 100;
    }
}

static void against_a_sorted_array(void) {
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool backward = round % 2;
        struct horizon h = horizon_make(backward, 1 + random_below(300));
        int64_t all[TIMES_MAX], some[TIMES_MAX], found = 0;
        size_t n = 0;
        while (n < TIMES_MAX) {
            size_t count = random_below(30);
            count = count < TIMES_MAX - n ? count : TIMES_MAX - n;
            for (size_t i = 0; i < count; i++)
                all[n + i] = some[i] = random_time();
            n += count;
            sort(some, count, backward);
            CHECK_INT(horizon_add(&h, some, count), 0);
            sort(all, n, backward);
            CHECK_INT(horizon_get(&h, &found), n >= h.limit);
            if (n >= h.limit)
                CHECK_INT(found, all[h.limit - 1]);
        }
        horizon_done(&h);
    }
}

int main(void) {
    RUN(against_a_sorted_array);
    return test_done();
}
