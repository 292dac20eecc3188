#include "api.h"

#include <assert.h>
#include <errno.h>

#include "clock.h"
#include "labels.h"
#include "log.h"
#include "units.h"

enum { TENANT_MAX = 150 };

struct settings *api_settings(struct api *api) {
    pthread_mutex_lock(&api->lock);
    struct settings *s = settings_ref(api->settings);
    pthread_mutex_unlock(&api->lock);
    return s;
}

int api_set_log_level(struct api *api, struct str name) {
    static const char *const names[] = {
        [LOG_DEBUG] = "debug",
        [LOG_INFO] = "info",
        [LOG_WARN] = "warn",
        [LOG_ERROR] = "error",
    };
    enum log_level level;
    int r = log_level_parse(name, &level);
    if (r < 0)
        return r;
    log_set_level(level);
    atomic_store(&api->log_level, names[level]);
    return 0;
}

void api_set_settings(struct api *api, struct settings *next) {
    pthread_mutex_lock(&api->lock);
    struct settings *before = api->settings;
    api->settings = next;
    pthread_mutex_unlock(&api->lock);
    /* Whom the settings did not change, POST /log_level has set. */
    if (next->config != before->config)
        (void)api_set_log_level(api, str_from(next->config->log_level));
    store_forget_texts(api->store);
    compactor_set_policy(api->compactor, next->retention);
    compactor_set_merge(api->compactor, next->config->merge_enabled, &next->config->merge);
    deletes_set_cancel_period(compactor_deletes(api->compactor),
                              next->config->delete_cancel_period_ns);
    settings_unref(before);
}

/* ---- tenants */

static bool tenant_char(char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!-_.*'()", c) != NULL;
}

static int check_one(struct str id, struct err *reterr) {
    if (id.size == 0)
        return err_set(reterr, 401, "no org id");
    for (size_t i = 0; i < id.size; i++)
        if (!tenant_char(id.data[i]))
            return err_set(reterr, 400, "tenant ID '%.*s' contains unsupported character '%c'",
                           STR_ARG(id), id.data[i]);
    if (id.size > TENANT_MAX)
        return err_set(reterr, 400, "tenant ID is too long: max %d characters", TENANT_MAX);
    if (str_eq(id, STR(".")) || str_eq(id, STR("..")))
        return err_set(reterr, 400, "tenant ID is '.' or '..'");
    return 0;
}

int api_tenant_check(struct str header, struct str *ret, struct err *reterr) {
    if (header.size == 0)
        return err_set(reterr, 401, "no org id");
    struct str first = {0};
    while (header.size > 0) {
        const char *bar = memchr(header.data, '|', header.size);
        size_t size = bar ? (size_t)(bar - header.data) : header.size;
        struct str id = str_make(header.data, size);
        int status = check_one(id, reterr);
        if (status != 0)
            return status;
        if (first.data && !str_eq(first, id))
            return err_set(reterr, 400, "multiple org IDs present");
        first = id;
        if (bar && size + 1 == header.size)
            return err_set(reterr, 400, "multiple org IDs present");
        header = str_from_offset(header, size + 1);
    }
    *ret = first;
    return 0;
}

/* ---- limits and errors */

/* Rounded down to a millisecond, as Loki counts here. */
static int64_t floor_ms(int64_t ns) {
    int64_t rest = ns % NS_PER_MS;
    return rest < 0 && ns >= INT64_MIN + NS_PER_MS ? ns - rest - NS_PER_MS : ns - rest;
}

int api_check_length(const struct limits *limits, int64_t start_ns, int64_t end_ns,
                     struct err *reterr) {
    int64_t length_ns;
    if (__builtin_sub_overflow(floor_ms(end_ns), floor_ms(start_ns), &length_ns))
        length_ns = INT64_MAX;
    if (limits->max_query_length_ns <= 0 || length_ns <= limits->max_query_length_ns)
        return 0;
    struct buf length = buf_make(64), limit = buf_make(64);
    duration_format_go(&length, length_ns);
    duration_format_prometheus(&limit, limits->max_query_length_ns);
    int r = err_set(reterr, -EREFUSED,
                    "the query time range exceeds the limit (query length: %.*s, limit: %.*s)",
                    STR_ARG(buf_str(&length)), STR_ARG(buf_str(&limit)));
    buf_done(&length);
    buf_done(&limit);
    return r;
}

