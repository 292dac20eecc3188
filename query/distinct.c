#include "distinct.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SLOTS = 256 };

void distinct_done(struct distinct *d) {
    free(d->slots);
    *d = (struct distinct){0};
}

/* The hash's slot, or the free one where it belongs. */
static uint64_t *find_slot(uint64_t *slots, size_t capacity, uint64_t hash) {
    size_t at = (size_t)hash & (capacity - 1);
    while (slots[at] && slots[at] != hash)
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static int grow(struct distinct *d) {
    size_t capacity = d->capacity ? d->capacity * 2 : FIRST_SLOTS;
    uint64_t *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < d->capacity; i++)
        if (d->slots[i])
            *find_slot(slots, capacity, d->slots[i]) = d->slots[i];
    free(d->slots);
    d->slots = slots;
    d->capacity = capacity;
    return 0;
}

int distinct_add(struct distinct *d, uint64_t hash) {
    if (hash == 0)
        hash = 1;
    if ((d->count + 1) * 2 > d->capacity && d->count < DISTINCT_MAX) {
        int r = grow(d);
        if (r < 0)
            return r;
    }
    uint64_t *slot = find_slot(d->slots, d->capacity, hash);
    if (*slot || d->count >= DISTINCT_MAX)
        return 0;
    *slot = hash;
    d->count++;
    return 1;
}
