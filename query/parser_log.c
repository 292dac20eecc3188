/* Selectors, pipelines, line filters and unwrap. */
#include <errno.h>

#include "matcher.h"
#include "parser_private.h"

enum { MATCHERS_FIRST = 4 };

/* ---- selector */

static bool match_regex(const void *regex, struct str value) {
    return regex_matches(regex, value);
}

static bool token_is_match(enum token_kind kind, enum match_op *ret) {
    if (kind == TOK_EQ)
        *ret = MATCH_EQ;
    else if (kind == TOK_NEQ)
        *ret = MATCH_NEQ;
    else if (kind == TOK_RE)
        *ret = MATCH_RE;
    else if (kind == TOK_NRE)
        *ret = MATCH_NRE;
    else
        return false;
    return true;
}

/* Values of `a|b|c`, which an index looks up one by one. */
static void find_set(struct parser *p, struct matcher *m) {
    struct regex_facts facts;
    regex_analyze(m->value, true, p->arena, &facts);
    if (facts.fold_case || facts.matches_empty)
        return;
    if (facts.is_set_exact && facts.n_any_of > 0) {
        m->set = facts.any_of;
        m->set_count = facts.n_any_of;
    }
}

static int parse_matcher(struct parser *p, struct matcher *ret) {
    struct matcher m = {0};
    struct token name, value;
    int r = parser_take(p, TOK_IDENTIFIER, NULL, &name);
    if (r < 0)
        return r;
    if (!token_is_match(p->tok.kind, &m.op))
        return parser_unexpected(p, "= or =~ or !~ or !=");
    r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_STRING, "STRING", &value)) < 0)
        return r;
    m.name = name.text;
    m.value = value.value;
    if (m.op == MATCH_RE || m.op == MATCH_NRE) {
        const struct regex *re;
        r = parser_label_regex(p, m.value, &re);
        if (r < 0)
            return r;
        m.regex = re;
        m.matches = match_regex;
    }
    if (m.op == MATCH_RE)
        find_set(p, &m);
    *ret = m;
    return 0;
}

static int add_matcher(struct parser *p, struct log_expr *log, size_t *capacity) {
    if (log->n_matchers == *capacity) {
        size_t wanted = *capacity > 0 ? *capacity * 2 : MATCHERS_FIRST;
        struct matcher *grown = arena_array(p->arena, wanted, sizeof(*grown));
        if (!grown)
            return parser_no_memory(p);
        if (log->n_matchers > 0)
            memcpy(grown, log->matchers, log->n_matchers * sizeof(*grown));
        log->matchers = grown;
        *capacity = wanted;
    }
    int r = parse_matcher(p, &log->matchers[log->n_matchers]);
    if (r == 0)
        log->n_matchers++;
    return r;
}

int parse_selector(struct parser *p, struct log_expr *ret) {
    struct log_expr log = {0};
    size_t capacity = 0;
    int r = parser_advance(p);
    const char *expected = "IDENTIFIER or }";
    while (r == 0 && !(log.n_matchers == 0 && parser_at(p, TOK_CLOSE_BRACE))) {
        if (!parser_at(p, TOK_IDENTIFIER))
            return parser_unexpected(p, expected);
        r = add_matcher(p, &log, &capacity);
        if (r < 0)
            return r;
        if (parser_at(p, TOK_CLOSE_BRACE))
            break;
        r = parser_take(p, TOK_COMMA, "} or ,", NULL);
        expected = "IDENTIFIER";
    }
    if (r == 0)
        r = parser_advance(p);
    if (r == 0)
        *ret = log;
    return r;
}

/* ---- line filters */

static bool token_is_line_op(enum token_kind kind, enum line_op *ret) {
    static const struct {
        enum token_kind kind;
        enum line_op op;
    } ops[] = {
        {TOK_PIPE_EXACT, LINE_CONTAINS},  {TOK_NEQ, LINE_EXCLUDES},
        {TOK_PIPE_MATCH, LINE_MATCHES},   {TOK_NRE, LINE_NOT_MATCHES},
        {TOK_PIPE_PATTERN, LINE_PATTERN}, {TOK_NPA, LINE_NOT_PATTERN},
    };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (ops[i].kind == kind) {
            *ret = ops[i].op;
            return true;
        }
    }
    return false;
}

