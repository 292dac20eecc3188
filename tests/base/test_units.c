#include <errno.h>

#include "err.h"
#include "test.h"
#include "units.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

struct parse_case {
    struct str text;
    bool valid;
    int64_t want;
};

static void check_parser(int (*parse)(struct str, int64_t *), const struct parse_case *cases,
                         size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t got = -12345;
        int r = parse(cases[i].text, &got);
        if ((r == 0) != cases[i].valid || got != (cases[i].valid ? cases[i].want : -12345))
            printf("  \"%.*s\"\n", STR_ARG(cases[i].text));
        CHECK(cases[i].valid ? r == 0 : r < 0);
        CHECK_INT(got, cases[i].valid ? cases[i].want : -12345);
    }
}

static void test_duration_go(void) {
    static const struct parse_case cases[] = {
        {STR_INIT("0"), true, 0},
        {STR_INIT("-0"), true, 0},
        {STR_INIT("5s"), true, 5 * NS_PER_S},
        {STR_INIT("+5s"), true, 5 * NS_PER_S},
        {STR_INIT("-5.s"), true, -5 * NS_PER_S},
        {STR_INIT(".5s"), true, NS_PER_S / 2},
        {STR_INIT("1h30m"), true, 90 * NS_PER_MIN},
        {STR_INIT("1.5h"), true, 90 * NS_PER_MIN},
        {STR_INIT("3m1h"), true, 63 * NS_PER_MIN},
        {STR_INIT("10ns"), true, 10},
        {STR_INIT("11us"), true, 11000},
        {STR_INIT("12\xC2\xB5s"), true, 12000},
        {STR_INIT("12\xCE\xBCs10ns"), true, 12010},
        {STR_INIT("0.100000000000000000000h"), true, 6 * NS_PER_MIN},
        {STR_INIT("0.9223372036854775807h"), true, INT64_C(3320413933267)},
        {STR_INIT("9223372036854775807ns"), true, INT64_MAX},
        {STR_INIT("-9223372036854775808ns"), true, INT64_MIN},
        {STR_INIT("9223372036854775808ns"), false, 0},
        {STR_INIT("2562048h"), false, 0},
        {STR_INIT("18446744073709551616ns"), false, 0},
        {STR_INIT(""), false, 0},
        {STR_INIT("-"), false, 0},
        {STR_INIT("3"), false, 0},
        {STR_INIT("s"), false, 0},
        {STR_INIT("."), false, 0},
        {STR_INIT(".s"), false, 0},
        {STR_INIT("1d"), false, 0},
        {STR_INIT("1h "), false, 0},
        {STR_INIT("1 h"), false, 0},
        {STR_INIT("1H"), false, 0},
        {STR_INIT("--1h"), false, 0},
        {STR_INIT("1h-1m"), false, 0},
        {STR_INIT("1.5.5s"), false, 0},
        {STR_INIT("1e3s"), false, 0},
    };
    check_parser(duration_parse_go, cases, COUNT(cases));
}

static void test_duration_prometheus(void) {
    static const struct parse_case cases[] = {
        {STR_INIT("0"), true, 0},
        {STR_INIT("0s"), true, 0},
        {STR_INIT("1w2d3h4m5s6ms"), true,
         9 * NS_PER_DAY + 3 * NS_PER_HOUR + 4 * NS_PER_MIN + 5 * NS_PER_S + 6 * NS_PER_MS},
        {STR_INIT("1y"), true, 365 * NS_PER_DAY},
        {STR_INIT("5m"), true, 5 * NS_PER_MIN},
        {STR_INIT("500ms"), true, NS_PER_S / 2},
        {STR_INIT("90m"), true, 90 * NS_PER_MIN},
        {STR_INIT("292y"), true, 292 * 365 * NS_PER_DAY},
        {STR_INIT("294y"), false, 0},
        {STR_INIT(""), false, 0},
        {STR_INIT("1"), false, 0},
        {STR_INIT("-1m"), false, 0},
        {STR_INIT("+1m"), false, 0},
        {STR_INIT("0.5m"), false, 0},
        {STR_INIT("1m1h"), false, 0},
        {STR_INIT("1m1m"), false, 0},
        {STR_INIT("1us"), false, 0},
        {STR_INIT("1D"), false, 0},
        {STR_INIT("1d "), false, 0},
        {STR_INIT("d"), false, 0},
    };
    check_parser(duration_parse_prometheus, cases, COUNT(cases));
    static const struct parse_case settings[] = {
        {STR_INIT("744h"), true, 744 * NS_PER_HOUR},
        {STR_INIT("31d"), true, 31 * NS_PER_DAY},
        {STR_INIT("1.5s"), true, 3 * NS_PER_S / 2},
        {STR_INIT("-1s"), true, -NS_PER_S},
        {STR_INIT("1.5d"), false, 0},
        {STR_INIT("day"), false, 0},
    };
    check_parser(duration_parse_setting, settings, COUNT(settings));
}

