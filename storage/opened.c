#include "opened.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { ARENA_MAX = 256 << 20 };

void opened_init(struct opened *o) {
    *o = (struct opened){.arena = arena_make(ARENA_MAX)};
}

void opened_done(struct opened *o) {
    if (!o->on_shelf) {
        free(o->times);
        free(o->head);
    }
    linetab_free(o->table);
    arena_done(&o->arena);
}

int opened_reserve(struct opened *o, void **buffer, size_t *capacity_bytes, size_t size) {
    if (size <= *capacity_bytes)
        return 0;
    size_t wanted = o->on_shelf ? size : size + size / 4 + 512;
    if (!o->on_shelf) {
        free(*buffer);
        *buffer = NULL;
        *capacity_bytes = 0;
    }
    void *p = o->on_shelf ? arena_alloc(&o->arena, wanted) : malloc(wanted);
    if (!p)
        return -ENOMEM;
    *buffer = p;
    *capacity_bytes = wanted;
    return 0;
}

int opened_make_table(struct opened *o, struct linetab_tools *tools) {
    if (!o->table)
        o->table = o->on_shelf ? linetab_new_in(tools, &o->arena) : linetab_new_with(tools);
    return o->table ? 0 : -ENOMEM;
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
        while (count - i >= 8 && get_le64(levels + i) == 0) /* most of them */
            i += 8;
        if (i == count)
            break;
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
    *o = (struct opened){.on_shelf = true,
                         .reads_lines = true,
                         .shelved.free = free_shelved,
                         .arena = arena_make_in(shelf_slab(row), ARENA_MAX)};
    return o;
}

void opened_put(struct opened *o, struct shelf_row *row, uint32_t block, bool worth) {
    assert(o->reads_lines); /* so that the table's bytes are here, too */
    if (!worth || (!o->have_times && !o->table_open)) {
        free_shelved(&o->shelved);
        shelf_put(row, block, NULL, 0);
        return;
    }
    size_t table = o->table ? linetab_cost_bytes(o->table) : 0;
    shelf_put(row, block, &o->shelved, sizeof(*o) + o->arena.total_bytes + table);
}
