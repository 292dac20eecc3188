#include "pipeline.h"

#include <stdlib.h>

#include "buf.h"
#include "parser.h"
#include "test.h"

#define STR_INIT(literal)                                                                          \
    { .data = "" literal, .size = sizeof(literal) - 1 }

static struct buf text;

/* name="value" pairs, in order. */
static void put_labels(struct buf *out, struct labels l) {
    for (size_t i = 0; i < l.count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_str(out, l.items[i].name);
        buf_add_char(out, '=');
        buf_add_str(out, l.items[i].value);
    }
}

struct fixture {
    struct parsed_query *query;
    struct pipeline *pipeline;
    struct pipeline_run *run;
};

static bool open_with(struct fixture *f, const char *query, struct label_needs needs) {
    struct err err = {0};
    *f = (struct fixture){0};
    if (query_parse(str_from(query), &f->query, &err) < 0) {
        printf("  %s: %s\n", query, err.text);
        return false;
    }
    const struct expr *e = parsed_query_expr(f->query);
    const struct log_expr *log = e->kind == EXPR_RANGE ? &e->range.log : &e->log;
    struct pipeline_options o = {
        .needs = needs,
        .unwrap = e->kind == EXPR_RANGE ? e->range.unwrap : NULL,
    };
    if (pipeline_compile(log->stages, &o, &f->pipeline, &err) < 0) {
        printf("  %s: %s\n", query, err.text);
        return false;
    }
    f->run = pipeline_run_new(f->pipeline);
    return f->run != NULL;
}

static bool open_query(struct fixture *f, const char *query) {
    return open_with(f, query, (struct label_needs){.all = true});
}

static void close_query(struct fixture *f) {
    pipeline_run_free(f->run);
    pipeline_free(f->pipeline);
    parsed_query_free(f->query);
}

static const struct label stream_items[] = {
    {STR_INIT("app"), STR_INIT("api")},
    {STR_INIT("env"), STR_INIT("prod")},
};
static const struct labels stream = {stream_items, 2};
static const struct label meta_items[] = {
    {STR_INIT("env"), STR_INIT("meta")},
    {STR_INIT("trace"), STR_INIT("t1")},
};

static bool run_line(struct fixture *f, struct str line, struct pipeline_output *out) {
    struct pipeline_line in = {.line = line, .meta = meta_items, .meta_count = 2};
    return pipeline_run_line(f->run, &in, out);
}

/* "line|merged labels without those of stream and metadata that are always there" or "-" when dropped. */
static struct str result(struct fixture *f, const char *line) {
    struct pipeline_output out;
    buf_clear(&text);
    pipeline_run_stream(f->run, stream);
    if (!run_line(f, str_from(line), &out))
        return STR("-");
    const struct line_labels *l = pipeline_run_labels(f->run);
    if (!l)
        return STR("no memory");
    put_labels(&text, l->parsed);
    buf_add_char(&text, '|');
    buf_add_str(&text, out.line);
    return buf_str(&text);
}

struct row {
    const char *query, *line, *want; /* parsed labels|line; want NULL = dropped */
};

static void check_rows(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct fixture f;
        bool opened = open_query(&f, rows[i].query);
        CHECK(opened);
        if (opened) {
            int before = test_case_failures;
            struct str want = rows[i].want ? str_from(rows[i].want) : STR("-");
            CHECK_STR(result(&f, rows[i].line), want);
            CHECK_STR(result(&f, rows[i].line), want); /* warm */
            if (test_case_failures != before)
                printf("    in %s over %s\n", rows[i].query, rows[i].line);
        }
        close_query(&f);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void line_filters(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} |= \"needle\"", "hay needle hay", "|hay needle hay"},
        {"{a=\"b\"} |= \"needle\"", "hay needl", NULL},
        {"{a=\"b\"} |= \"\"", "x", "|x"},
        {"{a=\"b\"} != \"\"", "x", NULL},
        {"{a=\"b\"} |= \"a\" or \"b\"", "xxb", "|xxb"},
        {"{a=\"b\"} != \"a\" or \"b\"", "xxb", NULL},
        {"{a=\"b\"} != \"a\" or \"b\"", "xxc", "|xxc"},
        {"{a=\"b\"} |~ \"a+b\"", "xaab", "|xaab"},
        {"{a=\"b\"} !~ \"a+b\"", "xaab", NULL},
        {"{a=\"b\"} |~ \"x\" or \"a.b\"", "acb", "|acb"},
        {"{a=\"b\"} |= \"0123456789abcdefX\"", "......0123456789abcdefX",
         "|......0123456789abcdefX"},
        {"{a=\"b\"} |= \"0123456789abcdefX\"", "0123456789abcdef0123456789abcdefY", NULL},
        {"{a=\"b\"} |= \"z\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaz",
         "|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaz"},
    };
    CHECK_ROWS(rows);
}

#define JSON_ERROR_LABELS(details) "__error__=JSONParserErr,__error_details__=" details

