#include "linetab.h"

#include <errno.h>
#include <stdlib.h>

#include <zstd.h>

#include "bytes.h"
#include "gram.h"
#include "test.h"

enum { LINES_MAX = 70000 };

static struct linetab_encoder *encoder, *narrow;
static struct linetab *table;
static struct linetab_tools *tools[2];
static struct gram_builder *grams, *scalar_grams;
static struct buf text;
static uint32_t offsets[LINES_MAX + 1], n_lines;
static uint64_t random_state = 42;

static uint32_t below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static void start(void) {
    buf_clear(&text);
    n_lines = 0;
}

static void end_line(void) {
    buf_add_char(&text, '\n');
    offsets[++n_lines] = (uint32_t)text.size;
}

static void add_line(struct str line) {
    buf_add_str(&text, line);
    end_line();
}

/* The filter of the spans that the encoder told is that of all lines. */
static void check_fresh(void) {
    static uint8_t want[GRAM_FILTER_MAX_BYTES + 8], got[GRAM_FILTER_MAX_BYTES + 8];
    uint32_t n = 0;
    const struct gram_span *spans = linetab_encoder_fresh(encoder, &n);
    size_t size = gram_build(grams, buf_str(&text), want);
    CHECK(n > 0);
    CHECK_INT(gram_build_spans(grams, buf_str(&text), spans, n, got), size);
    CHECK(memcmp(got, want, size) == 0);
    CHECK_INT(gram_build_spans(scalar_grams, buf_str(&text), spans, n, got), size);
    CHECK(memcmp(got, want, size) == 0);
    /* However much the spans are: nothing but what begins in them. */
    struct buf runs = buf_make(BUF_NO_MAX);
    for (uint32_t i = 0; i < n; i++) {
        size_t end = spans[i].end + (size_t)LINETAB_RUN - 1;
        buf_add(&runs, text.data + spans[i].from,
                (end < text.size ? end : text.size) - spans[i].from);
        buf_add_char(&runs, '\n');
    }
    if ((runs.size > GRAM_FEW_BYTES) == (text.size > GRAM_FEW_BYTES)) {
        CHECK_INT(gram_build(grams, buf_str(&runs), got), size);
        CHECK(memcmp(got, want, size) == 0);
    }
    buf_done(&runs);
}

/* The encoder writes the same bytes whatever the processor has. */
static void check_narrow(int status, struct str encoded) {
    struct buf out = buf_make(BUF_NO_MAX);
    CHECK_INT(linetab_encode(narrow, buf_str(&text), offsets, n_lines, &out), status);
    CHECK(str_eq(buf_str(&out), encoded));
    CHECK_INT(linetab_encoder_mismatches(narrow), 0);
    buf_done(&out);
}

/* Encodes the lines, decodes them into exactly their room, compares. The encoded size, 0 when it is refused. */
static size_t round_trip(void) {
    struct buf out = buf_make(BUF_NO_MAX);
    struct err err = {0};
    (void)buf_reserve(&text, LINETAB_SLACK);
    int r = linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out);
    CHECK(r == 0 || r == 1);
    CHECK_INT(linetab_encoder_mismatches(encoder), 0);
    check_narrow(r, buf_str(&out));
    size_t size = out.size;
    if (r == 1) {
        char *copy = malloc(out.size), *lines = malloc(text.size);
        memcpy(copy, out.data, out.size); /* so that a sanitizer sees where it ends */
        CHECK_INT(linetab_open(table, str_make(copy, out.size), n_lines, &err), 0);
        CHECK_INT(linetab_lines(table, lines, text.size, &err), 0);
        CHECK(memcmp(lines, text.data, text.size) == 0);
        if (memcmp(lines, text.data, text.size) != 0) {
            size_t at = 0;
            while (lines[at] == text.data[at])
                at++;
            printf("  differs at %zu: want %.40s\n  got  %.40s\n", at, text.data + at, lines + at);
        }
        check_fresh();
        free(lines);
        free(copy);
    }
    buf_done(&out);
    return size;
}

/* Forty lines "a <value> b", so that all are of one make. */
static size_t values_round_trip(const char *const *values, size_t n) {
    start();
    for (size_t i = 0; i < 40; i++) {
        buf_addf(&text, "some text x=%s and its end", values[i % n]);
        end_line();
    }
    return round_trip();
}

#define VALUES(...)                                                                                \
    CHECK(values_round_trip((const char *const[]){__VA_ARGS__},                                    \
                            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)) > 0)

static void numbers(void) {
    VALUES("0", "1", "22", "333", "4444444", "55555555", "666666666");
    VALUES("1", "01", "001", "0");
    VALUES("007", "123", "000");
    VALUES("18446744073709551615", "18446744073709551616", "1");
    VALUES("9999999999999999999", "1000000000000000000", "5");
    VALUES("99999999999999999999", "10000000000000000000", "55555555555555555555");
    VALUES("9999999999999999999", "0000000000000000001");
    VALUES("0999999999999999999", "1", "00");
    VALUES("12ms", "7ms", "12345678ms", "100000000ms");
    VALUES("u12", "u0", "u9999");
    VALUES("-5", "5", "-12345678901234567");
    VALUES("0.001", "0.1", "12.000000000000000001", "7.5");
    VALUES("1e10", "1E-5", "NaN");
    VALUES("100000000", "99999999", "10000000000000000", "9999999999999999");
    VALUES("v1.2.3-rc1", "v1.2.4-rc22", "v10.2.3-rc1");
}

