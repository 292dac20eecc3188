/* Splitting is defined by read_token, which goes by what the bytes mean: is it a key, a string, padding? Pieces of one
 * make answer these questions alike, so the answers are kept: a path says which gap followed the tokens so far, and of
 * what kind the token behind it was. Where the same gap stands again, all that read_token would find out from it is
 * known; what is left is to find the token's end and to see that it still is of that kind. A piece that leaves all known
 * paths is read by read_token and its way is noted, up to a limit: shapes are the same with and without paths. */
#include "linetab_split.h"

#include <assert.h>

/* The splitter's state stays in registers only when all of it is one function. */
#define INLINE __attribute__((always_inline)) static inline

#define SLOW __attribute__((noinline))

#define SHAPE_SEED UINT64_C(0x9e3779b97f4a7c15) /* zeros leave a zero as it is */

enum {
    KEY_MAX = 64, /* a longer name before ':' or '=' is taken for a value */
    OTHERS_MAX =
        8, /* paths that begin at one place: where there are more, guessing costs more than reading */
};

enum token_kind {
    TOKEN_WORD,
    TOKEN_DIGITS,
    TOKEN_QUOTED,
    TOKEN_PADDING,
    TOKEN_NONE, /* the piece ends behind the gap */
};

struct path {
    uint64_t gaps;       /* the shape's hash with this gap and token */
    struct path *next;   /* the first of those that go on from here */
    struct path *other;  /* another one from where this began */
    const char *gap;     /* where the gap stood first */
    uint32_t size;       /* of the gap */
    uint16_t kind, mask; /* mask: a bit for each of the gap's first sixteen bytes */
};
static_assert(sizeof(struct path) == SPLITTER_PATH_SIZE, "what callers reserve");

void splitter_init(struct splitter *s, const struct text_marks *marks, enum split split,
                   void *memory, uint32_t max_paths) {
    *s = (struct splitter){
        .marks = marks, .split = split, .paths = memory, .n_paths = 1, .max_paths = max_paths};
    s->paths[0] = (struct path){.gaps = SHAPE_SEED};
}

/* As stir_bytes, for words: most have at most eight bytes. */
INLINE uint64_t stir_word(uint64_t h, const char *p, uint32_t size) {
    if (size > 8)
        return stir_bytes(h, p, size);
    return stir(h, (get_le64(p) << (32 - 4 * size) << (32 - 4 * size)) + size);
}

/* Where the next token is looked for. */
struct cursor {
    uint32_t gap; /* where the gap before it begins */
    uint32_t end; /* of the piece */
    bool
        quotes_end; /* no quoted string ends in the rest of the piece: it is not looked for again */
};

/* ---- reading */

