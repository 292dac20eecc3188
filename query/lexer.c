/* Loki's lexer sits on Go's text/scanner: identifiers, Go's number and string literals, single characters, and
 * comments with "#", "//" and slash-star. On top of it: a number with a tail of unit letters is a duration or a size;
 * "[...]" is one token; a function's name counts as one only in front of "(" or of "by (" and "without (", so
 * that a label may be called "rate"; two-character operators are recognized by one character of look-ahead. */
#include "lexer.h"

#include <stdio.h>
#include <string.h>

#include "ast.h"
#include "err.h"
#include "labels.h"
#include "units.h"
#include "utf8.h"

enum {
    WORD_MAX = 32,    /* longer identifiers are no keyword */
    QUOTED_MAX = 256, /* bytes of a bad duration shown in a message */
};

struct word {
    struct str text;
    enum token_kind kind;
    int op;
};

#define NAME(text)                                                                                 \
    { text, sizeof(text) - 1 }
#define WORD(text, kind)                                                                           \
    { {text, sizeof(text) - 1}, kind, 0 }
#define WORD_OP(text, kind, op)                                                                    \
    { {text, sizeof(text) - 1}, kind, op }

static const struct word words[] = {
    WORD("by", TOK_BY),
    WORD("without", TOK_WITHOUT),
    WORD("bool", TOK_BOOL),
    WORD("unwrap", TOK_UNWRAP),
    WORD("offset", TOK_OFFSET),
    WORD("on", TOK_ON),
    WORD("ignoring", TOK_IGNORING),
    WORD("group_left", TOK_GROUP_LEFT),
    WORD("group_right", TOK_GROUP_RIGHT),
    WORD("or", TOK_OR),
    WORD("and", TOK_AND),
    WORD("unless", TOK_UNLESS),
    WORD("json", TOK_JSON),
    WORD("regexp", TOK_REGEXP),
    WORD("logfmt", TOK_LOGFMT),
    WORD("unpack", TOK_UNPACK),
    WORD("pattern", TOK_PATTERN),
    WORD("label_format", TOK_LABEL_FORMAT),
    WORD("line_format", TOK_LINE_FORMAT),
    WORD("decolorize", TOK_DECOLORIZE),
    WORD("drop", TOK_DROP),
    WORD("keep", TOK_KEEP),
    WORD("variants", TOK_VARIANTS),
    WORD("of", TOK_OF),
};

static const struct word functions[] = {
    WORD_OP("rate", TOK_RANGE_OP, RANGE_RATE),
    WORD_OP("rate_counter", TOK_RANGE_OP, RANGE_RATE_COUNTER),
    WORD_OP("count_over_time", TOK_RANGE_OP, RANGE_COUNT),
    WORD_OP("bytes_rate", TOK_RANGE_OP, RANGE_BYTES_RATE),
    WORD_OP("bytes_over_time", TOK_RANGE_OP, RANGE_BYTES),
    WORD_OP("avg_over_time", TOK_RANGE_OP, RANGE_AVG),
    WORD_OP("sum_over_time", TOK_RANGE_OP, RANGE_SUM),
    WORD_OP("min_over_time", TOK_RANGE_OP, RANGE_MIN),
    WORD_OP("max_over_time", TOK_RANGE_OP, RANGE_MAX),
    WORD_OP("stdvar_over_time", TOK_RANGE_OP, RANGE_STDVAR),
    WORD_OP("stddev_over_time", TOK_RANGE_OP, RANGE_STDDEV),
    WORD_OP("quantile_over_time", TOK_RANGE_OP, RANGE_QUANTILE),
    WORD_OP("first_over_time", TOK_RANGE_OP, RANGE_FIRST),
    WORD_OP("last_over_time", TOK_RANGE_OP, RANGE_LAST),
    WORD_OP("absent_over_time", TOK_RANGE_OP, RANGE_ABSENT),
    WORD_OP("sum", TOK_VECTOR_OP, AGG_SUM),
    WORD_OP("avg", TOK_VECTOR_OP, AGG_AVG),
    WORD_OP("max", TOK_VECTOR_OP, AGG_MAX),
    WORD_OP("min", TOK_VECTOR_OP, AGG_MIN),
    WORD_OP("count", TOK_VECTOR_OP, AGG_COUNT),
    WORD_OP("stddev", TOK_VECTOR_OP, AGG_STDDEV),
    WORD_OP("stdvar", TOK_VECTOR_OP, AGG_STDVAR),
    WORD_OP("bottomk", TOK_VECTOR_OP, AGG_BOTTOMK),
    WORD_OP("topk", TOK_VECTOR_OP, AGG_TOPK),
    WORD_OP("approx_topk", TOK_VECTOR_OP, AGG_APPROX_TOPK),
    WORD_OP("sort", TOK_VECTOR_OP, AGG_SORT),
    WORD_OP("sort_desc", TOK_VECTOR_OP, AGG_SORT_DESC),
    WORD("vector", TOK_VECTOR),
    WORD("label_replace", TOK_LABEL_REPLACE),
    WORD("bytes", TOK_BYTES_CONV),
    WORD("duration", TOK_DURATION_CONV),
    WORD("duration_seconds", TOK_DURATION_SECONDS_CONV),
    WORD("ip", TOK_IP),
};

