/* rows: entries of one stream in memory, not yet encoded: the open block of a head. Append-only arrays that never
 * move under a reader: when they must grow, a new struct rows with copies takes over and the old one lives as
 * long as a snapshot refers to it. A snapshot is therefore (rows, count), taken under the stream's lock, and its
 * first `count` entries never change.
 *
 * Writers hold the stream's lock; readers need none. Entries stand in arrival order. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "entry.h"
#include "labels.h"

/* Metadata sets of a block, shared by the rows objects that follow each other while the block grows. Set 0 is
 * always the empty set. */
struct meta_sets;

struct rows { /* the arrays stand behind it in one allocation */
    atomic_int refs;
    uint32_t capacity;
    uint32_t lines_capacity;
    int64_t *times;
    uint32_t
        *offsets; /* capacity + 1; line i is [offsets[i], offsets[i + 1] - 1), '\n' behind it */
    uint32_t *meta_ids;
    char *lines;
    const struct labels **sets; /* of meta_sets */
    uint32_t sets_capacity;
    struct meta_sets *meta;
};

/* The writer's view of the block being filled. */
struct rows_builder {
    struct rows *rows; /* NULL until the first entry */
    uint32_t count;
    uint32_t n_sets;
    uint32_t line_bytes; /* without separators */
    uint32_t meta_bytes;
    int64_t min_ns, max_ns; /* of the entries */
    bool sorted;
    uint64_t *seen; /* lazily: hashes of all entries, open addressing, to find duplicates */
    uint32_t seen_capacity, seen_count;
    /* Sizes that the stream's last full block had: the next one starts with them instead of growing to them. */
    uint32_t hint_entries, hint_lines;
};

/* Arrays of metadata that entries of one batch share, by address: what set they are in the present block. All zero at
 * first, and again when another batch or block begins. */
enum { ROWS_RECENT = 8 };
struct rows_recent {
    struct rows_recent_set {
        const struct label *meta;
        uint32_t count, id, bytes;
    } sets[ROWS_RECENT];
};

/* Metadata counts, too: a block of short lines with large metadata must not outgrow its encoder. */
enum { ROWS_META_MAX = 4 << 20 };
static inline bool rows_are_full(const struct rows_builder *b) {
    return b->line_bytes >= BLOCK_RAW_TARGET || b->count >= BLOCK_ENTRIES_MAX ||
           b->meta_bytes >= ROWS_META_MAX;
}

/* Makes room for these entries, as far as they go into the block at hand, so that appending them grows its arrays once at
 * most. 0 or -ENOMEM. */
int rows_reserve(struct rows_builder *b, const struct entry *entries, size_t count);

/* Appends one entry (copied) unless the same entry is there already. 1 appended, 0 duplicate, -ENOMEM. `recent` may be
 * NULL. */
int rows_add(struct rows_builder *b, const struct entry *e, struct rows_recent *recent);

/* Appends entries as long as there is room, the block is not full, and they are as nearly all are: later than all before
 * and with metadata that is in `recent`. How many; the next one is for rows_add. */
size_t rows_add_run(struct rows_builder *b, const struct entry *entries, size_t count,
                    struct rows_recent *recent);

/* Bytes that the builder's memory takes. */
size_t rows_memory(const struct rows_builder *b);

/* Hands the rows to the caller (its reference) and makes the builder empty. */
struct rows *rows_take(struct rows_builder *b);
void rows_builder_done(struct rows_builder *b);

struct rows *rows_ref(struct rows *r);
void rows_unref(struct rows *r);

static inline struct str rows_line(const struct rows *r, uint32_t i) {
    return str_make(r->lines + r->offsets[i], r->offsets[i + 1] - 1 - r->offsets[i]);
}

/* Entry numbers [0, count) in time order, arrival order among equals. 0 or -ENOMEM. */
int rows_time_order(const struct rows *r, uint32_t count, uint32_t *ret_order);

/* Size of a set as Loki counts it: names and values. */
uint32_t labels_bytes(struct labels labels);
