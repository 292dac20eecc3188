/* tap: entries as they are appended, for those who follow streams live. A tap has a tenant and
 * matchers; every entry of a stream that they accept is copied into the tap's bounded queue by
 * the thread that appends it, in the one order of all appends. An append without a tap on its
 * streams pays one atomic load, or two comparisons when there are taps elsewhere. A full queue
 * never holds an append up: the entry is dropped and noted.
 *
 * Entries that the open block recognises as stored already are not offered, nor are repetitions of what was
 * offered to any tap within the last minute (recent.h).
 *
 * The seam with history: open the tap first, then let store_select make a snapshot with
 * `select.tap` set. The snapshot notes for each stream up to which WAL position it contains the
 * stream's entries, and tap_next leaves out exactly those. So each entry is seen once: in the
 * snapshot or from the tap.
 *
 * Opening and closing: any thread. tap_take and what follows it: one thread at a time. A tap
 * must be closed before its store. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "err.h"
#include "labels.h"
#include "matcher.h"
#include "str.h"

struct store;
struct tap;

struct tap_options {
    struct str tenant; /* copied */
    /* Borrowed, with their regexes, until the tap is closed. */
    const struct matcher *matchers;
    size_t n_matchers;
    size_t queue_max; /* bytes that wait; TAP_QUEUE_MIN at least */
    /* Called once when half of the queue is used, by the thread that appends: must only wake
     * somebody. May be NULL. */
    void (*wake)(void *ctx);
    void *wake_ctx;
};

enum {
    TAP_QUEUE_MIN = 64 << 10,
    TAP_DROPS_MAX = 1000, /* noted one by one between two tap_take; more are only counted */
};

/* -EROFS for a store that takes no pushes, -ENOMEM. */
int tap_open(struct store *s, const struct tap_options *o, struct tap **ret, struct err *reterr);
void tap_close(struct tap *t); /* NULL is fine */

struct tap_entry {
    uint64_t stream_id;
    struct labels labels; /* of the stream */
    struct entry entry;
};

struct tap_drop {
    int64_t ts_ns;
    struct labels labels;
};

/* Takes everything that waits; what was taken before is gone. The number of entries dropped
 * since the last call, noted or not. */
uint64_t tap_take(struct tap *t);

/* The next of the taken entries that no snapshot has shown; borrowed until the next tap_take. 1,
 * 0 at the end, -ENOMEM. */
int tap_next(struct tap *t, struct tap_entry *ret);

/* The next of the noted drops; 1, 0 at the end. */
int tap_next_drop(struct tap *t, struct tap_drop *ret);
