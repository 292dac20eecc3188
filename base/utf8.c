#include "utf8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { RUNE_BAD = 0xFFFD, RUNE_MAX = 0x10FFFF };

/* The number of bytes at p that are ASCII. */
static size_t ascii_run(const char *p, size_t size) {
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= size; i += 16) {
        unsigned mask =
            (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + i)));
        if (mask != 0)
            return i + (size_t)__builtin_ctz(mask);
    }
#endif
    while (i < size && (uint8_t)p[i] < 0x80)
        i++;
    return i;
}

static bool is_continuation(char c) {
    return ((uint8_t)c & 0xC0) == 0x80;
}

static uint32_t low_bits(char c) {
    return (uint8_t)c & 0x3F;
}

/* The length of the well-formed sequence at s.data, or 0. */
static unsigned decode_wide(struct str s, uint32_t *ret_rune) {
    const char *p = s.data;
    uint8_t lead = (uint8_t)p[0];
    if (lead >= 0xC2 && lead <= 0xDF) {
        if (s.size < 2 || !is_continuation(p[1]))
            return 0;
        *ret_rune = (uint32_t)(lead & 0x1F) << 6 | low_bits(p[1]);
        return 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (s.size < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
            return 0;
        uint32_t rune = (uint32_t)(lead & 0x0F) << 12 | low_bits(p[1]) << 6 | low_bits(p[2]);
        if (rune < 0x800 || (rune >= 0xD800 && rune <= 0xDFFF))
            return 0;
        *ret_rune = rune;
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (s.size < 4 || !is_continuation(p[1]) || !is_continuation(p[2]) ||
            !is_continuation(p[3]))
            return 0;
        uint32_t rune = (uint32_t)(lead & 0x07) << 18 | low_bits(p[1]) << 12 | low_bits(p[2]) << 6 |
                        low_bits(p[3]);
        if (rune < 0x10000 || rune > RUNE_MAX)
            return 0;
        *ret_rune = rune;
        return 4;
    }
    return 0;
}

bool utf8_valid(struct str s) {
    while (s.size > 0) {
        size_t ascii = ascii_run(s.data, s.size);
        s = str_from_offset(s, ascii);
        /* Text that is not Latin comes in long runs; going back to the vectors after each character
         * would cost more than it saves. */
        while (s.size > 0 && (uint8_t)s.data[0] >= 0x80) {
            uint32_t rune;
            unsigned length = decode_wide(s, &rune);
            if (length == 0)
                return false;
            s.data += length;
            s.size -= length;
        }
    }
    return true;
}

unsigned utf8_decode(struct str s, uint32_t *ret_rune) {
    if ((uint8_t)s.data[0] < 0x80) {
        *ret_rune = (uint8_t)s.data[0];
        return 1;
    }
    unsigned length = decode_wide(s, ret_rune);
    if (length > 0)
        return length;
    *ret_rune = RUNE_BAD;
    return 1;
}

unsigned utf8_encode(char *out, uint32_t rune) {
    if (rune > RUNE_MAX || (rune >= 0xD800 && rune <= 0xDFFF))
        rune = RUNE_BAD;
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    if (rune < 0x800) {
        out[0] = (char)(0xC0 | rune >> 6);
        out[1] = (char)(0x80 | (rune & 0x3F));
        return 2;
    }
    if (rune < 0x10000) {
        out[0] = (char)(0xE0 | rune >> 12);
        out[1] = (char)(0x80 | (rune >> 6 & 0x3F));
        out[2] = (char)(0x80 | (rune & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | rune >> 18);
    out[1] = (char)(0x80 | (rune >> 12 & 0x3F));
    out[2] = (char)(0x80 | (rune >> 6 & 0x3F));
    out[3] = (char)(0x80 | (rune & 0x3F));
    return 4;
}

void utf8_add_valid(struct buf *out, struct str s) {
    size_t good_from = 0, i = 0;
    while (i < s.size) {
        i += ascii_run(s.data + i, s.size - i);
        if (i == s.size)
            break;
        uint32_t rune;
        unsigned length = decode_wide(str_from_offset(s, i), &rune);
        if (length > 0) {
            i += length;
            continue;
        }
        buf_add(out, s.data + good_from, i - good_from);
        buf_add(out, "\xEF\xBF\xBD", 3);
        i++;
        good_from = i;
    }
    buf_add(out, s.data + good_from, s.size - good_from);
}

size_t utf8_count(struct str s) {
    size_t count = 0;
    while (s.size > 0) {
        size_t ascii = ascii_run(s.data, s.size);
        count += ascii;
        s = str_from_offset(s, ascii);
        while (s.size > 0 && (uint8_t)s.data[0] >= 0x80) {
            uint32_t rune;
            unsigned length = utf8_decode(s, &rune);
            s.data += length;
            s.size -= length;
            count++;
        }
    }
    return count;
}
