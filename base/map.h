/* map: byte strings -> pointers. Open addressing, power-of-two slots, at most 7/8 full. Keys are
 * BORROWED: the caller keeps their bytes alive while they are in the map. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

struct map_slot {
    struct str key;
    uint64_t hash;
    void *value; /* NULL = free; MAP_DELETED = was used */
};

struct map {
    struct map_slot *slots;
    size_t capacity;
    size_t count;
    size_t used; /* count + deleted */
};

static inline struct map map_make(void) {
    return (struct map){0};
}
void map_done(struct map *m);

/* The value of `key`, or NULL. */
void *map_get(const struct map *m, struct str key);
void *map_get_hashed(const struct map *m, struct str key, uint64_t hash);

/* Sets `key` to `value` (not NULL), replacing; the old key bytes stay when it existed. 0 or -ENOMEM. */
int map_put(struct map *m, struct str key, void *value);
int map_put_hashed(struct map *m, struct str key, uint64_t hash, void *value);

/* Returns the removed value, or NULL. */
void *map_remove(struct map *m, struct str key);

/* Iterates: start with *at = 0; false at the end. Removing the present key is allowed, adding is not. */
bool map_next(const struct map *m, size_t *at, struct str *ret_key, void **ret_value);
