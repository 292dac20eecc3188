/* backup: a data directory copied while it is in use, and made into one again.
 *
 *   DEST/manifest                 every file of the backup with its size and checksum; written last, replaced at once
 *   DEST/chunks/<tenant>/<day>/   chunk files as in the data directory: hard links on the same file system, else copies
 *   DEST/wal-<n>/                 the WAL as it was when the backup began: what had not become chunk files yet
 *   DEST/deletes-<n>              delete requests
 *   DEST/positions-<n>            up to where in that WAL streams are in chunk files (positions.h)
 *
 * The WAL is copied first, the index read second: an entry that was acknowledged before the backup began is in one or the
 * other, or in both, and then counts once. No server is asked or stopped; a chunk file that goes while it is being
 * copied has been replaced, and the index says by what. Chunk files never change, so a further backup into the same
 * DEST takes new files only: days that have not changed cost a look at the index. Days that the source has no more stay
 * in the backup (`prune` drops them); within a day the backup has what the source has.
 *
 * Crash states: (1) new files without a manifest that names them: the manifest of before holds, all its files are there;
 * the next run takes the files over or removes them. (2) new manifest, old files still there: the next run removes them.
 *
 * Offline tools: these run in a process of their own. One backup into a DEST at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/* Told after each file; both pairs grow to their second number. */
typedef void backup_progress_fn(void *ctx, uint64_t files, uint64_t n_files, uint64_t bytes,
                                uint64_t n_bytes);

struct backup_options {
    const char *data_dir, *dest;
    bool copy;                    /* no hard links */
    bool prune;                   /* the backup loses days that the source has lost */
    backup_progress_fn *progress; /* may be NULL */
    void *ctx;
};
struct backup_result {
    uint64_t files, bytes;         /* of the backup */
    uint64_t new_files, new_bytes; /* taken by this run */
    uint64_t removed_files;
};
/* -EBUSY: another backup into DEST runs; -ENOENT: no data directory. */
int backup_run(const struct backup_options *o, struct backup_result *ret, struct err *reterr);

/* Compares every file with the manifest and opens every chunk. `bad` is called for each file that does not check out. */
typedef void backup_bad_fn(void *ctx, const char *path, const char *why);
struct backup_check {
    uint64_t files, bytes, chunks, entries, bad;
};
int backup_verify(const char *dest, backup_bad_fn *bad, backup_progress_fn *progress, void *ctx,
                  struct backup_check *ret, struct err *reterr);

struct restore_options {
    const char *src, *data_dir; /* data_dir is made; it must not be there, or be empty */
    int32_t from_day, to_day;   /* whole days, both inclusive */
    const char *tenant;         /* NULL = all */
    bool link;          /* hard links instead of copies: both live on the same file system */
    backup_bad_fn *bad; /* files that are left out because they are damaged */
    backup_progress_fn *progress;
    void *ctx;
};
struct restore_result {
    uint64_t files, bytes, bad;
    uint64_t chunks, streams, entries; /* of the new directory */
};
int restore_run(const struct restore_options *o, struct restore_result *ret, struct err *reterr);
