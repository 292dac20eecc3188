/* Rendering: shapes, key order, grouping, numbers; and the rules of api.c that need no server. */
#include "test.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "api.h"
#include "render.h"
#include "units.h"

static const struct label api_prod[] = {{STR_INIT("app"), STR_INIT("api")},
                                        {STR_INIT("env"), STR_INIT("prod")}};
static const struct label api_level[] = {{STR_INIT("app"), STR_INIT("api")},
                                         {STR_INIT("level"), STR_INIT("<x>\"")}};
static const struct label app_a[] = {{STR_INIT("app"), STR_INIT("a")}};
static const struct label level[] = {{STR_INIT("detected_level"), STR_INIT("info")}};
static const struct label parsed[] = {{STR_INIT("k"), STR_INIT("v")}};

/* In parts of one value at most: the same bytes. */
static void check_parts(const struct query_result *r, const struct render_options *o,
                        struct str want) {
    struct query_result *copy = malloc(sizeof(*copy));
    *copy = *r;
    copy->arena = arena_make(1 << 20);
    struct renderer *renderer = renderer_new(copy, o);
    struct buf out = buf_make(BUF_NO_MAX);
    while (renderer_next(renderer, &out))
        ;
    CHECK_STR(buf_str(&out), want);
    buf_done(&out);
    renderer_free(renderer);
}

/* The answer up to its stats, which vary. */
static void check_render(const struct query_result *r, struct str flags, const char *want) {
    struct buf out = buf_make(BUF_NO_MAX);
    const struct render_options o = {
        .encoding_flags = flags,
        .categorize = render_wants_categories(flags),
    };
    render_query_result(&out, r, &o);
    check_parts(r, &o, buf_str(&out));
    const char *stats = str_find(buf_str(&out), STR(",\"stats\":{\"summary\":{"));
    CHECK(stats != NULL);
    CHECK_STR(str_make(out.data, stats ? (size_t)(stats - out.data) : 0), str_from(want));
    CHECK(str_ends(buf_str(&out), STR("}}\n")));
    buf_done(&out);
}

static void test_streams(void) {
    const struct result_set sets[] = {
        {.merged = {api_prod, 2}, .stream = {api_prod, 2}},
        {.merged = {api_level, 2},
         .stream = {api_prod, 2},
         .metadata = {level, 1},
         .parsed = {parsed, 1}},
        {.merged = {app_a, 1}, .stream = {app_a, 1}, .parsed = {parsed, 1}},
        {.merged = {api_prod, 2}, .stream = {app_a, 1}},
    };
    const struct result_entry entries[] = {
        {.ts_ns = 4, .line = STR("a\tb"), .set = 0},
        {.ts_ns = 3, .line = STR("<&>"), .set = 1},
        {.ts_ns = 2, .line = STR(""), .set = 2},
        {.ts_ns = -1, .line = STR("same"), .set = 3},
    };
    struct query_result r = {
        .type = RESULT_STREAMS, .sets = sets, .n_sets = 4, .entries = entries, .n_entries = 4};
    check_render(&r, STR(""),
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":["
                 "{\"stream\":{\"app\":\"a\"},\"values\":[[\"2\",\"\"]]},"
                 "{\"stream\":{\"app\":\"api\",\"env\":\"prod\"},\"values\":[[\"4\",\"a\\tb\"],"
                 "[\"-1\",\"same\"]]},"
                 "{\"stream\":{\"app\":\"api\",\"level\":\"\\u003cx\\u003e\\\"\"},\"values\":["
                 "[\"3\",\"\\u003c\\u0026\\u003e\"]]}]");
    check_render(&r, STR("categorize-labels"),
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\","
                 "\"encodingFlags\":[\"categorize-labels\"],\"result\":["
                 "{\"stream\":{\"app\":\"a\"},\"values\":[[\"2\",\"\",{\"parsed\":{\"k\":\"v\"}}],"
                 "[\"-1\",\"same\",{}]]},"
                 "{\"stream\":{\"app\":\"api\",\"env\":\"prod\"},\"values\":[[\"4\",\"a\\tb\",{}],"
                 "[\"3\",\"\\u003c\\u0026\\u003e\",{\"structuredMetadata\":{\"detected_level\":"
                 "\"info\"},\"parsed\":{\"k\":\"v\"}}]]}]");
    r.n_entries = r.n_sets = 0;
    check_render(&r, STR("foo, categorize-labels"),
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"encodingFlags\":["
                 "\"foo\",\"categorize-labels\"],\"result\":[]");
    CHECK(render_wants_categories(STR("foo, categorize-labels")));
    CHECK(render_wants_categories(STR("foo,categorize-labels")));
    CHECK(!render_wants_categories(STR("categorize-labelsx")));
}

