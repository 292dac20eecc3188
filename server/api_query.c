/* api_query: query_range, query and the legacy query. Checks come in Loki's order, because its
 * texts are part of the interface: parameters, then the query's syntax, then limits. */
#include <errno.h>

#include "api.h"
#include "api_context.h"
#include "clock.h"
#include "labels.h"
#include "log.h"
#include "params.h"
#include "parser.h"
#include "query_limits.h"
#include "query_log.h"
#include "render.h"
#include "units.h"

enum { DEFAULT_LIMIT = 100 };

static const char json_type[] = "application/json; charset=UTF-8";

static int read_range_params(struct http_request *r, int64_t now_ns, struct query *q,
                             struct err *reterr) {
    int e = params_range(r, now_ns, &q->start_ns, &q->end_ns, reterr);
    if (e < 0)
        return e;
    if (q->end_ns < q->start_ns)
        return err_set(reterr, -ESYNTAX, "end timestamp must not be before or equal to start time");
    e = params_limit(r, DEFAULT_LIMIT, &q->limit, reterr);
    if (e < 0)
        return e;
    e = params_direction(r, &q->direction, reterr);
    if (e < 0)
        return e;
    e = params_resolution(r, q->start_ns, q->end_ns, &q->step_ns, reterr);
    if (e < 0)
        return e;
    e = params_step(r, "interval", 0, &q->interval_ns, reterr);
    if (e < 0)
        return e;
    if (q->interval_ns < 0)
        return err_set(reterr, -ESYNTAX, "interval must be >= 0");
    return 0;
}

static int read_instant_params(struct http_request *r, int64_t now_ns, struct query *q,
                               struct err *reterr) {
    q->instant = true;
    int e = params_limit(r, DEFAULT_LIMIT, &q->limit, reterr);
    if (e < 0)
        return e;
    e = params_time(r, "time", now_ns, &q->end_ns, reterr);
    if (e < 0)
        return e;
    q->start_ns = q->end_ns;
    return params_direction(r, &q->direction, reterr);
}

/* The limits that a log query alone must keep, or that must not hide a syntax error: the query
 * is parsed here only when one of them is exceeded. */
static int check_limits(const struct limits *limits, const struct query *q, struct err *reterr) {
    uint32_t most = limits->max_entries_limit_per_query;
    bool too_many = most > 0 && q->limit > most;
    struct err length_err;
    int length = api_check_length(limits, q->start_ns, q->end_ns, &length_err);
    if (!too_many && length == 0 && !query_limits_concern(limits, q->text))
        return 0;
    struct parsed_query *parsed;
    int r = query_parse(q->text, &parsed, reterr);
    if (r < 0)
        return r;
    bool log_query = parsed_query_expr(parsed)->kind == EXPR_LOG;
    r = query_limits_check(limits, parsed_query_expr(parsed), reterr);
    parsed_query_free(parsed);
    if (r < 0)
        return r;
    if (length < 0)
        return err_set(reterr, length, "%s", length_err.text);
    if (too_many && log_query && !q->instant)
        return err_set(reterr, -EREFUSED,
                       "max entries limit per query exceeded, limit > max_entries_limit_per_query "
                       "(%u > %u)",
                       q->limit, most);
    return 0;
}

static int run_query(struct http_request *r, struct api *api, struct query *q, int64_t now_ns,
                     struct query_result **ret, struct err *reterr) {
    const struct limits *limits = api_limits_of(r);
    if (!q->text.data)
        q->text = http_param(r, "query");
    if (!q->text.data)
        q->text = STR("");
    int e = check_limits(limits, q, reterr);
    if (e < 0)
        return e;
    if (!q->instant)
        api_clamp_lookback(limits, now_ns, &q->start_ns, &q->end_ns);
    q->max_series = limits->max_query_series;
    q->max_bytes_read = limits->max_query_bytes_read;
    if (limits->query_timeout_ns > 0)
        q->deadline_mono_ns = clock_mono_ns() + limits->query_timeout_ns;
    q->cancel = http_request_cancel(r);
    int64_t begun_ns = clock_mono_ns(), long_ns = api_config_of(r)->log_queries_longer_ns;
    e = engine_query(api->engine, q, ret, reterr);
    if (e == 0)
        query_figures_add(&api->queries, &(*ret)->stats);
    const struct query_log line = {
        .query = q,
        .stats = e == 0 ? &(*ret)->stats : NULL,
        .code = e,
        .now_ns = now_ns,
        .took_ns = clock_mono_ns() - begun_ns,
    };
    if (long_ns > 0 && line.took_ns >= long_ns)
        query_log_write(&line);
    if (e == 0 && (*ret)->stats.lost > 0)
        log_line(LOG_ERROR, "a query was answered without damaged data", "parts=%llu first=%s",
                 (unsigned long long)(*ret)->stats.lost, log_quotez((*ret)->stats.lost_what));
    return e;
}

