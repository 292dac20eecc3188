/* Query parameters: values and Loki's error texts. */
#include "test.h"

#include "params.h"
#include "units.h"

static void test_times(void) {
    static const struct {
        const char *text;
        int64_t want;
        const char *error;
    } cases[] = {
        {"1767607200", 1767607200 * NS_PER_S, NULL},
        {"1767607200000000000", INT64_C(1767607200000000000), NULL},
        {"0", 0, NULL},
        {"-5", -5 * NS_PER_S, NULL},
        {"-1767607800", -1767607800, NULL}, /* eleven characters: nanoseconds, as Loki counts */
        {"4000000000", 4000000000 * NS_PER_S, NULL},
        {"1767607200123", 1767607200123, NULL}, /* milliseconds are not understood */
        {"1767607200.25", 1767607200250 * NS_PER_MS, NULL},
        {"1767607200.9996", 1767607201 * NS_PER_S, NULL},
        {"1.7676072e9", 1767607200 * NS_PER_S, NULL},
        {"2026-01-05T10:00:00Z", 1767607200 * NS_PER_S, NULL},
        {"2026-01-05T19:00:00.000000001+09:00", 1767607200 * NS_PER_S + 1, NULL},
        {"9223372036", 9223372036 * NS_PER_S, NULL},
        {"9999999999", INT64_MAX, NULL}, /* the year 2286 */
        {"yesterday", 0, "strconv.ParseInt: parsing \"yesterday\": invalid syntax"},
        {"1e9", 0, "strconv.ParseInt: parsing \"1e9\": invalid syntax"},
        {"2026-01-05", 0, "strconv.ParseInt: parsing \"2026-01-05\": invalid syntax"},
        {"a\"b", 0, "strconv.ParseInt: parsing \"a\\\"b\": invalid syntax"},
        {"99999999999999999999", 0,
         "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t got = 0;
        struct err err = {0};
        int r = params_parse_time(str_from(cases[i].text), &got, &err);
        CHECK_INT(r, cases[i].error ? -ESYNTAX : 0);
        CHECK_INT(got, cases[i].want);
        if (cases[i].error)
            CHECK_STR(str_from(err.text), str_from(cases[i].error));
    }
}

static void test_steps(void) {
    static const struct {
        const char *text;
        int64_t want;
        const char *error;
    } cases[] = {
        {"60", 60 * NS_PER_S, NULL},
        {"0.5", 500 * NS_PER_MS, NULL},
        {"1e2", 100 * NS_PER_S, NULL},
        {"0", 0, NULL},
        {"-1", -NS_PER_S, NULL},
        {"2m30s", 150 * NS_PER_S, NULL},
        {"300000ms", 300 * NS_PER_S, NULL},
        {"1d", NS_PER_DAY, NULL},
        {"1.5s", 0, "cannot parse \"1.5s\" to a valid duration"},
        {"abc", 0, "cannot parse \"abc\" to a valid duration"},
        {"1e30", 0, "cannot parse \"1e30\" to a valid duration. It overflows int64"},
        {"NaN", 0, "cannot parse \"NaN\" to a valid duration. It overflows int64"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t got = 0;
        struct err err = {0};
        int r = params_parse_step(str_from(cases[i].text), &got, &err);
        CHECK_INT(r, cases[i].error ? -ESYNTAX : 0);
        CHECK_INT(got, cases[i].want);
        if (cases[i].error)
            CHECK_STR(str_from(err.text), str_from(cases[i].error));
    }
    CHECK_INT(params_default_step(0, 10 * NS_PER_S), NS_PER_S);
    CHECK_INT(params_default_step(0, 3600 * NS_PER_S), 14 * NS_PER_S);
    CHECK_INT(params_default_step(5, 5), NS_PER_S);
    CHECK(params_default_step(INT64_MIN, INT64_MAX) > 0);
}

static void test_limits_and_directions(void) {
    static const struct {
        const char *text;
        uint32_t want;
        const char *error;
    } cases[] = {
        {"1", 1, NULL},
        {"4294967295", 4294967295, NULL},
        {"0", 0, "limit must be a positive value"},
        {"-5", 0, "limit must be a positive value"},
        {"abc", 0, "strconv.Atoi: parsing \"abc\": invalid syntax"},
        {"1.5", 0, "strconv.Atoi: parsing \"1.5\": invalid syntax"},
        {"99999999999", 0, "limit value 99999999999 is out of range [0, 4294967295]"},
        {"99999999999999999999", 0,
         "strconv.Atoi: parsing \"99999999999999999999\": value out of range"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t got = 0;
        struct err err = {0};
        int r = params_parse_limit(str_from(cases[i].text), &got, &err);
        CHECK_INT(r, cases[i].error ? -ESYNTAX : 0);
        CHECK_INT(got, cases[i].want);
        if (cases[i].error)
            CHECK_STR(str_from(err.text), str_from(cases[i].error));
    }
    enum query_direction d = DIR_BACKWARD;
    struct err err = {0};
    CHECK_INT(params_parse_direction(STR("FORWARD"), &d, &err), 0);
    CHECK_INT(d, DIR_FORWARD);
    CHECK_INT(params_parse_direction(STR("Backward"), &d, &err), 0);
    CHECK_INT(d, DIR_BACKWARD);
    CHECK_INT(params_parse_direction(STR("sideways"), &d, &err), -ESYNTAX);
    CHECK_STR(str_from(err.text), STR("invalid direction 'sideways'"));
}

int main(void) {
    RUN(test_times);
    RUN(test_steps);
    RUN(test_limits_and_directions);
    return test_done();
}
