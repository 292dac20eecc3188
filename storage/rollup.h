/* rollup: what a block holds per UTC minute: entries and line bytes, apart for each value of one metadata column. A
 * volume by level over minutes then reads some hundred bytes of a block instead of its columns of times and levels.
 * Part of an encoded block; any thread, no shared state.
 *
 * A minute is (n * 60 s, (n + 1) * 60 s], open at its start as the windows of LogQL are, so that windows whose ends
 * are whole minutes consist of whole minutes.
 *
 *   varint name size, name    the metadata name; empty: entries are not told apart
 *   varint values             then each: varint size, bytes; value id 0 is "absent" and not listed
 *   varint rows, zigzag varint minute of the first
 *   per row: varint minutes since the row before (first: 0), per id from 0: varint entries, when there are
 *            any: varint line bytes */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

#define ROLLUP_MINUTE_NS INT64_C(60000000000)

enum {
    ROLLUP_VALUES_MAX = 8, /* levels are no more; columns with more values are rarely grouped by */
    ROLLUP_COLUMNS_MAX = 4,
    ROLLUP_ENTRIES_MIN = 64, /* smaller blocks are counted as fast from their columns */
    ROLLUP_SHARE = 4, /* a rollup with more bytes than a quarter of its entries is left out */
};

static inline int64_t rollup_minute(int64_t ns) {
    /* The last moment belongs to the minute: one nanosecond back, then rounded down. */
    int64_t before = ns == INT64_MIN ? ns : ns - 1;
    return before / ROLLUP_MINUTE_NS - (before % ROLLUP_MINUTE_NS < 0);
}

struct rollup_input {
    uint32_t count;
    const int64_t *times;
    const struct str *lines;
    const uint32_t *order; /* time order as indexes into times and lines; NULL: they are sorted */
    const uint8_t *ids;    /* per entry as in `times`, 0..n_values; NULL with an empty name */
    struct str name;
    const struct str *values; /* of ids 1..n_values */
    uint32_t n_values;        /* at most ROLLUP_VALUES_MAX */
};

/* Appends the bytes; 1, or 0 and nothing appended when it would not pay. Negative: buf_reserve's error. */
int rollup_write(const struct rollup_input *in, struct buf *out);

struct rollup {
    struct str head; /* the bytes of name and values */
    struct str name;
    struct str values[ROLLUP_VALUES_MAX + 1]; /* by id; [0] is empty */
    uint32_t n_values;
    uint32_t rows_left;
    int64_t minute; /* of the row before */
    const uint8_t *at, *end;
};

struct rollup_row {
    int64_t minute;
    uint64_t entries[ROLLUP_VALUES_MAX + 1];
    uint64_t bytes[ROLLUP_VALUES_MAX + 1];
};

/* Strings borrow `raw`. All rows are walked once: they must hold `count` entries and `line_bytes` bytes. 0 or
 * -ECORRUPT. */
int rollup_open(struct str raw, uint32_t count, uint32_t line_bytes, struct rollup *ret);
/* The same bytes again, which rollup_open has found right. */
void rollup_reopen(struct str raw, struct rollup *ret);

/* The next row; false at the end. */
bool rollup_next(struct rollup *r, struct rollup_row *ret);
