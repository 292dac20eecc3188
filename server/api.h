/* api: the HTTP endpoints. Each handler group reads parameters (params.h), calls the engine or
 * the store and writes the answer (render.h). A struct api is shared by all handlers. */
#pragma once

#include <pthread.h>

#include "compactor.h"
#include "config.h"
#include "engine.h"
#include "http.h"
#include "metrics.h"
#include "push_figures.h"
#include "settings.h"
#include "store.h"

/* What the guard refuses. */
enum api_refusal {
    API_REFUSED_NOTHING, /* 401: no credentials */
    API_REFUSED_WRONG,   /* 401: wrong ones */
    API_REFUSED_RIGHT,   /* 403 */
    API_REFUSED_TENANT,  /* 403 */
    API_REFUSALS,
};

struct api {
    struct store *store;
    struct engine *engine;
    struct compactor *compactor;
    struct metrics *metrics;
    struct tails *tails;
    struct http_server *http; /* NULL until it has started */
    struct push_figures *pushes;
    struct query_figures queries;
    size_t push_body_max; /* decompressed; constant */
    pthread_mutex_t lock; /* guards: settings */
    struct settings *settings;
    atomic_uint_fast64_t refusals[API_REFUSALS];
    _Atomic int64_t refusal_logged_ns;
    _Atomic(const char *) log_level; /* by the settings or POST /log_level, whichever came last */
    atomic_bool ready;
    atomic_bool stopping;
};

/* Tenant of a request: "fake" without auth_enabled; the sender must have it. On failure the 401, 403
 * or 400 has been sent and false is returned. Several tenants in one request (a|b) are refused. */
bool api_tenant(struct api *api, struct http_request *r, struct str *ret);

/* The same for reads that may be of several tenants: then their names, sorted and joined with '|', as the
 * store understands them. */
bool api_tenants(struct api *api, struct http_request *r, struct str *ret);
/* Takes the next name off the list. */
bool api_next_tenant(struct str *rest, struct str *ret);

/* The rule alone: 0, or the HTTP status with the text in reterr. `header` is the value of
 * X-Scope-OrgID (.data NULL when absent). */
int api_tenant_check(struct str header, struct str *ret, struct err *reterr);

/* The present settings, with a reference of their own. */
struct settings *api_settings(struct api *api);
/* Takes the reference over: limits, access, retention, log level change at once. The configuration
 * of the settings before must not be needed any more by whoever started with it. */
void api_set_settings(struct api *api, struct settings *next);

/* ---- api_guard.c: what a request sees, from the moment its head has come until it ends */

struct http_guard api_guard(struct api *api);
const struct config *api_config_of(const struct http_request *r);
/* Of the tenant, once api_tenant has said who that is. */
const struct limits *api_limits_of(const struct http_request *r);
/* For a request to these tenants, tightened by what it asks for itself (request_limits.h). False: it has been answered. */
bool api_take_limits_of(struct http_request *r, const struct str *tenants, size_t count);
const struct overrides *api_overrides_of(const struct http_request *r); /* NULL: none */
/* NULL: there is no access file. */
const struct access_user *api_user_of(const struct http_request *r);
void api_refuse_tenant(struct api *api, struct http_request *r, struct str tenant);
const char *api_refusal_name(enum api_refusal r);

/* Replies with what a failed call of the engine or the store means to a client. */
void api_fail(struct http_request *r, int code, const struct err *err);

/* The time range of a read of labels or logs against limits_config.max_query_length. */
int api_check_length(const struct limits *limits, int64_t start_ns, int64_t end_ns,
                     struct err *reterr);
/* Moves the start (and end) up to limits_config.max_query_lookback. */
void api_clamp_lookback(const struct limits *limits, int64_t now_ns, int64_t *start_ns,
                        int64_t *end_ns);

/* All routes, with ctx = api; returns their number. */
enum { API_ROUTES_MAX = 64 };
size_t api_routes(struct api *api, struct http_route out[static API_ROUTES_MAX]);

/* Sets the least level of our own log; -ESYNTAX when there is none of that name. */
int api_set_log_level(struct api *api, struct str name);

/* push */
void api_push(struct http_request *r, void *api);
void api_push_legacy(struct http_request *r, void *api);
void api_push_otlp(struct http_request *r, void *api);
enum http_where api_push_where(const struct http_request *r);
enum http_where api_push_otlp_where(const struct http_request *r);
/* queries: api_query.c */
void api_query_range(struct http_request *r, void *api);
void api_lines(struct http_request *r, void *api); /* api_lines.c: without an end */
void api_query_instant(struct http_request *r, void *api);
void api_query_legacy(struct http_request *r, void *api);
/* The query of a request, with the old parameter regexp as a line filter behind it. */
int api_query_text(struct http_request *r, struct str *ret, struct err *reterr);
/* live tails: api_tail.c */
void api_tail(struct http_request *r, void *api);
void api_tail_legacy(struct http_request *r, void *api);
/* labels, values, series, stats: api_index.c */
void api_labels(struct http_request *r, void *api);
void api_label_values(struct http_request *r, void *api);
void api_series(struct http_request *r, void *api);
void api_index_stats(struct http_request *r, void *api);
/* volume: api_volume.c */
void api_index_volume(struct http_request *r, void *api);
void api_index_volume_range(struct http_request *r, void *api);
/* what lines and streams have: api_detected.c */
void api_detected_labels(struct http_request *r, void *api);
void api_detected_fields(struct http_request *r, void *api);
void api_detected_values(struct http_request *r, void *api);
void api_drilldown_limits(struct http_request *r, void *api); /* api_drilldown.c */
void api_patterns(struct http_request *r, void *api);         /* api_patterns.c */
void api_format_query(struct http_request *r, void *api);     /* api_format.c */
void api_rule_groups(struct http_request *r, void *api);      /* api_rules.c */
/* status: api_status.c */
void api_ready(struct http_request *r, void *api);
void api_metrics(struct http_request *r, void *api);
void api_buildinfo(struct http_request *r, void *api);
void api_config(struct http_request *r, void *api);
void api_debug(struct http_request *r, void *api); /* api_debug.c */
void api_runtime_config(struct http_request *r, void *api);
void api_services(struct http_request *r, void *api);
/* api_ring.c */
void api_ring(struct http_request *r, void *api);
void api_memberlist(struct http_request *r, void *api);
void api_flush(struct http_request *r, void *api);
void api_log_level(struct http_request *r, void *api);
/* delete requests: api_delete.c */
void api_delete(struct http_request *r, void *api);
const struct delete_language *api_delete_language(void);
/* the keeper of the store: api_admin.c */
void api_admin_merge(struct http_request *r, void *api);
void api_admin_retention(struct http_request *r, void *api);
void api_rules(struct http_request *r,
               void *api); /* no ruler: empty lists, so that Grafana's probe passes */
void api_alerts(struct http_request *r, void *api);
