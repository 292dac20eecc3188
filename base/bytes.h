/* bytes: fixed-width little-endian integers, varints and zigzag, as stored on disk and sent on wires.
 * The get_* functions for varints are bounds-checked; the fixed ones expect the caller to have
 * checked the size. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put_le16(void *p, uint16_t v) {
    memcpy(p, &v, 2);
}
static inline void put_le32(void *p, uint32_t v) {
    memcpy(p, &v, 4);
}
static inline void put_le64(void *p, uint64_t v) {
    memcpy(p, &v, 8);
}
static inline uint16_t get_le16(const void *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t get_le32(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get_le64(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the little-endian helpers above copy memory as it is; add byte swaps for this machine"
#endif

/* Big-endian, for keys that must sort by number. */
static inline void put_be32(void *p, uint32_t v) {
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void put_be64(void *p, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint32_t get_be32(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t get_be64(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

enum { VARINT_MAX_BYTES = 10 };

/* Writes at most VARINT_MAX_BYTES at p; returns the end. */
static inline uint8_t *put_varint(uint8_t *p, uint64_t v) {
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Reads one varint from [p, end); returns the byte behind it, or NULL when it is cut off or longer
 * than 64 bits. With eight bytes at hand the length comes from the first byte without its high bit and the seven-bit
 * groups are joined in three steps: no branch depends on the length. */
static inline const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret) {
    if (end - p >= 8) {
        if (p[0] < 0x80) { /* short ones come in runs: these two branches are well predicted */
            *ret = p[0];
            return p + 1;
        }
        if (p[1] < 0x80) {
            *ret = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
            return p + 2;
        }
        uint64_t x = get_le64(p);
        uint64_t stops = ~x & UINT64_C(0x8080808080808080);
        if (stops) {
            unsigned bits = (unsigned)__builtin_ctzll(stops) + 1; /* 8 per byte of the varint */
            x &= UINT64_C(0x7f7f7f7f7f7f7f7f) & (UINT64_MAX >> (64 - bits));
            x = (x & UINT64_C(0x7f007f007f007f00)) >> 1 | (x & UINT64_C(0x007f007f007f007f));
            x = (x & UINT64_C(0x3fff00003fff0000)) >> 2 | (x & UINT64_C(0x00003fff00003fff));
            x = (x & UINT64_C(0x0fffffff00000000)) >> 4 | (x & UINT64_C(0x000000000fffffff));
            *ret = x;
            return p + bits / 8;
        }
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p >= end)
            return NULL;
        uint8_t b = *p++;
        if (shift == 63 && b > 1)
            return NULL;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *ret = v;
            return p;
        }
    }
    return NULL;
}

static inline uint64_t zigzag(int64_t v) {
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t unzigzag(uint64_t v) {
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