static void json_stage(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | json", "{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":null,\"e\":[1,{\"f\":2}]}",
         "a=1,b=x,c=true|{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":null,\"e\":[1,{\"f\":2}]}"},
        {"{a=\"b\"} | json", "{\"a\":{\"b\":{\"c\":\"d\"},\"1\":2}}",
         "a_1=2,a_b_c=d|{\"a\":{\"b\":{\"c\":\"d\"},\"1\":2}}"},
        {"{a=\"b\"} | json", " {\"x\" : \"y\" } trailing", "x=y| {\"x\" : \"y\" } trailing"},
        {"{a=\"b\"} | json", "{\"a\":1,\"a\":2}", "a=1|{\"a\":1,\"a\":2}"},
        {"{a=\"b\"} | json", "{\"a\":{\"b\":1},\"a_b\":2}", "a_b=1|{\"a\":{\"b\":1},\"a_b\":2}"},
        {"{a=\"b\"} | json", "{\"a\":1,}", "a=1|{\"a\":1,}"},
        {"{a=\"b\"} | json", "{\"with-dash\":1,\"1num\":2,\"\xeb\xa9\x94\":3,\" sp \":4,\"\":5}",
         "_=3,_1num=2,sp=4,with_dash=1|{\"with-dash\":1,\"1num\":2,\"\xeb\xa9\x94\":3,\" sp "
         "\":4,\"\":5}"},
        {"{a=\"b\"} | json", "{\"app\":1,\"trace\":2,\"env\":3,\"env_extracted\":4}",
         "app_extracted=1,env_extracted=3,trace_extracted=2|{\"app\":1,\"trace\":2,\"env\":3,\"env_"
         "extracted\":4}"},
        {"{a=\"b\"} | json", "{\"a\":\"\\u0041\\n\\ud83d\\ude00\"}",
         "a=A\n\xf0\x9f\x98\x80|{\"a\":\"\\u0041\\n\\ud83d\\ude00\"}"},
        {"{a=\"b\"} | json", "{\"a\":\"\\ud800 x\"}", "a=|{\"a\":\"\\ud800 x\"}"},
        {"{a=\"b\"} | json", "{\"a\":\"x\xef\xbf\xbdy\"}", "a=x y|{\"a\":\"x\xef\xbf\xbdy\"}"},
        {"{a=\"b\"} | json", "{\"k\\u0065y\":1}", "key=1|{\"k\\u0065y\":1}"},
        /* Errors: what was found before them stays. */
        {"{a=\"b\"} | json", "{\"a\":1,\"b\":}",
         JSON_ERROR_LABELS("Unknown value type") ",a=1|{\"a\":1,\"b\":}"},
        {"{a=\"b\"} | json", "{\"a\":", JSON_ERROR_LABELS("Malformed JSON error") "|{\"a\":"},
        {"{a=\"b\"} | json", "{\"a\":1,\"n\":{\"x\":1,\"y\":2",
         JSON_ERROR_LABELS(
             "Value looks like object, but can't find closing '}' symbol") ",a=1|{\"a\":1,\"n\":{"
                                                                           "\"x\":1,\"y\":2"},
        {"{a=\"b\"} | json", "plain",
         JSON_ERROR_LABELS("Value looks like object, but can't find closing '}' symbol") "|plain"},
        {"{a=\"b\"} | json", "{\"a\":\"x}",
         JSON_ERROR_LABELS("Value is string, but can't find closing '\"' symbol") "|{\"a\":\"x}"},
        {"{a=\"b\"} | json", "{\"a\":[1,2}",
         JSON_ERROR_LABELS("Value is array, but can't find closing ']' symbol") "|{\"a\":[1,2}"},
        {"{a=\"b\"} | json", "",
         JSON_ERROR_LABELS("Value looks like object, but can't find closing '}' symbol") "|"},
        {"{a=\"b\"} | json", "{}", "|{}"},
        {"{a=\"b\"} | json | json", "{\"a\":1}", "a=1|{\"a\":1}"},
        {"{a=\"b\"} | json | __error__=\"\"", "{\"a\":", NULL},
        {"{a=\"b\"} | json | drop __error__",
         "{\"a\":", "__error_details__=Malformed JSON error|{\"a\":"},
    };
    CHECK_ROWS(rows);
}

static void logfmt_stage(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | logfmt", "a=1 b=\"x y\" c= d e=\"q\\\"q\" a=2",
         "a=1,b=x y,e=q\"q|a=1 b=\"x y\" c= d e=\"q\\\"q\" a=2"},
        {"{a=\"b\"} | logfmt", "a=1 =x b=\"y c=2", "a=1|a=1 =x b=\"y c=2"},
        {"{a=\"b\"} | logfmt", "a=x=y b=2", "b=2|a=x=y b=2"},
        {"{a=\"b\"} | logfmt", "app=1 with-dash=2 trace=3",
         "app_extracted=1,trace_extracted=3,with_dash=2|app=1 with-dash=2 trace=3"},
        {"{a=\"b\"} | logfmt", "c=\"x\ny\\\\z\" d=\"a\\q\"",
         "c=x\ny\\z|c=\"x\ny\\\\z\" d=\"a\\q\""},
        {"{a=\"b\"} | logfmt", "", "|"},
        {"{a=\"b\"} | logfmt --keep-empty", "a= b", "a=,b=|a= b"},
        {"{a=\"b\"} | logfmt --strict", "a=1 =x b=2",
         "__error__=LogfmtParserErr,__error_details__=logfmt syntax error at pos 5 : unexpected "
         "'=',a=1|a=1 =x b=2"},
        {"{a=\"b\"} | logfmt --strict", "a=\"x",
         "__error__=LogfmtParserErr,__error_details__=logfmt syntax error at pos 5 : unterminated "
         "quoted value|a=\"x"},
    };
    CHECK_ROWS(rows);
}

