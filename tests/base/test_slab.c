/* Runs of a slab do not overlap, keep what is written, and regions go when they are empty. */
#include "slab.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "test.h"
#include "test_random.h"

enum { RUNS = 200, STEPS = 20000 };

static struct run {
    unsigned char *data;
    size_t size;
    unsigned char mark;
} runs[RUNS];

static bool is_whole(const struct run *r) {
    for (size_t i = 0; i < r->size; i += SLAB_UNIT / 2)
        if (r->data[i] != r->mark)
            return false;
    return r->data[r->size - 1] == r->mark;
}

static void runs_come_and_go(void) {
    struct slab *s = slab_new();
    for (unsigned step = 0; step < STEPS; step++) {
        struct run *r = &runs[random_below(RUNS)];
        if (r->data) {
            CHECK(is_whole(r));
            slab_give(s, r->data, r->size);
            r->data = NULL;
            continue;
        }
        size_t most = random_below(20) == 0 ? SLAB_RUN_MAX / SLAB_UNIT : 12;
        *r =
            (struct run){.size = (1 + random_below(most)) * SLAB_UNIT, .mark = (unsigned char)step};
        r->data = slab_take(s, r->size);
        CHECK(r->data && (uintptr_t)r->data % SLAB_UNIT == 0);
        memset(r->data, r->mark, r->size);
    }
    CHECK(slab_mapped_bytes(s) > 0);
    for (unsigned i = 0; i < RUNS; i++) {
        if (runs[i].data)
            slab_give(s, runs[i].data, runs[i].size);
        runs[i].data = NULL;
    }
    CHECK_INT(slab_mapped_bytes(s), 0);
    slab_free(s);
}

static void arenas_in_a_slab(void) {
    struct slab *s = slab_new();
    struct arena a = arena_make_in(s, 4 << 20), b = arena_make_in(s, 64 << 10);
    char *small = arena_alloc(&a, 100), *large = arena_alloc(&a, 2 * SLAB_RUN_MAX);
    char *middle = arena_alloc(&a, 100 * 1000);
    CHECK(small && large && middle);
    memset(small, 1, 100);
    memset(large, 2, 2 * SLAB_RUN_MAX); /* from the heap */
    memset(middle, 3, 100 * 1000);
    CHECK(small[99] == 1 && large[0] == 2 && middle[0] == 3);
    CHECK_INT(slab_mapped_bytes(s), SLAB_REGION);
    unsigned n = 0;
    while (arena_alloc(&b, 1000))
        n++;
    CHECK(n >= 48 && b.total_bytes <= 64 << 10);
    arena_reset(&b);
    CHECK(arena_alloc(&b, 1000) != NULL);
    arena_done(&a);
    arena_done(&b);
    CHECK_INT(slab_mapped_bytes(s), 0);
    slab_free(s);
}

int main(void) {
    RUN(runs_come_and_go);
    RUN(arenas_in_a_slab);
    return test_done();
}
