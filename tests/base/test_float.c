#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "err.h"
#include "test.h"
#include "units.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool same(double a, double b) {
    return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static void test_parse_valid(void) {
    static const struct {
        struct str text;
        double want;
    } cases[] = {
        {STR_INIT("0"), 0.0},
        {STR_INIT("-0"), -0.0},
        {STR_INIT("+4"), 4},
        {STR_INIT(".5"), 0.5},
        {STR_INIT("5."), 5},
        {STR_INIT("007"), 7},
        {STR_INIT("1_000"), 1000},
        {STR_INIT("1_23.50_0_0e+1_2"), 1.235e+14},
        {STR_INIT("1e3"), 1000},
        {STR_INIT("1E-3"), 0.001},
        {STR_INIT("123456789012345678"), 123456789012345678.0},
        {STR_INIT("0.1"), 0.1},
        {STR_INIT("1.7976931348623157e308"), 1.7976931348623157e308},
        {STR_INIT("5e-324"), 5e-324},
        {STR_INIT("1e-400"), 0.0},
        {STR_INIT("-1e-99999999999999999999"), -0.0},
        {STR_INIT("0e99999999999"), 0.0},
        {STR_INIT("2.2250738585072012e-308"), 2.2250738585072014e-308},
        {STR_INIT("9007199254740993"), 9007199254740992.0},
        {STR_INIT("9007199254740993.00000000000000000000000000000001"), 9007199254740994.0},
        {STR_INIT("0x1p-2"), 0.25},
        {STR_INIT("-0X1.8P1"), -3},
        {STR_INIT("0x_1p4"), 16},
        {STR_INIT("0x.8p0"), 0.5},
        {STR_INIT("0x0.00001p20"), 1},
        {STR_INIT("Inf"), (double)INFINITY},
        {STR_INIT("+inf"), (double)INFINITY},
        {STR_INIT("-INFINITY"), -(double)INFINITY},
        {STR_INIT("NaN"), (double)NAN},
        {STR_INIT("nan"), (double)NAN},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double got = 12345;
        int r = float_parse_go(cases[i].text, &got);
        if (r < 0 || !same(got, cases[i].want))
            printf("  \"%.*s\" gives %d, %.17g\n", STR_ARG(cases[i].text), r, got);
        CHECK_INT(r, 0);
        CHECK(same(got, cases[i].want));
    }
}

static void test_parse_invalid(void) {
    static const struct {
        struct str text;
        int want;
    } cases[] = {
        {STR_INIT(""), -ESYNTAX},      {STR_INIT("-"), -ESYNTAX},
        {STR_INIT("."), -ESYNTAX},     {STR_INIT("e5"), -ESYNTAX},
        {STR_INIT("1e"), -ESYNTAX},    {STR_INIT("1e+"), -ESYNTAX},
        {STR_INIT("1x"), -ESYNTAX},    {STR_INIT(" 1"), -ESYNTAX},
        {STR_INIT("1 "), -ESYNTAX},    {STR_INIT("1,5"), -ESYNTAX},
        {STR_INIT("1.2.3"), -ESYNTAX}, {STR_INIT("0x10"), -ESYNTAX},
        {STR_INIT("0x"), -ESYNTAX},    {STR_INIT("0xp1"), -ESYNTAX},
        {STR_INIT("0x1e5"), -ESYNTAX}, {STR_INIT("1p5"), -ESYNTAX},
        {STR_INIT("_1"), -ESYNTAX},    {STR_INIT("1_"), -ESYNTAX},
        {STR_INIT("1__0"), -ESYNTAX},  {STR_INIT("1_.5"), -ESYNTAX},
        {STR_INIT("1._5"), -ESYNTAX},  {STR_INIT("1e_5"), -ESYNTAX},
        {STR_INIT("-_1"), -ESYNTAX},   {STR_INIT("infinit"), -ESYNTAX},
        {STR_INIT("+nan"), -ESYNTAX},  {STR_INIT("nan0"), -ESYNTAX},
        {STR_INIT("1\0"), -ESYNTAX},   {STR_INIT("1e400"), -ERANGE},
        {STR_INIT("-1e400"), -ERANGE}, {STR_INIT("0x1p1024"), -ERANGE},
        {STR_INIT("--1"), -ESYNTAX},   {STR_INIT("1e99999999999"), -ERANGE},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double got = 12345;
        int r = float_parse_go(cases[i].text, &got);
        if (r != cases[i].want)
            printf("  \"%.*s\"\n", STR_ARG(cases[i].text));
        CHECK_INT(r, cases[i].want);
        CHECK(same(got, 12345));
    }
}

/* Digits far behind those that a double holds still decide a tie. */
static void test_parse_long(void) {
    char text[3000];
    double got;
    memset(text, '0', sizeof(text));
    memcpy(text, "9007199254740993.", 17);
    CHECK_INT(float_parse_go(str_make(text, sizeof(text)), &got), 0);
    CHECK(same(got, 9007199254740992.0));
    text[sizeof(text) - 1] = '1';
    CHECK_INT(float_parse_go(str_make(text, sizeof(text)), &got), 0);
    CHECK(same(got, 9007199254740994.0));
    memset(text, '0', sizeof(text));
    text[0] = '1';
    memcpy(text + sizeof(text) - 5, "e-2990", 5);
    CHECK_INT(float_parse_go(str_make(text, sizeof(text)), &got), -ERANGE);
    memcpy(text + sizeof(text) - 6, "e-2993", 6);
    CHECK_INT(float_parse_go(str_make(text, sizeof(text)), &got), 0);
    CHECK(same(got, 1.0));
}

