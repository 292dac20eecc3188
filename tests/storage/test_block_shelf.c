#include "block_shelf.h"

#include <stdlib.h>

#include "budget.h"
#include "test.h"

enum { BUDGET = 1600, BLOCKS = 40, MOST = BUDGET / 16 };

static struct block_shelf *shelf;
static struct shelf_row *row;
static unsigned n_alive;

static void begin(void) {
    shelf = block_shelf_new(BUDGET);
    row = shelf_row_new(shelf, BLOCKS);
}

static void end(void) {
    uint64_t bytes, count;
    shelf_row_free(row);
    block_shelf_stats(shelf, &bytes, &count);
    CHECK_INT(bytes, 0);
    CHECK_INT(count, 0);
    CHECK_INT(n_alive, 0);
    CHECK_INT(budget_used(BUDGET_QUERIES), 0);
    block_shelf_free(shelf);
}

static void free_item(struct shelved *what) {
    n_alive--;
    free(what);
}

static struct shelved *item(void) {
    struct shelved *what = calloc(1, sizeof(*what));
    if (!what)
        abort();
    what->free = free_item;
    n_alive++;
    return what;
}

static uint64_t count_shelved(void) {
    uint64_t bytes, count;
    block_shelf_stats(shelf, &bytes, &count);
    CHECK_INT(budget_used(BUDGET_QUERIES), bytes);
    return count;
}

/* Reads the block until it may be put there, and does it; how often. */
static unsigned fill(uint32_t block, size_t cost) {
    struct shelved *what = NULL;
    unsigned n = 1;
    while (shelf_take(row, block, false, &what) != SHELF_FILL && n < 100)
        n++;
    shelf_put(row, block, item(), cost);
    return n;
}

static void kept_when_read_again(void) {
    struct shelved *what = NULL, *first = item();
    begin();
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_PASS);
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_FILL);
    CHECK_INT(shelf_take(row, 3, false, &what),
              SHELF_PASS); /* another reader is about to fill the place */
    shelf_put(row, 3, first, 10);
    CHECK_INT(count_shelved(), 1);
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_USE);
    CHECK(what == first);
    CHECK_INT(count_shelved(), 0);
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_PASS); /* it has one owner */
    CHECK_INT(shelf_take(row, 4, false, &what), SHELF_PASS);
    shelf_put(row, 3, first, 20);
    CHECK_INT(count_shelved(), 1);
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_USE);
    first->free(first);
    shelf_put(row, 3, NULL, 0);
    CHECK_INT(shelf_take(row, 3, false, &what), SHELF_FILL);
    shelf_put(row, 3, item(), 10);
    CHECK_INT(shelf_take(row, 5, true, &what), SHELF_FILL); /* for who comes back at once */
    shelf_put(row, 5, NULL, 0);
    end();
}

static void longest_unused_goes(void) {
    struct shelved *what = NULL;
    begin();
    for (uint32_t i = 0; i < 16; i++)
        CHECK_INT(fill(i, MOST), 2);
    CHECK_INT(count_shelved(), 16);
    CHECK_INT(shelf_take(row, 0, false, &what), SHELF_USE); /* now the newest */
    shelf_put(row, 0, what, MOST);
    CHECK_INT(fill(16, MOST), 1 + 8); /* it is full: not for each that comes by */
    CHECK_INT(count_shelved(), 16);
    CHECK_INT(shelf_take(row, 2, false, &what), SHELF_USE);
    shelf_put(row, 2, what, MOST);
    CHECK_INT(shelf_take(row, 1, false, &what), SHELF_PASS); /* gone */
    CHECK_INT(shelf_take(row, 0, false, &what), SHELF_USE);
    shelf_put(row, 0, what, MOST);
    fill(20, MOST + 1); /* too large */
    CHECK_INT(count_shelved(), 16);
    CHECK_INT(n_alive, 16);
    end();
}

/* Who reads more than fits round and round finds some of it. */
static void more_than_fits(void) {
    begin();
    unsigned found = 0;
    for (unsigned i = 0; i < 40 * 24; i++) {
        struct shelved *what = NULL;
        enum shelf_answer answer = shelf_take(row, i % 24, false, &what);
        if (answer == SHELF_USE)
            shelf_put(row, i % 24, what, MOST);
        else if (answer == SHELF_FILL)
            shelf_put(row, i % 24, item(), MOST);
        found += answer == SHELF_USE;
    }
    CHECK(found > 40 * 24 / 3);
    end();
}

static void rows_go_with_what_they_have(void) {
    begin();
    struct shelf_row *other = row;
    fill(0, 10);
    fill(1, 10);
    row = shelf_row_new(shelf, BLOCKS);
    fill(0, 10);
    shelf_row_free(other);
    CHECK_INT(count_shelved(), 1);
    CHECK_INT(n_alive, 1);
    end();
}

/* Queries that lack memory get what is here, one block for each that is put aside. */
static void gives_way(void) {
    begin();
    for (uint32_t i = 0; i < 4; i++)
        fill(i, 50);
    budget_set_limit(1000);
    budget_force(BUDGET_QUERIES, 300);
    CHECK(budget_is_tight(BUDGET_QUERIES));
    struct shelved *what = NULL;
    (void)shelf_take(row, 9, false, &what);
    CHECK_INT(shelf_take(row, 9, false, &what), SHELF_FILL);
    shelf_put(row, 9, item(), 10);
    CHECK_INT(n_alive, 3);
    CHECK_INT(shelf_take(row, 0, false, &what), SHELF_FILL);
    shelf_put(row, 0, NULL, 0);
    CHECK_INT(n_alive, 2);
    budget_give(BUDGET_QUERIES, 300);
    CHECK_INT(count_shelved(), 2);
    budget_set_limit(0);
    end();
}

int main(void) {
    RUN(kept_when_read_again);
    RUN(longest_unused_goes);
    RUN(more_than_fits);
    RUN(rows_go_with_what_they_have);
    RUN(gives_way);
    return test_done();
}