/* The quote that ends the string whose first byte is at `from`, or `end`. */
static uint32_t closing_quote(const struct text_marks *m, uint32_t from, uint32_t end) {
    for (uint32_t at = from;; at++) {
        at = marks_next(m->quote, at, end);
        if (at >= end)
            return end;
        uint32_t slashes = 0;
        while (at - slashes > from && m->text[at - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return at;
    }
}

/* Are the bytes between two quotes a key of JSON? */
INLINE bool is_quoted_key(const struct text_marks *m, uint32_t from, uint32_t close, uint32_t end) {
    return close + 1 < end && m->text[close + 1] == ':' && close - from < KEY_MAX;
}

/* Is the word a key of logfmt? */
INLINE bool is_key(const struct text_marks *m, uint32_t from, uint32_t at, uint32_t end) {
    if (at >= end || m->text[at] != '=')
        return false;
    char first = (char)(m->text[from] | 0x20);
    return at - from <= KEY_MAX && first >= 'a' && first <= 'z' &&
           !marks_any(m->digit, (struct piece){from, at - from});
}

INLINE enum token_kind word_kind(const struct text_marks *m, struct piece word) {
    return marks_any(m->digit, word) ? TOKEN_DIGITS : TOKEN_WORD;
}

/* Blanks that fill up a column are a token: how many there are says nothing of the line's make. Those that end at
 * `from`, if there are two or more. */
INLINE uint32_t padding_before(const char *text, uint32_t at, uint32_t from) {
    uint32_t n = 0;
    while (from - n > at && text[from - n - 1] == ' ')
        n++;
    return n >= 2 ? n : 0;
}

INLINE const uint64_t *delimiters(const struct text_marks *m, enum split split) {
    return split == SPLIT_FINE ? m->fine : m->coarse;
}

/* The token behind the cursor's gap; TOKEN_NONE, and an empty one at the end, when there is none. `at`: where the gap's
 * bytes of this token begin, which is the gap without the quote that ended the string before. */
INLINE enum token_kind read_token(const struct text_marks *m, enum split split, struct cursor *c,
                                  uint32_t at, struct piece *ret) {
    const uint64_t *marks = delimiters(m, split);
    while (at < c->end) {
        uint32_t from = marks_next_clear(marks, at, c->end);
        if (split == SPLIT_LINE && !c->quotes_end) {
            uint32_t quote = marks_next(m->quote, at, from);
            uint32_t close = quote < from ? closing_quote(m, quote + 1, c->end) : c->end;
            c->quotes_end = quote < from && close == c->end;
            if (close < c->end && is_quoted_key(m, quote + 1, close, c->end)) {
                at = close + 2;
                continue;
            }
            if (close < c->end) {
                *ret = (struct piece){quote + 1, close - quote - 1};
                return TOKEN_QUOTED;
            }
        }
        if (from >= c->end)
            break;
        uint32_t blanks = padding_before(m->text, at, from);
        if (blanks > 0) {
            *ret = (struct piece){from - blanks, blanks};
            return TOKEN_PADDING;
        }
        at = marks_next(marks, from, c->end);
        if (split == SPLIT_LINE && is_key(m, from, at, c->end))
            continue;
        *ret = (struct piece){from, at - from};
        return word_kind(m, *ret);
    }
    *ret = (struct piece){c->end, 0};
    return TOKEN_NONE;
}

/* ---- paths */

#define NOT_AGAIN SIZE_MAX

INLINE size_t quoted_again(const struct text_marks *m, uint32_t from, uint32_t end) {
    uint32_t close = marks_next(m->quote, from, end);
    if (close > from && m->text[close - 1] == '\\')
        close = closing_quote(m, from, end);
    return close < end && !is_quoted_key(m, from, close, end) ? close : NOT_AGAIN;
}

INLINE size_t word_again(const struct text_marks *m, enum split split, bool digits, size_t from,
                         size_t end) {
    const char *delimiters_at = (const char *)delimiters(m, split) + (from >> 3);
    uint64_t delimiter = get_le64(delimiters_at) >> (from & 7);
    size_t at;
    bool any;
    if (delimiter) {
        uint64_t digit = get_le64((const char *)m->digit + (from >> 3)) >> (from & 7);
        at = from + (size_t)__builtin_ctzll(delimiter);
        any = (digit & (delimiter ^ (delimiter - 1))) != 0;
    } else {
        at = marks_next(delimiters(m, split), (uint32_t)from, (uint32_t)end);
        any = marks_any(m->digit, (struct piece){(uint32_t)from, (uint32_t)(at - from)});
    }
    /* A piece that ends within a word is none of ours: all have a delimiter behind them. It is read again. */
    if (at == from || at > end || any != digits)
        return NOT_AGAIN;
    if (split == SPLIT_LINE && !digits && is_key(m, (uint32_t)from, (uint32_t)at, (uint32_t)end))
        return NOT_AGAIN;
    return at;
}

INLINE size_t padding_again(const struct text_marks *m, enum split split, size_t from, size_t end) {
    size_t at = from;
    while (at < end && m->text[at] == ' ')
        at++;
    return at - from >= 2 && at < end && !marks_at(delimiters(m, split), (uint32_t)at) ? at
                                                                                       : NOT_AGAIN;
}

/* Most gaps are short: a comparison of as many bytes as the path's mask has bits. */
INLINE bool same_gap(const char *text, const struct path *path) {
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)text);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)path->gap);
    if (~_mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) & path->mask)
        return false;
    return path->size <= 16 || same_bytes(text + 16, path->gap + 16, path->size - 16);
#else
    return same_bytes(text, path->gap, path->size);
#endif
}

/* Where the path's token ends, if the piece goes on along the path from `gap`. */
INLINE size_t token_again(const struct text_marks *m, enum split split, const struct path *path,
                          size_t gap, size_t end) {
    size_t from = gap + path->size;
    if (from > end || !same_gap(m->text + gap, path))
        return NOT_AGAIN;
    if (path->kind <= TOKEN_DIGITS)
        return word_again(m, split, path->kind == TOKEN_DIGITS, from, end);
    if (path->kind == TOKEN_QUOTED)
        return quoted_again(m, (uint32_t)from, (uint32_t)end);
    if (path->kind == TOKEN_PADDING)
        return padding_again(m, split, from, end);
    return from == end ? end : NOT_AGAIN;
}

/* The path of a gap and a token behind those that led to `from`: it may be there, as a token with an escape is read
 * again. NULL: it is not, and there are too many. */
static struct path *note_path(struct splitter *s, struct path *from, struct piece gap,
                              enum token_kind kind, uint64_t gaps) {
    const char *text = s->marks->text + gap.offset;
    struct path **to = &from->next;
    for (unsigned others = 0; *to; to = &(*to)->other) {
        const struct path *p = *to;
        if (p->kind == kind && p->size == gap.size && same_bytes(p->gap, text, gap.size))
            return *to;
        if (++others == OTHERS_MAX)
            return NULL;
    }
    if (s->n_paths == s->max_paths)
        return NULL;
    *to = &s->paths[s->n_paths++];
    **to = (struct path){
        .gaps = gaps,
        .gap = text,
        .size = gap.size,
        .kind = (uint16_t)kind,
        .mask = (uint16_t)(gap.size < 16 ? (1u << gap.size) - 1 : 0xffff),
    };
    return *to;
}

