/* queries: random LogQL over streams s0 to s7 (labels app=sN, env=prod for odd N, else dev) and lines of lines.h. */
#pragma once

#include <stdbool.h>

#include "buf.h"

/* Literals, expressions and patterns are cut out of these lines. */
struct query_samples {
    const struct str *lines;
    size_t count;
};

/* A log query; *ret_streams has bit N when it selects stream sN. */
void random_log_query(struct buf *out, const struct query_samples *s, unsigned *ret_streams);
void random_metric_query(struct buf *out, const struct query_samples *s);
