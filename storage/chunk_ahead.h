/* chunk_ahead: the chunk files of a query, opened and their filters asked some files before each is used. What is in memory
 * is done at once; the disk is asked for the ends of many files together, then for the pages of many filters together,
 * and has them when they are looked at: it answers a hundred small reads in the time of a few that wait for one
 * another. One thread, which may be given others to help. */
#pragma once

#include "chunk_cache.h"
#include "index.h"
#include "share.h"

enum {
    AHEAD_WINDOW =
        64, /* files that are made ready together, while as many have been begun: a descriptor each */
    AHEAD_WORDS = 4, /* of a bit per block: files with more are few */
};

struct ahead_slot {
    struct cached_chunk *cached; /* held */
    int fd;                      /* of its file, or negative */
    bool is_ready;
    uint32_t in_range;
    uint64_t *wanted; /* `few`, or allocated; NULL until it is known */
    uint64_t few[AHEAD_WORDS];
};

struct chunk_ahead {
    struct chunk_cache *cache;
    struct str tenant;
    int64_t start_ns, end_ns;
    const struct gram_query *grams;  /* blocks that lack one are not wanted; NULL: all may be */
    const struct gram_query *later;  /* filters will be asked for these; NULL: they will not */
    const struct share *share;       /* NULL: there is nobody else */
    const struct index_chunk **rows; /* in the order of use */
    size_t n;
    size_t begun, ready, used;
    struct ahead_slot slots[2 * AHEAD_WINDOW];
};

struct ahead_chunk {
    struct cached_chunk *cached; /* held until the caller puts it back */
    const uint64_t *wanted;      /* a bit for each block that may be; valid until the next call */
    uint32_t in_range;           /* blocks that have to do with the time range */
};

/* The next chunk in order. Errors of chunk_cache_get, which are of this chunk only, and -ENOMEM. */
int chunk_ahead_next(struct chunk_ahead *a, struct ahead_chunk *ret, struct err *reterr);
/* Lets go of what has not been used. */
void chunk_ahead_done(struct chunk_ahead *a);
