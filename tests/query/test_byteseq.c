/* Rows of byte sets, and rows of runs, against RE2: a pattern in a group is no row to them, so that RE2 has to match it. */
#include "byteseq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "regex.h"
#include "runseq.h"
#include "test.h"
#include "test_random.h"

static bool re2_matches(const char *pattern, struct str text) {
    char grouped[600];
    struct regex *re = NULL;
    struct err err;
    (void)snprintf(grouped, sizeof(grouped), "(?:%s)", pattern);
    if (regex_compile(str_from(grouped), false, &re, &err) < 0) {
        printf("  %s: %s\n", grouped, err.text);
        CHECK(false);
        return false;
    }
    bool found = regex_matches(re, text);
    regex_free(re);
    return found;
}

/* Texts of few letters, so that rows are often nearly there; some are no UTF-8. */
static size_t random_text(char *out, size_t max) {
    static const char letters[] = "ab01-.\" \n\xff";
    size_t n = random_below(max);
    for (size_t i = 0; i < n; i++)
        out[i] = letters[random_below(sizeof(letters) - 1)];
    return n;
}

static void random_pattern(char *out, size_t room) {
    static const char *const atoms[] = {"a",    "b",   "0",      "1",    "-",     "\\.",
                                        "\"",   " ",   "\\d",    "[ab]", "[0-9]", "[a-]",
                                        "[]a]", "\\w", "[\\d.]", "\\s"};
    static const char *const repetitions[] = {"+",    "*",     "?",      "+?", "*?",
                                              "{2,}", "{0,2}", "{1,3}?", "{0}"};
    out[0] = '\0';
    for (uint64_t n = 1 + random_below(6); n > 0; n--) {
        size_t at = strlen(out);
        const char *atom = atoms[random_below(sizeof(atoms) / sizeof(atoms[0]))];
        if (random_below(5) == 0)
            (void)snprintf(out + at, room - at, "%s{%d}", atom, (int)(1 + random_below(3)));
        else if (random_below(6) == 0)
            (void)snprintf(out + at, room - at, "%s%s", atom, repetitions[random_below(9)]);
        else
            (void)snprintf(out + at, room - at, "%s", atom);
    }
}

static void test_against_re2(void) {
    unsigned matched = 0, rows = 0;
    for (int round = 0; round < 5000; round++) {
        char pattern[200], text[64];
        random_pattern(pattern, sizeof(pattern));
        struct byteseq *s = byteseq_new(str_from(pattern));
        rows += s != NULL;
        for (int i = 0; s && i < 10; i++) {
            struct str t = str_make(text, random_text(text, sizeof(text)));
            bool got = byteseq_matches(s, t);
            if (got != re2_matches(pattern, t)) {
                printf("  %s on \"%.*s\": %d\n", pattern, STR_ARG(t), got);
                CHECK(false);
            }
            matched += got;
        }
        byteseq_free(s);
    }
    CHECK(rows > 2000);
    CHECK(matched > 1000);
}

