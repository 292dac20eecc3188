/* linetab_digits: numbers as text, the inner loops of the decoder of tables. */
#pragma once

#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define EIGHT_ZEROS UINT64_C(0x3030303030303030) /* as text */

/* Eight decimal digits of a number below 10^8, the first in the lowest byte, as values 0..9. */
static inline uint64_t eight_digits(uint32_t number) {
    uint64_t high = number / 10000, low = number % 10000;
    uint64_t halves = high | low << 32;
    uint64_t hundreds = (halves * 10486 >> 20) & 0x0000007f0000007fu;
    uint64_t pairs = (halves - 100 * hundreds) << 16 | hundreds;
    uint64_t tens = (pairs * 103 >> 10) & 0x000f000f000f000fu;
    return (pairs - 10 * tens) << 8 | tens;
}

#ifdef __SSE2__
/* The digits of eight bytes, `halves` being four bits each. */
static inline __m128i hex_digits(__m128i halves, int letter) {
    __m128i above = _mm_and_si128(_mm_cmpgt_epi8(halves, _mm_set1_epi8(9)),
                                  _mm_set1_epi8((char)(letter - '0' - 10)));
    return _mm_add_epi8(_mm_add_epi8(halves, _mm_set1_epi8('0')), above);
}

/* 32 digits of 16 bytes. */
static inline void hex_16(const uint8_t *p, int letter, char *out) {
    __m128i x = _mm_loadu_si128((const __m128i *)p);
    __m128i high = _mm_and_si128(_mm_srli_epi16(x, 4), _mm_set1_epi8(15));
    __m128i low = _mm_and_si128(x, _mm_set1_epi8(15));
    _mm_storeu_si128((__m128i *)(void *)out, hex_digits(_mm_unpacklo_epi8(high, low), letter));
    _mm_storeu_si128((__m128i *)(void *)(out + 16),
                     hex_digits(_mm_unpackhi_epi8(high, low), letter));
}
#else
static inline void hex_16(const uint8_t *p, int letter, char *out) {
    for (unsigned i = 0; i < 16; i++) {
        unsigned high = p[i] >> 4, low = p[i] & 15;
        out[2 * i] = (char)(high < 10 ? '0' + high : (unsigned)letter + high - 10);
        out[2 * i + 1] = (char)(low < 10 ? '0' + low : (unsigned)letter + low - 10);
    }
}
#endif
