/* recent: which hashes were added within the last minute or two, in bounded memory. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RECENT_MAX = 131072, /* hashes of one generation: 2 MB; more push the older one out */
    RECENT_SECONDS = 60,
};

struct recent {
    struct recent_set {
        uint64_t *slots; /* 0 = free */
        size_t capacity, count;
    } now, before;
    int64_t began_ns; /* of `now` */
};

void recent_done(struct recent *r);

/* Adds; false when it was there. Without memory everything is new. */
bool recent_add(struct recent *r, uint64_t hash, int64_t now_ns);