struct format_case {
    int64_t value;
    struct str go, prometheus;
};

static void test_duration_format(void) {
    static const struct format_case cases[] = {
        {0, STR_INIT("0s"), STR_INIT("0s")},
        {1, STR_INIT("1ns"), STR_INIT("0s")},
        {1100, STR_INIT("1.1\xC2\xB5s"), STR_INIT("0s")},
        {2200000, STR_INIT("2.2ms"), STR_INIT("2ms")},
        {250 * NS_PER_MS, STR_INIT("250ms"), STR_INIT("250ms")},
        {3300 * INT64_C(1000000), STR_INIT("3.3s"), STR_INIT("3s300ms")},
        {NS_PER_MIN, STR_INIT("1m0s"), STR_INIT("1m")},
        {90 * NS_PER_MIN, STR_INIT("1h30m0s"), STR_INIT("1h30m")},
        {NS_PER_HOUR + 1, STR_INIT("1h0m0.000000001s"), STR_INIT("1h")},
        {NS_PER_DAY, STR_INIT("24h0m0s"), STR_INIT("1d")},
        {7 * NS_PER_DAY, STR_INIT("168h0m0s"), STR_INIT("1w")},
        {30 * NS_PER_DAY + NS_PER_HOUR, STR_INIT("721h0m0s"), STR_INIT("30d1h")},
        {365 * NS_PER_DAY, STR_INIT("8760h0m0s"), STR_INIT("1y")},
        {-90 * NS_PER_S, STR_INIT("-1m30s"), STR_INIT("-1m30s")},
        {INT64_MAX, STR_INIT("2562047h47m16.854775807s"), STR_INIT("106751d23h47m16s854ms")},
        {INT64_MIN, STR_INIT("-2562047h47m16.854775808s"), STR_INIT("-106751d23h47m16s854ms")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        duration_format_go(&b, cases[i].value);
        CHECK_STR(buf_str(&b), cases[i].go);
        int64_t back;
        CHECK_INT(duration_parse_go(buf_str(&b), &back), 0);
        buf_clear(&b);
        duration_format_prometheus(&b, cases[i].value);
        CHECK_STR(buf_str(&b), cases[i].prometheus);
        buf_done(&b);
    }
}

struct size_case {
    struct str text;
    bool valid;
    uint64_t want;
};

static void check_sizes(int (*parse)(struct str, uint64_t *), const struct size_case *cases,
                        size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t got = 12345;
        int r = parse(cases[i].text, &got);
        if ((r == 0) != cases[i].valid || got != (cases[i].valid ? cases[i].want : 12345))
            printf("  \"%.*s\"\n", STR_ARG(cases[i].text));
        CHECK(cases[i].valid ? r == 0 : r < 0);
        CHECK_INT(got, cases[i].valid ? cases[i].want : 12345);
    }
}

static void test_bytes_parse(void) {
    static const struct size_case cases[] = {
        {STR_INIT("42"), true, 42},
        {STR_INIT("42B"), true, 42},
        {STR_INIT("42 b"), true, 42},
        {STR_INIT("10kB"), true, 10000},
        {STR_INIT("10KiB"), true, 10240},
        {STR_INIT("1.5 MiB"), true, 1572864},
        {STR_INIT("1.5\tmb"), true, 1500000},
        {STR_INIT("42.5MB"), true, 42500000},
        {STR_INIT("1,005.03 MB"), true, 1005030000},
        {STR_INIT("1k"), true, 1000},
        {STR_INIT("1Ki"), true, 1024},
        {STR_INIT("1 G "), true, 1000000000},
        {STR_INIT("2EB"), true, 2000000000000000000u},
        {STR_INIT("15EiB"), true, UINT64_C(15) << 60},
        {STR_INIT(".5k"), true, 500},
        {STR_INIT("5."), true, 5},
        {STR_INIT("16EiB"), false, 0},
        {STR_INIT("19EB"), false, 0},
        {STR_INIT(""), false, 0},
        {STR_INIT("B"), false, 0},
        {STR_INIT("-1B"), false, 0},
        {STR_INIT("1.2.3B"), false, 0},
        {STR_INIT("1XB"), false, 0},
        {STR_INIT("1 kBs"), false, 0},
        {STR_INIT("1e3"), false, 0},
        {STR_INIT("1bk"), false, 0},
    };
    check_sizes(bytes_parse, cases, COUNT(cases));
    static const struct size_case settings[] = {
        {STR_INIT("0"), true, 0},
        {STR_INIT("256KB"), true, 262144},
        {STR_INIT("4MB"), true, 4 << 20},
        {STR_INIT("4mb"), true, 4 << 20},
        {STR_INIT("4 MB"), true, 4 << 20},
        {STR_INIT("1GiB"), true, 1 << 30},
        {STR_INIT("2g"), true, UINT64_C(2) << 30},
        {STR_INIT("1024"), true, 1024},
        {STR_INIT("10b"), true, 10},
        {STR_INIT("1.5MB"), false, 0},
        {STR_INIT("-1"), false, 0},
        {STR_INIT("16EB"), false, 0},
        {STR_INIT("99999999999999999999"), false, 0},
        {STR_INIT("MB"), false, 0},
        {STR_INIT("4 megs"), false, 0},
    };
    check_sizes(bytes_parse_setting, settings, COUNT(settings));
}