static void test_format(void) {
    static const struct {
        double value;
        struct str plain, general;
    } cases[] = {
        {0.0, STR_INIT("0"), STR_INIT("0")},
        {-0.0, STR_INIT("-0"), STR_INIT("-0")},
        {1, STR_INIT("1"), STR_INIT("1")},
        {-2.5, STR_INIT("-2.5"), STR_INIT("-2.5")},
        {0.1, STR_INIT("0.1"), STR_INIT("0.1")},
        {1.0 / 3, STR_INIT("0.3333333333333333"), STR_INIT("0.3333333333333333")},
        {0.1 + 0.2, STR_INIT("0.30000000000000004"), STR_INIT("0.30000000000000004")},
        {100000, STR_INIT("100000"), STR_INIT("100000")},
        {123456, STR_INIT("123456"), STR_INIT("123456")},
        {5000000, STR_INIT("5000000"), STR_INIT("5e+06")},
        {1234567, STR_INIT("1234567"), STR_INIT("1.234567e+06")},
        {1610612736, STR_INIT("1610612736"), STR_INIT("1.610612736e+09")},
        {0.0001, STR_INIT("0.0001"), STR_INIT("0.0001")},
        {0.00001, STR_INIT("0.00001"), STR_INIT("1e-05")},
        {1e15, STR_INIT("1000000000000000"), STR_INIT("1e+15")},
        {1e21, STR_INIT("1000000000000000000000"), STR_INIT("1e+21")},
        {1e23, STR_INIT("100000000000000000000000"), STR_INIT("1e+23")},
        {9007199254740993.0, STR_INIT("9007199254740992"), STR_INIT("9.007199254740992e+15")},
        {5.684341886080802e-14, STR_INIT("0.00000000000005684341886080802"),
         STR_INIT("5.684341886080802e-14")},
        {(double)INFINITY, STR_INIT("+Inf"), STR_INIT("+Inf")},
        {-(double)INFINITY, STR_INIT("-Inf"), STR_INIT("-Inf")},
        {(double)NAN, STR_INIT("NaN"), STR_INIT("NaN")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        float_format(&b, cases[i].value);
        CHECK_STR(buf_str(&b), cases[i].plain);
        buf_clear(&b);
        float_format_g(&b, cases[i].value);
        CHECK_STR(buf_str(&b), cases[i].general);
        buf_done(&b);
    }
}

static void test_format_json(void) {
    static const struct {
        double value;
        struct str want;
    } cases[] = {
        {0.0, STR_INIT("0")},
        {0.1, STR_INIT("0.1")},
        {-1234567, STR_INIT("-1234567")},
        {1e-6, STR_INIT("0.000001")},
        {9.5e-7, STR_INIT("9.5e-7")},
        {-1e-10, STR_INIT("-1e-10")},
        {5e-324, STR_INIT("5e-324")},
        {999999999999999900000.0, STR_INIT("999999999999999900000")},
        {1e21, STR_INIT("1e+21")},
        {-1.25e300, STR_INIT("-1.25e+300")},
        {(double)NAN, STR_INIT("NaN")},
        {-(double)INFINITY, STR_INIT("-Inf")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        float_format_json(&b, cases[i].value);
        CHECK_STR(buf_str(&b), cases[i].want);
        buf_done(&b);
    }
}

static void test_format_long(void) {
    struct buf b = buf_make(BUF_NO_MAX), want = buf_make(BUF_NO_MAX);
    float_format(&b, 5e-324);
    buf_addf(&want, "0.%0*d", 324, 5);
    CHECK_STR(buf_str(&b), buf_str(&want));
    buf_clear(&b);
    buf_clear(&want);
    float_format(&b, -1.7e308);
    buf_addf(&want, "-17%0*d", 307, 0);
    CHECK_STR(buf_str(&b), buf_str(&want));
    buf_clear(&b);
    float_format_g(&b, 5e-324);
    CHECK_STR(buf_str(&b), STR("5e-324"));
    buf_done(&b);
    buf_done(&want);
}

/* Whatever the bits, both forms read back as the same double. */
static void test_round_trip(void) {
    uint64_t state = 1;
    struct buf b = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 20000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        /* Powers of two have an uneven gap around them; the first exponents are subnormal. */
        uint64_t bits = i < 4000 ? (uint64_t)(i % 2047) << 52 | (i < 2047 ? 0 : state >> 62)
                                 : state ^ state >> 29;
        double value, back = 0;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        buf_clear(&b);
        float_format(&b, value);
        CHECK_INT(float_parse_go(buf_str(&b), &back), 0);
        CHECK(same(back, value));
        CHECK(memchr(b.data, 'e', b.size) == NULL);
        buf_clear(&b);
        float_format_g(&b, value);
        CHECK_INT(float_parse_go(buf_str(&b), &back), 0);
        CHECK(same(back, value));
        CHECK(b.size <= 24);
    }
    buf_done(&b);
}

int main(void) {
    RUN(test_parse_valid);
    RUN(test_parse_invalid);
    RUN(test_parse_long);
    RUN(test_format);
    RUN(test_format_json);
    RUN(test_format_long);
    RUN(test_round_trip);
    return test_done();
}
