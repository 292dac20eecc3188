/* Expressions: selectors with pipelines, range and vector aggregations, binary operators, literals, vector() and
 * label_replace(). */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "matcher.h"
#include "parser_private.h"
#include "units.h"

enum { KEPT_ERROR_MAX = 512, QUOTED_MAX = 128, POWER_PRECEDENCE = 6 };

/* ---- expressions and their kept errors */

static struct checked_expr *checked(const struct expr *e) {
    return (struct checked_expr *)e;
}

static struct expr *new_expr(struct parser *p, enum expr_kind kind) {
    struct checked_expr *c = parser_alloc(p, sizeof(*c));
    if (!c)
        return NULL;
    c->expr.kind = kind;
    c->depth = 1;
    return &c->expr;
}

/* Keeps the first message about `e` for validate_expr. */
__attribute__((format(printf, 3, 4))) static int keep_error(struct parser *p, struct expr *e,
                                                            const char *format, ...) {
    char text[KEPT_ERROR_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t length = size < 0 ? 0 : (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1;
    char *copy = parser_alloc(p, length + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, text, length);
    if (!checked(e)->error)
        checked(e)->error = copy;
    return 0;
}

/* `inner` becomes a part of `e`. */
static int add_depth(struct parser *p, struct expr *e, const struct expr *inner) {
    unsigned depth = checked(inner)->depth + 1;
    if (depth > QUERY_TREE_DEPTH_MAX)
        return parser_fail(p, "query is nested more than %d levels deep", QUERY_TREE_DEPTH_MAX);
    if (checked(e)->depth < depth)
        checked(e)->depth = depth;
    return 0;
}

static struct str cut(struct str s) {
    return str_make(s.data, s.size < QUOTED_MAX ? s.size : QUOTED_MAX);
}

/* ---- range aggregations */

/* How much of `selector pipeline unwrap RANGE offset` has been read. */
struct range_parts {
    bool has_range;
};

static int parse_offset(struct parser *p, struct range_agg *range) {
    if (!parser_at(p, TOK_OFFSET))
        return 0;
    struct token offset;
    int r = parser_advance(p);
    if (r == 0)
        r = parser_take(p, TOK_DURATION, "DURATION", &offset);
    if (r == 0)
        range->offset_ns = offset.duration_ns;
    return r;
}

/* The present token is the range; behind it an offset, and the pipeline if none stood before. */
static int parse_range_tail(struct parser *p, struct range_agg *range) {
    range->range_ns = p->tok.duration_ns;
    int r = parser_advance(p);
    if (r == 0)
        r = parse_offset(p, range);
    if (r == 0 && !range->log.stages && !range->unwrap)
        r = parse_pipeline(p, &range->log, &range->unwrap);
    return r;
}

/* `(selector pipeline) RANGE`: behind the ")". */
static int parse_range_outside(struct parser *p, struct range_agg *range) {
    bool bare = !range->log.stages && !range->unwrap;
    struct token token;
    int r = parser_take(p, TOK_RANGE, "RANGE", &token);
    if (r < 0)
        return r;
    range->range_ns = token.duration_ns;
    r = parse_offset(p, range);
    if (r < 0 || !bare || !parser_at(p, TOK_PIPE))
        return r;
    r = parser_advance(p);
    if (r == 0 && !parser_at(p, TOK_UNWRAP))
        return parser_unexpected(p, "unwrap");
    return r < 0 ? r : parse_unwrap(p, &range->unwrap);
}

static int parse_log_range(struct parser *p, const char *expected, struct range_agg *range);

/* Behind the "(" of a log range. */
static int parse_range_inside(struct parser *p, struct range_agg *range) {
    if (!parser_at(p, TOK_OPEN_BRACE)) {
        int r = parse_log_range(p, "{ or (", range);
        return r < 0 ? r : parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    }
    int r = parse_selector(p, &range->log);
    if (r == 0)
        r = parse_pipeline(p, &range->log, &range->unwrap);
    if (r == 0 && parser_at(p, TOK_RANGE)) {
        r = parse_range_tail(p, range);
        return r < 0 ? r : parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    }
    if (r == 0)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, range->unwrap ? "RANGE or ) or |" : NULL, NULL);
    return r < 0 ? r : parse_range_outside(p, range);
}

static int parse_log_range(struct parser *p, const char *expected, struct range_agg *range) {
    int r = parser_enter(p);
    if (r < 0)
        return r;
    if (parser_at(p, TOK_OPEN_PARENTHESIS)) {
        r = parser_advance(p);
        if (r == 0)
            r = parse_range_inside(p, range);
    } else if (parser_at(p, TOK_OPEN_BRACE)) {
        r = parse_selector(p, &range->log);
        if (r == 0)
            r = parse_pipeline(p, &range->log, &range->unwrap);
        if (r == 0 && !parser_at(p, TOK_RANGE))
            r = parser_unexpected(p, range->unwrap ? "RANGE or |" : NULL);
        if (r == 0)
            r = parse_range_tail(p, range);
    } else {
        r = parser_unexpected(p, expected);
    }
    parser_leave(p);
    return r;
}

/* by (a, b) or without (a), if it stands here */
static int parse_grouping(struct parser *p, struct grouping *ret) {
    if (!parser_at(p, TOK_BY) && !parser_at(p, TOK_WITHOUT))
        return 0;
    struct grouping g = {.present = true, .without = parser_at(p, TOK_WITHOUT)};
    struct name_list names;
    int r = parser_advance(p);
    if (r < 0 || (r = parser_names(p, &names)) < 0)
        return r;
    g.names = names.items;
    g.count = names.count;
    *ret = g;
    return 0;
}

/* Which operations go with an unwrapped value, without one, and with a grouping of their own. */
static bool allows_unwrap(enum range_op op) {
    return op != RANGE_COUNT && op != RANGE_BYTES && op != RANGE_BYTES_RATE;
}

static bool allows_lines(enum range_op op) {
    return op == RANGE_COUNT || op == RANGE_BYTES || op == RANGE_BYTES_RATE || op == RANGE_RATE ||
           op == RANGE_ABSENT;
}

static bool allows_grouping(enum range_op op) {
    return op == RANGE_AVG || op == RANGE_STDDEV || op == RANGE_STDVAR || op == RANGE_QUANTILE ||
           op == RANGE_MAX || op == RANGE_MIN || op == RANGE_FIRST || op == RANGE_LAST;
}

static int judge_range(struct parser *p, struct expr *e, struct str parameter) {
    struct range_agg *range = &e->range;
    struct str name = range_op_name(range->op);
    bool quantile = range->op == RANGE_QUANTILE;
    if (parameter.size > 0 && !quantile)
        return keep_error(p, e, "parameter %.*s not supported for operation %.*s",
                          STR_ARG(cut(parameter)), STR_ARG(name));
    if (parameter.size == 0 && quantile)
        return keep_error(p, e, "parameter required for operation %.*s", STR_ARG(name));
    if (quantile && float_parse_go(parameter, &range->parameter) < 0)
        return keep_error(
            p, e, "invalid parameter for operation %.*s: strconv.ParseFloat: parsing \"%.*s\": %s",
            STR_ARG(name), STR_ARG(cut(parameter)), parser_float_cause(parameter));
    if (range->grouping.present && !allows_grouping(range->op))
        return keep_error(p, e, "grouping not allowed for %.*s aggregation", STR_ARG(name));
    if (range->unwrap && !allows_unwrap(range->op))
        return keep_error(p, e, "invalid aggregation %.*s with unwrap", STR_ARG(name));
    if (!range->unwrap && !allows_lines(range->op))
        return keep_error(p, e, "invalid aggregation %.*s without unwrap", STR_ARG(name));
    return 0;
}

static int parse_range_agg(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_RANGE);
    if (!e)
        return -ENOMEM;
    struct str parameter = STR("");
    const char *expected = "NUMBER or { or (";
    e->range.op = (enum range_op)p->tok.op;
    int r = parser_advance(p);
    if (r == 0)
        r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL);
    if (r == 0 && parser_at(p, TOK_NUMBER)) {
        parameter = p->tok.text;
        expected = "{ or (";
        r = parser_advance(p);
        if (r == 0)
            r = parser_take(p, TOK_COMMA, ",", NULL);
    }
    if (r == 0)
        r = parse_log_range(p, expected, &e->range);
    if (r == 0)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    if (r == 0)
        r = parse_grouping(p, &e->range.grouping);
    *ret = e;
    return r < 0 ? r : judge_range(p, e, parameter);
}