void api_clamp_lookback(const struct limits *limits, int64_t now_ns, int64_t *start_ns,
                        int64_t *end_ns) {
    if (limits->max_query_lookback_ns <= 0)
        return;
    int64_t oldest_ns = now_ns - limits->max_query_lookback_ns;
    if (*start_ns < oldest_ns)
        *start_ns = oldest_ns;
    if (*end_ns < oldest_ns)
        *end_ns = oldest_ns;
}

static const struct str timeout_text =
    STR_INIT("request timed out, decrease the duration of the request or add more label matchers "
             "(prefer exact "
             "match over regex match) to reduce the amount of data processed");

void api_fail(struct http_request *r, int code, const struct err *err) {
    struct str text = str_from(err->text);
    switch (-code) {
    case ESYNTAX:
    case EREFUSED:
        http_reply_error(r, 400, text);
        break;
    case EEXPIRED:
        http_reply_error(r, 504, timeout_text);
        break;
    case ECANCELED:
        http_reply_error(r, 499, STR("The request was cancelled by the client."));
        break;
    case EBUSYNOW:
        http_reply_error(r, 429, text.size > 0 ? text : STR("too many outstanding requests"));
        break;
    case ENOMEM:
        http_reply_error(r, 503, text.size > 0 ? text : STR("not enough memory, try again later"));
        break;
    default:
        log_line(LOG_ERROR, "request failed", "peer=%.*s path=%s err=%s",
                 STR_ARG(http_request_peer(r)), log_quote(http_request_path(r)),
                 log_quotez(text.size > 0 ? err->text : err_name(code)));
        http_reply_error(r, 500, text.size > 0 ? text : str_from(err_name(code)));
        break;
    }
}

/* ---- routes */

enum {
    READ = HTTP_GET | HTTP_POST,
};

