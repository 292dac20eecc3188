/* Expressions as text: Loki's String() (one line) and its pretty form. Both print the parsed expression, so that
 * spelling is normalized: escapes, units, parentheses of label filters. */
#include <stdio.h>
#include <string.h>

#include "labels.h"
#include "parser.h"
#include "units.h"

enum {
    PRETTY_LINE_MAX = 100, /* bytes of a part that still stays on one line */
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define NAME(text)                                                                                 \
    { text, sizeof(text) - 1 }

struct str range_op_name(enum range_op op) {
    static const struct str names[] = {
        [RANGE_COUNT] = NAME("count_over_time"),     [RANGE_RATE] = NAME("rate"),
        [RANGE_RATE_COUNTER] = NAME("rate_counter"), [RANGE_BYTES] = NAME("bytes_over_time"),
        [RANGE_BYTES_RATE] = NAME("bytes_rate"),     [RANGE_AVG] = NAME("avg_over_time"),
        [RANGE_SUM] = NAME("sum_over_time"),         [RANGE_MIN] = NAME("min_over_time"),
        [RANGE_MAX] = NAME("max_over_time"),         [RANGE_STDVAR] = NAME("stdvar_over_time"),
        [RANGE_STDDEV] = NAME("stddev_over_time"),   [RANGE_QUANTILE] = NAME("quantile_over_time"),
        [RANGE_FIRST] = NAME("first_over_time"),     [RANGE_LAST] = NAME("last_over_time"),
        [RANGE_ABSENT] = NAME("absent_over_time"),
    };
    return names[op];
}

struct str vector_op_name(enum vector_op op) {
    static const struct str names[] = {
        [AGG_SUM] = NAME("sum"),
        [AGG_AVG] = NAME("avg"),
        [AGG_COUNT] = NAME("count"),
        [AGG_MAX] = NAME("max"),
        [AGG_MIN] = NAME("min"),
        [AGG_STDDEV] = NAME("stddev"),
        [AGG_STDVAR] = NAME("stdvar"),
        [AGG_TOPK] = NAME("topk"),
        [AGG_BOTTOMK] = NAME("bottomk"),
        [AGG_SORT] = NAME("sort"),
        [AGG_SORT_DESC] = NAME("sort_desc"),
        [AGG_APPROX_TOPK] = NAME("approx_topk"),
    };
    return names[op];
}

struct str binary_op_name(enum binary_op op) {
    static const struct str names[] = {
        [BIN_OR] = NAME("or"),  [BIN_AND] = NAME("and"), [BIN_UNLESS] = NAME("unless"),
        [BIN_ADD] = NAME("+"),  [BIN_SUB] = NAME("-"),   [BIN_MUL] = NAME("*"),
        [BIN_DIV] = NAME("/"),  [BIN_MOD] = NAME("%"),   [BIN_POW] = NAME("^"),
        [BIN_EQ] = NAME("=="),  [BIN_NEQ] = NAME("!="),  [BIN_GT] = NAME(">"),
        [BIN_GTE] = NAME(">="), [BIN_LT] = NAME("<"),    [BIN_LTE] = NAME("<="),
    };
    return names[op];
}

static struct str match_name(enum match_op op) {
    static const struct str names[] = {
        [MATCH_EQ] = NAME("="),
        [MATCH_NEQ] = NAME("!="),
        [MATCH_RE] = NAME("=~"),
        [MATCH_NRE] = NAME("!~"),
    };
    return names[op];
}

static struct str compare_name(enum compare_op op) {
    static const struct str names[] = {
        [CMP_EQ] = NAME("=="),  [CMP_NEQ] = NAME("!="), [CMP_GT] = NAME(">"),
        [CMP_GTE] = NAME(">="), [CMP_LT] = NAME("<"),   [CMP_LTE] = NAME("<="),
    };
    return names[op];
}

static struct str line_op_name(enum line_op op) {
    static const struct str names[] = {
        [LINE_CONTAINS] = NAME("|="), [LINE_EXCLUDES] = NAME("!="),
        [LINE_MATCHES] = NAME("|~"),  [LINE_NOT_MATCHES] = NAME("!~"),
        [LINE_PATTERN] = NAME("|>"),  [LINE_NOT_PATTERN] = NAME("!>"),
    };
    return names[op];
}

static void add(struct buf *out, const char *text) {
    buf_add_str(out, str_from(text));
}

static void add_names(struct buf *out, const struct str *names, size_t count,
                      const char *separator) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            add(out, separator);
        buf_add_str(out, names[i]);
    }
}

