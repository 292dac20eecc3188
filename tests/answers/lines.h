/* lines: random lines of the makes that logs have, well-formed and not, over few names and values, so that random queries
 * meet something. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* One series of numbers for lines and queries. */
void lines_seed(uint64_t seed);
unsigned below(size_t n);

enum line_make {
    LINE_JSON,        /* of one program: the same fields in the same order */
    LINE_JSON_NESTED, /* objects, arrays, blanks, names that become others, names that are there twice */
    LINE_JSON_BROKEN,
    LINE_LOGFMT,
    LINE_LOGFMT_ODD, /* quotes, empty values, bare keys, bad tokens */
    LINE_ACCESS,
    LINE_TEXT,
    LINE_ODD,    /* nothing, blanks, CR, invalid UTF-8, colours, long */
    LINE_PACKED, /* for unpack */
    LINE_MAKES
};
void random_line(struct buf *out, enum line_make make);

/* One that fields, labels and metadata share. */
const char *random_name(void);
/* As a field may have it, without quotes or escapes. */
void random_value(struct buf *out);

static inline const char *pick(const char *const *list, size_t count) {
    return list[below(count)];
}
#define PICK(list) pick(list, sizeof(list) / sizeof(*(list)))
/* Once in n times. */
static inline bool once_in(unsigned n) {
    return below(n) == 0;
}