static void label_filters(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | json | status >= 500", "{\"status\":502}", "status=502|{\"status\":502}"},
        {"{a=\"b\"} | json | status >= 500", "{\"status\":404}", NULL},
        {"{a=\"b\"} | json | status >= 500", "{}", NULL},
        {"{a=\"b\"} | json | status=\"404\"", "{\"status\":404}", "status=404|{\"status\":404}"},
        {"{a=\"b\"} | json | missing=\"\"", "{}", "|{}"},
        {"{a=\"b\"} | json | s=\"1\" | t=\"2\"", "{\"s\":1,\"t\":2,\"s\":3}",
         "s=1,t=2|{\"s\":1,\"t\":2,\"s\":3}"},
        {"{a=\"b\"} | json | s=\"1\"", "{\" s\":1,\"s\":2}", "s=1|{\" s\":1,\"s\":2}"},
        {"{a=\"b\"} | json | s=\"a\\tb\"", "{\"s\":\"a\\tb\"}", "s=a\tb|{\"s\":\"a\\tb\"}"},
        {"{a=\"b\"} | json | s!=\"\"", "{\"s\":null}", NULL},
        {"{a=\"b\"} | json | app=\"api\"", "{\"app\":1}", "app_extracted=1|{\"app\":1}"},
        {"{a=\"b\"} | json | s > 5", "{\"s\":\"abc\"}",
         "__error__=LabelFilterErr,__error_details__=strconv.ParseFloat: parsing \"abc\": invalid "
         "syntax,s=abc|{\"s\":\"abc\"}"},
        {"{a=\"b\"} | json | s > 5s", "{\"s\":\"1d\"}",
         "__error__=LabelFilterErr,__error_details__=time: unknown unit \"d\" in duration "
         "\"1d\",s=1d|{\"s\":\"1d\"}"},
        {"{a=\"b\"} | json | s > 5s", "{\"s\":\"5\"}",
         "__error__=LabelFilterErr,__error_details__=time: missing unit in duration "
         "\"5\",s=5|{\"s\":\"5\"}"},
        {"{a=\"b\"} | json | s > 5s", "{\"s\":\"x\"}",
         "__error__=LabelFilterErr,__error_details__=time: invalid duration "
         "\"x\",s=x|{\"s\":\"x\"}"},
        {"{a=\"b\"} | json | s > 5KB", "{\"s\":\"x\"}",
         "__error__=LabelFilterErr,__error_details__=strconv.ParseFloat: parsing \"\": invalid "
         "syntax,s=x|{\"s\":\"x\"}"},
        {"{a=\"b\"} | json | d > 1m", "{\"d\":\"1m1s\"}", "d=1m1s|{\"d\":\"1m1s\"}"},
        {"{a=\"b\"} | json | d > 1KB", "{\"d\":\"1KiB\"}", "d=1KiB|{\"d\":\"1KiB\"}"},
        {"{a=\"b\"} | json | x=\"1\" or y=\"2\" and z=\"3\"", "{\"y\":2,\"z\":3}",
         "y=2,z=3|{\"y\":2,\"z\":3}"},
        {"{a=\"b\"} | json | x=\"1\" or y=\"2\" and z=\"3\"", "{\"y\":2,\"z\":4}", NULL},
        {"{a=\"b\"} | app=\"api\", env=\"prod\" | trace=\"t1\" | env_extracted=\"meta\"", "x",
         "|x"},
        {"{a=\"b\"} | json | m=~\"P.*\" | m!~\"PO.*\"", "{\"m\":\"PUT\"}", "m=PUT|{\"m\":\"PUT\"}"},
    };
    CHECK_ROWS(rows);
}

static void drop_and_keep(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | json | drop a, b=\"x\"", "{\"a\":1,\"b\":\"x\",\"c\":2}",
         "c=2|{\"a\":1,\"b\":\"x\",\"c\":2}"},
        {"{a=\"b\"} | json | drop b=\"y\"", "{\"b\":\"x\"}", "b=x|{\"b\":\"x\"}"},
        {"{a=\"b\"} | json | keep b", "{\"b\":\"x\",\"c\":1}", "b=x|{\"b\":\"x\",\"c\":1}"},
        {"{a=\"b\"} | json | drop b | json", "{\"b\":\"x\"}", "|{\"b\":\"x\"}"},
        {"{a=\"b\"} | drop trace | json", "{\"trace\":\"x\",\"app\":1}",
         "app_extracted=1,trace=x|{\"trace\":\"x\",\"app\":1}"},
        {"{a=\"b\"} | drop app | json", "{\"app\":1}", "app_extracted=1|{\"app\":1}"},
    };
    CHECK_ROWS(rows);
}

static void line_format(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | json | line_format \"{{.m}} to {{ .missing }}/{{.app}}\"", "{\"m\":\"GET\"}",
         "m=GET|GET to /api"},
        {"{a=\"b\"} | json | line_format `a {{- .m -}} b`", "{\"m\":1}", "m=1|a1b"},
        {"{a=\"b\"} | json | line_format `{{.i}}` | json", "{\"i\":\"{\\\"z\\\":1}\"}",
         "i={\"z\":1},z=1|{\"z\":1}"},
        {"{a=\"b\"} | json | line_format `{{.i}}` | line_format `{{.i}}x` |= \"1x\"", "{\"i\":1}",
         "i=1|1x"},
        {"{a=\"b\"} | json | line_format `e {{.__error__}}`", "x",
         JSON_ERROR_LABELS(
             "Value looks like object, but can't find closing '}' symbol") "|e JSONParserErr"},
    };
    CHECK_ROWS(rows);
}

