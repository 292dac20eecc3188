#include "recent.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 256 };

/* The slot of the hash, or the free one where it belongs. */
static size_t find(const struct recent_set *s, uint64_t hash) {
    size_t at = hash & (s->capacity - 1);
    while (s->slots[at] != 0 && s->slots[at] != hash)
        at = (at + 1) & (s->capacity - 1);
    return at;
}

static bool has(const struct recent_set *s, uint64_t hash) {
    return s->capacity > 0 && s->slots[find(s, hash)] == hash;
}

static bool grow(struct recent_set *s) {
    struct recent_set bigger = {.capacity = s->capacity ? s->capacity * 2 : FIRST_CAPACITY,
                                .count = s->count};
    bigger.slots = calloc(bigger.capacity, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < s->capacity; i++)
        if (s->slots[i] != 0)
            bigger.slots[find(&bigger, s->slots[i])] = s->slots[i];
    free(s->slots);
    *s = bigger;
    return true;
}

void recent_done(struct recent *r) {
    free(r->now.slots);
    free(r->before.slots);
    *r = (struct recent){0};
}

static void next_generation(struct recent *r, int64_t now_ns) {
    free(r->before.slots);
    r->before = r->now;
    r->now = (struct recent_set){0};
    r->began_ns = now_ns;
}

bool recent_add(struct recent *r, uint64_t hash, int64_t now_ns) {
    hash += hash == 0;
    if (r->now.count >= RECENT_MAX || now_ns - r->began_ns >= RECENT_SECONDS * INT64_C(1000000000))
        next_generation(r, now_ns);
    if (has(&r->now, hash) || has(&r->before, hash))
        return false;
    /* At most half full. */
    if (r->now.count * 2 >= r->now.capacity && !grow(&r->now))
        return true;
    r->now.slots[find(&r->now, hash)] = hash;
    r->now.count++;
    return true;
}