static void times(void) {
    VALUES("2026-11-26T10:00:00.123Z", "2026-11-26T10:00:00.124Z", "2026-11-27T00:00:00.000Z");
    VALUES("2026-11-26T10:00:00Z", "2026-11-26T23:59:59Z", "2024-02-29T23:59:59Z");
    VALUES("2026-11-26T10:00:60Z", "2026-11-26T24:00:00Z", "2026-13-01T00:00:00Z");
    VALUES("2026-02-29T10:00:00Z", "2026-02-28T10:00:00Z");
    VALUES("1700-01-01T00:00:00.000000000+01:00", "2199-12-31T23:59:59.999999999+01:00");
    VALUES("1699-01-01T00:00:00Z", "2200-12-31T23:59:59Z", "0000-00-00T00:00:00Z");
    VALUES("2026/11/26T10:00:00", "2026/11/26T10:00:01");
    VALUES("26/Nov/2026:10:00:00", "01/Dec/2026:00:00:00", "31/Dec/1999:23:59:59");
    VALUES("10:00:00", "09:59:59", "23:00:01");
    VALUES("00:00:00.222", "00:00:00.223", "00:00:00.000", "00:00:59.999");
    VALUES("10:00:00,5", "10:00:01,4", "10:00:00,9");
    VALUES("10:00:00.1234567890123", "10:00:00.1234567890124");
    VALUES("2026-11-26T10:00:00.12Z", "2026-11-26T10:00:00.1Z");
    VALUES("1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z", "1965-06-01T12:00:00.500Z");
}

static void addresses_and_ids(void) {
    VALUES("10.0.0.1", "255.255.255.255", "0.0.0.0", "99.100.9.10");
    VALUES("10.0.0.01", "10.0.0.256", "10.0.0", "1.2.3.4.5");
    VALUES("10.0.0.1:8080", "10.0.0.2:99");
    VALUES("deadbeef", "00000000", "a1b2c3d4");
    VALUES("DEADBEEF", "0000000A", "A1B2C3D4");
    VALUES("DEADBEEF", "deadbeef", "A1b2C3D4");
    VALUES("abc", "def", "012");
    VALUES("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    VALUES("0123456789abcdef0123456789abcdef01", "fedcba9876543210fedcba9876543210ff");
    VALUES("b815023b-697d-e069-e2f2-b28d37660c51", "00000000-0000-0000-0000-000000000000");
    VALUES("B815023B-697D-E069-E2F2-B28D37660C51", "00000000-0000-0000-0000-00000000000A");
    VALUES("b815023b-697d-e069-e2f2-b28d37660c51", "b815023b-697d-e069-e2f2-b28d37660c5g");
    VALUES("b815023b0697d-e069-e2f2-b28d37660c51", "b815023b1697d-e069-e2f2-b28d37660c51");
    VALUES("0x1f", "0xffff", "0x0");
}

static void odd_bytes(void) {
    VALUES("", "x", "yy");
    VALUES("\"\"", "\"a\"", "\"b\\\"c\"", "\"d\\\\\"");
    VALUES("\"unbalanced", "\"un\\\"balanced", "fine");
    VALUES("\xff\xfe", "\x80", "\xc3\xa9");
    VALUES("\r", "\t", "a\rb");
    VALUES("'", "((", "[[]]", "{},;|\\<>");
    VALUES(" ", "  ", "     ", "a   b");
    start();
    for (int i = 0; i < 300; i++) {
        char bytes[] = {'a', 0, (char)('0' + i % 10), '\n', (char)i, 'z'};
        add_line(str_make(bytes, (size_t)(i % 7)));
    }
    (void)round_trip();
    start();
    for (int i = 0; i < 3000; i++)
        add_line(STR(""));
    (void)round_trip();
    start();
    for (int i = 0; i < 2; i++)
        add_line(STR("two lines are refused"));
    CHECK_INT(round_trip(), 0);
}

static void many_lines_and_large_ones(void) {
    start();
    for (unsigned i = 0; i < 65536; i++) {
        buf_addf(&text, "%u", i * 7 % 1000);
        end_line();
    }
    CHECK(round_trip() > 0);
    start();
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned k = 0; k < 10000; k++)
            buf_addf(&text, "%c%u ", 'a' + (int)(k % 26), k * i);
        end_line();
        add_line(STR("a short one, 17"));
    }
    (void)round_trip();
    start();
    for (unsigned i = 0; i < 50; i++) {
        for (unsigned k = 0; k < 20000; k++)
            buf_add_char(&text, (char)('a' + below(26)));
        buf_addf(&text, " %u", i);
        end_line();
    }
    (void)round_trip();
    start();
    for (unsigned i = 0; i < 9; i++) {
        buf_addf(&text, "line %u with all slots", i);
        for (unsigned k = 0; k < 600; k++)
            buf_addf(&text, " %u", k + i);
        end_line();
    }
    (void)round_trip();
}

