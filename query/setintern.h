/* setintern: the table of distinct label sets of a run. Equal sets give the same pointer. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "pipeline.h"

struct set_item {
    struct label label;
    uint64_t hash; /* of name, value and group */
    uint8_t group; /* enum label_group */
};

struct set_entry {
    struct line_labels labels; /* what callers see */
    struct str error, details;
    uint64_t key;           /* sum of the items' hashes: the order of fields does not matter */
    struct set_item *items; /* in the order they came */
    size_t count;
};

struct set_table {
    struct arena arena;
    struct set_entry **slots;
    size_t n_slots, count;
};

void set_table_init(struct set_table *t);
void set_table_done(struct set_table *t);

/* Items in any order; names are distinct. `error` and `details` become the parsed labels
 * __error__ and __error_details__ when not empty. NULL without memory. */
const struct line_labels *set_table_intern(struct set_table *t, struct set_item *items,
                                           size_t count, struct str error, struct str details);
