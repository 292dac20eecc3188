/* The logfmt stage: key=value pairs become labels. A token that is not a pair is skipped, or ends the line with
 * an error under --strict. Bytes up to the blank separate tokens; keys hold neither '=' nor '"'; values are
 * bare (without '=' and '"') or quoted with Go's escapes. */
#include "stage.h"

#include <stdio.h>

#include "utf8.h"

struct logfmt_scanner {
    const char *at, *end, *start;
    struct str key, value;
    bool escaped;      /* the value has its escapes still */
    const char *error; /* of the last bad token */
    const char *error_at;
    char unexpected; /* the byte that `error` complains about; 0 = error has all */
};

static bool bad_byte(struct logfmt_scanner *s, const char *p) {
    s->error = "unexpected";
    s->unexpected = *p;
    s->error_at = p;
    while (p < s->end && (unsigned char)*p > ' ')
        p++;
    s->at = p;
    return false;
}

static bool bad_token(struct logfmt_scanner *s, const char *error, const char *at) {
    s->error = error;
    s->unexpected = 0;
    s->error_at = at;
    s->at = at;
    return false;
}

static bool key_is_valid(struct str key, bool multibyte) {
    return !multibyte || (utf8_valid(key) && !memmem(key.data, key.size, "\xef\xbf\xbd", 3));
}

/* The opening quote is at s->at. */
static bool scan_quoted(struct logfmt_scanner *s) {
    const char *open = s->at, *p = open + 1;
    bool escaped = false;
    for (;;) {
        const char *quote = memchr(p, '"', (size_t)(s->end - p));
        const char *slash = memchr(p, '\\', (size_t)((quote ? quote : s->end) - p));
        if (slash) {
            escaped = true;
            if (s->end - slash < 2)
                return bad_token(s, "unterminated quoted value", s->end);
            p = slash + 2;
            continue;
        }
        if (!quote)
            return bad_token(s, "unterminated quoted value", s->end);
        s->at = quote + 1;
        s->escaped = escaped;
        s->value = str_make(open + 1, (size_t)(quote - open - 1));
        return true;
    }
}

static bool scan_value(struct logfmt_scanner *s) {
    if (s->at == s->end || (unsigned char)*s->at <= ' ')
        return true;
    if (*s->at == '"')
        return scan_quoted(s);
    const char *p = s->at;
    for (; p < s->end && (unsigned char)*p > ' '; p++)
        if (*p == '=' || *p == '"')
            return bad_byte(s, p);
    s->value = str_make(s->at, (size_t)(p - s->at));
    s->at = p;
    return true;
}

/* The next pair; false for a bad token and at the end of the line. */
static bool scan_pair(struct logfmt_scanner *s) {
    s->key = s->value = STR("");
    s->escaped = false;
    while (s->at < s->end && (unsigned char)*s->at <= ' ')
        s->at++;
    if (s->at == s->end)
        return false;
    const char *start = s->at, *p = start;
    bool multibyte = false;
    for (; p < s->end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '=' || c <= ' ')
            break;
        if (c == '"')
            return bad_byte(s, p);
        multibyte = multibyte || c >= 0x80;
    }
    s->key = str_make(start, (size_t)(p - start));
    if (p == s->end || *p != '=') {
        s->at = p;
        return key_is_valid(s->key, multibyte) || bad_token(s, "invalid key", p);
    }
    if (p == start)
        return bad_byte(s, p);
    if (!key_is_valid(s->key, multibyte)) {
        (void)bad_byte(s, p);
        s->error = "invalid key";
        s->unexpected = 0;
        return false;
    }
    s->at = p + 1;
    return scan_value(s);
}

static int hex_digits(const char *p, const char *end, uint32_t *ret) {
    if (end - p < 4)
        return -1;
    *ret = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit_value(p[i]);
        if (digit < 0)
            return -1;
        *ret = *ret << 4 | (uint32_t)digit;
    }
    return 0;
}

/* One escape at p ("\" and what follows); returns the bytes consumed, 0 when it is not one. */
static size_t unquote_escape(const char *p, const char *end, char *out, size_t *size) {
    if (end - p < 2)
        return 0;
    static const char from[] = "\"\\/'bfnrt", to[] = "\"\\/'\b\f\n\r\t";
    const char *simple = p[1] ? strchr(from, p[1]) : NULL;
    if (simple) {
        out[(*size)++] = to[simple - from];
        return 2;
    }
    uint32_t rune, low;
    if (p[1] != 'u' || hex_digits(p + 2, end, &rune) < 0)
        return 0;
    size_t used = 6;
    if (rune >= 0xd800 && rune <= 0xdfff) {
        bool pair = rune < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u' &&
                    hex_digits(p + 8, end, &low) == 0 && low >= 0xdc00 && low <= 0xdfff;
        if (pair) {
            rune = ((rune - 0xd800) << 10) + (low - 0xdc00) + 0x10000;
            used = 12;
        } else {
            rune = 0xfffd;
        }
    }
    *size += utf8_encode(out + *size, rune);
    return used;
}

