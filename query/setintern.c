#include "setintern.h"

#include <stdlib.h>

#include "hash.h"
#include "labelset.h"

enum { FIRST_SLOTS = 64 };

/* Distinct sets are what a query's result is made of; the executor's limits on series and entries stop a query
 * long before this. */
#define SETS_BYTES_MAX ((size_t)1 << 30)

void set_table_init(struct set_table *t) {
    *t = (struct set_table){.arena = arena_make_for(BUDGET_QUERIES, SETS_BYTES_MAX)};
}

void set_table_done(struct set_table *t) {
    arena_done(&t->arena);
    free(t->slots);
    *t = (struct set_table){0};
}

static bool table_grow(struct set_table *t) {
    if (t->n_slots > 0 && (t->count + 1) * 2 <= t->n_slots)
        return true;
    size_t size = t->n_slots ? t->n_slots * 2 : FIRST_SLOTS;
    struct set_entry **slots = calloc(size, sizeof(struct set_entry *));
    if (!slots)
        return false;
    for (size_t i = 0; i < t->n_slots; i++) {
        if (!t->slots[i])
            continue;
        size_t at = (size_t)t->slots[i]->key & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = size;
    return true;
}

static bool item_eq(const struct set_item *a, const struct set_item *b) {
    return a->hash == b->hash && a->group == b->group && str_eq(a->label.value, b->label.value) &&
           str_eq(a->label.name, b->label.name);
}

/* Both hold distinct names, so equal counts and containment are equality. Lines of one stream mostly have their
 * fields in the same order, which the entry's `items` follow: the search begins where the last one ended. */
static bool entry_matches(const struct set_entry *e, const struct set_item *items, size_t count) {
    if (e->count != count)
        return false;
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        size_t tried = 0;
        while (tried < count && !item_eq(&e->items[from], &items[i])) {
            from = from + 1 == count ? 0 : from + 1;
            tried++;
        }
        if (tried == count)
            return false;
        from = from + 1 == count ? 0 : from + 1;
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct set_item *x = a, *y = b;
    return str_cmp(x->label.name, y->label.name);
}

/* The items' labels of one group (GROUP_NONE: all), in the order of `sorted`. */
static bool fill(struct set_table *t, const struct set_item *sorted, size_t count,
                 enum label_group group, struct labels *ret) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += group == GROUP_NONE || sorted[i].group == group;
    struct label *out = arena_array(&t->arena, n + 1, sizeof(*out));
    if (!out)
        return false;
    *ret = (struct labels){.items = out, .count = n};
    for (size_t i = 0; i < count; i++)
        if (group == GROUP_NONE || sorted[i].group == group)
            *out++ = sorted[i].label;
    return true;
}

/* Adds the pair, in place of a field of the line that happens to bear the name. */
static size_t put_error(struct set_item *items, size_t count, struct str name, struct str value) {
    if (value.size == 0)
        return count;
    size_t at = 0;
    while (at < count && !str_eq(items[at].label.name, name))
        at++;
    items[at] = (struct set_item){.label = {.name = name, .value = value}, .group = GROUP_PARSED};
    return at == count ? count + 1 : count;
}

static struct set_entry *entry_new(struct set_table *t, const struct set_item *items, size_t count,
                                   struct str error, struct str details) {
    struct set_entry *e = arena_array(&t->arena, 1, sizeof(*e));
    struct set_item *own = arena_array(&t->arena, count + 1, sizeof(*own));
    struct set_item *sorted = arena_array(&t->arena, count + 2, sizeof(*sorted));
    if (!e || !own || !sorted)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        own[i] = items[i];
        own[i].label.name = arena_copy(&t->arena, items[i].label.name);
        own[i].label.value = arena_copy(&t->arena, items[i].label.value);
        if (!own[i].label.name.data || !own[i].label.value.data)
            return NULL;
        sorted[i] = own[i];
    }
    e->items = own;
    e->count = count;
    e->error = arena_copy(&t->arena, error);
    e->details = arena_copy(&t->arena, details);
    if (!e->error.data || !e->details.data)
        return NULL;
    size_t n = put_error(sorted, count, STR("__error__"), e->error);
    n = put_error(sorted, n, STR("__error_details__"), e->details);
    qsort(sorted, n, sizeof(*sorted), by_name);
    struct line_labels *l = &e->labels;
    l->error = e->error;
    l->id = (uint32_t)t->count;
    if (!fill(t, sorted, n, GROUP_NONE, &l->merged) ||
        !fill(t, sorted, n, GROUP_STREAM, &l->stream) ||
        !fill(t, sorted, n, GROUP_META, &l->metadata) ||
        !fill(t, sorted, n, GROUP_PARSED, &l->parsed))
        return NULL;
    l->hash = labels_hash(l->merged);
    return e;
}

const struct line_labels *set_table_intern(struct set_table *t, struct set_item *items,
                                           size_t count, struct str error, struct str details) {
    uint64_t key = count;
    for (size_t i = 0; i < count; i++)
        key += items[i].hash;
    if (error.size > 0 || details.size > 0)
        key = hash_mix(key, hash_mix(hash_str(error), hash_str(details)));
    if (!table_grow(t))
        return NULL;
    size_t at = (size_t)key & (t->n_slots - 1);
    for (; t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
        struct set_entry *e = t->slots[at];
        if (e->key == key && str_eq(e->error, error) && str_eq(e->details, details) &&
            entry_matches(e, items, count))
            return &e->labels;
    }
    struct set_entry *e = entry_new(t, items, count, error, details);
    if (!e)
        return NULL;
    e->key = key;
    t->slots[at] = e;
    t->count++;
    return &e->labels;
}
