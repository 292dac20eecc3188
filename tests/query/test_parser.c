#include "test.h"

#include <errno.h>
#include <math.h>

#include "labels.h"
#include "parser.h"
#include "regex.h"

static struct err err;

/* String() of the parsed query, or the message. */
static struct str parse_and_format(struct str query) {
    static struct buf b;
    b.max = BUF_NO_MAX;
    buf_clear(&b);
    struct parsed_query *q;
    err.text[0] = '\0';
    int r = query_parse(query, &q, &err);
    if (r < 0)
        return str_from(err.text);
    expr_format(&b, parsed_query_expr(q));
    parsed_query_free(q);
    return buf_str(&b);
}

/* NULL = prints as it was written. */
static const struct {
    const char *query, *want;
} good[] = {
    {"variants(rate({a=\"b\"}[1m]), sum by (c)(rate({a=\"b\"}[1m]))) of ({a=\"b\"} | json[1m])",
     NULL},
    {"variants(vector(1)) of ((({a=\"b\"} | unwrap c)[5m] offset 1m))",
     "variants(vector(1.000000)) of ({a=\"b\"} | unwrap c[5m] offset 1m0s)"},
    {"{a=\"b\"}", NULL},
    {" {  a = `b` ,\tc!=\"d\", e=~\"f.*\", g !~ 'h' } ", ""},
    {"{a=\"b\",c!=\"\\x64\",e=~\"f.*\"}", "{a=\"b\", c!=\"d\", e=~\"f.*\"}"},
    {"({a=\"b\"})", "{a=\"b\"}"},
    {"({a=\"b\"} | json)", "{a=\"b\"} | json"},
    {"{rate=\"b\", sum=\"c\", bytes=\"d\", ip=\"e\"}", NULL},
    {"{a=\"b\"} # comment\n// another\n/* and {one} */ |= \"x\"", "{a=\"b\"} |= \"x\""},
    {"{a=\"b\"}|=\"x\"or\"y\"!=`z`|~\"r+\"!~\"s\"|>\"<_>t\"!>\"u\"",
     "{a=\"b\"} |= \"x\" or \"y\" != \"z\" |~ \"r+\" !~ \"s\" |> \"<_>t\" !> \"u\""},
    {"{a=\"b\"} != \"x\" or \"y\"", "{a=\"b\"} != \"x\" != \"y\""},
    {"{a=\"b\"} |= ip(\"10.0.0.0/8\") != ip(\"::1-::9\")", NULL},
    {"{a=\"b\"} | json | logfmt --strict --keep-empty | unpack | decolorize", NULL},
    {"{a=\"b\"} | json c, d=\"e.f[0]\" | logfmt --keep-empty g=\"h\"",
     "{a=\"b\"} | json c=\"c\",d=\"e.f[0]\" | logfmt --keep-empty g=\"h\""},
    {"{a=\"b\"} | regexp `(?P<c>x)` | pattern \"<d> <_>\" | line_format `{{.c}}\"`",
     "{a=\"b\"} | regexp \"(?P<c>x)\" | pattern \"<d> <_>\" | line_format \"{{.c}}\\\"\""},
    {"{a=\"b\"} | regexp \"(?<c>x)\"", NULL},
    {"{a=\"b\"} | label_format c=d,e=`{{.f}}`", "{a=\"b\"} | label_format c=d,e=\"{{.f}}\""},
    {"{a=\"b\"} | drop c, d=\"e\", f=~\"g\" | keep h",
     "{a=\"b\"} | drop c,d=\"e\",f=~\"g\" | keep h"},
    {"{a=\"b\"} | x=\"y\"", NULL},
    {"{a=\"b\"} | x=5 | y==5s | z!=10KB | u>-1.5 | v>=+2 | w<1h30m | t<=1.5m",
     "{a=\"b\"} | x==5 | y==5s | z!=10kB | u>-1.5 | v>=2 | w<1h30m0s | t<=1m30s"},
    {"{a=\"b\"} | x>1d | y>0.35GB | z<100ns | w>=.5 | v<5e2",
     "{a=\"b\"} | x>24h0m0s | y>350MB | z<100ns | w>=0.5 | v<500"},
    {"{a=\"b\"} | x=ip(\"1.2.3.4\") | y!=ip(\"::1\")", NULL},
    /* How conditions group: words have precedence, commas and blanks read on. */
    {"{a=\"b\"} | x=1 and y=2 or z=3", "{a=\"b\"} | ( ( x==1 , y==2 ) or z==3 )"},
    {"{a=\"b\"} | x=1 or y=2 and z=3", "{a=\"b\"} | ( x==1 or ( y==2 , z==3 ) )"},
    {"{a=\"b\"} | x=1, y=2 or z=3", "{a=\"b\"} | ( x==1 , ( y==2 or z==3 ) )"},
    {"{a=\"b\"} | x=1 or y=2, z=3", "{a=\"b\"} | ( x==1 or ( y==2 , z==3 ) )"},
    {"{a=\"b\"} | x=1 y=2 or z=3", "{a=\"b\"} | ( x==1 , ( y==2 or z==3 ) )"},
    {"{a=\"b\"} | x=1 or y=2 or z=3", "{a=\"b\"} | ( ( x==1 or y==2 ) or z==3 )"},
    {"{a=\"b\"} | (x=1 or y=2) (z=3)", "{a=\"b\"} | ( ( x==1 or y==2 ) , z==3 )"},
    /* Range aggregations, in all the orders in which their parts may stand. */
    {"rate({a=\"b\"}[5m])", NULL},
    {"RATE({a=\"b\"}[1d2h])", "rate({a=\"b\"}[1d2h])"},
    {"count_over_time({a=\"b\"} | json[1h] offset 5m)",
     "count_over_time({a=\"b\"} | json[1h] offset 5m0s)"},
    {"count_over_time({a=\"b\"}[1h] offset -5m | json)",
     "count_over_time({a=\"b\"} | json[1h] offset -5m0s)"},
    {"count_over_time(({a=\"b\"} |= \"x\")[1h] offset 1s)",
     "count_over_time({a=\"b\"} |= \"x\"[1h] offset 1s)"},
    {"count_over_time((({a=\"b\"}[1h])))", "count_over_time({a=\"b\"}[1h])"},
    {"sum_over_time(({a=\"b\"} | json | unwrap c)[1m])",
     "sum_over_time({a=\"b\"} | json | unwrap c[1m])"},
    {"sum_over_time(({a=\"b\"})[1m] | unwrap c | d=\"e\")",
     "sum_over_time({a=\"b\"} | unwrap c | d=\"e\"[1m])"},
    {"sum_over_time({a=\"b\"}[1m] | json | unwrap bytes(c))",
     "sum_over_time({a=\"b\"} | json | unwrap bytes(c)[1m])"},
    {"avg_over_time({a=\"b\"} | unwrap duration_seconds(c) | __error__=\"\", d>5 [1m]) by (e,f)",
     "avg_over_time({a=\"b\"} | unwrap duration_seconds(c) | ( __error__=\"\" , d>5 )[1m]) by "
     "(e,f)"},
    {"sum_over_time({a=\"b\"} | unwrap duration [1m])",
     "sum_over_time({a=\"b\"} | unwrap duration[1m])"},
    {"quantile_over_time(.99, {a=\"b\"} | unwrap c [1m]) without ()",
     "quantile_over_time(0.99,{a=\"b\"} | unwrap c[1m]) without ()"},
    {"rate_counter({a=\"b\"} | unwrap c[1m])", NULL},
    {"absent_over_time({a=\"b\"}[1m])", NULL},
    /* Vector aggregations. */
    {"sum(rate({a=\"b\"}[5m]))", NULL},
    {"sum(rate({a=\"b\"}[5m])) by (c, d)", "sum by (c,d)(rate({a=\"b\"}[5m]))"},
    {"Sum BY () (rate({a=\"b\"}[5m]))", "sum(rate({a=\"b\"}[5m]))"},
    {"avg without () (rate({a=\"b\"}[5m]))", "avg without ()(rate({a=\"b\"}[5m]))"},
    {"topk(5, rate({a=\"b\"}[5m])) by (c)", "topk by (c)(5,rate({a=\"b\"}[5m]))"},
    {"bottomk by (c) (5, rate({a=\"b\"}[5m]))", "bottomk by (c)(5,rate({a=\"b\"}[5m]))"},
    {"approx_topk(1,rate({a=\"b\"}[5m]))", NULL},
    {"sort_desc(sort(rate({a=\"b\"}[5m])))", NULL},
    {"max(1 + rate({a=\"b\"}[5m]))", "max((1 + rate({a=\"b\"}[5m])))"},
    {"sum(1)", NULL},
    {"sum(-1)", NULL},
    /* Operators, literals. */
    {"1 + 2 * 3 - 4", "3"},
    {"2 ^ 3 ^ 2", "512"},
    {"-2 ^ 2", "4"},
    {"10 % 4 / 2", "1"},
    {"1 / 0", "NaN"},
    {"1 % 0", "NaN"},
    {"1 == bool 1", "1"},
    {"2 > 3", "0"},
    {"(1)", "1"},
    {"1e21 * 10", "1e+22"},
    {"vector(1.5)", "vector(1.500000)"},
    {"rate({a=\"b\"}[5m]) + rate({a=\"c\"}[5m]) * 2",
     "(rate({a=\"b\"}[5m]) + (rate({a=\"c\"}[5m]) * 2))"},
    {"rate({a=\"b\"}[5m]) - 1 - 2", "((rate({a=\"b\"}[5m]) - 1) - 2)"},
    {"rate({a=\"b\"}[5m]) or rate({a=\"c\"}[5m]) and rate({a=\"d\"}[5m]) unless "
     "rate({a=\"e\"}[5m])",
     "(rate({a=\"b\"}[5m]) or ((rate({a=\"c\"}[5m]) and rate({a=\"d\"}[5m])) unless "
     "rate({a=\"e\"}[5m])))"},
    {"rate({a=\"b\"}[5m]) > bool on (c) group_left (d) rate({a=\"c\"}[5m])",
     "(rate({a=\"b\"}[5m]) > bool on (c) group_left (d) rate({a=\"c\"}[5m]))"},
    {"rate({a=\"b\"}[5m]) / ignoring (c,d) group_right rate({a=\"c\"}[5m])",
     "(rate({a=\"b\"}[5m]) / ignoring (c,d) group_right rate({a=\"c\"}[5m]))"},
    {"rate({a=\"b\"}[5m]) * on () vector(2)", "(rate({a=\"b\"}[5m]) * on ()  vector(2.000000))"},
    {"label_replace(rate({a=\"b\"}[5m]), \"c\", \"$1\", \"d\", \"(.*)\")",
     "label_replace(rate({a=\"b\"}[5m]),\"c\",\"$1\",\"d\",\"(.*)\")"},
};

