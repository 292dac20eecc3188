#include <errno.h>
#include <string.h>

#include "labels.h"
#include "logql.h"
#include "parser.h"
#include "regex.h"
#include "utf8.h"

/* ---- strings */

void logql_quote_go(struct buf *out, struct str text) {
    static const char hex[] = "0123456789abcdef";
    buf_add_char(out, '"');
    for (size_t i = 0; i < text.size;) {
        uint32_t rune;
        unsigned n = utf8_decode(str_from_offset(text, i), &rune);
        uint8_t b = (uint8_t)text.data[i];
        if (b == '"' || b == '\\') {
            buf_add_char(out, '\\');
            buf_add_char(out, (char)b);
        } else if (b == '\n' || b == '\r' || b == '\t') {
            buf_add_char(out, '\\');
            buf_add_char(out, b == '\n' ? 'n' : b == '\r' ? 'r' : 't');
        } else if (b < 0x20 || b == 0x7f || (b >= 0x80 && n == 1)) {
            char escaped[4] = {'\\', 'x', hex[b >> 4], hex[b & 15]};
            buf_add(out, escaped, 4);
        } else {
            buf_add(out, text.data + i, n);
        }
        i += n;
    }
    buf_add_char(out, '"');
}

void logql_quote(struct buf *out, struct str text) {
    bool raw = utf8_valid(text);
    for (size_t i = 0; i < text.size && raw; i++) {
        uint8_t b = (uint8_t)text.data[i];
        raw = b != '`' && b != 0x7f && (b >= 0x20 || b == '\t');
    }
    if (!raw) {
        logql_quote_go(out, text);
        return;
    }
    buf_add_char(out, '`');
    buf_add_str(out, text);
    buf_add_char(out, '`');
}

/* ---- selectors */

static int add_matcher(struct buf *out, const char *text, bool *positive, struct err *reterr) {
    size_t name_size = strcspn(text, "=!");
    struct str name = str_make(text, name_size);
    const char *op = text + name_size;
    size_t op_size =
        strncmp(op, "!=", 2) == 0 || strncmp(op, "=~", 2) == 0 || strncmp(op, "!~", 2) == 0
            ? 2
            : (size_t)(*op == '=');
    if (!label_name_valid(name) || op_size == 0)
        return err_set(reterr, -ESYNTAX,
                       "-l wants NAME=VALUE (or !=, =~, !~) with a name of letters, digits and _, "
                       "not \"%s\"",
                       text);
    struct str value = str_from(op + op_size);
    buf_add_str(out, name);
    buf_add(out, op, op_size);
    if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"')
        buf_add_str(out, value); /* already LogQL */
    else
        logql_quote(out, value);
    if (op[0] == '=' && value.size > 0 && !(op_size == 2 && str_eq(value, STR(".*"))))
        *positive = true;
    return 0;
}

int logql_selector(const struct option_list *labels, const char *selector, struct buf *out,
                   struct err *reterr) {
    bool positive = false, any = false;
    buf_add_char(out, '{');
    if (selector) {
        struct str s = str_trim(str_from(selector));
        if (s.size < 2 || s.data[0] != '{' || s.data[s.size - 1] != '}')
            return err_set(reterr, -ESYNTAX,
                           "a selector looks like {app=\"api\"}, not \"%s\"; more words in a "
                           "pattern need quotes around all of it",
                           selector);
        s = str_trim(str_make(s.data + 1, s.size - 2));
        if (s.size > 0 && s.data[s.size - 1] == ',')
            s = str_trim(str_make(s.data, s.size - 1));
        buf_add_str(out, s);
        any = positive = s.size > 0;
    }
    for (size_t i = 0; i < labels->count; i++) {
        if (any)
            buf_add_str(out, STR(", "));
        any = true;
        int r = add_matcher(out, labels->items[i], &positive, reterr);
        if (r < 0)
            return r;
    }
    /* Servers want one matcher that cannot match nothing; every stream has a service_name. */
    if (!positive)
        buf_add_str(out, any ? STR(", service_name=~\".+\"") : STR("service_name=~\".+\""));
    buf_add_char(out, '}');
    return out->failed ? err_set(reterr, -ENOMEM, "the selector is too long") : 0;
}

/* ---- patterns */

static const char special[] = "\\.+*?()|[]{}^$";

static bool is_literal(struct str pattern) {
    for (size_t i = 0; i < pattern.size; i++)
        if (pattern.data[i] && strchr(special, pattern.data[i]))
            return false;
    return true;
}

void logql_literal(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] && strchr(special, text.data[i]))
            buf_add_char(out, '\\');
        buf_add_char(out, text.data[i]);
    }
}

static bool has_upper(const char *text) {
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z')
            return true;
    return false;
}

/* RE2's \b knows words of ASCII letters only. */
static bool has_wide(const char *const *patterns, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (const char *p = patterns[i]; *p; p++)
            if ((uint8_t)*p >= 0x80)
                return true;
    return false;
}

