/* tail_query: a log query applied to single entries as they arrive. The pipeline is the one of
 * the engine; only where the entries come from differs. One thread at a time per struct
 * tail_query. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "err.h"
#include "labels.h"
#include "pipeline.h"

struct tail_query;

/* -ESYNTAX with the text for the client; -EREFUSED for a metric query. */
int tail_query_new(struct str text, struct tail_query **ret, struct err *reterr);
void tail_query_free(struct tail_query *q);

/* What to follow; lives as long as the query. */
const struct matcher *tail_query_matchers(const struct tail_query *q, size_t *ret_count);

struct tail_line {
    struct str line;                  /* until the next entry */
    const struct line_labels *labels; /* until tail_query_forget */
};

/* Entries of one stream follow; its labels live until the next call of this. */
int tail_query_stream(struct tail_query *q, struct labels labels);

/* Runs the stages. 1 passed, 0 dropped, -ENOMEM. */
int tail_query_entry(struct tail_query *q, const struct entry *e, struct tail_line *ret);

/* Label sets are kept, so that equal ones are found again; a tail lives for long and must let go
 * of them. True when so many have gathered that it is time to: then all labels returned so far
 * end, and tail_query_stream must be called before the next entry. */
bool tail_query_is_full(const struct tail_query *q);
int tail_query_forget(struct tail_query *q);
