#include "queries.h"

#include "lines.h"

/* ---- literals */

/* In Go's quotes. What is not ASCII stays as it is where it is UTF-8, else it is escaped. */
static void put_quoted(struct buf *b, struct str text) {
    buf_add_char(b, '"');
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            buf_addf(b, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            buf_addf(b, "\\x%02x", c);
        else
            buf_add_char(b, (char)c);
    }
    buf_add_char(b, '"');
}

/* A piece of a line, of ASCII alone: half characters are no query. */
static struct str piece(const struct query_samples *s, size_t most) {
    struct str line = s->lines[below(s->count)];
    if (line.size == 0)
        return STR("");
    size_t at = below(line.size), size = 1 + below(most);
    if (size > line.size - at)
        size = line.size - at;
    struct str p = str_make(line.data + at, size);
    for (size_t i = 0; i < p.size; i++)
        if ((unsigned char)p.data[i] >= 0x80)
            return str_make(p.data, i);
    return p;
}

static void put_piece(struct buf *b, const struct query_samples *s) {
    static const char *const known[] = {
        "error", "status",   "timeout after", "500",         "=5", "\"x\":",
        "",      "\xc3\xa9", "\xe2\x84\xaa",  "level=error", "K",  "s"};
    if (once_in(4))
        put_quoted(b, str_from(PICK(known)));
    else
        put_quoted(b, piece(s, 14));
}

/* A piece as a regular expression: digits and letters become classes here and there. */
static void add_regex(struct buf *b, struct str text) {
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool digit = c >= '0' && c <= '9';
        if (digit && once_in(2))
            buf_addf(b, "%s", once_in(3) ? "\\d" : once_in(2) ? "[0-9]" : "[0-9]+");
        else if (c >= 'a' && c <= 'z' && once_in(6))
            buf_addf(b, "%s", once_in(3) ? "\\w" : once_in(2) ? "[a-z]" : ".");
        else if (strchr("\\.+*?()|[]{}^$", c))
            buf_addf(b, "\\%c", c);
        else
            buf_add_char(b, c);
    }
}

static void put_regex(struct buf *b, const struct query_samples *s) {
    struct buf r = buf_make(BUF_NO_MAX);
    if (once_in(5))
        buf_addf(&r, "(?i)");
    if (once_in(10))
        buf_addf(&r, "^");
    add_regex(&r, piece(s, 10));
    switch (below(8)) {
    case 0:
        buf_addf(&r, "|");
        add_regex(&r, piece(s, 8));
        break;
    case 1:
        buf_addf(&r, ".*");
        add_regex(&r, piece(s, 8));
        break;
    case 2:
        buf_addf(&r, "[^ ]+");
        break;
    case 3:
        buf_addf(&r, "(?:x|");
        add_regex(&r, piece(s, 5));
        buf_addf(&r, ")?");
        break;
    case 4:
        buf_addf(&r, once_in(2) ? "[0-9]{1,3}" : "\\b");
        break;
    case 5:
        buf_addf(&r, "$");
        break;
    default:
        break;
    }
    put_quoted(b, buf_str(&r));
    buf_done(&r);
}

static void put_line_pattern(struct buf *b, const struct query_samples *s) {
    struct buf p = buf_make(BUF_NO_MAX);
    buf_addf(&p, once_in(4) ? "" : "<_>");
    buf_add_str(&p, piece(s, 10));
    buf_addf(&p, "<_>");
    if (once_in(3)) {
        buf_add_str(&p, piece(s, 6));
        buf_addf(&p, once_in(2) ? "<_>" : "");
    }
    put_quoted(b, buf_str(&p));
    buf_done(&p);
}

static void put_line_filter(struct buf *b, const struct query_samples *s) {
    static const char *const nets[] = {"10.0.0.0/8", "10.0.0.1", "192.168.4.5-192.168.4.9", "::/0"};
    static const char *const ops[] = {"|=", "!=", "|~", "!~", "|>", "!>"};
    unsigned op = below(once_in(4) ? 6 : 4);
    buf_addf(b, " %s ", ops[op]);
    if (op < 2 && once_in(12)) {
        buf_addf(b, "ip(\"%s\")", PICK(nets));
        return;
    }
    unsigned more = once_in(4) ? 1 + below(3) : 0;
    for (unsigned i = 0; i <= more; i++) {
        buf_addf(b, i > 0 ? " or " : "");
        if (op < 2)
            put_piece(b, s);
        else if (op < 4)
            put_regex(b, s);
        else
            put_line_pattern(b, s);
    }
}

/* ---- stages */

static void put_value(struct buf *b) {
    struct buf value = buf_make(BUF_NO_MAX);
    if (!once_in(8))
        random_value(&value);
    put_quoted(b, buf_str(&value));
    buf_done(&value);
}