/* ---- lines of random makes: pieces are put together so that typed columns nearly fit, now and then */

static void add_piece(unsigned kind) {
    static const char *const words[] = {"info", "error", "warn", "GET", "POST", "", "a b", "x\"y"};
    static const char *const near_misses[] = {"00",        "-1",       "1.",   ".5", "1e3",
                                              "0x",        "\\",       "\\\"", "é",  "\xff",
                                              "256.1.1.1", "25:00:00", "'",    "  "};
    switch (kind % 12) {
    case 0:
        buf_addf(&text, "%u", below(kind % 7 ? 1000 : 4000000000u));
        break;
    case 1:
        buf_addf(&text, "%08x", below(0x7fffffff));
        break;
    case 2:
        buf_addf(&text, "%u.%u.%u.%u", below(256), below(256), below(10), below(256));
        break;
    case 3:
        buf_addf(&text, "2026-11-%02uT%02u:%02u:%02u.%03uZ", 1 + below(28), below(24), below(60),
                 below(60), below(1000));
        break;
    case 4:
        buf_addf(&text, "%s", words[below(below(40) ? 5 : 8)]);
        break;
    case 5:
        buf_addf(&text, "%0*u", 1 + (int)below(5), below(300));
        break;
    case 6:
        buf_addf(&text, "\"%s %u\"", words[below(6)], below(50));
        break;
    case 7:
        buf_addf(&text, "%*s", (int)below(12), "");
        break;
    case 8:
        buf_addf(&text, "%08x-%04x-%04x-%04x-%012x", below(1 << 30), below(65536), below(65536),
                 below(65536), below(1 << 30));
        break;
    case 9:
        buf_addf(&text, "/a/%u/%s?k=%u", below(3), words[below(5)], below(1000));
        break;
    case 10:
        for (unsigned n = below(8); n > 0; n--)
            buf_add_char(&text, (char)below(256));
        break;
    default:
        buf_addf(&text, "%s", near_misses[below(14)]);
        break;
    }
}

static void add_random_line(uint32_t seed, uint32_t noise) {
    static const char *const borders[] = {" ", "=",  "\":\"", "\",\"", ": ",
                                          "[", "] ", "",      "\t",    "key="};
    uint64_t kept = random_state;
    uint32_t n = seed * 2654435761u >> 28;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t mix = (seed + 1) * (i + 1) * 2246822519u >> 8;
        random_state = kept += 0x9e3779b97f4a7c15u;
        add_piece(noise > 0 && below(noise) == 0 ? below(1000) : mix % 120 / 12);
        buf_addf(&text, "%s", borders[(mix >> 5) % 10]);
    }
    random_state = kept;
    (void)below(2);
    end_line();
}

static void random_lines(void) {
    size_t accepted = 0;
    for (unsigned round = 0; round < 400; round++) {
        start();
        uint32_t makes = 1 + below(8), lines = 1 + below(600);
        uint32_t noise = below(3) ? 30 + below(500) : 0;
        for (uint32_t i = 0; i < lines; i++)
            add_random_line(round * 31 + below(makes), noise);
        accepted += round_trip() > 0;
    }
    CHECK(accepted > 200);
}

/* ---- search: against looking at every line */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool contains(struct str line, struct str literal, bool fold) {
    for (size_t i = 0; i + literal.size <= line.size; i++) {
        size_t n = 0;
        while (n < literal.size && (fold ? lower(line.data[i + n]) == lower(literal.data[n])
                                         : line.data[i + n] == literal.data[n]))
            n++;
        if (n == literal.size)
            return true;
    }
    return false;
}

static struct str line_at(uint32_t i) {
    return str_make(text.data + offsets[i], offsets[i + 1] - 1 - offsets[i]);
}

/* A stretch of a line, changed now and then. */
static struct str pick_literal(char *room) {
    struct str line = line_at(below(n_lines));
    if (line.size == 0)
        return STR("x");
    size_t from = below((uint32_t)line.size), size = 1 + below(below(3) ? 8 : 40);
    if (size > line.size - from)
        size = line.size - from;
    memcpy(room, line.data + from, size);
    if (below(4) == 0)
        room[below((uint32_t)size)] = (char)('0' + below(75));
    return str_make(room, size);
}

/* Tables are put aside and asked again, with the columns that were unpacked until then. */
static void put_aside(void) {
    if (below(3) == 0)
        linetab_resume(table, tools[below(2)]);
}

