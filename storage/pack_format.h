/* pack_format: the byte offsets of a pack, shared by pack.c and its tests. Described in docs/format.md. */
#pragma once

#include <assert.h>

#define PACK_MAGIC "LOGQPCK1"
#define PACK_FOOTER_MAGIC "LOGQPEN1"

/* Header: fixed part, tenant, zeros up to a multiple of 8. The checksum covers everything behind itself up to the
 * header's end. */
enum {
    PACK_AT_MAGIC = 0,
    PACK_AT_CHECKSUM = 8,
    PACK_AT_HEADER_SIZE = 12,
    PACK_AT_INCOMPAT = 16,
    PACK_AT_COMPAT = 20,
    PACK_AT_DAY = 24,
    PACK_AT_TENANT_SIZE = 28,
    PACK_AT_SEQ = 32,
    PACK_AT_RESERVED = 40,
    PACK_HEADER_FIXED = 64,
    PACK_HEADER_MAX = 4096,
    PACK_ALIGN = 8,
};

/* Directory: a row per member, by offset. */
enum {
    PACK_ROW_AT_OFFSET = 0,
    PACK_ROW_AT_SIZE = 8,
    PACK_ROW_AT_STREAM = 16,
    PACK_ROW_AT_SEQ = 24,
    PACK_ROW_AT_FIRST = 32,
    PACK_ROW_SIZE = 40,
};

/* Footer: the last bytes of the file. The checksum covers what stands before it. */
enum {
    PACK_FOOTER_AT_DIRECTORY = 0,
    PACK_FOOTER_AT_FILE_SIZE = 8,
    PACK_FOOTER_AT_MEMBERS = 16,
    PACK_FOOTER_AT_DIRECTORY_CHECKSUM = 20,
    PACK_FOOTER_AT_CHECKSUM = 24,
    PACK_FOOTER_AT_RESERVED = 28,
    PACK_FOOTER_AT_MAGIC = 40,
    PACK_FOOTER_SIZE = 48,
};
static_assert(PACK_FOOTER_AT_MAGIC + 8 == PACK_FOOTER_SIZE, "on-disk layout");
