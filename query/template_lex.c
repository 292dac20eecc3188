/* Lexing of templates: text, and the pieces of what stands between {{ and }}. The places where an item begins are
 * part of error texts, so they are Go's. */
#include <stdarg.h>
#include <stdio.h>

#include "labels.h"
#include "rune.h"
#include "template_private.h"
#include "utf8.h"

#define RUNE_EOF UINT32_MAX

enum { LEX_MESSAGE_MAX = 256 };

static bool is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word(uint32_t r) {
    return r == '_' || (r != RUNE_EOF && (rune_is_letter(r) || rune_is_digit(r)));
}

static struct str rest(const struct template_lexer *l) {
    return str_from_offset(l->text, l->at);
}

static uint32_t peek(const struct template_lexer *l, unsigned *ret_size) {
    struct str s = rest(l);
    uint32_t rune = RUNE_EOF;
    *ret_size = s.size > 0 ? utf8_decode(s, &rune) : 0;
    return rune;
}

static uint32_t peek_rune(const struct template_lexer *l) {
    unsigned size;
    return peek(l, &size);
}

static uint32_t next_rune(struct template_lexer *l) {
    unsigned size;
    uint32_t rune = peek(l, &size);
    l->at += size;
    return rune;
}

static struct item make_item(struct template_lexer *l, enum item_kind kind) {
    for (; l->counted < l->start; l->counted++)
        l->line += l->text.data[l->counted] == '\n';
    struct item i = {
        .kind = kind,
        .pos = (uint32_t)l->start,
        .line = l->line,
        .text = str_make(l->text.data + l->start, l->at - l->start),
    };
    l->start = l->at;
    return i;
}