static size_t search_agrees(struct str literal, bool fold) {
    static uint8_t levels[LINES_MAX];
    put_aside();
    struct err err;
    size_t decided = 0, wrong = 0;
    memset(levels, 0, n_lines);
    CHECK_INT(linetab_match(table, literal, fold, levels, &err), 0);
    for (uint32_t i = 0; i < n_lines; i++) {
        bool there = contains(line_at(i), literal, fold);
        wrong += levels[i] == LINETAB_NO ? there : levels[i] == LINETAB_YES ? !there : 0;
        decided += levels[i] != LINETAB_MAYBE;
    }
    CHECK_INT(wrong, 0);
    if (wrong > 0)
        printf("  literal \"%.*s\"%s\n", STR_ARG(literal), fold ? ", folded" : "");
    return decided;
}

/* Some of the lines into a room of exactly their size, and into one that is a byte too small. */
static void check_rows(void) {
    static uint64_t wanted[LINES_MAX / 64 + 1];
    struct err err;
    char *lines = malloc(text.size);
    put_aside();
    for (uint32_t i = 0; i <= n_lines / 64; i++)
        wanted[i] = 0;
    size_t size = 0;
    for (uint32_t i = 0; i < n_lines; i++)
        if (below(5) == 0) {
            wanted[i / 64] |= UINT64_C(1) << i % 64;
            size += line_at(i).size + 1;
        }
    uint32_t *places = calloc(n_lines + 1, sizeof(*places));
    CHECK(lines && places);
    CHECK_INT(linetab_rows(table, wanted, lines, size, places, &err), 0);
    for (uint32_t i = 0; i < n_lines; i++) {
        struct str line = line_at(i);
        if (!(wanted[i / 64] >> i % 64 & 1))
            continue;
        CHECK_INT(places[i + 1] - places[i], line.size + 1);
        CHECK(memcmp(lines + places[i], line.data, line.size + 1) == 0);
    }
    if (size > 0)
        CHECK_INT(linetab_rows(table, wanted, lines, size - 1, places, &err), -ECORRUPT);
    free(places);
    free(lines);
}

/* A value of a slot: of a few words, a number, an id, words and numbers together. */
static void add_value(uint32_t kind) {
    static const char *const words[] = {"GET", "POST1", "a1", "", "web-12", "status", "x"};
    switch (kind % 5) {
    case 0:
        buf_addf(&text, "%s", words[below(7)]);
        break;
    case 1:
        buf_addf(&text, "%u", below(kind % 2 ? 100000 : 12));
        break;
    case 2:
        buf_addf(&text, "%08x", below(1u << 30));
        break;
    case 3:
        buf_addf(&text, "/%s/%u", words[below(3)], below(5000));
        if (kind % 2)
            buf_addf(&text, "?p=%u", below(3));
        break;
    default:
        buf_addf(&text, "%c%c", 'a' + below(3), '0' + below(2));
    }
}

/* Columns next to one another, with so few fixed bytes between them that a run of bytes touches several. */
static void close_columns(void) {
    static const char *const between[] = {" ", "=", ": ", "\"", " - ", "\", \"", "][", " from "};
    for (unsigned round = 0; round < 300; round++) {
        uint32_t kinds[2][6], marks[2][6], slots = 1 + below(6), lines = 40 + below(200);
        for (unsigned i = 0; i < 12; i++) {
            kinds[i / 6][i % 6] = below(30);
            marks[i / 6][i % 6] = below(8);
        }
        start();
        for (uint32_t i = 0; i < lines; i++) {
            unsigned make = below(4) == 0;
            for (uint32_t k = 0; k < slots; k++) {
                add_value(kinds[make][k]);
                buf_addf(&text, "%s", between[marks[make][k]]);
            }
            end_line();
        }
        (void)round_trip();
    }
}

/* A row that the literal is one of: some bytes stand for all digits, all hex digits or all letters. */
static struct linetab_row row_of(struct str literal, uint64_t allowed[256]) {
    struct linetab_row row = {.size = (uint32_t)literal.size, .allowed = allowed};
    uint32_t fixed_from = 0;
    memset(allowed, 0, 256 * sizeof(*allowed));
    for (uint32_t i = 0; i < literal.size; i++) {
        unsigned char c = (unsigned char)literal.data[i];
        const char *set = c >= '0' && c <= '9' && below(3) > 0   ? "0123456789"
                          : c >= 'a' && c <= 'f' && below(3) > 0 ? "0123456789abcdef"
                          : below(20) == 0                       ? ".:-/Tabcdefghijklmnopqrstuvwxyz"
                                                                 : "";
        allowed[c] |= UINT64_C(1) << i;
        for (const char *p = set; *p; p++)
            allowed[(unsigned char)*p] |= UINT64_C(1) << i;
        if (*set)
            fixed_from = i + 1;
        else if (i + 1 - fixed_from > row.fixed.size)
            row.fixed_at = fixed_from,
            row.fixed = str_make(literal.data + fixed_from, i + 1 - fixed_from);
    }
    return row;
}

static bool row_stands(struct str line, const struct linetab_row *row) {
    for (size_t i = 0; i + row->size <= line.size; i++) {
        uint32_t n = 0;
        while (n < row->size && row->allowed[(unsigned char)line.data[i + n]] >> n & 1)
            n++;
        if (n == row->size)
            return true;
    }
    return false;
}

