#include "name_set.h"

#include <errno.h>
#include <stdlib.h>

#include "hash.h"

void name_set_init(struct name_set *n, enum budget_kind account, size_t max_bytes) {
    *n = (struct name_set){.arena = arena_make_for(account, max_bytes), .seen = map_make()};
}

void name_set_done(struct name_set *n) {
    map_done(&n->seen);
    arena_done(&n->arena);
    free(n->items);
    *n = (struct name_set){0};
}

bool name_set_have(const struct name_set *n, struct str name) {
    return map_get(&n->seen, name) != NULL;
}

int name_set_add(struct name_set *n, struct str name) {
    uint64_t hash = hash_str(name);
    if (map_get_hashed(&n->seen, name, hash))
        return 0;
    if (n->count == n->capacity) {
        size_t capacity = n->capacity ? n->capacity * 2 : 64;
        struct str *items = realloc(n->items, capacity * sizeof(*items));
        if (!items)
            return -ENOMEM;
        n->items = items;
        n->capacity = capacity;
    }
    struct str copy = arena_copy(&n->arena, name);
    if (!copy.data || map_put_hashed(&n->seen, copy, hash, n) < 0)
        return -ENOMEM;
    n->items[n->count++] = copy;
    return 1;
}

int name_set_add_labels(struct name_set *n, const struct name_query *q, struct labels labels,
                        size_t *left) {
    int r = 0;
    if (q->label.data) {
        struct str value = labels_get(labels, q->label);
        r = value.size > 0 ? name_set_add(n, value) : 0;
        return r < 0 ? r : 0;
    }
    for (size_t i = 0; i < labels.count && r >= 0; i++) {
        r = name_set_add(n, labels.items[i].name);
        if (r == 1 && *left > 0)
            (*left)--;
    }
    return r < 0 ? r : 0;
}

static int compare(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void name_set_sort(struct name_set *n) {
    if (n->count > 1)
        qsort(n->items, n->count, sizeof(*n->items), compare);
}
