/* Reading regular expressions as rows of runs. */
#include "byte_runs.h"

#include <string.h>

static void set_add(struct byte_set *s, unsigned from, unsigned to) {
    for (unsigned c = from; c <= to; c++) {
        if (c < 64)
            s->low |= UINT64_C(1) << c;
        else
            s->high |= UINT64_C(1) << (c - 64);
    }
}

static bool is_punct(unsigned c) {
    return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* What stands behind a backslash; false when that is no set of bytes. *ret_byte: the one byte it means, or
 * BYTE_SET_MANY. */
static bool add_escape(struct byte_set *s, unsigned c, unsigned *ret_byte) {
    *ret_byte = BYTE_SET_MANY;
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
static bool add_member(struct reader *r, struct byte_set *s) {
    unsigned from = *r->at++;
    if (from >= 0x80 || (from == '[' && r->at < r->end && *r->at == ':'))
        return false;
    if (from == '\\') {
        if (r->at == r->end || !add_escape(s, *r->at, &from))
            return false;
        r->at++;
        if (from == BYTE_SET_MANY)
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
static bool read_class(struct reader *r, struct byte_set *s) {
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

static bool read_atom(struct reader *r, struct byte_set *s) {
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
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && n <= BYTE_COUNT_MAX)
        n = n * 10 + (uint32_t)(*r->at++ - '0');
    return n;
}

/* `{n}`, `{n,}`, `{n,m}` behind the brace. */
static bool read_braces(struct reader *r, struct byte_run *run) {
    if (r->at == r->end || *r->at < '0' || *r->at > '9')
        return false;
    run->min = run->max = read_number(r);
    if (r->at < r->end && *r->at == ',') {
        r->at++;
        bool has_most = r->at < r->end && *r->at != '}';
        run->max = has_most ? read_number(r) : BYTE_RUN_ANY;
    }
    return run->max >= run->min && r->at < r->end && *r->at++ == '}';
}

/* How often an atom may stand there. False when that is not how a repetition is written. */
static bool read_count(struct reader *r, struct byte_run *run) {
    unsigned c = r->at < r->end ? *r->at : 0;
    run->min = c == '*' || c == '?' ? 0 : 1;
    run->max = c == '*' || c == '+' ? BYTE_RUN_ANY : 1;
    if (c != '{' && c != '*' && c != '+' && c != '?')
        return true;
    r->at++;
    if (c == '{' && !read_braces(r, run))
        return false;
    if (r->at < r->end && *r->at == '?' && (c != '{' || run->min < run->max))
        r->at++; /* as few as possible: no matter to whether it matches */
    /* A second repetition would be an error that RE2 has to tell. */
    return r->at == r->end || !memchr("{*+?", *r->at, 4);
}

/* At both ends the fewest are enough. */
static size_t trim_ends(struct byte_run *runs, size_t n) {
    size_t from = 0;
    while (from < n && runs[from].min == 0)
        from++;
    while (n > from && runs[n - 1].min == 0)
        n--;
    memmove(runs, runs + from, (n - from) * sizeof(*runs));
    n -= from;
    if (n > 0) {
        runs[0].max = runs[0].min;
        runs[n - 1].max = runs[n - 1].min;
    }
    return n;
}

size_t byte_runs_read(struct str pattern, struct byte_run runs[static BYTE_RUNS_MAX]) {
    struct reader r = {.at = (const unsigned char *)pattern.data};
    r.end = r.at + pattern.size;
    size_t n = 0;
    while (r.at < r.end) {
        struct byte_run run = {.min = 0};
        if (!read_atom(&r, &run.set) || !read_count(&r, &run))
            return 0;
        if (run.max == 0)
            continue;
        if (n == BYTE_RUNS_MAX)
            return 0;
        runs[n++] = run;
    }
    return trim_ends(runs, n);
}

bool byte_set_has(const struct byte_set *s, unsigned c) {
    return c < 64 ? s->low >> c & 1 : c < 128 && s->high >> (c - 64) & 1;
}

unsigned byte_set_only(const struct byte_set *s) {
    if (__builtin_popcountll(s->low) + __builtin_popcountll(s->high) != 1)
        return BYTE_SET_MANY;
    return s->low ? (unsigned)__builtin_ctzll(s->low) : 64 + (unsigned)__builtin_ctzll(s->high);
}