static size_t row_agrees(struct str literal) {
    static uint8_t levels[LINES_MAX];
    uint64_t allowed[256];
    struct err err;
    size_t decided = 0, wrong = 0;
    if (literal.size < 2 || literal.size > LINETAB_ROW_MAX)
        return 0;
    struct linetab_row row = row_of(literal, allowed);
    memset(levels, 0, n_lines);
    CHECK_INT(linetab_match_row(table, &row, levels, &err), 0);
    for (uint32_t i = 0; i < n_lines; i++) {
        bool there = row_stands(line_at(i), &row);
        wrong += levels[i] == LINETAB_NO ? there : levels[i] == LINETAB_YES ? !there : 0;
        decided += levels[i] != LINETAB_MAYBE;
    }
    CHECK_INT(wrong, 0);
    if (wrong > 0)
        printf("  a row of \"%.*s\"\n", STR_ARG(literal));
    return decided;
}

/* Numbers of a small range stand in many lines, next to others and with zeros in front. */
static void numbers_again_and_again(void) {
    static const char *const forms[] = {"page %u of %u", "page %u-%u", "%u/%03u",
                                        "p%02u.%u",      "%u%u x",     "a=%u b=%u"};
    for (unsigned round = 0; round < 60; round++) {
        uint32_t range = 2 + below(round % 3 ? 40 : 4000), base = below(100000);
        start();
        for (unsigned i = 0; i < 1000; i++) {
            buf_addf(&text, "GET /items?");
            buf_addf(&text, forms[round % 6], base + below(range), below(range));
            buf_addf(&text, " done in %u ms", below(range));
            end_line();
        }
        CHECK(round_trip() > 0);
    }
}

static void searches_are_right(void) {
    size_t decided = 0, by_row = 0, all = 0;
    for (unsigned round = 0; round < 300; round++) {
        start();
        uint32_t makes = 1 + below(8), lines = 6 + below(300),
                 noise = below(2) ? 30 + below(90) : 0;
        for (uint32_t i = 0; i < lines; i++)
            add_random_line(round * 37 + below(makes), noise);
        struct buf out = buf_make(BUF_NO_MAX);
        struct err err;
        (void)buf_reserve(&text, LINETAB_SLACK);
        if (linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out) == 1) {
            for (unsigned i = 0; i < 12; i++) {
                char room[64];
                CHECK_INT(linetab_open(table, buf_str(&out), n_lines, &err), 0);
                if (i % 3 == 0)
                    check_rows();
                decided += search_agrees(pick_literal(room), i % 2 > 0);
                by_row += row_agrees(pick_literal(room));
                all += n_lines;
            }
        }
        buf_done(&out);
    }
    CHECK(decided > all / 2);
    CHECK(by_row > all / 2);
}

/* A word in fixed text, in a dictionary, over the border of both, and one that is nowhere: all are told for certain. */
static void words_are_decided(void) {
    start();
    for (unsigned i = 0; i < 500; i++) {
        buf_addf(&text, "{\"level\":\"%s\",\"id\":\"%08x\",\"status\":%u,\"msg\":\"request %s\"}",
                 i % 9 ? "info" : "error", below(1 << 30), i % 11 ? 200u : 503u,
                 i % 9 ? "served" : "failed: upstream Error");
        end_line();
    }
    struct buf out = buf_make(BUF_NO_MAX);
    struct err err;
    (void)buf_reserve(&text, LINETAB_SLACK);
    CHECK_INT(linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out), 1);
    CHECK_INT(linetab_open(table, buf_str(&out), n_lines, &err), 0);
    CHECK_INT(search_agrees(STR("error"), false), 500);
    CHECK_INT(search_agrees(STR("error"), true), 500);
    CHECK_INT(search_agrees(STR("upstream Error"), false), 500);
    CHECK_INT(search_agrees(STR("\"level\":\"error\""), false), 500);
    CHECK_INT(search_agrees(STR("\"status\":503,"), false), 500);
    CHECK_INT(search_agrees(STR("status"), false), 500);
    CHECK_INT(search_agrees(STR("nowhere to be found"), false), 500);
    buf_done(&out);
}

/* What it is for: less than half of the bytes that general compression leaves. */
/* ---- fields */

enum { FIELDS = 4 };
static size_t n_combined;
static const char *const *seen[LINETAB_COMBINATIONS_MAX]; /* the values of a combination */

