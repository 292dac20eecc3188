/* byteseq: regular expressions that are a row of bytes, each from a set of ASCII bytes: `timeout after [0-9]{5}ms`,
 * `\d{4}-\d\d`, `status=5[0-9][0-9]`. That is what people type to find ids and numbers, and it can be searched for at
 * the speed of a literal: by the longest stretch in it that is one, else by skipping as Boyer, Moore and Horspool do.
 * Byte by byte is right for any text, UTF-8 or not, for no set holds a byte above 0x7f. Immutable once made. */
#pragma once

#include <stdbool.h>

#include "str.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BYTESEQ_MAX = 64 };

struct byteseq;

/* NULL when the pattern (Go syntax, not anchored) is anything else, or without memory. */
struct byteseq *byteseq_new(struct str pattern);
void byteseq_free(struct byteseq *s);

/* Does it stand somewhere in the text? */
bool byteseq_matches(const struct byteseq *s, struct str text);

#ifdef __cplusplus
}
#endif