/* ---- stages */

static void format_selector(struct buf *out, const struct log_expr *log) {
    buf_add_char(out, '{');
    for (size_t i = 0; i < log->n_matchers; i++) {
        const struct matcher *m = &log->matchers[i];
        if (i > 0)
            add(out, ", ");
        buf_add_str(out, m->name);
        buf_add_str(out, match_name(m->op));
        go_quote(out, m->value);
    }
    buf_add_char(out, '}');
}

static void format_operand(struct buf *out, const struct line_operand *o) {
    if (o->ip)
        add(out, "ip(");
    go_quote(out, o->text);
    if (o->ip)
        buf_add_char(out, ')');
}

/* Without "or", an exclusion of several texts is a chain of exclusions. */
static void format_line_filter(struct buf *out, const struct stage *s) {
    enum line_op op = s->line_filter.op;
    bool positive = op == LINE_CONTAINS || op == LINE_MATCHES || op == LINE_PATTERN;
    for (const struct line_operand *o = s->line_filter.operands; o; o = o->next) {
        if (o != s->line_filter.operands)
            add(out, positive ? " or " : " ");
        if (o == s->line_filter.operands || !positive) {
            buf_add_str(out, line_op_name(op));
            buf_add_char(out, ' ');
        }
        format_operand(out, o);
    }
}

/* The whole duration, size or number, normalized. Sizes lose the blank that go-humanize puts. */
static void format_typed_value(struct buf *out, const struct label_filter *f) {
    if (f->kind == FILTER_DURATION) {
        duration_format_go(out, (int64_t)f->number);
    } else if (f->kind == FILTER_BYTES) {
        struct buf text = buf_make(64);
        bytes_format(&text, f->number < 18446744073709551615.0 ? (uint64_t)f->number : UINT64_MAX);
        for (size_t i = 0; i < text.size; i++)
            if (text.data[i] != ' ')
                buf_add_char(out, text.data[i]);
        buf_done(&text);
    } else {
        float_format(out, f->number);
    }
}

/* Recursion is bounded by QUERY_FILTERS_MAX. */
static void format_filter(struct buf *out, const struct label_filter *f) {
    switch (f->kind) {
    case FILTER_AND:
    case FILTER_OR:
        add(out, "( ");
        format_filter(out, f->left);
        add(out, f->kind == FILTER_AND ? " , " : " or ");
        format_filter(out, f->right);
        add(out, " )");
        return;
    case FILTER_STRING:
        buf_add_str(out, f->name);
        buf_add_str(out, match_name(f->match));
        go_quote(out, f->text);
        return;
    case FILTER_IP:
        buf_add_str(out, f->name);
        add(out, f->compare == CMP_EQ ? "=" : "!=");
        add(out, "ip(");
        go_quote(out, f->text);
        buf_add_char(out, ')');
        return;
    case FILTER_NUMBER:
    case FILTER_DURATION:
    case FILTER_BYTES:
        buf_add_str(out, f->name);
        buf_add_str(out, compare_name(f->compare));
        format_typed_value(out, f);
        return;
    }
}

static void format_extract(struct buf *out, const struct stage *s) {
    add(out, s->kind == STAGE_JSON ? "| json" : "| logfmt");
    if (s->extract.strict)
        add(out, " --strict");
    if (s->extract.keep_empty)
        add(out, " --keep-empty");
    for (const struct extraction *x = s->extract.list; x; x = x->next) {
        buf_add_char(out, x == s->extract.list ? ' ' : ',');
        buf_add_str(out, x->name);
        buf_add_char(out, '=');
        go_quote(out, x->expression);
    }
}

