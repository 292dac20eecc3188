/* linetab_encoder: what the parts of the encoder share: its scratch memory and the three streams it writes. */
#pragma once

#include "buf.h"
#include "gram.h"
#include "linetab.h"
#include "linetab_format.h"
#include "linetab_split.h"

struct linetab_encoder {
    struct text_marks marks;
    char *scratch; /* a stack: what a column needed is given back when it has been written */
    size_t scratch_capacity, scratch_used;
    struct buf plan, text, packed;
    struct buf fresh; /* struct gram_span */
    uint32_t tail;    /* of the table written last: bytes that all its rows end with */
    uint32_t *slots;  /* hash table of distinct values */
    uint32_t slots_capacity;
    void *zstd;
    uint64_t odd_bytes;     /* of lines that fit no group */
    struct linetab *reader; /* to check what was encoded */
    uint64_t mismatches;
    bool avx2, wide;     /* the processor has these instructions, and those of linetab_wide.h */
    uint64_t shape_mask; /* of the hashes that tell makes of lines apart */
};

static inline const char *piece_data(const struct linetab_encoder *e, struct piece p) {
    return e->marks.text + p.offset;
}

/* NULL when it is used up. */
static inline void *scratch_alloc(struct linetab_encoder *e, size_t count, size_t size) {
    size_t bytes = (count * size + 63) & ~(size_t)63;
    if (bytes > e->scratch_capacity - e->scratch_used)
        return NULL;
    void *p = e->scratch + e->scratch_used;
    e->scratch_used += bytes;
    return p;
}
#define SCRATCH(e, count, type) ((type *)scratch_alloc(e, count, sizeof(type)))

/* ---- linetab_numbers.c */

/* Bits that the numbers take, and whether distances are the shorter way. */
uint64_t numbers_cost(const uint64_t *numbers, uint32_t n, bool *ret_delta);
int numbers_put(struct linetab_encoder *e, const uint64_t *numbers, uint32_t n, bool delta);
/* Ids below n_values. */
int ids_put(struct linetab_encoder *e, const uint32_t *ids, uint32_t n, uint32_t n_values);
void plan_put_varint(struct linetab_encoder *e, uint64_t number);
void plan_put_bytes(struct linetab_encoder *e, const char *data, uint32_t size);

/* ---- linetab_column.c */

/* How a column is to be written. */
struct column_plan {
    enum linetab_kind kind;
    uint32_t n;
    const struct piece *values;
    uint32_t prefix,
        suffix; /* bytes that all values begin and end with, and that the column leaves out */
    bool constant;
    uint8_t flags, digits; /* as in the format */
    bool delta;
    uint64_t *numbers;
    uint32_t *ids, n_distinct;
    struct piece *distinct;
    enum split split;  /* COLUMN_TABLE */
    uint32_t shared;   /* COLUMN_SHARED: which column of the group */
    uint32_t distance; /* fixed bytes between the values and those of the column before */
};

/* `split`: how the values came to be. */
int column_analyse(struct linetab_encoder *e, const struct piece *values, uint32_t n,
                   enum split split, bool in_dictionary, struct column_plan *ret);
int column_put(struct linetab_encoder *e, const struct column_plan *plan, bool in_dictionary);

/* ---- linetab_fresh.c */

/* Notes a piece as a whole; the values of a column that may be like others. */
void fresh_piece(struct linetab_encoder *e, struct piece p);
#define FRESH_NONE SIZE_MAX
/* `before`: what this returned for the column before, or FRESH_NONE. */
size_t fresh_column(struct linetab_encoder *e, const struct column_plan *plan, size_t before);

/* ---- linetab_encode.c */

/* As linetab_encode. */
int encode_lines(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                 uint32_t count, struct buf *out);
/* `distance`: see column_plan. */
int table_put(struct linetab_encoder *e, const struct piece *values, uint32_t n, enum split split,
              uint32_t distance, bool in_dictionary);
