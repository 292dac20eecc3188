/* erase_query: a log query as a question about stored entries: which of a block's are meant? For delete requests: a
 * selector with optional line and label filters (and parsers, for label filters on what they extract). Immutable; any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "blockref.h"
#include "err.h"
#include "labels.h"
#include "str.h"

struct erase_query;

/* -ESYNTAX: does not parse, or is a metric query; -ENOMEM. */
int erase_query_new(struct str text, struct erase_query **ret, struct err *reterr);
void erase_query_free(struct erase_query *q);

/* Does it say more than which streams? */
bool erase_query_has_filter(const struct erase_query *q);
/* Does the selector take the stream? */
bool erase_query_accepts(const struct erase_query *q, struct labels labels);

/* Sets the bits of the open block's entries that are meant and have start_ns <= time <= end_ns. The block is of a stream
 * that the selector takes. Decodes nothing when the block's gram filter or its times rule it out. */
int erase_query_mark(const struct erase_query *q, struct labels labels, int64_t start_ns,
                     int64_t end_ns, struct block_reader *r, const struct block_ref_info *info,
                     uint64_t *bits, struct err *reterr);