static void test_what_is_a_row(void) {
    static const struct {
        const char *pattern;
        bool is_row;
    } cases[] = {
        {"timeout after [0-9]{5}ms", true},
        {"status=5\\d\\d", true},
        {"[a-f0-9]{64}", true},
        {"\\[error\\]", true},
        {"ab", true},
        {"a", false},
        {"", false},
        {"a.b", false},
        {"a*b", false},
        {"a+b", true},
        {"ab+c", false},
        {"ab*c", false},
        {"ab?c", false},
        {"ab{1,2}c", false},
        {"took \\d+", true},
        {"\\d+ms", true},
        {"[a-f]*xyz+?", true},
        {"ab*", false},
        {"abc?", true},
        {"\\d{4,}ms", true},
        {"\\d{2,4}ms", true},
        {"\\d{4,2}ms", false},
        {"ms{,3}", false},
        {"ms+*", false},
        {"ms{2}+", false},
        {"(ab)", false},
        {"a|b", false},
        {"^ab", false},
        {"ab$", false},
        {"[^a]b", false},
        {"a{2,3}", true},
        {"a{2}{3}", false},
        {"a{0}b", false},
        {"[a-f0-9]{65}", false},
        {"\\bab", false},
        {"\\pLb", false},
        {"\xc3\xa9"
         "b",
         false},
        {"[[:alpha:]]b", false},
        {"ab{", false},
        {"\\Qa.b\\E", false},
        {"[a", false},
        {"ab\\", false},
        {"a{99999999999}", false},
        {"(?i)ab", false},
        {"\\x41b", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byteseq *s = byteseq_new(str_from(cases[i].pattern));
        if ((s != NULL) != cases[i].is_row)
            printf("  %s\n", cases[i].pattern);
        CHECK((s != NULL) == cases[i].is_row);
        byteseq_free(s);
    }
}

/* Runs of few bytes that differ from their neighbours. */
static void random_runs(char *out, size_t room) {
    static const char *const atoms[] = {"a",    "b",     "ab",  "-",   "\\.",
                                        "[ab]", "[0-9]", "\\d", "\\s", " "};
    static const char *const repetitions[] = {"+",     "*",     "?",   "{2,}", "{1,2}",
                                              "{0,2}", "{2,3}", "{2}", "+?"};
    out[0] = '\0';
    for (uint64_t n = 3 + random_below(4); n > 0; n--) {
        size_t at = strlen(out);
        (void)snprintf(out + at, room - at, "%s%s", atoms[random_below(10)],
                       random_below(2) == 0 ? repetitions[random_below(9)] : "");
    }
}

static void check_parts(const struct runseq *s, const char *pattern, struct str text) {
    const struct byteseq *const *parts;
    size_t n = runseq_parts(s, &parts);
    for (size_t i = 0; i < n; i++) {
        bool has = byteseq_matches(parts[i], text);
        if (!has)
            printf("  part %zu of %s on \"%.*s\"\n", i, pattern, STR_ARG(text));
        CHECK(has);
    }
}

static void test_runs_against_re2(void) {
    unsigned matched = 0, known = 0, parts = 0;
    for (int round = 0; round < 20000; round++) {
        const struct byteseq *const *ignored;
        char pattern[200], text[64];
        random_runs(pattern, sizeof(pattern));
        struct runseq *s = runseq_new(str_from(pattern));
        known += s != NULL;
        parts += s ? (unsigned)runseq_parts(s, &ignored) : 0;
        for (int i = 0; s && i < 10; i++) {
            struct str t = str_make(text, random_text(text, sizeof(text)));
            bool got = runseq_matches(s, t);
            if (got != re2_matches(pattern, t)) {
                printf("  %s on \"%.*s\": %d\n", pattern, STR_ARG(t), got);
                CHECK(false);
            }
            if (got)
                check_parts(s, pattern, t);
            matched += got;
        }
        runseq_free(s);
    }
    CHECK(known > 3000);
    CHECK(parts > known);
    CHECK(matched > 1000);
}

static void test_what_is_a_row_of_runs(void) {
    static const struct {
        const char *pattern;
        size_t parts; /* 0: it is none */
    } cases[] = {
        {"took [0-9]+ms", 2},
        {"\\d+\\.\\d+\\.\\d+\\.\\d+", 1},
        {"\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}", 1},
        {"user=\\w* id=\\d{2,5} ", 3},
        {"error: *\"\\w+\" in", 3},
        {"a +b", 2},
        {"ab?c", 0},           /* both parts are one byte: nothing to ask for, and still a row */
        {"status=5\\d\\d", 0}, /* a byteseq */
        {"took \\d+", 0},      /* the same */
        {"a[ab]+b", 0},        /* where does the run end? */
        {"\\w+[0-9]+x", 0},
        {"a*b?c+d", 0},           /* ends are cut off, one run is left */
        {"a-?[0-9]*-x", 0},       /* empty ones side by side */
        {"\\d+[ab]+\\d+[ab]", 0}, /* no literal */
        {"(took) [0-9]+ms", 0},
        {"took [0-9]+ms|x", 0},
        {"took .+ms", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct byteseq *const *parts;
        struct runseq *s = runseq_new(str_from(cases[i].pattern));
        size_t n = s ? runseq_parts(s, &parts) : 0;
        if (n != cases[i].parts)
            printf("  %s: %zu\n", cases[i].pattern, n);
        CHECK_INT((long long)n, (long long)cases[i].parts);
        runseq_free(s);
    }
}

static void test_runs_at_edges(void) {
    struct runseq *s = runseq_new(STR("\\d+\\.\\d{1,3}\\.\\d+"));
    CHECK(s != NULL);
    CHECK(runseq_matches(s, STR("1.2.3")));
    CHECK(runseq_matches(s, STR("x 10.200.3x")));
    CHECK(runseq_matches(s, STR("1.2345.1.2.3")));
    CHECK(!runseq_matches(s, STR("1.2345.3")));
    CHECK(!runseq_matches(s, STR("1..2.")));
    CHECK(!runseq_matches(s, STR(".1.2")));
    CHECK(!runseq_matches(s, STR("1.2.")));
    CHECK(!runseq_matches(s, STR(".")));
    CHECK(!runseq_matches(s, STR("")));
    runseq_free(s);
}

static void test_edges_of_text(void) {
    struct byteseq *s = byteseq_new(STR("[0-9]ab[0-9]"));
    CHECK(byteseq_matches(s, STR("1ab2")));
    CHECK(byteseq_matches(s, STR("xx ab 1ab2")));
    CHECK(byteseq_matches(s, STR("1ab2xx")));
    CHECK(!byteseq_matches(s, STR("ab2")));
    CHECK(!byteseq_matches(s, STR("1ab")));
    CHECK(!byteseq_matches(s, STR("abab")));
    CHECK(!byteseq_matches(s, STR("")));
    byteseq_free(s);
}

int main(void) {
    RUN(test_what_is_a_row);
    RUN(test_edges_of_text);
    RUN(test_against_re2);
    RUN(test_what_is_a_row_of_runs);
    RUN(test_runs_at_edges);
    RUN(test_runs_against_re2);
    return test_done();
}
