#include "json_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

enum { WHY_MAX = 96 };

static bool is_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int refuse(struct stage_compiler *c, struct str text, const char *why) {
    return err_set(c->reterr, -ESYNTAX, "cannot parse expression [%.*s]: %s", STR_ARG(text), why);
}

static struct str skip_blanks(struct str s) {
    while (s.size > 0 && (s.data[0] == ' ' || s.data[0] == '\t' || s.data[0] == '\n'))
        s = str_from_offset(s, 1);
    return s;
}

static struct str take_field(struct str *s) {
    size_t n = 0;
    while (n < s->size && (is_start(s->data[n]) || (n > 0 && is_digit(s->data[n]))))
        n++;
    struct str field = str_make(s->data, n);
    *s = str_from_offset(*s, n);
    return field;
}

/* The quoted text at the front of *s, its escapes taken out; false when it does not end. */
static bool take_quoted(struct stage_compiler *c, struct str *s, struct str *ret) {
    size_t n = 1;
    bool escaped = false;
    while (n < s->size && s->data[n] != '"') {
        bool slash = s->data[n] == '\\';
        escaped = escaped || slash;
        n += slash ? 2 : 1;
    }
    if (n >= s->size)
        return false;
    struct str raw = str_make(s->data + 1, n - 1);
    *s = str_from_offset(*s, n + 1);
    *ret = raw;
    if (!escaped)
        return true;
    char *out = arena_alloc(c->arena, raw.size + 4);
    int64_t size = out ? json_value_unescape(raw, out) : -1;
    if (size < 0)
        return false;
    *ret = str_make(out, (size_t)size);
    return true;
}

/* ---- the expressions of json: a.b["c d"][0] */

enum path_token { PATH_END, PATH_DOT, PATH_LSB, PATH_RSB, PATH_STRING, PATH_FIELD, PATH_INDEX };

struct path_lexer {
    struct stage_compiler *c;
    struct str rest;
    struct json_part part; /* of PATH_STRING, PATH_FIELD, PATH_INDEX */
    char why[WHY_MAX];     /* what ended the text before its end; empty otherwise */
};

/* A whole number up to a blank or a bracket. */
static enum path_token take_index(struct path_lexer *l) {
    struct str s = l->rest;
    size_t n = 0, index = 0;
    for (; n < s.size && is_digit(s.data[n]) && index <= UINT32_MAX; n++)
        index = index * 10 + (size_t)(s.data[n] - '0');
    l->rest = str_from_offset(s, n);
    l->part = (struct json_part){.is_index = true, .index = index};
    char next = n < s.size ? s.data[n] : '\0';
    if (index <= UINT32_MAX && next != '\0' && strchr(" \t\n]", next))
        return PATH_INDEX;
    (void)snprintf(l->why, sizeof(l->why), "%s",
                   next == '.' ? "cannot use float as array index" : "non-integer value");
    return PATH_END;
}

static enum path_token next_token(struct path_lexer *l) {
    l->rest = skip_blanks(l->rest);
    struct str s = l->rest;
    l->part = (struct json_part){0};
    if (s.size == 0)
        return PATH_END;
    static const char marks[] = ".[]";
    const char *mark = memchr(marks, s.data[0], 3);
    if (mark) {
        l->rest = str_from_offset(s, 1);
        return (enum path_token)(PATH_DOT + (mark - marks));
    }
    if (is_digit(s.data[0]))
        return take_index(l);
    if (is_start(s.data[0])) {
        l->part.key = take_field(&l->rest);
        return PATH_FIELD;
    }
    if (s.data[0] == '"') {
        if (!take_quoted(l->c, &l->rest, &l->part.key))
            l->rest = STR(""); /* as if the quote stood at the end */
        return PATH_STRING;
    }
    uint32_t rune;
    unsigned size = utf8_decode(s, &rune);
    (void)snprintf(l->why, sizeof(l->why), "unexpected char %.*s", (int)size, s.data);
    return PATH_END;
}

static int refuse_token(struct path_lexer *l, struct str text, enum path_token token,
                        const char *expected) {
    static const char *const names[] = {
        [PATH_END] = "$end",    [PATH_DOT] = "DOT",       [PATH_LSB] = "LSB",
        [PATH_RSB] = "RSB",     [PATH_STRING] = "STRING", [PATH_FIELD] = "FIELD",
        [PATH_INDEX] = "INDEX",
    };
    char why[WHY_MAX];
    (void)snprintf(why, sizeof(why), "syntax error: unexpected %s%s%s", names[token],
                   expected ? ", expecting " : "", expected ? expected : "");
    return refuse(l->c, text, why);
}

/* The part that begins with `token`; the messages are those of Loki's parser, which yacc has made. */
static int take_part(struct path_lexer *l, struct str text, enum path_token token, bool is_first,
                     struct json_part *ret) {
    if (token == PATH_LSB) {
        token = next_token(l);
        if (token != PATH_STRING && token != PATH_INDEX)
            return refuse_token(l, text, token, "STRING or INDEX");
        *ret = l->part;
        token = next_token(l);
        return token == PATH_RSB ? 0 : refuse_token(l, text, token, "RSB");
    }
    if (!is_first && token != PATH_DOT)
        return refuse_token(l, text, token, NULL);
    if (!is_first)
        token = next_token(l);
    if (token != PATH_FIELD)
        return refuse_token(l, text, token, is_first ? "LSB or FIELD" : "FIELD");
    *ret = l->part;
    return 0;
}

int json_path_compile(struct stage_compiler *c, struct str text, struct json_path *ret) {
    struct json_part parts[JSON_PATH_PARTS_MAX];
    struct path_lexer l = {.c = c, .rest = text};
    size_t count = 0;
    for (enum path_token token = next_token(&l); token != PATH_END || count == 0;
         token = next_token(&l)) {
        if (count == JSON_PATH_PARTS_MAX)
            return refuse(c, text, "more than 64 parts");
        int r = take_part(&l, text, token, count == 0, &parts[count]);
        if (r < 0)
            return r;
        count++;
    }
    if (l.why[0])
        return refuse(c, text, l.why);
    struct json_part *own = arena_array(c->arena, count, sizeof(*own));
    if (!own)
        return -ENOMEM;
    memcpy(own, parts, count * sizeof(*own));
    ret->parts = own;
    ret->count = count;
    return 0;
}

/* ---- the expressions of logfmt: a key, maybe quoted */

int logfmt_path_compile(struct stage_compiler *c, struct str text, struct str *ret) {
    struct str s = skip_blanks(text);
    if (s.size == 0)
        return refuse(c, text, "syntax error: unexpected $end, expecting STRING or KEY");
    if (s.data[0] == '"') {
        if (!take_quoted(c, &s, ret))
            return refuse(c, text, "syntax error: unexpected $end");
    } else {
        *ret = take_field(&s);
        if (ret->size == 0)
            return refuse(c, text, "syntax error: unexpected $end, expecting STRING or KEY");
    }
    s = skip_blanks(s);
    if (s.size == 0)
        return 0;
    if (is_start(s.data[0]))
        return refuse(c, text, "syntax error: unexpected KEY");
    uint32_t rune;
    char why[WHY_MAX];
    (void)snprintf(why, sizeof(why), "unexpected char %.*s", (int)utf8_decode(s, &rune), s.data);
    return refuse(c, text, why);
}
