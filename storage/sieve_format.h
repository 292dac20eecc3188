/* sieve_format: the byte offsets of a sieve, shared by its writer and its reader and by nobody else. Described in
 * docs/format.md. */
#pragma once

#include <assert.h>

#define SIEVE_MAGIC "LOGQSIV1"

/* Header; then the tables: a row per class, a row per chunk, the column of each block, a checksum per stripe, zeros up to a
 * multiple of 8. */
enum {
    SIEVE_AT_MAGIC = 0,
    SIEVE_AT_CHECKSUM = 8,
    SIEVE_AT_HEAD_SIZE = 12,
    SIEVE_AT_INCOMPAT = 16,
    SIEVE_AT_COMPAT = 20,
    SIEVE_AT_DAY = 24,
    SIEVE_AT_SHIFT = 28,
    SIEVE_AT_CLASSES = 32,
    SIEVE_AT_CHUNKS = 36,
    SIEVE_AT_BLOCKS = 40,
    SIEVE_AT_TABLES_CHECKSUM = 44,
    SIEVE_AT_FILE_SIZE = 48,
    SIEVE_AT_ROWS_SUM = 56,
    SIEVE_HEADER_SIZE = 80, /* the last 16 bytes are reserved */

    SIEVE_CLASS_AT_ROWS = 0,
    SIEVE_CLASS_AT_COLUMNS = 4,
    SIEVE_CLASS_SIZE = 8,

    SIEVE_CHUNK_AT_PRINT = 0,
    SIEVE_CHUNK_AT_FIRST = 8,
    SIEVE_CHUNK_SIZE = 12,

    SIEVE_ALIGN = 8,
};
static_assert(SIEVE_AT_ROWS_SUM + 8 + 16 == SIEVE_HEADER_SIZE, "on-disk layout");

#define SIEVE_NO_COLUMN UINT32_MAX /* of a block without a filter: it always passes */

/* Bytes of header and tables. */
static inline uint64_t sieve_head_size(uint32_t classes, uint32_t chunks, uint32_t blocks,
                                       unsigned shift) {
    uint64_t size = SIEVE_HEADER_SIZE + (uint64_t)classes * SIEVE_CLASS_SIZE +
                    (uint64_t)chunks * SIEVE_CHUNK_SIZE + (uint64_t)blocks * 4 +
                    ((uint64_t)4 << shift);
    return (size + SIEVE_ALIGN - 1) / SIEVE_ALIGN * SIEVE_ALIGN;
}