static void add_regex(const struct options *o, const char *const *patterns, size_t count,
                      bool fold_case, struct buf *out) {
    bool wide = o->word && has_wide(patterns, count);
    const char *open = o->whole_line ? "^(?:"
                       : wide        ? "(?:^|[^\\pL\\pN_])(?:"
                       : o->word     ? "\\b(?:"
                                     : "";
    const char *close = o->whole_line ? ")$" : wide ? ")(?:$|[^\\pL\\pN_])" : o->word ? ")\\b" : "";
    if (fold_case)
        buf_add_str(out, STR("(?i)"));
    buf_add_str(out, str_from(open));
    for (size_t i = 0; i < count; i++) {
        bool group = count > 1 && !o->fixed;
        if (i > 0)
            buf_add_char(out, '|');
        buf_add_str(out, group ? STR("(?:") : STR(""));
        if (o->fixed)
            logql_literal(out, str_from(patterns[i]));
        else
            buf_add_str(out, str_from(patterns[i]));
        buf_add_str(out, group ? STR(")") : STR(""));
    }
    buf_add_str(out, str_from(close));
}

static int check_regex(struct str pattern, struct err *reterr) {
    struct regex *re = NULL;
    int r = regex_compile(pattern, false, &re, reterr);
    regex_free(re);
    return r < 0
               ? err_prefix(reterr, r, "the pattern is no regular expression (-F takes it as text)")
               : 0;
}

/* Texts alone need no regular expression: |= asks the filters of the store directly. */
static void add_text_filter(const char *const *patterns, size_t count, bool invert,
                            struct buf *out) {
    for (size_t i = 0; i < count; i++) {
        if (invert)
            buf_add_str(out, STR(" != "));
        else
            buf_add_str(out, i == 0 ? STR(" |= ") : STR(" or "));
        logql_quote(out, str_from(patterns[i]));
    }
}

struct pattern_facts {
    bool texts;     /* no pattern is more than a text */
    bool any_empty; /* one fits every line */
    bool fold_case;
};

static struct pattern_facts look_at(const struct options *o, const char *const *patterns,
                                    size_t count) {
    struct pattern_facts f = {.texts = true};
    bool upper = false;
    for (size_t i = 0; i < count; i++) {
        upper = upper || has_upper(patterns[i]);
        f.texts = f.texts && (o->fixed || is_literal(str_from(patterns[i])));
        f.any_empty = f.any_empty || (!patterns[i][0] && !o->whole_line);
    }
    f.fold_case = o->ignore_case || (o->smart_case && !upper);
    return f;
}

int logql_pattern(const struct options *o, const char *const *patterns, size_t count,
                  struct buf *ret_regex, struct err *reterr) {
    struct pattern_facts f = look_at(o, patterns, count);
    if (f.any_empty) /* every line contains nothing */
        return 0;
    add_regex(o, patterns, count, f.fold_case, ret_regex);
    if (ret_regex->failed)
        return err_set(reterr, -ENOMEM, "the patterns are too long");
    return check_regex(buf_str(ret_regex), reterr);
}

int logql_filter(const struct options *o, const char *const *patterns, size_t count,
                 struct buf *ret_filter, struct buf *ret_regex, struct err *reterr) {
    struct pattern_facts f = look_at(o, patterns, count);
    int r = logql_pattern(o, patterns, count, ret_regex, reterr);
    if (r < 0)
        return r;
    if (f.any_empty) {
        if (o->invert)
            buf_add_str(ret_filter, STR(" !~ `^`"));
    } else if (f.texts && !f.fold_case && !o->word && !o->whole_line) {
        add_text_filter(patterns, count, o->invert, ret_filter);
    } else {
        buf_add_str(ret_filter, o->invert ? STR(" !~ ") : STR(" |~ "));
        logql_quote(ret_filter, buf_str(ret_regex));
    }
    if (o->invert)
        buf_clear(ret_regex);
    return ret_filter->failed ? err_set(reterr, -ENOMEM, "the patterns are too long") : 0;
}

void logql_highlight(struct str query, struct buf *ret_regex) {
    struct parsed_query *parsed = NULL;
    if (query_parse(query, &parsed, NULL) < 0)
        return;
    const struct expr *e = parsed_query_expr(parsed);
    const struct stage *s = e->kind == EXPR_LOG ? e->log.stages : NULL;
    for (; s; s = s->next) {
        bool text = s->kind == STAGE_LINE_FILTER && s->line_filter.op == LINE_CONTAINS;
        bool regex = s->kind == STAGE_LINE_FILTER && s->line_filter.op == LINE_MATCHES;
        if (!text && !regex)
            continue;
        for (const struct line_operand *o = s->line_filter.operands; o; o = o->next) {
            if (o->ip || o->text.size == 0)
                continue;
            buf_add_str(ret_regex, ret_regex->size > 0 ? STR("|(?:") : STR("(?:"));
            if (text)
                logql_literal(ret_regex, o->text);
            else
                buf_add_str(ret_regex, o->text);
            buf_add_char(ret_regex, ')');
        }
    }
    parsed_query_free(parsed);
}
