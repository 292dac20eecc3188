#include "gram.h"

#include <stdlib.h>

#include "bytes.h"
#include "test.h"

enum { FILTER_MAX = GRAM_FILTER_MAX_BYTES + 8 };

static struct gram_builder *fast, *narrow, *scalar;
static uint8_t filter[FILTER_MAX], other[FILTER_MAX];
static uint64_t random_state = 7;

static uint32_t random_below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* Builds with all builders from a copy of exact size, so that a read past the end is seen; checks that they agree. */
static size_t build(struct str lines) {
    char *copy = malloc(lines.size > 0 ? lines.size : 1);
    if (lines.size > 0)
        memcpy(copy, lines.data, lines.size);
    size_t size = gram_build(fast, str_make(copy, lines.size), filter);
    CHECK_INT(gram_build(scalar, str_make(copy, lines.size), other), size);
    CHECK(memcmp(filter, other, size) == 0);
    CHECK_INT(gram_build(narrow, str_make(copy, lines.size), other), size);
    CHECK(memcmp(filter, other, size) == 0);
    CHECK(size >= 8 + 64 && size == 8 + get_le32(filter) / 8);
    free(copy);
    return size;
}

static bool may_contain(size_t size, struct str needle, bool fold_unicode) {
    struct gram_query q;
    gram_query_init(&q, needle, fold_unicode);
    return gram_may_contain(filter, size, &q);
}

static char alphabet(int kind) {
    switch (kind) {
    case 0:
        return "0123456789abcdef\n"[random_below(17)];
    case 1:
        return "abcdefgh KS\n"[random_below(12)];
    case 2:
        return "019\n"[random_below(4)];
    default:
        return (char)random_below(256);
    }
}

/* Whatever stands in a line is found: never a false negative. */
static void no_false_negatives(void) {
    static char text[40000];
    for (int round = 0; round < 400; round++) {
        size_t n = random_below(round < 200 ? 60 : sizeof(text));
        for (size_t i = 0; i < n; i++)
            text[i] = alphabet(round % 4);
        size_t size = build(str_make(text, n));
        for (int k = 0; k < 300 && n > 0; k++) {
            size_t from = random_below((uint32_t)n), length = random_below(40);
            char folded[40];
            if (length > n - from)
                length = n - from;
            CHECK(may_contain(size, str_make(text + from, length), false));
            for (size_t i = 0; i < length; i++) {
                char c = text[from + i];
                folded[i] = c;
                if (random_below(2) && c >= 'a' && c <= 'z')
                    folded[i] = (char)(c - 32);
                else if (random_below(2) && c >= 'A' && c <= 'Z')
                    folded[i] = (char)(c + 32);
            }
            CHECK(may_contain(size, str_make(folded, length), false));
            CHECK(may_contain(size, str_make(folded, length), true));
        }
    }
}

/* The filter of m bits as docs/format.md tells it, gram by gram. */
static void build_slowly(struct str lines, uint32_t m, uint8_t *out) {
    put_le32(out, m);
    memset(out + 4, 0, 4 + m / 8);
    for (size_t i = 0; i < lines.size; i++) {
        for (size_t length = 4; length <= 5 && i + length <= lines.size; length++) {
            struct gram_query q;
            gram_query_init(&q, str_make(lines.data + i, length), false);
            for (uint32_t k = 0; k < q.count; k++) {
                uint64_t at = (uint64_t)q.hashes[k] * m >> GRAM_HASH_BITS;
                out[8 + at / 8] = (uint8_t)(out[8 + at / 8] | 1u << (at & 7));
            }
        }
    }
}

static double fill_of(size_t size) {
    size_t set = 0;
    for (size_t i = 8; i < size; i++)
        set += (size_t)__builtin_popcount(filter[i]);
    return (double)set / (double)(8 * (size - 8));
}

/* Few lines are gathered in another way than many, and their distinct grams are estimated: no bit is missing or too much, and
 * the filter is about as full as it is to be. */
