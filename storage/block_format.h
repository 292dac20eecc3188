/* block_format: the byte offsets of an encoded block, shared by its encoder and its decoder and by nobody else.
 * Described in docs/format.md. */
#pragma once

#include <assert.h>

#include "block.h"
#include "bytes.h"

#define BLOCK_MAGIC "LQBLOCK1"

/* Fixed part. The checksum covers everything behind itself up to the end of the section table. */
enum {
    BLOCK_AT_MAGIC = 0,
    BLOCK_AT_CHECKSUM = 8,
    BLOCK_AT_SECTIONS = 12, /* u16 number of sections, u16 reserved */
    BLOCK_AT_INCOMPAT = 16,
    BLOCK_AT_COMPAT = 20,
    BLOCK_AT_COUNT = 24,
    BLOCK_AT_LINE_BYTES = 28,
    BLOCK_AT_META_BYTES = 32,
    BLOCK_AT_STORED = 36,
    BLOCK_AT_FIRST = 40,
    BLOCK_AT_LAST = 48,
    BLOCK_AT_RESERVED = 56,
};

/* One row of the section table. */
enum {
    SECTION_AT_KIND = 0,
    SECTION_AT_CODEC = 1,
    SECTION_AT_RESERVED = 2,
    SECTION_AT_KEY = 4,
    SECTION_AT_OFFSET = 8,
    SECTION_AT_STORED = 12,
    SECTION_AT_RAW = 16,
    SECTION_AT_CHECKSUM = 20,
};

static_assert(BLOCK_AT_RESERVED + 8 == BLOCK_HEADER_FIXED, "on-disk layout");
static_assert(SECTION_AT_CHECKSUM + 4 == BLOCK_SECTION_SIZE, "on-disk layout");

/* Flags of the incompatible word that this build understands. */
enum {
    BLOCK_INCOMPAT_TABLE = 1,  /* the lines are in CODEC_TABLE */
    BLOCK_INCOMPAT_PACKED = 2, /* the lengths are in CODEC_PACKED */
    BLOCK_INCOMPAT_KNOWN = BLOCK_INCOMPAT_TABLE | BLOCK_INCOMPAT_PACKED,
};

/* Flags of the compatible word. With BLOCK_ESCAPES_KNOWN, bit n of 2 to 7 is set where a line holds "\\u00n". */
enum {
    BLOCK_ESCAPES_KNOWN = 1,
    BLOCK_META_IN_FILTER = 2, /* the filter knows all values of metadata */
    BLOCK_ESCAPES = 0xfc
};

/* Times may be stored in units of 1, 1 000, 1 000 000 or 1 000 000 000 ns: 10 ^ (3 * code). */
enum { TIME_SCALES = 4 };
static const int64_t time_scales[TIME_SCALES] = {1, 1000, 1000000, 1000000000};

/* Distances between neighbouring times (and lengths, in CODEC_PACKED) are packed in groups of so many, each with a width
 * of its own. */
enum { TIME_GROUP = 128, TIME_GROUP_MAX_BYTES = TIME_GROUP * 8 };

/* Bits that hold 0..n. */
static inline unsigned block_id_width(uint32_t n) {
    return n == 0 ? 1 : 32 - (unsigned)__builtin_clz(n);
}

/* A size and so many bytes: names and values in sections. The caller has room for VARINT_MAX_BYTES and the text. */
static inline uint8_t *put_text(uint8_t *p, struct str s) {
    p = put_varint(p, s.size);
    if (s.size > 0)
        memcpy(p, s.data, s.size);
    return p + s.size;
}
