/* The account of memory, and what pays into it. */
#include "test.h"

#include <errno.h>

#include "arena.h"
#include "budget.h"
#include "buf.h"

static void test_no_limit(void) {
    CHECK_INT(budget_limit(), 0);
    CHECK(budget_take(BUDGET_QUERIES, (size_t)1 << 40));
    CHECK(!budget_is_tight(BUDGET_QUERIES));
    budget_give(BUDGET_QUERIES, (size_t)1 << 40);
    CHECK_INT(budget_used(BUDGET_NONE), 0);
}

static void test_shares(void) {
    budget_set_limit(1000000);
    CHECK_INT(budget_share(BUDGET_QUERIES), 500000);
    CHECK(budget_take(BUDGET_QUERIES, 500000));
    CHECK(!budget_take(BUDGET_QUERIES, 1));
    CHECK_INT(budget_refused(BUDGET_QUERIES), 1);
    CHECK(budget_is_tight(BUDGET_QUERIES) && !budget_is_tight(BUDGET_BODIES));
    /* The whole counts, too. */
    budget_force(BUDGET_STREAMS, 450000);
    CHECK(!budget_take(BUDGET_BODIES, 60000));
    CHECK(budget_take(BUDGET_BODIES, 40000));
    CHECK(budget_is_tight(BUDGET_BODIES));
    CHECK(budget_take(BUDGET_NONE, (size_t)1 << 40));
    CHECK_INT(budget_used(BUDGET_NONE), 990000);
    budget_give(BUDGET_QUERIES, 500000);
    budget_give(BUDGET_STREAMS, 450000);
    budget_give(BUDGET_BODIES, 40000);
    /* Label sets beyond half of it do not stop everything else. */
    budget_force(BUDGET_STREAMS, 3000000);
    CHECK(budget_take(BUDGET_QUERIES, 400000) && !budget_take(BUDGET_PUSHES, 200000));
    CHECK(budget_take(BUDGET_PUSHES, 90000));
    budget_give(BUDGET_PUSHES, 90000);
    budget_give(BUDGET_QUERIES, 400000);
    budget_give(BUDGET_STREAMS, 3000000);
    CHECK_INT(budget_used(BUDGET_NONE), 0);
    budget_set_limit(0);
}

static void test_arena(void) {
    budget_set_limit(100000);
    struct arena a = arena_make_for(BUDGET_QUERIES, 1 << 30);
    CHECK(arena_alloc(&a, 10) != NULL);
    CHECK_INT(budget_used(BUDGET_QUERIES), 4096 + 16);
    CHECK(arena_alloc(&a, 30000) != NULL);
    CHECK(arena_alloc(&a, 30000) == NULL);
    arena_reset(&a);
    CHECK(budget_used(BUDGET_QUERIES) < 31000);
    arena_done(&a);
    CHECK_INT(budget_used(BUDGET_QUERIES), 0);
    CHECK(arena_alloc(&a, 10) != NULL);
    CHECK(budget_used(BUDGET_QUERIES) > 0);
    arena_done(&a);
    struct arena small = {.max_bytes = 1 << 20, .first_bytes = 256};
    CHECK(arena_alloc(&small, 10) && small.total_bytes == 256);
    arena_done(&small);
    CHECK_INT(budget_used(BUDGET_NONE), 0);
    budget_set_limit(0);
}

static void test_buf(void) {
    budget_set_limit(100000);
    struct buf b = buf_make_for(BUDGET_BODIES, BUF_NO_MAX);
    CHECK_INT(buf_reserve(&b, 10000), 0);
    CHECK_INT(budget_used(BUDGET_BODIES), b.capacity);
    struct buf moved = b;
    b = (struct buf){0};
    CHECK_INT(buf_reserve(&moved, 30000), -ENOMEM);
    CHECK(moved.failed);
    CHECK_INT(budget_used(BUDGET_BODIES), moved.capacity);
    buf_done(&moved);
    CHECK_INT(budget_used(BUDGET_BODIES), 0);
    CHECK_INT(buf_reserve(&moved, 100), 0);
    size_t size;
    char *data = buf_take(&moved, &size);
    CHECK_INT(budget_used(BUDGET_NONE), 0);
    moved = (struct buf){.data = data, .capacity = 100, .max = 100};
    buf_done(&moved);
    budget_set_limit(0);
}

int main(void) {
    RUN(test_no_limit);
    RUN(test_shares);
    RUN(test_arena);
    RUN(test_buf);
    return test_done();
}
