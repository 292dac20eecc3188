/* api: the HTTP endpoints. Each handler group reads parameters (params.h), calls the engine or the store and writes
 * the answer (render.h). A struct api is shared by all handlers. */
#pragma once

#include "compactor.h"
#include "config.h"
#include "engine.h"
#include "http.h"
#include "metrics.h"
#include "push.h"
#include "store.h"

struct api {
    struct store *store;
    struct engine *engine;
    struct compactor *compactor;
    struct metrics *metrics;
    struct push_metrics push_metrics;
    _Atomic(struct config *) config; /* swapped on SIGHUP; old ones are kept until exit */
    atomic_bool ready;
    atomic_bool stopping;
};

/* Tenant of a request: "fake" without auth_enabled. On failure the 401/400 has been sent and false is returned. */
bool api_tenant(struct api *api, struct http_request *r, bool for_write, struct str *ret);

/* Routes of each group; static arrays with ctx filled by api_routes. */
size_t api_routes(struct api *api, struct http_route *out, size_t max);

/* push */
void api_push(struct http_request *r, void *api);
/* queries: api_query.c */
void api_query_range(struct http_request *r, void *api);
void api_query_instant(struct http_request *r, void *api);
/* labels, values, series, stats: api_index.c */
void api_labels(struct http_request *r, void *api);
void api_label_values(struct http_request *r, void *api);
void api_series(struct http_request *r, void *api);
void api_index_stats(struct http_request *r, void *api);
/* status: api_status.c */
void api_ready(struct http_request *r, void *api);
void api_metrics(struct http_request *r, void *api);
void api_buildinfo(struct http_request *r, void *api);
void api_config(struct http_request *r, void *api);
void api_services(struct http_request *r, void *api);
void api_flush(struct http_request *r, void *api);
void api_log_level(struct http_request *r, void *api);
