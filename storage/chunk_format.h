/* chunk_format: the byte offsets of a chunk file, shared by its writer and its reader and by nobody else.
 * Described in docs/format.md. */
#pragma once

#include <assert.h>

#include "chunk.h"

#define CHUNK_MAGIC "LOGQCHK1"
#define CHUNK_TRAILER_MAGIC "LOGQTRL2"
#define CHUNK_TRAILER_OLD_MAGIC "LOGQTRL1" /* filters one after the other */
#define CHUNK_FOOTER_MAGIC "LOGQEND1"

/* Header: fixed part, tenant, labels (labels_encode), zeros up to a multiple of 8. The checksum covers everything
 * behind itself up to the header's end. */
enum {
    CHUNK_AT_MAGIC = 0,
    CHUNK_AT_CHECKSUM = 8,
    CHUNK_AT_HEADER_SIZE = 12,
    CHUNK_AT_INCOMPAT = 16,
    CHUNK_AT_COMPAT = 20,
    CHUNK_AT_DAY = 24,
    CHUNK_AT_WAL_INDEX = 28,
    CHUNK_AT_STREAM_ID = 32,
    CHUNK_AT_SEQ = 40,
    CHUNK_AT_WAL_LSN = 48,
    CHUNK_AT_TENANT_SIZE = 56,
    CHUNK_AT_LABELS_SIZE = 60,
    CHUNK_HEADER_FIXED = 64,
};
static_assert(CHUNK_AT_LABELS_SIZE + 4 == CHUNK_HEADER_FIXED, "on-disk layout");

/* Trailer: fixed part, one row per block, copies of the block headers, checksums of the filters' pages. */
enum {
    TRAILER_AT_MAGIC = 0,
    TRAILER_AT_BLOCKS = 8,
    TRAILER_AT_SHIFT = 12,
    TRAILER_FIXED = 16,

    ROW_AT_BLOCK = 0,
    ROW_AT_FILTER_SIZE = 8,
    ROW_AT_HEADER_SIZE = 12,
    ROW_SIZE = 16,

    OLD_ROW_AT_BLOCK = 0,
    OLD_ROW_AT_FILTER = 8,
    OLD_ROW_AT_FILTER_SIZE = 16,
    OLD_ROW_AT_FILTER_CHECKSUM = 20,
    OLD_ROW_AT_HEADER_SIZE = 24,
    OLD_ROW_SIZE = 32,
};

/* Footer: the last bytes of the file. The checksum covers what stands before it. */
enum {
    FOOTER_AT_FILTERS = 0,
    FOOTER_AT_TRAILER = 8,
    FOOTER_AT_FILE_SIZE = 16,
    FOOTER_AT_TRAILER_SIZE = 24,
    FOOTER_AT_TRAILER_CHECKSUM = 28,
    FOOTER_AT_CHECKSUM = 32,
    FOOTER_AT_RESERVED = 36,
    FOOTER_AT_MAGIC = 40,
    FOOTER_SIZE = 48,
};

enum {
    /* Behind the labels stand the grade and the numbers of the chunks that this one replaces. Who ignored them
     * would bring deleted lines back when an index is rebuilt. */
    CHUNK_INCOMPAT_REPLACES = 1 << 0,
    CHUNK_INCOMPAT_SLICED =
        1 << 1, /* the filters are sliced, the trailer is of the kind that says how */
    CHUNK_INCOMPAT_KNOWN = CHUNK_INCOMPAT_REPLACES | CHUNK_INCOMPAT_SLICED,
    CHUNK_HEADER_MAX = 4 << 20, /* far above any tenant name with any label set */
    CHUNK_TRAILER_MAX =
        256 << 20,   /* what the rows and headers of that many blocks may take in memory */
    CHUNK_ALIGN = 8, /* of the header's end and of the filters */
};

/* Counts block `info` among the totals; `sums` starts zeroed. */
static inline void chunk_sums_add(struct chunk_sums *sums, const struct block_info *info) {
    if (sums->blocks == 0 || info->first_ns < sums->first_ns)
        sums->first_ns = info->first_ns;
    if (sums->blocks == 0 || info->last_ns > sums->last_ns)
        sums->last_ns = info->last_ns;
    sums->line_bytes += info->line_bytes;
    sums->meta_bytes += info->meta_bytes;
    sums->entries += info->count;
    sums->blocks++;
}
