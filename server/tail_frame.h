/* tail_frame: the messages of a live tail. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "labels.h"

enum {
    TAIL_FRAME_ENTRIES_MAX = 100, /* Loki's */
    TAIL_DROPS_MAX = 1000,        /* Loki's; further ones are not told */
    TAIL_DROPS_BYTES_MAX = 1 << 20,
};

struct tail_format {
    struct str encoding_flags; /* as sent; empty = none */
    bool categorize;
    bool legacy; /* of /api/prom/tail */
};

struct tail_item {
    int64_t ts_ns;
    struct str line;
    struct labels merged, stream, metadata, parsed;
};

/* What the client has not been told of: rendered at once, so that no labels must be kept. */
struct tail_drops {
    struct buf json; /* joined by commas; make it with TAIL_DROPS_BYTES_MAX */
    size_t count;
    uint64_t untold; /* beyond the maxima */
};
void tail_drops_add(struct tail_drops *d, const struct tail_format *f, int64_t ts_ns,
                    struct labels labels);
void tail_drops_clear(struct tail_drops *d);

/* Neighbours with the same labels share a stream object; the order stays. */
void tail_frame_write(struct buf *out, const struct tail_format *f, const struct tail_item *items,
                      size_t count, const struct tail_drops *drops);
