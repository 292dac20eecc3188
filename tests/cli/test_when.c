#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "stamp.h"
#include "test.h"
#include "units.h"
#include "when.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* 2026-11-21T12:00:00Z */
#define NOW (INT64_C(1795262400) * NS_PER_S)

static void use_zone(const char *posix) {
    setenv("TZ", posix, 1);
    tzset();
}

static void test_points(void) {
    static const struct {
        const char *text;
        const char *want; /* RFC 3339, NULL = refused */
    } cases[] = {
        {"2026-11-21T01:02:03Z", "2026-11-21T01:02:03Z"},
        {"2026-11-21T01:02:03.5+01:00", "2026-11-21T00:02:03.5Z"},
        {"2026-11-21T01:02:03,25-0130", "2026-11-21T02:32:03.25Z"},
        {"2026-11-21 01:02", "2026-11-20T23:02:00Z"},
        {"2026-11-21", "2026-11-20T22:00:00Z"},
        {"2026/11/21 01:02:03", "2026-11-20T23:02:03Z"},
        {"15:04", "2026-11-21T13:04:00Z"},
        {"now", "2026-11-21T12:00:00Z"},
        {"now-2h", "2026-11-21T10:00:00Z"},
        {"now - 1d", "2026-11-20T12:00:00Z"},
        {"today", "2026-11-20T22:00:00Z"},
        {"yesterday", "2026-11-19T22:00:00Z"},
        {"yesterday+6h30m", "2026-11-20T04:30:00Z"},
        {"1795262400", "2026-11-21T12:00:00Z"},
        {"@1795262400", "2026-11-21T12:00:00Z"},
        {"1795262400.5", "2026-11-21T12:00:00.5Z"},
        {"1795262400123", "2026-11-21T12:00:00.123Z"},
        {"1795262400000000001", "2026-11-21T12:00:00.000000001Z"},
        {"0", "1970-01-01T00:00:00Z"},
        {"", NULL},
        {"tomorrow", NULL},
        {"now-", NULL},
        {"now-soon", NULL},
        {"nowish", NULL},
        {"2026-13-01", NULL},
        {"2026-02-30", NULL},
        {"2026-11-21T25:00:00Z", NULL},
        {"2026-11-21T01:02:03Zx", NULL},
        {"1795262400x", NULL},
        {"99999999999999999999", NULL},
        {"25:00", NULL},
    };
    use_zone("XXX-2"); /* two hours east */
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got = 0, want = 0;
        struct err err = {0};
        int r = when_parse(cases[i].text, NOW, &got, &err);
        if ((r == 0) != (cases[i].want != NULL))
            printf("  \"%s\" gives %d\n", cases[i].text, r);
        CHECK((r == 0) == (cases[i].want != NULL));
        if (!cases[i].want || r < 0)
            continue;
        CHECK_INT(time_parse_rfc3339(str_from(cases[i].want), &want), 0);
        CHECK_INT(got, want);
    }
}

static void test_durations(void) {
    static const struct {
        const char *text;
        int64_t want; /* -1 = refused */
    } cases[] = {
        {"15m", 15 * NS_PER_MIN},
        {"1h30m", 90 * NS_PER_MIN},
        {"1.5h", 90 * NS_PER_MIN},
        {"7d", 7 * NS_PER_DAY},
        {"20y", 20 * 365 * NS_PER_DAY},
        {"2w", 14 * NS_PER_DAY},
        {"", -1},
        {"soon", -1},
        {"-1h", -1},
        {"5", -1},
        {"9999y", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got = -1;
        (void)when_parse_duration(cases[i].text, &got, NULL);
        CHECK_INT(got, cases[i].want);
    }
}

static void test_range(void) {
    static struct options o;
    struct range range;
    struct err err = {0};
    CHECK_INT(when_range(&o, NOW, &range, &err), 0);
    CHECK_INT(range.end_ns - range.start_ns, NS_PER_HOUR);
    o.from = "now-2h";
    o.to = "now-1h";
    CHECK_INT(when_range(&o, NOW, &range, &err), 0);
    CHECK_INT(range.start_ns, NOW - 2 * NS_PER_HOUR);
    CHECK_INT(range.end_ns, NOW - NS_PER_HOUR);
    o.to = "now-3h";
    CHECK_INT(when_range(&o, NOW, &range, &err), -ESYNTAX);
    /* Times that servers would read as seconds are not asked for. */
    o = (struct options){.since = "100y"};
    CHECK_INT(when_range(&o, NOW, &range, &err), 0);
    CHECK_INT(range.start_ns, 10 * NS_PER_S);
}

/* Windows cover the range exactly, one after the other, from either end. */
static void test_windows(void) {
    static const int64_t lengths[] = {1, 99, 100, 101, 1000, 12345};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (int forward = 0; forward < 2; forward++) {
            struct range rest = {7, 7 + lengths[i]}, window;
            int64_t at = forward ? rest.start_ns : rest.end_ns;
            while (when_next_window(&rest, forward, 100, &window)) {
                CHECK_INT(forward ? window.start_ns : window.end_ns, at);
                CHECK(window.end_ns - window.start_ns <= 100);
                CHECK(window.start_ns < window.end_ns);
                at = forward ? window.end_ns : window.start_ns;
            }
            CHECK_INT(at, forward ? 7 + lengths[i] : 7);
        }
    }
}

