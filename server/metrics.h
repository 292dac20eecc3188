/* metrics: /metrics in Prometheus' text format 0.0.4. Counters and histograms of the HTTP layer
 * live here; the other rooms' figures are read from their get_stats functions when asked. Any
 * thread. */
#pragma once

#include "buf.h"
#include "http.h"

struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* For http_options.observe. */
void metrics_observe(void *metrics, enum http_method m, const char *route, int status,
                     double seconds);

struct api;
void metrics_write(struct metrics *m, struct api *api, struct buf *out);
