/* Single stages behind a "|", and label filters. */
#include <assert.h>
#include <errno.h>

#include "parser_private.h"
#include "units.h"

/* ---- label filters */

enum { QUOTED_NUMBER_MAX = 128 };

struct filter_parser {
    unsigned conditions;
};

static struct label_filter *new_filter(struct parser *p, enum label_filter_kind kind) {
    struct label_filter *f = parser_alloc(p, sizeof(*f));
    if (f)
        f->kind = kind;
    return f;
}

/* A number, with a sign of its own token, as in `x > -5`. */
static int parse_number(struct parser *p, struct label_filter *f) {
    size_t start = p->tok.offset;
    bool negative = parser_at(p, TOK_SUB);
    if (negative || parser_at(p, TOK_ADD)) {
        int r = parser_advance(p);
        if (r < 0)
            return r;
        if (!parser_at(p, TOK_NUMBER))
            return parser_unexpected(p, "NUMBER");
    }
    if (!parser_at(p, TOK_NUMBER))
        return parser_unexpected(p, NULL);
    struct str text = p->tok.text;
    double value;
    if (float_parse_go(text, &value) < 0)
        return parser_fail(p,
                           "unable to parse literal as a float: strconv.ParseFloat: parsing "
                           "\"%.*s\": %s",
                           text.size < QUOTED_NUMBER_MAX ? (int)text.size : QUOTED_NUMBER_MAX,
                           text.data, parser_float_cause(text));
    f->kind = FILTER_NUMBER;
    f->number = negative ? -value : value;
    f->text = str_make(p->lex.text.data + start, p->tok.offset + text.size - start);
    return parser_advance(p);
}

/* The value of a comparison that may have a type: 5, 5s, 5KB, -5. */
static int parse_typed(struct parser *p, struct label_filter *f) {
    if (parser_at(p, TOK_DURATION)) {
        f->kind = FILTER_DURATION;
        f->number = (double)p->tok.duration_ns;
    } else if (parser_at(p, TOK_BYTES)) {
        f->kind = FILTER_BYTES;
        f->number = (double)p->tok.bytes;
    } else {
        return parse_number(p, f);
    }
    f->text = p->tok.text;
    return parser_advance(p);
}

static int parse_ip(struct parser *p, struct label_filter *f) {
    struct token text;
    int r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_OPEN_PARENTHESIS, "(", NULL)) < 0 ||
        (r = parser_take(p, TOK_STRING, "STRING", &text)) < 0)
        return r;
    f->kind = FILTER_IP;
    f->text = text.value;
    return parser_take(p, TOK_CLOSE_PARENTHESIS, ")", NULL);
}

/* "..." behind =, !=, =~ or !~ */
static int parse_text_value(struct parser *p, struct label_filter *f) {
    struct token text;
    int r = parser_take(p, TOK_STRING, "STRING", &text);
    if (r < 0)
        return r;
    f->kind = FILTER_STRING;
    f->text = text.value;
    if (f->match == MATCH_RE || f->match == MATCH_NRE)
        r = parser_label_regex(p, f->text, &f->regex);
    return r;
}

static int parse_condition(struct parser *p, struct label_filter *f) {
    static const struct {
        enum token_kind kind;
        enum compare_op compare;
    } ops[] = {
        {TOK_EQ, CMP_EQ},   {TOK_CMP_EQ, CMP_EQ}, {TOK_NEQ, CMP_NEQ}, {TOK_GT, CMP_GT},
        {TOK_GTE, CMP_GTE}, {TOK_LT, CMP_LT},     {TOK_LTE, CMP_LTE},
    };
    f->name = p->tok.text;
    int r = parser_advance(p);
    if (r < 0)
        return r;
    enum token_kind op = p->tok.kind;
    if (op == TOK_RE || op == TOK_NRE) {
        f->match = op == TOK_RE ? MATCH_RE : MATCH_NRE;
        r = parser_advance(p);
        return r < 0 ? r : parse_text_value(p, f);
    }
    size_t i = 0;
    while (i < sizeof(ops) / sizeof(ops[0]) && ops[i].kind != op)
        i++;
    if (i == sizeof(ops) / sizeof(ops[0]))
        return parser_unexpected(p, NULL);
    f->compare = ops[i].compare;
    r = parser_advance(p);
    if (r < 0)
        return r;
    if (op == TOK_EQ || op == TOK_NEQ) {
        f->match = op == TOK_EQ ? MATCH_EQ : MATCH_NEQ;
        if (parser_at(p, TOK_STRING))
            return parse_text_value(p, f);
        if (parser_at(p, TOK_IP))
            return parse_ip(p, f);
    }
    return parse_typed(p, f);
}

/* How conditions are joined. Only the words have a precedence in Loki's grammar; beside a comma or beside nothing at
 * all the parser reads on, so that `a, b or c` is a and (b or c), and commas group to the right. */