static void groups_and_interning(void) {
    struct fixture f;
    struct pipeline_output out;
    CHECK(open_query(&f, "{a=\"b\"} | json"));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("{\"x\":1,\"y\":2}"), &out));
    const struct line_labels *one = pipeline_run_labels(f.run);
    CHECK(run_line(&f, STR("{\"y\":2,\"x\":1,\"x\":3}"), &out));
    CHECK(pipeline_run_labels(f.run) == one);
    buf_clear(&text);
    put_labels(&text, one->merged);
    CHECK_STR(buf_str(&text), STR("app=api,env=prod,env_extracted=meta,trace=t1,x=1,y=2"));
    buf_clear(&text);
    put_labels(&text, one->stream);
    CHECK_STR(buf_str(&text), STR("app=api,env=prod"));
    buf_clear(&text);
    put_labels(&text, one->metadata);
    CHECK_STR(buf_str(&text), STR("env_extracted=meta,trace=t1"));
    CHECK_INT(one->hash, labels_hash(one->merged));
    CHECK(run_line(&f, STR("{\"x\":2,\"y\":2}"), &out));
    const struct line_labels *two = pipeline_run_labels(f.run);
    CHECK(two != one);
    CHECK_INT(two->id, one->id + 1);

    static const struct str by_names[] = {STR_INIT("y"), STR_INIT("app"), STR_INIT("no")};
    struct grouping by = {.present = true, .names = by_names, .count = 3};
    const struct line_labels *group = pipeline_run_group(f.run, &by);
    buf_clear(&text);
    put_labels(&text, group->merged);
    CHECK_STR(buf_str(&text), STR("app=api,y=2"));
    CHECK(run_line(&f, STR("{\"x\":9,\"y\":2}"), &out));
    CHECK(pipeline_run_group(f.run, &by) == group);
    struct grouping without = by;
    without.without = true;
    group = pipeline_run_group(f.run, &without);
    buf_clear(&text);
    put_labels(&text, group->merged);
    CHECK_STR(buf_str(&text), STR("env=prod,env_extracted=meta,trace=t1,x=9"));
    /* An error keeps the whole set. */
    CHECK(run_line(&f, STR("{\"x\":9"), &out));
    CHECK_STR(pipeline_run_group(f.run, &by)->error, STR("JSONParserErr"));
    close_query(&f);
}

/* Lines with ever new names must not use memory without end, and sets stay what they were. */
static void many_names(void) {
    struct fixture f;
    struct pipeline_output out;
    CHECK(open_query(&f, "{a=\"b\"} | json"));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("{\"x\":1}"), &out));
    const struct line_labels *first = pipeline_run_labels(f.run);
    for (int i = 0; i < 50000; i++) {
        char line[64];
        int n = snprintf(line, sizeof(line), "{\"k%d\":%d}", i, i);
        CHECK(run_line(&f, str_make(line, (size_t)n), &out));
    }
    CHECK(run_line(&f, STR("{\"x\":1}"), &out));
    CHECK(pipeline_run_labels(f.run) == first);
    close_query(&f);
}

/* What a query does not need is not extracted, and errors behind it are not seen. */
static void hints(void) {
    struct fixture f;
    struct pipeline_output out;
    CHECK(open_with(&f, "{a=\"b\"} | json", (struct label_needs){.none = true}));
    CHECK(!pipeline_needs_line(f.pipeline));
    CHECK(!pipeline_needs_meta(f.pipeline));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("broken"), &out));
    CHECK_INT(pipeline_run_labels(f.run)->error.size, 0);
    close_query(&f);

    static const struct str names[] = {STR_INIT("x"), STR_INIT("app_extracted")};
    struct label_needs some = {.names = names, .count = 1};
    CHECK(open_with(&f, "{a=\"b\"} | json", some));
    CHECK_STR(result(&f, "{\"y\":1,\"x\":2,broken"), STR("x=2|{\"y\":1,\"x\":2,broken"));
    CHECK_STR(
        result(&f, "{\"y\":1,broken"),
        STR(JSON_ERROR_LABELS(
            "Value looks like object, but can't find closing '}' symbol") "|{\"y\":1,broken"));
    close_query(&f);

    CHECK(open_with(&f, "{a=\"b\"} | json | n_s=\"1\"", some));
    CHECK_STR(result(&f, "{\"q\":{\"s\":2},\"n\":{\"t\":1,\"s\":1},\"x\":3,\"w\":1}"),
              STR("n_s=1,x=3|{\"q\":{\"s\":2},\"n\":{\"t\":1,\"s\":1},\"x\":3,\"w\":1}"));
    close_query(&f);

    struct label_needs suffixed = {.names = names, .count = 2};
    CHECK(open_with(&f, "{a=\"b\"} | logfmt", suffixed));
    CHECK_STR(result(&f, "z=1 app=2 x=3"), STR("app_extracted=2,x=3|z=1 app=2 x=3"));
    const struct str *meta;
    size_t count;
    CHECK(pipeline_meta_names(f.pipeline, &meta, &count));
    CHECK_INT(count, 3);
    close_query(&f);
}

