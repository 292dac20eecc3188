/* What Loki judges only when it builds a pipeline. Its messages quote the whole stage. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "labels.h"
#include "parser_private.h"

enum { STAGE_SHOWN_MAX = 1 << 20, CAPTURES_MAX = 256 };

/* "parse error : stage '...' : cause" */
static int fail_stage(struct parser *p, const struct stage *s, const char *cause) {
    struct buf text = buf_make(STAGE_SHOWN_MAX);
    stage_format(&text, s);
    int r = parser_fail(p, "stage '%.*s' : %s", STR_ARG(buf_str(&text)), cause);
    buf_done(&text);
    return r;
}

/* ---- addresses */

/* 4 or 6, 0 for no address. */
static int parse_address(struct str text, unsigned char ret[16]) {
    char c_text[INET6_ADDRSTRLEN + 1];
    if (text.size >= sizeof(c_text) || memchr(text.data, '\0', text.size))
        return 0;
    memcpy(c_text, text.data, text.size);
    c_text[text.size] = '\0';
    if (inet_pton(AF_INET, c_text, ret) == 1)
        return 4;
    return inet_pton(AF_INET6, c_text, ret) == 1 ? 6 : 0;
}

static bool prefix_length_valid(struct str text, int family) {
    if (text.size == 0 || text.size > 3 || (text.size > 1 && text.data[0] == '0'))
        return false;
    int value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    return value <= (family == 4 ? 32 : 128);
}

/* One address, a network in CIDR notation, or a range "from-to". */
static bool address_pattern_valid(struct str text) {
    unsigned char from[16], to[16];
    if (text.size == 0)
        return false;
    if (parse_address(text, from) != 0)
        return true;
    const char *slash = memchr(text.data, '/', text.size);
    if (slash) {
        size_t size = (size_t)(slash - text.data);
        int family = parse_address(str_make(text.data, size), from);
        return family != 0 && prefix_length_valid(str_from_offset(text, size + 1), family);
    }
    const char *dash = memchr(text.data, '-', text.size);
    if (!dash)
        return false;
    size_t size = (size_t)(dash - text.data);
    int family = parse_address(str_make(text.data, size), from);
    return family != 0 && parse_address(str_from_offset(text, size + 1), to) == family &&
           memcmp(from, to, family == 4 ? 4 : 16) <= 0;
}

static int check_address(struct parser *p, const struct stage *s, struct str text) {
    if (address_pattern_valid(text))
        return 0;
    struct buf cause = buf_make(STAGE_SHOWN_MAX);
    buf_add_str(&cause, STR("ip: invalid pattern: "));
    go_quote(&cause, text);
    buf_add_char(&cause, '\0');
    int r = fail_stage(p, s, cause.failed ? "ip: invalid pattern" : cause.data);
    buf_done(&cause);
    return r;
}

/* ---- patterns */