static uint32_t field_number(void *ctx, const struct str *path, size_t depth) {
    static const char *const names[FIELDS] = {"status", "ratio", "msg", "user.id"};
    char name[64] = "";
    (void)ctx;
    for (size_t i = 0; i < depth; i++) {
        size_t used = strlen(name);
        (void)snprintf(name + used, sizeof(name) - used, "%s%.*s", i > 0 ? "." : "",
                       STR_ARG(path[i]));
    }
    for (uint32_t i = 0; i < FIELDS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return LINETAB_UNWANTED;
}

/* The first of the values is in doubt; what is said of the others must be right. */
enum known { KNOWN_ALL, KNOWN_NOT_FIRST, KNOWN_NONE };

/* Is what the table says of line i what it was made of? Which is not told twice when it is null. */
static void check_values(uint32_t i, enum linetab_form form, const char *const *wanted) {
    struct linetab_value found[LINETAB_FIELDS_MAX];
    size_t n = linetab_fields(table, i, found), at = 0;
    for (uint32_t k = 0; k < FIELDS; k++) {
        if (form == FORM_JSON && strcmp(wanted[k], "null") == 0)
            continue;
        CHECK(at < n && found[at].number == k && str_eq(found[at].text, str_from(wanted[k])));
        at++;
    }
    CHECK_INT(at, n);
}

/* Lines of the same combination have the same values. */
static void check_combination(uint32_t i, const char *const *values) {
    uint32_t number = linetab_fields_combination(table, i);
    if (number == LINETAB_UNWANTED)
        return;
    CHECK(number < LINETAB_COMBINATIONS_MAX);
    for (uint32_t k = 0; seen[number] && k < FIELDS; k++)
        CHECK(strcmp(seen[number][k], values[k]) == 0);
    seen[number] = values;
    n_combined++;
}

/* Lines of four values that `%` stands for, which are asked for. */
static void check_fields(enum linetab_form form, const char *format,
                         const char *const values[][FIELDS], size_t n_values, enum known known) {
    struct linetab_question q = {.form = form, .wanted = field_number, .n_wanted = FIELDS};
    struct err err;
    size_t n_known = 0, n_first = 0;
    memset(seen, 0, sizeof(seen));
    start();
    for (uint32_t i = 0; i < 60; i++) {
        size_t k = 0;
        for (const char *p = format; *p; p++) {
            if (*p == '%')
                buf_add_str(&text, str_from(values[i % n_values][k++]));
            else
                buf_add_char(&text, *p);
        }
        end_line();
    }
    (void)buf_reserve(&text, LINETAB_SLACK);
    struct buf out = buf_make(BUF_NO_MAX);
    CHECK_INT(linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out), 1);
    CHECK_INT(linetab_open(table, buf_str(&out), n_lines, &err), 0);
    int r = linetab_find_fields(table, &q, &err);
    CHECK(r >= 0);
    for (uint32_t i = 0; r > 0 && i < n_lines; i++) {
        if (!linetab_has_fields(table, i))
            continue;
        n_known++;
        n_first += i % n_values == 0;
        check_values(i, form, values[i % n_values]);
        check_combination(i, values[i % n_values]);
    }
    bool fits = known == KNOWN_ALL    ? n_known == n_lines
                : known == KNOWN_NONE ? n_known == 0
                                      : n_first == 0;
    CHECK(fits);
    if (!fits)
        printf("  %zu, %zu of %s\n", n_known, n_first, format);
    buf_done(&out);
}

#define FIELDS_OF(form, format, known, ...)                                                        \
    do {                                                                                           \
        static const char *const values[][FIELDS] = {__VA_ARGS__};                                 \
        check_fields(form, format, values, sizeof(values) / sizeof(values[0]), known);             \
    } while (0)
#define PLAIN_VALUES                                                                               \
    {"200", "0.5", "done", "u1"}, {"404", "12.25", "", "u2"}, {                                    \
        "500", "-3", "a b", "u3"                                                                   \
    }

static void fields_are_right(void) {
    static const char json[] = "{\"status\":%,\"ratio\":%,\"msg\":\"%\",\"user\":{\"id\":\"%\"}}";
    static const char logfmt[] = "status=% ratio=% msg=\"%\" user.id=%";
    FIELDS_OF(FORM_JSON, json, KNOWN_ALL, PLAIN_VALUES);
    FIELDS_OF(FORM_JSON,
              "{\"status\" : %, \"ratio\":% ,\"msg\":\"%\",\"x\":[{\"status\":1}],\"user\":{ "
              "\"id\":\"%\"}} "
              "tail \"{",
              KNOWN_ALL, PLAIN_VALUES);
    /* Values that are null, words, with escapes, in the last field too. */
    FIELDS_OF(FORM_JSON, json, KNOWN_ALL, {"null", "true", "say \\\"hi\\\"", "\\\\"},
              {"1", "false", "tab\\t", "\\u00e9"}, {"2", "null", "\xff", "x"});
    FIELDS_OF(FORM_LOGFMT, "status=% word ratio=% msg=\"%\" other.id=7 user.id=%", KNOWN_ALL,
              PLAIN_VALUES);
    FIELDS_OF(FORM_LOGFMT, logfmt, KNOWN_ALL, {"null", "1", "say \\\"hi\\\"", ""},
              {"7", "", "x=y", "a"}, {"8", "2", "", "b"});
    /* Values that end a string or do not, that no reader knows, that are two. */
    FIELDS_OF(FORM_JSON, json, KNOWN_NOT_FIRST, {"1", "2", "a\\", "b"}, {"3", "4", "c", "d"});
    FIELDS_OF(FORM_JSON, json, KNOWN_NOT_FIRST, {"word", "2", "a", "b"}, {"3", "4", "c", "d"});
    FIELDS_OF(FORM_JSON, json, KNOWN_NOT_FIRST, {"truer", "2", "a", "b"}, {"3", "4", "c", "d"});
    FIELDS_OF(FORM_JSON, json, KNOWN_NOT_FIRST, {"1,2", "2", "a", "b"}, {"3", "4", "c", "d"});
    FIELDS_OF(FORM_JSON, json, KNOWN_NOT_FIRST, {"1", "2", "a\"b", "b"}, {"3", "4", "c", "d"});
    FIELDS_OF(FORM_LOGFMT, logfmt, KNOWN_NOT_FIRST, {"1", "2", "x", "a=b"}, {"3", "4", "y", "c"});
    FIELDS_OF(FORM_LOGFMT, logfmt, KNOWN_NOT_FIRST, {"1", "2", "x\"y", "ab"}, {"3", "4", "y", "c"});
    /* Templates that are neither. */
    FIELDS_OF(FORM_JSON, "{\"status\":%,\"ratio\":%,\"msg\":\"%\",\"user\":{\"id\":\"%\"}",
              KNOWN_NONE, PLAIN_VALUES);
    FIELDS_OF(FORM_JSON, "{\"status\":%,\"ratio\":%,,\"msg\":\"%\",\"user\":{\"id\":\"%\"}}",
              KNOWN_NONE, PLAIN_VALUES);
    FIELDS_OF(FORM_JSON, "{\"status\":true%,\"ratio\":%,\"msg\":\"%\",\"user\":{\"id\":\"%\"}}",
              KNOWN_NONE, PLAIN_VALUES);
    FIELDS_OF(FORM_LOGFMT, "status=% ratio=% msg=\"%\" user.id=\"%", KNOWN_NONE, PLAIN_VALUES);
    CHECK(n_combined > 0);
}