static void format_assigns(struct buf *out, const struct stage *s) {
    add(out, "| label_format ");
    for (const struct label_assign *a = s->assigns; a; a = a->next) {
        if (a != s->assigns)
            buf_add_char(out, ',');
        buf_add_str(out, a->name);
        buf_add_char(out, '=');
        if (a->is_template)
            go_quote(out, a->value);
        else
            buf_add_str(out, a->value);
    }
}

static void format_choices(struct buf *out, const struct stage *s) {
    add(out, s->kind == STAGE_DROP ? "| drop " : "| keep ");
    for (const struct label_choice *c = s->choices; c; c = c->next) {
        if (c != s->choices)
            buf_add_char(out, ',');
        buf_add_str(out, c->name);
        if (c->has_matcher) {
            buf_add_str(out, match_name(c->match));
            go_quote(out, c->value);
        }
    }
}

static void format_text_stage(struct buf *out, const char *name, struct str text) {
    add(out, "| ");
    add(out, name);
    buf_add_char(out, ' ');
    go_quote(out, text);
}

static void format_one_stage(struct buf *out, const struct stage *s) {
    switch (s->kind) {
    case STAGE_LINE_FILTER:
        format_line_filter(out, s);
        return;
    case STAGE_JSON:
    case STAGE_LOGFMT:
        format_extract(out, s);
        return;
    case STAGE_REGEXP:
        format_text_stage(out, "regexp", s->text.text);
        return;
    case STAGE_PATTERN:
        format_text_stage(out, "pattern", s->text.text);
        return;
    case STAGE_LINE_FORMAT:
        format_text_stage(out, "line_format", s->text.text);
        return;
    case STAGE_UNPACK:
        add(out, "| unpack");
        return;
    case STAGE_DECOLORIZE:
        add(out, "| decolorize");
        return;
    case STAGE_LABEL_FILTER:
        add(out, "| ");
        format_filter(out, s->filter);
        return;
    case STAGE_LABEL_FORMAT:
        format_assigns(out, s);
        return;
    case STAGE_DROP:
    case STAGE_KEEP:
        format_choices(out, s);
        return;
    }
}

/* The first stage that is not of the same run of line filters. */
static const struct stage *run_end(const struct stage *s) {
    const struct stage *next = s->next;
    while (s->kind == STAGE_LINE_FILTER && next && next->kind == STAGE_LINE_FILTER)
        next = next->next;
    return next;
}

void stage_format(struct buf *out, const struct stage *s) {
    const struct stage *end = run_end(s);
    for (const struct stage *at = s; at != end; at = at->next) {
        if (at != s)
            buf_add_char(out, ' ');
        format_one_stage(out, at);
    }
}

/* ---- expressions on one line */

static void format_log(struct buf *out, const struct log_expr *log) {
    format_selector(out, log);
    for (const struct stage *s = log->stages; s; s = s->next) {
        buf_add_char(out, ' ');
        format_one_stage(out, s);
    }
}

static void format_unwrap(struct buf *out, const struct unwrap *u) {
    static const char *const conversions[] = {
        [UNWRAP_NUMBER] = NULL,
        [UNWRAP_DURATION] = "duration",
        [UNWRAP_DURATION_SECONDS] = "duration_seconds",
        [UNWRAP_BYTES] = "bytes",
    };
    const char *conversion = conversions[u->conversion];
    add(out, "| unwrap ");
    if (conversion)
        buf_addf(out, "%s(%.*s)", conversion, STR_ARG(u->label));
    else
        buf_add_str(out, u->label);
}

static void format_grouping(struct buf *out, const struct grouping *g) {
    add(out, g->without ? " without (" : " by (");
    add_names(out, g->names, g->count, ",");
    buf_add_char(out, ')');
}