static void put_condition(struct buf *b, const struct query_samples *s) {
    static const char *const compares[] = {"=", "!=", ">", ">=", "<", "<=", "=="};
    static const char *const literals[] = {"0",   "200", "400",   "-1",  "1.5",
                                           "500", "5e2", "100ms", "1s",  "12ms",
                                           "1m",  "1KB", "10KB",  "3kb", "1MiB"};
    static const char *const nets[] = {"10.0.0.0/8", "10.0.0.1", "192.168.4.0/23"};
    static const char *const matches[] = {"5..",       ".*", ".+",    "u[0-5]|error",
                                          "(?i)error", "",   "in.*|x"};
    const char *name = once_in(25) ? (once_in(2) ? "__error__" : "nothing") : random_name();
    switch (below(5)) {
    case 0:
    case 1:
        buf_addf(b, "%s%s", name, once_in(2) ? "=" : "!=");
        put_value(b);
        break;
    case 2:
        buf_addf(b, "%s%s\"%s\"", name, once_in(2) ? "=~" : "!~", PICK(matches));
        break;
    case 3:
        if (once_in(6))
            buf_addf(b, "%s%sip(\"%s\")", name, once_in(2) ? "=" : "!=", PICK(nets));
        else if (once_in(3)) {
            buf_addf(b, "%s=~", name);
            put_regex(b, s);
        } else
            buf_addf(b, "%s=\"\"", name);
        break;
    default:
        buf_addf(b, "%s %s %s", name, PICK(compares), PICK(literals));
        break;
    }
}

static void put_label_filter(struct buf *b, const struct query_samples *s) {
    static const char *const words[] = {" and ", " or ", ", ", " "};
    buf_addf(b, " | ");
    put_condition(b, s);
    for (int i = 0; i < 2 && once_in(4); i++) {
        buf_addf(b, "%s", PICK(words));
        put_condition(b, s);
    }
}

static void put_expressions(struct buf *b, bool json) {
    static const char *const paths[] = {"in.x", "in",       "in.status", "status", "[\\\"in x\\\"]",
                                        "x[0]", "msg[1].x", "user.id",   "no.such"};
    unsigned more = below(3);
    for (unsigned i = 0; i <= more; i++) {
        buf_addf(b, "%s%s", i > 0 ? ", " : " ", random_name());
        if (json && once_in(2))
            buf_addf(b, "=\"%s\"", PICK(paths));
        else if (once_in(2))
            buf_addf(b, "=\"%s\"", random_name());
    }
}

static void put_parser(struct buf *b) {
    static const char *const others[] = {
        " | regexp `(?P<level>\\w+) (?P<x>[a-z]+)`",
        " | regexp `status[=\\\":]+(?P<status>\\d+)`",
        " | pattern `<ip> - \"<msg> <_>\" <status>`",
        " | pattern `<level>=<x> <_>`",
        " | unpack",
        " | unpack | logfmt",
        " | decolorize | logfmt",
        " | json | logfmt",
        " | logfmt --strict",
        " | logfmt --keep-empty",
        " | logfmt --strict --keep-empty",
        " | json | logfmt | drop __error__, __error_details__",
    };
    if (once_in(5)) {
        buf_addf(b, "%s", PICK(others));
        return;
    }
    bool json = once_in(2);
    buf_addf(b, json ? " | json" : " | logfmt");
    if (once_in(4))
        put_expressions(b, json);
}

static void put_other(struct buf *b) {
    switch (below(7)) {
    case 0:
        buf_addf(b, " | line_format \"{{.%s}} {{.%s}}\"", random_name(), random_name());
        break;
    case 1:
        buf_addf(b, " | label_format %s=%s", random_name(), random_name());
        break;
    case 2:
        buf_addf(b, " | label_format %s=\"{{.%s | ToUpper}}\"", random_name(), random_name());
        break;
    case 3:
        buf_addf(b, " | drop %s, %s", random_name(), random_name());
        break;
    case 4:
        buf_addf(b, " | keep %s, %s, app", random_name(), random_name());
        break;
    case 5:
        buf_addf(b, " | drop %s=~\".*0.*\"", random_name());
        break;
    default:
        buf_addf(b, " | decolorize");
        break;
    }
}

static unsigned put_selector(struct buf *b) {
    switch (below(6)) {
    case 0: {
        unsigned n = below(8);
        buf_addf(b, "{app=\"s%u\"}", n);
        return 1u << n;
    }
    case 1:
        buf_addf(b, "{env=\"prod\"}");
        return 0xaa;
    case 2:
        buf_addf(b, "{app=~\"s[0-3]\", env!=\"prod\"}");
        return 0x05;
    default:
        buf_addf(b, "{app=~\".+\"}");
        return 0xff;
    }
}

static unsigned put_log(struct buf *b, const struct query_samples *s) {
    unsigned streams = put_selector(b);
    for (int i = 0; i < 3 && once_in(3); i++)
        put_line_filter(b, s);
    if (once_in(10))
        put_label_filter(b, s);
    if (!once_in(4)) {
        put_parser(b);
        for (int i = 0; i < 3 && once_in(3); i++)
            put_label_filter(b, s);
    }
    for (int i = 0; i < 2 && once_in(5); i++)
        put_other(b);
    if (once_in(6))
        put_label_filter(b, s);
    if (once_in(8))
        put_line_filter(b, s);
    if (once_in(10))
        put_parser(b);
    return streams;
}

