/* metrics: /metrics in Prometheus' text format 0.0.4. Counters and histograms of the HTTP layer
 * live here; the other rooms' figures are read from their get_stats functions when asked. Any
 * thread. */
#pragma once

#include <stdatomic.h>

#include "buf.h"
#include "engine.h"
#include "http.h"

struct metrics;
/* What queries cost, summed up. Any thread. */
enum {
    QUERY_COUNT,
    QUERY_BYTES,
    QUERY_LINES,
    QUERY_LINES_MATCHED,
    QUERY_BLOCKS,
    QUERY_SKIPPED_TIME,
    QUERY_SKIPPED_FILTER,
    QUERY_DECODED,
    QUERY_FIGURES,
};
struct query_figures {
    atomic_uint_fast64_t values[QUERY_FIGURES];
};
void query_figures_add(struct query_figures *f, const struct query_stats *s);

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* For http_options.observe. */
void metrics_observe(void *metrics, enum http_method m, const char *route, int status,
                     double seconds);

struct api;
void metrics_write(struct metrics *m, struct api *api, struct buf *out);