static void test_samples(void) {
    const struct result_point points[] = {
        {.ts_ns = 1767609000 * NS_PER_S, .value = 20},
        {.ts_ns = 1767609000 * NS_PER_S + 50 * NS_PER_MS + 7, .value = NAN},
        {.ts_ns = -1500 * NS_PER_MS, .value = -INFINITY},
    };
    const struct result_series series[] = {
        {.labels = {app_a, 1}, .points = points, .n_points = 3},
        {.labels = {NULL, 0}, .points = points, .n_points = 1},
    };
    struct query_result r = {.type = RESULT_MATRIX, .series = series, .n_series = 2};
    check_render(&r, STR("categorize-labels"),
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":["
                 "{\"metric\":{\"app\":\"a\"},\"values\":[[1767609000,\"20\"],"
                 "[1767609000.050,\"NaN\"],[-1.500,\"-Inf\"]]},"
                 "{\"metric\":{},\"values\":[[1767609000,\"20\"]]}]");
    r.type = RESULT_VECTOR;
    r.series = &series[1];
    r.n_series = 1;
    check_render(&r, STR(""),
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":["
                 "{\"metric\":{},\"value\":[1767609000,\"20\"]}]");
    r.type = RESULT_SCALAR;
    r.scalar = (struct result_point){.ts_ns = 4 * NS_PER_S, .value = 2.5};
    check_render(
        &r, STR(""),
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"2.5\"]");
}

static void test_legacy(void) {
    const struct result_set set = {.merged = {api_prod, 2}, .stream = {api_prod, 2}};
    const struct result_entry entry = {.ts_ns = NS_PER_S + 5, .line = STR("x"), .set = 0};
    const struct query_result r = {
        .type = RESULT_STREAMS, .sets = &set, .n_sets = 1, .entries = &entry, .n_entries = 1};
    struct buf out = buf_make(BUF_NO_MAX);
    render_legacy_streams(&out, &r);
    CHECK(str_starts(
        buf_str(&out),
        STR("{\"streams\":[{\"labels\":\"{app=\\\"api\\\", env=\\\"prod\\\"}\",\"entries\":"
            "[{\"ts\":\"1970-01-01T00:00:01.000000005Z\",\"line\":\"x\"}]}],\"stats\":{")));
    buf_done(&out);
}

