#include "map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hash.h"

static char deleted_mark;
#define MAP_DELETED ((void *)&deleted_mark)

void map_done(struct map *m) {
    if (!m)
        return;
    free(m->slots);
    *m = (struct map){0};
}

static struct map_slot *find_slot(const struct map *m, struct str key, uint64_t hash) {
    if (m->capacity == 0)
        return NULL;
    size_t mask = m->capacity - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (!s->value)
            return NULL;
        if (s->value != MAP_DELETED && s->hash == hash && str_eq(s->key, key))
            return s;
    }
}

void *map_get_hashed(const struct map *m, struct str key, uint64_t hash) {
    struct map_slot *s = find_slot(m, key, hash);
    return s ? s->value : NULL;
}

void *map_get(const struct map *m, struct str key) {
    return map_get_hashed(m, key, hash_str(key));
}

static int resize(struct map *m, size_t capacity) {
    struct map_slot *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    size_t mask = capacity - 1;
    for (size_t i = 0; i < m->capacity; i++) {
        struct map_slot *s = &m->slots[i];
        if (!s->value || s->value == MAP_DELETED)
            continue;
        size_t at = (size_t)s->hash & mask;
        while (slots[at].value)
            at = (at + 1) & mask;
        slots[at] = *s;
    }
    free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
    m->used = m->count;
    return 0;
}

int map_put_hashed(struct map *m, struct str key, uint64_t hash, void *value) {
    assert(value && value != MAP_DELETED);
    struct map_slot *s = find_slot(m, key, hash);
    if (s) {
        s->value = value;
        return 0;
    }
    if (m->used + 1 > m->capacity / 8 * 7) {
        size_t capacity = m->capacity < 16 ? 16 : m->capacity;
        if (m->count + 1 > capacity / 2)
            capacity *= 2;
        int r = resize(m, capacity);
        if (r < 0)
            return r;
    }
    size_t mask = m->capacity - 1;
    size_t at = (size_t)hash & mask;
    while (m->slots[at].value && m->slots[at].value != MAP_DELETED)
        at = (at + 1) & mask;
    if (!m->slots[at].value)
        m->used++;
    m->slots[at] = (struct map_slot){.key = key, .hash = hash, .value = value};
    m->count++;
    return 0;
}

int map_put(struct map *m, struct str key, void *value) {
    return map_put_hashed(m, key, hash_str(key), value);
}

void *map_remove(struct map *m, struct str key) {
    struct map_slot *s = find_slot(m, key, hash_str(key));
    if (!s)
        return NULL;
    void *value = s->value;
    s->value = MAP_DELETED;
    m->count--;
    return value;
}

bool map_next(const struct map *m, size_t *at, struct str *ret_key, void **ret_value) {
    for (; *at < m->capacity; (*at)++) {
        const struct map_slot *s = &m->slots[*at];
        if (!s->value || s->value == MAP_DELETED)
            continue;
        *ret_key = s->key;
        *ret_value = s->value;
        (*at)++;
        return true;
    }
    return false;
}