/* ---- vector aggregations */

static int judge_vector_agg(struct parser *p, struct expr *e, struct str parameter) {
    struct vector_agg *agg = &e->vector_agg;
    struct str name = vector_op_name(agg->op);
    if (agg->op != AGG_BOTTOMK && agg->op != AGG_TOPK && agg->op != AGG_APPROX_TOPK) {
        if (parameter.size > 0)
            return keep_error(p, e, "unsupported parameter for operation %.*s(%.*s,", STR_ARG(name),
                              STR_ARG(cut(parameter)));
        return 0;
    }
    if (parameter.size == 0)
        return keep_error(p, e, "parameter required for operation %.*s", STR_ARG(name));
    if (i64_parse(parameter, &agg->parameter) < 0)
        return keep_error(p, e, "invalid parameter %.*s(%.*s,", STR_ARG(name),
                          STR_ARG(cut(parameter)));
    if (agg->parameter <= 0)
        return keep_error(p, e, "invalid parameter (must be greater than 0) %.*s(%.*s",
                          STR_ARG(name), STR_ARG(cut(parameter)));
    if (agg->op == AGG_APPROX_TOPK && agg->grouping.present)
        return keep_error(p, e, "grouping not allowed for %.*s aggregation", STR_ARG(name));
    return 0;
}

