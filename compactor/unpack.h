/* unpack: members of packs (pack.h) get chunk files of their own, so that the packs go. Merges do so with what is left of a
 * pack most of which has gone; delete requests with what stands beside erased lines, before they erase: else these
 * would stay on the disk with the pack, and after a crash nobody would know of it. */
#pragma once

#include "index.h"
#include "numbers.h"
#include "rewrite.h"

struct unpack {
    struct str tenant;
    struct numbers packs; /* sorted, as all lists here */
    struct numbers keep;  /* chunk numbers: these stay where they are */
};

/* Adds the packs of a day in which one of these chunks stands, even if its row has gone. */
int unpack_add_holders(struct store *s, struct unpack *u, int32_t day, const struct numbers *chunks,
                       struct err *reterr);
/* Are there packs of this day? */
bool unpack_has_packs(struct store *s, struct str tenant, int32_t day);
/* Calls fn for each chunk that is to be moved; it may move it at once. */
int unpack_walk(struct store *s, const struct unpack *u, index_chunk_fn *fn, void *ctx,
                struct err *reterr);
/* The rewrite that moves it. */
struct rewrite unpack_rewrite(struct str tenant, const struct index_chunk *c);
