#include "opened.h"

#include <assert.h>
#include <stdlib.h>

enum { META_ARENA_MAX = 256 << 20 };

void opened_init(struct opened *o) {
    *o = (struct opened){.head = buf_make(BLOCK_RAW_MAX), .arena = arena_make(META_ARENA_MAX)};
}

void opened_done(struct opened *o) {
    free(o->times);
    buf_done(&o->head);
    linetab_free(o->table);
    arena_done(&o->arena);
}

void opened_reset(struct opened *o) {
    o->have_times = o->have_head = o->have_all_meta = o->table_open = o->reads_lines = false;
    o->columns = NULL;
    o->n_columns = 0;
    arena_reset(&o->arena);
}

static void free_shelved(struct shelved *what) {
    struct opened *o = (struct opened *)what;
    opened_done(o);
    free(o);
}

static_assert(offsetof(struct opened, shelved) == 0, "the shelf knows an opened block by its head");

struct opened *opened_take(struct shelf_row *row, uint32_t block) {
    struct shelved *what = NULL;
    switch (shelf_take(row, block, &what)) {
    case SHELF_PASS:
        return NULL;
    case SHELF_USE:
        return (struct opened *)what;
    case SHELF_FILL:
        break;
    }
    struct opened *o = malloc(sizeof(*o));
    if (!o) {
        shelf_put(row, block, NULL, 0);
        return NULL;
    }
    opened_init(o);
    o->shelved.free = free_shelved;
    return o;
}

/* What was read serves the table alone once the other columns are decoded. */
static void leave_unneeded(struct opened *o) {
    if (o->table_open && o->reads_lines)
        return;
    buf_done(&o->head);
    linetab_free(o->table);
    o->table = NULL;
    o->have_head = o->table_open = o->reads_lines = false;
}

void opened_put(struct opened *o, struct shelf_row *row, uint32_t block, bool worth) {
    leave_unneeded(o);
    if (!worth || (!o->have_times && !o->table_open)) {
        free_shelved(&o->shelved);
        shelf_put(row, block, NULL, 0);
        return;
    }
    size_t table = o->table ? linetab_cost_bytes(o->table) : 0;
    shelf_put(row, block, &o->shelved,
              sizeof(*o) + o->times_capacity * sizeof(*o->times) + o->head.capacity +
                  o->arena.total_bytes + table);
}
