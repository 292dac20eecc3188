#include "linetab_token.h"

#include <errno.h>
#include <stdlib.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "bytes.h"

/* The splitter's state stays in registers only when all of it is one function. */
#define INLINE __attribute__((always_inline)) static inline

#define SHAPE_SEED UINT64_C(0x9e3779b97f4a7c15)

enum { KEY_MAX = 64 }; /* a longer name before ':' or '=' is taken for a value */

void text_marks_done(struct text_marks *m) {
    free(m->coarse);
    *m = (struct text_marks){0};
}

#ifdef __x86_64__
static inline __m128i in_range(__m128i c, int low, int high) {
    __m128i x = _mm_sub_epi8(c, _mm_set1_epi8((char)low));
    return _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8((char)(high - low))), x);
}

static inline __m128i is_byte(__m128i c, char b) {
    return _mm_cmpeq_epi8(c, _mm_set1_epi8(b));
}

/* The 16 bits of each class for 16 bytes. */
static inline void mark_16(const char *p, uint64_t ret[4]) {
    __m128i c = _mm_loadu_si128((const __m128i *)p);
    __m128i folded = _mm_or_si128(c, _mm_set1_epi8(0x20));
    __m128i quote = is_byte(c, '"'), digit = in_range(c, '0', '9');
    __m128i alpha = in_range(folded, 'a', 'z');
    __m128i coarse = _mm_or_si128(in_range(c, 0, ' '), quote);
    coarse = _mm_or_si128(coarse, in_range(c, '\'', ')'));
    coarse = _mm_or_si128(coarse, _mm_or_si128(is_byte(c, ','), in_range(c, ';', '>')));
    coarse = _mm_or_si128(coarse, in_range(folded, '{', '}'));
    __m128i word = _mm_or_si128(_mm_or_si128(digit, alpha), c); /* bit 7 of c: not ASCII */
    ret[0] = (uint64_t)(uint32_t)_mm_movemask_epi8(coarse);
    ret[1] = (uint64_t)(uint32_t)_mm_movemask_epi8(word) ^ 0xffff;
    ret[2] = (uint64_t)(uint32_t)_mm_movemask_epi8(digit);
    ret[3] = (uint64_t)(uint32_t)_mm_movemask_epi8(quote);
}
#else
static bool is_coarse(unsigned char c) {
    unsigned char folded = c | 0x20;
    return c <= ' ' || c == '"' || (c >= '\'' && c <= ')') || c == ',' || (c >= ';' && c <= '>') ||
           (folded >= '{' && folded <= '}');
}

static inline void mark_16(const char *p, uint64_t ret[4]) {
    ret[0] = ret[1] = ret[2] = ret[3] = 0;
    for (unsigned i = 0; i < 16; i++) {
        unsigned char c = (unsigned char)p[i], folded = c | 0x20;
        uint64_t bit = UINT64_C(1) << i;
        bool digit = c >= '0' && c <= '9';
        ret[0] |= is_coarse(c) ? bit : 0;
        ret[1] |= digit || (folded >= 'a' && folded <= 'z') || c >= 0x80 ? 0 : bit;
        ret[2] |= digit ? bit : 0;
        ret[3] |= c == '"' ? bit : 0;
    }
}
#endif

#ifdef __x86_64__
/* A class is a set of products of first and second hex digits of its bytes; each product has a bit in the tables of
 * both digits. */
enum {
    BIT_DIGIT = 1,    /* 3 x 0-9 */
    BIT_QUOTE = 2,    /* 2 x 2 */
    BIT_CONTROL = 4,  /* 0, 1 x all */
    BIT_MARK = 8,     /* 2 x 0 2 7 8 9 c */
    BIT_COMPARE = 16, /* 3 x b-e */
    BIT_BRACKET = 32, /* 5, 7 x b-d */
    BIT_A_TO_O = 64,  /* 4, 6 x 1-f */
    BIT_P_TO_Z = 128, /* 5, 7 x 0-a */
};

__attribute__((target("avx2"))) static inline __m256i both_lanes(const uint8_t *table) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

__attribute__((target("avx2"))) static inline uint64_t has_bits(__m256i classes, int bits) {
    __m256i none = _mm256_cmpeq_epi8(_mm256_and_si256(classes, _mm256_set1_epi8((char)bits)),
                                     _mm256_setzero_si256());
    return ~(uint32_t)_mm256_movemask_epi8(none) & UINT64_C(0xffffffff);
}

