/* Field detection over samples made by hand; types, identifiers and the counting of labels by
 * table. */
#include "detect.h"

#include <stdlib.h>

#include "census.h"
#include "distinct.h"
#include "hash.h"
#include "test.h"

static void types(void) {
    static const struct {
        const char *value;
        enum field_type want;
    } cases[] = {
        {"1", FIELD_INT},          {"-7", FIELD_INT},         {"+4", FIELD_INT},
        {"007", FIELD_INT},        {"1.5", FIELD_FLOAT},      {"1e5", FIELD_FLOAT},
        {"NaN", FIELD_FLOAT},      {"Inf", FIELD_FLOAT},      {"12345678901234567890", FIELD_FLOAT},
        {"true", FIELD_BOOLEAN},   {"F", FIELD_BOOLEAN},      {"tRUE", FIELD_STRING},
        {"1h30m", FIELD_DURATION}, {"-2s", FIELD_DURATION},   {"1d", FIELD_STRING},
        {"10MB", FIELD_BYTES},     {"1.5 KiB", FIELD_BYTES},  {"5b", FIELD_BYTES},
        {"", FIELD_STRING},        {"1.2.3.4", FIELD_STRING}, {"abc", FIELD_STRING},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_INT(field_type_of(str_from(cases[i].value)), cases[i].want);
}

/* ---- samples */

static const struct label stream[] = {{STR_INIT("app"), STR_INIT("api")}};
static const struct label meta[] = {{STR_INIT("detected_level"), STR_INIT("info")}};
static const struct label parsed[] = {{STR_INIT("__error__"), STR_INIT("x")},
                                      {STR_INIT("size"), STR_INIT("10 MB")}};

static struct query_result sample_of(const char *const *lines, size_t count,
                                     struct result_entry *entries, const struct result_set *set) {
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct result_entry){.ts_ns = -(int64_t)i, .line = str_from(lines[i])};
    return (struct query_result){
        .type = RESULT_STREAMS, .sets = set, .n_sets = 1, .entries = entries, .n_entries = count};
}

/* name type cardinality parsers path, one field a line. */
static void print_fields(struct buf *out, const struct detected *d) {
    for (size_t i = 0; i < d->n_fields; i++) {
        const struct detected_field *f = &d->fields[i];
        buf_addf(out, "%.*s %.*s %llu %s%s", STR_ARG(f->name), STR_ARG(field_type_name(f->type)),
                 (unsigned long long)f->cardinality, f->json ? "j" : "", f->logfmt ? "l" : "");
        for (size_t k = 0; k < f->path_count; k++)
            buf_addf(out, "/%.*s", STR_ARG(f->path[k]));
        buf_add_char(out, '\n');
    }
}

