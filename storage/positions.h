/* positions: up to where in the WAL streams are in chunk files, as the index has it, in a file of its own.
 *
 * An index is made anew from chunk files, and each tells the position of its stream. When the newest chunk of a stream has
 * been deleted, no file tells it any more; the WAL may hold what stood in the chunk, and replay would bring it back. So
 * whoever deletes writes DATA/positions first (store_keep_positions), a backup has such a file beside its WAL, and a
 * rebuild asks it, unless a chunk file is damaged: then the WAL is to fill the gap.
 *
 * Of a file that is too old nothing is wrong: positions only grow. Any thread, each `struct positions` one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "err.h"
#include "index.h"

#define POSITIONS_NAME "positions"

/* A million streams with labels of a KB. */
enum { POSITIONS_BYTES_MAX = 1 << 30 };

struct position {
    uint64_t stream_id, flushed_lsn;
    uint32_t flushed_index;
    struct str tenant, labels; /* labels_encode; both in the arena */
};

struct positions {
    struct position *items;
    size_t count, capacity;
    struct arena arena;
};

struct positions positions_make(void);
void positions_done(struct positions *p);
/* 0 or -ENOMEM. */
int positions_add(struct positions *p, const struct index_stream *row);
/* By stream; of several of one stream, the furthest stays. */
void positions_sort(struct positions *p);
/* In sorted ones; NULL when it is not there. */
const struct position *positions_find(const struct positions *p, uint64_t stream_id);

/* Sorted. -ENOENT, -ECORRUPT, -EFORMAT. */
int positions_read(int dir_fd, const char *path, struct positions *ret, struct err *reterr);
int positions_parse(struct str bytes, struct positions *ret, struct err *reterr);
/* Sorts, writes, makes durable; replaces an old file at once. */
int positions_write(int dir_fd, const char *path, struct positions *p, struct err *reterr);