static void needles(void) {
    struct fixture f;
    CHECK(open_query(&f, "{a=\"b\"} |= \"one\" != \"no\" | json | x=\"1\" |= \"two\" | line_format "
                         "\"{{.x}}\" |= \"three\""));
    const struct needle *n;
    CHECK_INT(pipeline_needles(f.pipeline, &n), 2);
    CHECK_STR(n[0].text, STR("one"));
    CHECK_STR(n[1].text, STR("two"));
    close_query(&f);
}

static void unwraps(void) {
    struct fixture f;
    struct pipeline_output out;
    CHECK(open_query(&f, "sum_over_time({a=\"b\"} | logfmt | unwrap v | __error__=\"\" [1m])"));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("v=2.5 w=1"), &out));
    CHECK(out.value == 2.5);
    buf_clear(&text);
    put_labels(&text, pipeline_run_labels(f.run)->parsed);
    CHECK_STR(buf_str(&text), STR("w=1"));
    CHECK(!run_line(&f, STR("w=1"), &out));
    CHECK(!run_line(&f, STR("v=x"), &out));
    close_query(&f);
    CHECK(open_query(&f, "sum_over_time({a=\"b\"} | logfmt | unwrap duration(v) [1m])"));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("v=1m500ms"), &out));
    CHECK(out.value == 60.5);
    CHECK(run_line(&f, STR("v=x"), &out));
    CHECK_STR(pipeline_run_labels(f.run)->error, STR("SampleExtractionErr"));
    close_query(&f);
    CHECK(open_query(&f, "sum_over_time({a=\"b\"} | logfmt | unwrap bytes(v) [1m])"));
    pipeline_run_stream(f.run, stream);
    CHECK(run_line(&f, STR("v=1KiB"), &out));
    CHECK(out.value == 1024);
    close_query(&f);
}

static void expressions(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | json x=\"a.b[1].c\", y=\"a\", z=`[\"k y\"]`",
         "{\"a\":{\"b\":[0,{\"c\":\"d\"}]},\"k y\":null}",
         "x=d,y={\"b\":[0,{\"c\":\"d\"}]},z=|{\"a\":{\"b\":[0,{\"c\":\"d\"}]},\"k y\":null}"},
        {"{a=\"b\"} | json top=\"[0]\", no=\"[9]\"", "[\"x\"]", "no=,top=x|[\"x\"]"},
        {"{a=\"b\"} | json app=\"m\"", "{\"m\":1}", "app_extracted=1|{\"m\":1}"},
        {"{a=\"b\"} | json m", "42", "__error__=JSONParserErr|42"},
        {"{a=\"b\"} | json m", "{\"m\":\"x",
         "__error__=JSONParserErr,__error_details__=Value is string, but can't find closing '\"' "
         "symbol,m=|{\"m\":\"x"},
        {"{a=\"b\"} | json m", "{\"n\":{\"m\":1},\"m\":2,broken",
         "m=2|{\"n\":{\"m\":1},\"m\":2,broken"},
        {"{a=\"b\"} | logfmt m, n=\"o\"", "m=1 o=2 m=3", "m=3,n=2|m=1 o=2 m=3"},
        {"{a=\"b\"} | logfmt m, app=\"o\"", "o=2", "app_extracted=2,m=|o=2"},
        {"{a=\"b\"} | logfmt m, app, trace", "o=2", "m=|o=2"},
        {"{a=\"b\"} | logfmt m=\"o\", m=\"p\"", "o=1", "m=|o=1"},
        {"{a=\"b\"} | logfmt m=\"p\", m=\"o\"", "o=1", "m=1|o=1"},
        {"{a=\"b\"} | logfmt m", "m=x\xef\xbf\xbdy", "m=|m=x\xef\xbf\xbdy"},
        {"{a=\"b\"} | logfmt m, app, trace", "trace=x app=y",
         "app_extracted=y,m=,trace_extracted=x|"
         "trace=x app=y"},
    };
    CHECK_ROWS(rows);
}

/* What logfmt with expressions reads when only some labels are wanted, by Loki's rules: a key is read when it is wanted or
 * the name of an expression; the empty label that each expression begins with counts as found, so that the first pair
 * that is read ends the line; and a suffixed name that is not wanted ends it, too. */
