/* api_patterns: /loki/api/v1/patterns. */
#include <errno.h>

#include "api.h"
#include "clock.h"
#include "json.h"
#include "params.h"
#include "parser.h"
#include "pattern_query.h"
#include "units.h"

static const char json_type[] = "application/json; charset=UTF-8";

static void write_series(struct buf *out, const struct pattern_series *s) {
    buf_add_str(out, STR("{\"pattern\":"));
    json_write_string(out, s->text);
    buf_add_str(out, STR(",\"level\":"));
    json_write_string(out, pattern_level_name(s->level));
    buf_add_str(out, STR(",\"samples\":["));
    for (size_t i = 0; i < s->n_samples; i++) {
        buf_add_str(out, i > 0 ? STR(",[") : STR("["));
        buf_add_i64(out, s->samples[i].ts_ns / NS_PER_S);
        buf_add_char(out, ',');
        buf_add_u64(out, s->samples[i].count);
        buf_add_char(out, ']');
    }
    buf_add_str(out, STR("]}"));
}

static void reply(struct http_request *r, const struct pattern_result *result) {
    struct buf body = buf_make(BUF_NO_MAX);
    buf_add_str(&body, STR("{\"status\":\"success\",\"data\":["));
    for (size_t i = 0; result && i < result->n_series; i++) {
        if (i > 0)
            buf_add_char(&body, ',');
        write_series(&body, &result->series[i]);
    }
    buf_add_str(&body, STR("]}\n"));
    http_reply_long(r, 200, json_type, &body);
    buf_done(&body);
}

/* Nobody looks closer than the counts are kept. */
static int read_params(struct http_request *r, const struct limits *limits, struct pattern_query *q,
                       struct err *reterr) {
    const int64_t step_min_ns = PATTERN_STEP_MIN_S * NS_PER_S;
    int64_t now_ns = clock_now_ns();
    int e = params_range(r, now_ns, &q->start_ns, &q->end_ns, reterr);
    if (e == 0)
        e = params_resolution(r, q->start_ns, q->end_ns, &q->step_ns, reterr);
    if (e < 0)
        return e;
    if (q->step_ns < step_min_ns)
        q->step_ns = step_min_ns;
    api_clamp_lookback(limits, now_ns, &q->start_ns, &q->end_ns);
    if (limits->query_timeout_ns > 0)
        q->deadline_mono_ns = clock_mono_ns() + limits->query_timeout_ns;
    q->cancel = http_request_cancel(r);
    return 0;
}

void api_patterns(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct pattern_query q = {0};
    struct str selector = http_param(r, "query");
    struct err err = {0};
    if (!api_tenants(api, r, &q.tenant))
        return;
    struct parsed_query *parsed = NULL;
    struct pattern_result *result = NULL;
    int e = read_params(r, api_limits_of(r), &q, &err);
    if (e == 0)
        e = selector_parse(selector.data ? selector : STR(""), false, &parsed, &err);
    if (e == 0 && api_config_of(r)->patterns_enabled) {
        q.matchers = parsed_query_expr(parsed)->log.matchers;
        q.n_matchers = parsed_query_expr(parsed)->log.n_matchers;
        e = pattern_query(api->store, &q, &result, &err);
    }
    if (e < 0)
        api_fail(r, e, &err);
    else
        reply(r, result);
    pattern_result_free(result);
    parsed_query_free(parsed);
}
