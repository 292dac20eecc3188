/* Folding also makes digits of the control bytes 0x10-0x19; needle and text do it, so it is harmless. '\n' would fold to '*'
 * and is therefore looked for in the bytes as they are.
 *
 * Each step of hashing writes as many places as it has lanes; those behind the end of the span are written over by the
 * next one. So no choice depends on how long a span is, as long as it is one step: spans of sixteen places and fewer, which
 * nearly all are, take the same way. */
#include "gram_places.h"

#include <assert.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    GRAM_MAX = 5,                            /* bytes of the longer gram */
    LONG_STEP = 48,                          /* places */
    LONG_LOAD = 64,                          /* bytes that one reads */
    STEPS_MAX = GRAM_PLACES_MAX - LONG_STEP, /* with no more places there is room for any step */
};

enum gram_width gram_width_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("popcnt"))
        return GRAM_ONE;
    bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") &&
                __builtin_cpu_supports("avx512vpopcntdq");
    return wide ? GRAM_SIXTEEN : GRAM_EIGHT;
#else
    return GRAM_ONE;
#endif
}

/* The places of the grams that begin in [at, stop) of a line that ends at `line_end`, while there is room; where it is used
 * up, or `stop`. */
static uint32_t line_places(const char *text, uint32_t at, uint32_t stop, uint32_t line_end,
                            uint32_t *ret, uint32_t *n) {
    uint32_t count = *n;
    for (; at < stop && count <= STEPS_MAX; at++) {
        uint32_t left = line_end - at, four;
        if (left < 4) {
            at = stop;
            break;
        }
        four = get_le32(text + at) | 0x20202020u;
        if (!gram_has_digit(four))
            ret[count++] = gram_hash(four, 0);
        else if (left > 4)
            ret[count++] = gram_hash(four, GRAM_FIFTH | (uint8_t)text[at + 4] | GRAM_FOLD);
    }
    *n = count;
    return at;
}

/* The rest of a span, one place after the other. False: there is no room for it, and it goes on at s->at. */
static bool end_span(struct gram_source *s, const struct gram_span *span, uint32_t at,
                     uint32_t *ret, uint32_t *n) {
    const char *text = s->text.data;
    size_t end = span->end + (size_t)GRAM_MAX - 1; /* where the last gram ends */
    end = end < s->text.size ? end : s->text.size;
    while (at < span->end && *n <= STEPS_MAX) {
        const char *newline = memchr(text + at, '\n', end - at);
        uint32_t line_end = (uint32_t)(newline ? (size_t)(newline - text) : end);
        uint32_t stop = line_end < span->end ? line_end : span->end;
        at = line_places(text, at, stop, line_end, ret, n);
        at += at == line_end;
    }
    s->at = at < span->end ? at : 0;
    return at >= span->end;
}

#if defined(__x86_64__)
/* Bytes 0..11 of a 16-byte load as eight overlapping grams: lane k holds bytes k..k+3, or byte k+4. */
#define LANE4(k) (k), (k) + 1, (k) + 2, (k) + 3
#define LANE5(k) (k) + 4, -1, -1, -1

/* Eight places from p on, where sixteen bytes can be read. */
__attribute__((target("avx2"), always_inline)) static inline void places_eight(const char *p,
                                                                               uint32_t *ret) {
    const __m256i first_four = _mm256_setr_epi8(LANE4(0), LANE4(1), LANE4(2), LANE4(3), LANE4(4),
                                                LANE4(5), LANE4(6), LANE4(7));
    const __m256i fifth_only = _mm256_setr_epi8(LANE5(0), LANE5(1), LANE5(2), LANE5(3), LANE5(4),
                                                LANE5(5), LANE5(6), LANE5(7));
    const __m256i zero = _mm256_setzero_si256();
    __m128i half;
    memcpy(&half, p, sizeof(half));
    __m256i raw = _mm256_broadcastsi128_si256(half);
    __m256i folded = _mm256_or_si256(raw, _mm256_set1_epi8(GRAM_FOLD));
    __m256i newline = _mm256_cmpeq_epi8(raw, _mm256_set1_epi8('\n'));
    __m256i from_zero = _mm256_sub_epi8(folded, _mm256_set1_epi8('0'));
    __m256i digit = _mm256_cmpeq_epi8(_mm256_min_epu8(from_zero, _mm256_set1_epi8(9)), from_zero);

    __m256i four = _mm256_shuffle_epi8(folded, first_four);
    __m256i fifth = _mm256_shuffle_epi8(folded, fifth_only);
    __m256i plain = _mm256_cmpeq_epi32(_mm256_shuffle_epi8(digit, first_four), zero);
    __m256i bad =
        _mm256_or_si256(_mm256_shuffle_epi8(newline, first_four),
                        _mm256_andnot_si256(plain, _mm256_shuffle_epi8(newline, fifth_only)));
    __m256i good = _mm256_cmpeq_epi32(bad, zero);
    fifth = _mm256_andnot_si256(plain, _mm256_or_si256(fifth, _mm256_set1_epi32(GRAM_FIFTH)));

    __m256i h = _mm256_mullo_epi32(four, _mm256_set1_epi32((int)GRAM_MULTIPLY_1));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 15));
    h = _mm256_add_epi32(h, fifth);
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32((int)GRAM_MULTIPLY_2));
    h = _mm256_srli_epi32(h, 32 - GRAM_HASH_BITS);
    h = _mm256_blendv_epi8(_mm256_set1_epi32(GRAM_NO_PLACE), h, good);
    memcpy(ret, &h, sizeof(h));
}

