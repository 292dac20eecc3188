#include "opened.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
    o->answer = (struct opened_answer){0};
    arena_reset(&o->arena);
}

/* ---- the last answer */

bool opened_recall(const struct opened *o, uint32_t count, struct str literal, bool fold,
                   uint8_t *levels) {
    const struct opened_answer *a = &o->answer;
    if (!a->is_known || a->fold != fold || !str_eq(literal, str_make(a->literal, a->size)))
        return false;
    for (uint32_t w = 0; w <= (count - 1) / 64; w++) {
        for (uint64_t bits = a->maybe[w]; bits; bits &= bits - 1) {
            uint8_t *level = &levels[w * 64 + (uint32_t)__builtin_ctzll(bits)];
            *level = *level > LINETAB_MAYBE ? *level : LINETAB_MAYBE;
        }
        for (uint64_t bits = a->yes[w]; bits; bits &= bits - 1)
            levels[w * 64 + (uint32_t)__builtin_ctzll(bits)] = LINETAB_YES;
    }
    return true;
}

void opened_remember(struct opened *o, uint32_t count, struct str literal, bool fold,
                     const uint8_t *levels) {
    struct opened_answer *a = &o->answer;
    size_t words = (count - 1) / 64 + 1;
    a->is_known = false;
    if (literal.size > OPENED_LITERAL_MAX)
        return;
    if (!a->maybe && !(a->maybe = arena_array(&o->arena, 2 * words, sizeof(*a->maybe))))
        return; /* it is looked for again, then */
    a->yes = a->maybe + words;
    memset(a->maybe, 0, 2 * words * sizeof(*a->maybe));
    for (uint32_t i = 0; i < count; i++) {
        a->maybe[i / 64] |= (uint64_t)(levels[i] == LINETAB_MAYBE) << (i % 64);
        a->yes[i / 64] |= (uint64_t)(levels[i] == LINETAB_YES) << (i % 64);
    }
    memcpy(a->literal, literal.data, literal.size);
    a->size = (uint8_t)literal.size;
    a->fold = fold;
    a->is_known = true;
}

/* ---- the shelf */

static void free_shelved(struct shelved *what) {
    struct opened *o = (struct opened *)what;
    opened_done(o);
    free(o);
}

static_assert(offsetof(struct opened, shelved) == 0, "the shelf knows an opened block by its head");

struct opened *opened_take(struct shelf_row *row, uint32_t block, bool again) {
    struct shelved *what = NULL;
    switch (shelf_take(row, block, again, &what)) {
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
