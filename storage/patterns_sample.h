/* patterns_sample (private to patterns): which lines of a block does the miner look at, and for which lines does each
 * stand? A run is some lines of one shape, one of which is looked at; all of its lines count for that line's pattern.
 *
 * The shape of a line is its level, how many spaces and how many quotes and equals signs it has: about what decides which
 * lines have a pattern in common, at a fraction of the cost: 10 to 20 ns per line. Of blocks of many lines every few have the
 * shape of one of them. So a kind of line
 * that is one in thousands is seen, if it looks different, and lines of different kinds are counted apart. Within a
 * shape runs follow one another in time, and the line is chosen at random: not each k-th, logs have periods. */
#pragma once

#include <stdint.h>

#include "block.h"

enum {
    SAMPLE_SHAPES_MAX = 32,   /* further ones count as one shape */
    SAMPLE_SHAPE_BYTES = 128, /* of a line's start: more costs more than it tells */
    SAMPLE_LOOKS = 512, /* lines that are asked for their shape: so many, or not twice as many */
    SAMPLE_RUNS_MAX = 4096,
};

struct sample {
    uint32_t n_runs;
    uint32_t entries[SAMPLE_RUNS_MAX];  /* per run: the entry to look at, in time order */
    uint16_t run_of[BLOCK_ENTRIES_MAX]; /* per entry in time order */
};

/* Each entry is a run, or each `length` entries are. */
void sample_evenly(struct sample *s, uint32_t count, uint32_t length, uint64_t seed);

/* The level of an entry of `in`, below 16. */
typedef uint32_t sample_level(void *ctx, const struct block_input *in, uint32_t entry);

/* About `wanted` runs, and at least one for each shape. */
void sample_by_shape(struct sample *s, const struct block_input *in, const uint32_t *order,
                     sample_level *level_of, void *ctx, uint32_t wanted, uint64_t seed);