/* 64 bytes per step while whole ones are there; returns where it stopped. */
__attribute__((target("avx2"))) static size_t mark_avx2(struct text_marks *m) {
    static const uint8_t first[16] = {
        BIT_CONTROL,          BIT_CONTROL,
        BIT_QUOTE | BIT_MARK, BIT_DIGIT | BIT_COMPARE,
        BIT_A_TO_O,           BIT_BRACKET | BIT_P_TO_Z,
        BIT_A_TO_O,           BIT_BRACKET | BIT_P_TO_Z,
    };
    enum { ALPHA = BIT_A_TO_O | BIT_P_TO_Z };
    static const uint8_t second[16] = {
        BIT_CONTROL | BIT_DIGIT | BIT_MARK | BIT_P_TO_Z,
        BIT_CONTROL | BIT_DIGIT | ALPHA,
        BIT_CONTROL | BIT_DIGIT | BIT_QUOTE | BIT_MARK | ALPHA,
        BIT_CONTROL | BIT_DIGIT | ALPHA,
        BIT_CONTROL | BIT_DIGIT | ALPHA,
        BIT_CONTROL | BIT_DIGIT | ALPHA,
        BIT_CONTROL | BIT_DIGIT | ALPHA,
        BIT_CONTROL | BIT_DIGIT | BIT_MARK | ALPHA,
        BIT_CONTROL | BIT_DIGIT | BIT_MARK | ALPHA,
        BIT_CONTROL | BIT_DIGIT | BIT_MARK | ALPHA,
        BIT_CONTROL | ALPHA,
        BIT_CONTROL | BIT_COMPARE | BIT_BRACKET | BIT_A_TO_O,
        BIT_CONTROL | BIT_MARK | BIT_COMPARE | BIT_BRACKET | BIT_A_TO_O,
        BIT_CONTROL | BIT_COMPARE | BIT_BRACKET | BIT_A_TO_O,
        BIT_CONTROL | BIT_COMPARE | BIT_A_TO_O,
        BIT_CONTROL | BIT_A_TO_O,
    };
    const __m256i firsts = both_lanes(first), seconds = both_lanes(second);
    size_t at = 0;
    for (; at + 64 <= m->size; at += 64) {
        uint64_t coarse = 0, word = 0, digit = 0, quote = 0;
        for (unsigned part = 0; part < 64; part += 32) {
            __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(m->text + at + part));
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(c, 4), _mm256_set1_epi8(15));
            __m256i classes = _mm256_and_si256(
                _mm256_shuffle_epi8(firsts, high),
                _mm256_shuffle_epi8(seconds, _mm256_and_si256(c, _mm256_set1_epi8(15))));
            coarse |= has_bits(classes, BIT_CONTROL | BIT_MARK | BIT_COMPARE | BIT_BRACKET) << part;
            word |= (has_bits(classes, BIT_DIGIT | ALPHA) | (uint32_t)_mm256_movemask_epi8(c))
                    << part;
            digit |= has_bits(classes, BIT_DIGIT) << part;
            quote |= has_bits(classes, BIT_QUOTE) << part;
        }
        m->coarse[at / 64] = coarse;
        m->fine[at / 64] = ~word;
        m->digit[at / 64] = digit;
        m->quote[at / 64] = quote;
    }
    return at;
}
#endif

static void mark(struct text_marks *m) {
    size_t at = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        at = mark_avx2(m);
#endif
    for (; at < m->size; at += 64) {
        uint64_t sum[4] = {0};
        for (unsigned part = 0; part < 64 && at + part < m->size; part += 16) {
            uint64_t bits[4];
            mark_16(m->text + at + part, bits);
            for (unsigned i = 0; i < 4; i++)
                sum[i] |= bits[i] << part;
        }
        m->coarse[at / 64] = sum[0];
        m->fine[at / 64] = sum[1];
        m->digit[at / 64] = sum[2];
        m->quote[at / 64] = sum[3];
    }
}

int text_marks_load(struct text_marks *m, struct str text) {
    size_t words = text.size / 64 + 2;
    if (words > m->capacity) {
        text_marks_done(m);
        m->coarse = malloc(words * 4 * sizeof(uint64_t));
        if (!m->coarse)
            return -ENOMEM;
        m->capacity = words;
        m->fine = m->coarse + words;
        m->digit = m->fine + words;
        m->quote = m->digit + words;
    }
    m->text = text.data;
    m->size = (uint32_t)text.size;
    mark(m);
    return 0;
}

/* At least 57 bits from `from` on: most tokens end within them, wherever the words of the bitmap do. */
INLINE uint64_t bits_from(const uint64_t *marks, uint32_t from) {
    return get_le64((const char *)marks + (from >> 3)) >> (from & 7);
}

INLINE uint32_t next_bit(const uint64_t *marks, uint64_t flip, uint32_t from, uint32_t end) {
    while (from < end) {
        uint64_t bits = (get_le64((const char *)marks + (from >> 3)) ^ flip) >> (from & 7);
        if (bits) {
            uint32_t at = from + (uint32_t)__builtin_ctzll(bits);
            return at < end ? at : end;
        }
        from += 64 - (from & 7);
    }
    return end;
}

uint32_t marks_next(const uint64_t *marks, uint32_t from, uint32_t end) {
    return next_bit(marks, 0, from, end);
}

uint32_t marks_next_clear(const uint64_t *marks, uint32_t from, uint32_t end) {
    return next_bit(marks, UINT64_MAX, from, end);
}