static void few_lines(void) {
    static char text[GRAM_FEW_BYTES];
    static uint8_t slow[FILTER_MAX];
    for (int round = 0; round < 200; round++) {
        size_t n = random_below(round < 50 ? 200 : sizeof(text));
        for (size_t i = 0; i < n; i++)
            text[i] = alphabet(round % 4);
        size_t size = build(str_make(text, n));
        build_slowly(str_make(text, n), get_le32(filter), slow);
        CHECK(memcmp(slow, filter, size) == 0);
        CHECK(fill_of(size) < 0.6);
        CHECK(size == 8 + 64 || fill_of(size) > 0.32);
    }
}

/* What one gram says of all is wrong when there is but one. */
static void few_lines_of_one_gram(void) {
    static char text[GRAM_FEW_BYTES];
    for (int c = 0; c < 256; c++) {
        memset(text, c, sizeof(text));
        CHECK_INT(build(str_make(text, sizeof(text))), 8 + 64);
    }
}

/* A builder is left by many lines as it is by few. */
static void few_lines_after_many(void) {
    static char text[4 * GRAM_FEW_BYTES];
    static uint8_t first[FILTER_MAX];
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(text); i++)
            text[i] = alphabet(round % 4);
        struct str few = str_make(text, random_below(round % 2 ? 6 : GRAM_FEW_BYTES));
        struct gram_builder *fresh = gram_builder_new();
        CHECK(fresh != NULL);
        size_t size = gram_build(fresh, few, first);
        gram_builder_free(fresh);
        build(str_make(text, sizeof(text)));
        CHECK_INT(build(few), size);
        CHECK(memcmp(first, filter, size) == 0);
    }
}

static void grams_of_needles(void) {
    const struct {
        struct str needle;
        bool fold;
        uint32_t count;
    } cases[] = {
        {STR(""), false, 0},
        {STR("abc"), false, 0},
        {STR("abcd"), false, 1},
        {STR("abc1"), false, 0}, /* holds a digit: 5 bytes */
        {STR("abc1x"), false, 1},
        {STR("abcd1"), false, 1}, /* abcd; bcd1? runs past the end */
        {STR("abcde"), false, 2},
        {STR("ABCDabcd"), false, 4}, /* abcd bcda cdab dabc */
        {STR("aaaaaaaaaaaa"), false, 1},
        {STR("ab\ncd"), false, 0},
        {STR("ab\ncdef"), false, 1},
        {STR("12\n45"), false, 0},
        {STR("wonk"), true, 0},
        {STR("WONKY"), true, 0},
        {STR("miss"), false, 1},
        {STR("error"), true, 2},
        {STR("caf\xc3\xa9 au lait"), true, 5}, /* those of " au lait" */
        {STR("caf\xc3\xa9 au lait"), false, 10},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gram_query q;
        gram_query_init(&q, cases[i].needle, cases[i].fold);
        CHECK_INT(q.count, cases[i].count);
        for (uint32_t k = 0; k < q.count; k++)
            CHECK(q.hashes[k] < 1 << GRAM_HASH_BITS);
    }
    char longer[1000];
    for (size_t i = 0; i < sizeof(longer); i++)
        longer[i] = (char)('a' + random_below(26));
    struct gram_query q, id;
    gram_query_init(&q, str_make(longer, sizeof(longer)), false);
    CHECK_INT(q.count, GRAM_QUERY_MAX);
    memcpy(longer + 500, "7f3a9", 5); /* the rare gram of a long needle is asked first */
    gram_query_init(&q, str_make(longer, sizeof(longer)), false);
    gram_query_init(&id, STR("7f3a9"), false);
    bool found = false;
    for (uint32_t i = 0; i < 16; i++)
        found |= q.hashes[i] == id.hashes[0];
    CHECK(found);
}

