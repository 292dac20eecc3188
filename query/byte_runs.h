/* byte_runs: regular expressions that are a row of runs, each of bytes from one set of ASCII bytes and of some length: what
 * people type to find ids and numbers. Read once; byteseq.h and runseq.h search for them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

enum {
    BYTE_RUNS_MAX = 64,
    BYTE_COUNT_MAX = 64, /* about the largest number in braces that is understood */
    BYTE_SET_MANY = 256,
};

#define BYTE_RUN_ANY UINT32_MAX

struct byte_set {
    uint64_t low, high; /* bytes 0..63, 64..127 */
};

/* From `min` to `max` bytes (BYTE_RUN_ANY: any number) of the set. */
struct byte_run {
    struct byte_set set;
    uint32_t min, max;
};

/* The runs of a pattern (Go syntax that RE2 takes, not anchored); 0 when it is anything else. What may stand more often at
 * an end is there with the fewest that it needs: a text has the pattern in it whether or not there are more. */
size_t byte_runs_read(struct str pattern, struct byte_run runs[static BYTE_RUNS_MAX]);

bool byte_set_has(const struct byte_set *s, unsigned c);
/* The only byte of a set, or BYTE_SET_MANY. */
unsigned byte_set_only(const struct byte_set *s);
