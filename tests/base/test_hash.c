#include "hash.h"

#include <stdlib.h>

#include "hash_wide.h"
#include "test.h"

/* The values are on disk: those of every length, whatever the processor can do, are the ones that XXH3 is known by. */
static void test_known_values(void) {
    static const struct {
        size_t size;
        uint64_t hash;
    } known[] = {
        {0, UINT64_C(0x2d06800538d394c2)},    {1, UINT64_C(0xc44bdff4074eecdb)},
        {240, UINT64_C(0xe315d53d5129eede)},  {511, UINT64_C(0xeff72e0404535388)},
        {512, UINT64_C(0x16abf0502ba06baa)},  {513, UINT64_C(0x49d329c94fd86863)},
        {1024, UINT64_C(0x5a1893edffa2577c)}, {65537, UINT64_C(0xf2650c0da9714e74)},
    };
    uint8_t *bytes = malloc(65537);
    CHECK(bytes);
    for (size_t i = 0; i < 65537; i++)
        bytes[i] = (uint8_t)(i * 31 + (i >> 8));
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        CHECK(hash64(bytes, known[i].size) == known[i].hash);
    free(bytes);
}

static void test_wide_is_the_same(void) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2"))
        return;
    uint8_t bytes[4096 + 64];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * i >> 3);
    for (size_t size = 0; size < 512; size++)
        CHECK(hash64_wide(bytes + size % 64, size) == hash64(bytes + size % 64, size));
#endif
}

int main(void) {
    RUN(test_known_values);
    RUN(test_wide_is_the_same);
    return test_done();
}
