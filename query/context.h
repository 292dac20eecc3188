/* context: the entries around those that a log query has found, as grep -A -B -C shows them: exact by (time, arrival)
 * within the stream, whatever chunk or head holds them, and also outside of the query's range. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "err.h"
#include "labels.h"

enum {
    CONTEXT_MAX = 1000,           /* entries on one side of a match: more is a range query */
    CONTEXT_ENTRIES_MAX = 500000, /* of one answer */
};

struct context_entry {
    int64_t ts_ns;
    struct str line;
    bool is_match;
};

/* Entries that follow each other in one stream. */
struct context_group {
    struct labels stream;
    const struct context_entry *entries;
    size_t n_entries;
};

struct context {
    const struct context_group *groups; /* by the time of their first entry, then by stream */
    size_t n_groups;
    struct arena arena; /* owns all of the above */
};

/* `q` is the log query that has given `found`. -ESYNTAX for a query that changes labels of streams: then it cannot be
 * said where an entry comes from. -EREFUSED for too much; else as engine_query. */
int context_find(struct engine *e, struct store *store, const struct query *q,
                 const struct query_result *found, size_t before, size_t after,
                 struct context **ret, struct err *reterr);
void context_free(struct context *c);
