#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "labels.h"

static struct arena arena;

static struct str format(struct labels labels) {
    static struct buf b;
    b.max = BUF_NO_MAX;
    buf_clear(&b);
    labels_format(&b, labels);
    return buf_str(&b);
}

static const struct {
    const char *text, *want;
} good[] = {
    {"{}", "{}"},
    {" { } ", "{}"},
    {"{a=\"1\"}", "{a=\"1\"}"},
    {"{b=\"2\",a=\"1\",}", "{a=\"1\", b=\"2\"}"},
    {"{\n b = `x\\y` ,\t_a1 = 'q\"' }", "{_a1=\"q\\\"\", b=\"x\\\\y\"}"},
    {"{a=\"\", b=\"x\"}", "{b=\"x\"}"},
    {"{a=\"\\x41\\102\\u0043\\U00000044\\t\\\"\"}", "{a=\"ABCD\\t\\\"\"}"},
    {"{a=\"유니코드\"}", "{a=\"유니코드\"}"},
    {"{a=\"1\", a=\"2\"}", "{a=\"1\", a=\"2\"}"},
    {"{a=\"{x=1}\", b=\"a=b,c\"}", "{a=\"{x=1}\", b=\"a=b,c\"}"},
    {"{A=\"1\", a=\"1\", Z=\"1\"}", "{A=\"1\", Z=\"1\", a=\"1\"}"},
};

static void parses_and_formats(void) {
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct labels labels;
        struct err err;
        CHECK_INT(labels_parse(str_from(good[i].text), &arena, &labels, &err), 0);
        CHECK_STR(format(labels), str_from(good[i].want));
    }
}

static const struct {
    const char *text, *want;
} bad[] = {
    {"{bad-name=\"x\", push=\"l17\"}", "1:5: parse error: unexpected character inside braces: '-'"},
    {"{1bad=\"x\"}", "1:2: parse error: unexpected character inside braces: '1'"},
    {"{push=\"l21\", 한글=\"x\"}", "1:14: parse error: unexpected character inside braces: '한'"},
    {"{a=~\"x\"}", "1:3: parse error: unexpected <op:=~> in label set, expected \"=\""},
    {"{a!=\"x\"}", "1:3: parse error: unexpected <op:!=> in label set, expected \"=\""},
    {"{a=\"x\"", "1:7: parse error: unexpected end of input in label set, expected \",\" or \"}\""},
    {"{a=\"x\" b=\"y\"}",
     "1:8: parse error: unexpected identifier \"b\" in label set, expected \",\" or \"}\""},
    {"{,}", "1:2: parse error: unexpected \",\" in label set, expected identifier or \"}\""},
    {"{a=b}", "1:4: parse error: unexpected identifier \"b\" in label set, expected string"},
    {"{a=\"x", "1:4: parse error: unterminated quoted string"},
    {"{a=`x", "1:4: parse error: unterminated raw string"},
    {"{\na=\"x\\q\"}", "2:3: parse error: error unquoting string: invalid syntax"},
    {"{a=\"\\xff\"}", "1:4: parse error: invalid UTF-8 rune"},
    {"{a=\"\xff\"}", "1:4: parse error: invalid UTF-8 rune"},
    {"{a=\"x\"} y", "1:9: parse error: unexpected identifier \"y\""},
    {"a=\"x\"", "1:1: parse error: unexpected identifier \"a\" in label set, expected \"{\""},
    {"", "1:1: parse error: unexpected end of input in label set, expected \"{\""},
    {"{\"a.b\"=\"1\"}", "1:2: parse error: unexpected string \"\\\"a.b\\\"\" in label set, "
                        "expected identifier or \"}\""},
};

static void refuses_with_position(void) {
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct labels labels;
        struct err err = {.text = ""};
        CHECK_INT(labels_parse(str_from(bad[i].text), &arena, &labels, &err), -ESYNTAX);
        CHECK_STR(str_from(err.text), str_from(bad[i].want));
    }
}

static void refuses_too_many(void) {
    struct buf b = buf_make(BUF_NO_MAX);
    buf_add_char(&b, '{');
    for (int i = 0; i < 4097; i++)
        buf_addf(&b, "l%d=\"v\",", i);
    struct labels labels;
    struct err err = {.text = ""};
    buf_add_char(&b, '}');
    CHECK_INT(labels_parse(buf_str(&b), &arena, &labels, &err), -ESYNTAX);
    CHECK_STR(str_from(err.text), STR("label set has more than 4096 labels"));
    buf_clear(&b);
    buf_add_char(&b, '{');
    for (int i = 0; i < 4096; i++)
        buf_addf(&b, "l%d=\"v\",", 9999 - i);
    buf_add_char(&b, '}');
    CHECK_INT(labels_parse(buf_str(&b), &arena, &labels, &err), 0);
    CHECK_INT(labels.count, 4096);
    for (size_t i = 1; i < labels.count; i++)
        CHECK(str_cmp(labels.items[i - 1].name, labels.items[i].name) < 0);
    buf_done(&b);
}

