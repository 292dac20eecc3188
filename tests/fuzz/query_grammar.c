/* The bytes choose a way through LogQL's grammar. The text that comes out has no syntax error; printed it parses again,
 * to the same text; and so does its pretty form. */
#include <stdio.h>
#include <stdlib.h>

#include "parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 16 << 10, DEPTH_MAX = 8 };

struct maker {
    const uint8_t *data;
    size_t size, at;
    unsigned depth;
    struct buf out;
};

/* A choice of n; when the bytes have run out, the first. */
static unsigned choose(struct maker *m, unsigned n) {
    return m->at < m->size ? m->data[m->at++] % n : 0;
}

static void add(struct maker *m, const char *text) {
    buf_add_str(&m->out, str_from(text));
}

#define PICK(m, ...)                                                                               \
    do {                                                                                           \
        static const char *const texts[] = {__VA_ARGS__};                                          \
        add(m, texts[choose(m, sizeof(texts) / sizeof(texts[0]))]);                                \
    } while (0)

static void blank(struct maker *m) {
    PICK(m, " ", "", "\n", "\t ", " # note\n", "  ");
}

static void name(struct maker *m) {
    PICK(m, "app", "a", "_x9", "level", "rate", "sum", "bytes", "status", "__error__",
         "caf\xc3\xa9");
}

static void string(struct maker *m) {
    PICK(m, "\"x\"", "\"\"", "`a\\b`", "\"\\n\\\"\\x41\"", "\"<_> a <_>\"", "\".+\"",
         "\"10.0.0.0/8\"", "`(?P<g>[a-z]+) (?P<h>.*)`", "\"<a> b\"", "\"\xe2\x82\xac\"");
}

static void number(struct maker *m) {
    PICK(m, "1", "0.5", "3e2", "0x1F", "1_000", ".25", "42", "1e-3");
}

static void list(struct maker *m, void (*item)(struct maker *m)) {
    item(m);
    for (unsigned n = choose(m, 3); n > 0; n--) {
        add(m, ",");
        blank(m);
        item(m);
    }
}

static void names(struct maker *m) {
    add(m, "(");
    if (choose(m, 4))
        list(m, name);
    add(m, ")");
}

static void grouping(struct maker *m) {
    PICK(m, " by ", " without ", " BY ");
    names(m);
}

static void matcher(struct maker *m) {
    name(m);
    blank(m);
    PICK(m, "=", "!=", "=~", "!~");
    blank(m);
    string(m);
}

static void selector(struct maker *m) {
    add(m, "{app=\"x\"");
    if (choose(m, 2)) {
        add(m, ", ");
        list(m, matcher);
    }
    add(m, "}");
}

static void condition(struct maker *m) {
    unsigned kind = choose(m, 6);
    if (m->depth >= DEPTH_MAX)
        kind = 0;
    m->depth++;
    switch (kind) {
    case 0:
        matcher(m);
        break;
    case 1:
        name(m);
        PICK(m, " > ", ">=", " < ", "<=", "==", "=", "!=");
        PICK(m, "5", "-1.5", "+2", "10s", "1h30m", "5KB", "1.5GiB", "100us", "-3m");
        break;
    case 2:
        name(m);
        PICK(m, "=", "!=");
        add(m, " ip(\"10.0.0.0/8\")");
        break;
    case 3:
        add(m, "(");
        condition(m);
        add(m, ")");
        break;
    default:
        condition(m);
        PICK(m, " and ", " or ", ", ", " ");
        condition(m);
        break;
    }
    m->depth--;
}

static void line_filter(struct maker *m) {
    PICK(m, "|=", "!=", "|~", "!~", "|>", "!>");
    blank(m);
    if (choose(m, 5) == 1)
        add(m, "ip(\"1.2.3.4\")");
    else
        string(m);
    for (unsigned n = choose(m, 3); n > 0; n--) {
        add(m, " or ");
        string(m);
    }
}

static void extraction(struct maker *m) {
    name(m);
    if (choose(m, 2)) {
        add(m, "=");
        string(m);
    }
}