static void packs_ids(void) {
    start();
    for (unsigned i = 0; i < 1000; i++) {
        buf_addf(&text,
                 "{\"time\":\"2026-11-26T10:%02u:%02u.%03uZ\",\"level\":\"%s\",\"trace_id\":"
                 "\"%08x%08x%08x%08x\",\"status\":%u,\"path\":\"/api/v1/items/%u\"}",
                 i / 600, i / 10 % 60, i % 10 * 100, below(10) ? "info" : "error",
                 below(0x7fffffff), below(0x7fffffff), below(0x7fffffff), below(0x7fffffff),
                 below(20) ? 200u : 500u, below(1000000));
        end_line();
    }
    size_t size = round_trip();
    CHECK(size > 0 && size < 1000 * 22);
}

/* ---- damage */

static void add_unpacked(struct buf *out, const char *data, size_t size, size_t raw_size,
                         bool zstd) {
    CHECK(buf_reserve(out, raw_size + 1) == 0);
    if (zstd)
        CHECK_INT(ZSTD_decompress(out->data + out->size, raw_size, data, size), raw_size);
    else
        memcpy(out->data + out->size, data, size);
    out->size += raw_size;
}

/* The same table with its streams as they are: compressed ones would hardly ever decompress once damaged. */
static void unpack_streams(struct buf *encoded) {
    struct buf out = buf_make(BUF_NO_MAX);
    const char *p = encoded->data;
    uint32_t plan = get_le32(p + 4), plan_stored = get_le32(p + 8);
    uint32_t texts = get_le32(p + 12), texts_stored = get_le32(p + 16);
    buf_add(&out, p, 24);
    add_unpacked(&out, p + 24, plan_stored, plan, p[1] & 1);
    add_unpacked(&out, p + 24 + plan_stored, texts_stored, texts, p[1] & 2);
    size_t rest = 24 + (size_t)plan_stored + texts_stored;
    buf_add(&out, p + rest, encoded->size - rest);
    out.data[1] = 0;
    put_le32(out.data + 8, plan);
    put_le32(out.data + 16, texts);
    buf_done(encoded);
    *encoded = out;
}

static void damage_is_survived(void) {
    start();
    for (unsigned i = 0; i < 300; i++)
        add_random_line(6 + i % 2, 40);
    struct buf out = buf_make(BUF_NO_MAX);
    struct err err;
    (void)buf_reserve(&text, LINETAB_SLACK);
    CHECK_INT(linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out), 1);
    unpack_streams(&out);
    char *lines = malloc(text.size);
    CHECK_INT(linetab_open(table, buf_str(&out), n_lines, &err), 0);
    CHECK_INT(linetab_lines(table, lines, text.size, &err), 0);
    CHECK(memcmp(lines, text.data, text.size) == 0);
    for (unsigned round = 0; round < 4000; round++) {
        char *copy = malloc(out.size);
        memcpy(copy, out.data, out.size);
        for (unsigned n = 1 + below(3); n > 0; n--)
            copy[below((uint32_t)out.size)] ^= (char)(1 + below(255));
        size_t size = round % 8 == 0 ? below((uint32_t)out.size) : out.size;
        if (linetab_open(table, str_make(copy, size), n_lines, &err) == 0) {
            struct linetab_question q = {.form = round % 2 ? FORM_JSON : FORM_LOGFMT,
                                         .wanted = field_number,
                                         .n_wanted = FIELDS};
            struct linetab_value found[LINETAB_FIELDS_MAX];
            bool any = linetab_find_fields(table, &q, &err) > 0;
            for (uint32_t i = 0; any && i < n_lines; i++)
                if (linetab_has_fields(table, i))
                    (void)linetab_fields(table, i, found);
            (void)linetab_lines(table, lines, text.size, &err);
        }
        free(copy);
    }
    free(lines);
    buf_done(&out);
}

