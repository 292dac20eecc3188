/* wal_ahead: the bytes of WAL segments, read before replay asks for them: by threads of its own, in large pieces, more than one
 * on its way. What the page cache does not have is read past it: nobody reads a WAL twice, and its pages would be allocated and
 * copied from. Whatever fails here is no error: who is given nothing reads by himself, and finds out. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    WAL_AHEAD_PIECE = 2 << 20, /* bytes: most records lie in one, the others are copied */
    WAL_AHEAD_PIECES = 4,      /* in memory: two are being read, one is looked at, one waits */
    WAL_AHEAD_THREADS = 2,
};

struct wal_ahead;

/* Begins to read the segments of those numbers from numbers[first] on, and that one from `offset` on. `numbers` must stay. NULL
 * without memory or threads. */
struct wal_ahead *wal_ahead_new(int dir_fd, const uint64_t *numbers, size_t count, size_t first,
                                uint64_t offset);

/* The bytes at `offset` of segment numbers[i], as far as they are in one piece; they stay until the next call. NULL: there
 * is no such piece, or it has gone by, for places are asked for in ascending order. One thread. */
const char *wal_ahead_get(struct wal_ahead *a, size_t i, uint64_t offset, size_t *ret_size);

/* NULL is fine. */
void wal_ahead_free(struct wal_ahead *a);