#define WIDE "avx512f,avx512bw,avx512vbmi"
/* Of lane k, the last one first. */
#define FIRST_OF(k) 0x03020100 + (15 - (k)) * 0x01010101
#define FIFTH_OF(k) 4 + 15 - (k)
#define LANES(of)                                                                                  \
    of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7), of(8), of(9), of(10), of(11), of(12),  \
        of(13), of(14), of(15)

/* The same for sixteen, where 32 bytes can be read: a byte goes to any lane at once. */
__attribute__((target(WIDE), always_inline)) static inline void places_sixteen(const char *p,
                                                                               uint32_t *ret) {
    const __m512i first_four = _mm512_set_epi32(LANES(FIRST_OF));
    const __m512i fifth_only = _mm512_set_epi32(LANES(FIFTH_OF));
    const __mmask64 lowest = 0x1111111111111111u; /* byte of each lane */
    __m512i raw = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p));
    __m512i folded = _mm512_or_si512(raw, _mm512_set1_epi8(GRAM_FOLD));
    __m512i from_zero = _mm512_sub_epi8(folded, _mm512_set1_epi8('0'));
    __m512i digit = _mm512_movm_epi8(_mm512_cmplt_epu8_mask(from_zero, _mm512_set1_epi8(10)));
    __m512i newline = _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(raw, _mm512_set1_epi8('\n')));

    __m512i four = _mm512_permutexvar_epi8(first_four, folded);
    __m512i fifth = _mm512_maskz_permutexvar_epi8(lowest, fifth_only, folded);
    digit = _mm512_permutexvar_epi8(first_four, digit);
    __mmask16 is_long = _mm512_test_epi32_mask(digit, digit);
    __m512i bad = _mm512_permutexvar_epi8(first_four, newline);
    newline = _mm512_maskz_permutexvar_epi8(lowest, fifth_only, newline);
    bad = _mm512_mask_or_epi32(bad, is_long, bad, newline);
    __mmask16 good = _mm512_testn_epi32_mask(bad, bad);
    fifth = _mm512_maskz_or_epi32(is_long, fifth, _mm512_set1_epi32(GRAM_FIFTH));

    __m512i h = _mm512_mullo_epi32(four, _mm512_set1_epi32((int)GRAM_MULTIPLY_1));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
    h = _mm512_add_epi32(h, fifth);
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32((int)GRAM_MULTIPLY_2));
    h = _mm512_mask_srli_epi32(_mm512_set1_epi32(GRAM_NO_PLACE), good, h, 32 - GRAM_HASH_BITS);
    _mm512_storeu_si512(ret, h);
}

/* The bits of a mask from which on one of four is set. */
static inline uint64_t any_of_four(uint64_t mask) {
    mask |= mask >> 1;
    return mask | mask >> 2;
}

