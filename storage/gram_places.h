/* gram_places: the hashes of the grams of a text, in the order in which they stand. Part of gram, whose header says what a
 * gram is; apart from what is done with the places, so that hashing them and setting their bits do not wait for each
 * other. Pure functions, any thread. */
#pragma once

#include "bytes.h"
#include "gram.h"

enum {
    GRAM_FOLD = 0x20,
    GRAM_FIFTH =
        0x100, /* marks the fifth byte of a long gram, so that the length is part of the hash */
    GRAM_NO_PLACE = (1 << GRAM_HASH_BITS) + 7, /* of a gram that holds a '\n': behind every map */
    GRAM_PLACES_MAX = 1024 + 48,               /* hashed at a time: 4 KiB */
};

#define GRAM_MULTIPLY_1 0x9e3779b1u
#define GRAM_MULTIPLY_2 0x85ebca77u

/* `four`: four folded bytes, little-endian. `fifth`: 0 for a plain gram, else GRAM_FIFTH | folded byte. */
static inline uint32_t gram_hash(uint32_t four, uint32_t fifth) {
    uint32_t h = four * GRAM_MULTIPLY_1;
    h ^= h >> 15;
    h += fifth;
    h *= GRAM_MULTIPLY_2;
    return h >> (32 - GRAM_HASH_BITS);
}

/* Is one of four folded bytes a digit? The classic "has a byte less than n", exact as a yes or no. */
static inline bool gram_has_digit(uint32_t four) {
    uint32_t t = four ^ 0x30303030u;
    return ((t - 0x0a0a0a0au) & ~t & 0x80808080u) != 0;
}

/* How many places are hashed at a time; the places are the same. It stands for all that the processor has: EIGHT with AVX2,
 * BMI2 and popcnt, SIXTEEN with AVX-512 BW, VBMI and VPOPCNTDQ, too. */
enum gram_width { GRAM_ONE = 1, GRAM_EIGHT = 8, GRAM_SIXTEEN = 16 };
enum gram_width gram_width_best(void);

/* Spans of a text on their way. */
struct gram_source {
    struct str text;
    const struct gram_span *spans;
    uint32_t n_spans;
    uint32_t next,
        at; /* the span at hand, and where in it hashing goes on; at is 0 when it is new */
};

/* The next places; 0 of them: there are no more. */
uint32_t gram_places(struct gram_source *s, enum gram_width width,
                     uint32_t ret[static GRAM_PLACES_MAX]);
