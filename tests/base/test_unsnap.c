#include <snappy-c.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "test.h"
#include "unsnap.h"

/* ---- single blocks */

struct block_case {
    struct str block;
    struct str plain; /* .data NULL: damaged */
};

static const struct block_case cases[] = {
    {STR_INIT("\x00"), STR_INIT("")},
    {STR_INIT("\x01\x00x"), STR_INIT("x")},
    {STR_INIT("\x03\x08xyz"), STR_INIT("xyz")},
    /* "ab", then 6 from distance 2: into itself, with each width of a distance */
    {STR_INIT("\x08\x04"
              "ab\x09\x02"),
     STR_INIT("abababab")},
    {STR_INIT("\x08\x04"
              "ab\x16\x02\x00"),
     STR_INIT("abababab")},
    {STR_INIT("\x08\x04"
              "ab\x17\x02\x00\x00\x00"),
     STR_INIT("abababab")},
    {STR_INIT("\x02\xF0\x01xy"), STR_INIT("xy")}, /* a size of its own where none is needed */
    {STR_INIT("\x02\xF4\x01\x00xy"), STR_INIT("xy")},
    {STR_INIT("\x02\xF8\x01\x00\x00xy"), STR_INIT("xy")},
    {STR_INIT("\x02\xFC\x01\x00\x00\x00xy"), STR_INIT("xy")},
    {STR_INIT("\x82\x00\x04xy"), STR_INIT("xy")}, /* the size with a zero in front */
    /* damaged */
    {STR_INIT(""), {0}},
    {STR_INIT("\x80"), {0}},
    {STR_INIT("\x80\x80\x80\x80\x80\x00"), {0}},
    {STR_INIT("\x01"), {0}},
    {STR_INIT("\x01\x04xy"), {0}},
    {STR_INIT("\x03\x04xy"), {0}},
    {STR_INIT("\x02\x04x"), {0}},
    {STR_INIT("\x02\x04xy\x00"), {0}},
    {STR_INIT("\x02\xF0"), {0}},
    {STR_INIT("\x02\xFC\xFF\xFF\xFF\xFFxy"), {0}},
    {STR_INIT("\x08\x04"
              "ab\x09\x00"),
     {0}},
    {STR_INIT("\x08\x04"
              "ab\x09\x03"),
     {0}},
    {STR_INIT("\x08\x04"
              "ab\x09"),
     {0}},
    {STR_INIT("\x08\x04"
              "ab\x17\x02\x00\x00"),
     {0}},
    {STR_INIT("\x07\x04"
              "ab\x09\x02"),
     {0}},
    {STR_INIT("\x04\x09\x01"), {0}},
};

static void test_cases(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct block_case *c = &cases[i];
        char out[64];
        size_t size = 0;
        bool fine =
            unsnap_size(c->block, &size) && size <= sizeof(out) && unsnap(c->block, out, size);
        CHECK(fine == (c->plain.data != NULL));
        if (fine)
            CHECK_STR(str_make(out, size), c->plain);
        CHECK(!unsnap(c->block, out, size + 1));
    }
}

static void test_sizes(void) {
    size_t size = 0;
    CHECK(unsnap_size(STR("\xFF\xFF\xFF\xFF\x0F"), &size));
    CHECK_INT(size, UINT32_MAX);
    CHECK(!unsnap_size(STR("\x80\x80\x80\x80\x10"), &size));
    CHECK(!unsnap_size(STR("\xFF\xFF\xFF\xFF\xFF"), &size));
}

/* ---- beside the library */

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % limit;
}

