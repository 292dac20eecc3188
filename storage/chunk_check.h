/* chunk_check: is a chunk file whole, and if not, what of it can be saved? Reads each byte that counts, unlike
 * chunk_open, which reads the ends. One thread at a time per struct chunk_checker; the file is not changed. */
#pragma once

#include "chunk.h"

struct chunk_fault {
    uint64_t offset; /* in the file */
    bool has_range;  /* a block whose times are known */
    int64_t first_ns, last_ns;
    uint32_t lost_entries; /* of that block; 0: nothing is lost */
    const char *what;
};
typedef void chunk_fault_fn(const struct chunk_fault *fault, void *ctx);

struct chunk_health {
    uint32_t blocks, sound_blocks;
    uint64_t entries, lost_entries; /* of the blocks that were found */
    unsigned faults;
};

struct chunk_checker; /* scratch memory */
struct chunk_checker *chunk_checker_new(void);
void chunk_checker_free(struct chunk_checker *k);

/* `c` is the file `name`, opened. Tells each fault; fn may be NULL. 0 also when there are some; -ENOMEM and errors of
 * reading. */
int chunk_check(struct chunk_checker *k, int dir_fd, const char *name, const struct chunk *c,
                chunk_fault_fn *fn, void *ctx, struct chunk_health *ret, struct err *reterr);

/* Writes what is sound into a new file `to`, synced, with all filters. `head`: what to write for a chunk that has none; else
 * NULL. When something is lost, or it has no head, the copy claims no position in the WAL and replaces no other chunks.
 * -ENODATA: no block is sound, nothing is written. */
int chunk_salvage(struct chunk_checker *k, int dir_fd, const char *name, const struct chunk *c,
                  const struct chunk_head *head, const char *to, struct chunk_sums *ret,
                  struct err *reterr);