static void formats_and_reads_back(void) {
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct str query = str_from(good[i].query);
        struct str want = good[i].want ? str_from(good[i].want) : query;
        if (want.size == 0)
            continue;
        CHECK_STR(parse_and_format(query), want);
        /* What is printed parses to the same. Exceptions: constants that no literal can spell. */
        if (str_eq(want, STR("NaN")))
            continue;
        CHECK_STR(parse_and_format(want), want);
    }
}

#define NEEDS_MATCHER                                                                              \
    "parse error : queries require at least one regexp or equality matcher that does not have an " \
    "empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but "       \
    "app=~\".+\" will"

static const struct {
    const char *query, *want;
} bad[] = {
    {"rate({a=\"b\"}[5minutes])",
     "parse error at line 0, col 13: unknown unit \"minutes\" in duration \"5minutes\""},
    {"rate({a=\"b\"}[1.5h])",
     "parse error at line 0, col 13: unknown unit \".\" in duration \"1.5h\""},
    {"rate({a=\"b\"}[1000y])", "parse error at line 0, col 13: duration out of range"},
    {"rate({a=\"b\"}[290y2000w])", "parse error at line 0, col 13: duration out of range"},
    {"rate({a=\"b\"}[1s1m])",
     "parse error at line 0, col 13: not a valid duration string: \"1s1m\""},
    {"rate({a=\"b\"}[99999999999999999999s])",
     "parse error at line 0, col 13: not a valid duration string: \"99999999999999999999s\""},
    {"1e400", "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing "
              "\"1e400\": value out of range"},
    {"{a=\"b\"} |> \"x <c> <d>\"",
     "parse error : stage '|> \"x <c> <d>\"' : named captures are not allowed: found '<c>'"},
    {"{a=\"b\"} | pattern ``",
     "parse error : invalid pattern parser: parse error at line 1, col 1: syntax error: unexpected "
     "$end, expecting IDENTIFIER or LITERAL"},
    {"variants", "parse error at line 1, col 9: syntax error: unexpected $end, expecting ("},
    {"variants(1) by", "parse error at line 1, col 13: syntax error: unexpected by, expecting of"},
    {"(variants(1) of ({a=\"b\"}[1m]))",
     "parse error at line 1, col 30: syntax error: unexpected )"},
    {"sum(variants(1) of ({a=\"b\"}[1m]))",
     "parse error at line 1, col 33: syntax error: unexpected )"},
    {"variants(1) of ({a=~\".*\"}[1m])",
     "parse error : queries require at least one regexp or equality matcher that does not have an "
     "empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but "
     "app=~\".+\" will"},
    {"", "parse error : syntax error: unexpected $end"},
    {"{", "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"},
    {"{a=\"b\"", "parse error at line 1, col 7: syntax error: unexpected $end, expecting } or ,"},
    {"{a=\"b\",}",
     "parse error at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER"},
    {"{\na-b=\"c\"}",
     "parse error at line 2, col 2: syntax error: unexpected -, expecting = or =~ or !~ or !="},
    {"{a=1}", "parse error at line 1, col 4: syntax error: unexpected NUMBER, expecting STRING"},
    {"{json=\"x\"}",
     "parse error at line 1, col 2: syntax error: unexpected json, expecting IDENTIFIER or }"},
    {"{}", NEEDS_MATCHER},
    {"{a=~\".*\", b!=\"c\", d=\"\"}", NEEDS_MATCHER},
    {"sum(rate({a=~\"x|\"}[1m]))", NEEDS_MATCHER},
    {"{a=~\"(\"}", "parse error : error parsing regexp: missing closing ): `(`"},
    {"{a=~\"[z-a]\"}", "parse error : error parsing regexp: invalid character class range: `z-a`"},
    {"{a=~\"*\"}",
     "parse error : error parsing regexp: missing argument to repetition operator: `*`"},
    {"{a=~\"a\\\\C\"}", "parse error : error parsing regexp: invalid escape sequence: `\\C`"},
    {"{a=~\"a)\"}", "parse error : error parsing regexp: unexpected ): `a)`"},
    {"{a=\"b\"} |= \"x", "parse error at line 1, col 12: literal not terminated"},
    {"{a=\"b\"} |= \"\\q\"", "parse error at line 1, col 12: invalid char escape"},
    {"{a=\"b\"} |= \"\xff\"", "parse error at line 1, col 12: invalid UTF-8 encoding"},
    {"{a=\"b\"} |= 5", "parse error at line 1, col 12: syntax error: unexpected NUMBER, expecting "
                       "STRING or ip"},
    {"{a=\"b\"} | |= \"x\"", "parse error at line 0, col 11: syntax error: unexpected |="},
    {"{a=\"b\"} | foo", "parse error at line 1, col 14: syntax error: unexpected $end"},
    {"{a=\"b\"} | x > 350mb", "parse error at line 1, col 20: syntax error: unexpected $end"},
    {"{a=\"b\"} | x > 08", "parse error at line 1, col 15: invalid digit '8' in octal literal"},
    {"{a=\"b\"} | (x=1", "parse error at line 1, col 15: syntax error: unexpected $end"},
    {"{a=\"b\"} | x=1 and",
     "parse error at line 1, col 18: syntax error: unexpected $end, expecting "
     "IDENTIFIER or ("},
    {"{a=\"b\"} | unwrap x", "parse error at line 1, col 11: syntax error: unexpected unwrap"},
    {"{a=\"b\"} | label_format c", "parse error at line 1, col 25: syntax error: unexpected $end, "
                                   "expecting ="},
    {"{a=\"b\"} | label_format c=5",
     "parse error at line 1, col 26: syntax error: unexpected NUMBER, "
     "expecting IDENTIFIER or STRING"},
    {"{a=\"b\"} | label_format c=d,c=e",
     "parse error : stage '| label_format c=d,c=e' : multiple label name 'c' not allowed in a "
     "single format operation"},
    {"{a=\"b\"} | label_format __error__=d",
     "parse error : stage '| label_format __error__=d' : __error__ cannot be formatted"},
    {"{a=\"b\"} | regexp \"x\"",
     "parse error : invalid regexp parser: at least one named capture must be supplied"},
    {"{a=\"b\"} | regexp \"(?P<c>x)(?P<c>y)\"",
     "parse error : invalid regexp parser: duplicate extracted label name 'c'"},
    {"{a=\"b\"} | regexp \"(?P<c-d>x)\"", "parse error : invalid regexp parser: error parsing "
                                          "regexp: invalid named capture: `(?P<c-d>`"},
    {"{a=\"b\"} | pattern \"x\"",
     "parse error : invalid pattern parser: at least one capture is required"},
    {"{a=\"b\"} | pattern \"<c><d>\"",
     "parse error : invalid pattern parser: found consecutive capture "
     "'<c><d>': invalid expression"},
    {"{a=\"b\"} | pattern \"<c> <c>\"",
     "parse error : invalid pattern parser: duplicate capture name (c): invalid expression"},
    {"{a=\"b\"} |= \"x\" |~ \"(\"",
     "parse error : stage '|= \"x\" |~ \"(\"' : error parsing regexp: missing closing ): `(`"},
    {"{a=\"b\"} |~ ip(\"1.2.3.4\")",
     "parse error : stage '|~ ip(\"1.2.3.4\")' : ip: invalid operation"},
    {"{a=\"b\"} |= ip(\"1.2.3\")",
     "parse error : stage '|= ip(\"1.2.3\")' : ip: invalid pattern: \"1.2.3\""},
    {"{a=\"b\"} | x=ip(\"10.0.0.0/33\")",
     "parse error : stage '| x=ip(\"10.0.0.0/33\")' : ip: invalid pattern: \"10.0.0.0/33\""},
    {"rate({a=\"b\"})", "parse error at line 1, col 13: syntax error: unexpected )"},
    {"rate({a=\"b\"}[5])", "parse error at line 0, col 13: not a valid duration string: \"5\""},
    {"rate({a=\"b\"}[])", "parse error at line 0, col 13: empty duration string"},
    {"rate({a=\"b\"}[5m", "parse error at line 0, col 13: missing closing ']' in duration"},
    {"rate({a=\"b\"}[5m]",
     "parse error at line 1, col 17: syntax error: unexpected $end, expecting )"},
    {"rate(({a=\"b\"}))",
     "parse error at line 1, col 15: syntax error: unexpected ), expecting RANGE"},
    {"rate(rate({a=\"b\"}[5m])[5m])",
     "parse error at line 1, col 6: syntax error: unexpected RATE, expecting NUMBER or { or ("},
    {"{a=\"b\"}[5m]", "parse error at line 0, col 8: syntax error: unexpected RANGE"},
    {"rate({a=\"b\"} | unwrap)", "parse error at line 1, col 22: syntax error: unexpected ), "
                                 "expecting IDENTIFIER or BYTES_CONV or "
                                 "DURATION_CONV or DURATION_SECONDS_CONV"},
    {"rate({a=\"b\"} | unwrap x |= \"y\" [1m])",
     "parse error at line 0, col 25: syntax error: unexpected |=, expecting RANGE or |"},
    {"sum_over_time({a=\"b\"}[5m])",
     "parse error : invalid aggregation sum_over_time without unwrap"},
    {"count_over_time({a=\"b\"} | unwrap c [5m])",
     "parse error : invalid aggregation count_over_time with unwrap"},
    {"quantile_over_time({a=\"b\"} | unwrap c [5m])",
     "parse error : parameter required for operation quantile_over_time"},
    {"rate(5, {a=\"b\"}[5m])", "parse error : parameter 5 not supported for operation rate"},
    {"rate({a=\"b\"}[5m]) by (c)", "parse error : grouping not allowed for rate aggregation"},
    {"sum by c (rate({a=\"b\"}[5m]))",
     "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"},
    {"sum by (c,) (rate({a=\"b\"}[5m]))",
     "parse error at line 1, col 11: syntax error: unexpected ), expecting IDENTIFIER"},
    {"topk(rate({a=\"b\"}[5m]))", "parse error : parameter required for operation topk"},
    {"topk(1.5, rate({a=\"b\"}[5m]))", "parse error : invalid parameter topk(1.5,"},
    {"topk(0, rate({a=\"b\"}[5m]))",
     "parse error : invalid parameter (must be greater than 0) topk(0"},
    {"sort(1, rate({a=\"b\"}[5m]))", "parse error : unsupported parameter for operation sort(1,"},
    {"sort(rate({a=\"b\"}[5m])) by (c)",
     "parse error : sort and sort_desc doesn't allow grouping by "},
    {"sum({a=\"b\"})", "parse error at line 1, col 12: syntax error: unexpected )"},
    {"{a=\"b\"} or {a=\"c\"}",
     "parse error : unexpected type for left leg of binary operation (or): *syntax.MatchersExpr"},
    {"1 + {a=\"b\"} | json",
     "parse error : unexpected type for right leg of binary operation (+): *syntax.PipelineExpr"},
    {"1 and 2", "parse error : unexpected literal for left leg of logical/set binary operation "
                "(and): 1.000000"},
    {"rate({a=\"b\"}[5m]) unless 1",
     "parse error : unexpected literal for right leg of logical/set "
     "binary operation (unless): 1.000000"},
    {"vector(-1)", "parse error at line 1, col 8: syntax error: unexpected -, expecting NUMBER"},
    {"1 + 0x10", "parse error : unable to parse literal as a float: strconv.ParseFloat: parsing "
                 "\"0x10\": invalid syntax"},
    {"label_replace(rate({a=\"b\"}[5m]),\"c\",\"d\",\"e\",\"(\")",
     "parse error : invalid regex in label_replace: error parsing regexp: missing closing ): `(`"},
    /* A faulty operation hides what is wrong inside it; what is wrong in the text comes first. */
    {"topk(sum_over_time({}[5m]))", "parse error : parameter required for operation topk"},
    {"topk(rate({a=\"b\"}[5m]",
     "parse error at line 1, col 22: syntax error: unexpected $end, expecting )"},
};