static void sets_compare_copy_and_encode(void) {
    struct labels a, b, c;
    CHECK_INT(labels_parse(STR("{a=\"1\",bb=\"22\"}"), &arena, &a, NULL), 0);
    CHECK_INT(labels_parse(STR("{ bb=`22`, a='1' }"), &arena, &b, NULL), 0);
    CHECK_INT(labels_parse(STR("{a=\"1\",bb=\"2\"}"), &arena, &c, NULL), 0);
    CHECK(labels_eq(a, b));
    CHECK(!labels_eq(a, c));
    CHECK(labels_hash(a) == labels_hash(b));
    CHECK(labels_hash(a) != labels_hash(c));
    CHECK_STR(labels_get(a, STR("bb")), STR("22"));
    CHECK(labels_get(a, STR("b")).data == NULL);
    /* Names that come twice stay, side by side. */
    CHECK_INT(labels_parse(STR("{a=\"1\",b=\"2\",a=\"3\"}"), &arena, &c, NULL), 0);
    CHECK_INT(c.count, 3);
    CHECK_STR(c.items[1].name, STR("a"));

    struct buf out = buf_make(BUF_NO_MAX);
    labels_encode(&out, a);
    struct label items[2];
    struct labels placed = labels_place(a, out.data, items);
    CHECK(labels_eq(a, placed));
    CHECK(placed.items[1].value.data + 2 == out.data + out.size);
    CHECK_INT(labels_decode(buf_str(&out), &arena, &b), 0);
    CHECK(labels_eq(a, b));
    for (size_t cut = 0; cut < out.size; cut++)
        CHECK_INT(labels_decode(str_make(out.data, cut), &arena, &b), -ECORRUPT);
    buf_add_char(&out, 'x');
    CHECK_INT(labels_decode(buf_str(&out), &arena, &b), -ECORRUPT);
    CHECK_INT(labels_decode(STR("\0"), &arena, &b), 0);
    CHECK_INT(b.count, 0);
    buf_done(&out);
}

static void names_are_checked(void) {
    CHECK(label_name_valid(STR("a_Z9")));
    CHECK(label_name_valid(STR("_")));
    CHECK(!label_name_valid(STR("")));
    CHECK(!label_name_valid(STR("9a")));
    CHECK(!label_name_valid(STR("a.b")));
    CHECK(!label_name_valid(STR("é")));
}

static void quotes_as_go_does(void) {
    static const struct {
        struct str text;
        const char *want;
    } cases[] = {
        {{"", 0}, "\"\""},
        {{"a\"b\\", 4}, "\"a\\\"b\\\\\""},
        {{"\a\b\t\n\v\f\r", 7}, "\"\\a\\b\\t\\n\\v\\f\\r\""},
        {{"\0\x1b\x7f", 3}, "\"\\x00\\x1b\\x7f\""},
        {{"\xff\xc3", 2}, "\"\\xff\\xc3\""},
        {{"é서", 5}, "\"é서\""},
        {{"\xc2\xa0\xef\xbb\xbf", 5}, "\"\\u00a0\\ufeff\""},
        {{"\xef\xbf\xbd", 3}, "\"\xef\xbf\xbd\""},
        {{"\xf3\xa0\x80\x81", 4}, "\"\\U000e0001\""},
        {{"\xf0\x9f\x98\x80", 4}, "\"\xf0\x9f\x98\x80\""},
    };
    struct buf b = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&b);
        go_quote(&b, cases[i].text);
        CHECK_STR(buf_str(&b), str_from(cases[i].want));
        struct str back;
        CHECK_INT(go_unquote(buf_str(&b), &arena, &back), 0);
        CHECK_STR(back, cases[i].text);
    }
    buf_done(&b);
}

static void unquote_refuses_bad_literals(void) {
    static const char *const cases[] = {
        "",        "\"",        "\"a",    "a",        "\"a\nb\"", "\"\\q\"",         "\"\\x4\"",
        "\"\\u12", "\"\\777\"", "\"\\\"", "\"a\"b\"", "`a`b`",    "\"\\U00110000\"", "\"\\'\""};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str out;
        CHECK_INT(go_unquote(str_from(cases[i]), &arena, &out), -ESYNTAX);
    }
}

int main(void) {
    arena = arena_make(64 << 20);
    RUN(parses_and_formats);
    RUN(refuses_with_position);
    RUN(refuses_too_many);
    RUN(sets_compare_copy_and_encode);
    RUN(names_are_checked);
    RUN(quotes_as_go_does);
    RUN(unquote_refuses_bad_literals);
    arena_done(&arena);
    return test_done();
}
