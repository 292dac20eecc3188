/* horizon: how far a log query has to look. It is told the times of entries that are certain to be found, and keeps the
 * `limit` best of them: once there are so many, the worst of these is the horizon, and no entry beyond it will be in the
 * answer. Not locked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct horizon {
    bool backward;
    size_t limit, n, capacity;
    int64_t *keys; /* a heap: the worst is at 0; larger is better */
};

static inline struct horizon horizon_make(bool backward, size_t limit) {
    return (struct horizon){.backward = backward, .limit = limit};
}
void horizon_done(struct horizon *h);

/* Times in the query's direction, the best first. 0 or -ENOMEM. */
int horizon_add(struct horizon *h, const int64_t *times_ns, size_t count);

/* True once there is one. */
static inline bool horizon_get(const struct horizon *h, int64_t *ret_ns) {
    if (h->n < h->limit || h->n == 0)
        return false;
    *ret_ns = h->backward ? h->keys[0] : ~h->keys[0];
    return true;
}
