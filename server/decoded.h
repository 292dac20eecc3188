/* decoded: what every push decoder makes: streams of entries as views into the (decompressed)
 * body, with small arrays in the request's arena. No line is copied; nothing is allocated per
 * line beyond array growth. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "entry.h"
#include "err.h"
#include "labels.h"
#include "str.h"

enum { PUSH_STREAMS_MAX = 100000, PUSH_ENTRIES_MAX = 4000000 };

/* One stream's label text is at most this long: Loki's own number. */
enum { PUSH_LABELS_TEXT_MAX = 16 << 20 };

/* Times that int64 nanoseconds cannot hold (or that are absent): always refused as too old or
 * too new. */
#define PUSH_TS_TOO_OLD INT64_MIN
#define PUSH_TS_TOO_NEW INT64_MAX

struct decoded_stream {
    /* The label text, as sent (protobuf, legacy JSON) or made (OTLP); .data NULL for JSON v1. */
    struct str labels_text;
    /* JSON v1: the pairs as given, unsorted, empties included; and the raw bytes of the "stream"
     * object, a spelling for store_stream_by_text. */
    struct labels labels;
    struct str labels_key;
    /* OTLP: what the resource and the scope give to each entry of this stream, over the entry's
     * own: sorted, each name once, normalised. */
    struct labels shared_meta;
    uint32_t first_entry, n_entries;
};

struct decoded_push {
    struct arena *arena;
    struct decoded_stream *streams;
    size_t n_streams, streams_capacity;
    struct entry *entries; /* meta as given: unsorted, unsanitised */
    size_t n_entries, entries_capacity, entries_first;
    struct label *pairs; /* the present block of metadata pairs */
    size_t n_pairs, pairs_capacity;
};

void decoded_push_init(struct decoded_push *d, struct arena *arena);
/* Before the first entry: how long the body is, which tells about how many entries there will be. */
void decoded_expect(struct decoded_push *d, size_t body_size);
/* Growth by doubling inside the arena. NULL without memory or above the limits above. The
 * pointers are valid until the next call. */
struct decoded_stream *decoded_add_stream(struct decoded_push *d);
struct entry *decoded_add_entry_slow(struct decoded_push *d, struct decoded_stream *s);
static inline struct entry *decoded_add_entry(struct decoded_push *d, struct decoded_stream *s) {
    if (d->n_entries == d->entries_capacity)
        return decoded_add_entry_slow(d, s);
    struct entry *e = &d->entries[d->n_entries++];
    s->n_entries++;
    *e = (struct entry){.ts_ns = PUSH_TS_TOO_OLD, .line = STR("")};
    return e;
}

/* Adds a pair to the entry that was added last. Behind the pairs of each entry one more place is
 * free, so that the owner of the push may put detected_level there. False without memory. */
bool decoded_add_meta(struct decoded_push *d, struct entry *e, struct str name, struct str value);

/* Why one of the above gave nothing: -E2BIG (a limit) or -ENOMEM, with text. */
int decoded_error(const struct decoded_push *d, struct err *reterr);
