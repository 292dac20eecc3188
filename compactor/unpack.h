/* unpack: members of packs (pack.h) get chunk files of their own, so that the packs go. Merges do so with what is left of a
 * pack most of which has gone; delete requests with what stands beside erased lines, before they erase: else these
 * would stay on the disk with the pack, and after a crash nobody would know of it. */
#pragma once

#include "index.h"
#include "rewrite.h"

struct unpack {
    struct str tenant;
    uint64_t *packs; /* ascending */
    size_t n_packs;
    uint64_t *keep; /* chunk numbers, ascending: these stay where they are */
    size_t n_keep;
};

/* Sorts both lists; numbers may stand in `packs` more than once. */
void unpack_prepare(struct unpack *u);
/* Calls fn for each chunk that is to be moved; it may move it at once. */
int unpack_walk(struct store *s, const struct unpack *u, index_chunk_fn *fn, void *ctx,
                struct err *reterr);
/* The rewrite that moves it. */
struct rewrite unpack_rewrite(struct str tenant, const struct index_chunk *c);
