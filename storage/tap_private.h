/* tap_private: taps as store.c (appending) and snapshot.c (the seam) see them. Private to
 * storage. */
#pragma once

#include <stdatomic.h>

#include "recent.h"
#include "stream.h"
#include "tap.h"

/* All taps of a store. */
struct tap_list {
    atomic_uint count;
    uint64_t generation;   /* grows when a tap comes or goes; append_lock */
    struct tap *first;     /* append_lock */
    struct recent offered; /* to any tap; append_lock */
    int64_t now_ns;        /* clock_mono_ns of the present append */
};

/* The taps that want a stream's entries, found once per stream and generation. */
struct tap_route {
    struct tap_list *list;
    size_t count;
    struct tap *taps[];
};

/* The route of a stream, NULL when nobody follows it. append_lock is held. */
const struct tap_route *tap_route_find(struct tap_list *list, struct stream *stream);

/* Copies the entry to all taps of the route, unless it was offered lately. append_lock is held. */
void tap_route_offer(const struct tap_route *route, struct stream *stream, const struct entry *e,
                     struct wal_pos pos);

/* A snapshot begins that shows entries from start_ns on; then, in order of their ids, each
 * stream with the position behind the last entry that the snapshot contains. -ENOMEM. */
void tap_seam_begin(struct tap *t, int64_t start_ns);
int tap_seam_add(struct tap *t, uint64_t stream_id, struct wal_pos end);
