/* linetab_token: where the tokens of a text stand. One pass over the text marks four classes of bytes in bitmaps;
 * splitting a piece of it then walks from bit to bit. Two ways to split:
 *   coarse  at blanks, controls, quotes, brackets and , ; = | \: words as people see them (10.0.3.7, a/b/c, 12ms)
 *   fine    at everything but ASCII letters, digits and bytes from 0x80 on
 * The bytes between tokens are gaps; tokens and gaps together are the piece. Part of the linetab encoder. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "str.h"

/* A place in the text. */
struct piece {
    uint32_t offset, size;
};

enum split {
    SPLIT_LINE, /* coarse; a quoted string is one token, and keys ("key": and key=) belong to the gaps */
    SPLIT_COARSE, /* coarse */
    SPLIT_FINE,
};

enum { TEXT_SLACK = 16 }; /* readable bytes behind the text */

struct text_marks {
    const char *text;
    uint32_t size;
    uint64_t *coarse, *fine, *digit, *quote; /* delimiters, delimiters, digits, '"' */
    size_t capacity;                         /* words of each bitmap */
};

/* Marks `text`, which has TEXT_SLACK readable bytes behind it. 0 or -ENOMEM. */
int text_marks_load(struct text_marks *m, struct str text);
void text_marks_done(struct text_marks *m);

/* What two pieces must have in common to share columns. Equal shapes have equal hashes; whether equal hashes mean
 * equal gaps is for the caller to check. */
struct shape {
    uint64_t gaps;  /* gaps, and which tokens have digits or are quoted */
    uint64_t words; /* the same and the words without digits */
};

/* The tokens of `p`, at most `max`; UINT32_MAX when there are more. */
uint32_t split_piece(const struct text_marks *m, enum split split, struct piece p,
                     struct piece *ret_tokens, uint32_t max, struct shape *ret_shape);

/* Is there a byte of the bitmap's class in the piece? */
bool marks_any(const uint64_t *marks, struct piece p);
/* The first place in [from, end) with the bit set (clear), or `end`. */
uint32_t marks_next(const uint64_t *marks, uint32_t from, uint32_t end);
uint32_t marks_next_clear(const uint64_t *marks, uint32_t from, uint32_t end);

/* A quick hash for tables in memory: one step, and one over bytes of which eight more than `size` can be read. */
static inline uint64_t stir(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9fb21c651e98df25u;
    return h ^ h >> 35;
}

static inline uint64_t stir_bytes(uint64_t h, const char *p, uint32_t size) {
    for (; size > 8; size -= 8, p += 8)
        h = stir(h, get_le64(p));
    uint64_t tail = size > 0 ? get_le64(p) & UINT64_MAX >> (64 - 8 * size) : 0;
    return stir(h, tail + size);
}