static int parse_binary(struct parser *p, unsigned min_precedence, struct expr *first,
                        struct expr **ret);

/* An expression that is no log query, up to a token that ends it. A log query is noticed at that token. */
static int parse_metric(struct parser *p, struct expr *first, struct expr **ret) {
    int r = parser_enter(p);
    if (r < 0)
        return r;
    r = parse_binary(p, 1, first, ret);
    if (r == 0 && ((*ret)->kind == EXPR_LOG || (*ret)->kind == EXPR_VARIANTS))
        r = parser_unexpected(p, NULL);
    parser_leave(p);
    return r;
}

static int parse_literal(struct parser *p, struct expr **ret);

/* What stands between the parentheses: `k, expression` or an expression, which may begin with a number too. */
static int parse_vector_arguments(struct parser *p, struct expr *e, struct str *ret_parameter) {
    struct expr *first = NULL;
    int r = 0;
    if (parser_at(p, TOK_NUMBER)) {
        struct str number = p->tok.text;
        r = parse_literal(p, &first);
        if (r == 0 && parser_at(p, TOK_COMMA)) {
            *ret_parameter = number;
            first = NULL;
            r = parser_advance(p);
        }
    }
    if (r == 0)
        r = parse_metric(p, first, &e->vector_agg.inner);
    return r < 0 ? r : add_depth(p, e, e->vector_agg.inner);
}

static int parse_vector_agg(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_VECTOR_AGG);
    if (!e)
        return -ENOMEM;
    struct str parameter = STR("");
    struct vector_agg *agg = &e->vector_agg;
    agg->op = (enum vector_op)p->tok.op;
    int r = parser_advance(p);
    if (r == 0)
        r = parse_grouping(p, &agg->grouping);
    if (r == 0)
        r = parser_take(p, TOK_OPEN_PARENTHESIS, agg->grouping.present ? "(" : "( or by or without",
                        NULL);
    if (r == 0)
        r = parse_vector_arguments(p, e, &parameter);
    if (r == 0)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, NULL, NULL);
    if (r == 0 && !agg->grouping.present)
        r = parse_grouping(p, &agg->grouping);
    *ret = e;
    return r < 0 ? r : judge_vector_agg(p, e, parameter);
}

/* ---- literals, vector(), label_replace() */

static int parse_literal(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_LITERAL);
    if (!e)
        return -ENOMEM;
    bool negative = parser_at(p, TOK_SUB);
    int r = 0;
    if (negative || parser_at(p, TOK_ADD))
        r = parser_advance(p);
    struct token number;
    if (r == 0)
        r = parser_take(p, TOK_NUMBER, "NUMBER", &number);
    if (r < 0)
        return r;
    if (float_parse_go(number.text, &e->number) < 0)
        r = keep_error(
            p, e, "unable to parse literal as a float: strconv.ParseFloat: parsing \"%.*s\": %s",
            STR_ARG(cut(number.text)), parser_float_cause(number.text));
    if (negative)
        e->number = -e->number;
    *ret = e;
    return r;
}

