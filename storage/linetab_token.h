/* linetab_token: which bytes of a text delimit tokens. One pass over the text marks four classes of bytes in bitmaps;
 * what looks for the ends of tokens then goes from bit to bit. Part of the linetab encoder. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "bytes.h"
#include "str.h"

/* A place in the text. */
struct piece {
    uint32_t offset, size;
};

enum { TEXT_SLACK = 16 }; /* readable bytes behind the text */

struct text_marks {
    const char *text;
    uint32_t size;
    uint64_t *coarse, *fine, *digit, *quote; /* delimiters, delimiters, digits, '"' */
    size_t capacity;                         /* words of each bitmap */
};

/* Marks `text`, which has TEXT_SLACK readable bytes behind it. 0 or -ENOMEM. */
int text_marks_load(struct text_marks *m, struct str text);
void text_marks_done(struct text_marks *m);

/* At least 57 bits from `from` on: most tokens end within them, wherever the words of the bitmap do. */
static inline uint64_t marks_from(const uint64_t *marks, uint32_t from) {
    return get_le64((const char *)marks + (from >> 3)) >> (from & 7);
}

/* The first place in [from, end) whose bit differs from that of `flip` (0 or UINT64_MAX), or `end`. */
static inline uint32_t marks_find(const uint64_t *marks, uint64_t flip, uint32_t from,
                                  uint32_t end) {
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

/* The first place in [from, end) with the bit set (clear), or `end`. */
static inline uint32_t marks_next(const uint64_t *marks, uint32_t from, uint32_t end) {
    return marks_find(marks, 0, from, end);
}

static inline uint32_t marks_next_clear(const uint64_t *marks, uint32_t from, uint32_t end) {
    return marks_find(marks, UINT64_MAX, from, end);
}

static inline bool marks_at(const uint64_t *marks, uint32_t at) {
    return marks[at / 64] >> (at & 63) & 1;
}

/* Is there a byte of the bitmap's class in the piece? */
static inline bool marks_any(const uint64_t *marks, struct piece p) {
    uint32_t from = p.offset, end = p.offset + p.size;
    for (; end - from > 57; from += 57)
        if (marks_from(marks, from) << 7)
            return true;
    return from < end && marks_from(marks, from) << (64 - (end - from)) != 0;
}

/* Are `size` bytes the same? Sixteen more can be read at both. */
static inline bool same_bytes(const char *a, const char *b, uint32_t size) {
#ifdef __SSE2__
    for (;; size -= 16, a += 16, b += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
        __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
        uint32_t differ = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) ^ 0xffff;
        if (size <= 16)
            return (differ & ((1u << size) - 1)) == 0;
        if (differ != 0)
            return false;
    }
#else
    for (; size > 8; size -= 8, a += 8, b += 8)
        if (get_le64(a) != get_le64(b))
            return false;
    return size == 0 || (get_le64(a) ^ get_le64(b)) << (64 - 8 * size) == 0;
#endif
}

/* A quick hash for tables in memory: one step, and one over bytes of which sixteen more than `size` can be read. */
static inline uint64_t stir(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9fb21c651e98df25u;
    return h ^ h >> 35;
}

static inline uint64_t stir_bytes(uint64_t h, const char *p, uint32_t size) {
    for (; size > 16; size -= 16, p += 16)
        h = stir(stir(h, get_le64(p)), get_le64(p + 8));
    /* No branch depends on where in the last sixteen bytes the end is. */
    uint32_t low = size < 8 ? size : 8, high = size - low;
    uint64_t first = get_le64(p) << (32 - 4 * low) << (32 - 4 * low);
    uint64_t second = get_le64(p + 8) << (32 - 4 * high) << (32 - 4 * high);
    return stir(stir(h, first), second + size);
}
