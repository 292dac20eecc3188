/* decoded: what every push decoder makes: streams of entries as views into the (decompressed) body, with small
 * arrays in the request's arena. No line is copied; nothing is allocated per line beyond array growth. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "entry.h"
#include "err.h"
#include "labels.h"
#include "str.h"

enum { PUSH_STREAMS_MAX = 100000, PUSH_ENTRIES_MAX = 4000000 };

struct decoded_stream {
    struct str labels_text; /* protobuf and legacy JSON: the raw label text */
    struct labels labels;   /* JSON v1 and OTLP: pairs as given (unsorted, empties included) when text is empty */
    struct str labels_key;  /* JSON v1: the raw bytes of the "stream" object, a spelling for store_stream_by_text */
    uint32_t first_entry, n_entries;
};

struct decoded_push {
    struct arena *arena;
    struct decoded_stream *streams;
    size_t n_streams, streams_capacity;
    struct entry *entries; /* meta as given: unsorted, unsanitised */
    size_t n_entries, entries_capacity;
};

void decoded_push_init(struct decoded_push *d, struct arena *arena);
/* Growth by doubling inside the arena. NULL without memory or above the limits above. */
struct decoded_stream *decoded_add_stream(struct decoded_push *d);
struct entry *decoded_add_entry(struct decoded_push *d, struct decoded_stream *s);
