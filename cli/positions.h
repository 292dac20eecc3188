/* positions: how far push has come in each file, and the batch that is on its way, in a file that survives kill -9.
 *
 * A batch is written to FILE.pending before it is sent, FILE is written when the server has acknowledged it, and then
 * FILE.pending goes away. Crash states and what the next start does:
 *   1. No FILE.pending (or only FILE.pending.tmp): what lies behind the places in FILE has not been sent.
 *   2. FILE.pending is there, FILE does not know of it: it may have been stored or not. It is sent again byte for byte,
 *      so that the store recognises what it has, and then its place goes into FILE.
 *   3. FILE knows of it already: sending it again changes nothing.
 * Files are known by device and inode, which a rotation does not change, and by a hash of their first bytes, for inodes
 * are used again. One process at a time (FILE.lock). With path NULL all of this stays in memory. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "stamper.h"
#include "str.h"

struct positions;

struct place {
    uint64_t device, inode;
    uint64_t offset;     /* behind the last line that was sent */
    int64_t modified_ns; /* of the file, then */
    uint64_t head_hash;  /* of the first head_size bytes */
    uint32_t head_size;
    struct stamper stamper;
};

enum { PLACE_HEAD_BYTES = 1024 };

/* A stamper points into itself: places are copied with this. */
void place_copy(struct place *to, const struct place *from);

int positions_open(const char *path, struct positions **ret, struct err *reterr);
void positions_close(struct positions *p);

/* The place in what is read under this name; NULL = none. Lives until the next commit. */
const struct place *positions_get(const struct positions *p, const char *name);

/* A file that was read to its end and is no longer written. */
void positions_finish(struct positions *p, uint64_t device, uint64_t inode, uint64_t size);
bool positions_is_finished(const struct positions *p, uint64_t device, uint64_t inode,
                           uint64_t size);

/* Before a batch is sent, and after it was acknowledged. */
int positions_begin(struct positions *p, const char *name, const struct place *place,
                    struct str body, struct err *reterr);
int positions_commit(struct positions *p, const char *name, const struct place *place,
                     struct err *reterr);

/* The batch that a crash left: 1 with its parts, 0 = none. The caller frees *ret_name. */
int positions_pending(struct positions *p, struct buf *ret_body, char **ret_name,
                      struct place *ret_place, struct err *reterr);
