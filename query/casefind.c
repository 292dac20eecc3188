#include "casefind.h"

#include <stdbool.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline unsigned char lower(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

static bool equal_folded(const char *at, struct str needle) {
    for (size_t i = 0; i < needle.size; i++)
        if (lower(at[i]) != lower(needle.data[i]))
            return false;
    return true;
}

static const char *find_bytewise(const char *at, const char *last, struct str needle) {
    unsigned char first = lower(needle.data[0]);
    for (; at <= last; at++)
        if (lower(*at) == first && equal_folded(at, needle))
            return at;
    return NULL;
}

#ifdef __SSE2__
static inline unsigned char upper(unsigned char lowered) {
    return lowered >= 'a' && lowered <= 'z' ? (unsigned char)(lowered & ~0x20) : lowered;
}

/* Places among 16 from `at` on where the byte is `a` or `b`. */
static inline unsigned match16(const char *at, __m128i a, __m128i b) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)at);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(bytes, a), _mm_cmpeq_epi8(bytes, b));
    return (unsigned)_mm_movemask_epi8(hit);
}
#endif

const char *casefind(struct str haystack, struct str needle) {
    if (needle.size == 0)
        return haystack.data ? haystack.data : "";
    if (haystack.size < needle.size)
        return NULL;
    const char *at = haystack.data;
    const char *last = haystack.data + (haystack.size - needle.size); /* last possible place */
#ifdef __SSE2__
    unsigned char f = lower(needle.data[0]), l = lower(needle.data[needle.size - 1]);
    __m128i first_low = _mm_set1_epi8((char)f), first_up = _mm_set1_epi8((char)upper(f));
    __m128i last_low = _mm_set1_epi8((char)l), last_up = _mm_set1_epi8((char)upper(l));
    /* 16 bytes are read at `at` and at `at` plus the needle: both stay inside while at + 15 <= last. */
    for (; last - at >= 15; at += 16) {
        unsigned hits = match16(at, first_low, first_up);
        if (!hits)
            continue;
        hits &= match16(at + needle.size - 1, last_low, last_up);
        for (; hits; hits &= hits - 1) {
            const char *place = at + __builtin_ctz(hits);
            if (equal_folded(place, needle))
                return place;
        }
    }
#endif
    return find_bytewise(at, last, needle);
}