static void expressions_with_hints(void) {
    static const struct {
        const char *query, *wanted[2], *line, *want;
    } rows[] = {
        {"{a=\"b\"} | logfmt m=\"n\"", {"m"}, "n=1", "m=|n=1"},
        {"{a=\"b\"} | logfmt m=\"n\"", {"m", "n"}, "n=1", "m=1|n=1"},
        {"{a=\"b\"} | logfmt m=\"n\", n=\"o\"", {"m"}, "o=2 n=1", "m=1,n=|o=2 n=1"},
        {"{a=\"b\"} | logfmt m", {"m"}, "m=1 m=2", "m=1|m=1 m=2"},
        {"{a=\"b\"} | logfmt m, m_extracted",
         {"m"},
         "m_extracted=1 m=2",
         "m=,m_extracted=1|m_extracted=1 m=2"},
        {"{a=\"b\"} | logfmt trace, m", {"m"}, "m=1 trace=2", "m=1|m=1 trace=2"},
        {"{a=\"b\"} | logfmt trace, m", {"m"}, "trace=2 m=1", "m=|trace=2 m=1"},
        {"{a=\"b\"} | logfmt app, app_extracted",
         {"app"},
         "app=1 app_extracted=2",
         "app_extracted=|app=1 app_extracted=2"},
        {"{a=\"b\"} | logfmt app, app_extracted",
         {"app"},
         "app_extracted=2 app=1",
         "app_extracted=2|app_extracted=2 app=1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct str names[2] = {str_from(rows[i].wanted[0])};
        size_t count = rows[i].wanted[1] ? 2 : 1;
        if (count == 2)
            names[1] = str_from(rows[i].wanted[1]);
        struct fixture f;
        CHECK(open_with(&f, rows[i].query, (struct label_needs){.names = names, .count = count}));
        CHECK_STR(result(&f, rows[i].line), str_from(rows[i].want));
        close_query(&f);
    }
}

/* Where a query asks for __error__ by name it does not fail for what parsers could not read; for other errors it does. */
static void errors_asked_for(void) {
    static const struct {
        const char *query, *line;
        bool fails;
    } rows[] = {
        {"{a=\"b\"} | json", "x", false},
        {"{a=\"b\"} | json | drop __error_details__", "x", false},
        {"{a=\"b\"} | logfmt --strict", "=", false},
        {"{a=\"b\"} | unpack", "x", false},
        {"{a=\"b\"} | logfmt | m > 1", "m=x", true},
        {"{a=\"b\"} | logfmt | m > 1", "m=2", false},
    };
    static const struct str names[] = {STR_INIT("__error__")};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (int asks = 0; asks < 2; asks++) {
            struct fixture f;
            struct pipeline_output out;
            struct label_needs needs = {.all = !asks, .names = names, .count = 1};
            CHECK(open_with(&f, rows[i].query, needs));
            pipeline_run_stream(f.run, stream);
            CHECK(run_line(&f, str_from(rows[i].line), &out));
            bool errs = rows[i].fails || strcmp(rows[i].line, "m=2") != 0;
            CHECK_INT(pipeline_run_fails(f.run), asks ? rows[i].fails : errs);
            close_query(&f);
        }
}

static void other_parsers(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | regexp `(?P<m>\\w+) (?P<app>x)?`", "GET x", "app_extracted=x,m=GET|GET x"},
        {"{a=\"b\"} | regexp `(?P<m>\\d+)(?P<n>z)?`", "a1", "m=1,n=|a1"},
        {"{a=\"b\"} | regexp `(?P<m>\\d+)`", "abc", "|abc"},
        {"{a=\"b\"} | pattern `<ip> - <_> \"<m> <app>\"`", "1.2.3.4 - x \"GET /\" rest",
         "app_extracted=/,ip=1.2.3.4,m=GET|1.2.3.4 - x \"GET /\" rest"},
        {"{a=\"b\"} | pattern `a=<x> b=<y>`", "a=1 c", "x=1 c|a=1 c"},
        {"{a=\"b\"} | pattern `a=<x>`", "b=1", "|b=1"},
        {"{a=\"b\"} | unpack", "{\"_entry\":\"l \\\"q\\\"\",\"p\":\"v\",\"n\":1,\"app\":\"z\"}",
         "app_extracted=z,p=v|l \"q\""},
        {"{a=\"b\"} | unpack", "{\"p\":\"v\"}", "|{\"p\":\"v\"}"},
        {"{a=\"b\"} | unpack", "{\"p\":\"1\",\"p\":\"2\",\"_entry\":\"l\"}", "p=2|l"},
        {"{a=\"b\"} | unpack", "{\"app\":\"1\",\"app\":\"2\",\"_entry\":\"l\"}",
         "app_extracted=2|l"},
        {"{a=\"b\"} | unpack", "{\" app\":\"1\",\"_entry\":\"l\"}", "app=1|l"},
        {"{a=\"b\"} | json | unpack", "{\"p\":\"1\",\"p\":\"2\",\"_entry\":\"l\"}",
         "_entry=l,p=1|l"},
        {"{a=\"b\"} | unpack", "{\"p\":", JSON_ERROR_LABELS("Malformed JSON error") "|{\"p\":"},
        {"{a=\"b\"} | unpack", "x",
         JSON_ERROR_LABELS("expecting json object(6), but it is not") "|x"},
        {"{a=\"b\"} | decolorize", "\x1b[31;1mred\x1b[0m \x1b]0;title\x07x", "|red x"},
        {"{a=\"b\"} |> \"a <_> c\"", "a b c", "|a b c"},
        {"{a=\"b\"} |> \"a <_> c\"", "a b c d", NULL},
        {"{a=\"b\"} !> \"a <_>\"", "a ", "|a "},
        {"{a=\"b\"} |> \"\"", "", "|"},
    };
    CHECK_ROWS(rows);
}

/* env is of the stream, of the metadata (there env_extracted) and of the line, which takes that name over. */
static void names_with_the_suffix(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | env_extracted=\"meta\"", "env=p", "|env=p"},
        {"{a=\"b\"} | logfmt | env_extracted=\"p\"", "env=p", "env_extracted=p|env=p"},
        {"{a=\"b\"} | logfmt | env_extracted=\"p\" and app=\"api\"", "env=p",
         "env_extracted=p|env=p"},
        {"{a=\"b\"} | logfmt | env_extracted=\"meta\"", "env=p", NULL},
        {"{a=\"b\"} | logfmt | env_extracted=\"meta\"", "x=p", "x=p|x=p"},
        {"{a=\"b\"} | json | env_extracted > 4", "{\"env\":5}", "env_extracted=5|{\"env\":5}"},
        {"{a=\"b\"} | regexp `(?P<env>.)` | env_extracted!=\"meta\"", "p", "env_extracted=p|p"},
        {"{a=\"b\"} | pattern `<env>` | env_extracted=~\"p|q\"", "p", "env_extracted=p|p"},
    };
    CHECK_ROWS(rows);
}