static bool is_name_char(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Length of the capture "<name>" at `at`, 0 for none. */
static size_t capture_size(struct str text, size_t at) {
    if (text.data[at] != '<')
        return 0;
    size_t end = at + 1;
    while (end < text.size && is_name_char(text.data[end], end == at + 1))
        end++;
    return end > at + 1 && end < text.size && text.data[end] == '>' ? end + 1 - at : 0;
}

int pattern_check(struct str text, bool line_filter, struct err *reterr) {
    struct str captures[CAPTURES_MAX];
    size_t count = 0, before_start = 0, before_end = SIZE_MAX;
    struct str first_consecutive = {0};
    for (size_t at = 0; at < text.size;) {
        size_t size = capture_size(text, at);
        if (size == 0) {
            at++;
            continue;
        }
        if (before_end == at && first_consecutive.size == 0)
            first_consecutive = str_make(text.data + before_start, at + size - before_start);
        before_start = at;
        before_end = at + size;
        struct str name = str_make(text.data + at + 1, size - 2);
        at += size;
        if (str_eq(name, STR("_")))
            continue;
        if (count == CAPTURES_MAX)
            return err_set(reterr, -ESYNTAX, "more than %d captures: invalid expression",
                           CAPTURES_MAX);
        captures[count++] = name;
    }
    if (!line_filter && text.size == 0)
        return err_set(reterr, -ESYNTAX,
                       "parse error at line 1, col 1: syntax error: unexpected $end, expecting "
                       "IDENTIFIER or LITERAL");
    if (!line_filter && count == 0)
        return err_set(reterr, -ESYNTAX, "at least one capture is required");
    if (first_consecutive.size > 0)
        return err_set(reterr, -ESYNTAX, "found consecutive capture '%.*s': invalid expression",
                       STR_ARG(first_consecutive));
    if (line_filter && count > 0)
        return err_set(reterr, -ESYNTAX, "named captures are not allowed: found '<%.*s>'",
                       STR_ARG(captures[0]));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (str_eq(captures[i], captures[k]))
                return err_set(reterr, -ESYNTAX,
                               "duplicate capture name (%.*s): invalid expression",
                               STR_ARG(captures[i]));
    return 0;
}

/* ---- stages */

/* `run` is the first of the adjacent line filters that `s` is one of. */
static int check_line_filter(struct parser *p, const struct stage *run, struct stage *s) {
    enum line_op op = s->line_filter.op;
    for (struct line_operand *o = s->line_filter.operands; o; o = o->next) {
        int r = 0;
        struct err err;
        if (o->ip) {
            if (op != LINE_CONTAINS && op != LINE_EXCLUDES)
                return fail_stage(p, run, "ip: invalid operation");
            r = check_address(p, run, o->text);
        } else if (op == LINE_MATCHES || op == LINE_NOT_MATCHES) {
            r = parser_regex(p, o->text, false, &err, &o->regex);
            if (r == -ESYNTAX)
                return fail_stage(p, run, err.text);
        } else if (op == LINE_PATTERN || op == LINE_NOT_PATTERN) {
            r = pattern_check(o->text, true, &err);
            if (r < 0)
                return fail_stage(p, run, err.text);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_label_format(struct parser *p, const struct stage *s) {
    for (const struct label_assign *a = s->assigns; a; a = a->next) {
        if (str_eq(a->name, STR("__error__")))
            return fail_stage(p, s, "__error__ cannot be formatted");
        for (const struct label_assign *b = s->assigns; b != a; b = b->next) {
            if (!str_eq(a->name, b->name))
                continue;
            char cause[ERR_TEXT_MAX];
            (void)snprintf(cause, sizeof(cause),
                           "multiple label name '%.*s' not allowed in a single format operation",
                           STR_ARG(a->name));
            return fail_stage(p, s, cause);
        }
    }
    return 0;
}

static int check_log(struct parser *p, struct log_expr *log) {
    const struct stage *run = NULL;
    for (struct stage *s = log->stages; s; s = s->next) {
        int r = 0;
        if (s->kind != STAGE_LINE_FILTER)
            run = NULL;
        else if (!run)
            run = s;
        if (s->kind == STAGE_LINE_FILTER)
            r = check_line_filter(p, run, s);
        else if (s->kind == STAGE_LABEL_FORMAT)
            r = check_label_format(p, s);
        else if (s->kind == STAGE_LABEL_FILTER && s->filter->kind == FILTER_IP)
            r = check_address(p, s, s->filter->text);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Recursion is bounded by QUERY_TREE_DEPTH_MAX. */
int check_stages(struct parser *p, struct expr *e) {
    switch (e->kind) {
    case EXPR_LOG:
        return check_log(p, &e->log);
    case EXPR_RANGE:
        return check_log(p, &e->range.log);
    case EXPR_VECTOR_AGG:
        return check_stages(p, e->vector_agg.inner);
    case EXPR_BINARY: {
        int r = check_stages(p, e->binary.left);
        return r < 0 ? r : check_stages(p, e->binary.right);
    }
    case EXPR_LABEL_REPLACE:
        return check_stages(p, e->label_replace.inner);
    case EXPR_VARIANTS: /* refused before it is run */
    case EXPR_LITERAL:
    case EXPR_VECTOR:
        break;
    }
    return 0;
}
