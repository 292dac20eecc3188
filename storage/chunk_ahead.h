/* chunk_ahead: the chunk files of a query, opened some files before each is used. The disk is asked for the ends of many
 * files at once, then for the pages of many filters at once, and has them when they are looked at: it answers a
 * hundred small reads in the time of a few that wait for one another. One thread. */
#pragma once

#include "chunk_cache.h"
#include "index.h"

enum {
    AHEAD_BEGUN = 48,  /* files that have been asked for; a descriptor each */
    AHEAD_OPENED = 48, /* files that are open, with the pages that the grams need on their way */
};

struct chunk_ahead {
    struct chunk_cache *cache;
    struct str tenant;
    const struct gram_query *grams;  /* NULL: filters will not be asked */
    const struct index_chunk **rows; /* in the order of use */
    size_t n;
    size_t begun, opened, used;
    struct {
        struct cached_chunk *cached; /* held */
        int fd;                      /* when it is not there yet; or negative */
    } slots[AHEAD_BEGUN + AHEAD_OPENED];
};

/* The next chunk in order, held until the caller puts it back. Errors of chunk_cache_get, which are of this chunk only. */
int chunk_ahead_next(struct chunk_ahead *a, struct cached_chunk **ret, struct err *reterr);
/* Lets go of what has not been used. */
void chunk_ahead_done(struct chunk_ahead *a);
