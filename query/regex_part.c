#include "regex_part.h"

#include <stdint.h>
#include <string.h>

enum {
    PRODUCT_MAX = 64,     /* strings of a product of neighbours */
    SET_MAX = 4096,       /* alternatives of one expression */
    REQUIRED_MAX = 64,    /* more would not narrow a search any further */
    MEMORY_MAX = 4 << 20, /* for the strings of one expression */
};

void *part_alloc(struct part_memory *m, size_t size) {
    m->bytes += size;
    void *p = m->bytes <= MEMORY_MAX ? arena_alloc(m->arena, size > 0 ? size : 1) : NULL;
    if (!p)
        m->given_up = true;
    return p;
}

/* ---- string lists */

static struct string_list list_of(struct part_memory *m, struct str s) {
    struct str *items = part_alloc(m, sizeof(*items));
    if (!items)
        return (struct string_list){0};
    items[0] = s;
    return (struct string_list){.items = items, .count = 1};
}

static struct string_list list_join(struct part_memory *m, struct string_list x,
                                    struct string_list y) {
    if (x.count == 0 || y.count == 0)
        return x.count == 0 ? y : x;
    struct str *items = part_alloc(m, (x.count + y.count) * sizeof(*items));
    if (!items)
        return (struct string_list){0};
    memcpy(items, x.items, x.count * sizeof(*items));
    memcpy(items + x.count, y.items, y.count * sizeof(*items));
    return (struct string_list){.items = items, .count = x.count + y.count};
}

/* Appends to a list that nobody else holds. */
static void list_grow(struct part_memory *m, struct string_list *list, struct string_list more) {
    if (list->count + more.count > list->capacity) {
        size_t capacity = 2 * (list->count + more.count);
        struct str *items = part_alloc(m, capacity * sizeof(*items));
        if (!items)
            return;
        memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
        list->capacity = capacity;
    }
    memcpy((struct str *)list->items + list->count, more.items, more.count * sizeof(*more.items));
    list->count += more.count;
}

static struct string_list list_product(struct part_memory *m, struct string_list x,
                                       struct string_list y) {
    struct str *items = part_alloc(m, x.count * y.count * sizeof(*items));
    if (!items)
        return (struct string_list){0};
    size_t count = 0;
    for (size_t i = 0; i < x.count; i++) {
        for (size_t k = 0; k < y.count; k++) {
            size_t size = x.items[i].size + y.items[k].size;
            char *data = part_alloc(m, size);
            if (!data)
                return (struct string_list){0};
            if (x.items[i].size > 0)
                memcpy(data, x.items[i].data, x.items[i].size);
            if (y.items[k].size > 0)
                memcpy(data + x.items[i].size, y.items[k].data, y.items[k].size);
            items[count++] = str_make(data, size);
        }
    }
    return (struct string_list){.items = items, .count = count};
}

size_t string_list_shortest(struct string_list list) {
    size_t size = SIZE_MAX;
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i].size < size)
            size = list.items[i].size;
    return list.count > 0 ? size : 0;
}

/* Which of two disjunctions says more: the longer its shortest member, the better. */
static struct string_list better(struct string_list x, struct string_list y) {
    size_t a = string_list_shortest(x), b = string_list_shortest(y);
    if (a != b)
        return a > b ? x : y;
    return x.count <= y.count ? x : y;
}

/* ---- parts */

struct part part_exact(struct part_memory *m, struct str s) {
    struct part p = {.exact = true, .set = list_of(m, s), .may_be_empty = s.size == 0};
    return p;
}

struct part part_facts(struct part p) {
    if (!p.exact)
        return p;
    struct part facts = {.may_be_empty = p.may_be_empty};
    if (string_list_shortest(p.set) == 0)
        return facts;
    if (p.set.count == 1)
        facts.required = p.set;
    facts.any_of = p.set;
    return facts;
}

static void add_facts(struct part_memory *m, struct part *to, struct part from) {
    from = part_facts(from);
    if (to->required.count + from.required.count <= REQUIRED_MAX)
        to->required = list_join(m, to->required, from.required);
    to->any_of = better(to->any_of, from.any_of);
}

struct part_concat part_concat_begin(struct part_memory *m) {
    return (struct part_concat){.tail = part_exact(m, STR("")), .may_be_empty = true};
}

void part_concat_add(struct part_memory *m, struct part_concat *c, struct part p) {
    c->may_be_empty = c->may_be_empty && p.may_be_empty;
    if (p.is_anchor) {
        c->inexact = true;
        return;
    }
    if (!p.exact) {
        add_facts(m, &c->facts, c->tail);
        add_facts(m, &c->facts, p);
        c->tail = part_exact(m, STR(""));
        c->inexact = true;
        return;
    }
    bool single = c->tail.set.count == 1 && c->tail.set.items[0].size == 0;
    if (single) {
        c->tail = p;
    } else if (c->tail.set.count * p.set.count <= PRODUCT_MAX) {
        c->tail.set = list_product(m, c->tail.set, p.set);
    } else {
        add_facts(m, &c->facts, c->tail);
        c->tail = p;
        c->inexact = true;
    }
}

struct part part_concat_end(struct part_memory *m, struct part_concat *c) {
    struct part p;
    if (!c->inexact) {
        p = c->tail;
    } else {
        add_facts(m, &c->facts, c->tail);
        p = c->facts;
    }
    p.may_be_empty = c->may_be_empty;
    return p;
}

struct part part_either(struct part_memory *m, struct part x, struct part y) {
    struct part p = {.may_be_empty = x.may_be_empty || y.may_be_empty};
    if (x.exact && y.exact && x.set.count + y.set.count <= SET_MAX) {
        p.exact = true;
        p.set = list_join(m, x.set, y.set);
        return p;
    }
    x = part_facts(x);
    y = part_facts(y);
    struct string_list sides[2] = {x.any_of, y.any_of};
    for (int i = 0; i < 2; i++) {
        struct string_list required = i == 0 ? x.required : y.required;
        for (size_t k = 0; k < required.count; k++) {
            struct string_list one = {.items = &required.items[k], .count = 1};
            sides[i] = better(sides[i], one);
        }
    }
    if (sides[0].count > 0 && sides[1].count > 0 && sides[0].count + sides[1].count <= SET_MAX)
        p.any_of = list_join(m, sides[0], sides[1]);
    return p;
}

void part_add_alternative(struct part_memory *m, struct part *p, struct part next) {
    if (p->exact && next.exact && p->set.count + next.set.count <= SET_MAX) {
        list_grow(m, &p->set, next.set);
        p->may_be_empty = p->may_be_empty || next.may_be_empty;
    } else {
        *p = part_either(m, *p, next);
    }
}