/* What the encoder trusts: a table is equal to its lines when they are what it is read as, whatever has become of it. */
static void equal_is_what_reads_back(void) {
    unsigned equal = 0, other = 0;
    for (unsigned round = 0; round < 60; round++) {
        struct buf out = buf_make(BUF_NO_MAX);
        struct err err;
        start();
        for (unsigned i = 0; i < 300; i++)
            add_random_line(round * 31 + i % 2, round % 4 ? 200 : 0);
        (void)buf_reserve(&text, LINETAB_SLACK);
        if (linetab_encode(encoder, buf_str(&text), offsets, n_lines, &out) != 1)
            continue;
        unpack_streams(&out);
        size_t newlines = 0;
        for (size_t i = 0; i < text.size; i++)
            newlines += text.data[i] == '\n';
        char *lines = malloc(text.size), *exact = malloc(text.size + LINETAB_SLACK);
        memset(exact, 0, text.size + LINETAB_SLACK);
        memcpy(exact, text.data, text.size);
        for (unsigned i = 0; i < 300; i++) {
            char *at = out.data + below((uint32_t)out.size);
            char by = (char)(i == 0 ? 0u : below(2) ? 1u << below(8) : below(256));
            *at ^= by;
            bool opens = linetab_open(table, buf_str(&out), n_lines, &err) == 0;
            bool is_equal =
                opens && linetab_equals(table, str_make(exact, text.size), offsets, &err) == 1;
            bool same = opens && linetab_lines(table, lines, text.size, &err) == 0 &&
                        memcmp(lines, text.data, text.size) == 0;
            /* A newline within a line may pass for the end of one when all lines are read. */
            CHECK(is_equal == same || (same && newlines != n_lines));
            equal += is_equal;
            other += opens && !same;
            *at ^= by;
        }
        free(lines);
        free(exact);
        buf_done(&out);
    }
    CHECK(equal > 100);
    CHECK(other > 1000);
}

/* Lines of several makes that are taken for one are never stored as that. */
static void equal_hashes_are_noticed(void) {
    struct linetab_encoder *confused = linetab_encoder_new();
    struct buf out = buf_make(BUF_NO_MAX);
    linetab_encoder_confuse(confused);
    start();
    for (unsigned i = 0; i < 100; i++) {
        buf_addf(&text, i == 60 ? "level:error took %u ms" : "level=error took %u ms", i);
        end_line();
    }
    (void)buf_reserve(&text, LINETAB_SLACK);
    CHECK_INT(linetab_encode(confused, buf_str(&text), offsets, n_lines, &out), 0);
    CHECK_INT(linetab_encoder_mismatches(confused), 1);
    CHECK_INT(out.size, 0);
    /* The gaps alone are equal: words that are the same in all lines of a make need not be looked at. */
    start();
    for (unsigned i = 0; i < 100; i++) {
        buf_addf(&text, i == 99 ? "an other of %u" : "an error of %u", i);
        end_line();
    }
    (void)buf_reserve(&text, LINETAB_SLACK);
    CHECK_INT(linetab_encode(confused, buf_str(&text), offsets, n_lines, &out), 0);
    CHECK_INT(linetab_encoder_mismatches(confused), 2);
    buf_done(&out);
    linetab_encoder_free(confused);
}

int main(void) {
    encoder = linetab_encoder_new();
    narrow = linetab_encoder_new();
    linetab_encoder_narrow(narrow);
    tools[0] = linetab_tools_new();
    tools[1] = linetab_tools_new();
    table = linetab_new_with(tools[0]);
    grams = gram_builder_new();
    scalar_grams = gram_builder_new();
    gram_builder_narrow(scalar_grams, 1);
    text = buf_make(BUF_NO_MAX);
    RUN(numbers);
    RUN(times);
    RUN(addresses_and_ids);
    RUN(odd_bytes);
    RUN(many_lines_and_large_ones);
    RUN(random_lines);
    RUN(close_columns);
    RUN(numbers_again_and_again);
    RUN(searches_are_right);
    RUN(words_are_decided);
    RUN(fields_are_right);
    RUN(packs_ids);
    RUN(damage_is_survived);
    RUN(equal_is_what_reads_back);
    RUN(equal_hashes_are_noticed);
    linetab_encoder_free(encoder);
    linetab_encoder_free(narrow);
    linetab_free(table);
    linetab_tools_free(tools[0]);
    linetab_tools_free(tools[1]);
    gram_builder_free(grams);
    gram_builder_free(scalar_grams);
    buf_done(&text);
    return test_done();
}
