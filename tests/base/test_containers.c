#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "arena.h"
#include "buf.h"
#include "bytes.h"
#include "err.h"
#include "hash.h"
#include "map.h"
#include "pages.h"
#include "str.h"
#include "test.h"

static void test_str(void) {
    CHECK(str_eq(STR(""), (struct str){0}));
    CHECK(!str_eq(STR("a"), STR("b")));
    CHECK(str_cmp(STR("a"), STR("ab")) < 0);
    CHECK(str_cmp(STR("b"), STR("ab")) > 0);
    CHECK(str_cmp(STR("\xff"), STR("a")) > 0);
    CHECK(str_cmp((struct str){0}, STR("")) == 0);
    CHECK(str_starts(STR("abc"), STR("ab")));
    CHECK(!str_starts(STR("a"), STR("ab")));
    CHECK(str_ends(STR("abc"), STR("bc")));
    CHECK(!str_ends(STR("c"), STR("bc")));
    CHECK(str_eq_nocase(STR("X-Scope-OrgID"), STR("x-scope-orgid")));
    CHECK(!str_eq_nocase(STR("[a"), STR("{a")));
    CHECK_STR(str_trim(STR(" \t\r\n a b \n")), STR("a b"));
    CHECK_STR(str_trim(STR("  ")), STR(""));
    CHECK_STR(str_from_offset(STR("abc"), 1), STR("bc"));
    CHECK_STR(str_from_offset(STR("abc"), 7), STR(""));
    struct str hay = STR("one two\0three");
    CHECK(str_find(hay, STR("two\0t")) == hay.data + 4);
    CHECK(str_find(hay, STR("")) == hay.data);
    CHECK(str_find(hay, STR("e")) == hay.data + 2);
    CHECK(str_find(hay, STR("four")) == NULL);
    CHECK(str_find(STR(""), STR("a")) == NULL);
}

static void test_buf(void) {
    struct buf b = buf_make(16);
    buf_add_str(&b, STR("0123456789"));
    buf_add(&b, NULL, 0);
    CHECK(!b.failed);
    buf_add_str(&b, STR("abcdef"));
    CHECK(!b.failed);
    CHECK_STR(buf_str(&b), STR("0123456789abcdef"));
    buf_add_char(&b, 'x');
    CHECK(b.failed);
    CHECK_INT(buf_reserve(&b, 1), -ENOMEM);
    CHECK_INT(b.size, 16);
    buf_clear(&b);
    CHECK_INT(buf_reserve(&b, 17), -E2BIG);
    buf_clear(&b);
    CHECK_INT(buf_reserve(&b, SIZE_MAX), -E2BIG);
    buf_done(&b);
    buf_done(NULL);

    b = buf_make(BUF_NO_MAX);
    buf_add_u64(&b, 0);
    buf_add_char(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    buf_add_char(&b, ' ');
    buf_add_i64(&b, INT64_MIN);
    buf_addf(&b, " %s=%d", "x", -5);
    CHECK_STR(buf_str(&b), STR("0 18446744073709551615 -9223372036854775808 x=-5"));
    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, 'y');
    size_t size;
    char *data = buf_take(&b, &size);
    CHECK_INT(size, 48 + 100000);
    CHECK(data[48] == 'y' && data[size - 1] == 'y');
    CHECK_INT(b.size, 0);
    free(data);
    buf_done(&b);
}

static void test_arena(void) {
    struct arena a = arena_make(1 << 16);
    CHECK(arena_alloc(&a, 0) != NULL);
    char *p[100];
    for (size_t i = 0; i < 100; i++) {
        p[i] = arena_alloc(&a, i + 1);
        CHECK(p[i] != NULL);
        CHECK_INT((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < 100; i++)
        CHECK(p[i][0] == (char)i && p[i][i] == (char)i);
    CHECK_STR(arena_copy(&a, STR("copied")), STR("copied"));
    CHECK_STR(arena_copy(&a, STR("")), STR(""));
    CHECK(arena_array(&a, SIZE_MAX / 4, 8) == NULL);
    CHECK(arena_alloc(&a, SIZE_MAX - 3) == NULL);
    const uint64_t *zeros = arena_array(&a, 3, sizeof(*zeros));
    CHECK(zeros && zeros[0] == 0 && zeros[2] == 0);
    arena_reset(&a);
    CHECK(a.total_bytes > 0);
    arena_done(&a);
    arena_reset(&a);
    CHECK(arena_alloc(&a, 10) != NULL);
    arena_done(&a);
    arena_done(NULL);
}

static void test_arena_maximum(void) {
    struct arena a = arena_make(10000);
    size_t got = 0;
    while (arena_alloc(&a, 16))
        got += 16;
    CHECK_INT(got, 10000);
    CHECK(a.total_bytes <= 10000);
    CHECK(arena_alloc(&a, 1) == NULL);
    CHECK(arena_copy(&a, STR("x")).data == NULL);
    arena_done(&a);
    CHECK(arena_alloc(&a, 10001) == NULL);
    CHECK(arena_alloc(&a, 10000) != NULL);
    arena_done(&a);
}

enum { MAP_KEYS = 5000 };

static void test_map(void) {
    static char keys[MAP_KEYS][16];
    static int values[MAP_KEYS];
    struct map m = map_make();
    CHECK(map_get(&m, STR("none")) == NULL);
    CHECK(map_remove(&m, STR("none")) == NULL);
    for (int i = 0; i < MAP_KEYS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "key-%d", i);
        CHECK_INT(map_put(&m, str_from(keys[i]), &values[i]), 0);
    }
    CHECK_INT(m.count, MAP_KEYS);
    for (int i = 0; i < MAP_KEYS; i += 2)
        CHECK(map_remove(&m, str_from(keys[i])) == &values[i]);
    for (int i = 0; i < MAP_KEYS; i++)
        CHECK(map_get(&m, str_from(keys[i])) == (i % 2 ? &values[i] : NULL));
    CHECK_INT(map_put(&m, STR("key-1"), &values[0]), 0);
    CHECK(map_get(&m, STR("key-1")) == &values[0]);
    CHECK_INT(m.count, MAP_KEYS / 2);
    size_t seen = 0, at = 0;
    struct str key;
    void *value;
    while (map_next(&m, &at, &key, &value)) {
        seen++;
        CHECK(map_remove(&m, key) == value);
    }
    CHECK_INT(seen, MAP_KEYS / 2);
    CHECK_INT(m.count, 0);
    map_done(&m);
    map_done(NULL);
}

/* Many puts and removes of changing keys must not fill the table with marks of removed ones. */
static void test_map_churn(void) {
    static char keys[MAP_KEYS][16];
    static int value;
    struct map m = map_make();
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < MAP_KEYS; i++) {
            (void)snprintf(keys[i], sizeof(keys[i]), "%d-%d", round, i);
            CHECK_INT(map_put(&m, str_from(keys[i]), &value), 0);
            CHECK(map_remove(&m, str_from(keys[i])) == &value);
        }
    }
    CHECK_INT(m.count, 0);
    CHECK(m.capacity <= 32);
    map_done(&m);
}