/* A value with escapes, without its quotes; false when an escape is bad. */
static bool unquote(struct run *r, struct str raw, struct str *ret) {
    const char *p = raw.data, *end = raw.data + raw.size;
    char *out = run_scratch(r, raw.size + 4);
    if (!out)
        return false;
    size_t size = 0;
    while (p < end) {
        if (*p != '\\') {
            out[size++] = *p++;
            continue;
        }
        size_t used = unquote_escape(p, end, out, &size);
        if (used == 0)
            return false;
        p += used;
    }
    *ret = str_make(out, size);
    return true;
}

/* The next good pair of the line with its value in plain; false at the end, or at an error when strict. */
static bool next_pair(struct logfmt_scanner *s, struct run *r, bool strict) {
    while (s->at < s->end) {
        if (scan_pair(s)) {
            if (!s->escaped || unquote(r, s->value, &s->value))
                return true;
            (void)bad_token(s, "invalid quoted value", s->at);
        }
        if (strict)
            return false;
    }
    return false;
}

static void set_error(struct logfmt_scanner *s, struct run *r) {
    char *text = run_scratch(r, 96);
    if (!text)
        return;
    size_t at = (size_t)(s->error_at - s->start) + 1;
    int n = s->unexpected ? snprintf(text, 96, "logfmt syntax error at pos %zu : unexpected '%c'",
                                     at, s->unexpected)
                          : snprintf(text, 96, "logfmt syntax error at pos %zu : %s", at, s->error);
    labelset_parser_error(r->set, STR("LogfmtParserErr"), str_make(text, (size_t)n));
}

/* The expression that asks for a key, or is named like it; step->count for none. Loki asks the hints for the key where it
 * would have to ask for the label's name: `sum by (a) (... | logfmt a="b" ...)` leaves a empty, unless b is wanted, too, or
 * another expression's name. */
static size_t find_source(const struct extract_step *step, const struct labelset *set,
                          uint32_t key) {
    struct str text = labelset_name_text(set, key);
    size_t named = 0;
    while (named < step->count && step->names[named] != key)
        named++;
    if (named == step->count && !labelset_wants(set, key))
        return step->count;
    for (size_t i = 0; i < step->count; i++)
        if (str_eq(step->sources[i], text))
            return i;
    return named;
}

/* Unlike without expressions the last of equal keys wins, and what is not found makes an empty label, unless the stream or
 * the metadata have one of that name. */
static bool run_expressions(const struct extract_step *step, struct run *r) {
    struct labelset *set = r->set;
    for (size_t i = 0; i < step->count; i++)
        if (labelset_target(set, step->names[i]) == step->names[i])
            labelset_set(set, GROUP_PARSED, step->names[i], STR(""));
    struct logfmt_scanner s = {.start = r->line.data, .at = r->line.data};
    s.end = s.at + r->line.size;
    while (next_pair(&s, r, step->strict)) {
        uint32_t key = labelset_key(set, NAME_NONE, s.key);
        size_t i = key == NAME_NONE ? step->count : find_source(step, set, key);
        if (i == step->count)
            continue;
        uint32_t id = labelset_target(set, step->names[i]);
        if (id == NAME_NONE || (id != step->names[i] && !labelset_wants(set, id)))
            break;
        /* Not cleaned, as without expressions, but left empty. */
        bool clean = run_clean_utf8(r, s.value).data == s.value.data;
        labelset_set(set, GROUP_PARSED, id, clean ? s.value : STR(""));
        if (labelset_all_found(set))
            break;
    }
    if (step->strict && s.error)
        set_error(&s, r);
    return true;
}

/* The pair of label `id` has been read. False when an early filter refuses the line. */
static bool take_pair(struct run *r, uint32_t id, struct str value, bool keep_empty) {
    struct labelset *set = r->set;
    id = labelset_target(set, id);
    if (id == NAME_NONE || !labelset_wants(set, id) || labelset_extracted(set, id))
        return true;
    value = run_clean_utf8(r, value);
    if (value.size == 0 && !keep_empty)
        return true;
    labelset_set(set, GROUP_PARSED, id, value);
    return !run_refuses(r, id, value);
}

bool logfmt_run(const struct extract_step *step, struct run *r) {
    struct labelset *set = r->set;
    if (labelset_nothing_wanted(set))
        return true;
    if (step->count > 0)
        return run_expressions(step, r);
    struct logfmt_scanner s = {.start = r->line.data, .at = r->line.data};
    s.end = s.at + r->line.size;
    while (next_pair(&s, r, step->strict)) {
        if (!labelset_key_possible(set, s.key))
            continue;
        uint32_t id = labelset_key(set, NAME_NONE, s.key);
        if (id == NAME_NONE)
            continue;
        if (!take_pair(r, id, s.value, step->keep_empty))
            return false;
        if (labelset_all_found(set))
            break;
    }
    if (step->strict && s.error)
        set_error(&s, r);
    return true;
}

bool logfmt_run_fields(struct run *r) {
    for (size_t i = 0; i < r->n_fields && !labelset_nothing_wanted(r->set); i++) {
        const struct linetab_value *v = &r->fields[i];
        struct str value = v->text;
        if (v->quoted && memchr(value.data, '\\', value.size) && !unquote(r, value, &value))
            continue;
        if (!take_pair(r, r->field_ids[v->number], value, false))
            return false;
    }
    return true;
}