static void test_tenants(void) {
    static const char long_name[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    static const struct {
        const char *header;
        int status;
        const char *want;
    } cases[] = {
        {NULL, 401, "no org id"},
        {"", 401, "no org id"},
        {"team-a", 0, "team-a"},
        {"a!-_.*'()9Z", 0, "a!-_.*'()9Z"},
        {"a|a", 0, "a"},
        {"a|b", 400, "multiple org IDs present"},
        {"a|", 400, "multiple org IDs present"},
        {"|", 401, "no org id"},
        {"a/b", 400, "tenant ID 'a/b' contains unsupported character '/'"},
        {"a b", 400, "tenant ID 'a b' contains unsupported character ' '"},
        {".", 400, "tenant ID is '.' or '..'"},
        {"..", 400, "tenant ID is '.' or '..'"},
        {long_name, 400, "tenant ID is too long: max 150 characters"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str tenant = {0};
        struct err err = {0};
        CHECK_INT(api_tenant_check(str_from(cases[i].header), &tenant, &err), cases[i].status);
        CHECK_STR(cases[i].status ? str_from(err.text) : tenant, str_from(cases[i].want));
    }
}

static void test_lengths(void) {
    struct limits limits = {.max_query_length_ns = 30 * NS_PER_DAY + NS_PER_HOUR};
    struct err err = {0};
    CHECK_INT(api_check_length(&limits, 0, limits.max_query_length_ns, &err), 0);
    CHECK_INT(api_check_length(&limits, 0, 961 * NS_PER_HOUR, &err), -EREFUSED);
    CHECK_STR(str_from(err.text), STR("the query time range exceeds the limit (query length: "
                                      "961h0m0s, limit: 30d1h)"));
    CHECK_INT(api_check_length(&limits, -1767607800, 1767607900 * NS_PER_S, &err), -EREFUSED);
    CHECK(strstr(err.text, "491002h11m41.768s"));
    CHECK_INT(api_check_length(&limits, INT64_MIN, INT64_MAX, &err), -EREFUSED);
    limits.max_query_length_ns = 0;
    CHECK_INT(api_check_length(&limits, INT64_MIN, INT64_MAX, &err), 0);
    limits.max_query_lookback_ns = 100;
    int64_t start = 0, end = 950;
    api_clamp_lookback(&limits, 1000, &start, &end);
    CHECK_INT(start, 900);
    CHECK_INT(end, 950);
}

/* Answers of several parts: each part ends soon, all of them are the whole. */
static void test_parts(void) {
    enum { ENTRIES = 20000, POINTS = 20000 };
    struct result_set sets[2] = {{.merged = {api_prod, 2}, .stream = {api_prod, 2}},
                                 {.merged = {app_a, 1}, .stream = {app_a, 1}}};
    struct result_entry *entries = calloc(ENTRIES, sizeof(*entries));
    struct result_point *points = calloc(POINTS, sizeof(*points));
    for (uint32_t i = 0; i < ENTRIES; i++)
        entries[i] = (struct result_entry){.ts_ns = i, .line = STR("a line"), .set = i & 1};
    for (int i = 0; i < POINTS; i++)
        points[i] = (struct result_point){.ts_ns = i * NS_PER_S, .value = i};
    struct result_series series[3] = {
        {{api_prod, 2}, points, POINTS}, {{app_a, 1}, points, 1}, {{api_level, 2}, points, POINTS}};
    struct query_result results[2] = {{.type = RESULT_STREAMS,
                                       .sets = sets,
                                       .n_sets = 2,
                                       .entries = entries,
                                       .n_entries = ENTRIES},
                                      {.type = RESULT_MATRIX, .series = series, .n_series = 3}};
    for (int i = 0; i < 2; i++) {
        const struct render_options o = {.categorize = true};
        struct buf whole = buf_make(BUF_NO_MAX), joined = buf_make(BUF_NO_MAX);
        render_query_result(&whole, &results[i], &o);
        struct query_result *copy = malloc(sizeof(*copy));
        *copy = results[i];
        copy->arena = arena_make(1 << 20);
        struct renderer *renderer = renderer_new(copy, &o);
        int parts = 0;
        for (bool more = true; more; parts++) {
            struct buf part = buf_make(BUF_NO_MAX);
            more = renderer_next(renderer, &part);
            CHECK(part.size < 80 << 10);
            buf_add_str(&joined, buf_str(&part));
            buf_done(&part);
        }
        CHECK(parts > 5);
        CHECK_STR(buf_str(&joined), buf_str(&whole));
        renderer_free(renderer);
        buf_done(&whole);
        buf_done(&joined);
    }
    free(entries);
    free(points);
}

int main(void) {
    RUN(test_streams);
    RUN(test_samples);
    RUN(test_parts);
    RUN(test_legacy);
    RUN(test_tenants);
    RUN(test_lengths);
    return test_done();
}
