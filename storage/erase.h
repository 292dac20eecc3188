/* erase: entries that have been asked to vanish and still stand on disk or in memory. Storage leaves them out of
 * what it shows; which they are is known to whoever gives it a struct eraser (the compactor's delete requests). All
 * functions of it may be called by any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "blockref.h"
#include "err.h"
#include "labels.h"
#include "str.h"

/* What is asked of one tenant's entries, as of a moment: immutable, counted. */
struct erase_set;

struct eraser {
    void *ctx;
    /* The tenant's present set, a reference for `put`; NULL when nothing is asked: that must cost next to nothing. */
    struct erase_set *(*get)(void *ctx, struct str tenant);
    void (*put)(struct erase_set *set);
    /* May entries of this stream with times in the range be meant? */
    bool (*concerns)(const struct erase_set *set, struct labels labels, int64_t first_ns,
                     int64_t last_ns);
    /* Sets the bits of entries of the open block that are meant (bit i & 63 of word i >> 6). */
    int (*mark)(const struct erase_set *set, struct labels labels, struct block_reader *r,
                const struct block_ref_info *info, uint64_t *bits, struct err *reterr);
};