/* Both decode, or both refuse; out of bounds of either buffer is for the sanitizers to see. */
static void check_beside(struct str block) {
    size_t size = 0, wanted_size = 0;
    bool known = snappy_uncompressed_length(block.data, block.size, &wanted_size) == SNAPPY_OK;
    CHECK(unsnap_size(block, &size) == known);
    if (!known || wanted_size > 1 << 20)
        return;
    CHECK_INT(size, wanted_size);
    char *ours = malloc(size + 1), *theirs = malloc(size + 1);
    char *exact = malloc(block.size);
    memcpy(exact, block.data, block.size);
    ours[size] = '#';
    bool fine = unsnap(str_make(exact, block.size), ours, size);
    CHECK(ours[size] == '#');
    CHECK(fine == (snappy_uncompress(block.data, block.size, theirs, &wanted_size) == SNAPPY_OK));
    CHECK(!fine || memcmp(ours, theirs, size) == 0);
    free(ours);
    free(theirs);
    free(exact);
}

/* Elements of every kind at random; near the front distances are often out of reach. */
static struct buf random_block(uint32_t n_elements) {
    struct buf elements = buf_make(BUF_NO_MAX), block = buf_make(BUF_NO_MAX);
    uint64_t size = 0;
    for (uint32_t i = 0; i < n_elements; i++) {
        unsigned kind = i == 0 ? 0 : random_below(5), n = random_below(64);
        if (kind == 0 || kind == 4) {
            n = random_below(20) > 0 ? n % 20 : random_below(300);
            if (n < 60) {
                buf_add_char(&elements, (char)(n << 2));
            } else {
                buf_add_char(&elements, (char)(61 << 2));
                buf_add_char(&elements, (char)n);
                buf_add_char(&elements, (char)(n >> 8));
            }
            for (unsigned k = 0; k <= n; k++)
                buf_add_char(&elements, (char)random_below(256));
            size += n + 1;
            continue;
        }
        uint64_t reach = random_below(40) > 0 ? size : size + 2;
        uint32_t distance = random_below(4) > 0
                                ? 1 + random_below((uint32_t)reach)
                                : 1 + random_below(reach < 40 ? (uint32_t)reach : 40);
        uint8_t bytes[4];
        put_le32(bytes, distance);
        if (kind == 1) {
            n &= 7;
            buf_add_char(&elements, (char)(1 | n << 2 | (distance >> 8 & 7) << 5));
            n += 3;
        } else {
            buf_add_char(&elements, (char)(kind | n << 2));
        }
        buf_add(&elements, bytes, kind == 1 ? 1 : kind == 2 ? 2 : 4);
        size += n + 1;
    }
    uint8_t head[VARINT_MAX_BYTES];
    buf_add(&block, head, (size_t)(put_varint(head, size + (random_below(20) == 0)) - head));
    buf_add(&block, elements.data, elements.size);
    buf_done(&elements);
    return block;
}

static void test_random_elements(void) {
    for (int round = 0; round < 4000; round++) {
        struct buf block = random_block(1 + random_below(120));
        check_beside(buf_str(&block));
        check_beside(str_make(block.data, random_below((uint32_t)block.size) + 1));
        block.data[random_below((uint32_t)block.size)] ^= (char)(1 << random_below(8));
        check_beside(buf_str(&block));
        buf_done(&block);
    }
}

/* What the library packs comes back, at every size around the fast loop's ends. */
static void test_round_trips(void) {
    struct buf text = buf_make(BUF_NO_MAX);
    for (int i = 0; text.size < 200000; i++)
        buf_addf(&text, "{\"time\":%d,\"level\":\"%s\",\"id\":\"%08x\"}\n", i,
                 i % 7 ? "info" : "error", random_below(UINT32_MAX));
    size_t packed_max = snappy_max_compressed_length(text.size);
    char *packed = malloc(packed_max), *back = malloc(text.size);
    for (size_t size = 0; size <= text.size; size = size < 400 ? size + 1 : size * 3) {
        size_t n = packed_max;
        CHECK_INT(snappy_compress(text.data, size, packed, &n), SNAPPY_OK);
        CHECK(unsnap(str_make(packed, n), back, size));
        CHECK_STR(str_make(back, size), str_make(text.data, size));
        check_beside(str_make(packed, n));
    }
    free(packed);
    free(back);
    buf_done(&text);
}

int main(void) {
    RUN(test_cases);
    RUN(test_sizes);
    RUN(test_random_elements);
    RUN(test_round_trips);
    return test_done();
}