static uint64_t add_gap(const struct text_marks *m, uint64_t gaps, uint32_t gap, struct piece token,
                        enum token_kind kind) {
    return stir_bytes(gaps, m->text + gap, token.offset - gap) + kind;
}

struct step {
    struct path *path; /* NULL: it cannot be noted */
    struct piece token;
};

/* The path from here, read and noted. */
static SLOW struct step read_path(struct splitter *s, enum split split, struct path *from,
                                  uint32_t gap, uint32_t end) {
    struct cursor c = {.gap = gap, .end = end};
    struct step step = {0};
    enum token_kind kind =
        read_token(s->marks, split, &c, gap + (from->kind == TOKEN_QUOTED), &step.token);
    if (!c.quotes_end)
        step.path = note_path(s, from, (struct piece){gap, step.token.offset - gap}, kind,
                              add_gap(s->marks, from->gaps, gap, step.token, kind));
    return step;
}

/* A piece on its way: what of it is behind us. */
struct way {
    uint32_t gap, end;
    const struct path *path; /* that led here */
    uint32_t count;          /* tokens */
    uint64_t words;          /* hash of them */
};

/* The rest of a piece that left all paths. */
static SLOW uint32_t split_rest(const struct splitter *s, enum split split, const struct way *way,
                                struct piece *ret_tokens, uint32_t max, struct shape *ret_shape) {
    const struct text_marks *m = s->marks;
    struct cursor c = {.gap = way->gap, .end = way->end};
    uint64_t gaps = way->path->gaps, words = way->words;
    uint32_t count = way->count, at = way->gap + (way->path->kind == TOKEN_QUOTED);
    for (;;) {
        struct piece token;
        enum token_kind kind = read_token(m, split, &c, at, &token);
        gaps = add_gap(m, gaps, c.gap, token, kind);
        if (kind == TOKEN_NONE)
            break;
        if (kind == TOKEN_WORD)
            words = stir_word(words, m->text + token.offset, token.size);
        if (count < max)
            ret_tokens[count] = token;
        count++;
        c.gap = token.offset + token.size;
        at = c.gap + (kind == TOKEN_QUOTED);
    }
    *ret_shape = (struct shape){.gaps = gaps, .words = stir(gaps, words)};
    return count <= max ? count : UINT32_MAX;
}

/* What the loop has in hand stays in registers: nothing of it is pointed to. */
INLINE uint32_t split_along(struct splitter *s, enum split split, struct piece p,
                            struct piece *ret_tokens, uint32_t max, struct shape *ret_shape) {
    const struct text_marks m = *s->marks;
    struct piece *token = ret_tokens, *const tokens_end = ret_tokens + max;
    size_t gap = p.offset, end = p.offset + p.size;
    uint64_t words = SHAPE_SEED;
    struct path *path = s->paths;
    for (;;) {
        struct path *next = path->next;
        size_t from = 0, to = NOT_AGAIN;
        for (; next; next = next->other) {
            from = gap + next->size;
            to = token_again(&m, split, next, gap, end);
            if (to != NOT_AGAIN)
                break;
        }
        if (!next) {
            struct step step = read_path(s, split, path, (uint32_t)gap, (uint32_t)end);
            next = step.path;
            from = step.token.offset;
            to = from + step.token.size;
        }
        if (!next || token == tokens_end) {
            struct way way = {(uint32_t)gap, (uint32_t)end, path, (uint32_t)(token - ret_tokens),
                              words};
            return split_rest(s, split, &way, ret_tokens, max, ret_shape);
        }
        path = next;
        if (path->kind == TOKEN_NONE)
            break;
        if (path->kind == TOKEN_WORD)
            words = stir_word(words, m.text + from, (uint32_t)(to - from));
        *token++ = (struct piece){(uint32_t)from, (uint32_t)(to - from)};
        gap = to;
    }
    *ret_shape = (struct shape){.gaps = path->gaps, .words = stir(path->gaps, words)};
    return (uint32_t)(token - ret_tokens);
}

uint32_t split_piece(struct splitter *s, struct piece p, struct piece *ret_tokens, uint32_t max,
                     struct shape *ret_shape) {
    switch (s->split) {
    case SPLIT_LINE:
        return split_along(s, SPLIT_LINE, p, ret_tokens, max, ret_shape);
    case SPLIT_COARSE:
        return split_along(s, SPLIT_COARSE, p, ret_tokens, max, ret_shape);
    case SPLIT_FINE:
        break;
    }
    return split_along(s, SPLIT_FINE, p, ret_tokens, max, ret_shape);
}
