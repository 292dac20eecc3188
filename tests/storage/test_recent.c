/* Hashes that were there lately. */
#include "test.h"

#include "recent.h"

static const int64_t second_ns = 1000000000;

static void test_new_and_known(void) {
    struct recent r = {0};
    for (uint64_t i = 1; i <= 1000; i++)
        CHECK(recent_add(&r, i * i, 5 * second_ns));
    for (uint64_t i = 1; i <= 1000; i++)
        CHECK(!recent_add(&r, i * i, 6 * second_ns));
    recent_done(&r);
}

/* Zero is a hash like any other. */
static void test_zero(void) {
    struct recent r = {0};
    CHECK(recent_add(&r, 0, 0));
    CHECK(!recent_add(&r, 0, 0));
    recent_done(&r);
}

static void test_age(void) {
    struct recent r = {0};
    const int64_t start_ns = 1000 * second_ns;
    CHECK(recent_add(&r, 7, start_ns));
    CHECK(!recent_add(&r, 7, start_ns + (RECENT_SECONDS - 1) * second_ns));
    /* Known through the whole next generation, then forgotten. */
    CHECK(recent_add(&r, 8, start_ns + RECENT_SECONDS * second_ns));
    CHECK(!recent_add(&r, 7, start_ns + (2 * RECENT_SECONDS - 1) * second_ns));
    CHECK(recent_add(&r, 9, start_ns + 2 * RECENT_SECONDS * second_ns));
    CHECK(recent_add(&r, 7, start_ns + 2 * RECENT_SECONDS * second_ns));
    recent_done(&r);
}

/* However many come, memory is bounded and the last RECENT_MAX are known. */
static void test_many(void) {
    struct recent r = {0};
    enum { COUNT = 10 * RECENT_MAX };
    for (uint64_t i = 1; i <= COUNT; i++)
        CHECK(recent_add(&r, i * 0x9e3779b97f4a7c15u, second_ns));
    CHECK(r.now.capacity <= 2 * RECENT_MAX && r.before.capacity <= 2 * RECENT_MAX);
    for (uint64_t i = COUNT - RECENT_MAX + 1; i <= COUNT; i++)
        CHECK(!recent_add(&r, i * 0x9e3779b97f4a7c15u, second_ns));
    recent_done(&r);
}

int main(void) {
    RUN(test_new_and_known);
    RUN(test_zero);
    RUN(test_age);
    RUN(test_many);
    return test_done();
}