static void refuses_as_loki_does(void) {
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_STR(parse_and_format(str_from(bad[i].query)), str_from(bad[i].want));
}

static const struct expr *parse(const char *query, struct parsed_query **ret) {
    int r = query_parse(str_from(query), ret, &err);
    CHECK_INT(r, 0);
    if (r < 0)
        printf("  %s: %s\n", query, err.text);
    return r < 0 ? NULL : parsed_query_expr(*ret);
}

static void fills_the_tree(void) {
    struct parsed_query *q;
    const struct expr *e = parse("{a=~\"b|c\", d!~\"e.+\"} |~ \"f\" | g>=1.5s", &q);
    CHECK_INT(e->kind, EXPR_LOG);
    const struct matcher *m = e->log.matchers;
    CHECK_INT(e->log.n_matchers, 2);
    CHECK_INT(m[0].set_count, 2);
    CHECK_STR(m[0].set[1], STR("c"));
    CHECK(matcher_accepts(&m[0], STR("b")));
    CHECK(!matcher_accepts(&m[0], STR("bc")));
    CHECK(matcher_accepts(&m[1], STR("e")));
    CHECK(!matcher_accepts(&m[1], STR("e\n")));
    const struct stage *s = e->log.stages;
    CHECK(s->line_filter.operands->regex != NULL);
    CHECK_INT(s->offset, 21);
    CHECK_INT(s->next->filter->kind, FILTER_DURATION);
    CHECK_INT(s->next->filter->compare, CMP_GTE);
    CHECK(s->next->filter->number == 1.5e9);
    CHECK_STR(s->next->filter->text, STR("1.5s"));
    parsed_query_free(q);

    e = parse(
        "quantile_over_time(0.5, {a=\"b\"} | unwrap duration(c) | d=\"e\" [2h] offset 1m) by (f)",
        &q);
    CHECK_INT(e->kind, EXPR_RANGE);
    CHECK(e->range.parameter == 0.5);
    CHECK_INT(e->range.range_ns, INT64_C(7200000000000));
    CHECK_INT(e->range.offset_ns, INT64_C(60000000000));
    CHECK_INT(e->range.unwrap->conversion, UNWRAP_DURATION);
    CHECK_STR(e->range.unwrap->label, STR("c"));
    CHECK_INT(e->range.unwrap->post_filters->kind, STAGE_LABEL_FILTER);
    CHECK(e->range.grouping.present && !e->range.grouping.without);
    CHECK_STR(e->range.grouping.names[0], STR("f"));
    parsed_query_free(q);

    e = parse("topk(3, rate({a=\"b\"}[5m])) == bool on (c) group_right (d, e) vector(1)", &q);
    CHECK_INT(e->kind, EXPR_BINARY);
    CHECK(e->binary.return_bool && e->binary.has_matching && e->binary.on);
    CHECK_INT(e->binary.card, CARD_ONE_TO_MANY);
    CHECK_INT(e->binary.n_include, 2);
    CHECK_INT(e->binary.left->vector_agg.parameter, 3);
    CHECK(!e->binary.left->vector_agg.grouping.present);
    parsed_query_free(q);

    e = parse("{a=\"b\"} | json c, d=\"e\" | logfmt --strict", &q);
    CHECK_STR(e->log.stages->extract.list->expression, STR("c"));
    CHECK_STR(e->log.stages->extract.list->next->expression, STR("e"));
    CHECK(e->log.stages->next->extract.strict && !e->log.stages->next->extract.list);
    parsed_query_free(q);
}

