#include "byteseq.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "finder.h"

enum { LITERAL_MIN = 2 }; /* a single byte is no better than skipping */

struct byteseq {
    uint32_t n;
    uint64_t allowed[256]; /* bit i: the byte may stand at place i */
    uint8_t shift[256];    /* how far to go on when the byte is the last looked at */
    char literal[BYTESEQ_MAX];
    uint32_t literal_at;
    struct finder finder; /* of the literal; empty when there is none */
};

/* ---- reading the pattern */

struct set {
    uint64_t low, high; /* bytes 0..63, 64..127 */
};

static void set_add(struct set *s, unsigned from, unsigned to) {
    for (unsigned c = from; c <= to; c++) {
        if (c < 64)
            s->low |= UINT64_C(1) << c;
        else
            s->high |= UINT64_C(1) << (c - 64);
    }
}

static bool set_has(const struct set *s, unsigned c) {
    return c < 64 ? s->low >> c & 1 : s->high >> (c - 64) & 1;
}

static bool is_punct(unsigned c) {
    return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* What stands behind a backslash; false when that is no set of bytes. *ret_byte: the one byte it means, or 256. */
static bool add_escape(struct set *s, unsigned c, unsigned *ret_byte) {
    *ret_byte = 256;
    switch (c) {
    case 'w':
        set_add(s, 'a', 'z');
        set_add(s, 'A', 'Z');
        set_add(s, '_', '_');
        set_add(s, '0', '9');
        return true;
    case 'd':
        set_add(s, '0', '9');
        return true;
    case 's':
        set_add(s, '\t', '\n');
        set_add(s, '\f', '\r');
        set_add(s, ' ', ' ');
        return true;
    default:
        *ret_byte = c;
        if (is_punct(c))
            set_add(s, c, c);
        return is_punct(c);
    }
}

struct reader {
    const unsigned char *at, *end;
};

/* One member of a class, or a range. */
static bool add_member(struct reader *r, struct set *s) {
    unsigned from = *r->at++;
    if (from >= 0x80 || (from == '[' && r->at < r->end && *r->at == ':'))
        return false;
    if (from == '\\') {
        if (r->at == r->end || !add_escape(s, *r->at, &from))
            return false;
        r->at++;
        if (from == 256)
            return r->at == r->end || *r->at != '-'; /* `\d-x` is an error or a puzzle */
    }
    unsigned to = from;
    if (r->end - r->at >= 2 && r->at[0] == '-' && r->at[1] != ']') {
        to = r->at[1];
        r->at += 2;
        if (to >= 0x80 || to == '\\' || to == '[' || to < from)
            return false;
    }
    set_add(s, from, to);
    return true;
}

/* Behind "[". */
static bool read_class(struct reader *r, struct set *s) {
    if (r->at < r->end && *r->at == '^')
        return false;
    bool first = true;
    while (r->at < r->end && (*r->at != ']' || first)) {
        if (!add_member(r, s))
            return false;
        first = false;
    }
    if (r->at == r->end)
        return false;
    r->at++;
    return true;
}

static bool read_atom(struct reader *r, struct set *s) {
    unsigned c = *r->at++, ignored;
    switch (c) {
    case '[':
        return read_class(r, s);
    case '\\':
        return r->at < r->end && add_escape(s, *r->at++, &ignored);
    case '.':
    case '(':
    case ')':
    case '|':
    case '*':
    case '+':
    case '?':
    case '^':
    case '$':
    case '{':
        return false;
    default:
        set_add(s, c < 0x80 ? c : 1, c < 0x80 ? c : 0);
        return c < 0x80;
    }
}

static uint32_t read_number(struct reader *r) {
    uint32_t n = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && n <= BYTESEQ_MAX)
        n = n * 10 + (uint32_t)(*r->at++ - '0');
    return n;
}

/* How often an atom must stand there at least: `{n}`, `{n,}`, `{n,m}`, `*`, `+`, `?`, or once. False when that is not how a
 * repetition is written; *ret_exact: nor may it stand there more often. */
static bool read_count(struct reader *r, uint32_t *ret, bool *ret_exact) {
    unsigned c = r->at < r->end ? *r->at : 0;
    *ret = c == '*' || c == '?' ? 0 : 1;
    *ret_exact = true;
    if (c != '{' && c != '*' && c != '+' && c != '?')
        return true;
    r->at++;
    *ret_exact = false;
    if (c == '{') {
        bool has_number = r->at < r->end && *r->at >= '0' && *r->at <= '9';
        *ret = read_number(r);
        *ret_exact = r->at < r->end && *r->at == '}';
        if (!*ret_exact && r->at < r->end && *r->at == ',') {
            r->at++;
            bool has_most = r->at < r->end && *r->at != '}';
            if (read_number(r) < *ret && has_most)
                return false;
        }
        if (!has_number || r->at == r->end || *r->at++ != '}')
            return false;
    }
    if (r->at < r->end && *r->at == '?' && !*ret_exact)
        r->at++; /* as few as possible: no matter to whether it matches */
    /* A second repetition would be an error that RE2 has to tell. */
    return r->at == r->end || !memchr("{*+?", *r->at, 4);
}

