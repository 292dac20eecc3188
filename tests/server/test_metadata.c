#include <stdlib.h>

#include "metadata.h"
#include "test.h"

static void test_names(void) {
    static const struct {
        const char *given, *want; /* NULL = dropped */
    } names[] = {
        {"plain", "plain"},
        {"a.b", "a_b"},
        {"a--c", "a_c"},
        {"a__d", "a_d"},
        {"__x", "_x"},
        {"_x", "_x"},
        {"user id", "user_id"},
        {"1a", "key_1a"},
        {"1", "key_1"},
        {"a._.b", "a_b"},
        {"a-", "a_"},
        {"CamelCase9", "CamelCase9"},
        {"\xc3\xbc"
         "ber",
         "_ber"},
        {"\xc3\xbc", NULL},
        {"_", NULL},
        {"...", NULL},
        {"", NULL},
        {"9.9", "key_9_9"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct arena arena = arena_make(1 << 16);
        struct label pair = {str_from(names[i].given), STR("v")};
        int64_t count = metadata_normalize(&arena, &pair, 1);
        CHECK_INT(count, names[i].want ? 1 : 0);
        if (count == 1)
            CHECK_STR(pair.name, str_from(names[i].want));
        arena_done(&arena);
    }
}

static void test_values(void) {
    static const struct {
        const char *given, *want;
    } values[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac"},
        {"a\xef\xbf\xbd"
         "b",
         "ab"},
        {"a\xff\xc3", "a"},
        {"\xef\xbf\xbd", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct arena arena = arena_make(1 << 16);
        struct label pair = {STR("n"), str_from(values[i].given)};
        int64_t count = metadata_normalize(&arena, &pair, 1);
        CHECK_INT(count, values[i].want ? 1 : 0);
        if (count == 1)
            CHECK_STR(pair.value, str_from(values[i].want));
        arena_done(&arena);
    }
}

/* Sets of all sizes, below and above where the method changes, against the obvious model: for each name the last
 * value. */
static void test_sort(void) {
    enum { MAX = 300, NAMES = 50 };
    static char texts[MAX][8];
    uint64_t random = 88172645463325252u;
    for (size_t size = 0; size <= MAX; size += 1 + size / 10) {
        struct arena arena = arena_make(1 << 20);
        struct label pairs[MAX + 1];
        size_t last[NAMES];
        size_t distinct = 0;
        for (size_t n = 0; n < NAMES; n++)
            last[n] = MAX;
        for (size_t i = 0; i < size; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            size_t n = random % NAMES;
            (void)snprintf(texts[i], sizeof(texts[i]), "n%02zu", n);
            pairs[i] = (struct label){.name = str_from(texts[i]),
                                      .value = str_make((const char *)texts, i + 1)};
            distinct += last[n] == MAX;
            last[n] = i;
        }
        CHECK_INT(pairs_sort_last_wins(&arena, pairs, size), distinct);
        for (size_t i = 0, n = 0; n < NAMES; n++) {
            if (last[n] == MAX)
                continue;
            CHECK_INT(pairs[i++].value.size, last[n] + 1);
        }
        arena_done(&arena);
    }
}

static void test_set(void) {
    struct label pairs[4] = {{STR("b"), STR("1")}, {STR("d"), STR("2")}};
    size_t count = metadata_set(pairs, 2, (struct label){STR("c"), STR("3")});
    count = metadata_set(pairs, count, (struct label){STR("a"), STR("4")});
    CHECK_INT(count, 4);
    count = metadata_set(pairs, count, (struct label){STR("c"), STR("5")});
    CHECK_INT(count, 4);
    CHECK_STR(pairs[0].name, STR("a"));
    CHECK_STR(pairs[2].value, STR("5"));
    CHECK_STR(pairs[3].name, STR("d"));
}

static void test_no_memory(void) {
    struct arena arena = arena_make(16);
    struct label pair = {STR("a.b.c.d.e.f.g.h.i.j"), STR("v")};
    CHECK(metadata_normalize(&arena, &pair, 1) < 0);
    struct label pairs[100];
    for (size_t i = 0; i < 100; i++)
        pairs[i] = (struct label){STR("same"), STR("v")};
    CHECK(pairs_sort_last_wins(&arena, pairs, 100) < 0);
    arena_done(&arena);
}

int main(void) {
    RUN(test_names);
    RUN(test_values);
    RUN(test_sort);
    RUN(test_set);
    RUN(test_no_memory);
    return test_done();
}
