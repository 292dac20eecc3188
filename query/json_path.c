#include "json_path.h"

#include <errno.h>

#include "utf8.h"

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

/* What stands between brackets; *s is behind '['. */
static const char *take_bracketed(struct stage_compiler *c, struct str *s, struct json_part *part) {
    *s = skip_blanks(*s);
    if (s->size > 0 && s->data[0] == '"') {
        if (!take_quoted(c, s, &part->key))
            return "syntax error: unexpected $end";
    } else {
        size_t n = 0, index = 0;
        for (; n < s->size && is_digit(s->data[n]); n++) {
            index = index * 10 + (size_t)(s->data[n] - '0');
            if (index > UINT32_MAX)
                return "value out of range";
        }
        if (n == 0)
            return "syntax error: unexpected RSB, expecting STRING or INDEX";
        *s = str_from_offset(*s, n);
        part->is_index = true;
        part->index = index;
    }
    *s = skip_blanks(*s);
    if (s->size == 0 || s->data[0] != ']')
        return "syntax error: unexpected $end, expecting RSB";
    *s = str_from_offset(*s, 1);
    return NULL;
}

int json_path_compile(struct stage_compiler *c, struct str text, struct json_path *ret) {
    struct json_part parts[JSON_PATH_PARTS_MAX];
    size_t count = 0;
    struct str s = skip_blanks(text);
    if (s.size == 0)
        return refuse(c, text, "syntax error: unexpected $end, expecting LSB or FIELD");
    for (; s.size > 0; s = skip_blanks(s)) {
        if (count == JSON_PATH_PARTS_MAX)
            return refuse(c, text, "more than 64 parts");
        struct json_part *part = &parts[count];
        *part = (struct json_part){0};
        if (s.data[0] == '[') {
            s = str_from_offset(s, 1);
            const char *why = take_bracketed(c, &s, part);
            if (why)
                return refuse(c, text, why);
        } else {
            if (s.data[0] == '.' && count == 0)
                return refuse(c, text, "syntax error: unexpected DOT, expecting LSB or FIELD");
            if (s.data[0] != '.' && count > 0)
                return refuse(c, text, "syntax error: unexpected FIELD");
            if (s.data[0] == '.')
                s = skip_blanks(str_from_offset(s, 1));
            if (s.size > 0 && s.data[0] == '.')
                return refuse(c, text, "syntax error: unexpected DOT, expecting FIELD");
            if (s.size == 0)
                return refuse(c, text, "syntax error: unexpected $end, expecting FIELD");
            part->key = take_field(&s);
            if (part->key.size == 0) /* a byte that begins nothing ends the text */
                return refuse(c, text,
                              count == 0 ? "syntax error: unexpected $end, expecting LSB or FIELD"
                                         : "syntax error: unexpected $end, expecting FIELD");
        }
        count++;
    }
    struct json_part *own = arena_array(c->arena, count, sizeof(*own));
    if (!own)
        return -ENOMEM;
    memcpy(own, parts, count * sizeof(*own));
    ret->parts = own;
    ret->count = count;
    return 0;
}

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
    if (s.size > 0)
        return refuse(c, text, "syntax error: unexpected KEY");
    return 0;
}
