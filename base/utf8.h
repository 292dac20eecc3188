/* utf8: validation and decoding. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

/* Whole string valid (no surrogates, no overlong forms, <= U+10FFFF)? Fast on ASCII. */
bool utf8_valid(struct str s);

/* Decodes one code point at s.data (s.size > 0); returns its byte length; a bad byte gives 1 and U+FFFD. */
unsigned utf8_decode(struct str s, uint32_t *ret_rune);

/* Encodes at out (room for 4); returns the length. Surrogates and out-of-range give U+FFFD. */
unsigned utf8_encode(char *out, uint32_t rune);

/* Appends `s` with every invalid byte replaced by U+FFFD (Go: one per byte of a bad sequence). */
void utf8_add_valid(struct buf *out, struct str s);

/* Number of code points, a bad byte counting as one. */
size_t utf8_count(struct str s);
