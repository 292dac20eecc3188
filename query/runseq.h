/* runseq: regular expressions with repetitions in the middle, `took [0-9]+ms`, `\d+\.\d+\.\d+\.\d+`, `user=\w* id=\d{2,5} `:
 * a row of runs (byte_runs.h) of which one stretch is a literal, and of which those of more than one length share no byte
 * with their neighbours. Then there is nothing to try: where the literal stands, each run before and behind it is as long as
 * its bytes go, or the pattern is not there. Immutable once made. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "str.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byteseq;
struct runseq;

enum { RUNSEQ_PARTS_MAX = 8 };

/* NULL when the pattern (Go syntax, not anchored) is anything else, or is a byteseq, or without memory. */
struct runseq *runseq_new(struct str pattern);
void runseq_free(struct runseq *s);

/* Does it stand somewhere in the text? */
bool runseq_matches(const struct runseq *s, struct str text);

/* Rows of bytes that a text with the pattern in it has, all of them: what lies between two repetitions, with a byte of each.
 * The count; they live as long as s. */
size_t runseq_parts(const struct runseq *s, const struct byteseq *const **ret);

#ifdef __cplusplus
}
#endif
