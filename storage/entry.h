/* entry: one log line as it travels: time, bytes, structured metadata. Everything is borrowed. */
#pragma once

#include <stdint.h>

#include "labels.h"
#include "str.h"

struct entry {
    int64_t ts_ns;
    struct str line;
    const struct label *meta; /* sorted by name, unique names, no empty values */
    uint32_t meta_count;
};

/* A line is at most this long in storage, whatever the settings say. */
enum { ENTRY_LINE_MAX = 16 << 20, ENTRY_META_MAX = 1024 };
/* Names and values of one entry's metadata; a block's column holds no more than 64 MiB. */
enum { ENTRY_META_BYTES_MAX = 16 << 20 };