enum joint { JOINT_NONE, JOINT_OR, JOINT_AND, JOINT_COMMA, JOINT_BESIDE };

static enum joint joint_ahead(const struct parser *p) {
    if (parser_at(p, TOK_OR))
        return JOINT_OR;
    if (parser_at(p, TOK_AND))
        return JOINT_AND;
    if (parser_at(p, TOK_COMMA))
        return JOINT_COMMA;
    if (parser_at(p, TOK_IDENTIFIER) || parser_at(p, TOK_OPEN_PARENTHESIS))
        return JOINT_BESIDE;
    return JOINT_NONE;
}

static int parse_joined(struct parser *p, struct filter_parser *fp, enum joint before,
                        struct label_filter **ret);

static int parse_primary(struct parser *p, struct filter_parser *fp, struct label_filter **ret) {
    if (++fp->conditions > QUERY_FILTERS_MAX)
        return parser_fail(p, "label filter has more than %d conditions", QUERY_FILTERS_MAX);
    if (parser_at(p, TOK_IDENTIFIER)) {
        struct label_filter *f = new_filter(p, FILTER_STRING);
        if (!f)
            return -ENOMEM;
        *ret = f;
        return parse_condition(p, f);
    }
    int r = parser_take(p, TOK_OPEN_PARENTHESIS, "IDENTIFIER or (", NULL);
    if (r < 0 || (r = parse_joined(p, fp, JOINT_NONE, ret)) < 0)
        return r;
    return parser_take(p, TOK_CLOSE_PARENTHESIS, NULL, NULL);
}

/* Recursion is bounded: every level takes a condition or a parenthesis, both counted in parse_primary. */
static int parse_joined(struct parser *p, struct filter_parser *fp, enum joint before,
                        struct label_filter **ret) {
    struct label_filter *left;
    int r = parse_primary(p, fp, &left);
    while (r == 0) {
        enum joint joint = joint_ahead(p);
        bool both_words = (joint == JOINT_OR || joint == JOINT_AND) &&
                          (before == JOINT_OR || before == JOINT_AND);
        if (joint == JOINT_NONE || (both_words && before >= joint)) {
            *ret = left;
            return 0;
        }
        if (joint != JOINT_BESIDE && (r = parser_advance(p)) < 0)
            return r;
        struct label_filter *f = new_filter(p, joint == JOINT_OR ? FILTER_OR : FILTER_AND);
        if (!f)
            return -ENOMEM;
        f->comma = joint == JOINT_COMMA;
        f->left = left;
        r = parse_joined(p, fp, joint, &f->right);
        left = f;
    }
    return r;
}

int parse_label_filter(struct parser *p, struct label_filter **ret) {
    struct filter_parser fp = {0};
    return parse_joined(p, &fp, JOINT_NONE, ret);
}

/* ---- stages */

/* name="expression", name, ... */
static int parse_extractions(struct parser *p, struct stage *stage) {
    struct extraction **tail = &stage->extract.list;
    for (;;) {
        struct extraction *x = parser_alloc(p, sizeof(*x));
        if (!x)
            return -ENOMEM;
        struct token name, expression;
        int r = parser_take(p, TOK_IDENTIFIER, "IDENTIFIER", &name);
        if (r < 0)
            return r;
        x->name = x->expression = name.text;
        if (parser_at(p, TOK_EQ)) {
            r = parser_advance(p);
            if (r < 0 || (r = parser_take(p, TOK_STRING, "STRING", &expression)) < 0)
                return r;
            x->expression = expression.value;
        }
        *tail = x;
        tail = &x->next;
        if (!parser_at(p, TOK_COMMA))
            return 0;
        r = parser_advance(p);
        if (r < 0)
            return r;
    }
}

static int parse_extract(struct parser *p, struct stage *stage) {
    stage->kind = parser_at(p, TOK_JSON) ? STAGE_JSON : STAGE_LOGFMT;
    int r = parser_advance(p);
    while (r == 0 && stage->kind == STAGE_LOGFMT && parser_at(p, TOK_FUNCTION_FLAG)) {
        if (str_eq(p->tok.text, STR("--strict")))
            stage->extract.strict = true;
        else
            stage->extract.keep_empty = true;
        r = parser_advance(p);
    }
    if (r == 0 && parser_at(p, TOK_IDENTIFIER))
        r = parse_extractions(p, stage);
    return r;
}

static int check_groups(struct parser *p, const struct regex *re) {
    bool named = false;
    for (size_t i = 1; i <= regex_group_count(re); i++) {
        struct str name = regex_group_name(re, i);
        if (name.size == 0)
            continue;
        named = true;
        for (size_t k = 1; k < i; k++)
            if (str_eq(regex_group_name(re, k), name))
                return parser_fail(p,
                                   "invalid regexp parser: duplicate extracted label name '%.*s'",
                                   STR_ARG(name));
    }
    if (!named)
        return parser_fail(p, "invalid regexp parser: at least one named capture must be supplied");
    return 0;
}

