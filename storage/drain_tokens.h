/* drain_tokens (private to drain): cuts a line into words and delimiters.
 *
 * A delimiter is one byte of ASCII punctuation that Loki's tokenizer cuts at: all but _ - . : / (inside names, times,
 * addresses, paths) and $ + < > ^ ` | ~ (no punctuation to Unicode), and =; here also tab, CR and LF.
 * Spaces belong to the token before them. All other bytes form words. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drain.h"

enum {
    TOKEN_WILD = 1,  /* <_>: any word */
    TOKEN_EXACT = 2, /* a delimiter */
    TOKEN_DIGIT = 4, /* a word with a digit: "any" to the tree */
};

struct token {
    uint32_t hash; /* of the bytes; of a wild one TOKEN_WILD_HASH */
    uint16_t at, size;
    uint16_t spaces; /* behind it */
    uint8_t flags;
};

enum { TOKEN_WILD_HASH = 0x3c5f3e00 };

/* How many there are, or 0 when the text is too long or has too few. `is_template`: DRAIN_WILD stands for a
 * wild token. */
uint32_t drain_tokenize(struct str text, bool is_template, struct token ret[DRAIN_TOKENS_MAX]);

/* Does a word look like a value rather than a name: mostly digits, or beginning with one? */
bool drain_word_varies(struct str word);