/* Two-character operators stand before their first character. */
static const struct word operators[] = {
    WORD("==", TOK_CMP_EQ),
    WORD("=~", TOK_RE),
    WORD("!=", TOK_NEQ),
    WORD("!~", TOK_NRE),
    WORD("!>", TOK_NPA),
    WORD("|=", TOK_PIPE_EXACT),
    WORD("|~", TOK_PIPE_MATCH),
    WORD("|>", TOK_PIPE_PATTERN),
    WORD(">=", TOK_GTE),
    WORD("<=", TOK_LTE),
    WORD(",", TOK_COMMA),
    WORD(".", TOK_DOT),
    WORD("{", TOK_OPEN_BRACE),
    WORD("}", TOK_CLOSE_BRACE),
    WORD("=", TOK_EQ),
    WORD("|", TOK_PIPE),
    WORD("(", TOK_OPEN_PARENTHESIS),
    WORD(")", TOK_CLOSE_PARENTHESIS),
    WORD("]", TOK_CLOSE_BRACKET),
    WORD("+", TOK_ADD),
    WORD("-", TOK_SUB),
    WORD("*", TOK_MUL),
    WORD("/", TOK_DIV),
    WORD("%", TOK_MOD),
    WORD("^", TOK_POW),
    WORD(">", TOK_GT),
    WORD("<", TOK_LT),
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct word *find_word(const struct word *list, size_t count, struct str text) {
    for (size_t i = 0; i < count; i++)
        if (str_eq_nocase(list[i].text, text))
            return &list[i];
    return NULL;
}

struct str token_name(const struct token *t) {
    static const struct str named[] = {
        [TOK_END] = NAME("$end"),
        [TOK_BYTES] = NAME("BYTES"),
        [TOK_IDENTIFIER] = NAME("IDENTIFIER"),
        [TOK_STRING] = NAME("STRING"),
        [TOK_NUMBER] = NAME("NUMBER"),
        [TOK_FUNCTION_FLAG] = NAME("FUNCTION_FLAG"),
        [TOK_DURATION] = NAME("DURATION"),
        [TOK_RANGE] = NAME("RANGE"),
        [TOK_BYTES_CONV] = NAME("BYTES_CONV"),
        [TOK_DURATION_CONV] = NAME("DURATION_CONV"),
        [TOK_DURATION_SECONDS_CONV] = NAME("DURATION_SECONDS_CONV"),
        [TOK_VECTOR] = NAME("VECTOR"),
        [TOK_LABEL_REPLACE] = NAME("label_replace"),
        [TOK_IP] = NAME("ip"),
    };
    if ((size_t)t->kind < COUNT_OF(named) && named[t->kind].size > 0)
        return named[t->kind];
    static const struct {
        const struct word *list;
        size_t count;
    } lists[] = {{operators, COUNT_OF(operators)}, {words, COUNT_OF(words)}};
    for (size_t n = 0; n < COUNT_OF(lists); n++)
        for (size_t i = 0; i < lists[n].count; i++)
            if (lists[n].list[i].kind == t->kind)
                return lists[n].list[i].text;
    return t->text;
}

/* ---- characters */

static int peek(const struct lexer *l, size_t ahead) {
    return l->at + ahead < l->text.size ? (unsigned char)l->text.data[l->at + ahead] : -1;
}

static struct str rest(const struct lexer *l) {
    return str_from_offset(l->text, l->at);
}

/* Steps over one character. */
static void step(struct lexer *l) {
    if (l->at >= l->text.size)
        return;
    unsigned char c = (unsigned char)l->text.data[l->at];
    if (c == '\n') {
        l->line++;
        l->column = 1;
        l->at++;
        return;
    }
    uint32_t rune;
    l->at += c < 0x80 ? 1 : utf8_decode(rest(l), &rune);
    l->column++;
}

static void step_to(struct lexer *l, size_t offset) {
    while (l->at < offset)
        step(l);
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

/* Letters beyond ASCII: everything but the blocks of punctuation, symbols, spaces and private use. */
static bool rune_is_letter(uint32_t r) {
    static const struct {
        uint32_t first, last;
    } others[] = {
        {0x80, 0xa9},       {0xab, 0xb4},        {0xb6, 0xb9},     {0xbb, 0xbf},
        {0xd7, 0xd7},       {0xf7, 0xf7},        {0x2000, 0x206f}, {0x20a0, 0x20ff},
        {0x2190, 0x2bff},   {0x2e00, 0x2e7f},    {0x3000, 0x3004}, {0x3008, 0x3020},
        {0xe000, 0xf8ff},   {0xfe00, 0xfe6f},    {0xff01, 0xff20}, {0xfff0, 0xffff},
        {0x1f000, 0x1faff}, {0xe0000, 0x10ffff},
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (r >= others[i].first && r <= others[i].last)
            return false;
    return true;
}

/* Length of the identifier at the start of `text`, 0 for none. */
static size_t identifier_size(struct str text) {
    size_t at = 0;
    while (at < text.size) {
        unsigned char c = (unsigned char)text.data[at];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
            (at > 0 && is_digit(c))) {
            at++;
            continue;
        }
        uint32_t rune;
        unsigned size;
        if (c < 0x80 || (size = utf8_decode(str_from_offset(text, at), &rune)) == 1 ||
            !rune_is_letter(rune))
            break;
        at += size;
    }
    return at;
}

/* ---- errors */

static void fail(struct lexer *l, struct token *t, const char *message) {
    t->kind = TOK_END;
    if (l->failed)
        return;
    l->failed = true;
    l->error_line = t->line;
    l->error_column = t->column;
    (void)snprintf(l->message, sizeof(l->message), "%s", message);
}

/* ---- blanks and comments */

static void skip_comment(struct lexer *l, const char *end, struct token *t) {
    const char *from = l->text.data + l->at;
    const char *found = memmem(from + 2, l->text.size - l->at - 2, end, strlen(end));
    if (!found && end[0] == '*') {
        t->line = l->line;
        t->column = l->column;
        fail(l, t, "comment not terminated");
    }
    step_to(l, found ? (size_t)(found - l->text.data) + strlen(end) : l->text.size);
}

static void skip_blanks(struct lexer *l, struct token *t) {
    for (;;) {
        int c = peek(l, 0);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            step(l);
        } else if (c == '#') {
            while (peek(l, 0) >= 0 && peek(l, 0) != '\n')
                step(l);
        } else if (c == '/' && peek(l, 1) == '/') {
            skip_comment(l, "\n", t);
        } else if (c == '/' && peek(l, 1) == '*') {
            skip_comment(l, "*/", t);
        } else {
            return;
        }
    }
}

/* ---- strings */

static bool is_hex(int c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Length of the escape at offset `at` (behind the backslash), 0 for a bad one. */
static size_t escape_size(struct str text, size_t at, char quote) {
    if (at >= text.size)
        return 0;
    char c = text.data[at];
    if (c == quote || (c != '\0' && strchr("abfnrtv\\", c)))
        return 1;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
    size_t first = digits == 3 ? 0 : 1;
    for (size_t i = 0; i < digits; i++) {
        size_t offset = at + first + i;
        if (offset >= text.size || (digits == 3 ? text.data[offset] < '0' || text.data[offset] > '7'
                                                : !is_hex((unsigned char)text.data[offset])))
            return 0;
    }
    return digits == 0 ? 0 : first + digits;
}

static void lex_string(struct lexer *l, struct token *t, char quote) {
    size_t end = l->at + 1;
    for (; end < l->text.size && l->text.data[end] != quote; end++) {
        if (quote == '`')
            continue;
        if (l->text.data[end] == '\n')
            break;
        if (l->text.data[end] == '\\') {
            size_t size = escape_size(l->text, end + 1, quote);
            if (size == 0) {
                fail(l, t,
                     end + 1 < l->text.size ? "invalid char escape" : "literal not terminated");
                return;
            }
            end += size;
        }
    }
    if (end >= l->text.size || l->text.data[end] != quote) {
        fail(l, t, "literal not terminated");
        return;
    }
    t->kind = TOK_STRING;
    t->text = str_make(l->text.data + l->at, end + 1 - l->at);
    step_to(l, end + 1);
    if (!utf8_valid(t->text)) {
        fail(l, t, "invalid UTF-8 encoding");
        return;
    }
    int r = go_unquote(t->text, l->arena, &t->value);
    if (r == -ESYNTAX)
        fail(l, t, "invalid syntax");
    else if (r < 0)
        l->out_of_memory = true;
    if (r < 0)
        t->kind = TOK_END;
}

/* Go's character literal; to Loki it is an identifier of one odd character. */
static void lex_character(struct lexer *l, struct token *t) {
    size_t end = l->at + 1, count = 0;
    while (end < l->text.size && l->text.data[end] != '\'' && l->text.data[end] != '\n') {
        uint32_t rune;
        end += utf8_decode(str_from_offset(l->text, end), &rune);
        count++;
    }
    if (end >= l->text.size || l->text.data[end] != '\'') {
        fail(l, t, "literal not terminated");
        return;
    }
    if (count != 1) {
        fail(l, t, "invalid char literal");
        return;
    }
    t->kind = TOK_IDENTIFIER;
    step_to(l, end + 1);
}

/* ---- numbers, durations, sizes */

static size_t digits_end(struct str text, size_t at, bool hex) {
    while (at < text.size && (text.data[at] == '_' || (hex ? is_hex((unsigned char)text.data[at])
                                                           : is_digit(text.data[at]))))
        at++;
    return at;
}

/* End of the Go number literal at `at`; *ret_message is what is wrong with it, or NULL. */
static size_t number_end(struct str text, size_t at, const char **ret_message) {
    size_t start = at;
    char prefix = '\0';
    *ret_message = NULL;
    if (text.data[at] == '0' && at + 1 < text.size) {
        char c = (char)(text.data[at + 1] | 0x20);
        bool digit_follows = at + 2 < text.size && is_digit(text.data[at + 2]);
        if (c == 'x' || ((c == 'o' || c == 'b') && digit_follows)) {
            prefix = c;
            at += 2;
        }
    }
    size_t first = at;
    at = digits_end(text, at, prefix == 'x');
    if (prefix && at == first)
        *ret_message = "hexadecimal literal has no digits";
    bool fraction = at < text.size && text.data[at] == '.' && !prefix;
    if (fraction)
        at = digits_end(text, at + 1, false);
    bool exponent = at < text.size && (text.data[at] | 0x20) == 'e' && !prefix;
    if (exponent) {
        at++;
        if (at < text.size && (text.data[at] == '+' || text.data[at] == '-'))
            at++;
        size_t digits = at;
        at = digits_end(text, at, false);
        if (at == digits)
            *ret_message = "exponent has no digits";
    }
    bool octal = text.data[start] == '0' && !prefix && !fraction && !exponent;
    for (size_t i = start; octal && i < at && !*ret_message; i++) {
        if (text.data[i] == '8')
            *ret_message = "invalid digit '8' in octal literal";
        else if (text.data[i] == '9')
            *ret_message = "invalid digit '9' in octal literal";
    }
    return at;
}

/* End of the run of digits, dots and `units` from `at` on. "µ" counts when units hold "s". */
static size_t tail_end(struct str text, size_t at, const char *units) {
    while (at < text.size) {
        char c = text.data[at];
        bool micro =
            strchr(units, 's') && at + 1 < text.size && c == '\xc2' && text.data[at + 1] == '\xb5';
        if (!micro && !is_digit(c) && c != '.' && (c == '\0' || !strchr(units, c)))
            break;
        at += micro ? 2 : 1;
    }
    return at;
}

/* A duration of text that starts at the token and ends with a tail of unit letters from `tail` on. */
static bool try_duration(struct lexer *l, struct token *t, size_t tail) {
    size_t end = tail_end(l->text, tail, "numshdwy");
    if (end == tail)
        return false;
    struct str text = str_make(l->text.data + t->offset, end - t->offset);
    if (duration_parse_prometheus(text, &t->duration_ns) < 0 &&
        duration_parse_go(text, &t->duration_ns) < 0)
        return false;
    t->kind = TOK_DURATION;
    t->line = 0;
    step_to(l, end);
    return true;
}

static bool try_bytes(struct lexer *l, struct token *t, size_t tail) {
    size_t end = tail_end(l->text, tail, "BikKMGTP");
    if (end == tail)
        return false;
    struct str text = str_make(l->text.data + t->offset, end - t->offset);
    if (bytes_parse(text, &t->bytes) < 0)
        return false;
    t->kind = TOK_BYTES;
    t->line = 0;
    step_to(l, end);
    return true;
}

static void lex_number(struct lexer *l, struct token *t) {
    const char *message;
    size_t end = number_end(l->text, l->at, &message);
    if (message) {
        fail(l, t, message);
        return;
    }
    if (try_duration(l, t, end) || try_bytes(l, t, end))
        return;
    t->kind = TOK_NUMBER;
    step_to(l, end);
}

/* What Prometheus' parser says about a duration that it refuses. */
static void explain_duration(struct str text, struct buf *out) {
    static const struct str units[] = {NAME("y"), NAME("w"), NAME("d"), NAME("h"),
                                       NAME("m"), NAME("s"), NAME("ms")};
    struct str shown = str_make(text.data, text.size < QUOTED_MAX ? text.size : QUOTED_MAX);
    size_t at = 0, next_unit = 0;
    int64_t ns;
    if (text.size == 0) {
        buf_add_str(out, STR("empty duration string"));
        return;
    }
    while (at < text.size) {
        size_t start = at, unit = 0;
        uint64_t count;
        while (at < text.size && is_digit(text.data[at]))
            at++;
        struct str digits = str_make(text.data + start, at - start);
        size_t unit_start = at;
        while (at < text.size && !is_digit(text.data[at]))
            at++;
        struct str name = str_make(text.data + unit_start, at - unit_start);
        if (digits.size == 0 || name.size == 0 || u64_parse(digits, &count) < 0)
            break;
        while (unit < COUNT_OF(units) && !str_eq(units[unit], name))
            unit++;
        if (unit == COUNT_OF(units)) {
            buf_add_str(out, STR("unknown unit "));
            go_quote(out, str_make(name.data, name.size < QUOTED_MAX ? name.size : QUOTED_MAX));
            buf_add_str(out, STR(" in duration "));
            go_quote(out, shown);
            return;
        }
        if (unit < next_unit)
            break;
        next_unit = unit + 1;
        bool fits = duration_parse_prometheus(str_make(text.data + start, at - start), &ns) == 0;
        if (!fits || at == text.size) {
            buf_add_str(out, STR("duration out of range"));
            return;
        }
    }
    buf_add_str(out, STR("not a valid duration string: "));
    go_quote(out, shown);
}

/* "[5m]" */
static void lex_range(struct lexer *l, struct token *t) {
    t->line = 0;
    struct str text = str_from_offset(l->text, l->at + 1);
    const char *close = text.size > 0 ? memchr(text.data, ']', text.size) : NULL;
    if (!close) {
        fail(l, t, "missing closing ']' in duration");
        return;
    }
    text.size = (size_t)(close - text.data);
    if (duration_parse_prometheus(text, &t->duration_ns) < 0) {
        struct buf b = buf_make(16 * QUOTED_MAX);
        explain_duration(text, &b);
        buf_add_char(&b, '\0');
        fail(l, t, b.failed ? "not a valid duration string" : b.data);
        buf_done(&b);
        return;
    }
    t->kind = TOK_RANGE;
    step_to(l, l->at + text.size + 2);
}

/* ---- words and operators */

static size_t skip_spaces(struct str text, size_t at) {
    while (at < text.size && strchr(" \t\n\v\f\r", text.data[at]) && text.data[at] != '\0')
        at++;
    return at;
}

/* Is what stands at `at` the rest of a function call: "(" or "by (" or "without ("? */
static bool call_follows(struct str text, size_t at) {
    at = skip_spaces(text, at);
    if (at < text.size && text.data[at] == '(')
        return true;
    static const struct str groupings[] = {NAME("by"), NAME("without")};
    for (size_t i = 0; i < COUNT_OF(groupings); i++) {
        size_t size = groupings[i].size;
        if (text.size - at < size || !str_eq_nocase(str_make(text.data + at, size), groupings[i]))
            continue;
        size_t open = skip_spaces(text, at + size);
        return open < text.size && text.data[open] == '(';
    }
    return false;
}

static void lex_word(struct lexer *l, struct token *t, size_t size) {
    struct str text = str_make(l->text.data + l->at, size);
    step_to(l, l->at + size);
    t->kind = TOK_IDENTIFIER;
    if (size > WORD_MAX)
        return;
    const struct word *w = find_word(functions, COUNT_OF(functions), text);
    if (w && !call_follows(l->text, l->at))
        return;
    if (!w)
        w = find_word(words, COUNT_OF(words), text);
    if (w) {
        t->kind = w->kind;
        t->op = w->op;
    }
}

/* --strict, --keep-empty */
static bool try_flag(struct lexer *l, struct token *t) {
    struct str text = rest(l);
    size_t end = 0;
    while (end < text.size &&
           (text.data[end] == '-' || (text.data[end] >= 'a' && text.data[end] <= 'z') ||
            (text.data[end] >= 'A' && text.data[end] <= 'Z')))
        end++;
    text.size = end;
    if (!str_eq(text, STR("--strict")) && !str_eq(text, STR("--keep-empty")))
        return false;
    t->kind = TOK_FUNCTION_FLAG;
    t->line = 0;
    step_to(l, l->at + end);
    return true;
}

static void lex_operator(struct lexer *l, struct token *t) {
    struct str text = rest(l);
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        if (!str_starts(text, operators[i].text))
            continue;
        t->kind = operators[i].kind;
        if (operators[i].text.size > 1)
            t->line = 0;
        step_to(l, l->at + operators[i].text.size);
        return;
    }
    /* Any other character is an identifier to Loki. */
    t->kind = TOK_IDENTIFIER;
    step(l);
}

static void lex_token(struct lexer *l, struct token *t) {
    int c = peek(l, 0);
    if (c == '"' || c == '`') {
        lex_string(l, t, (char)c);
        return;
    }
    if (c == '\'') {
        lex_character(l, t);
        return;
    }
    if (c == '[') {
        lex_range(l, t);
        return;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) {
        lex_number(l, t);
        return;
    }
    if (c == '-' && ((peek(l, 1) == '-' && try_flag(l, t)) || try_duration(l, t, l->at + 1)))
        return;
    if (c == 0) {
        fail(l, t, "invalid character NUL");
        return;
    }
    uint32_t rune;
    if (c >= 0x80 && utf8_decode(rest(l), &rune) == 1) {
        fail(l, t, "invalid UTF-8 encoding");
        return;
    }
    size_t size = identifier_size(rest(l));
    if (size > 0)
        lex_word(l, t, size);
    else
        lex_operator(l, t);
}

void lexer_init(struct lexer *l, struct str text, struct arena *arena) {
    *l = (struct lexer){.text = text, .arena = arena, .line = 1, .column = 1};
}

void lexer_next(struct lexer *l, struct token *ret) {
    *ret = (struct token){.kind = TOK_END};
    if (!l->failed)
        skip_blanks(l, ret);
    ret->offset = l->at;
    ret->text = str_make(l->text.data + l->at, 0);
    if (l->failed || l->out_of_memory)
        return;
    /* Go's scanner has no position before it has read anything. */
    if (l->text.size > 0) {
        ret->line = l->line;
        ret->column = l->column;
    }
    if (l->at >= l->text.size)
        return;
    lex_token(l, ret);
    if (ret->kind != TOK_STRING)
        ret->text = str_make(l->text.data + ret->offset, l->at - ret->offset);
}
