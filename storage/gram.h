/* gram: the skip index of a block. One bitmap in which every gram of the block's lines has one bit; a needle
 * whose grams are not all there is not in the block. False positives are possible, false negatives are not.
 *
 * A gram is 4 bytes where none of them is an ASCII digit, else 5 bytes starting at the same place; each byte is
 * OR-ed with 0x20 (so ASCII case is folded), the length is part of the hash, and no gram holds '\n'. The length
 * depends on the gram's own bytes only, so a needle forms the same grams as the text; grams that would run
 * past the needle's end are left out. The bitmap has m = {4,5,6,7} * 2^k bits, the smallest that keeps the
 * fill at or below one half (of few lines: about there); a gram's 20-bit hash x stands at bit x * m >> 20.
 * Figures and alternatives: docs/design.md. Pure functions, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

enum {
    GRAM_HASH_BITS = 20,
    GRAM_QUERY_MAX = 64, /* grams of a needle that are asked; more do not help */
    GRAM_FILTER_MAX_BYTES = (1 << GRAM_HASH_BITS) / 8,
    GRAM_FILTER_HEADER = 8,
    GRAM_FEW_BYTES = 64 << 10, /* of so few lines the number of distinct grams is estimated */
};

/* Scratch of the builder: 128 KiB, and up to 1.2 MiB that few lines may touch; one per thread that cuts blocks. */
struct gram_builder;
struct gram_builder *gram_builder_new(void);
void gram_builder_free(struct gram_builder *b);
/* Hashes at most so many grams at a time: 1 (without vector instructions), 8 or 16. The bitmaps are the same. For tests and
 * measurements. */
void gram_builder_narrow(struct gram_builder *b, unsigned grams);

/* Builds the filter of `lines` (lines separated by '\n') into `out` (room for GRAM_FILTER_MAX_BYTES + 8);
 * returns its stored size: 8 bytes header (u32 bits m, u32 reserved 0), then m bits in whole 8-byte words. */
size_t gram_build(struct gram_builder *b, struct str lines, uint8_t *out);

/* The same where only the grams that begin in some of the spans are new: each other one is equal to one of those. Spans
 * may overlap. */
struct gram_span {
    uint32_t from, end;
};
size_t gram_build_spans(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                        uint32_t n_spans, uint8_t *out);

/* A filter also knows values of structured metadata, as a whole and each by some bits that follow from a hash of name and
 * value. `places`, GRAM_VALUE_BITS per value, go into the filter that is built next and must stay until then. */
enum { GRAM_VALUE_BITS = 4 };
void gram_value_places(uint64_t hash, uint32_t ret[static GRAM_VALUE_BITS]);
void gram_builder_add(struct gram_builder *b, const uint32_t *places, size_t n);

/* The grams of a needle. count == 0: the filter cannot help, every block may contain it. */
struct gram_query {
    uint32_t hashes[GRAM_QUERY_MAX]; /* 20 bits each, deduplicated, those likely to be rare first */
    uint32_t count;
};

/* `needle` is looked up as it is or case-folded (ASCII): both are safe because grams are folded. With
 * `fold_unicode` (a Go (?i) literal) grams that hold k or s are left out, as these also match U+212A and
 * U+017F; so are grams with a byte >= 0x80. */
void gram_query_init(struct gram_query *q, struct str needle, bool fold_unicode);

/* Looks for a value of metadata. */
void gram_query_add_value(struct gram_query *q, uint64_t hash);

/* Adds the grams of `other`: both needles are looked for. */
void gram_query_add(struct gram_query *q, const struct gram_query *other);

/* The bits m of a filter of `size` bytes; 0 when no filter has that size. */
uint32_t gram_filter_bits(size_t size);

/* Is it a filter as gram_build writes them? What is not must not be asked. */
bool gram_filter_is_sound(const uint8_t *filter, size_t size);

/* May a sound `filter` contain all grams? Its number of bits follows from `size`, so that the header is not touched:
 * most answers cost the one cache line of the first gram. True when `size` is that of no filter. */
bool gram_may_contain(const uint8_t *filter, size_t size, const struct gram_query *q);
