#include "horizon.h"

#include <errno.h>
#include <stdlib.h>

void horizon_done(struct horizon *h) {
    free(h->keys);
    *h = (struct horizon){0};
}

static int grow(struct horizon *h) {
    size_t capacity = h->capacity ? h->capacity * 2 : 256;
    if (capacity > h->limit)
        capacity = h->limit;
    int64_t *keys = realloc(h->keys, capacity * sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    h->keys = keys;
    h->capacity = capacity;
    return 0;
}

static void sift_up(struct horizon *h, int64_t key) {
    size_t i = h->n++;
    for (size_t parent; i > 0 && h->keys[parent = (i - 1) / 2] > key; i = parent)
        h->keys[i] = h->keys[parent];
    h->keys[i] = key;
}

/* In place of the worst. */
static void sift_down(struct horizon *h, int64_t key) {
    size_t i = 0;
    for (size_t child = 1; child < h->n; child = 2 * i + 1) {
        child += child + 1 < h->n && h->keys[child + 1] < h->keys[child];
        if (h->keys[child] >= key)
            break;
        h->keys[i] = h->keys[child];
        i = child;
    }
    h->keys[i] = key;
}

int horizon_add(struct horizon *h, const int64_t *times_ns, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t key = h->backward ? times_ns[i] : ~times_ns[i];
        if (h->n == h->limit) {
            if (key <= h->keys[0])
                break; /* what follows is no better */
            sift_down(h, key);
            continue;
        }
        if (h->n == h->capacity && grow(h) < 0)
            return -ENOMEM;
        sift_up(h, key);
    }
    return 0;
}