static void assignment(struct maker *m) {
    name(m);
    add(m, "=");
    if (choose(m, 2))
        name(m);
    else
        add(m, "`{{.a}}`");
}

static void choice(struct maker *m) {
    if (choose(m, 2))
        matcher(m);
    else
        name(m);
}

static void stage(struct maker *m) {
    unsigned kind = choose(m, 9);
    blank(m);
    if (kind == 0) {
        line_filter(m);
        return;
    }
    add(m, "|");
    blank(m);
    switch (kind) {
    case 1:
        PICK(m, "json ", "logfmt ", "logfmt --strict ", "logfmt --keep-empty --strict ");
        if (choose(m, 2))
            list(m, extraction);
        break;
    case 2:
        add(m, "regexp `(?P<g>[a-z]+)`");
        break;
    case 3:
        add(m, "pattern \"<a> <_>\"");
        break;
    case 4:
        PICK(m, "unpack", "decolorize");
        break;
    case 5:
        add(m, "line_format `{{.a}}`");
        break;
    case 6:
        add(m, "label_format ");
        list(m, assignment);
        break;
    case 7:
        PICK(m, "drop ", "keep ");
        list(m, choice);
        add(m, ",z=\"1\""); /* else `!= "x"` behind it would belong to the last name */
        break;
    default:
        condition(m);
        break;
    }
}

static void pipeline(struct maker *m) {
    for (unsigned n = choose(m, 4); n > 0; n--)
        stage(m);
}

static void unwrap(struct maker *m) {
    PICK(m, " | unwrap a", " | unwrap bytes(a)", " | unwrap duration(a)",
         "|unwrap duration_seconds(a)");
    if (choose(m, 3) == 1) {
        add(m, " | ");
        condition(m);
    }
}

static void range(struct maker *m) {
    PICK(m, "[5m]", "[1h30m]", "[1d]", "[30s]", "[1w2d]");
    PICK(m, "", " offset 5m", " offset -1h");
}

static void log_range(struct maker *m) {
    bool in_parentheses = choose(m, 4) == 1;
    if (in_parentheses)
        add(m, "(");
    selector(m);
    pipeline(m);
    if (choose(m, 3) == 1)
        unwrap(m);
    if (in_parentheses)
        add(m, ")");
    range(m);
}

static void metric(struct maker *m);

static void range_aggregation(struct maker *m) {
    static const char *const operations[] = {
        "rate",
        "count_over_time",
        "bytes_over_time",
        "bytes_rate",
        "sum_over_time",
        "avg_over_time",
        "max_over_time",
        "min_over_time",
        "stdvar_over_time",
        "stddev_over_time",
        "first_over_time",
        "last_over_time",
        "rate_counter",
        "quantile_over_time",
        "absent_over_time",
    };
    const char *operation = operations[choose(m, sizeof(operations) / sizeof(operations[0]))];
    add(m, operation);
    PICK(m, "(", " (", "\n("); /* behind a comment it would be no function */
    if (strcmp(operation, "quantile_over_time") == 0)
        add(m, "0.99, ");
    log_range(m);
    add(m, ")");
    if (choose(m, 3) == 1)
        grouping(m);
}

static void vector_aggregation(struct maker *m) {
    static const char *const operations[] = {
        "sum",    "avg",  "min",       "max",  "count",   "stddev",
        "stdvar", "sort", "sort_desc", "topk", "bottomk", "approx_topk",
    };
    unsigned i = choose(m, sizeof(operations) / sizeof(operations[0]));
    add(m, operations[i]);
    bool before = choose(m, 3) == 1;
    if (before)
        grouping(m);
    add(m, "(");
    if (i >= 9)
        add(m, "3, ");
    metric(m);
    add(m, ")");
    if (!before && choose(m, 3) == 1)
        grouping(m);
}