static int parse_vector(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_VECTOR);
    if (!e)
        return -ENOMEM;
    struct token number;
    int r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL)) < 0 ||
        (r = parser_take(p, TOK_NUMBER, "NUMBER", &number)) < 0 ||
        (r = parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL)) < 0)
        return r;
    if (float_parse_go(number.text, &e->number) < 0)
        r = keep_error(p, e,
                       "unable to parse vectorExpr as a float: strconv.ParseFloat: parsing "
                       "\"%.*s\": %s",
                       STR_ARG(cut(number.text)), parser_float_cause(number.text));
    *ret = e;
    return r;
}

static int parse_label_replace(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_LABEL_REPLACE);
    if (!e)
        return -ENOMEM;
    int r = parser_advance(p);
    if (r == 0)
        r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL);
    if (r == 0)
        r = parse_metric(p, NULL, &e->label_replace.inner);
    if (r == 0)
        r = add_depth(p, e, e->label_replace.inner);
    struct str *const texts[] = {&e->label_replace.dst, &e->label_replace.replacement,
                                 &e->label_replace.src, &e->label_replace.pattern};
    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct token text;
        r = parser_take(p, TOK_COMMA, i == 0 ? NULL : ",", NULL);
        if (r == 0)
            r = parser_take(p, TOK_STRING, "STRING", &text);
        if (r == 0)
            *texts[i] = text.value;
    }
    if (r == 0)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    if (r < 0)
        return r;
    *ret = e;
    struct err cause;
    r = parser_regex(p, e->label_replace.pattern, true, &cause, &e->label_replace.regex);
    return r == -ESYNTAX ? keep_error(p, e, "invalid regex in label_replace: %s", cause.text) : r;
}

/* ---- binary operators */

static bool is_binary_op(const struct parser *p, enum binary_op *ret) {
    if (p->tok.kind < TOK_OR || p->tok.kind > TOK_LTE)
        return false;
    *ret = (enum binary_op)(p->tok.kind - TOK_OR);
    return true;
}

unsigned binary_op_precedence(enum binary_op op) {
    switch (op) {
    case BIN_OR:
        return 1;
    case BIN_AND:
    case BIN_UNLESS:
        return 2;
    case BIN_EQ:
    case BIN_NEQ:
    case BIN_GT:
    case BIN_GTE:
    case BIN_LT:
    case BIN_LTE:
        return 3;
    case BIN_ADD:
    case BIN_SUB:
        return 4;
    case BIN_MUL:
    case BIN_DIV:
    case BIN_MOD:
        return 5;
    case BIN_POW:
        return POWER_PRECEDENCE;
    }
    return 0;
}

/* Operations between two literals are done here, as Loki does. Division by zero gives NaN there. */
static double fold(enum binary_op op, double a, double b) {
    switch (op) {
    case BIN_ADD:
        return a + b;
    case BIN_SUB:
        return a - b;
    case BIN_MUL:
        return a * b;
    case BIN_DIV:
        return b == 0 ? NAN : a / b;
    case BIN_MOD:
        return b == 0 ? NAN : fmod(a, b);
    case BIN_POW:
        return pow(a, b);
    case BIN_EQ:
        return a == b;
    case BIN_NEQ:
        return a != b;
    case BIN_GT:
        return a > b;
    case BIN_GTE:
        return a >= b;
    case BIN_LT:
        return a < b;
    case BIN_LTE:
        return a <= b;
    case BIN_OR:
    case BIN_AND:
    case BIN_UNLESS:
        break;
    }
    return NAN;
}

