/* snapshot (private to storage): what a query sees. Blocks are held by reference until the snapshot is freed. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "blockref.h"
#include "erase.h"
#include "store_private.h"

enum block_place { PLACE_ROWS, PLACE_MEMORY, PLACE_CHUNK };

struct block_ref {
    enum block_place place;
    int data_dir_fd;
    struct block_ref_info info;
    /* Age among the blocks of the stream: files before memory, older before newer. Among entries that are the same,
     * the one in the oldest block counts. */
    uint64_t order;
    union {
        struct {
            struct rows *rows; /* reference held */
            uint32_t n_sets;
            bool sorted;
        } rows;
        struct mem_block *memory; /* reference held */
        struct {
            struct cached_chunk *cached; /* held */
            uint32_t index;
        } chunk;
    };
    /* The stream's blocks, for finding duplicates among those that overlap. */
    const struct block_ref *const *siblings;
    size_t n_siblings;
    const struct erasing *erasing; /* NULL: nothing is asked of its entries */
    /* Found at first use by whichever worker comes first; &no_dead when there is none. */
    _Atomic(uint64_t *) dead;
};

/* A stream of which some entries may have been asked to vanish. */
struct erasing {
    const struct eraser *eraser;
    const struct erase_set *set; /* the snapshot's */
    struct labels labels;
};

extern uint64_t no_dead;

struct snapshot {
    struct store *store;
    struct snapshot *next, *previous; /* store.snap_lock */
    uint64_t clock;
    struct arena arena;
    struct snap_stream *streams;
    size_t n_streams;
    struct block_ref *refs; /* all of them */
    size_t n_refs;
    const struct eraser *eraser;
    struct erase_set *erase_set; /* a reference, or NULL */
    uint64_t n_excluded;         /* blocks that select.grams left out */
    uint64_t n_lost;             /* chunk files that cannot be opened */
    bool is_union;               /* snapshot_union.c: the children hold what `streams` refers to */
    struct snapshot **children;
    size_t n_children;
    struct stream **pinned;
    size_t n_pinned;
    struct cached_chunk **held;
    size_t n_held;
};

/* ---- overlap.c: duplicates among overlapping blocks. `r` has the block open; `other` is a second reader. */
int overlap_find_dead(struct block_reader *r, struct block_reader *other,
                      const struct block_ref *block, uint64_t **ret, struct err *reterr);