static void label_format(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | logfmt | label_format x=m, y=`{{.n}}/{{.app}}`", "m=1 n=2",
         "n=2,x=1,y=2/api|m=1 n=2"},
        {"{a=\"b\"} | label_format x=missing", "l", "|l"},
        {"{a=\"b\"} | label_format tid=trace", "l", "tid=t1|l"},
        {"{a=\"b\"} | label_format a=env, b=`{{.env}}`", "l", "a=prod,b=|l"},
        {"{a=\"b\"} | label_format b=`{{.env}}`, a=env", "l", "a=prod,b=prod|l"},
        {"{a=\"b\"} | logfmt | drop s | s=\"\"", "s=1", NULL}, /* see pipeline.c on early filters */
        /* Without any label the first template has found nothing to keep to, so the second looks again. */
        {"{a=\"b\"} | keep no | label_format x=`1`, y=`{{.x}}`, z=`{{.y}}`", "l", "x=1,y=1,z=|l"},
        {"{a=\"b\"} | keep no | label_format x=`{{div 1 0}}`, y=`{{.__error__}}`, z=`{{.y}}`", "l",
         "__error__=TemplateFormatErr,__error_details__=template: label:1:2: executing \"label\" "
         "at "
         "<div 1 0>: error calling div: runtime error: integer divide by "
         "zero,y=TemplateFormatErr,z=|l"},
        {"{a=\"b\"} | label_format x=`{{div 1 0}}`, y=`{{.__error__}}`", "l",
         "__error__=TemplateFormatErr,__error_details__=template: label:1:2: executing \"label\" "
         "at "
         "<div 1 0>: error calling div: runtime error: integer divide by zero,y=|l"},
        {"{a=\"b\"} | json | line_format `{{.__error__}}` | keep no | drop __error_details__", "l",
         "__error__=JSONParserErr|"},
        {"{a=\"b\"} | json | line_format `{{.__error__}}.` | keep no | drop __error_details__", "l",
         "__error__=JSONParserErr|JSONParserErr."},
        {"{a=\"b\"} | keep env | label_format x=`1`, y=`{{.x}}`", "l", "x=1,y=|l"},
    };
    CHECK_ROWS(rows);
}

/* Details of an error that has been dropped are told of lines only that have other labels than their stream. */
static void dropped_error(void) {
    static const struct {
        const char *query, *want;
        bool has_meta;
    } rows[] = {
        {"{a=\"b\"} | json | drop __error__", "|x", false},
        {"{a=\"b\"} | json | drop __error__",
         "__error_details__=Value looks like object, but can't find closing '}' symbol|x", true},
        {"{a=\"b\"} | json | drop __error__, app",
         "__error_details__=Value looks like object, but can't find closing '}' symbol|x", false},
        {"{a=\"b\"} | json | drop __error__, no=~\".*\"",
         "__error_details__=Value looks like object, but can't find closing '}' symbol|x", false},
        {"{a=\"b\"} | json | drop __error__, no", "|x", false},
        {"{a=\"b\"} | json | drop __error__ | line_format `<{{.__error_details__}}>`", "|<>",
         false},
        {"{a=\"b\"} | json | drop __error__ | label_format l=`<{{.__error_details__}}>` | drop "
         "__error_details__",
         "l=<>|x", false},
        {"{a=\"b\"} | json | drop __error__, app | line_format `{{.__error_details__ | trunc 5}}` "
         "| "
         "drop __error_details__",
         "|Value", false},
        {"{a=\"b\"} | json | drop __error__ | line_format `{{len .}}`", "|2", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct fixture f;
        struct pipeline_output out;
        CHECK(open_query(&f, rows[i].query));
        struct pipeline_line in = {
            .line = STR("x"), .meta = meta_items, .meta_count = rows[i].has_meta ? 2 : 0};
        pipeline_run_stream(f.run, stream);
        CHECK(pipeline_run_line(f.run, &in, &out));
        buf_clear(&text);
        put_labels(&text, pipeline_run_labels(f.run)->parsed);
        buf_add_char(&text, '|');
        buf_add_str(&text, out.line);
        CHECK_STR(buf_str(&text), str_from(rows[i].want));
        close_query(&f);
    }
}

static void addresses(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} |= ip(\"10.0.0.0/8\")", "from x10.1.2.3:80", "|from x10.1.2.3:80"},
        {"{a=\"b\"} |= ip(\"10.0.0.0/8\")", "from 11.1.2.3", NULL},
        {"{a=\"b\"} != ip(\"10.0.0.1-10.0.0.9\")", "10.0.0.5", NULL},
        {"{a=\"b\"} != ip(\"10.0.0.1-10.0.0.9\")", "10.0.0.10", "|10.0.0.10"},
        {"{a=\"b\"} |= ip(\"10.0.0.1\")", "1.10.0.0.1", NULL},
        {"{a=\"b\"} |= ip(\"10.0.0.1\")", "010.0.0.1", NULL},
        {"{a=\"b\"} |= ip(\"2001:db8::/32\")", "[2001:db8::1] x", "|[2001:db8::1] x"},
        {"{a=\"b\"} | logfmt | i=ip(\"::1\")", "i=::1", "i=::1|i=::1"},
        {"{a=\"b\"} | logfmt | i!=ip(\"10.0.0.0/9\")", "i=10.128.0.0", "i=10.128.0.0|i=10.128.0.0"},
        {"{a=\"b\"} | logfmt | i=ip(\"10.0.0.1\")", "i=zz", NULL},
    };
    CHECK_ROWS(rows);
}

