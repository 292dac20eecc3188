/* block_shelf: blocks as a reader has opened them (blockref.c), put aside for the next query that wants the same ones: a
 * dashboard or a search asks the newest minutes again and again. Reading, checking and opening a block again costs half of
 * what asking it does.
 *
 * A block belongs to its reader while it is off the shelf, so that nothing in it needs a lock; another reader that comes
 * meanwhile opens it for itself. It is put aside when it is read a second time, or for a second time, and the ones that were
 * not used for longest go when the budget is exceeded. What is on the shelf is charged to BUDGET_QUERIES, and nothing is put
 * there while queries are short of memory. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lru.h"

struct block_shelf;
struct shelf_row;

/* The head of what is put aside. */
struct shelved {
    struct lru_link link;
    struct shelved *next; /* of those that are to be freed */
    struct shelf_row *row;
    uint32_t block;
    size_t cost_bytes;
    void (*free)(struct shelved *what);
};

struct block_shelf *block_shelf_new(size_t budget_bytes);
/* All rows are gone. */
void block_shelf_free(struct block_shelf *s);

/* Memory for what is put aside, and else goes and comes with blocks; it is given back before the shelf is freed. */
struct slab;
struct slab *block_shelf_slab(const struct block_shelf *s);
struct slab *shelf_slab(const struct shelf_row *row);

/* The blocks of one chunk; it goes with the chunk, when nobody reads it any more. NULL without memory. */
struct shelf_row *shelf_row_new(struct block_shelf *s, uint32_t n_blocks);
void shelf_row_free(struct shelf_row *row);

/* SHELF_USE: *ret is the caller's, who puts it back. SHELF_FILL: there is none, but the caller is to put one there; or
 * NULL. SHELF_PASS: neither. `again`: the caller is going to take it once more, so that the first reading counts as the
 * second. */
enum shelf_answer { SHELF_PASS, SHELF_FILL, SHELF_USE };
enum shelf_answer shelf_take(struct shelf_row *row, uint32_t block, bool again,
                             struct shelved **ret);
/* After SHELF_FILL or SHELF_USE. Takes `what` over. NULL: there is nothing worth keeping. */
void shelf_put(struct shelf_row *row, uint32_t block, struct shelved *what, size_t cost_bytes);

void block_shelf_stats(struct block_shelf *s, uint64_t *ret_bytes, uint64_t *ret_count);