/* selector, stages, unwrap, [range] and offset */
static void format_log_range(struct buf *out, const struct range_agg *range) {
    format_log(out, &range->log);
    if (range->unwrap) {
        buf_add_char(out, ' ');
        format_unwrap(out, range->unwrap);
        for (const struct stage *s = range->unwrap->post_filters; s; s = s->next) {
            buf_add_char(out, ' ');
            format_one_stage(out, s);
        }
    }
    buf_add_char(out, '[');
    duration_format_prometheus(out, range->range_ns);
    buf_add_char(out, ']');
    if (range->offset_ns != 0) {
        add(out, " offset ");
        duration_format_go(out, range->offset_ns);
    }
}

static void format_range(struct buf *out, const struct range_agg *range) {
    buf_add_str(out, range_op_name(range->op));
    buf_add_char(out, '(');
    if (range->op == RANGE_QUANTILE) {
        float_format(out, range->parameter);
        buf_add_char(out, ',');
    }
    format_log_range(out, range);
    buf_add_char(out, ')');
    if (range->grouping.present)
        format_grouping(out, &range->grouping);
}

static void format_vector_agg(struct buf *out, const struct vector_agg *agg) {
    buf_add_str(out, vector_op_name(agg->op));
    /* "by ()" is what there is without a grouping. */
    if (agg->grouping.count > 0 || agg->grouping.without)
        format_grouping(out, &agg->grouping);
    buf_add_char(out, '(');
    if (agg->parameter != 0)
        buf_addf(out, "%lld,", (long long)agg->parameter);
    expr_format(out, agg->inner);
    buf_add_char(out, ')');
}

/* The operator and what stands about matching, `separator` between names. Loki puts a blank behind the labels even
 * when no grouping follows. */
static void format_operator(struct buf *out, const struct binary *b, const char *separator) {
    buf_add_str(out, binary_op_name(b->op));
    if (b->return_bool)
        add(out, " bool");
    if (!b->on && b->n_labels == 0)
        return;
    add(out, b->on ? " on (" : " ignoring (");
    add_names(out, b->labels, b->n_labels, separator);
    add(out, ") ");
    if (b->card == CARD_MANY_TO_ONE)
        add(out, "group_left");
    if (b->card == CARD_ONE_TO_MANY)
        add(out, "group_right");
    if (b->n_include > 0) {
        add(out, " (");
        add_names(out, b->include, b->n_include, separator);
        buf_add_char(out, ')');
    } else if (b->card != CARD_ONE_TO_ONE && b->right->kind == EXPR_BINARY) {
        add(out, " ()"); /* lest the parenthesis of the right side is taken for the names */
    }
}

static void format_label_replace(struct buf *out, const struct expr *e) {
    const struct str texts[] = {e->label_replace.dst, e->label_replace.replacement,
                                e->label_replace.src, e->label_replace.pattern};
    add(out, "label_replace(");
    expr_format(out, e->label_replace.inner);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        buf_add_char(out, ',');
        go_quote(out, texts[i]);
    }
    buf_add_char(out, ')');
}

static void format_variants(struct buf *out, const struct variants *variants) {
    add(out, "variants(");
    for (const struct variant *v = variants->list; v; v = v->next) {
        expr_format(out, v->metric);
        if (v->next)
            add(out, ", ");
    }
    add(out, ") of (");
    format_log_range(out, &variants->of);
    buf_add_char(out, ')');
}

