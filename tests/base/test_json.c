#include <stdlib.h>

#include "json.h"
#include "test.h"
#include "utf8.h"

static void test_scalars(void) {
    static const struct {
        struct str text;
        enum json_type type;
        struct str raw;
    } cases[] = {
        {STR_INIT("\"a b\""), JSON_STRING, STR_INIT("a b")},
        {STR_INIT("\"\""), JSON_STRING, STR_INIT("")},
        {STR_INIT("\"\\\"\""), JSON_STRING, STR_INIT("\\\"")},
        {STR_INIT("\"\x01\n\""), JSON_STRING, STR_INIT("\x01\n")},
        {STR_INIT(" \t\r\n true"), JSON_TRUE, STR_INIT("true")},
        {STR_INIT("false"), JSON_FALSE, STR_INIT("false")},
        {STR_INIT("null"), JSON_NULL, STR_INIT("null")},
        {STR_INIT("0"), JSON_NUMBER, STR_INIT("0")},
        {STR_INIT("-0.5e+10"), JSON_NUMBER, STR_INIT("-0.5e+10")},
        {STR_INIT("123,"), JSON_NUMBER, STR_INIT("123")},
        {STR_INIT("1E5"), JSON_NUMBER, STR_INIT("1E5")},
        {STR_INIT(""), JSON_END, STR_INIT("")},
        {STR_INIT("  "), JSON_END, STR_INIT("")},
        {STR_INIT("["), JSON_ARRAY, STR_INIT("")},
        {STR_INIT("{"), JSON_OBJECT, STR_INIT("")},
        {STR_INIT("-"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("+1"), JSON_ERROR, STR_INIT("")},
        {STR_INIT(".5"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("1."), JSON_ERROR, STR_INIT("")},
        {STR_INIT("1e"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("1e+"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("tru"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("nul"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("NaN"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("'a'"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("\"open"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("\"open\\\""), JSON_ERROR, STR_INIT("")},
        {STR_INIT("\"open\\"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("}"), JSON_ERROR, STR_INIT("")},
        {STR_INIT("]"), JSON_ERROR, STR_INIT("")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct json_reader r = json_reader_make(cases[i].text);
        struct json_value v = json_next(&r);
        CHECK_INT(v.type, cases[i].type);
        CHECK_STR(v.raw, cases[i].raw);
    }
}

/* Walks the whole text with the pull reader, skipping every container but the outermost. */
static bool walk(struct str text, size_t *ret_count) {
    struct json_reader r = json_reader_make(text);
    struct json_value v = json_next(&r);
    size_t count = 0;
    bool first = true;
    if (v.type == JSON_OBJECT || v.type == JSON_ARRAY) {
        bool object = v.type == JSON_OBJECT;
        struct json_value key;
        while (object ? json_next_member(&r, &first, &key, &v) : json_next_item(&r, &first, &v)) {
            count++;
            if (!json_skip_rest(&r, v.type))
                return false;
        }
        if (v.type != JSON_END)
            return false;
    } else if (v.type == JSON_ERROR || v.type == JSON_END) {
        return false;
    }
    *ret_count = count;
    return json_next(&r).type == JSON_END;
}

static void test_documents(void) {
    static const struct {
        struct str text;
        bool valid;
        size_t count;
    } cases[] = {
        {STR_INIT("{}"), true, 0},
        {STR_INIT("[]"), true, 0},
        {STR_INIT(" { \"a\" : 1 , \"b\" : [ 1 , { } , [ ] , \"]\" ] } "), true, 2},
        {STR_INIT("[1,\"two\",null,{\"x\":{\"y\":[true]}}]"), true, 4},
        {STR_INIT("[[[[1],2],3],4]"), true, 2},
        {STR_INIT("{\"a\":{\"b\":1},\"c\":{}}"), true, 2},
        {STR_INIT("{\"a\":1,}"), false, 0},
        {STR_INIT("{,}"), false, 0},
        {STR_INIT("{\"a\"}"), false, 0},
        {STR_INIT("{\"a\":}"), false, 0},
        {STR_INIT("{\"a\":1 \"b\":2}"), false, 0},
        {STR_INIT("{a:1}"), false, 0},
        {STR_INIT("{1:1}"), false, 0},
        {STR_INIT("{\"a\":1"), false, 0},
        {STR_INIT("{\"a\":"), false, 0},
        {STR_INIT("{\"a"), false, 0},
        {STR_INIT("[1,]"), false, 0},
        {STR_INIT("[,1]"), false, 0},
        {STR_INIT("[1 2]"), false, 0},
        {STR_INIT("[1,"), false, 0},
        {STR_INIT("[1}"), false, 0},
        {STR_INIT("{\"a\":[1}"), false, 0},
        {STR_INIT("[[1,]]"), false, 0},
        {STR_INIT("[[1],]"), false, 0},
        {STR_INIT("[{\"a\":[{}]},[}]"), false, 0},
        {STR_INIT("[[,1]]"), false, 0},
        {STR_INIT("[{,\"a\":1}]"), false, 0},
        {STR_INIT("[] x"), false, 0},
        {STR_INIT("[01]"), false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t count = 0;
        CHECK(walk(cases[i].text, &count) == cases[i].valid);
        CHECK_INT(count, cases[i].count);
    }
}

static void test_depth(void) {
    char text[2 * (JSON_DEPTH_MAX + 2)];
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct json_reader r = json_reader_make(str_make(text, 2 * depth));
        CHECK_INT(json_next(&r).type, JSON_ARRAY);
        CHECK(json_skip_rest(&r, JSON_ARRAY) == (depth <= JSON_DEPTH_MAX));
    }
}

/* The caller read one member and skips the others. */
static void test_skip_half_read(void) {
    struct json_reader r = json_reader_make(STR("{\"a\":1,\"b\":[2,3],\"c\":4} 7"));
    CHECK_INT(json_next(&r).type, JSON_OBJECT);
    bool first = true;
    struct json_value key, value;
    CHECK(json_next_member(&r, &first, &key, &value));
    CHECK_STR(key.raw, STR("a"));
    CHECK(json_skip_rest(&r, JSON_OBJECT));
    CHECK_STR(json_next(&r).raw, STR("7"));

    r = json_reader_make(STR("[1 2]"));
    CHECK_INT(json_next(&r).type, JSON_ARRAY);
    first = true;
    CHECK(json_next_item(&r, &first, &value));
    CHECK(!json_skip_rest(&r, JSON_ARRAY));
}

static void test_string_end_positions(void) {
    char text[80];
    for (size_t size = 0; size < 70; size++) {
        bool escaped;
        memset(text, 'x', sizeof(text));
        CHECK(json_string_end(text, text + size, &escaped) == NULL);
        text[size] = '"';
        CHECK(json_string_end(text, text + size + 1, &escaped) == text + size);
        CHECK(!escaped);
        for (size_t at = 0; at + 1 < size; at++) {
            memset(text, 'x', size);
            memcpy(text + at, "\\\"", 2);
            CHECK(json_string_end(text, text + size + 1, &escaped) == text + size);
            CHECK(escaped);
            memcpy(text + at, "\\\\", 2);
            CHECK(json_string_end(text, text + size + 1, &escaped) == text + size);
        }
        if (size > 0) {
            memset(text, 'x', size);
            text[size - 1] = '\\';
            CHECK(json_string_end(text, text + size + 1, &escaped) == NULL);
            CHECK(json_string_end(text, text + size, &escaped) == NULL);
        }
    }
}

/* Runs of backslashes, quotes and escapes at random, against byte by byte. */
static void test_escaped_runs(void) {
    static const char *const parts[] = {"\\\"",
                                        "\\\\",
                                        "\\n",
                                        "\\u0041",
                                        "\\u20ac",
                                        "x",
                                        "yz",
                                        "\\ud83d\\ude00",
                                        "a longer run of plain text",
                                        "/",
                                        "\\t",
                                        "\\x"};
    uint32_t random = 1;
    size_t n_to_quote = 0;
    for (int round = 0; round < 20000; round++) {
        char text[400], slow[400];
        size_t size = 0;
        uint32_t kinds = round % 64 == 0 ? 12 : round % 2 ? 11 : 2;
        size_t wanted = (size_t)round % 320;
        while (size < wanted) {
            random = random * 1664525 + 1013904223;
            const char *part = parts[(random >> 16) % kinds];
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
        }
        text[size] = '"';
        size_t end = 0;
        while (end < size && text[end] != '"')
            end += text[end] == '\\' ? 2 : 1;
        CHECK_INT(end, size);
        bool escaped;
        char *exact = malloc(size + 1);
        memcpy(exact, text, size + 1);
        CHECK(json_string_end(exact, exact + size + 1, &escaped) == exact + size);
        CHECK(json_string_end(exact, exact + size, &escaped) == NULL);
        free(exact);
        char *out = malloc(size + 1);
        memcpy(slow, text, size);
        int64_t n = json_unescape(str_make(text, size), out);
        CHECK_INT(json_unescape(str_make(slow, size), slow), n);
        char *roomy = malloc(size + JSON_ROOM), *roomy_out = malloc(size + JSON_ROOM);
        memset(roomy, round % 2 ? '\\' : '"', size + JSON_ROOM);
        memcpy(roomy, text, size);
        CHECK_INT(json_unescape_roomy(str_make(roomy, size), roomy_out), n);
        CHECK(n < 0 || memcmp(roomy_out, out, (size_t)n) == 0);
        /* To the quote, with more of a document behind it and less. */
        for (size_t behind = 0; behind <= JSON_ROOM; behind += 40) {
            roomy[size] = '"';
            const char *p = roomy, *roomy_end = roomy + size + (behind > 0 ? behind : 1);
            char *exact_room = malloc(size + JSON_ROOM);
            int64_t m = json_unescape_to_quote(&p, roomy_end, exact_room, size + JSON_ROOM);
            CHECK(m < 0 ||
                  (m == n && p == roomy + size && memcmp(exact_room, out, (size_t)n) == 0));
            n_to_quote += m >= 0;
            CHECK(json_unescape_to_quote(&p, roomy_end, exact_room, 60) == -1);
            free(exact_room);
        }
        const char *plain = memchr(text, '\\', size);
        CHECK(json_plain_end(text, text + size + 1) == (plain ? plain : text + size));
        CHECK(json_plain_end(text, text + size) == plain);
        free(roomy);
        free(roomy_out);
        CHECK(n >= 0 || kinds == 12);
        if (n >= 0)
            CHECK_STR(str_make(out, (size_t)n), str_make(slow, (size_t)n));
        free(out);
    }
#if defined(__x86_64__)
    CHECK((n_to_quote > 20000) == (bool)__builtin_cpu_supports("avx512vbmi2"));
#endif
}

#define BAD "\xEF\xBF\xBD"

static void test_unescape(void) {
    static const struct {
        struct str raw;
        bool valid;
        struct str want;
    } cases[] = {
        {STR_INIT(""), true, STR_INIT("")},
        {STR_INIT("plain"), true, STR_INIT("plain")},
        {STR_INIT("\\\"\\\\\\/\\b\\f\\n\\r\\t"), true, STR_INIT("\"\\/\b\f\n\r\t")},
        {STR_INIT("a\\u0041\\u00e9\\u20AC"), true, STR_INIT("aA\xC3\xA9\xE2\x82\xAC")},
        {STR_INIT("\\u0000x"), true, STR_INIT("\0x")},
        {STR_INIT("\\ud83d\\ude00"), true, STR_INIT("\xF0\x9F\x98\x80")},
        {STR_INIT("\\uDBFF\\uDFFF"), true, STR_INIT("\xF4\x8F\xBF\xBF")},
        {STR_INIT("\\ud83d"), true, STR_INIT(BAD)},
        {STR_INIT("\\ud83dx"), true, STR_INIT(BAD "x")},
        {STR_INIT("\\ude00\\ud83d"), true, STR_INIT(BAD BAD)},
        {STR_INIT("\\ud83d\\u0041"), true, STR_INIT(BAD "A")},
        {STR_INIT("\\ud83d\\ud83d\\ude00"), true, STR_INIT(BAD "\xF0\x9F\x98\x80")},
        {STR_INIT("\\ud83d\\n"), true, STR_INIT(BAD "\n")},
        {STR_INIT("\\"), false, STR_INIT("")},
        {STR_INIT("\\x41"), false, STR_INIT("")},
        {STR_INIT("\\'"), false, STR_INIT("")},
        {STR_INIT("\\U0041"), false, STR_INIT("")},
        {STR_INIT("\\u"), false, STR_INIT("")},
        {STR_INIT("\\u004"), false, STR_INIT("")},
        {STR_INIT("\\u00g1"), false, STR_INIT("")},
        {STR_INIT("\\ud83d\\u12"), false, STR_INIT("")},
        {STR_INIT("\\\0"), false, STR_INIT("")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str raw = cases[i].raw;
        char *out = malloc(raw.size + 1);
        int64_t size = json_unescape(raw, out);
        CHECK_INT(size, cases[i].valid ? (int64_t)cases[i].want.size : -1);
        if (size >= 0)
            CHECK_STR(str_make(out, (size_t)size), cases[i].want);
        memcpy(out, raw.data, raw.size);
        CHECK_INT(json_unescape(str_make(out, raw.size), out), size);
        if (size >= 0)
            CHECK_STR(str_make(out, (size_t)size), cases[i].want);
        free(out);
    }
}

static void test_write(void) {
    static const struct {
        struct str text, want;
    } cases[] = {
        {STR_INIT(""), STR_INIT("\"\"")},
        {STR_INIT("plain text of more than sixteen bytes"),
         STR_INIT("\"plain text of more than sixteen bytes\"")},
        {STR_INIT("\"\\/"), STR_INIT("\"\\\"\\\\/\"")},
        {STR_INIT("\b\f\n\r\t"), STR_INIT("\"\\b\\f\\n\\r\\t\"")},
        {STR_INIT("\x01\x1f\x7f"), STR_INIT("\"\\u0001\\u001f\x7f\"")},
        {STR_INIT("a<b>&c"), STR_INIT("\"a\\u003cb\\u003e\\u0026c\"")},
        {STR_INIT("h\xC3\xA9 \xF0\x9F\x98\x80"), STR_INIT("\"h\xC3\xA9 \xF0\x9F\x98\x80\"")},
        {STR_INIT("\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAA"),
         STR_INIT("\"\\u2028\\u2029\xE2\x80\xAA\"")},
        {STR_INIT("bad \xFF\xC3"), STR_INIT("\"bad \\ufffd\\ufffd\"")},
        {STR_INIT("nul\0nul"), STR_INIT("\"nul\\u0000nul\"")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        json_write_string(&b, cases[i].text);
        CHECK_STR(buf_str(&b), cases[i].want);
        /* The same with a maximum that just suffices, and with one byte less. */
        size_t size = b.size;
        buf_done(&b);
        b = buf_make(size);
        json_write_string(&b, cases[i].text);
        CHECK(!b.failed);
        CHECK_STR(buf_str(&b), cases[i].want);
        buf_done(&b);
        b = buf_make(size - 1);
        json_write_string(&b, cases[i].text);
        CHECK(b.failed);
        buf_done(&b);
    }
}

static void test_write_plain(void) {
    static const struct {
        struct str text, want;
    } cases[] = {
        {STR_INIT(""), STR_INIT("\"\"")},
        {STR_INIT("<"), STR_INIT("\"<\"")},
        {STR_INIT("<<a>&&\"b\\ & a line\n"), STR_INIT("\"<<a>&&\\\"b\\\\ & a line\\n\"")},
        {STR_INIT("\\u003c \xC3\xA9>\xFF"), STR_INIT("\"\\\\u003c \xC3\xA9>\\ufffd\"")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = buf_make(cases[i].want.size);
        json_write_string_plain(&b, cases[i].text);
        CHECK(!b.failed);
        CHECK_STR(buf_str(&b), cases[i].want);
        buf_done(&b);
        b = buf_make(cases[i].want.size - 1);
        json_write_string_plain(&b, cases[i].text);
        CHECK(b.failed);
        buf_done(&b);
    }
}

/* Each byte value at each position of a vector, by the slow way and by the fast one. */
static void test_write_positions(void) {
    char text[40];
    for (int byte = 0; byte < 256; byte++) {
        struct buf alone = buf_make(BUF_NO_MAX);
        char c = (char)byte;
        json_write_string(&alone, str_make(&c, 1));
        struct str inner = str_make(alone.data + 1, alone.size - 2);
        for (size_t at = 0; at < sizeof(text); at++) {
            struct buf want = buf_make(BUF_NO_MAX), got = buf_make(BUF_NO_MAX);
            memset(text, 'x', sizeof(text));
            text[at] = c;
            json_write_string(&got, str_make(text, sizeof(text)));
            buf_addf(&want, "\"%.*s", (int)at, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            buf_add_str(&want, inner);
            for (size_t i = at + 1; i < sizeof(text); i++)
                buf_add_char(&want, 'x');
            buf_add_char(&want, '"');
            CHECK_STR(buf_str(&got), buf_str(&want));
            buf_done(&want);
            buf_done(&got);
        }
        buf_done(&alone);
    }
}

/* What is written reads back as the same text, with U+FFFD for bad bytes; sizes around the batches. */
static void test_round_trip(void) {
    uint64_t state = 42;
    static const size_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 8190, 8191, 8192, 8193, 20000};
    for (size_t round = 0; round < 200; round++) {
        size_t size = sizes[round % (sizeof(sizes) / sizeof(sizes[0]))];
        char *text = malloc(size), *back = malloc(size * 6 + 2);
        for (size_t i = 0; i < size; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint8_t random = (uint8_t)(state >> 56);
            static const char wide[] = "\xE2\x82\xAC";
            text[i] = round % 3 == 0   ? (char)random
                      : round % 3 == 1 ? wide[i % 3]
                                       : (char)(random % 96 + 32);
        }
        struct buf json = buf_make(BUF_NO_MAX), want = buf_make(BUF_NO_MAX);
        json_write_string(&json, str_make(text, size));
        utf8_add_valid(&want, str_make(text, size));
        struct json_reader r = json_reader_make(buf_str(&json));
        struct json_value v = json_next(&r);
        CHECK_INT(v.type, JSON_STRING);
        CHECK(r.at == r.end);
        int64_t back_size = json_unescape(v.raw, back);
        CHECK(back_size >= 0 && str_eq(str_make(back, (size_t)back_size), buf_str(&want)));
        buf_done(&json);
        buf_done(&want);
        free(text);
        free(back);
    }
}

int main(void) {
    RUN(test_scalars);
    RUN(test_documents);
    RUN(test_depth);
    RUN(test_skip_half_read);
    RUN(test_string_end_positions);
    RUN(test_escaped_runs);
    RUN(test_unescape);
    RUN(test_write);
    RUN(test_write_plain);
    RUN(test_write_positions);
    RUN(test_round_trip);
    return test_done();
}
