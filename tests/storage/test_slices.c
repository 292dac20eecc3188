#include "slices.h"

#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "err.h"
#include "gram.h"
#include "test.h"

enum { BLOCKS = 150 };

static struct arena arena;
static uint32_t sizes[BLOCKS];
static uint8_t *filters[BLOCKS];

static uint32_t next_random(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* A filter of m bits, a third of them set. */
static void make_filter(unsigned i, uint32_t m) {
    sizes[i] = m == 0 ? 0 : GRAM_FILTER_HEADER + m / 8;
    filters[i] = malloc(sizes[i] + 1);
    if (m == 0)
        return;
    put_le32(filters[i], m);
    put_le32(filters[i] + 4, 0);
    for (uint32_t at = 0; at < m / 8; at++)
        filters[i][GRAM_FILTER_HEADER + at] = (uint8_t)(next_random() & next_random());
}

static void check_answers(const struct slices *s, const uint8_t *bytes) {
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t alive[(BLOCKS + 63) / 64];
        struct gram_query q = {.count = 1,
                               .hashes = {round == 0   ? 0
                                          : round == 1 ? (1u << GRAM_HASH_BITS) - 1
                                                       : next_random() >> (32 - GRAM_HASH_BITS)}};
        const uint8_t *slice = bytes + (uint64_t)slices_find(s, q.hashes[0]) * slices_stride(s);
        bool wanted;
        memset(alive, 0, sizeof(alive));
        for (uint32_t i = 0; i < s->n; i++)
            alive[i / 64] |= (uint64_t)(i % 5 != 0) << i % 64;
        CHECK_INT(slices_narrow(s, slice, q.hashes[0], alive),
                  (alive[0] | alive[1] | alive[2]) != 0);
        for (uint32_t i = 0; i < s->n; i++) {
            wanted = gram_may_contain(filters[i], sizes[i], &q);
            CHECK(slices_may_contain(s, slice, q.hashes[0], i) == wanted);
            CHECK((alive[i / 64] >> i % 64 & 1) == (wanted && i % 5 != 0));
        }
    }
}

static void check_cut(uint32_t n, unsigned shift) {
    struct slices s;
    CHECK_INT(slices_make(sizes, n, shift, &arena, &s), 0);
    uint64_t total = slices_bytes(&s);
    uint8_t *bytes = malloc((size_t)total + 1), *back = malloc(GRAM_FILTER_MAX_BYTES + 8);
    memset(bytes, 0xaa, (size_t)total);
    uint32_t count = 1u << shift, half = count / 3;
    for (uint32_t i = 0; i < n; i++) { /* in two steps, as a writer may */
        slices_put(&s, i, filters[i], sizes[i], 0, half, bytes);
        slices_put(&s, i, filters[i], sizes[i], half, count,
                   bytes + (uint64_t)half * slices_stride(&s));
    }
    for (uint32_t i = 0; i < n; i++) {
        if (sizes[i] == 0)
            continue;
        slices_take(&s, i, bytes, sizes[i], back);
        CHECK(memcmp(back, filters[i], sizes[i]) == 0);
    }
    check_answers(&s, bytes);
    free(bytes);
    free(back);
}

static void cut(const uint32_t *bits, size_t n_bits, uint32_t n) {
    for (unsigned i = 0; i < n; i++)
        make_filter(i, bits[next_random() % n_bits]);
    unsigned best = slices_best_shift(sizes, n);
    CHECK(best <= SLICES_SHIFT_MAX);
    check_cut(n, 0);
    check_cut(n, best / 2);
    check_cut(n, best);
    check_cut(n, best < SLICES_SHIFT_MAX ? best + 1 : best);
    for (unsigned i = 0; i < n; i++)
        free(filters[i]);
}

static void filters_of_many_sizes(void) {
    const uint32_t small[] = {512}, one[] = {1 << 20}, large[] = {7 << 13, 4 << 14, 5 << 14};
    const uint32_t mixed[] = {0, 512, 640, 4 << 10, 5 << 12, 6 << 9, 7 << 14, 1 << 18};
    cut(small, 1, 1);
    cut(small, 1, BLOCKS);
    cut(one, 1, 2);
    cut(large, 3, 41);
    cut(mixed, 8, 64);
    cut(mixed, 8, 65);
    cut(mixed, 8, BLOCKS);
}

/* A small rest does not make pieces of the others large, and small filters are not blown up for a large one. */
static void how_fine(void) {
    uint32_t some[41], bytes = 0;
    struct slices s;
    for (unsigned i = 0; i < 40; i++)
        some[i] = GRAM_FILTER_HEADER + (4 << 14) / 8;
    some[40] = GRAM_FILTER_HEADER + 512 / 8;
    unsigned shift = slices_best_shift(some, 41);
    CHECK(shift >= 9);
    CHECK_INT(slices_make(some, 41, shift, &arena, &s), 0);
    CHECK(slices_bytes(&s) <= (40 * (4 << 14) / 8 + 64) * 65 / 64);
    for (unsigned i = 1; i < 41; i++) {
        some[i] = GRAM_FILTER_HEADER + 512 / 8;
        bytes += 64;
    }
    bytes += (4 << 14) / 8;
    shift = slices_best_shift(some, 41);
    CHECK_INT(slices_make(some, 41, shift, &arena, &s), 0);
    CHECK(slices_bytes(&s) <= bytes * 65 / 64);
    uint32_t none[3] = {0};
    CHECK_INT(slices_make(none, 3, slices_best_shift(none, 3), &arena, &s), 0);
    CHECK_INT(slices_bytes(&s), 0);
}

static void refusals(void) {
    struct slices s;
    const uint32_t bad[] = {1,         8, 9, 16 + 1, 8 + 9 * 8, 8 + (1 << 17) + 8, 8 + 3 * 64 + 8,
                            UINT32_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_INT(slices_make(&bad[i], 1, 4, &arena, &s), -ECORRUPT);
    uint32_t good = GRAM_FILTER_HEADER + 64;
    CHECK_INT(slices_make(&good, 1, SLICES_SHIFT_MAX + 1, &arena, &s), -ECORRUPT);
    CHECK_INT(slices_make(&good, 1, UINT32_MAX, &arena, &s), -ECORRUPT);
    uint32_t *many = malloc(40000 * sizeof(*many));
    for (unsigned i = 0; i < 40000; i++)
        many[i] = GRAM_FILTER_HEADER + GRAM_FILTER_MAX_BYTES;
    CHECK_INT(slices_make(many, 40000, 0, &arena, &s), -ECORRUPT);
    free(many);
}

int main(void) {
    arena = arena_make(64 << 20);
    RUN(filters_of_many_sizes);
    RUN(how_fine);
    RUN(refusals);
    arena_done(&arena);
    return test_done();
}