/* 48 positions at p, of which 64 bytes are read: what holds a digit or a '\n' is told from masks of all bytes at once. */
__attribute__((target(WIDE), always_inline)) static inline void places_long(const char *p,
                                                                            uint32_t *ret) {
    const __m512i neighbours =
        _mm512_set_epi32(0x1211100f, 0x11100f0e, 0x100f0e0d, 0x0f0e0d0c, 0x0e0d0c0b, 0x0d0c0b0a,
                         0x0c0b0a09, 0x0b0a0908, 0x0a090807, 0x09080706, 0x08070605, 0x07060504,
                         0x06050403, 0x05040302, 0x04030201, 0x03020100);
    __m512i raw = _mm512_loadu_si512(p);
    __m512i folded = _mm512_or_si512(raw, _mm512_set1_epi8(GRAM_FOLD));
    uint64_t newline = _mm512_cmpeq_epi8_mask(raw, _mm512_set1_epi8('\n'));
    uint64_t is_long = any_of_four(_mm512_cmplt_epu8_mask(
        _mm512_sub_epi8(folded, _mm512_set1_epi8('0')), _mm512_set1_epi8(10)));
    uint64_t bad = any_of_four(newline) | (is_long & newline >> 4);
    for (unsigned at = 0; at < LONG_STEP; at += 16) {
        __m512i from = _mm512_add_epi8(neighbours, _mm512_set1_epi8((char)at));
        __m512i four = _mm512_permutexvar_epi8(from, folded);
        __m128i next;
        memcpy(&next, p + at + 4, sizeof(next));
        __m512i fifth =
            _mm512_maskz_or_epi32((__mmask16)(is_long >> at), _mm512_cvtepu8_epi32(next),
                                  _mm512_set1_epi32(GRAM_FIFTH | GRAM_FOLD));
        __m512i h = _mm512_mullo_epi32(four, _mm512_set1_epi32((int)GRAM_MULTIPLY_1));
        h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
        h = _mm512_mullo_epi32(_mm512_add_epi32(h, fifth), _mm512_set1_epi32((int)GRAM_MULTIPLY_2));
        h = _mm512_mask_mov_epi32(_mm512_srli_epi32(h, 32 - GRAM_HASH_BITS), (__mmask16)(bad >> at),
                                  _mm512_set1_epi32(GRAM_NO_PLACE));
        _mm512_storeu_si512(ret + at, h);
    }
}

/* The places of spans in steps while there is room. Where a step would read past the text, and where there is no room for
 * one, end_span goes on. */
__attribute__((target("avx2"))) static uint32_t spans_eight(struct gram_source *s, uint32_t *ret) {
    const struct gram_span *span = s->spans + s->next, *spans_end = s->spans + s->n_spans;
    const struct str text = s->text;
    uint32_t n = 0, from = s->at;
    for (; span < spans_end; span++, from = 0) {
        uint32_t at = from > span->from ? from : span->from, end = span->end;
        for (; at < end && n <= STEPS_MAX && at + (size_t)16 <= text.size; at += 8) {
            places_eight(text.data + at, ret + n);
            n += end - at < 8 ? end - at : 8;
        }
        if (at < end && !end_span(s, span, at, ret, &n))
            break;
    }
    s->next = (uint32_t)(span - s->spans);
    return n;
}

__attribute__((target(WIDE))) static uint32_t spans_sixteen(struct gram_source *s, uint32_t *ret) {
    const struct gram_span *span = s->spans + s->next, *spans_end = s->spans + s->n_spans;
    const struct str text = s->text;
    uint32_t n = 0, from = s->at;
    for (; span < spans_end; span++, from = 0) {
        uint32_t at = from > span->from ? from : span->from, end = span->end;
        for (;
             at + (size_t)LONG_STEP <= end && n <= STEPS_MAX && at + (size_t)LONG_LOAD <= text.size;
             at += LONG_STEP, n += LONG_STEP)
            places_long(text.data + at, ret + n);
        for (; at < end && n <= STEPS_MAX && at + (size_t)32 <= text.size; at += 16) {
            places_sixteen(text.data + at, ret + n);
            n += end - at < 16 ? end - at : 16;
        }
        if (at < end && !end_span(s, span, at, ret, &n))
            break;
    }
    s->next = (uint32_t)(span - s->spans);
    return n;
}
#endif

static uint32_t spans_one(struct gram_source *s, uint32_t *ret) {
    uint32_t n = 0;
    for (; s->next < s->n_spans; s->next++) {
        const struct gram_span *span = &s->spans[s->next];
        if (!end_span(s, span, s->at > span->from ? s->at : span->from, ret, &n))
            break;
    }
    return n;
}

uint32_t gram_places(struct gram_source *s, enum gram_width width,
                     uint32_t ret[static GRAM_PLACES_MAX]) {
#if defined(__x86_64__)
    if (width == GRAM_SIXTEEN)
        return spans_sixteen(s, ret);
    if (width == GRAM_EIGHT)
        return spans_eight(s, ret);
#endif
    (void)width;
    return spans_one(s, ret);
}
