/* otlp_value: OpenTelemetry's AnyValue, decoded: scalars as they are, lists and maps as chains
 * of items in the request's arena; and its text, as lines and metadata hold it. One thread at a
 * time per arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "str.h"

enum otlp_type {
    OTLP_EMPTY,
    OTLP_TEXT,
    OTLP_BOOL,
    OTLP_INT,
    OTLP_DOUBLE,
    OTLP_BYTES,
    OTLP_LIST,
    OTLP_MAP,
};

/* Lists and maps inside one another: far beyond what instrumentation makes (3 or 4), and small
 * enough for the stack of the functions that follow the nesting. Values that go deeper are
 * refused while decoding. */
enum { OTLP_DEPTH_MAX = 64 };

struct otlp_item;

struct otlp_value {
    enum otlp_type type;
    union {
        struct str text; /* OTLP_TEXT, OTLP_BYTES */
        bool boolean;
        int64_t integer;
        double real;
        struct {
            struct otlp_item *first, *last;
        } items; /* OTLP_LIST, OTLP_MAP */
    };
};

struct otlp_item {
    struct str key; /* of a map's item */
    struct otlp_value value;
    struct otlp_item *next;
};

/* Appends to a list or a map. -ENOMEM. */
int otlp_value_add(struct arena *arena, struct otlp_value *container, struct str key,
                   const struct otlp_value *value);

/* Text as it is; true, false, decimal numbers; bytes in base64; lists and maps as compact JSON
 * with sorted keys; nothing for an empty value. The result is a view of the value or lives in
 * the arena; `scratch` is overwritten. -ENOMEM. */
int otlp_value_text(const struct otlp_value *v, struct arena *arena, struct buf *scratch,
                    struct str *ret);