/* Stages with one string: regexp, pattern, line_format */
static int parse_text_stage(struct parser *p, struct stage *stage) {
    stage->kind = parser_at(p, TOK_REGEXP)    ? STAGE_REGEXP
                  : parser_at(p, TOK_PATTERN) ? STAGE_PATTERN
                                              : STAGE_LINE_FORMAT;
    struct token text;
    int r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_STRING, "STRING", &text)) < 0)
        return r;
    stage->text.text = text.value;
    struct err err;
    if (stage->kind == STAGE_REGEXP) {
        r = parser_regex(p, text.value, false, &err, &stage->text.regex);
        if (r == -ESYNTAX)
            return parser_fail(p, "invalid regexp parser: %s", err.text);
        return r < 0 ? r : check_groups(p, stage->text.regex);
    }
    if (stage->kind == STAGE_PATTERN && pattern_check(text.value, false, &err) < 0)
        return parser_fail(p, "invalid pattern parser: %s", err.text);
    return 0;
}

static int parse_label_format(struct parser *p, struct stage *stage) {
    struct label_assign **tail = &stage->assigns;
    stage->kind = STAGE_LABEL_FORMAT;
    do {
        struct label_assign *a = parser_alloc(p, sizeof(*a));
        if (!a)
            return -ENOMEM;
        struct token name;
        int r = parser_advance(p);
        if (r < 0 || (r = parser_take(p, TOK_IDENTIFIER, "IDENTIFIER", &name)) < 0 ||
            (r = parser_take(p, TOK_EQ, "=", NULL)) < 0)
            return r;
        a->name = name.text;
        a->is_template = parser_at(p, TOK_STRING);
        if (!a->is_template && !parser_at(p, TOK_IDENTIFIER))
            return parser_unexpected(p, "IDENTIFIER or STRING");
        a->value = a->is_template ? p->tok.value : p->tok.text;
        r = parser_advance(p);
        if (r < 0)
            return r;
        *tail = a;
        tail = &a->next;
    } while (parser_at(p, TOK_COMMA));
    return 0;
}

static int parse_choice(struct parser *p, struct label_choice *c) {
    struct token name, value;
    int r = parser_take(p, TOK_IDENTIFIER, "IDENTIFIER", &name);
    if (r < 0)
        return r;
    c->name = name.text;
    c->has_matcher = true;
    if (parser_at(p, TOK_EQ))
        c->match = MATCH_EQ;
    else if (parser_at(p, TOK_NEQ))
        c->match = MATCH_NEQ;
    else if (parser_at(p, TOK_RE))
        c->match = MATCH_RE;
    else if (parser_at(p, TOK_NRE))
        c->match = MATCH_NRE;
    else
        c->has_matcher = false;
    if (!c->has_matcher)
        return 0;
    r = parser_advance(p);
    if (r < 0 || (r = parser_take(p, TOK_STRING, "STRING", &value)) < 0)
        return r;
    c->value = value.value;
    if (c->match == MATCH_RE || c->match == MATCH_NRE)
        r = parser_label_regex(p, c->value, &c->regex);
    return r;
}

static int parse_choices(struct parser *p, struct stage *stage) {
    struct label_choice **tail = &stage->choices;
    stage->kind = parser_at(p, TOK_DROP) ? STAGE_DROP : STAGE_KEEP;
    do {
        struct label_choice *c = parser_alloc(p, sizeof(*c));
        if (!c)
            return -ENOMEM;
        int r = parser_advance(p);
        if (r < 0 || (r = parse_choice(p, c)) < 0)
            return r;
        *tail = c;
        tail = &c->next;
    } while (parser_at(p, TOK_COMMA));
    return 0;
}

int parse_stage(struct parser *p, struct stage *stage) {
    if (parser_at(p, TOK_JSON) || parser_at(p, TOK_LOGFMT))
        return parse_extract(p, stage);
    if (parser_at(p, TOK_REGEXP) || parser_at(p, TOK_PATTERN) || parser_at(p, TOK_LINE_FORMAT))
        return parse_text_stage(p, stage);
    if (parser_at(p, TOK_LABEL_FORMAT))
        return parse_label_format(p, stage);
    if (parser_at(p, TOK_DROP) || parser_at(p, TOK_KEEP))
        return parse_choices(p, stage);
    if (parser_at(p, TOK_UNPACK) || parser_at(p, TOK_DECOLORIZE)) {
        stage->kind = parser_at(p, TOK_UNPACK) ? STAGE_UNPACK : STAGE_DECOLORIZE;
        return parser_advance(p);
    }
    if (!parser_at(p, TOK_IDENTIFIER) && !parser_at(p, TOK_OPEN_PARENTHESIS))
        return parser_unexpected(p, NULL);
    stage->kind = STAGE_LABEL_FILTER;
    return parse_label_filter(p, &stage->filter);
}