static void binary(struct maker *m) {
    metric(m);
    PICK(m, " + ", "-", " * ", " / ", "%", " ^ ", " > ", " >= bool ",
         " == ", " != ", " <= ", " and ", " or ", " unless ", " < bool ");
    if (choose(m, 3) == 1) {
        PICK(m, "on ", "ignoring ");
        names(m);
        unsigned group = choose(m, 3);
        if (group > 0) {
            add(m, group == 1 ? " group_left " : " group_right ");
            names(m); /* without them a parenthesis behind would be taken for them */
        }
    }
    metric(m);
}

static void metric(struct maker *m) {
    unsigned kind = m->depth >= DEPTH_MAX ? 0 : choose(m, 7);
    m->depth++;
    switch (kind) {
    case 0:
        range_aggregation(m);
        break;
    case 1:
        vector_aggregation(m);
        break;
    case 2:
        add(m, "(");
        binary(m);
        add(m, ")");
        break;
    case 3:
        add(m, " ");
        number(m);
        add(m, " ");
        break;
    case 4:
        add(m, "vector(");
        number(m);
        add(m, ")");
        break;
    case 5:
        add(m, "label_replace(");
        metric(m);
        add(m, ", \"a\", \"$1\", \"b\", \"(.*)\")");
        break;
    default:
        add(m, "(");
        metric(m);
        add(m, ")");
        break;
    }
    m->depth--;
}

static void variants(struct maker *m) {
    add(m, "variants(");
    list(m, metric);
    add(m, ") of (");
    log_range(m);
    add(m, ")");
}

static void query(struct maker *m) {
    unsigned kind = choose(m, 8);
    if (kind == 0) {
        selector(m);
        pipeline(m);
    } else if (kind == 1) {
        variants(m);
    } else if (kind == 2) {
        binary(m);
    } else {
        metric(m);
    }
}

static void fail(const char *what, struct str first, struct str second) {
    printf("%s:\n%.*s\n%.*s\n", what, STR_ARG(first), STR_ARG(second));
    (void)fflush(stdout);
    abort();
}

/* Parses and prints; a query that parses wrongly only in what it means (types, limits) gives false. */
static bool print(struct str text, struct buf *one_line, struct buf *pretty) {
    struct parsed_query *q;
    struct err err = {.text = ""};
    if (query_parse_unchecked(text, &q, &err) < 0) {
        if (!str_starts(str_from(err.text), STR("parse error : ")))
            fail(err.text, text, STR(""));
        return false;
    }
    buf_clear(one_line);
    expr_format(one_line, parsed_query_expr(q));
    if (pretty)
        expr_pretty(pretty, parsed_query_expr(q));
    parsed_query_free(q);
    return true;
}

/* Folding of constants gives some that no literal can spell. */
static bool reads_back(struct str text) {
    return !str_find(text, STR("NaN")) && !str_find(text, STR("Inf")) &&
           !str_find(text, STR("-0")) && !str_find(text, STR("e-"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct maker m = {.data = data, .size = size, .out = buf_make(TEXT_MAX)};
    struct buf first = buf_make(1 << 20), second = buf_make(1 << 20), pretty = buf_make(4 << 20);
    query(&m);
    if (m.out.failed || !print(buf_str(&m.out), &first, &pretty) || !reads_back(buf_str(&first)) ||
        first.size >= QUERY_TEXT_MAX || pretty.size >= QUERY_TEXT_MAX)
        goto out;
    if (!print(buf_str(&first), &second, NULL))
        fail("what was printed does not parse", buf_str(&m.out), buf_str(&first));
    struct buf third = buf_make(1 << 20);
    if (!print(buf_str(&second), &third, NULL) || !str_eq(buf_str(&second), buf_str(&third)))
        fail("printed twice", buf_str(&second), buf_str(&third));
    if (!print(buf_str(&pretty), &third, NULL) || !str_eq(buf_str(&second), buf_str(&third)))
        fail("the pretty form is another query", buf_str(&second), buf_str(&pretty));
    buf_done(&third);
out:
    buf_done(&first);
    buf_done(&second);
    buf_done(&pretty);
    buf_done(&m.out);
    return 0;
}
