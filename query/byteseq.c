#include "byteseq.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "byte_runs.h"
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

/* ---- making */

static void find_literal(struct byteseq *s, const struct byte_set *sets) {
    uint32_t best = 0;
    for (uint32_t from = 0; from < s->n; from++) {
        uint32_t to = from;
        while (to < s->n && byte_set_only(&sets[to]) < BYTE_SET_MANY)
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
        s->literal[i] = (char)byte_set_only(&sets[s->literal_at + i]);
    s->finder = finder_make(str_make(s->literal, best), false);
}

struct byteseq *byteseq_of_sets(const struct byte_set *sets, size_t n) {
    struct byteseq *s = n > 1 && n <= BYTESEQ_MAX ? calloc(1, sizeof(*s)) : NULL;
    if (!s)
        return NULL;
    s->n = (uint32_t)n;
    for (unsigned c = 0; c < 256; c++) {
        s->shift[c] = (uint8_t)n;
        for (uint32_t i = 0; i < n && c < 0x80; i++) {
            if (!byte_set_has(&sets[i], c))
                continue;
            s->allowed[c] |= UINT64_C(1) << i;
            if (i + 1 < n)
                s->shift[c] = (uint8_t)(n - 1 - i);
        }
    }
    find_literal(s, sets);
    return s;
}

struct byteseq *byteseq_new(struct str pattern) {
    struct byte_run runs[BYTE_RUNS_MAX];
    struct byte_set sets[BYTESEQ_MAX];
    size_t n_runs = byte_runs_read(pattern, runs), n = 0;
    for (size_t i = 0; i < n_runs; i++) {
        if (runs[i].min != runs[i].max || runs[i].min > BYTESEQ_MAX - n)
            return NULL;
        for (uint32_t k = 0; k < runs[i].min; k++)
            sets[n++] = runs[i].set;
    }
    return byteseq_of_sets(sets, n);
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
