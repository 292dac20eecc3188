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
    TOKEN_NONE, /* the piece ends behind the gap */
    TOKEN_WORD,
    TOKEN_DIGITS,
    TOKEN_QUOTED,
    TOKEN_PADDING
};

struct path {
    uint64_t gaps;        /* the shape's hash with this gap and token */
    uint32_t gap, size;   /* where the gap stood first */
    uint32_t next, other; /* the first path from here; another from where this one began; 0: none */
    uint32_t kind;
};
static_assert(sizeof(struct path) == SPLITTER_PATH_SIZE, "what callers reserve");

void splitter_init(struct splitter *s, const struct text_marks *marks, enum split split,
                   void *memory, uint32_t max_paths) {
    *s = (struct splitter){
        .marks = marks, .split = split, .paths = memory, .n_paths = 1, .max_paths = max_paths};
    s->paths[0] = (struct path){.gaps = SHAPE_SEED};
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

INLINE bool quoted_again(const struct text_marks *m, uint32_t from, uint32_t end,
                         struct piece *ret) {
    uint32_t close = marks_next(m->quote, from, end);
    if (close > from && m->text[close - 1] == '\\')
        close = closing_quote(m, from, end);
    *ret = (struct piece){from, close - from};
    return close < end && !is_quoted_key(m, from, close, end);
}

INLINE bool word_again(const struct text_marks *m, enum split split, bool digits, uint32_t from,
                       uint32_t end, struct piece *ret) {
    uint32_t at = marks_next(delimiters(m, split), from, end);
    *ret = (struct piece){from, at - from};
    return at > from && marks_any(m->digit, *ret) == digits &&
           !(split == SPLIT_LINE && !digits && is_key(m, from, at, end));
}

INLINE bool padding_again(const struct text_marks *m, enum split split, uint32_t from, uint32_t end,
                          struct piece *ret) {
    uint32_t at = from;
    while (at < end && m->text[at] == ' ')
        at++;
    *ret = (struct piece){from, at - from};
    return at - from >= 2 && at < end && !marks_at(delimiters(m, split), at);
}

/* Does the piece go on along the path? `gap`: where it is. */
INLINE bool goes_again(const struct text_marks *m, enum split split, const struct path *path,
                       uint32_t gap, uint32_t end, struct piece *ret) {
    uint32_t from = gap + path->size;
    if (from > end || !same_bytes(m->text + gap, m->text + path->gap, path->size))
        return false;
    switch (path->kind) {
    case TOKEN_WORD:
    case TOKEN_DIGITS:
        return word_again(m, split, path->kind == TOKEN_DIGITS, from, end, ret);
    case TOKEN_QUOTED:
        return quoted_again(m, from, end, ret);
    case TOKEN_PADDING:
        return padding_again(m, split, from, end, ret);
    default:
        *ret = (struct piece){from, 0};
        return from == end;
    }
}

/* The path of a gap and a token behind those that led to `from`: it may be there, as a token with an escape is read
 * again. 0: it is not, and there are too many. */
static uint32_t note_path(struct splitter *s, uint32_t from, struct piece gap, enum token_kind kind,
                          uint64_t gaps) {
    const char *text = s->marks->text;
    uint32_t *to = &s->paths[from].next;
    for (unsigned others = 0; *to; to = &s->paths[*to].other) {
        const struct path *p = &s->paths[*to];
        if (p->kind == kind && p->size == gap.size &&
            same_bytes(text + p->gap, text + gap.offset, gap.size))
            return *to;
        if (++others == OTHERS_MAX)
            return 0;
    }
    if (s->n_paths == s->max_paths)
        return 0;
    *to = s->n_paths;
    s->paths[s->n_paths] =
        (struct path){.gaps = gaps, .gap = gap.offset, .size = gap.size, .kind = kind};
    return s->n_paths++;
}

/* A piece on its way: what of it is behind us. */
struct way {
    uint32_t gap, end;
    uint32_t path;  /* that led here */
    uint32_t count; /* tokens */
    uint64_t words; /* hash of them */
};

static uint64_t add_gap(const struct text_marks *m, uint64_t gaps, uint32_t gap, struct piece token,
                        enum token_kind kind) {
    return stir_bytes(gaps, m->text + gap, token.offset - gap) + kind;
}

struct step {
    uint32_t path; /* 0: it cannot be noted */
    struct piece token;
};

/* The path from here, read and noted. */
static SLOW struct step read_path(struct splitter *s, enum split split, uint32_t from, uint32_t gap,
                                  uint32_t end) {
    const struct path *path = &s->paths[from];
    struct cursor c = {.gap = gap, .end = end};
    struct step step = {0};
    enum token_kind kind =
        read_token(s->marks, split, &c, gap + (path->kind == TOKEN_QUOTED), &step.token);
    if (!c.quotes_end)
        step.path = note_path(s, from, (struct piece){gap, step.token.offset - gap}, kind,
                              add_gap(s->marks, path->gaps, gap, step.token, kind));
    return step;
}

/* The rest of a piece that left all paths. */
static SLOW uint32_t split_rest(const struct splitter *s, enum split split, const struct way *way,
                                struct piece *ret_tokens, uint32_t max, struct shape *ret_shape) {
    const struct text_marks *m = s->marks;
    struct cursor c = {.gap = way->gap, .end = way->end};
    uint64_t gaps = s->paths[way->path].gaps;
    uint64_t words = way->words;
    uint32_t count = way->count, at = way->gap + (s->paths[way->path].kind == TOKEN_QUOTED);
    for (;;) {
        struct piece token;
        enum token_kind kind = read_token(m, split, &c, at, &token);
        gaps = add_gap(m, gaps, c.gap, token, kind);
        if (kind == TOKEN_NONE)
            break;
        if (kind == TOKEN_WORD)
            words = stir_bytes(words, m->text + token.offset, token.size);
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
    const struct path *paths = s->paths;
    uint32_t gap = p.offset, end = p.offset + p.size, path = 0, count = 0;
    uint64_t words = SHAPE_SEED;
    for (;;) {
        struct piece token = {0};
        uint32_t next = paths[path].next;
        while (next > 0 && !goes_again(&m, split, &paths[next], gap, end, &token))
            next = paths[next].other;
        if (next == 0) {
            struct step step = read_path(s, split, path, gap, end);
            next = step.path;
            token = step.token;
        }
        if (next == 0 || count >= max) {
            struct way way = {gap, end, path, count, words};
            return split_rest(s, split, &way, ret_tokens, max, ret_shape);
        }
        path = next;
        if (paths[next].kind == TOKEN_NONE)
            break;
        if (paths[next].kind == TOKEN_WORD)
            words = stir_bytes(words, m.text + token.offset, token.size);
        ret_tokens[count++] = token;
        gap = token.offset + token.size;
    }
    uint64_t gaps = paths[path].gaps;
    *ret_shape = (struct shape){.gaps = gaps, .words = stir(gaps, words)};
    return count;
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
