/* slices: how the gram filters of a chunk file's blocks stand in it: not one after the other, but cut into pieces and
 * the pieces that belong to the same grams side by side.
 *
 *   slice 0: piece 0 of block 0 | piece 0 of block 1 | ...      slice 1: piece 1 of block 0 | piece 1 of ...
 *
 * A needle is asked gram by gram, of all blocks of the file that still may hold it, and a gram's bits are in one
 * slice whatever the sizes of the filters are: bit i of m stands for the hashes from i * 2^20 / m on, and a slice for
 * 2^(20 - shift) of them. So a gram costs one place of the file, not one per block. A filter that is too small for
 * pieces of whole bytes is stretched: each of its bits stands 2^n times, which changes no answer.
 *
 * Pure functions on memory that the caller owns; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

enum { SLICES_SHIFT_MAX = 14 };

struct slices {
    uint32_t n;     /* blocks */
    unsigned shift; /* there are 2^shift slices */
    uint32_t *
        offsets; /* n + 1: where in each slice the piece of a block begins; the last: bytes of a slice */
};

/* `sizes`: of each block's filter (gram.h), 0: it has none. -ECORRUPT: no filter has that size, or too large a shift. */
int slices_make(const uint32_t *sizes, uint32_t n, unsigned shift, struct arena *arena,
                struct slices *ret);
/* The finest cut that lets stretching cost nearly nothing. */
unsigned slices_best_shift(const uint32_t *sizes, uint32_t n);

static inline uint32_t slices_stride(const struct slices *s) {
    return s->offsets[s->n];
}
static inline uint64_t slices_bytes(const struct slices *s) {
    return (uint64_t)slices_stride(s) << s->shift;
}

/* Puts the pieces of block i's filter into slices [from, to), the first of which stands at `out`. */
void slices_put(const struct slices *s, uint32_t i, const uint8_t *filter, uint32_t size,
                uint32_t from, uint32_t to, uint8_t *out);
/* Puts the filter of block i, `size` bytes as it was given to slices_make, together again. */
void slices_take(const struct slices *s, uint32_t i, const uint8_t *slices, uint32_t size,
                 uint8_t *out);
/* Bytes [from, to) of its bitmap alone, where slices_take would put them; bytes near them may be written, too. */
void slices_take_part(const struct slices *s, uint32_t i, const uint8_t *slices, uint32_t size,
                      uint32_t from, uint32_t to, uint8_t *out);

/* The slice in which a gram's bits are. */
uint32_t slices_find(const struct slices *s, uint32_t hash);
/* May the block hold the gram? `slice`: the bytes of slices_find. */
bool slices_may_contain(const struct slices *s, const uint8_t *slice, uint32_t hash, uint32_t i);
/* Clears the bits of the blocks that cannot hold it, and those behind the last; false when none is left. */
bool slices_narrow(const struct slices *s, const uint8_t *slice, uint32_t hash, uint64_t *alive);