/* Hashes are part of the format: computed by hand from docs/format.md. */
static void hashes_stay_as_they_are(void) {
    const struct {
        struct str gram;
        uint32_t hash;
    } cases[] = {
        {STR("GET "), 860641},     {STR("Conn"), 816545},           {STR("7f3a9"), 73438},
        {STR("abc1\xff"), 245239}, {STR("\x80\xc3\xa9\0"), 440725}, {STR("{\"a\":"), 795901},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gram_query q;
        gram_query_init(&q, cases[i].gram, false);
        bool found = false;
        for (uint32_t k = 0; k < q.count; k++)
            found |= q.hashes[k] == cases[i].hash;
        CHECK(found);
        size_t size = build(cases[i].gram);
        uint32_t at = (uint32_t)((uint64_t)cases[i].hash * get_le32(filter) >> GRAM_HASH_BITS);
        CHECK(filter[8 + at / 8] >> at % 8 & 1);
        CHECK(at / 8 < size - 8);
    }
}

static void case_and_lines(void) {
    size_t size = build(STR("Connection RESET by peer\nid=9fA3b\ntail"));
    CHECK(may_contain(size, STR("connection reset"), false));
    CHECK(may_contain(size, STR("9Fa3B"), false));
    CHECK(may_contain(size, STR("tail"), false));
    CHECK(!may_contain(size, STR("zebra crossing"), false));
    CHECK(!may_contain(size, STR("9fa3c"), false));
    CHECK(may_contain(size, STR("peer\nid=9"), false));
    size = build(STR("peer\nlazy")); /* no gram goes over the end of a line */
    CHECK(!may_contain(size, STR("eerlazy"), false));
    CHECK(!may_contain(size, STR("eer*lazy"), false)); /* '*' is '\n' folded */
    CHECK(may_contain(size, STR("eer\nlaz"), false));
    size = build(STR(""));
    CHECK_INT(size, 8 + 64);
    CHECK(!may_contain(size, STR("anything"), false));
    CHECK(may_contain(size, STR("any"), false));
}

/* What is no filter is told from one; a size that no filter has lets everything pass. */
static void malformed_filters(void) {
    size_t size = build(STR("some words in a line"));
    struct gram_query q;
    gram_query_init(&q, STR("absent needle"), false);
    CHECK(gram_filter_is_sound(filter, size));
    CHECK(!gram_may_contain(filter, size, &q));
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1);
        memcpy(copy, filter, cut);
        CHECK(!gram_filter_is_sound(copy, cut));
        (void)gram_may_contain(copy, cut, &q); /* reads nothing behind the end */
        free(copy);
    }
    static const uint32_t sizes[] = {0, 1, 63, 65, (1 << 20) + 64, UINT32_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memcpy(other, filter, size);
        put_le32(other, sizes[i]);
        CHECK(!gram_filter_is_sound(other, size));
    }
    memcpy(other, filter, size);
    other[4] = 1;
    CHECK(!gram_filter_is_sound(other, size));
    CHECK(gram_may_contain(NULL, 0, &q));
    CHECK(gram_may_contain(filter, 8, &q));
    CHECK(gram_may_contain(filter, size - 3, &q));
}

/* Two needles asked as one: the filter must have the grams of both. */
static void joined_queries(void) {
    size_t size = build(STR("first words here\nsecond text there"));
    struct gram_query q, other_query;
    gram_query_init(&q, STR("first words"), false);
    gram_query_init(&other_query, STR("second text"), false);
    gram_query_add(&q, &other_query);
    CHECK(gram_may_contain(filter, size, &q));
    gram_query_init(&other_query, STR("xylophone"), false);
    gram_query_add(&q, &other_query);
    CHECK(!gram_may_contain(filter, size, &q));
}

static double fill(size_t size) {
    unsigned n = 0;
    for (size_t i = 8; i < size; i++)
        n += (unsigned)__builtin_popcount(filter[i]);
    return n / (double)(size - 8) / 8;
}

/* The bitmap follows the number of grams, stays about half full, and its bits are spread: an id of 8 random hex
 * digits has 4 grams and passes in about fill^4. */
