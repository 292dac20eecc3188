/* wal_segment: the bytes of WAL segment files, for wal.c (writing) and wal_replay.c (reading). No state.
 *
 *   segment  = 32-byte header, then records, then zeros up to the file's end
 *   header   = magic "LOGQWAL\n", u16 version, u16 0, u32 compatible flags, u32 incompatible flags,
 *              u64 segment number, u32 checksum (low half of hash64 over the 28 bytes before it)
 *   record   = u32 payload size, u32 checksum (low half of hash64 over all that follows it in the record),
 *              u8 type, u8 codec, u16 0, u32 raw size, payload
 *
 * All integers little-endian. A record header of 16 zero bytes ends the segment: no record has it, because the
 * checksum of an empty record of zeros is not zero (tests pin that). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "wal.h"

enum {
    WAL_HEADER_SIZE = 32,
    WAL_RECORD_HEADER_SIZE = 16,
    WAL_RECORD_CHECKED_FROM = 8, /* the checksum covers the record from here on */
    WAL_NAME_SIZE = 16 + 4 + 1,  /* "%016x.wal" and the terminator */
    WAL_VERSION = 1,
};

static inline uint64_t wal_lsn_make(uint64_t segment, uint64_t offset) {
    return segment << 32 | offset;
}

void wal_segment_name(char out[static WAL_NAME_SIZE], uint64_t number);

void wal_header_encode(uint8_t out[static WAL_HEADER_SIZE], uint64_t number);
/* 0; -ECORRUPT when damaged; -EFORMAT when sound but of a version or flag that this build does not know. */
int wal_header_check(const uint8_t header[static WAL_HEADER_SIZE], uint64_t number);

/* Fills the record header in front of the payload that already stands behind it. */
void wal_record_seal(uint8_t *record, uint8_t type, uint8_t codec, uint32_t raw_size,
                     uint32_t payload_size);

/* Numbers of all segment files, ascending; free with free(). */
int wal_segment_list(int dir_fd, uint64_t **ret, size_t *ret_count, struct err *reterr);

struct wal_scan {
    uint64_t used_bytes; /* up to the end of the last valid record */
    uint64_t
        lost_bytes; /* damaged records before it; behind it, up to the last byte that is not zero */
    uint64_t skipped_bytes; /* the former alone */
    uint64_t bad_offset;    /* of the first lost byte */
    uint64_t mended;        /* records whose size had one wrong bit */
    bool missing; /* no such file: a reader beside a running server was overtaken by truncation */
};

/* Calls fn (may be NULL) for each valid record of one segment; its non-zero result is returned. A damaged record is
 * left out when its size leads to a valid one; else the segment ends before it. Damage is not an error but counted in *ret.
 * -EFORMAT, -ENOMEM and errors of opening. */
int wal_segment_scan(int dir_fd, uint64_t number, wal_replay_fn *fn, void *ctx,
                     struct wal_scan *ret, struct err *reterr);
