#include <errno.h>

#include "logql.h"
#include "parser.h"
#include "regex.h"
#include "test.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void test_quote(void) {
    static const struct {
        struct str text, want;
    } cases[] = {
        {STR_INIT("plain"), STR_INIT("`plain`")},
        {STR_INIT(""), STR_INIT("``")},
        {STR_INIT("a\\b\"c"), STR_INIT("`a\\b\"c`")},
        {STR_INIT("a`b"), STR_INIT("\"a`b\"")},
        {STR_INIT("a`\\\""), STR_INIT("\"a`\\\\\\\"\"")},
        {STR_INIT("a\nb\rc"), STR_INIT("\"a\\nb\\rc\"")},
        {STR_INIT("\x01\x7f"), STR_INIT("\"\\x01\\x7f\"")},
        {STR_INIT("\xff`"), STR_INIT("\"\\xff`\"")},
        {STR_INIT("\xc3\xa4`"), STR_INIT("\"\xc3\xa4`\"")},
        {STR_INIT("\xc3\xa4"), STR_INIT("`\xc3\xa4`")},
        {STR_INIT("a\0b"), STR_INIT("\"a\\x00b\"")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = buf_make(1000);
        logql_quote(&out, cases[i].text);
        CHECK_STR(buf_str(&out), cases[i].want);
        buf_done(&out);
    }
}

static void test_selector(void) {
    static const struct {
        const char *labels[4];
        const char *selector;
        const char *want; /* NULL = refused */
    } cases[] = {
        {{0}, NULL, "{service_name=~\".+\"}"},
        {{"app=api"}, NULL, "{app=`api`}"},
        {{"app=api", "env=~p.*", "x!=y", "z!~q"}, NULL, "{app=`api`, env=~`p.*`, x!=`y`, z!~`q`}"},
        {{"x!=y"}, NULL, "{x!=`y`, service_name=~\".+\"}"},
        {{"x="}, NULL, "{x=``, service_name=~\".+\"}"},
        {{"x=~.*"}, NULL, "{x=~`.*`, service_name=~\".+\"}"},
        {{"app=\"a b\""}, NULL, "{app=\"a b\"}"},
        {{"app==x"}, NULL, "{app=`=x`}"},
        {{0}, "{app=\"api\"}", "{app=\"api\"}"},
        {{"env=p"}, " {app=\"api\", } ", "{app=\"api\", env=`p`}"},
        {{0}, "{}", "{service_name=~\".+\"}"},
        {{"app"}, NULL, NULL},
        {{"=x"}, NULL, NULL},
        {{"1a=x"}, NULL, NULL},
        {{"a b=x"}, NULL, NULL},
        {{"app!x"}, NULL, NULL},
        {{0}, "app=\"api\"", NULL},
        {{0}, "{", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct option_list labels = {0};
        struct buf out = buf_make(1000);
        struct err err = {0};
        for (; labels.count < 4 && cases[i].labels[labels.count]; labels.count++)
            labels.items[labels.count] = cases[i].labels[labels.count];
        int r = logql_selector(&labels, cases[i].selector, &out, &err);
        CHECK_INT(r, cases[i].want ? 0 : -ESYNTAX);
        if (cases[i].want) {
            struct parsed_query *query = NULL;
            CHECK_STR(buf_str(&out), str_from(cases[i].want));
            CHECK_INT(query_parse(buf_str(&out), &query, &err), 0);
            parsed_query_free(query);
        }
        buf_done(&out);
    }
}

struct filter_case {
    struct options options;
    const char *patterns[3];
    const char *filter, *regex; /* filter NULL = refused */
};

static const struct filter_case filter_cases[] = {
    {{0}, {"error"}, " |= `error`", "error"},
    {{0}, {"a.b"}, " |~ `a.b`", "a.b"},
    {{.invert = true}, {"error"}, " != `error`", ""},
    {{.invert = true}, {"a", "b"}, " != `a` != `b`", ""},
    {{0}, {"a", "b"}, " |= `a` or `b`", "(?:a)|(?:b)"},
    {{0}, {"a+", "b"}, " |~ `(?:a+)|(?:b)`", "(?:a+)|(?:b)"},
    {{.invert = true}, {"a+", "b"}, " !~ `(?:a+)|(?:b)`", ""},
    {{.fixed = true}, {"a.b"}, " |= `a.b`", "a\\.b"},
    {{.fixed = true}, {"a`b"}, " |= \"a`b\"", "a`b"},
    {{.fixed = true, .ignore_case = true}, {"a.b"}, " |~ `(?i)a\\.b`", "(?i)a\\.b"},
    {{.ignore_case = true}, {"err"}, " |~ `(?i)err`", "(?i)err"},
    {{.smart_case = true}, {"err"}, " |~ `(?i)err`", "(?i)err"},
    {{.smart_case = true}, {"Err"}, " |= `Err`", "Err"},
    {{.word = true}, {"in"}, " |~ `\\b(?:in)\\b`", "\\b(?:in)\\b"},
    {{.whole_line = true}, {"a|b"}, " |~ `^(?:a|b)$`", "^(?:a|b)$"},
    {{.whole_line = true}, {""}, " |~ `^(?:)$`", "^(?:)$"},
    {{.fixed = true, .whole_line = true}, {"a", "b."}, " |~ `^(?:a|b\\.)$`", "^(?:a|b\\.)$"},
    {{0}, {""}, "", ""},
    {{0}, {"x", ""}, "", ""},
    {{.invert = true}, {""}, " !~ `^`", ""},
    {{0}, {"("}, NULL, NULL},
    {{0}, {"a**"}, NULL, NULL},
    {{.fixed = true}, {"("}, " |= `(`", "\\("},
};

static void test_filter(void) {
    for (size_t i = 0; i < COUNT(filter_cases); i++) {
        const struct filter_case *c = &filter_cases[i];
        struct buf filter = buf_make(1000), regex = buf_make(1000);
        struct err err = {0};
        size_t count = 0;
        while (count < 3 && c->patterns[count])
            count++;
        int r = logql_filter(&c->options, c->patterns, count, &filter, &regex, &err);
        CHECK_INT(r, c->filter ? 0 : -ESYNTAX);
        if (c->filter) {
            CHECK_STR(buf_str(&filter), str_from(c->filter));
            CHECK_STR(buf_str(&regex), str_from(c->regex));
        } else {
            CHECK(strstr(err.text, "error parsing regexp") != NULL);
        }
        buf_done(&filter);
        buf_done(&regex);
    }
}

static void test_highlight(void) {
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"{a=\"b\"}", ""},
        {"{a=\"b\"} |= \"x.y\"", "(?:x\\.y)"},
        {"{a=\"b\"} |= \"x\" or \"z\" != \"no\" |~ \"a|b\" | json", "(?:x)|(?:z)|(?:a|b)"},
        {"{a=\"b\"} |= ip(\"10.0.0.0/8\")", ""},
        {"{a=\"b\"} |= \"\"", ""},
        {"rate({a=\"b\"} |= \"x\" [5m])", ""},
        {"{a=", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf regex = buf_make(1000);
        logql_highlight(str_from(cases[i].query), &regex);
        CHECK_STR(buf_str(&regex), str_from(cases[i].want));
        buf_done(&regex);
    }
}

int main(void) {
    RUN(test_quote);
    RUN(test_selector);
    RUN(test_filter);
    RUN(test_highlight);
    return test_done();
}
