/* api_drilldown: drilldown-limits, what Grafana Logs Drilldown asks first. */
#include "api.h"
#include "json.h"
#include "otlp_map.h"
#include "units.h"

static const char json_type[] = "application/json; charset=UTF-8";

static void write_list(struct buf *out, const char *name, const struct str *items, size_t count) {
    buf_addf(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_write_string(out, items[i]);
    }
    buf_add_char(out, ']');
}

static void write_duration(struct buf *out, const char *name, int64_t ns) {
    buf_addf(out, "\"%s\":\"", name);
    duration_format_prometheus(out, ns);
    buf_add_str(out, STR("\","));
}

/* The largest unit that divides the size: "0B", "10GB" (binary units, as in settings). */
static void write_size(struct buf *out, const char *name, uint64_t bytes) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (unit + 1 < sizeof(units) / sizeof(units[0]) && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    buf_addf(out, "\"%s\":\"%llu%s\",", name, (unsigned long long)bytes, units[unit]);
}

/* Of resources: Loki's list and the rules behind it. */
static void write_otlp_rules(struct buf *out, const struct otlp_rules *rules) {
    const struct otlp_rule defaults = {
        .action = OTLP_LABEL, .names = otlp_index_attributes(), .n_names = OTLP_INDEX_LABELS};
    size_t n = 0, count = rules ? rules->count[OTLP_OF_RESOURCE] : 0;
    buf_add_char(out, '[');
    if (!rules || !rules->ignore_defaults) {
        otlp_rule_json(&defaults, out);
        n++;
    }
    for (size_t i = 0; i < count; i++) {
        if (n++ > 0)
            buf_add_char(out, ',');
        otlp_rule_json(&rules->of[OTLP_OF_RESOURCE][i], out);
    }
    buf_add_char(out, ']');
}

static const char *flag(bool on) {
    return on ? "true" : "false";
}

/* Always 200 and without a tenant: Drilldown takes anything else for an old server. Keys in
 * Loki's order. */
void api_drilldown_limits(struct http_request *r, void *ctx) {
    (void)ctx;
    const struct config *config = api_config_of(r);
    const struct limits *l = api_limits_of(r);
    struct buf body = buf_make(BUF_NO_MAX);
    buf_addf(&body, "{\"limits\":{\"discover_log_levels\":%s,", flag(l->discover_log_levels));
    write_list(&body, "discover_service_name", l->discover_service_name,
               l->n_discover_service_name);
    buf_add_char(&body, ',');
    write_list(&body, "log_level_fields", l->log_level_fields, l->n_log_level_fields);
    buf_addf(&body, ",\"max_entries_limit_per_query\":%u,\"max_line_size_truncate\":%s,",
             l->max_entries_limit_per_query, flag(l->max_line_size_truncate));
    write_size(&body, "max_query_bytes_read", l->max_query_bytes_read);
    write_duration(&body, "max_query_length", l->max_query_length_ns);
    write_duration(&body, "max_query_lookback", l->max_query_lookback_ns);
    write_duration(&body, "max_query_range", l->max_query_range_ns);
    buf_addf(&body,
             "\"max_query_series\":%u,\"metric_aggregation_enabled\":false,"
             "\"otlp_config\":{\"resource_attributes\":{\"attributes_config\":",
             l->max_query_series);
    write_otlp_rules(&body, l->otlp);
    buf_add_str(&body, STR("}},\"pattern_persistence_enabled\":false,"));
    write_duration(&body, "query_timeout", l->query_timeout_ns);
    write_duration(&body, "retention_period",
                   config->retention_enabled ? l->retention_period_ns : 0);
    buf_addf(&body,
             "\"volume_enabled\":%s,\"volume_max_series\":%u},\"pattern_ingester_enabled\":%s,"
             "\"version\":\"3.7.0\"}\n",
             flag(l->volume_enabled), l->volume_max_series, flag(config->patterns_enabled));
    http_reply(r, 200, json_type, &body);
    buf_done(&body);
}
