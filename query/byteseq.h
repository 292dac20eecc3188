/* byteseq: regular expressions that are a row of bytes, each from a set of ASCII bytes: `timeout after [0-9]{5}ms`,
 * `\d{4}-\d\d`, `status=5[0-9][0-9]`, and at both ends repetitions, of which the fewest are enough: `took \d+`. That is
 * what people type to find ids and numbers, and it can be searched for at the speed of a literal: by the longest stretch
 * in it that is one, else by skipping as Boyer, Moore and Horspool do.
 * Byte by byte is right for any text, UTF-8 or not, for no set holds a byte above 0x7f. Immutable once made. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BYTESEQ_MAX = 64 };

struct byteseq;

/* NULL when the pattern (Go syntax, not anchored) is anything else, or without memory. */
struct byteseq *byteseq_new(struct str pattern);
/* NULL also for fewer than two sets. */
struct byte_set;
struct byteseq *byteseq_of_sets(const struct byte_set *sets, size_t n);
void byteseq_free(struct byteseq *s);

/* What it is made of; lives as long. */
struct byteseq_view {
    size_t size;             /* bytes in the row */
    const uint64_t *allowed; /* 256 words; bit i: the byte may stand at place i */
    struct str fixed;        /* the longest stretch of single bytes; empty when it is short */
    size_t fixed_at;
};
struct byteseq_view byteseq_view(const struct byteseq *s);

/* Does it stand somewhere in the text? */
bool byteseq_matches(const struct byteseq *s, struct str text);

#ifdef __cplusplus
}
#endif