INLINE bool any_bit(const uint64_t *marks, uint32_t from, uint32_t end) {
    for (; end - from > 57; from += 57)
        if (bits_from(marks, from) << 7)
            return true;
    return from < end && bits_from(marks, from) << (64 - (end - from)) != 0;
}

bool marks_any(const uint64_t *marks, struct piece p) {
    return any_bit(marks, p.offset, p.offset + p.size);
}

enum token_kind { TOKEN_WORD = 1, TOKEN_DIGITS = 2, TOKEN_QUOTED = 3, TOKEN_PADDING = 4 };

struct splitter {
    const struct text_marks *m;
    uint32_t gap; /* where the present gap begins */
    uint32_t count, max;
    struct piece *tokens;
    struct shape shape;
    bool
        quotes_end; /* no quoted string ends in the rest of the piece: it is not looked for again */
};

INLINE void add_token(struct splitter *s, uint32_t from, uint32_t end, enum token_kind kind) {
    const char *text = s->m->text;
    if (s->count < s->max)
        s->tokens[s->count] = (struct piece){from, end - from};
    s->count++;
    s->shape.gaps = stir_bytes(s->shape.gaps, text + s->gap, from - s->gap) + kind;
    if (kind == TOKEN_WORD)
        s->shape.words = stir_bytes(s->shape.words, text + from, end - from);
    s->gap = end;
}

INLINE enum token_kind kind_of(const struct text_marks *m, uint32_t from, uint32_t end) {
    return any_bit(m->digit, from, end) ? TOKEN_DIGITS : TOKEN_WORD;
}

/* Blanks that fill up a column are a token: how many there are says nothing of the line's make. */
INLINE void add_padding(struct splitter *s, uint32_t from, uint32_t end) {
    const char *text = s->m->text;
    if (end - from < 2 || text[end - 1] != ' ' || text[end - 2] != ' ')
        return;
    uint32_t at = end - 2;
    while (at > from && text[at - 1] == ' ')
        at--;
    add_token(s, at, end, TOKEN_PADDING);
}

INLINE void split_at(struct splitter *s, const uint64_t *marks, uint32_t at, uint32_t end) {
    for (;;) {
        uint32_t from = next_bit(marks, UINT64_MAX, at, end);
        if (from >= end)
            return;
        add_padding(s, at, from);
        at = next_bit(marks, 0, from, end);
        add_token(s, from, at, kind_of(s->m, from, at));
    }
}

/* The quote that ends the string whose first byte is at `from`, or `end`. */
static uint32_t closing_quote(const struct text_marks *m, uint32_t from, uint32_t end) {
    for (uint32_t at = from;; at++) {
        at = next_bit(m->quote, 0, at, end);
        if (at >= end)
            return end;
        uint32_t slashes = 0;
        while (at - slashes > from && m->text[at - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return at;
    }
}

static bool is_key(const struct text_marks *m, uint32_t from, uint32_t end) {
    char first = (char)(m->text[from] | 0x20);
    return end - from <= KEY_MAX && first >= 'a' && first <= 'z' && !any_bit(m->digit, from, end);
}

INLINE void split_line(struct splitter *s, uint32_t at, uint32_t end) {
    const struct text_marks *m = s->m;
    while (at < end) {
        uint32_t from = next_bit(m->coarse, UINT64_MAX, at, end);
        uint32_t quote = s->quotes_end ? from : next_bit(m->quote, 0, at, from);
        uint32_t close = quote < from ? closing_quote(m, quote + 1, end) : end;
        s->quotes_end |= quote < from && close == end;
        if (close < end) {
            bool key = close + 1 < end && m->text[close + 1] == ':' && close - quote <= KEY_MAX;
            if (!key)
                add_token(s, quote + 1, close, TOKEN_QUOTED);
            at = close + (key ? 2 : 1);
            continue;
        }
        if (from >= end)
            return;
        add_padding(s, at, from);
        at = next_bit(m->coarse, 0, from, end);
        if (at >= end || m->text[at] != '=' || !is_key(m, from, at))
            add_token(s, from, at, kind_of(m, from, at));
    }
}

uint32_t split_piece(const struct text_marks *m, enum split split, struct piece p,
                     struct piece *ret_tokens, uint32_t max, struct shape *ret_shape) {
    uint32_t end = p.offset + p.size;
    struct splitter s = {.m = m, .gap = p.offset, .max = max, .tokens = ret_tokens};
    s.shape =
        (struct shape){.gaps = SHAPE_SEED, .words = SHAPE_SEED}; /* zeros leave a zero as it is */
    if (split == SPLIT_LINE)
        split_line(&s, p.offset, end);
    else
        split_at(&s, split == SPLIT_FINE ? m->fine : m->coarse, p.offset, end);
    s.shape.gaps = stir_bytes(s.shape.gaps, m->text + s.gap, end - s.gap);
    ret_shape->gaps = s.shape.gaps;
    ret_shape->words = stir(s.shape.gaps, s.shape.words);
    return s.count <= max ? s.count : UINT32_MAX;
}
