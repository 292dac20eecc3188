/* verify: is everything in a data directory as it was written? Reads all of it: the index (index_check.h), each record of
 * the WAL, each block of each chunk file, and compares what one says of the other. Works on a directory that may not
 * be written to, on a copy, and beside a running server, whose newest files are then not judged.
 *
 * Repairing needs the directory for itself. Damaged files are moved to DATA/quarantine/ under their own names, never
 * deleted; in their place come what is sound in them and a new index. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "labels.h"
#include "str.h"

struct verify_finding {
    bool damage;      /* else something worth telling: what a crash leaves, what is not ours */
    const char *file; /* below the data directory */
    bool has_offset;
    uint64_t offset;
    const char *what;
    bool has_stream;
    struct str tenant;
    struct labels labels;
    bool has_range;
    int64_t first_ns, last_ns;
    uint64_t lost_entries;
    const char *saved; /* what of the file can be, or has been, saved; may be NULL */
};

struct verify_result {
    uint64_t chunk_files, chunk_bytes, entries;
    uint64_t wal_segments, wal_bytes, wal_entries;
    uint64_t index_pages, index_rows;
    uint64_t damages, notes;
    uint64_t lost_entries; /* of blocks that are damaged; what stood in lost files is not known */
    uint64_t quarantined;  /* files and folders */
    bool server_runs;
};

struct verify_options {
    const char *data_dir;
    bool repair;
    void (*report)(void *ctx, const struct verify_finding *finding); /* from the caller's thread */
    void *ctx;
};

/* 0 whether or not there is damage: *ret tells. -EBUSY: repairing beside a server; -EFORMAT: the directory is not of
 * this build's format; -ENOENT, -ENOMEM, -EIO: it could not be looked at. */
int store_verify(const struct verify_options *o, struct verify_result *ret, struct err *reterr);