static void prettifies(void) {
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"{a=\"b\"}|json", "{a=\"b\"} | json"},
        {"sum by (averyveryveryverylonglabelname, b) (rate({app=\"api\", "
         "environment=\"production\"} |= "
         "\"something\" | json [5m]))",
         "sum by (averyveryveryverylonglabelname, b)(\n"
         "  rate({app=\"api\", environment=\"production\"} |= \"something\" | json[5m])\n"
         ")"},
        {"{app=\"api\", environment=\"production\"} |= \"something long enough to be broken\" != "
         "\"debug\" | json | line_format \"{{.method}}\"",
         "{app=\"api\", environment=\"production\"}\n"
         "  |= \"something long enough to be broken\" != \"debug\"\n"
         "  | json\n"
         "  | line_format \"{{.method}}\""},
        {"{app=\"api\", environment=\"production\"} | decolorize | line_format "
         "\"something long enough to be broken into lines\" | json",
         "{app=\"api\", environment=\"production\"}\n"
         "| decolorize\n"
         "  | line_format \"something long enough to be broken into lines\"\n"
         "  | json"},
        {"(sum(rate({app=\"api\", environment=\"production\"}[5m])) + sum(rate({app=\"api\", "
         "environment=\"staging\"}[5m]))) / (1 / sum by (a) (rate({app=\"api\"}[5m])))",
         "  (\n      sum(rate({app=\"api\", environment=\"production\"}[5m]))\n"
         "    +\n      sum(rate({app=\"api\", environment=\"staging\"}[5m]))\n  )\n/\n"
         "  (1 / sum by (a)(rate({app=\"api\"}[5m])))"},
        {"avg_over_time({app=\"api\", environment=\"production\"} | json | unwrap "
         "a_long_label_name_here "
         "[5m]) by ()",
         "avg_over_time(\n  {app=\"api\", environment=\"production\"} | json\n"
         "    | unwrap a_long_label_name_here [5m]\n) by ()"},
        {"rate({app=\"api\"}[5m]) * on (a) group_left () (rate({app=\"web\"}[5m]) + 1)",
         "(rate({app=\"api\"}[5m]) * on (a) group_left () (rate({app=\"web\"}[5m]) + 1))"},
        {"variants(sum by (a) (rate({app=\"api\"} | json [1m])), "
         "count_over_time({app=\"api\"}[1m])) of "
         "({app=\"api\"}[1m])",
         "variants(\n  sum by (a)(rate({app=\"api\"} | json[1m])),\n"
         "  count_over_time({app=\"api\"}[1m])\n) of (\n  {app=\"api\"} [1m]\n)"},
        {"topk(5, quantile_over_time(0.99, {app=\"api\", environment=\"production\"} | json | "
         "unwrap "
         "bytes(a_rather_long_label_name_to_break_the_line) [5m] offset 1h) by (b)) > 1",
         "  topk(\n    5,\n    quantile_over_time(\n      0.99,\n"
         "      {app=\"api\", environment=\"production\"} | json\n"
         "        | unwrap bytes(a_rather_long_label_name_to_break_the_line) [5m] offset 1h\n"
         "    ) by (b)\n  )\n>\n  1"},
    };
    struct buf b = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct parsed_query *q;
        const struct expr *e = parse(cases[i].query, &q);
        if (!e)
            continue;
        buf_clear(&b);
        expr_pretty(&b, e);
        CHECK_STR(buf_str(&b), str_from(cases[i].want));
        parsed_query_free(q);
    }
    buf_done(&b);
}