static void test_stamps(void) {
    static const struct {
        struct str line;
        const char *want; /* NULL = none */
    } cases[] = {
        {STR_INIT("2015-07-29 17:41:44,747 - INFO x"), "2015-07-29T17:41:44.747Z"},
        {STR_INIT("2026-11-21T03:06:29.123456+0100 host x"), "2026-11-21T02:06:29.123456Z"},
        {STR_INIT("2026-11-21T03:06:29Z"), "2026-11-21T03:06:29Z"},
        {STR_INIT("[2026-11-21 03:06:29] x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("2026/11/21 03:06:29 [error] x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("Nov 21 03:06:29 host x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("Nov  1 03:06:29 host x"), "2026-11-01T03:06:29Z"},
        {STR_INIT("Nov 21 03:06:29 2020 x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("<13>Nov 21 03:06:29 host x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("<13>1 2026-11-21T03:06:29Z host x"), "2026-11-21T03:06:29Z"},
        {STR_INIT("Dec 10 06:55:46 LabSZ sshd"), "2025-12-10T06:55:46Z"},
        {STR_INIT("Feb 29 06:55:46 host x"), "2024-02-29T06:55:46Z"},
        {STR_INIT("Nov 22 11:59:59 host x"), "2026-11-22T11:59:59Z"},
        {STR_INIT("Nov 22 12:00:01 host x"), "2025-11-22T12:00:01Z"},
        {STR_INIT("[Sun Dec 04 04:47:44 2005] [notice] x"), "2005-12-04T04:47:44Z"},
        {STR_INIT("[Sun Dec 04 04:47:44.25 2005] x"), "2005-12-04T04:47:44.25Z"},
        {STR_INIT("2026-11-21 03:06 x and more"), NULL},
        {STR_INIT("2026-11-21 is a fine day"), NULL},
        {STR_INIT("2026-11-31 03:06:29 x"), NULL},
        {STR_INIT("Nov 31 03:06:29 host x"), NULL},
        {STR_INIT("Nov 21 24:06:29 host x"), NULL},
        {STR_INIT("[Sun Dec 04 04:47:44] [notice] x"), NULL},
        {STR_INIT("081109 203615 148 INFO x"), NULL},
        {STR_INIT("<13Nov 21 03:06:29 host x"), NULL},
        {STR_INIT("error at 2026-11-21T03:06:29Z"), NULL},
        {STR_INIT("9999-11-21T03:06:29Z xxxx"), NULL},
        {STR_INIT(""), NULL},
        {STR_INIT("               "), NULL},
    };
    use_zone("UTC0");
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t got = 0, want = 0;
        bool found = stamp_parse(cases[i].line, NOW, &got);
        if (found != (cases[i].want != NULL))
            printf("  \"%.*s\"\n", STR_ARG(cases[i].line));
        CHECK(found == (cases[i].want != NULL));
        if (found && cases[i].want) {
            CHECK_INT(time_parse_rfc3339(str_from(cases[i].want), &want), 0);
            CHECK_INT(got, want);
        }
    }
}

static void test_formats(void) {
    static const struct {
        const char *format, *zone, *want;
    } cases[] = {
        {NULL, "UTC0", "2026-11-21T12:00:00Z"},
        {"rfc3339", "XXX-5:30", "2026-11-21T17:30:00+05:30"},
        {"rfc3339nano", "UTC0", "2026-11-21T12:00:00.00012Z"},
        {"rfc3339nano", "XXX3", "2026-11-21T09:00:00.00012-03:00"},
        {"rfc822z", "UTC0", "21 Nov 26 12:00 +0000"},
        {"rfc1123z", "UTC0", "Sat, 21 Nov 2026 12:00:00 +0000"},
        {"stampmilli", "UTC0", "Nov 21 12:00:00.000"},
        {"stampmicro", "UTC0", "Nov 21 12:00:00.000120"},
        {"stampnano", "UTC0", "Nov 21 12:00:00.000120000"},
        {"unixdate", "UTC0", "Sat Nov 21 12:00:00 UTC 2026"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = buf_make(256);
        use_zone(cases[i].zone);
        when_format(&out, NOW + 120000, cases[i].format);
        CHECK_STR(buf_str(&out), str_from(cases[i].want));
        CHECK(when_format_known(cases[i].format));
        buf_done(&out);
    }
    CHECK(!when_format_known("sundial"));
}

static void test_zones(void) {
    struct err err = {0};
    CHECK_INT(when_use_zone("UTC", &err), 0);
    CHECK_INT(when_use_zone(NULL, &err), 0);
    CHECK_INT(when_use_zone("Atlantis/Poseidonis", &err), -ESYNTAX);
    CHECK_INT(when_use_zone("../../../etc/passwd", &err), -ESYNTAX);
}

int main(void) {
    RUN(test_points);
    RUN(test_durations);
    RUN(test_range);
    RUN(test_windows);
    RUN(test_stamps);
    RUN(test_formats);
    RUN(test_zones);
    return test_done();
}