static void answer_with_context(struct http_request *r, struct api *api, const struct query *q,
                                struct query_result *result, const struct api_context *context,
                                const struct render_options *options) {
    struct err err = {0};
    struct buf body = buf_make(BUF_NO_MAX);
    int e = api_context_render(api, q, result, context, options, &body, &err);
    query_result_free(result);
    if (e < 0)
        api_fail(r, e, &err);
    else
        http_reply(r, 200, json_type, &body);
    buf_done(&body);
}

static void answer_query(struct http_request *r, struct api *api, bool instant) {
    struct query q = {0};
    struct err err = {0};
    int64_t now_ns = clock_now_ns();
    if (!api_tenants(api, r, &q.tenant))
        return;
    struct query_result *result = NULL;
    int e =
        instant ? read_instant_params(r, now_ns, &q, &err) : read_range_params(r, now_ns, &q, &err);
    struct api_context context = {0};
    if (e == 0 && !instant)
        e = api_context_params(r, &context, &err);
    if (e == 0)
        e = run_query(r, api, &q, now_ns, &result, &err);
    if (e < 0) {
        api_fail(r, e, &err);
        return;
    }
    struct str flags = http_request_header(r, "X-Loki-Response-Encoding-Flags");
    const struct render_options options = {
        .encoding_flags = flags,
        .categorize = render_wants_categories(flags),
    };
    if (context.before > 0 || context.after > 0) {
        answer_with_context(r, api, &q, result, &context, &options);
        return;
    }
    struct renderer *renderer = renderer_new(result, &options);
    if (!renderer) {
        query_result_free(result);
        api_fail(r, -ENOMEM, &err);
        return;
    }
    const struct http_body body = {renderer_next, renderer_free, renderer,
                                   renderer_held_bytes(renderer)};
    http_reply_body(r, 200, json_type, &body);
}

void api_query_range(struct http_request *r, void *api) {
    answer_query(r, api, false);
}

void api_query_instant(struct http_request *r, void *api) {
    answer_query(r, api, true);
}

/* The old parameter regexp is a line filter behind the query, which must be right by itself. The line break ends a
 * comment in it. */
int api_query_text(struct http_request *r, struct str *ret, struct err *reterr) {
    struct str regexp = http_param(r, "regexp"), query = http_param(r, "query");
    *ret = query.data ? query : STR("");
    if (regexp.size == 0)
        return 0;
    struct parsed_query *parsed = NULL;
    int e = query_parse_unchecked(*ret, &parsed, reterr);
    if (e < 0)
        return e;
    parsed_query_free(parsed);
    struct buf text = buf_make(QUERY_TEXT_MAX);
    buf_add_str(&text, query);
    buf_add_str(&text, STR("\n|~ "));
    go_quote(&text, regexp);
    if (text.failed) {
        e = err_set(reterr, -ESYNTAX, "query with regexp is too long: max %d bytes",
                    QUERY_TEXT_MAX);
    } else {
        *ret = arena_copy(http_request_arena(r), buf_str(&text));
        if (!ret->data)
            e = err_set(reterr, -ENOMEM, "not enough memory for the request");
    }
    buf_done(&text);
    return e;
}

void api_query_legacy(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct query q = {0};
    struct err err = {0};
    int64_t now_ns = clock_now_ns();
    if (!api_tenants(api, r, &q.tenant))
        return;
    struct query_result *result = NULL;
    int e = read_range_params(r, now_ns, &q, &err);
    if (e == 0)
        e = api_query_text(r, &q.text, &err);
    if (e == 0)
        e = run_query(r, api, &q, now_ns, &result, &err);
    if (e == 0 && result->type != RESULT_STREAMS) {
        query_result_free(result);
        e = err_set(&err, -EREFUSED,
                    "rpc error: code = Code(400) desc = legacy endpoints only support streams "
                    "result type");
    }
    if (e < 0) {
        api_fail(r, e, &err);
        return;
    }
    struct buf body = buf_make(BUF_NO_MAX);
    render_legacy_streams(&body, result);
    query_result_free(result);
    http_reply_long(r, 200, json_type, &body);
    buf_done(&body);
}
