#include "numbers.h"

#include "test.h"

static void test_sorts_and_finds(void) {
    struct numbers l = {0};
    numbers_sort(&l);
    CHECK(!numbers_have(&l, 0));
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_INT(numbers_add(&l, (i * 7919) % 1000 * 3), 0);
    CHECK_INT(numbers_add(&l, UINT64_MAX), 0);
    CHECK_INT(numbers_add(&l, 3), 0); /* once more */
    numbers_sort(&l);
    CHECK_INT(l.n, 1002);
    for (size_t i = 1; i < l.n; i++)
        CHECK(l.items[i - 1] <= l.items[i]);
    CHECK(numbers_have(&l, 0));
    CHECK(numbers_have(&l, 2997));
    CHECK(numbers_have(&l, UINT64_MAX));
    CHECK(!numbers_have(&l, 1));
    CHECK(!numbers_have(&l, 3000));
    numbers_done(&l);
    CHECK_INT(l.n, 0);
}

int main(void) {
    RUN(test_sorts_and_finds);
    return test_done();
}
