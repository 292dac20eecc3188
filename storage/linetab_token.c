#include "linetab_token.h"

#include <errno.h>
#include <stdlib.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "bytes.h"

/* Nobody has looked at the text since it came, and what fetches ahead by itself stops at the end of a page. */
enum { AHEAD = 4096 };

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
    ALPHA = BIT_A_TO_O | BIT_P_TO_Z,
    COARSE = BIT_CONTROL | BIT_MARK | BIT_COMPARE | BIT_BRACKET,
};

static const uint8_t class_first[16] = {
    BIT_CONTROL,          BIT_CONTROL,
    BIT_QUOTE | BIT_MARK, BIT_DIGIT | BIT_COMPARE,
    BIT_A_TO_O,           BIT_BRACKET | BIT_P_TO_Z,
    BIT_A_TO_O,           BIT_BRACKET | BIT_P_TO_Z,
};
static const uint8_t class_second[16] = {
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
    const __m256i firsts = both_lanes(class_first), seconds = both_lanes(class_second);
    size_t at = 0;
    for (; at + 64 <= m->size; at += 64) {
        uint64_t coarse = 0, word = 0, digit = 0, quote = 0;
        _mm_prefetch(m->text + at + AHEAD, _MM_HINT_T0);
        for (unsigned part = 0; part < 64; part += 32) {
            __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(m->text + at + part));
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(c, 4), _mm256_set1_epi8(15));
            __m256i classes = _mm256_and_si256(
                _mm256_shuffle_epi8(firsts, high),
                _mm256_shuffle_epi8(seconds, _mm256_and_si256(c, _mm256_set1_epi8(15))));
            coarse |= has_bits(classes, COARSE) << part;
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

/* The same at once. */
__attribute__((target("avx512f,avx512bw"))) static size_t mark_avx512(struct text_marks *m) {
    const __m512i firsts =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)class_first));
    const __m512i seconds =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)class_second));
    const __m512i low = _mm512_set1_epi8(15);
    size_t at = 0;
    for (; at + 64 <= m->size; at += 64) {
        _mm_prefetch(m->text + at + AHEAD, _MM_HINT_T0);
        __m512i c = _mm512_loadu_si512(m->text + at);
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(c, 4), low);
        __m512i classes = _mm512_and_si512(_mm512_shuffle_epi8(firsts, high),
                                           _mm512_shuffle_epi8(seconds, _mm512_and_si512(c, low)));
        m->coarse[at / 64] = _mm512_test_epi8_mask(classes, _mm512_set1_epi8((char)COARSE));
        m->fine[at / 64] =
            ~(_mm512_test_epi8_mask(classes, _mm512_set1_epi8((char)(BIT_DIGIT | ALPHA))) |
              _mm512_movepi8_mask(c));
        m->digit[at / 64] = _mm512_test_epi8_mask(classes, _mm512_set1_epi8(BIT_DIGIT));
        m->quote[at / 64] = _mm512_test_epi8_mask(classes, _mm512_set1_epi8(BIT_QUOTE));
    }
    return at;
}
#endif

static void mark(struct text_marks *m) {
    size_t at = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512bw"))
        at = mark_avx512(m);
    else if (__builtin_cpu_supports("avx2"))
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