/* Recursion is bounded by QUERY_TREE_DEPTH_MAX. */
void expr_format(struct buf *out, const struct expr *e) {
    switch (e->kind) {
    case EXPR_LOG:
        format_log(out, &e->log);
        return;
    case EXPR_RANGE:
        format_range(out, &e->range);
        return;
    case EXPR_VECTOR_AGG:
        format_vector_agg(out, &e->vector_agg);
        return;
    case EXPR_BINARY:
        buf_add_char(out, '(');
        expr_format(out, e->binary.left);
        buf_add_char(out, ' ');
        format_operator(out, &e->binary, ",");
        buf_add_char(out, ' ');
        expr_format(out, e->binary.right);
        buf_add_char(out, ')');
        return;
    case EXPR_LITERAL:
        float_format_g(out, e->number);
        return;
    case EXPR_VECTOR:
        buf_addf(out, "vector(%f)", e->number);
        return;
    case EXPR_LABEL_REPLACE:
        format_label_replace(out, e);
        return;
    case EXPR_VARIANTS:
        format_variants(out, &e->variants);
        return;
    }
}

/* ---- pretty */

static void indent(struct buf *out, unsigned level) {
    for (unsigned i = 0; i < level; i++)
        add(out, "  ");
}

/* Prints `e` on one line if it is short enough; false leaves `out` as it was. */
static bool pretty_short(struct buf *out, const struct expr *e, unsigned level) {
    size_t before = out->size;
    indent(out, level);
    size_t start = out->size;
    expr_format(out, e);
    if (out->size - start <= PRETTY_LINE_MAX)
        return true;
    out->size = before;
    return false;
}

/* A stage, or the line filters of a run: together if that is short, else one below the other. */
static void pretty_stage(struct buf *out, const struct stage *s, unsigned level) {
    size_t before = out->size;
    if (s->kind != STAGE_DECOLORIZE) /* the one that Loki does not indent */
        indent(out, level);
    size_t start = out->size;
    stage_format(out, s);
    if (s->kind != STAGE_LINE_FILTER || out->size - start <= PRETTY_LINE_MAX)
        return;
    out->size = before;
    const struct stage *end = run_end(s);
    for (const struct stage *at = s; at != end; at = at->next) {
        if (at != s)
            buf_add_char(out, '\n');
        indent(out, level);
        format_one_stage(out, at);
    }
}

static void pretty_log(struct buf *out, const struct log_expr *log, unsigned level) {
    size_t before = out->size;
    indent(out, level);
    size_t start = out->size;
    format_log(out, log);
    if (!log->stages || out->size - start <= PRETTY_LINE_MAX)
        return;
    out->size = before;
    indent(out, level);
    format_selector(out, log);
    for (const struct stage *s = log->stages; s; s = run_end(s)) {
        buf_add_char(out, '\n');
        pretty_stage(out, s, level + 1);
    }
}

/* Unlike in the short form, names are spaced. Loki prints no parentheses without names, which does not parse behind
 * "without" and means something else behind a range aggregation. */
static void pretty_grouping(struct buf *out, const struct grouping *g) {
    add(out, g->without ? " without (" : " by (");
    add_names(out, g->names, g->count, ", ");
    buf_add_char(out, ')');
}

static void pretty_log_range(struct buf *out, const struct range_agg *range, unsigned level) {
    pretty_log(out, &range->log, level);
    if (range->unwrap) {
        buf_add_char(out, '\n');
        indent(out, level + 1);
        format_unwrap(out, range->unwrap);
        for (const struct stage *s = range->unwrap->post_filters; s; s = s->next) {
            buf_add_char(out, '\n');
            pretty_stage(out, s, level + 1);
        }
    }
    add(out, " [");
    duration_format_prometheus(out, range->range_ns);
    buf_add_char(out, ']');
    if (range->offset_ns != 0) {
        add(out, " offset ");
        if (range->offset_ns < 0)
            buf_add_char(out, '-');
        duration_format_prometheus(out,
                                   range->offset_ns < 0 ? -range->offset_ns : range->offset_ns);
    }
}

static void pretty_range(struct buf *out, const struct range_agg *range, unsigned level) {
    indent(out, level);
    buf_add_str(out, range_op_name(range->op));
    add(out, "(\n");
    if (range->op == RANGE_QUANTILE) {
        indent(out, level + 1);
        float_format_g(out, range->parameter);
        add(out, ",\n");
    }
    pretty_log_range(out, range, level + 1);
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
    if (range->grouping.present)
        pretty_grouping(out, &range->grouping);
}