static void fields(void) {
    static const struct {
        const char *lines[5]; /* newest first */
        size_t metadata, parsed;
        uint32_t max;
        const char *want;
    } cases[] = {
        {{"{\"a\":{\"b c\":1},\"x\":[1],\"n\":null,\"app\":\"z\"}"},
         0,
         0,
         100,
         "a_b_c int 1 j/a/b c\napp_extracted string 1 j/app\n"},
        {{"n=1 d=2s", "n=x d=3s", "n=2.5"}, 0, 0, 100, "d duration 2 l\nn float 3 l\n"},
        {{"{\"level\":\"info\"}", "level=warn"}, 0, 0, 100, "level string 2 jl/level\n"},
        {{"just words", ""}, 1, 0, 100, "detected_level string 1 \n"},
        {{"a=1"}, 1, 2, 100, "a int 1 l\ndetected_level string 1 \nsize bytes 1 l\n"},
        {{"a=1 b=2 c=3", "d=4"}, 1, 0, 2, "a int 1 l\ndetected_level string 1 \n"},
        {{"{\"a\":1,", "{\"ok\":1}"}, 0, 0, 100, "ok int 1 j/ok\n"},
        {{"{\"\\u00e9\":1,\"\":2,\"o\":{\"\":{\"p\":3}}}"},
         0,
         0,
         100,
         "_ int 1 j/\xc3\xa9\no__p int 1 j/o//p\n"},
        {{NULL}, 0, 0, 100, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct result_set set = {
            .stream = {stream, 1},
            .metadata = {meta, cases[i].metadata},
            .parsed = {parsed, cases[i].parsed},
        };
        struct result_entry entries[5];
        size_t count = 0;
        while (count < 5 && cases[i].lines[count])
            count++;
        struct query_result sample = sample_of(cases[i].lines, count, entries, &set);
        struct detected *d = NULL;
        CHECK_INT(detect_fields(&sample, cases[i].max, &d, NULL), 0);
        struct buf text = buf_make(1 << 16);
        if (d)
            print_fields(&text, d);
        CHECK_STR(buf_str(&text), str_from(cases[i].want));
        buf_done(&text);
        detected_free(d);
    }
}

static void values(void) {
    static const char *const lines[] = {
        "size=2048KB a=1", "{\"size\":\"1.5 MiB\"}", "size=big", "size=big", "size=77", "words"};
    static const struct {
        const char *field;
        size_t parsed;
        uint32_t max;
        const char *want;
    } cases[] = {
        {"size", 0, 100, "1.6MB,2.0MB,77,big,"},
        {"size", 2, 100, "1.6MB,10MB,2.0MB,77,big,"},
        {"size", 0, 2, "1.6MB,2.0MB,"},
        {"a", 0, 100, "1,"},
        {"detected_level", 0, 100, "info,"},
        {"__error__", 2, 100, ""},
        {"app", 0, 100, ""},
        {"nosuch", 0, 100, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct result_set set = {
            .stream = {stream, 1}, .metadata = {meta, 1}, .parsed = {parsed, cases[i].parsed}};
        struct result_entry entries[6];
        struct query_result sample = sample_of(lines, 6, entries, &set);
        struct detected *d = NULL;
        CHECK_INT(detect_values(&sample, str_from(cases[i].field), cases[i].max, &d, NULL), 0);
        struct buf text = buf_make(1 << 16);
        for (size_t n = 0; d && n < d->n_values; n++)
            buf_addf(&text, "%.*s,", STR_ARG(d->values[n]));
        CHECK_STR(buf_str(&text), str_from(cases[i].want));
        buf_done(&text);
        detected_free(d);
    }
}

/* A document that nests deeper than paths go, and one cut off in the middle: no path, no harm. */
static void deep(void) {
    struct buf line = buf_make(1 << 20);
    for (int i = 0; i < 300; i++)
        buf_add_str(&line, STR("{\"k\":"));
    buf_add_str(&line, STR("1"));
    for (int i = 0; i < 300; i++)
        buf_add_char(&line, '}');
    const struct result_set set = {.stream = {stream, 1}};
    struct result_entry entries[2] = {{.line = buf_str(&line)},
                                      {.line = str_make(line.data, line.size / 2)}};
    struct query_result sample = {
        .type = RESULT_STREAMS, .sets = &set, .n_sets = 1, .entries = entries, .n_entries = 2};
    struct detected *d = NULL;
    CHECK_INT(detect_fields(&sample, 10, &d, NULL), 0);
    detected_free(d);
    buf_done(&line);
}

/* ---- labels */

static void identifiers(void) {
    static const struct {
        const char *value;
        bool want;
    } cases[] = {
        {"1", true},
        {"1.5e3", true},
        {"NaN", true},
        {"x", false},
        {"", false},
        {"123e4567-e89b-12d3-a456-426614174000", true},
        {"123E4567-E89B-12D3-A456-426614174000", true},
        {"{123e4567-e89b-12d3-a456-426614174000}", true},
        {"urn:uuid:123e4567-e89b-12d3-a456-426614174000", true},
        {"123e4567e89b12d3a456426614174000", true},
        {"123e4567-e89b-12d3-a456-42661417400", false},
        {"123e4567-e89b-12d3-a456_426614174000", false},
        {"123e4567-e89b-12d3-a456-42661417400g", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_INT(census_is_id(str_from(cases[i].value)), cases[i].want);
}

static void census_of_streams(void) {
    static const char *const streams[][5][2] = {
        {{"app", "a"}, {"bit", "0"}, {"one", "1"}, {"pid", "77"}, {"pod", "1"}},
        {{"app", "b"}, {"bit", "1"}, {"one", "1"}, {"pid", "78"}, {"pod", "2"}},
        {{"app", "a"}, {"bit", "1"}, {"mix", "1"}, {"pid", "79"}, {"two", "2"}},
        {{"app", "a"}, {"mix", "x"}},
    };
    struct census *c = census_new();
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        struct label items[5];
        size_t count = 0;
        for (; count < 5 && streams[i][count][0]; count++)
            items[count] =
                (struct label){str_from(streams[i][count][0]), str_from(streams[i][count][1])};
        CHECK_INT(census_add(c, (struct labels){.items = items, .count = count}), 0);
    }
    const struct census_label *labels;
    size_t count;
    struct buf text = buf_make(4096);
    CHECK_INT(census_list(c, &labels, &count), 0);
    for (size_t i = 0; i < count; i++)
        buf_addf(&text, "%.*s=%llu ", STR_ARG(labels[i].name),
                 (unsigned long long)labels[i].cardinality);
    CHECK_STR(buf_str(&text), STR("app=2 bit=2 mix=2 one=1 pod=2 "));
    buf_done(&text);
    census_free(c);

    c = census_new();
    CHECK_INT(census_list(c, &labels, &count), 0);
    CHECK_INT(count, 0);
    census_free(c);
}

/* More names than are kept: the rest is left out. */
static void census_full(void) {
    struct census *c = census_new();
    for (int i = 0; i < CENSUS_NAMES_MAX + 10; i++) {
        char name[20];
        (void)snprintf(name, sizeof(name), "n%d", i);
        struct label label = {str_from(name), STR("v")};
        if (census_add(c, (struct labels){.items = &label, .count = 1}) < 0)
            CHECK(false);
    }
    const struct census_label *labels;
    size_t count;
    CHECK_INT(census_list(c, &labels, &count), 0);
    CHECK_INT(count, CENSUS_NAMES_MAX);
    census_free(c);
}

static void distinct_hashes(void) {
    struct distinct d = distinct_make();
    CHECK_INT(distinct_add(&d, 0), 1);
    CHECK_INT(distinct_add(&d, 0), 0);
    size_t added = 1;
    for (uint64_t i = 1; i <= DISTINCT_MAX + 5; i++)
        added += (size_t)distinct_add(&d, hash64(&i, sizeof(i)));
    CHECK_INT(added, DISTINCT_MAX);
    CHECK_INT(d.count, DISTINCT_MAX);
    uint64_t first = 1;
    CHECK_INT(distinct_add(&d, hash64(&first, sizeof(first))), 0);
    distinct_done(&d);
}

int main(void) {
    RUN(types);
    RUN(fields);
    RUN(values);
    RUN(deep);
    RUN(identifiers);
    RUN(census_of_streams);
    RUN(census_full);
    RUN(distinct_hashes);
    return test_done();
}
