#include "textsearch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "arena.h"
#include "finder.h"
#include "logql.h"
#include "regex.h"

enum {
    FINDERS_MAX =
        16, /* more alternatives than that are searched for by the regular expression alone */
    ANALYSIS_MAX = 1 << 20,
    PATTERN_TEXT_MAX = 1 << 20,
};

struct textsearch {
    bool everything; /* every line fits */
    bool invert;
    bool exact; /* a place where a finder's needle stands is a match */
    struct finder finders[FINDERS_MAX];
    size_t n_finders; /* 0 = nothing is known: line by line */
    struct regex *regex;
    struct arena arena;
    /* of the present text */
    struct str text;
    const char *places[FINDERS_MAX]; /* the next place of each needle; NULL = none any more */
    bool known;                      /* places are those of this text */
    /* invert: the next matching line */
    bool has_match;
    size_t match_at, match_next;
    bool match_known;
};

/* ---- making */

static void take_finders(struct textsearch *t, const struct regex_facts *facts) {
    const struct str *needles = &facts->literal;
    size_t count = 0;
    if (facts->is_literal && facts->literal.size > 0) {
        count = 1;
        t->exact = true;
    } else if (facts->n_required > 0) {
        needles = facts->required;
        count = 1; /* the longest */
    } else if (facts->n_any_of > 0 && facts->n_any_of <= FINDERS_MAX) {
        needles = facts->any_of;
        count = facts->n_any_of;
        t->exact = facts->is_set_exact;
    }
    for (size_t i = 0; i < count; i++)
        t->finders[t->n_finders++] = finder_make(needles[i], facts->fold_case);
}

int textsearch_new(const struct options *o, const char *const *patterns, size_t count,
                   struct textsearch **ret, struct err *reterr) {
    struct textsearch *t = calloc(1, sizeof(*t));
    struct buf regex = buf_make(PATTERN_TEXT_MAX);
    if (!t)
        return err_set(reterr, -ENOMEM, "out of memory");
    t->arena = arena_make(ANALYSIS_MAX);
    t->invert = o->invert;
    int r = logql_pattern(o, patterns, count, &regex, reterr);
    t->everything = r == 0 && regex.size == 0;
    if (r == 0 && !t->everything) {
        struct regex_facts facts = {0};
        struct str text = arena_copy(&t->arena, buf_str(&regex));
        if (text.data)
            regex_analyze(text, false, &t->arena, &facts);
        take_finders(t, &facts);
        r = regex_compile(buf_str(&regex), false, &t->regex, reterr);
    }
    buf_done(&regex);
    if (r < 0) {
        textsearch_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void textsearch_free(struct textsearch *t) {
    if (!t)
        return;
    regex_free(t->regex);
    arena_done(&t->arena);
    free(t);
}

/* ---- lines */

static size_t line_begin(struct str text, size_t from, const char *at) {
    const char *before = memrchr(text.data + from, '\n', (size_t)(at - text.data) - from);
    return before ? (size_t)(before - text.data) + 1 : from;
}

static size_t line_end(struct str text, size_t at) {
    const char *end = at < text.size ? memchr(text.data + at, '\n', text.size - at) : NULL;
    return end ? (size_t)(end - text.data) : text.size;
}

static size_t behind(struct str text, size_t end) {
    return end < text.size ? end + 1 : end;
}

void textsearch_begin(struct textsearch *t, struct str text) {
    t->text = text;
    t->known = t->match_known = false;
}

/* The first place of any needle at or behind `from`. With one needle there is nothing to remember. */
static const char *next_place(struct textsearch *t, size_t from) {
    const char *first = NULL;
    for (size_t i = 0; i < t->n_finders; i++) {
        const char **place = &t->places[i];
        if (!t->known || (*place && *place < t->text.data + from))
            *place = finder_find(&t->finders[i], str_from_offset(t->text, from));
        if (*place && (!first || *place < first))
            first = *place;
    }
    t->known = true;
    return first;
}

/* The next line that the patterns match, inverted or not. */
static bool next_match(struct textsearch *t, size_t from, size_t *ret_begin, size_t *ret_end) {
    while (from < t->text.size) {
        size_t begin = from;
        if (t->n_finders > 0) {
            const char *place = next_place(t, from);
            if (!place)
                return false;
            begin = line_begin(t->text, from, place);
        }
        size_t end = line_end(t->text, begin);
        if (t->exact || t->everything ||
            regex_matches(t->regex, str_make(t->text.data + begin, end - begin))) {
            *ret_begin = begin;
            *ret_end = end;
            return true;
        }
        from = behind(t->text, end);
    }
    return false;
}

static bool next_other(struct textsearch *t, size_t from, size_t *ret_begin, size_t *ret_end) {
    while (from < t->text.size) {
        if (!t->match_known || (t->has_match && t->match_at < from)) {
            t->has_match = next_match(t, from, &t->match_at, &t->match_next);
            t->match_known = true;
        }
        if (!t->has_match || t->match_at != from) {
            *ret_begin = from;
            *ret_end = line_end(t->text, from);
            return true;
        }
        from = behind(t->text, t->match_next);
    }
    return false;
}

bool textsearch_next(struct textsearch *t, size_t from, struct str *ret_line, size_t *ret_next) {
    size_t begin, end;
    if (!(t->invert ? next_other(t, from, &begin, &end) : next_match(t, from, &begin, &end)))
        return false;
    *ret_line = str_make(t->text.data + begin, end - begin);
    *ret_next = behind(t->text, end);
    return true;
}

uint64_t count_line_breaks(struct str text) {
    uint64_t count = 0;
    size_t i = 0;
#ifdef __SSE2__
    const __m128i breaks = _mm_set1_epi8('\n');
    for (; i + 64 <= text.size; i += 64) {
        const __m128i *p = (const __m128i *)(text.data + i);
        uint64_t hits = 0;
        for (int k = 0; k < 4; k++)
            hits |= (uint64_t)(unsigned)_mm_movemask_epi8(
                        _mm_cmpeq_epi8(_mm_loadu_si128(p + k), breaks))
                    << (16 * k);
        count += (uint64_t)__builtin_popcountll(hits);
    }
#endif
    for (; i < text.size; i++)
        count += text.data[i] == '\n';
    return count;
}

static uint64_t count_lines(struct str text) {
    return count_line_breaks(text) + (text.size > 0 && text.data[text.size - 1] != '\n');
}

uint64_t textsearch_count(struct textsearch *t, struct str text) {
    uint64_t count = 0;
    size_t begin, end;
    textsearch_begin(t, text);
    if (t->everything) {
        count = count_lines(text);
    } else {
        for (size_t from = 0; next_match(t, from, &begin, &end); from = behind(text, end))
            count++;
    }
    return t->invert ? count_lines(text) - count : count;
}

bool textsearch_match(const struct textsearch *t, struct str line, size_t from, struct str *ret) {
    return t->regex && !t->invert && from <= line.size && regex_find(t->regex, line, from, ret, 1);
}