/* "text" or ip("text") */
static int parse_line_operand(struct parser *p, struct line_operand **ret) {
    struct line_operand *operand = parser_alloc(p, sizeof(*operand));
    if (!operand)
        return -ENOMEM;
    int r = 0;
    struct token text;
    operand->ip = parser_at(p, TOK_IP);
    if (operand->ip) {
        r = parser_advance(p);
        if (r < 0 || (r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL)) < 0)
            return r;
    }
    r = parser_take(p, TOK_STRING, operand->ip ? "STRING" : "STRING or ip", &text);
    if (r == 0 && operand->ip)
        r = parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
    if (r < 0)
        return r;
    operand->text = text.value;
    *ret = operand;
    return 0;
}

static int parse_line_filter(struct parser *p, struct stage *stage) {
    struct line_operand **tail = &stage->line_filter.operands;
    stage->kind = STAGE_LINE_FILTER;
    do {
        int r = parser_advance(p);
        if (r < 0 || (r = parse_line_operand(p, tail)) < 0)
            return r;
        tail = &(*tail)->next;
    } while (parser_at(p, TOK_OR));
    return 0;
}

/* ---- unwrap */

static int parse_conversion(struct parser *p, struct unwrap *u) {
    if (parser_at(p, TOK_BYTES_CONV))
        u->conversion = UNWRAP_BYTES;
    else if (parser_at(p, TOK_DURATION_CONV))
        u->conversion = UNWRAP_DURATION;
    else if (parser_at(p, TOK_DURATION_SECONDS_CONV))
        u->conversion = UNWRAP_DURATION_SECONDS;
    else
        return parser_unexpected(
            p, "IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV");
    struct token label;
    int r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL)) < 0 ||
        (r = parser_take(p, TOK_IDENTIFIER, "IDENTIFIER", &label)) < 0)
        return r;
    u->label = label.text;
    return parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
}

int parse_unwrap(struct parser *p, struct unwrap **ret) {
    struct unwrap *u = parser_alloc(p, sizeof(*u));
    if (!u)
        return -ENOMEM;
    int r = parser_advance(p);
    if (r == 0 && parser_at(p, TOK_IDENTIFIER)) {
        u->label = p->tok.text;
        r = parser_advance(p);
    } else if (r == 0) {
        r = parse_conversion(p, u);
    }
    struct stage **tail = &u->post_filters;
    while (r == 0 && parser_at(p, TOK_PIPE)) {
        struct stage *stage = parser_alloc(p, sizeof(*stage));
        if (!stage)
            return -ENOMEM;
        stage->kind = STAGE_LABEL_FILTER;
        stage->offset = p->tok.offset;
        r = parser_advance(p);
        if (r == 0)
            r = parse_label_filter(p, &stage->filter);
        *tail = stage;
        tail = &stage->next;
    }
    if (r == 0)
        *ret = u;
    return r;
}

/* ---- pipeline */

int parse_pipeline(struct parser *p, struct log_expr *log, struct unwrap **ret_unwrap) {
    struct stage **tail = &log->stages;
    for (;;) {
        enum line_op op;
        bool line_filter = token_is_line_op(p->tok.kind, &op);
        if (!line_filter && !parser_at(p, TOK_PIPE))
            return 0;
        struct stage *stage = parser_alloc(p, sizeof(*stage));
        if (!stage)
            return -ENOMEM;
        stage->offset = p->tok.offset;
        int r;
        if (line_filter) {
            stage->line_filter.op = op;
            r = parse_line_filter(p, stage);
        } else {
            r = parser_advance(p);
            if (r == 0 && ret_unwrap && parser_at(p, TOK_UNWRAP))
                return parse_unwrap(p, ret_unwrap);
            if (r == 0)
                r = parse_stage(p, stage);
        }
        if (r < 0)
            return r;
        *tail = stage;
        tail = &stage->next;
    }
}
