/* patterns: which patterns do the lines of a block have, and how often in time? Made when a block is encoded, kept as
 * a section of it (docs/format.md), read by /loki/api/v1/patterns. Whatever encodes a block again mines again. Small blocks
 * are mined when somebody asks.
 *
 * The budget is 0.15 to 0.25 CPU-seconds per GB of lines, 40 to 60 microseconds per full block, so of a block with more than
 * PATTERNS_ALL_LINES lines only some are looked at: about PATTERNS_SAMPLE_LINES and one for each shape of
 * lines (patterns_sample.h). Each stands for some lines of its shape. Every line is counted in the time where it is, so sums
 * over all patterns are right. Entries that are not encoded yet are mined when somebody asks, and more thoroughly.
 *
 * Counts stand in buckets of 10 s, or wider ones when the block spans more than PATTERNS_SPAN_BUCKETS of them. What
 * is kept is bounded by the block's size; patterns of most lines first. In a pattern that only one line was
 * seen of, words that look like values are <_>, too: so the next block's line of this kind finds it.
 *
 * Levels are those of the structured metadata detected_level; lines of different levels have patterns of their own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "block.h"
#include "drain.h"

enum {
    /* A block with fewer bytes of lines is written without: mining costs a quarter of its encoding and a tenth of its bytes,
     * there may be 100,000 of them, and whoever asks decodes and mines one in 50 microseconds (blockref.h). */
    PATTERNS_LEAST_BYTES = 16 << 10,
    /* The same while memory is short: of 20,000 streams with 26 KB each mining is an eighth of what a load costs. */
    PATTERNS_LEAST_HURRIED_BYTES = 32 << 10,
    PATTERNS_ALL_LINES = 128,
    PATTERNS_SAMPLE_LINES = 40,
    PATTERNS_HURRIED_LINES =
        12, /* of a small block that is cut before its time: there are 100,000 of them */
    PATTERNS_SPAN_BUCKETS = 32,
    PATTERNS_BUCKET_S = 10,
    /* Raw bytes of a section: so many, and this share of the block's lines. Compressed to a third of it. */
    PATTERNS_BYTES_MIN = 1024,
    PATTERNS_BYTES_SHARE = 512,
    PATTERNS_RAW_MAX = PATTERNS_BYTES_MIN + BLOCK_RAW_MAX / PATTERNS_BYTES_SHARE,
};

enum pattern_level {
    PATTERN_UNKNOWN, /* also any other text */
    PATTERN_TRACE,
    PATTERN_DEBUG,
    PATTERN_INFO,
    PATTERN_WARN,
    PATTERN_ERROR,
    PATTERN_FATAL,
    PATTERN_CRITICAL,
    PATTERN_LEVELS,
};
struct str pattern_level_name(enum pattern_level level);

/* What of two lines must be equal to be in one group: a kind of drain.h. */
static inline uint32_t pattern_kind(enum pattern_level level, bool is_part) {
    return (uint32_t)level * 2 + is_part;
}

/* ---- mining */

struct pattern_miner;
struct pattern_miner *pattern_miner_new(void);
void pattern_miner_free(struct pattern_miner *m);

/* Appends the section's raw bytes, or nothing when there is no pattern. `order` as in block_encode: entry numbers in
 * time order, or NULL. `thorough`: some thousand lines are looked at, and all patterns are kept. 0 or -ENOMEM. */
int patterns_mine(struct pattern_miner *m, const struct block_input *in, const uint32_t *order,
                  bool thorough, struct buf *out);

/* ---- reading */

struct pattern_cell {
    int64_t start_ns; /* of the bucket, a multiple of the width */
    uint32_t count;
};

struct pattern_entry {
    enum pattern_level level;
    bool is_part;                     /* of a JSON line's message: <_> goes before and behind it */
    uint32_t hits;                    /* lines looked at */
    struct str text;                  /* a template of drain.h */
    const struct pattern_cell *cells; /* ascending */
    uint32_t n_cells;
};

struct pattern_list {
    int64_t width_ns;
    const struct pattern_entry *entries; /* most hits first */
    uint32_t count;
};

/* Checks every value. Texts stay in `raw`, the rest is in `arena`. -ECORRUPT, -EFORMAT, -ENOMEM. */
int patterns_decode(struct str raw, struct arena *arena, struct pattern_list *ret,
                    struct err *reterr);

/* The text for people and for |>: <_> for each run of what differs. */
void pattern_text(struct str template_text, bool is_part, struct buf *out);