static uint32_t read_pattern(struct str pattern, struct set *sets) {
    struct reader r = {.at = (const unsigned char *)pattern.data};
    r.end = r.at + pattern.size;
    uint32_t n = 0, count;
    bool is_first = true, exact;
    while (r.at < r.end) {
        struct set set = {0};
        if (!read_atom(&r, &set) || !read_count(&r, &count, &exact) || count > BYTESEQ_MAX - n)
            return 0;
        /* At both ends the fewest are enough. */
        if (!exact && !is_first && r.at < r.end)
            return 0;
        for (uint32_t i = 0; i < count; i++)
            sets[n++] = set;
        is_first = false;
    }
    return n;
}

/* ---- making */

/* The only byte of a set, or 256. */
static unsigned only_byte(const struct set *s) {
    if (__builtin_popcountll(s->low) + __builtin_popcountll(s->high) != 1)
        return 256;
    return s->low ? (unsigned)__builtin_ctzll(s->low) : 64 + (unsigned)__builtin_ctzll(s->high);
}

static void find_literal(struct byteseq *s, const struct set *sets) {
    uint32_t best = 0;
    for (uint32_t from = 0; from < s->n; from++) {
        uint32_t to = from;
        while (to < s->n && only_byte(&sets[to]) < 256)
            to++;
        if (to - from > best) {
            best = to - from;
            s->literal_at = from;
        }
        if (to > from)
            from = to;
    }
    if (best < LITERAL_MIN)
        return;
    for (uint32_t i = 0; i < best; i++)
        s->literal[i] = (char)only_byte(&sets[s->literal_at + i]);
    s->finder = finder_make(str_make(s->literal, best), false);
}

struct byteseq *byteseq_new(struct str pattern) {
    struct set sets[BYTESEQ_MAX];
    uint32_t n = read_pattern(pattern, sets);
    struct byteseq *s = n > 1 ? calloc(1, sizeof(*s)) : NULL;
    if (!s)
        return NULL;
    s->n = n;
    for (unsigned c = 0; c < 256; c++) {
        s->shift[c] = (uint8_t)n;
        for (uint32_t i = 0; i < n && c < 0x80; i++) {
            if (!set_has(&sets[i], c))
                continue;
            s->allowed[c] |= UINT64_C(1) << i;
            if (i + 1 < n)
                s->shift[c] = (uint8_t)(n - 1 - i);
        }
    }
    find_literal(s, sets);
    return s;
}

void byteseq_free(struct byteseq *s) {
    free(s);
}

struct byteseq_view byteseq_view(const struct byteseq *s) {
    return (struct byteseq_view){
        .size = s->n, .allowed = s->allowed, .fixed = s->finder.needle, .fixed_at = s->literal_at};
}

/* ---- searching */

static bool stands_at(const struct byteseq *s, const unsigned char *p) {
    for (uint32_t i = 0; i < s->n; i++)
        if (!(s->allowed[p[i]] >> i & 1))
            return false;
    return true;
}

static bool search_literal(const struct byteseq *s, struct str text) {
    const char *end = text.data + text.size;
    /* The literal leaves room for what stands before and behind it. */
    const char *at = text.data + s->literal_at;
    const char *last = end - (s->n - s->literal_at - s->finder.needle.size);
    while (at < last) {
        const char *hit = finder_find(&s->finder, str_make(at, (size_t)(last - at)));
        if (!hit)
            return false;
        if (stands_at(s, (const unsigned char *)hit - s->literal_at))
            return true;
        at = hit + 1;
    }
    return false;
}

bool byteseq_matches(const struct byteseq *s, struct str text) {
    if (text.size < s->n)
        return false;
    if (s->finder.needle.size > 0)
        return search_literal(s, text);
    const unsigned char *p = (const unsigned char *)text.data;
    for (size_t i = s->n - 1; i < text.size; i += s->shift[p[i]])
        if (s->allowed[p[i]] >> (s->n - 1) & 1 && stands_at(s, p + i - (s->n - 1)))
            return true;
    return false;
}
