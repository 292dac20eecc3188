/* manifest (private to the compactor): the list of a backup's files.
 *
 *   logq-backup 1
 *   <size> <XXH3-128 of the content, 32 hex digits> <path>      one line per file, sorted by path
 *   end <number of files> <XXH3-128 of all above>
 *
 * Paths are relative, without "..", and hold no byte below a space. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "err.h"
#include "hash.h"

#define MANIFEST_NAME "manifest"

enum { MANIFEST_PATH_MAX = 700, MANIFEST_BYTES_MAX = 1 << 30 };

struct manifest_file {
    const char *path; /* in the manifest's arena */
    uint64_t size;
    struct hash128 hash;
};

struct manifest {
    struct manifest_file *files;
    size_t count, capacity;
    struct arena arena;
};

struct manifest manifest_make(void);
void manifest_done(struct manifest *m);
/* Copies the path. 0 or -ENOMEM. */
int manifest_add(struct manifest *m, const char *path, uint64_t size, struct hash128 hash);
/* By path; of several with one path, one stays. */
void manifest_sort(struct manifest *m);
/* In a sorted one; NULL when it is not there. */
const struct manifest_file *manifest_find(const struct manifest *m, const char *path);

/* Reads and checks DIR/manifest, sorted. -ENOENT, -ECORRUPT, -EFORMAT. */
int manifest_read(int dir_fd, struct manifest *ret, struct err *reterr);
int manifest_parse(struct str text, struct manifest *ret, struct err *reterr);
/* Sorts, writes, makes durable; replaces the old one at once. */
int manifest_write(int dir_fd, struct manifest *m, struct err *reterr);

/* Size and hash of a file's content. */
int manifest_measure(int dir_fd, const char *path, uint64_t *ret_size, struct hash128 *ret_hash);