/* Checks both sides; two literals turn `e` into one. */
static int judge_binary(struct parser *p, struct expr *e) {
    struct binary *b = &e->binary;
    struct str name = binary_op_name(b->op);
    const struct expr *const sides[] = {b->left, b->right};
    static const char *const side_names[] = {"left", "right"};
    for (int i = 0; i < 2; i++)
        if (sides[i]->kind == EXPR_LOG)
            return keep_error(p, e,
                              "unexpected type for %s leg of binary operation (%.*s): *syntax.%s",
                              side_names[i], STR_ARG(name),
                              sides[i]->log.stages ? "PipelineExpr" : "MatchersExpr");
    for (int i = 0; i < 2; i++)
        if (sides[i]->kind == EXPR_LITERAL && checked(sides[i])->error)
            return keep_error(p, e, "%s", checked(sides[i])->error);
    bool logical = b->op == BIN_OR || b->op == BIN_AND || b->op == BIN_UNLESS;
    for (int i = 0; i < 2; i++)
        if (logical && sides[i]->kind == EXPR_LITERAL)
            return keep_error(
                p, e, "unexpected literal for %s leg of logical/set binary operation (%.*s): %f",
                side_names[i], STR_ARG(name), sides[i]->number);
    if (b->left->kind == EXPR_LITERAL && b->right->kind == EXPR_LITERAL) {
        double value = fold(b->op, b->left->number, b->right->number);
        *e = (struct expr){.kind = EXPR_LITERAL, .number = value};
        checked(e)->depth = 1;
    }
    return 0;
}

/* bool, on (...), ignoring (...), group_left (...), group_right (...) */
static int parse_modifiers(struct parser *p, struct binary *b) {
    int r = 0;
    if (parser_at(p, TOK_BOOL)) {
        b->return_bool = true;
        r = parser_advance(p);
    }
    if (r < 0 || (!parser_at(p, TOK_ON) && !parser_at(p, TOK_IGNORING)))
        return r;
    struct name_list names;
    b->has_matching = true;
    b->on = parser_at(p, TOK_ON);
    r = parser_advance(p);
    if (r < 0 || (r = parser_names(p, &names)) < 0)
        return r;
    b->labels = names.items;
    b->n_labels = names.count;
    if (!parser_at(p, TOK_GROUP_LEFT) && !parser_at(p, TOK_GROUP_RIGHT))
        return 0;
    b->card = parser_at(p, TOK_GROUP_LEFT) ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
    r = parser_advance(p);
    if (r < 0 || !parser_at(p, TOK_OPEN_PARENTHESIS))
        return r;
    r = parser_names(p, &names);
    if (r == 0) {
        b->include = names.items;
        b->n_include = names.count;
    }
    return r;
}

/* "(a, b)" of variants: one metric at least. */
static int parse_variant_list(struct parser *p, struct expr *e) {
    struct variant **tail = &e->variants.list;
    do {
        struct variant *v = parser_alloc(p, sizeof(*v));
        if (!v)
            return -ENOMEM;
        int r = parser_advance(p);
        if (r == 0)
            r = parse_metric(p, NULL, &v->metric);
        if (r == 0)
            r = add_depth(p, e, v->metric);
        if (r < 0)
            return r;
        *tail = v;
        tail = &v->next;
    } while (parser_at(p, TOK_COMMA));
    return parser_take(p, TOK_CLOSE_PARENTHESIS, NULL, NULL);
}

static int parse_variants(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_VARIANTS);
    if (!e)
        return -ENOMEM;
    int r = parser_advance(p);
    if (r == 0 && !parser_at(p, TOK_OPEN_PARENTHESIS))
        r = parser_unexpected(p, "(");
    if (r == 0)
        r = parse_variant_list(p, e);
    if (r == 0)
        r = parser_take(p, TOK_OF, "of", NULL);
    if (r == 0)
        r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL);
    if (r == 0)
        r = parse_log_range(p, "{ or (", &e->variants.of);
    if (r == 0)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    *ret = e;
    return r;
}

static int parse_log(struct parser *p, struct expr **ret) {
    struct expr *e = new_expr(p, EXPR_LOG);
    if (!e)
        return -ENOMEM;
    *ret = e;
    int r = parse_selector(p, &e->log);
    return r < 0 ? r : parse_pipeline(p, &e->log, NULL);
}