static void reads_selectors(void) {
    struct parsed_query *q;
    CHECK_INT(selector_parse(STR("{a=\"b\"}"), false, &q, &err), 0);
    CHECK_INT(parsed_query_expr(q)->log.n_matchers, 1);
    parsed_query_free(q);
    CHECK_INT(selector_parse(STR("{}"), true, &q, &err), 0);
    parsed_query_free(q);
    CHECK_INT(selector_parse(STR("{}"), false, &q, &err), -ESYNTAX);
    CHECK_STR(str_from(err.text), STR(NEEDS_MATCHER));
    static const char *const others[] = {"{a=\"b\"} | json", "rate({a=\"b\"}[5m])", "1"};
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(selector_parse(str_from(others[i]), true, &q, &err), -ESYNTAX);
        CHECK_STR(str_from(err.text), STR("only label matchers are supported"));
    }
    CHECK_INT(selector_parse(STR("{a="), true, &q, &err), -ESYNTAX);
}

static void unchecked_leaves_stages_alone(void) {
    struct parsed_query *q;
    CHECK_INT(query_parse_unchecked(STR("{a=\"b\"} |~ \"(\" | x=ip(\"y\")"), &q, &err), 0);
    struct buf b = buf_make(BUF_NO_MAX);
    expr_format(&b, parsed_query_expr(q));
    CHECK_STR(buf_str(&b), STR("{a=\"b\"} |~ \"(\" | x=ip(\"y\")"));
    buf_done(&b);
    parsed_query_free(q);
    CHECK_INT(query_parse_unchecked(STR("{}"), &q, &err), -ESYNTAX);
}

