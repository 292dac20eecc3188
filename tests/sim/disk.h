/* disk: a simulated disk under the whole process, for tests. disk.c defines the system calls that change files (open,
 * write, pwrite, fsync, rename, unlink ...) in the program itself, so that the code under test AND the libraries below
 * it, LMDB above all, come through here, whether or not they use base/io.h. Calls below the watched folder are done and
 * written down in a log, in one order for all threads; a sync is written down and not done.
 *
 * Afterwards a disk_replay walks through the log. At each place it knows what a real disk is sure to hold, and what is
 * still only in its caches: bytes not synced since, names not synced in their folders. disk_crash makes a folder as a
 * power failure at that place may leave it: what is sure, and of the rest nothing, all, the first part, or a random
 * part, sectors torn or garbled.
 *
 * What the simulation grants, as SQLite does: a sector (512 bytes) that is being written keeps the bytes around the
 * written ones (those of a page that is written again as they were, too), and a sector written through O_DSYNC (LMDB's root
 * pages) is old or new. All else may happen: the size of a file without its bytes, a rename without the file's content, the
 * later of two names without the earlier one, in any combination over files and folders. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Begins to watch the folder, whose present content counts as durable. One at a time; no thread may be in a call. */
void disk_watch(const char *folder);

/* The process dies after so many more calls that change something: they fail, and so do all after them, until
 * disk_revive. Nothing that was written is lost by that, and nothing becomes durable. */
void disk_die_after(unsigned calls);
void disk_revive(void);

/* Something that the test wants to find again in the log: what was pushed, what was acknowledged. */
void disk_note(uint32_t kind, uint64_t value);

/* Ends watching and hands the log over; disk_log_free. */
struct disk_log;
struct disk_log *disk_unwatch(void);
void disk_log_free(struct disk_log *log);
/* Places at which the power may fail: before entry 0, 1, ... and behind the last. */
size_t disk_log_size(const struct disk_log *log);

struct disk_replay;
struct disk_replay *disk_replay_new(const struct disk_log *log);
void disk_replay_free(struct disk_replay *r);
/* Goes on to the place; never back. Notes on the way are told. */
typedef void disk_note_fn(uint32_t kind, uint64_t value, void *ctx);
void disk_replay_to(struct disk_replay *r, size_t place, disk_note_fn *fn, void *ctx);
/* Fills `folder`, which must be empty. The seed decides what survives of what was not synced. */
void disk_crash(const struct disk_replay *r, const char *folder, uint64_t seed);