static void test_bytes_format(void) {
    static const struct {
        uint64_t bytes;
        struct str want;
    } cases[] = {
        {0, STR_INIT("0 B")},
        {9, STR_INIT("9 B")},
        {10, STR_INIT("10 B")},
        {999, STR_INIT("999 B")},
        {1000, STR_INIT("1.0 kB")},
        {1234, STR_INIT("1.2 kB")},
        {9949, STR_INIT("9.9 kB")},
        {9999, STR_INIT("10 kB")},
        {11000, STR_INIT("11 kB")},
        {999999, STR_INIT("1000 kB")},
        {1000000, STR_INIT("1.0 MB")},
        {82854982, STR_INIT("83 MB")},
        {1000000000, STR_INIT("1.0 GB")},
        {UINT64_MAX, STR_INIT("18 EB")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        bytes_format(&b, cases[i].bytes);
        CHECK_STR(buf_str(&b), cases[i].want);
        buf_done(&b);
    }
}

static void test_time_parse(void) {
    static const struct parse_case cases[] = {
        {STR_INIT("1970-01-01T00:00:00Z"), true, 0},
        {STR_INIT("2009-02-13T23:31:30Z"), true, 1234567890 * NS_PER_S},
        {STR_INIT("2009-02-13T23:31:30.000000001Z"), true, 1234567890 * NS_PER_S + 1},
        {STR_INIT("2009-02-13T23:31:30.5Z"), true, 1234567890 * NS_PER_S + NS_PER_S / 2},
        {STR_INIT("2009-02-13T23:31:30.1234567899Z"), true, 1234567890 * NS_PER_S + 123456789},
        {STR_INIT("2009-02-14T01:31:30+02:00"), true, 1234567890 * NS_PER_S},
        {STR_INIT("2009-02-13T18:01:30-05:30"), true, 1234567890 * NS_PER_S},
        {STR_INIT("1969-12-31T23:59:59.5Z"), true, -NS_PER_S / 2},
        {STR_INIT("2000-02-29T00:00:00Z"), true, 951782400 * NS_PER_S},
        {STR_INIT("2262-04-11T23:47:16.854775807Z"), true, INT64_MAX},
        {STR_INIT("2262-04-11T23:47:16.854775808Z"), false, 0},
        {STR_INIT("1677-09-21T00:12:44Z"), true, -9223372036 * NS_PER_S},
        {STR_INIT("1500-01-01T00:00:00Z"), false, 0},
        {STR_INIT("9999-01-01T00:00:00Z"), false, 0},
        {STR_INIT("2009-02-13"), false, 0},
        {STR_INIT("2009-02-13T23:31:30"), false, 0},
        {STR_INIT("2009-02-13 23:31:30Z"), false, 0},
        {STR_INIT("2009-02-13T23:31Z"), false, 0},
        {STR_INIT("2009-02-13T23:31:30.Z"), false, 0},
        {STR_INIT("2009-02-13T23:31:30+0200"), false, 0},
        {STR_INIT("2009-02-13T23:31:30+02"), false, 0},
        {STR_INIT("2009-02-13T23:31:30+24:00"), false, 0},
        {STR_INIT("2009-02-13T23:31:30Zx"), false, 0},
        {STR_INIT("2009-02-13T24:00:00Z"), false, 0},
        {STR_INIT("2009-02-13T23:60:00Z"), false, 0},
        {STR_INIT("2009-02-13T23:59:60Z"), false, 0},
        {STR_INIT("2009-02-29T00:00:00Z"), false, 0},
        {STR_INIT("1900-02-29T00:00:00Z"), false, 0},
        {STR_INIT("2009-13-01T00:00:00Z"), false, 0},
        {STR_INIT("2009-00-01T00:00:00Z"), false, 0},
        {STR_INIT("2009-04-31T00:00:00Z"), false, 0},
        {STR_INIT("2009-04-00T00:00:00Z"), false, 0},
        {STR_INIT(""), false, 0},
        {STR_INIT("1234567890"), false, 0},
    };
    check_parser(time_parse_rfc3339, cases, COUNT(cases));
}

static void test_time_format(void) {
    static const struct {
        int64_t ns;
        struct str nano, whole;
    } cases[] = {
        {0, STR_INIT("1970-01-01T00:00:00Z"), STR_INIT("1970-01-01T00:00:00Z")},
        {-1, STR_INIT("1969-12-31T23:59:59.999999999Z"), STR_INIT("1969-12-31T23:59:59Z")},
        {1234567890 * NS_PER_S + 120, STR_INIT("2009-02-13T23:31:30.00000012Z"),
         STR_INIT("2009-02-13T23:31:30Z")},
        {9 * NS_PER_S + 500 * NS_PER_MS, STR_INIT("1970-01-01T00:00:09.5Z"),
         STR_INIT("1970-01-01T00:00:09Z")},
        {INT64_MAX, STR_INIT("2262-04-11T23:47:16.854775807Z"), STR_INIT("2262-04-11T23:47:16Z")},
        {INT64_MIN, STR_INIT("1677-09-21T00:12:43.145224192Z"), STR_INIT("1677-09-21T00:12:43Z")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        time_format_rfc3339(&b, cases[i].ns, false);
        CHECK_STR(buf_str(&b), cases[i].nano);
        buf_clear(&b);
        time_format_rfc3339(&b, cases[i].ns, true);
        CHECK_STR(buf_str(&b), cases[i].whole);
        buf_done(&b);
    }
}

static void test_days(void) {
    char text[11];
    for (int32_t day = -106751; day <= 106751; day++) {
        int32_t back = 0;
        day_format(text, day);
        CHECK_INT(day_parse(str_from(text), &back), 0);
        CHECK_INT(back, day);
        CHECK_INT(time_day(day * NS_PER_DAY), day);
        CHECK_INT(time_day(day * NS_PER_DAY + NS_PER_DAY / 2), day);
    }
    CHECK_INT(time_day(-1), -1);
    CHECK_INT(time_day(INT64_MIN), -106752);
    day_format(text, 20778);
    CHECK_STR(str_from(text), STR("2026-11-21"));
    int32_t day;
    CHECK(day_parse(STR("2026-11-21x"), &day) < 0);
    CHECK(day_parse(STR("2026-1-1"), &day) < 0);
    CHECK(day_parse(STR(""), &day) < 0);
}

static void test_whole_numbers(void) {
    int64_t i = 7;
    uint64_t u = 7;
    CHECK_INT(i64_parse(STR("-9223372036854775808"), &i), 0);
    CHECK(i == INT64_MIN);
    CHECK_INT(i64_parse(STR("+12"), &i), 0);
    CHECK_INT(i, 12);
    CHECK_INT(i64_parse(STR("9223372036854775808"), &i), -ERANGE);
    CHECK_INT(i64_parse(STR("99999999999999999999"), &i), -ERANGE);
    CHECK_INT(i64_parse(STR(""), &i), -ESYNTAX);
    CHECK_INT(i64_parse(STR("-"), &i), -ESYNTAX);
    CHECK_INT(i64_parse(STR("1 "), &i), -ESYNTAX);
    CHECK_INT(i64_parse(STR("0x1"), &i), -ESYNTAX);
    CHECK_INT(i64_parse(STR("99999999999999999999x"), &i), -ESYNTAX);
    CHECK_INT(i, 12);
    CHECK_INT(u64_parse(STR("18446744073709551615"), &u), 0);
    CHECK(u == UINT64_MAX);
    CHECK_INT(u64_parse(STR("18446744073709551616"), &u), -ERANGE);
    CHECK_INT(u64_parse(STR("-1"), &u), -ESYNTAX);
    CHECK_INT(u64_parse(STR("+"), &u), -ESYNTAX);
    CHECK(u == UINT64_MAX);
}

int main(void) {
    RUN(test_duration_go);
    RUN(test_duration_prometheus);
    RUN(test_duration_format);
    RUN(test_bytes_parse);
    RUN(test_bytes_format);
    RUN(test_time_parse);
    RUN(test_time_format);
    RUN(test_days);
    RUN(test_whole_numbers);
    return test_done();
}
