/* wal: the durable queue of pushes. Records go into a memory buffer; one WAL thread writes what has gathered and
 * makes one fdatasync for all of it (group commit), then calls each record's completion.
 *
 * A position (lsn) is segment number << 32 | offset of the record in its segment; it grows with each record.
 * Segments are DATA/wal/<16 hex digits>.wal: 32-byte header, then records: u32 payload size, u32 checksum
 * (low half of hash64 over type, flags and payload), u8 type, u8 codec, u16 reserved, u32 raw size, payload.
 * A record that does not check out and leads to no other is where a crash cut the segment. Segments are
 * preallocated, zeros end them.
 *
 * After a failed write of a full disk, and when a new segment would leave less than a sixteenth of the disk (at most
 * 64 MiB) free, the wal takes no record until space is back (-ENOSPC), which it finds out by itself; after a failed
 * fsync the segment's state is unknown and the wal is failed for good (-EIO): wal_get_stats tells. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

struct wal;

enum wal_sync { WAL_SYNC_ALWAYS, WAL_SYNC_INTERVAL, WAL_SYNC_OFF };

struct wal_options {
    enum wal_sync sync;
    uint64_t sync_interval_ns; /* WAL_SYNC_INTERVAL */
    uint64_t segment_bytes; /* a segment is closed when it reaches this; 0 = WAL_SEGMENT_DEFAULT */
    uint64_t buffer_max_bytes; /* waiting records; more are refused with -EBUSYNOW; 0 = default */
    uint64_t first_segment; /* the new segment's number is at least this: positions never repeat */
    /* What wal_replay has found of the last segment: it is not read again. 0 = unknown. */
    uint64_t last_segment, last_used_bytes;
};

enum { WAL_SEGMENT_DEFAULT = 64 << 20, WAL_BUFFER_DEFAULT = 64 << 20, WAL_RECORD_MAX = 256 << 20 };

/* Called once from the WAL thread: 0, or the negative reason why the record is not durable. */
typedef void wal_done(void *ctx, int status);

/* Opens the folder for appending in a NEW segment after all existing ones; starts the thread. */
int wal_open(int dir_fd, const struct wal_options *o, struct wal **ret, struct err *reterr);

/* Flushes, stops the thread. NULL is fine. */
void wal_close(struct wal *w);

/* Appends one record, whose payload is the parts joined, to the buffer: never blocks on I/O. The bytes are copied.
 * Positions are given in call order. `done` may be NULL (a record that travels with the next one). With WAL_SYNC_OFF done
 * comes after write(2) and no fsync. 0, -EBUSYNOW, -ENOSPC, -EIO, -ENOMEM. */
int wal_append_parts(struct wal *w, uint8_t type, uint8_t codec, uint32_t raw_size,
                     const struct str *parts, size_t n_parts, wal_done *done, void *ctx,
                     uint64_t *ret_lsn);

static inline int wal_append(struct wal *w, uint8_t type, uint8_t codec, uint32_t raw_size,
                             struct str payload, wal_done *done, void *ctx, uint64_t *ret_lsn) {
    return wal_append_parts(w, type, codec, raw_size, &payload, 1, done, ctx, ret_lsn);
}

/* The segment that the next record of `payload_size` bytes will go to: a caller that must put a definition
 * into each segment asks before appending. The caller serialises its calls with wal_append. */
uint64_t wal_next_segment(struct wal *w, size_t payload_size);

/* Waits until everything appended so far is durable. 0 or the failure. */
int wal_flush(struct wal *w);

/* Begins a new segment, so that wal_truncate can remove the one that is open: a start would read it for nothing. It
 * stays as it is when a record waits or the disk is nearly full. */
void wal_begin_fresh(struct wal *w);

/* Removes segments that hold only records below `lsn`. Never the open one. */
int wal_truncate(struct wal *w, uint64_t lsn);

/* Upper bounds in seconds of the buckets of fsync times; what is longer is in none. */
enum { WAL_FSYNC_BUCKETS = 14 };
extern const double wal_fsync_bounds[WAL_FSYNC_BUCKETS];

/* A disk that keeps up takes records as they come, which spares packing them: batches are durable at this many bytes
 * per second or more, and no more than so many bytes wait. */
enum { WAL_KEEPS_UP_SPEED = 32 << 20, WAL_KEEPS_UP_BYTES = 16 << 20 };

struct wal_stats {
    uint64_t bytes;      /* in all segments, used part */
    uint64_t oldest_lsn; /* first position of the oldest segment */
    uint64_t next_lsn;
    uint64_t fsyncs, fsync_ns_total, fsync_ns_max;
    uint64_t fsync_buckets[WAL_FSYNC_BUCKETS];
    uint64_t records, appended_bytes;
    uint64_t buffer_bytes; /* memory held for records on their way; little when nothing comes */
    bool keeps_up;         /* see above */
    int failed;            /* 0, -ENOSPC (recoverable) or -EIO (final) */
    char failed_text[200];
};
void wal_get_stats(struct wal *w, struct wal_stats *ret);

/* Reads all segments in order; for each valid record calls fn until it returns non-zero. A torn or damaged
 * place ends its segment (the rest of that segment is counted in lost_bytes when it is not zeros) and
 * reading goes on with the next segment. Used before wal_open, and by offline readers. */
struct wal_record {
    uint64_t lsn;
    uint8_t type;
    uint8_t codec;
    uint32_t raw_size;
    struct str payload;
};
typedef int wal_replay_fn(const struct wal_record *record, void *ctx);
struct wal_found {
    uint64_t lost_bytes;
    uint64_t last_segment, last_used_bytes; /* for wal_options; 0: there is none */
};
int wal_replay(int dir_fd, wal_replay_fn *fn, void *ctx, struct wal_found *ret, struct err *reterr);