void random_log_query(struct buf *out, const struct query_samples *s, unsigned *ret_streams) {
    *ret_streams = put_log(out, s);
}

/* ---- metric queries */

static void put_grouping(struct buf *b) {
    static const char *const odd[] = {"__error__", "detected_level", "nothing", "in_status", "n"};
    unsigned names = below(4);
    buf_addf(b, once_in(5) ? "without (" : "by (");
    for (unsigned i = 0; i < names; i++)
        buf_addf(b, "%s%s", i > 0 ? ", " : "", once_in(6) ? PICK(odd) : random_name());
    buf_addf(b, ") ");
}

static void put_range(struct buf *b) {
    static const char *const ranges[] = {"7s", "1m", "90s", "5m", "1m", "10m"};
    buf_addf(b, " [%s]", PICK(ranges));
    if (once_in(10))
        buf_addf(b, once_in(2) ? " offset 1m" : " offset -30s");
}

static void put_range_aggregation(struct buf *b, const struct query_samples *s) {
    static const char *const counts[] = {"count_over_time", "count_over_time", "rate",
                                         "bytes_over_time", "bytes_rate",      "absent_over_time"};
    static const char *const values[] = {"sum_over_time",      "avg_over_time",
                                         "min_over_time",      "max_over_time",
                                         "stddev_over_time",   "stdvar_over_time",
                                         "first_over_time",    "last_over_time",
                                         "quantile_over_time", "rate",
                                         "rate_counter"};
    static const char *const unwraps[] = {"%s", "%s", "duration(%s)", "bytes(%s)",
                                          "duration_seconds(%s)"};
    if (!once_in(3)) {
        buf_addf(b, "%s(", PICK(counts));
        (void)put_log(b, s);
        if (!once_in(3))
            buf_addf(b, " | __error__=\"\"");
        put_range(b);
        buf_addf(b, ")");
        return;
    }
    const char *op = PICK(values);
    buf_addf(b, "%s(%s", op, strcmp(op, "quantile_over_time") == 0 ? "0.9, " : "");
    (void)put_log(b, s);
    buf_addf(b, " | unwrap ");
    const char *form = PICK(unwraps), *hole = strchr(form, '%');
    buf_add(b, form, (size_t)(hole - form));
    buf_addf(b, "%s%s | __error__=\"\"", random_name(), hole + 2);
    put_range(b);
    buf_addf(b, ")");
    bool groups = op[0] == 'a' || op[0] == 'm' || op[0] == 'f' || op[0] == 'l' || op[0] == 'q' ||
                  strncmp(op, "std", 3) == 0;
    if (groups && once_in(2)) {
        buf_addf(b, " ");
        put_grouping(b);
    }
}

static void put_vector(struct buf *b, const struct query_samples *s) {
    static const char *const aggregations[] = {"sum", "sum",   "sum",    "avg",   "min",
                                               "max", "count", "stddev", "stdvar"};
    switch (below(8)) {
    case 0:
        put_range_aggregation(b, s);
        break;
    case 1:
        buf_addf(b, "%s(%u, ", once_in(2) ? "topk" : "bottomk", 1 + below(4));
        put_range_aggregation(b, s);
        buf_addf(b, ")");
        break;
    case 2:
        buf_addf(b, "label_replace(");
        put_range_aggregation(b, s);
        buf_addf(b, ", \"%s\", \"<$1>\", \"%s\", \"(u?).*\")", random_name(), random_name());
        break;
    default:
        buf_addf(b, "%s ", PICK(aggregations));
        if (!once_in(4))
            put_grouping(b);
        buf_addf(b, "(");
        put_range_aggregation(b, s);
        buf_addf(b, ")");
        break;
    }
}

void random_metric_query(struct buf *out, const struct query_samples *s) {
    static const char *const operators[] = {"+",       "-",  "*",   "/",  "%",     ">",
                                            "<= bool", "==", "and", "or", "unless"};
    if (!once_in(6)) {
        put_vector(out, s);
        return;
    }
    const char *op = PICK(operators);
    buf_addf(out, "(sum by (level, env) (");
    put_range_aggregation(out, s);
    buf_addf(out, ")) %s ", op);
    switch (below(3)) {
    case 0:
        buf_addf(out, "on (level) %s(sum by (level) (",
                 op[0] == 'a' || op[0] == 'o' || op[0] == 'u' ? "" : "group_left () ");
        break;
    case 1:
        buf_addf(out, "ignoring (x) (sum by (level, env) (");
        break;
    default:
        buf_addf(out, "(sum by (env, level) (");
        break;
    }
    put_range_aggregation(out, s);
    buf_addf(out, "))");
}
