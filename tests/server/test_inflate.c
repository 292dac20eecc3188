#include <errno.h>
#include <stdlib.h>

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include "inflate.h"
#include "test.h"

enum { SIZE = 300000, PACKED_MAX = 1 << 20 };

static char plain[SIZE];
static char packed[PACKED_MAX];

static void fill_plain(void) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < SIZE; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        plain[i] = "abcdefgh level=error\n"[x % 21];
    }
}

/* window_bits: 31 gzip, 15 zlib, -15 raw. */
static struct str pack_zlib(int window_bits, struct str in, size_t offset) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data,
                  .avail_in = (uInt)in.size,
                  .next_out = (Bytef *)packed + offset,
                  .avail_out = (uInt)(PACKED_MAX - offset)};
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t size = offset + z.total_out;
    (void)deflateEnd(&z);
    return str_make(packed, size);
}

static struct str pack(enum encoding e, int variant, struct str in) {
    size_t size = PACKED_MAX;
    switch (e) {
    case ENC_IDENTITY:
        return in;
    case ENC_GZIP:
        return pack_zlib(31, in, 0);
    case ENC_DEFLATE:
        return pack_zlib(variant == 0 ? -15 : 15, in, 0);
    case ENC_ZSTD:
        return str_make(packed, ZSTD_compress(packed, PACKED_MAX, in.data, in.size, 3));
    case ENC_LZ4_FRAME:
        return str_make(packed, LZ4F_compressFrame(packed, PACKED_MAX, in.data, in.size, NULL));
    case ENC_SNAPPY:
        CHECK(snappy_compress(in.data, in.size, packed, &size) == SNAPPY_OK);
        return str_make(packed, size);
    }
    return STR("");
}

static int inflate_copy(enum encoding e, struct str in, struct buf *out, struct err *err) {
    char *copy = malloc(in.size > 0 ? in.size : 1);
    if (in.size > 0)
        memcpy(copy, in.data, in.size);
    int r = inflate_body(e, str_make(copy, in.size), out, err);
    free(copy);
    return r;
}

static const enum encoding all[] = {ENC_GZIP, ENC_DEFLATE, ENC_ZSTD, ENC_LZ4_FRAME, ENC_SNAPPY};
enum { ALL = sizeof(all) / sizeof(all[0]) };

/* Every encoding, at sizes around nothing and around the cap: at the cap it fits, one byte less does not. */
static void test_round_trips(void) {
    static const size_t sizes[] = {0, 1, 100, 16384, 16385, SIZE};
    for (size_t e = 0; e < ALL; e++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            for (int variant = 0; variant < 2; variant++) {
                struct str want = str_make(plain, sizes[i]);
                struct str in = pack(all[e], variant, want);
                struct buf out = buf_make(sizes[i] > 0 ? sizes[i] : 1);
                struct err err = {0};
                CHECK_INT(inflate_copy(all[e], in, &out, &err), 0);
                CHECK(str_eq(buf_str(&out), want));
                buf_done(&out);
                if (sizes[i] < 2)
                    continue;
                out = buf_make(sizes[i] - 1);
                CHECK_INT(inflate_copy(all[e], in, &out, &err), -E2BIG);
                CHECK(out.capacity <= out.max);
                buf_done(&out);
            }
        }
    }
}

/* Cut inputs are refused, and never read beyond. */
static void test_cut(void) {
    for (size_t e = 0; e < ALL; e++) {
        struct str in = pack(all[e], 0, str_make(plain, 2000));
        for (size_t size = 0; size < in.size; size++) {
            struct buf out = buf_make(SIZE);
            struct err err = {0};
            int r = inflate_copy(all[e], str_make(packed, size), &out, &err);
            CHECK(r == -ESYNTAX || (r == -ENODATA && all[e] != ENC_SNAPPY));
            if (r == -ENODATA && out.size > 0)
                CHECK(out.size <= 2000 && memcmp(out.data, plain, out.size) == 0);
            CHECK(err.text[0] != '\0');
            buf_done(&out);
        }
    }
}

static void test_texts(void) {
    static const struct {
        enum encoding e;
        struct str in;
        const char *text;
    } cases[] = {
        {ENC_SNAPPY, {"", 0}, "snappy: corrupt input"},
        {ENC_SNAPPY, {"{\"streams\":[]}", 14}, "snappy: corrupt input"},
        {ENC_SNAPPY, {"\xff\x06\x00\x00sNaPpY", 10}, "snappy: corrupt input"},
        /* Declares 32 MiB in six bytes. */
        {ENC_SNAPPY,
         {"\x80\x80\x80\x10\x00"
          "a",
          6},
         "snappy: corrupt input"},
        {ENC_GZIP, {"", 0}, "EOF"},
        {ENC_GZIP, {"{\"streams\":[]}", 14}, "gzip: invalid header"},
        {ENC_DEFLATE, {"", 0}, "EOF"},
        {ENC_DEFLATE, {"{\"streams\":[]}", 14}, "flate: corrupt input"},
        {ENC_ZSTD, {"", 0}, "EOF"},
        {ENC_LZ4_FRAME, {"", 0}, "EOF"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = buf_make(64 << 20);
        struct err err = {0};
        CHECK_INT(inflate_copy(cases[i].e, cases[i].in, &out, &err), -ESYNTAX);
        CHECK_STR(str_from(err.text), str_from(cases[i].text));
        CHECK(out.capacity <= 1 << 20);
        buf_done(&out);
    }
}

/* A declared length above the cap is refused before anything is allocated. */
static void test_snappy_bomb(void) {
    struct buf out = buf_make(1 << 20);
    struct err err = {0};
    CHECK_INT(inflate_copy(ENC_SNAPPY,
                           STR("\xff\xff\xff\xff\x0f"
                               "a"),
                           &out, &err),
              -E2BIG);
    CHECK(strstr(err.text, "request body too large") != NULL);
    CHECK_INT(out.capacity, 0);
    CHECK_INT(inflate_snappy_size(STR("\x80\x80\x80\x10")), 32 << 20);
    CHECK_INT(inflate_snappy_size(STR("\x80")), 0);
    buf_done(&out);
}

/* gzip members that follow each other are one text; other bytes behind are refused. */
static void test_gzip_members(void) {
    (void)pack_zlib(31, STR("first "), 0);
    size_t one = pack_zlib(31, STR("first "), 0).size;
    struct str both = pack_zlib(31, STR("second"), one);
    struct buf out = buf_make(100);
    struct err err = {0};
    CHECK_INT(inflate_copy(ENC_GZIP, both, &out, &err), 0);
    CHECK_STR(buf_str(&out), STR("first second"));
    packed[both.size] = 'x';
    CHECK_INT(inflate_copy(ENC_GZIP, str_make(packed, both.size + 1), &out, &err), -ESYNTAX);
    buf_done(&out);
}

int main(void) {
    fill_plain();
    RUN(test_round_trips);
    RUN(test_cut);
    RUN(test_texts);
    RUN(test_snappy_bomb);
    RUN(test_gzip_members);
    return test_done();
}