/* Loki searches where one would expect it to anchor. */
static void label_regexes(void) {
    static const struct row rows[] = {
        {"{a=\"b\"} | logfmt | m=~\"E.*\"", "m=DELETE", "m=DELETE|m=DELETE"},
        {"{a=\"b\"} | logfmt | m=~\"GET|PUT\"", "m=PUTS", NULL},
        {"{a=\"b\"} | logfmt | m=~\"PAT|PUT\"", "m=PUTS", "m=PUTS|m=PUTS"},
        {"{a=\"b\"} | logfmt | m=~\"x(ab|cd)\"", "m=1xab1", "m=1xab1|m=1xab1"},
        {"{a=\"b\"} | logfmt | m=~\"a+\"", "m=baa", NULL},
        {"{a=\"b\"} | logfmt | m=~\"(1|2)\"", "m=12", NULL},
        {"{a=\"b\"} | logfmt | m!~\"E.*\"", "m=DELETE", NULL},
    };
    CHECK_ROWS(rows);
}

static void refused(void) {
    static const struct {
        const char *query, *want;
    } rows[] = {
        {"{a=\"b\"} | json x=\"a..b\"",
         "parse error : stage '| json x=\"a..b\"' : cannot parse expression [a..b]: syntax error: "
         "unexpected DOT, expecting FIELD"},
#define EXPRESSION(stage, text, cause)                                                             \
    {"{a=\"b\"} | " stage " x=`" text "`", "parse error : stage '| " stage " x=\"" text            \
                                           "\"' : cannot parse expression [" text "]: " cause}
        EXPRESSION("json", "a b", "syntax error: unexpected FIELD"),
        EXPRESSION("json", "", "syntax error: unexpected $end, expecting LSB or FIELD"),
        EXPRESSION("json", ".a", "syntax error: unexpected DOT, expecting LSB or FIELD"),
        EXPRESSION("json", "a[x]", "syntax error: unexpected FIELD, expecting STRING or INDEX"),
        EXPRESSION("json", "a[]", "syntax error: unexpected RSB, expecting STRING or INDEX"),
        EXPRESSION("json", "a[1", "syntax error: unexpected $end, expecting STRING or INDEX"),
        EXPRESSION("json", "a[1.5]", "syntax error: unexpected $end, expecting STRING or INDEX"),
        EXPRESSION("json", "a[1 2]", "syntax error: unexpected INDEX, expecting RSB"),
        EXPRESSION("json", "a[99999999999]",
                   "syntax error: unexpected $end, expecting STRING or INDEX"),
        EXPRESSION("json", "a.", "syntax error: unexpected $end, expecting FIELD"),
        EXPRESSION("json", "a-b", "unexpected char -"),
        EXPRESSION("logfmt", "a b", "syntax error: unexpected KEY"),
        EXPRESSION("logfmt", "a.b", "unexpected char ."),
#undef EXPRESSION
        {"{a=\"b\"} | json x=`[\"a\"\"b\"]`",
         "parse error : stage '| json x=\"[\\\"a\\\"\\\"b\\\"]\"' : cannot parse expression "
         "[[\"a\"\"b\"]]: syntax error: unexpected STRING, expecting RSB"},
        {"{a=\"b\"} |= ip(\"300.1.1.1\")",
         "parse error : stage '|= ip(\"300.1.1.1\")' : ip: invalid pattern: \"300.1.1.1\""},
        {"{a=\"b\"} | pattern \"<a><b>\"", "parse error : invalid pattern parser: found "
                                           "consecutive capture '<a><b>': invalid expression"},
        {"{a=\"b\"} | line_format \"{{ .x \"",
         "parse error : stage '| line_format \"{{ .x \"' : invalid line template: template: "
         "line:1: unclosed action"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        struct parsed_query *q = NULL;
        int r = query_parse(str_from(rows[i].query), &q, &err);
        if (r == 0) {
            struct pipeline *p = NULL;
            struct pipeline_options o = {.needs.all = true};
            r = pipeline_compile(parsed_query_expr(q)->log.stages, &o, &p, &err);
            pipeline_free(p);
        }
        CHECK_INT(r, -ESYNTAX);
        CHECK_STR(str_from(err.text), str_from(rows[i].want));
        parsed_query_free(q);
    }
}

int main(void) {
    text = buf_make(BUF_NO_MAX);
    RUN(line_filters);
    RUN(json_stage);
    RUN(logfmt_stage);
    RUN(label_filters);
    RUN(drop_and_keep);
    RUN(line_format);
    RUN(groups_and_interning);
    RUN(many_names);
    RUN(hints);
    RUN(needles);
    RUN(unwraps);
    RUN(expressions);
    RUN(expressions_with_hints);
    RUN(errors_asked_for);
    RUN(other_parsers);
    RUN(names_with_the_suffix);
    RUN(label_format);
    RUN(dropped_error);
    RUN(addresses);
    RUN(label_regexes);
    RUN(refused);
    buf_done(&text);
    return test_done();
}