/* These values are on disk: they never change. */
static void test_hash(void) {
    CHECK(hash64("", 0) == 0x2d06800538d394c2u);
    CHECK(hash_str(STR("a")) == hash64("a", 1));
    CHECK(hash128("", 0).low == 0x6001c324468d497fu);
    CHECK(hash128("", 0).high == 0x99aa06d3014798d8u);
    CHECK(hash_mix(1, 2) != hash_mix(2, 1));
}

static void test_err(void) {
    struct err err;
    CHECK_INT(err_set(&err, -ESYNTAX, "bad %s", "label"), -ESYNTAX);
    CHECK_INT(err_prefix(&err, -EREFUSED, "stream %d", 7), -EREFUSED);
    CHECK_STR(str_from(err.text), STR("stream 7: bad label"));
    CHECK_INT(err_set(NULL, -EIO, "x"), -EIO);
    CHECK_INT(err_prefix(NULL, -EIO, "x"), -EIO);
    char longest[3000];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    (void)err_set(&err, -EIO, "%s", longest);
    CHECK_INT(strlen(err.text), ERR_TEXT_MAX - 1);
    (void)err_prefix(&err, -EIO, "%s", longest);
    CHECK_INT(strlen(err.text), ERR_TEXT_MAX - 1);
    CHECK_STR(str_from(err_name(-ECORRUPT)), STR("corrupt data"));
    CHECK_STR(str_from(err_name(-ENOENT)), STR("No such file or directory"));
}

static void test_pages(void) {
    struct pages p = {0};
    CHECK_INT(pages_reserve(&p, 0), 0);
    CHECK(!p.data);
    for (size_t size = 2; size < 10 << 20; size = size * 3 + 1) {
        CHECK_INT(pages_reserve(&p, size), 0);
        CHECK(p.capacity >= size && (uintptr_t)p.data % 4096 == 0);
        CHECK(size == 2 || (p.data[0] == 1 && p.data[size / 3 - 1] == 2));
        p.data[size - 1] = 2;
        p.data[0] = 1;
    }
    struct pages before = p;
    CHECK_INT(pages_reserve(&p, SIZE_MAX), -ENOMEM);
    CHECK_INT(pages_reserve(&p, SIZE_MAX / 4), -ENOMEM);
    CHECK(p.data == before.data && p.capacity == before.capacity);
    pages_done(&p);
    CHECK(!p.data && p.capacity == 0);
    pages_done(&p);
}

static void test_varint(void) {
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[VARINT_MAX_BYTES];
        uint8_t *end = put_varint(bytes, values[i]);
        uint64_t got = 0;
        CHECK(get_varint(bytes, end, &got) == end);
        CHECK(got == values[i]);
        CHECK(get_varint(bytes, end - 1, &got) == NULL);
        CHECK(zigzag(unzigzag(values[i])) == values[i]);
    }
    /* Behind a long run of bytes the eight-byte way is taken: the same answer for each length. */
    for (unsigned shift = 0; shift < 64; shift++) {
        uint8_t padded[VARINT_MAX_BYTES + 8];
        memset(padded, 0xff, sizeof(padded));
        uint64_t value = (UINT64_C(0x123456789abcdef1) >> (63 - shift)), got = 0;
        uint8_t *end = put_varint(padded, value);
        CHECK(get_varint(padded, padded + sizeof(padded), &got) == end);
        CHECK(got == value);
    }
    static const uint8_t too_long[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    uint64_t got = 0;
    CHECK(get_varint(too_long, too_long + sizeof(too_long), &got) == NULL);
    CHECK(zigzag(-1) == 1 && zigzag(1) == 2 && unzigzag(UINT64_MAX) == INT64_MIN);
    uint8_t fixed[8];
    put_be64(fixed, 0x0102030405060708u);
    CHECK(fixed[0] == 1 && fixed[7] == 8 && get_be64(fixed) == 0x0102030405060708u);
    put_le32(fixed, 0x01020304u);
    CHECK(fixed[0] == 4 && get_le32(fixed) == 0x01020304u);
}

int main(void) {
    RUN(test_str);
    RUN(test_buf);
    RUN(test_arena);
    RUN(test_arena_maximum);
    RUN(test_map);
    RUN(test_map_churn);
    RUN(test_hash);
    RUN(test_err);
    RUN(test_pages);
    RUN(test_varint);
    return test_done();
}
