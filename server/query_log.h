/* query_log: one line in the log for each query that took long, in the words of Loki's metrics.go, so
 * that what reads those lines reads these. Any thread. */
#pragma once

#include "engine.h"

struct query_log {
    const struct query *query;
    const struct query_stats *stats; /* NULL: the query failed */
    int code;                        /* of engine_query */
    int64_t now_ns;                  /* when it came */
    int64_t took_ns;
};

void query_log_write(const struct query_log *l);
