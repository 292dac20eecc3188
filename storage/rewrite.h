/* rewrite: new chunk files in place of old ones of the same stream and day: merged, sorted, without duplicates, with
 * full blocks, better compressed, or without entries that shall go. The one way in which stored entries are
 * changed after a flush.
 *
 * Sources are read block by block, side by side where their times overlap; what comes out is cut anew into full blocks and
 * into files of about target_bytes. A block that stands alone, is full and need not be compressed anew is copied as it
 * is. Memory: the open blocks of the sources (bounded by REWRITE_OPEN_BYTES), one block being filled, filters of one
 * output file. The crash states are in rewrite.c.
 *
 * One rewrite at a time per store, in a thread of the caller's; queries, pushes and flushes go on meanwhile. */
#pragma once

#include "blockref.h"
#include "store.h"

enum {
    REWRITE_SOURCES_MAX = 1024,
    REWRITE_OPEN_BYTES = 96 << 20, /* raw bytes of blocks that are open side by side */
    REWRITE_OPEN_MAX = 192,        /* their number: each may have a file open */
};

/* Sets the bits of entries that shall go (bit i & 63 of word i >> 6); `bits` is zeroed. Called once per block, may
 * decode what it needs. */
typedef int rewrite_erase_fn(void *ctx, struct labels labels, struct block_reader *r,
                             const struct block_ref_info *info, uint64_t *bits, struct err *reterr);

/* Told after each block how many bytes have been read and written; slows the rewrite down by taking its time, ends it
 * with a negative code. */
typedef int rewrite_pace_fn(void *ctx, uint64_t bytes);

struct rewrite {
    struct str tenant;
    const struct index_chunk *sources; /* of one stream and day */
    size_t n_sources;
    enum block_effort effort;
    uint8_t grade;           /* of what is written */
    uint8_t reencode_below;  /* blocks of sources of a lower grade are never copied as they are */
    uint64_t target_bytes;   /* of an output file */
    rewrite_erase_fn *erase; /* NULL: nothing goes */
    void *erase_ctx;
    bool ask_only; /* with `erase`: only says whether it wants something, by ret->sources */
    bool as_is;    /* of one source: blocks are copied whatever their size, to a file of its own */
    struct block_encoder *encoder; /* for those who make many rewrites; NULL: one of its own */
    rewrite_pace_fn *pace;         /* may be NULL */
    void *pace_ctx;
};

struct rewrite_result {
    uint64_t sources, source_bytes;
    uint64_t outputs, output_bytes;
    uint64_t blocks_copied, blocks_encoded;
    uint64_t entries;        /* written */
    uint64_t duplicates;     /* left out: stood there already */
    uint64_t erased_entries; /* left out: asked by `erase` */
    uint64_t erased_bytes;   /* of their lines */
};

void rewrite_result_add(struct rewrite_result *sums, const struct rewrite_result *r);

/* Does it all, the index included. On an error the store is as before. With `erase` and nothing to erase in any source,
 * nothing is written: *ret has no outputs and no sources. -ESTALE: a source has gone meanwhile; -ECORRUPT: a source
 * is damaged, *ret_bad (may be NULL) is its number among the sources; -E2BIG: too many blocks of the sources overlap, try
 * with fewer; -ENOSPC, -EIO, -ENOMEM; whatever `pace` and `erase` return. */
int store_rewrite(struct store *s, const struct rewrite *w, struct rewrite_result *ret,
                  size_t *ret_bad, struct err *reterr);
