/* The limits that a request brings along in a header. */
#include "test.h"

#include "request_limits.h"
#include "units.h"

static int parse(const char *text, struct arena *arena, struct limits *ret, struct err *err) {
    *err = (struct err){0};
    return request_limits_parse(str_from(text), arena, ret, err);
}

static void test_all(void) {
    struct arena arena = arena_make(1 << 16);
    struct limits l;
    struct err err;
    CHECK_INT(
        parse(" {\"maxQueryLength\":\"1h30m\",\"maxQueryInterval\":\"10m\",\"maxQueryLookback\":"
              "\"2d\","
              "\"maxQueryTime\":\"30s\",\"maxEntriesLimitPerQuery\":7,\"minimumLabelsNumber\":2,"
              "\"maxQueryBytesRead\":\"2KB\",\"requiredLabels\":[\"app\",\"env\"],"
              "\"maxInterval\":{\"later\":[1,2]}}",
              &arena, &l, &err),
        0);
    CHECK_INT(l.max_query_length_ns, 90 * NS_PER_MIN);
    CHECK_INT(l.max_query_range_ns, 10 * NS_PER_MIN);
    CHECK_INT(l.max_query_lookback_ns, 2 * NS_PER_DAY);
    CHECK_INT(l.query_timeout_ns, 30 * NS_PER_S);
    CHECK_INT(l.max_entries_limit_per_query, 7);
    CHECK_INT(l.minimum_labels_number, 2);
    CHECK_INT(l.max_query_bytes_read, 2048);
    CHECK_INT(l.n_required_labels, 2);
    CHECK_STR(l.required_labels[1], STR("env"));
    CHECK(l.volume_enabled);
    CHECK_INT(parse("{\"requiredLabels\":null,\"maxQueryTime\":null}", &arena, &l, &err), 0);
    CHECK_INT(l.n_required_labels, 0);
    CHECK_INT(l.query_timeout_ns, 0);
    arena_done(&arena);
}

static void test_refused(void) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "a JSON object"},
        {"[]", "a JSON object"},
        {"{", "a JSON object"},
        {"{\"a\":[[}", "a JSON object"},
        {"{\"maxQueryTime\":\"1s\"", "a JSON object"},
        {"{\"maxQueryTime\":5}", "maxQueryTime must be a duration"},
        {"{\"maxQueryTime\":\"-5s\"}", "maxQueryTime must be a duration"},
        {"{\"maxQueryTime\":\"\\u0035s\"}", "maxQueryTime must be a duration"},
        {"{\"minimumLabelsNumber\":\"5\"}", "minimumLabelsNumber must be a whole number"},
        {"{\"minimumLabelsNumber\":-1}", "minimumLabelsNumber must be a whole number"},
        {"{\"minimumLabelsNumber\":1.5}", "minimumLabelsNumber must be a whole number"},
        {"{\"minimumLabelsNumber\":4294967296}", "minimumLabelsNumber must be a whole number"},
        {"{\"maxQueryBytesRead\":5}", "maxQueryBytesRead must be a size"},
        {"{\"requiredLabels\":\"app\"}", "requiredLabels must be a list"},
        {"{\"requiredLabels\":[1]}", "requiredLabels must be a list"},
        {"{\"requiredLabels\":[\"a\"", "requiredLabels must be a list"},
    };
    struct arena arena = arena_make(1 << 16);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct limits l;
        struct err err;
        CHECK(parse(cases[i].text, &arena, &l, &err) < 0);
        if (!strstr(err.text, cases[i].want))
            printf("  %s\n  gave: %s\n", cases[i].text, err.text);
        CHECK(strstr(err.text, cases[i].want));
    }
    struct buf many = buf_make(1 << 12);
    buf_add_str(&many, STR("{\"requiredLabels\":["));
    for (int i = 0; i < 101; i++)
        buf_addf(&many, "%s\"a\"", i > 0 ? "," : "");
    buf_add_str(&many, STR("]}"));
    struct limits l;
    struct err err = {0};
    CHECK(request_limits_parse(buf_str(&many), &arena, &l, &err) < 0);
    CHECK(strstr(err.text, "at most 100 labels"));
    buf_done(&many);
    arena_done(&arena);
}

int main(void) {
    RUN(test_all);
    RUN(test_refused);
    return test_done();
}