static struct item lex_error(struct template_lexer *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct item lex_error(struct template_lexer *l, const char *format, ...) {
    char text[LEX_MESSAGE_MAX];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    struct item i = make_item(l, ITEM_ERROR);
    i.text = arena_copy(l->arena, str_from(text));
    l->ended = true;
    return i;
}

/* Go's %#U: U+0040 '@' */
static void name_rune(char out[32], uint32_t r) {
    char text[5] = {0};
    if (r == RUNE_EOF) {
        (void)snprintf(out, 32, "U+FFFFFFFFFFFFFFFF");
        return;
    }
    (void)utf8_encode(text, r);
    if (rune_is_print(r))
        (void)snprintf(out, 32, "U+%04X '%s'", r, text);
    else
        (void)snprintf(out, 32, "U+%04X", r);
}

static bool at_right_delim(const struct template_lexer *l, bool *ret_trims) {
    struct str s = rest(l);
    *ret_trims = s.size >= 4 && is_blank((unsigned char)s.data[0]) && s.data[1] == '-' &&
                 s.data[2] == '}' && s.data[3] == '}';
    return *ret_trims || str_starts(s, STR("}}"));
}

static void skip_blanks(struct template_lexer *l) {
    while (l->at < l->text.size && is_blank((unsigned char)l->text.data[l->at]))
        l->at++;
    l->start = l->at;
}

static bool trims_left(struct str s) {
    return s.size >= 2 && s.data[0] == '-' && is_blank((unsigned char)s.data[1]);
}

/* Behind the "{{" or "{{- " of a comment: goes behind its end. False on an error. */
static bool skip_comment(struct template_lexer *l, struct item *ret_error) {
    l->at += 2;
    const char *end = str_find(rest(l), STR("*/"));
    if (!end) {
        *ret_error = lex_error(l, "unclosed comment");
        return false;
    }
    l->at = (size_t)(end - l->text.data) + 2;
    bool trims;
    if (!at_right_delim(l, &trims)) {
        *ret_error = lex_error(l, "comment ends before closing delimiter");
        return false;
    }
    l->at += trims ? 4 : 2;
    if (trims)
        skip_blanks(l);
    l->start = l->at;
    return true;
}

static struct item lex_text(struct template_lexer *l) {
    for (;;) {
        const char *open = str_find(rest(l), STR("{{"));
        if (!open) {
            l->at = l->text.size;
            return make_item(l, l->at > l->start ? ITEM_TEXT : ITEM_EOF);
        }
        size_t delim = (size_t)(open - l->text.data);
        bool trims = trims_left(str_from_offset(l->text, delim + 2));
        if (delim > l->start) {
            l->at = delim;
            while (trims && l->at > l->start && is_blank((unsigned char)l->text.data[l->at - 1]))
                l->at--;
            bool any = l->at > l->start;
            struct item text = make_item(l, ITEM_TEXT);
            l->at = l->start = delim;
            if (any)
                return text;
        }
        l->at = delim + 2 + (trims ? 2 : 0);
        if (!str_starts(rest(l), STR("/*"))) {
            size_t behind = l->at;
            l->at = delim + 2;
            struct item i = make_item(l, ITEM_LEFT_DELIM);
            l->at = l->start = behind;
            l->inside = true;
            l->paren_depth = 0;
            return i;
        }
        l->start = l->at;
        struct item error;
        if (!skip_comment(l, &error))
            return error;
    }
}

static struct item lex_right_delim(struct template_lexer *l) {
    bool trims;
    (void)at_right_delim(l, &trims);
    if (trims)
        l->start = l->at += 2;
    l->at += 2;
    struct item i = make_item(l, ITEM_RIGHT_DELIM);
    if (trims)
        skip_blanks(l);
    l->inside = false;
    return i;
}

/* The blank before "-}}" belongs to the delimiter. */
static struct item lex_space(struct template_lexer *l) {
    size_t count = 0;
    while (l->at < l->text.size && is_blank((unsigned char)l->text.data[l->at])) {
        l->at++;
        count++;
    }
    l->at--;
    bool trims;
    if (at_right_delim(l, &trims) && trims) {
        if (count == 1)
            return lex_right_delim(l);
        return make_item(l, ITEM_SPACE);
    }
    l->at++;
    return make_item(l, ITEM_SPACE);
}

static bool at_terminator(const struct template_lexer *l) {
    uint32_t r = peek_rune(l);
    if (r == RUNE_EOF || is_blank(r) || (r < 0x80 && strchr(".,|:)(", (int)r)))
        return true;
    return str_starts(rest(l), STR("}}"));
}

static struct item bad_character(struct template_lexer *l, uint32_t r) {
    char name[32];
    name_rune(name, r);
    return lex_error(l, "bad character %s", name);
}

static void skip_word(struct template_lexer *l) {
    unsigned size;
    while (is_word(peek(l, &size)))
        l->at += size;
}

static enum item_kind word_kind(struct str word) {
    static const struct {
        struct str word;
        enum item_kind kind;
    } words[] = {
        {STR_INIT("block"), ITEM_BLOCK},
        {STR_INIT("break"), ITEM_BREAK},
        {STR_INIT("continue"), ITEM_CONTINUE},
        {STR_INIT("define"), ITEM_DEFINE},
        {STR_INIT("else"), ITEM_ELSE},
        {STR_INIT("end"), ITEM_END},
        {STR_INIT("if"), ITEM_IF},
        {STR_INIT("nil"), ITEM_NIL},
        {STR_INIT("range"), ITEM_RANGE},
        {STR_INIT("template"), ITEM_TEMPLATE},
        {STR_INIT("with"), ITEM_WITH},
        {STR_INIT("true"), ITEM_BOOL},
        {STR_INIT("false"), ITEM_BOOL},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (str_eq(words[i].word, word))
            return words[i].kind;
    return ITEM_IDENTIFIER;
}

static struct item lex_word(struct template_lexer *l) {
    skip_word(l);
    if (!at_terminator(l))
        return bad_character(l, peek_rune(l));
    struct str word = str_make(l->text.data + l->start, l->at - l->start);
    return make_item(l, word_kind(word));
}

/* ".name" or "$name"; the first character has been read. */
static struct item lex_name(struct template_lexer *l, enum item_kind kind) {
    if (at_terminator(l))
        return make_item(l, kind == ITEM_VARIABLE ? ITEM_VARIABLE : ITEM_DOT);
    skip_word(l);
    if (!at_terminator(l))
        return bad_character(l, peek_rune(l));
    return make_item(l, kind);
}

/* A "..." or '...'; the first quote has been read. */
static struct item lex_quoted(struct template_lexer *l, uint32_t quote) {
    for (;;) {
        uint32_t r = next_rune(l);
        if (r == '\\') {
            r = next_rune(l);
            if (r != RUNE_EOF && r != '\n')
                continue;
        }
        if (r == RUNE_EOF || r == '\n')
            return lex_error(l, quote == '"' ? "unterminated quoted string"
                                             : "unterminated character constant");
        if (r == quote)
            return make_item(l, quote == '"' ? ITEM_STRING : ITEM_CHAR_CONSTANT);
    }
}

static struct item lex_raw(struct template_lexer *l) {
    for (;;) {
        uint32_t r = next_rune(l);
        if (r == RUNE_EOF)
            return lex_error(l, "unterminated raw quoted string");
        if (r == '`')
            return make_item(l, ITEM_RAW_STRING);
    }
}

static bool take(struct template_lexer *l, const char *set) {
    struct str s = rest(l);
    if (s.size == 0 || s.data[0] == '\0' || !strchr(set, s.data[0]))
        return false;
    l->at++;
    return true;
}

static void take_all(struct template_lexer *l, const char *set) {
    while (take(l, set)) {
    }
}

static bool scan_number(struct template_lexer *l) {
    const char *decimal = "0123456789_", *digits = decimal;
    bool hex = false;
    (void)take(l, "+-");
    if (take(l, "0")) {
        if (take(l, "xX")) {
            digits = "0123456789abcdefABCDEF_";
            hex = true;
        } else if (take(l, "oO")) {
            digits = "01234567_";
        } else if (take(l, "bB")) {
            digits = "01_";
        }
    }
    take_all(l, digits);
    if (take(l, "."))
        take_all(l, digits);
    if ((digits == decimal && take(l, "eE")) || (hex && take(l, "pP"))) {
        (void)take(l, "+-");
        take_all(l, decimal);
    }
    (void)take(l, "i");
    if (is_word(peek_rune(l))) {
        (void)next_rune(l);
        return false;
    }
    return true;
}

static struct item bad_number(struct template_lexer *l) {
    struct buf quoted = buf_make(LEX_MESSAGE_MAX / 2);
    go_quote(&quoted, str_make(l->text.data + l->start, l->at - l->start));
    struct item i = lex_error(l, "bad number syntax: %.*s", STR_ARG(buf_str(&quoted)));
    buf_done(&quoted);
    return i;
}

static struct item lex_number(struct template_lexer *l) {
    if (!scan_number(l))
        return bad_number(l);
    uint32_t sign = peek_rune(l);
    if (sign != '+' && sign != '-')
        return make_item(l, ITEM_NUMBER);
    if (!scan_number(l) || l->text.data[l->at - 1] != 'i')
        return bad_number(l);
    return make_item(l, ITEM_COMPLEX);
}

static struct item lex_sign(struct template_lexer *l, uint32_t r) {
    char name[32];
    switch (r) {
    case '=':
        return make_item(l, ITEM_ASSIGN);
    case ':':
        if (next_rune(l) != '=')
            return lex_error(l, "expected :=");
        return make_item(l, ITEM_DECLARE);
    case '|':
        return make_item(l, ITEM_PIPE);
    case '(':
        l->paren_depth++;
        return make_item(l, ITEM_LEFT_PAREN);
    case ')':
        if (--l->paren_depth < 0)
            return lex_error(l, "unexpected right paren");
        return make_item(l, ITEM_RIGHT_PAREN);
    default:
        if (r < 0x80 && rune_is_print(r))
            return make_item(l, ITEM_CHAR);
        name_rune(name, r);
        return lex_error(l, "unrecognized character in action: %s", name);
    }
}

static struct item lex_action(struct template_lexer *l) {
    bool trims;
    if (at_right_delim(l, &trims))
        return l->paren_depth == 0 ? lex_right_delim(l) : lex_error(l, "unclosed left paren");
    unsigned size;
    uint32_t r = peek(l, &size);
    if (r == RUNE_EOF)
        return lex_error(l, "unclosed action");
    if (is_blank(r))
        return lex_space(l);
    if (is_word(r) && !(r >= '0' && r <= '9'))
        return lex_word(l);
    l->at += size;
    uint32_t after = l->at < l->text.size ? (unsigned char)l->text.data[l->at] : RUNE_EOF;
    bool digit_next = after >= '0' && after <= '9';
    if (r == '.' && l->at < l->text.size && !digit_next)
        return lex_name(l, ITEM_FIELD);
    if (r == '.' || r == '+' || r == '-' || (r >= '0' && r <= '9')) {
        l->at -= size;
        return lex_number(l);
    }
    if (r == '$')
        return lex_name(l, ITEM_VARIABLE);
    if (r == '"' || r == '\'')
        return lex_quoted(l, r);
    if (r == '`')
        return lex_raw(l);
    return lex_sign(l, r);
}

struct item template_lex(struct template_lexer *l) {
    if (l->ended) {
        l->start = l->at = l->text.size;
        return make_item(l, ITEM_EOF);
    }
    return l->inside ? lex_action(l) : lex_text(l);
}