static void size_and_rates(void) {
    static char text[256 << 10];
    for (unsigned grams = 100; grams < 200000; grams = grams * 5 / 4) {
        size_t n = 0;
        while (n + 33 < sizeof(text) && n < grams) {
            for (int i = 0; i < 32; i++)
                text[n++] = "0123456789abcdef"[random_below(16)];
            text[n++] = '\n';
        }
        size_t size = build(str_make(text, n));
        double full = fill(size);
        /* Where grams are estimated, one of the next sizes may do. */
        bool few = n <= GRAM_FEW_BYTES;
        CHECK(full <= (few ? 0.57 : 0.52));
        CHECK(full >= (few ? 0.34 : 0.38) || size == 8 + 64);
        if (grams < 2000 ||
            grams > 25000) /* more 5-grams of hex digits are truly there too often */
            continue;
        unsigned passed = 0, probes = 4000;
        for (unsigned k = 0; k < probes; k++) {
            char id[9];
            (void)snprintf(id, sizeof(id), "%08x", random_below(1u << 31) * 2 + random_below(2));
            passed += may_contain(size, str_make(id, 8), false);
        }
        double want = full * full * full * full;
        CHECK(passed <= probes * (want * 1.3 + 0.01));
    }
    /* As many grams as there can be: the largest bitmap, fuller than wanted. */
    char *big = malloc(4 << 20);
    for (size_t i = 0; i < 4 << 20; i++)
        big[i] = (char)random_below(256);
    CHECK_INT(build(str_make(big, 4 << 20)), FILTER_MAX);
    free(big);
}

/* Bitmaps of all sizes, so that each way to shrink the scratch map is gone. */
static void all_sizes(void) {
    enum { MOST = 3 << 20 };
    static bool seen[FILTER_MAX + 1];
    char *text = malloc(MOST);
    unsigned n_sizes = 0;
    for (size_t i = 0; i < MOST; i++)
        text[i] = (char)random_below(256);
    for (size_t n = 100; n < MOST; n += n / 8) {
        size_t size = build(str_make(text, n));
        n_sizes += !seen[size];
        seen[size] = true;
    }
    CHECK_INT(n_sizes, 45); /* 512 to 2^20 bits, four in each octave */
    free(text);
}

/* The same lines twice, of which the first ones are told in spans that overlap, and in places are too long. */
static void spans_of_new_lines(void) {
    enum { HALF = 30000, SPANS_MAX = HALF };
    static struct gram_span spans[SPANS_MAX];
    char *text = malloc(2 * HALF); /* of exact size, so that a read past the end is seen */
    for (unsigned round = 0; round < 40; round++) {
        for (size_t i = 0; i < HALF - 1; i++)
            text[i] = alphabet(round % 4);
        text[HALF - 1] = '\n';
        memcpy(text + HALF, text, HALF);
        uint32_t n = 0, step = 1 + random_below(40), first = round % 2 ? HALF : 0;
        for (uint32_t from = 0; from < HALF; from += step) {
            uint32_t end = from + step + random_below(4);
            spans[n++] = (struct gram_span){first + from, first + (end < HALF ? end : HALF)};
        }
        struct str lines = str_make(text, (size_t)2 * HALF);
        size_t size = build(lines);
        CHECK_INT(gram_build_spans(fast, lines, spans, n, other), size);
        CHECK(memcmp(other, filter, size) == 0);
        CHECK_INT(gram_build_spans(narrow, lines, spans, n, other), size);
        CHECK(memcmp(other, filter, size) == 0);
        CHECK_INT(gram_build_spans(scalar, lines, spans, n, other), size);
        CHECK(memcmp(other, filter, size) == 0);
    }
    free(text);
}

int main(void) {
    fast = gram_builder_new();
    scalar = gram_builder_new();
    narrow = gram_builder_new();
    gram_builder_narrow(narrow, 8);
    gram_builder_narrow(scalar, 1);
    RUN(no_false_negatives);
    RUN(few_lines);
    RUN(few_lines_of_one_gram);
    RUN(few_lines_after_many);
    RUN(spans_of_new_lines);
    RUN(grams_of_needles);
    RUN(hashes_stay_as_they_are);
    RUN(case_and_lines);
    RUN(malformed_filters);
    RUN(joined_queries);
    RUN(size_and_rates);
    RUN(all_sizes);
    gram_builder_free(fast);
    gram_builder_free(narrow);
    gram_builder_free(scalar);
    return test_done();
}
