/* value_needle: which blocks can hold an entry whose label has the value that `| name="value"` asks for. A value comes from the
 * stream, from the structured metadata, or a parser has found it in the line. There it stands byte by byte, unless
 * the writer has escaped some of it: a block whose gram filter does not know the value, and which holds no such escape,
 * has no entry that passes. So an id is found behind `| json` or `| logfmt` as a line filter would find it.
 *
 * Made once per plan, then read by any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "ast.h"
#include "blockref.h"
#include "gram.h"
#include "labels.h"

struct value_needle {
    struct str name, plain_name; /* the latter without _extracted */
    struct gram_query meta, plain_meta;
    bool in_lines;           /* a parser stands before the filter */
    struct gram_query all;   /* grams and meta: for reading ahead */
    struct gram_query grams; /* of the parts of the value that no writer changes but by \u00XX */
    uint8_t
        escapes; /* bit n: behind a parser that undoes escapes, \u00n may stand for a byte of those parts */
};

struct value_needles {
    struct value_needle *items; /* all must be met */
    size_t count;
};

/* -ENOMEM. */
int value_needles_make(const struct stage *stages, struct arena *arena, struct value_needles *ret);

/* What filters will be asked for the first of them; NULL when there is none. */
const struct gram_query *value_needles_first(const struct value_needles *n);

/* `labels`: the stream's. */
bool value_needles_may_be_in(const struct value_needles *n, struct labels labels,
                             const struct block_ref *block);