static const struct http_route route_table[] = {
    {HTTP_POST, "/loki/api/v1/push", api_push, NULL, HTTP_ON_POOL, "loki_api_v1_push",
     api_push_where},
    {HTTP_POST, "/api/prom/push", api_push_legacy, NULL, HTTP_ON_POOL, "api_prom_push",
     api_push_where},
    {HTTP_POST, "/otlp/v1/logs", api_push_otlp, NULL, HTTP_ON_POOL, "otlp_v1_logs",
     api_push_otlp_where},
    {HTTP_POST, "/v1/logs", api_push_otlp, NULL, HTTP_ON_POOL, "otlp_v1_logs", api_push_otlp_where},
    {READ, "/loki/api/v1/query_range", api_query_range, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_query_range", NULL},
    {READ, "/loki/api/v1/lines", api_lines, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_lines", NULL},
    {READ, "/loki/api/v1/query", api_query_instant, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_query",
     NULL},
    {HTTP_GET, "/loki/api/v1/tail", api_tail, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_tail", NULL},
    {HTTP_GET, "/api/prom/tail", api_tail_legacy, NULL, HTTP_ON_QUERY_POOL, "api_prom_tail", NULL},
    {READ, "/loki/api/v1/labels", api_labels, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_labels", NULL},
    {READ, "/loki/api/v1/label", api_labels, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_label", NULL},
    {READ, "/loki/api/v1/label/{}/values", api_label_values, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_label_name_values", NULL},
    {READ, "/loki/api/v1/series", api_series, NULL, HTTP_ON_QUERY_POOL, "loki_api_v1_series", NULL},
    {READ, "/loki/api/v1/index/stats", api_index_stats, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_index_stats", NULL},
    {READ, "/loki/api/v1/index/volume", api_index_volume, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_index_volume", NULL},
    {READ, "/loki/api/v1/index/volume_range", api_index_volume_range, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_index_volume_range", NULL},
    {READ, "/loki/api/v1/detected_labels", api_detected_labels, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_detected_labels", NULL},
    {READ, "/loki/api/v1/detected_fields", api_detected_fields, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_detected_fields", NULL},
    {READ, "/loki/api/v1/detected_field/{}/values", api_detected_values, NULL, HTTP_ON_QUERY_POOL,
     "loki_api_v1_detected_field_name_values", NULL},
    {HTTP_GET, "/loki/api/v1/drilldown-limits", api_drilldown_limits, NULL, HTTP_ON_LOOP,
     "loki_api_v1_drilldown_limits", NULL},
    {READ, "/loki/api/v1/patterns", api_patterns, NULL, HTTP_ON_POOL, "loki_api_v1_patterns", NULL},
    {READ, "/loki/api/v1/format_query", api_format_query, NULL, HTTP_ON_POOL,
     "loki_api_v1_format_query", NULL},
    {HTTP_GET, "/loki/api/v1/rules", api_rule_groups, NULL, HTTP_ON_LOOP, "loki_api_v1_rules",
     NULL},
    {HTTP_GET, "/api/prom/rules", api_rule_groups, NULL, HTTP_ON_LOOP, "api_prom_rules", NULL},
    {READ, "/api/prom/query", api_query_legacy, NULL, HTTP_ON_QUERY_POOL, "api_prom_query", NULL},
    {READ, "/api/prom/label", api_labels, NULL, HTTP_ON_QUERY_POOL, "api_prom_label", NULL},
    {READ, "/api/prom/label/{}/values", api_label_values, NULL, HTTP_ON_QUERY_POOL,
     "api_prom_label_name_values", NULL},
    {READ, "/api/prom/series", api_series, NULL, HTTP_ON_QUERY_POOL, "api_prom_series", NULL},
    {HTTP_GET, "/prometheus/api/v1/rules", api_rules, NULL, HTTP_ON_LOOP, "prometheus_api_v1_rules",
     NULL},
    {HTTP_GET, "/prometheus/api/v1/alerts", api_alerts, NULL, HTTP_ON_LOOP,
     "prometheus_api_v1_alerts", NULL},
    {HTTP_GET, "/loki/api/v1/status/buildinfo", api_buildinfo, NULL, HTTP_ON_LOOP,
     "loki_api_v1_status_buildinfo", NULL},
    {HTTP_GET, "/ready", api_ready, NULL, HTTP_ON_LOOP, "ready", NULL},
    {HTTP_GET, "/loki/ready", api_ready, NULL, HTTP_ON_LOOP, "ready", NULL},
    {HTTP_GET, "/metrics", api_metrics, NULL, HTTP_ON_POOL, "metrics", NULL},
    {HTTP_GET, "/config", api_config, NULL, HTTP_ON_POOL, "config", NULL},
    {HTTP_GET, "/debug", api_debug, NULL, HTTP_ON_POOL, "debug", NULL},
    {HTTP_GET, "/runtime_config", api_runtime_config, NULL, HTTP_ON_POOL, "runtime_config", NULL},
    {HTTP_GET, "/services", api_services, NULL, HTTP_ON_LOOP, "services", NULL},
    {HTTP_GET, "/ring", api_ring, NULL, HTTP_ON_LOOP, "ring", NULL},
    {HTTP_GET, "/distributor/ring", api_ring, NULL, HTTP_ON_LOOP, "distributor_ring", NULL},
    {HTTP_GET, "/compactor/ring", api_ring, NULL, HTTP_ON_LOOP, "compactor_ring", NULL},
    {HTTP_GET, "/memberlist", api_memberlist, NULL, HTTP_ON_LOOP, "memberlist", NULL},
    {HTTP_GET | HTTP_POST, "/log_level", api_log_level, NULL, HTTP_ON_LOOP, "log_level", NULL},
    {HTTP_GET | HTTP_POST | HTTP_PUT | HTTP_DELETE, "/loki/api/v1/delete", api_delete, NULL,
     HTTP_ON_POOL, "loki_api_v1_delete", NULL},
    {HTTP_POST, "/flush", api_flush, NULL, HTTP_ON_POOL, "flush", NULL},
    {HTTP_GET, "/admin/retention", api_admin_retention, NULL, HTTP_ON_POOL, "admin_retention",
     NULL},
    {HTTP_POST, "/admin/merge", api_admin_merge, NULL, HTTP_ON_POOL, "admin_merge", NULL},
};
static_assert(sizeof(route_table) / sizeof(route_table[0]) <= API_ROUTES_MAX,
              "room for all routes");

size_t api_routes(struct api *api, struct http_route out[static API_ROUTES_MAX]) {
    size_t count = sizeof(route_table) / sizeof(route_table[0]);
    for (size_t i = 0; i < count; i++) {
        out[i] = route_table[i];
        out[i].ctx = api;
    }
    return count;
}