/* `head` once, then `part` so often, then `tail`. */
static struct str repeated(struct buf *b, const char *head, const char *part, int count,
                           const char *tail) {
    buf_clear(b);
    buf_add_str(b, str_from(head));
    for (int i = 0; i < count; i++)
        buf_add_str(b, str_from(part));
    buf_add_str(b, str_from(tail));
    return buf_str(b);
}

static void holds_its_limits(void) {
    struct buf b = buf_make(BUF_NO_MAX);
    struct parsed_query *q;
    static const struct {
        const char *head, *part;
        int fits;
        const char *tail, *want;
    } cases[] = {
        {"{a=\"", "x", QUERY_TEXT_MAX - 7, "\"}",
         "parse error : input size too long (131072 > 131072)"},
        {"", "(", QUERY_DEPTH_MAX - 1, "1",
         "parse error : query is nested more than 64 levels deep"},
        {"1", "+1", 2000, "", NULL},
        {"rate({a=\"b\"}[1m])", "+rate({a=\"b\"}[1m])", QUERY_TREE_DEPTH_MAX - 1, "",
         "parse error : query is nested more than 256 levels deep"},
        {"{a=\"b\"} | x=1", " or x=1", QUERY_FILTERS_MAX - 1, "",
         "parse error : label filter has more than 1000 conditions"},
        {"{a=\"b\"} | ", "(", QUERY_FILTERS_MAX - 1, "",
         "parse error : label filter has more than 1000 conditions"},
        {"{a=\"b\"}", " |~ \"x\"", QUERY_REGEX_MAX, "",
         "parse error : query has more than 256 regular expressions"},
        {"{a=\"b\"}", " |= \"x\"", 5000, "", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str text = repeated(&b, cases[i].head, cases[i].part, cases[i].fits, cases[i].tail);
        err.text[0] = '\0';
        int r = query_parse(text, &q, &err);
        if (r == 0)
            parsed_query_free(q);
        bool limit = strstr(err.text, "more than") || strstr(err.text, "too long");
        CHECK(!limit);
        if (limit)
            printf("  case %zu: %s\n", i, err.text);
        if (!cases[i].want)
            continue;
        text = repeated(&b, cases[i].head, cases[i].part, cases[i].fits + 1, cases[i].tail);
        CHECK_INT(query_parse(text, &q, &err), -ESYNTAX);
        CHECK_STR(str_from(err.text), str_from(cases[i].want));
    }
    buf_done(&b);
}

int main(void) {
    RUN(formats_and_reads_back);
    RUN(refuses_as_loki_does);
    RUN(fills_the_tree);
    RUN(prettifies);
    RUN(reads_selectors);
    RUN(unchecked_leaves_stages_alone);
    RUN(holds_its_limits);
    return test_done();
}