static int parse_operand(struct parser *p, struct expr **ret) {
    switch ((int)p->tok.kind) {
    case TOK_OPEN_BRACE:
        return parse_log(p, ret);
    case TOK_OPEN_PARENTHESIS: {
        int r = parser_advance(p);
        if (r < 0 || (r = parse_expr(p, ret)) < 0)
            return r;
        /* Loki's grammar knows no parentheses around variants. */
        if ((*ret)->kind == EXPR_VARIANTS)
            return parser_unexpected(p, NULL);
        return parser_take(p, TOK_CLOSE_PARENTHESIS, NULL, NULL);
    }
    case TOK_RANGE_OP:
        return parse_range_agg(p, ret);
    case TOK_VECTOR_OP:
        return parse_vector_agg(p, ret);
    case TOK_NUMBER:
    case TOK_ADD:
    case TOK_SUB:
        return parse_literal(p, ret);
    case TOK_VECTOR:
        return parse_vector(p, ret);
    case TOK_LABEL_REPLACE:
        return parse_label_replace(p, ret);
    case TOK_VARIANTS:
        return parse_variants(p, ret);
    default:
        return parser_unexpected(p, NULL);
    }
}

/* `first` is the left side when it has been read already, or NULL. */
static int parse_binary(struct parser *p, unsigned min_precedence, struct expr *first,
                        struct expr **ret) {
    struct expr *left = first;
    int r = left ? 0 : parse_operand(p, &left);
    enum binary_op op;
    while (r == 0 && is_binary_op(p, &op) && binary_op_precedence(op) >= min_precedence) {
        struct expr *e = new_expr(p, EXPR_BINARY);
        if (!e)
            return -ENOMEM;
        e->binary.op = op;
        e->binary.left = left;
        r = parser_advance(p);
        if (r == 0)
            r = parse_modifiers(p, &e->binary);
        if (r == 0)
            r = parser_enter(p);
        if (r < 0)
            return r;
        /* The power operator groups to the right. */
        unsigned above = binary_op_precedence(op) + (op != BIN_POW);
        r = parse_binary(p, above, NULL, &e->binary.right);
        parser_leave(p);
        if (r == 0)
            r = add_depth(p, e, left);
        if (r == 0)
            r = add_depth(p, e, e->binary.right);
        if (r == 0)
            r = judge_binary(p, e);
        left = e;
    }
    *ret = left;
    return r;
}

int parse_expr(struct parser *p, struct expr **ret) {
    int r = parser_enter(p);
    if (r < 0)
        return r;
    r = parse_binary(p, 1, NULL, ret);
    parser_leave(p);
    return r;
}

/* ---- validation */

static int validate_matchers(struct parser *p, const struct log_expr *log) {
    for (size_t i = 0; i < log->n_matchers; i++)
        if (!matcher_accepts(&log->matchers[i], STR("")))
            return 0;
    return parser_fail(p, "queries require at least one regexp or equality matcher that does not "
                          "have an empty-compatible value. For instance, app=~\".*\" does not meet "
                          "this requirement, but app=~\".+\" will");
}

/* Recursion is bounded by QUERY_TREE_DEPTH_MAX. */
int validate_expr(struct parser *p, const struct expr *e) {
    if (checked(e)->error)
        return parser_fail(p, "%s", checked(e)->error);
    switch (e->kind) {
    case EXPR_LOG:
        return validate_matchers(p, &e->log);
    case EXPR_RANGE:
        return validate_matchers(p, &e->range.log);
    case EXPR_VECTOR_AGG: {
        const struct vector_agg *agg = &e->vector_agg;
        if ((agg->op == AGG_SORT || agg->op == AGG_SORT_DESC) && agg->grouping.count > 0)
            return parser_fail(p, "sort and sort_desc doesn't allow grouping by ");
        return validate_expr(p, agg->inner);
    }
    case EXPR_BINARY: {
        int r = validate_expr(p, e->binary.left);
        return r < 0 ? r : validate_expr(p, e->binary.right);
    }
    case EXPR_LABEL_REPLACE:
        return validate_expr(p, e->label_replace.inner);
    case EXPR_VARIANTS: {
        int r = validate_matchers(p, &e->variants.of.log);
        for (const struct variant *v = e->variants.list; r == 0 && v; v = v->next)
            r = validate_expr(p, v->metric);
        return r;
    }
    case EXPR_LITERAL:
    case EXPR_VECTOR:
        break;
    }
    return 0;
}