static void pretty(struct buf *out, const struct expr *e, unsigned level);

static void pretty_vector_agg(struct buf *out, const struct vector_agg *agg, unsigned level) {
    indent(out, level);
    buf_add_str(out, vector_op_name(agg->op));
    if (agg->grouping.count > 0 || agg->grouping.without)
        pretty_grouping(out, &agg->grouping);
    add(out, "(\n");
    if (agg->parameter != 0) {
        indent(out, level + 1);
        buf_addf(out, "%lld,\n", (long long)agg->parameter);
    }
    pretty(out, agg->inner, level + 1);
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
}

static void pretty_label_replace(struct buf *out, const struct expr *e, unsigned level) {
    const struct str texts[] = {e->label_replace.dst, e->label_replace.replacement,
                                e->label_replace.src, e->label_replace.pattern};
    indent(out, level);
    add(out, "label_replace(\n");
    pretty(out, e->label_replace.inner, level + 1);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        add(out, ",\n");
        indent(out, level + 1);
        go_quote(out, texts[i]);
    }
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
}

static void pretty_variants(struct buf *out, const struct variants *variants, unsigned level) {
    indent(out, level);
    add(out, "variants(\n");
    for (const struct variant *v = variants->list; v; v = v->next) {
        pretty(out, v->metric, level + 1);
        add(out, v->next ? ",\n" : "\n");
    }
    indent(out, level);
    add(out, ") of (\n");
    pretty_log_range(out, &variants->of, level + 1);
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
}

/* One side of a binary operation. Loki leaves parentheses out here even where that makes another query; here they stay
 * where they are needed. */
static void pretty_side(struct buf *out, const struct binary *b, bool is_left, unsigned level) {
    const struct expr *side = is_left ? b->left : b->right;
    bool needed = false;
    if (side->kind == EXPR_BINARY) {
        unsigned inside = binary_op_precedence(side->binary.op);
        unsigned outside = binary_op_precedence(b->op);
        bool groups_here = is_left != (b->op == BIN_POW); /* among equals */
        needed = inside < outside || (inside == outside && !groups_here);
    }
    if (!needed) {
        pretty(out, side, level);
        return;
    }
    size_t before = out->size;
    pretty(out, side, level);
    if (out->failed || !memchr(out->data + before, '\n', out->size - before))
        return; /* on one line it has parentheses */
    out->size = before;
    indent(out, level);
    add(out, "(\n");
    pretty(out, side, level + 1);
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
}

/* Recursion is bounded by QUERY_TREE_DEPTH_MAX. Every level prints its part once to see whether it fits; the maximum
 * of `out` bounds that. */
static void pretty(struct buf *out, const struct expr *e, unsigned level) {
    if (out->failed)
        return;
    if (e->kind == EXPR_LOG) {
        pretty_log(out, &e->log, level);
        return;
    }
    bool splits = e->kind != EXPR_LITERAL && e->kind != EXPR_VECTOR;
    if (pretty_short(out, e, level) || !splits)
        return;
    if (e->kind == EXPR_RANGE) {
        pretty_range(out, &e->range, level);
    } else if (e->kind == EXPR_VECTOR_AGG) {
        pretty_vector_agg(out, &e->vector_agg, level);
    } else if (e->kind == EXPR_LABEL_REPLACE) {
        pretty_label_replace(out, e, level);
    } else if (e->kind == EXPR_VARIANTS) {
        pretty_variants(out, &e->variants, level);
    } else {
        pretty_side(out, &e->binary, true, level + 1);
        buf_add_char(out, '\n');
        indent(out, level);
        format_operator(out, &e->binary, ", ");
        buf_add_char(out, '\n');
        pretty_side(out, &e->binary, false, level + 1);
    }
}

void expr_pretty(struct buf *out, const struct expr *e) {
    pretty(out, e, 0);
}
