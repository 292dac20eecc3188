/* api_detected: detected_labels, detected_fields and the values of one field. An answer without
 * content is {}. */
#include <errno.h>

#include "api.h"
#include "census.h"
#include "clock.h"
#include "detect.h"
#include "json.h"
#include "params.h"
#include "parser.h"
#include "query_limits.h"

enum {
    LINE_LIMIT_DEFAULT = 100,
    FIELD_LIMIT_DEFAULT = 1000,
};

static const char json_type[] = "application/json; charset=UTF-8";

static int check_order(int64_t start_ns, int64_t end_ns, struct err *reterr) {
    if (end_ns >= start_ns)
        return 0;
    return err_set(reterr, -ESYNTAX, "end timestamp must not be before or equal to start time");
}

/* ---- labels */

static int add_stream(struct labels labels, void *ctx) {
    return census_add(ctx, labels);
}

/* An absent query, or {}, means all streams. */
static int take_census(struct api *api, struct select *sel, struct str selector,
                       struct census *census, struct err *reterr) {
    struct parsed_query *parsed = NULL;
    int e = selector.size > 0 ? selector_parse(selector, true, &parsed, reterr) : 0;
    if (e < 0)
        return e;
    if (parsed) {
        sel->matchers = parsed_query_expr(parsed)->log.matchers;
        sel->n_matchers = parsed_query_expr(parsed)->log.n_matchers;
    }
    e = store_series(api->store, sel, add_stream, census, reterr);
    parsed_query_free(parsed);
    return e;
}

static void write_labels(struct buf *out, const struct census_label *labels, size_t count) {
    if (count == 0) {
        buf_add_str(out, STR("{}\n"));
        return;
    }
    buf_add_str(out, STR("{\"detectedLabels\":["));
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, i > 0 ? STR(",{\"label\":") : STR("{\"label\":"));
        json_write_string(out, labels[i].name);
        buf_add_str(out, STR(",\"cardinality\":"));
        buf_add_u64(out, labels[i].cardinality);
        buf_add_char(out, '}');
    }
    buf_add_str(out, STR("]}\n"));
}

void api_detected_labels(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct select sel = {0};
    struct err err = {0};
    int64_t now_ns = clock_now_ns();
    if (!api_tenants(api, r, &sel.tenant))
        return;
    const struct limits *limits = api_limits_of(r);
    struct census *census = census_new();
    struct buf body = buf_make(BUF_NO_MAX);
    const struct census_label *labels;
    size_t count;
    int e = census ? params_range(r, now_ns, &sel.start_ns, &sel.end_ns, &err) : -ENOMEM;
    if (e == 0)
        e = check_order(sel.start_ns, sel.end_ns, &err);
    if (e == 0)
        e = api_check_length(limits, sel.start_ns, sel.end_ns, &err);
    if (e == 0) {
        api_clamp_lookback(limits, now_ns, &sel.start_ns, &sel.end_ns);
        e = take_census(api, &sel, http_param(r, "query"), census, &err);
    }
    if (e == 0)
        e = census_list(census, &labels, &count);
    if (e < 0) {
        api_fail(r, e, &err);
    } else {
        write_labels(&body, labels, count);
        http_reply(r, 200, json_type, &body);
    }
    buf_done(&body);
    census_free(census);
}

/* ---- fields */

static int read_limit(struct str text, uint32_t fallback, uint32_t *ret, struct err *reterr) {
    *ret = fallback;
    return text.size > 0 ? params_parse_limit(text, ret, reterr) : 0;
}

static int read_params(struct http_request *r, int64_t now_ns, struct query *q,
                       uint32_t *ret_field_limit, struct err *reterr) {
    int e = params_range(r, now_ns, &q->start_ns, &q->end_ns, reterr);
    if (e == 0)
        e = check_order(q->start_ns, q->end_ns, reterr);
    if (e == 0)
        e = read_limit(http_param(r, "line_limit"), LINE_LIMIT_DEFAULT, &q->limit, reterr);
    if (e < 0)
        return e;
    struct str limit = http_param(r, "limit");
    if (limit.size == 0)
        limit = http_param(r, "field_limit");
    e = read_limit(limit, FIELD_LIMIT_DEFAULT, ret_field_limit, reterr);
    /* Nothing depends on the step, but a request that Loki refuses shall not pass here. */
    return e < 0 ? e : params_resolution(r, q->start_ns, q->end_ns, &q->step_ns, reterr);
}

static int check_query(const struct limits *limits, const struct query *q, struct err *reterr) {
    struct parsed_query *parsed;
    int e = query_parse_unchecked(q->text, &parsed, reterr);
    if (e < 0)
        return e;
    bool log_query = parsed_query_expr(parsed)->kind == EXPR_LOG;
    e = query_limits_check(limits, parsed_query_expr(parsed), reterr);
    parsed_query_free(parsed);
    if (!log_query)
        return err_set(reterr, -ESYNTAX, "only log selector is supported");
    if (e < 0)
        return e;
    uint32_t most = limits->max_entries_limit_per_query;
    if (most > 0 && q->limit > most)
        return err_set(reterr, -EREFUSED,
                       "max entries limit per query exceeded, limit > max_entries_limit_per_query "
                       "(%u > %u)",
                       q->limit, most);
    return api_check_length(limits, q->start_ns, q->end_ns, reterr);
}

/* The newest line_limit lines of the query. */
static int take_sample(struct http_request *r, struct api *api, struct query *q, int64_t now_ns,
                       struct query_result **ret, struct err *reterr) {
    const struct limits *limits = api_limits_of(r);
    struct str text = http_param(r, "query");
    q->text = text.data ? text : STR("");
    int e = check_query(limits, q, reterr);
    if (e < 0)
        return e;
    if (q->limit > DETECT_LINES_MAX)
        q->limit = DETECT_LINES_MAX;
    q->direction = DIR_BACKWARD;
    api_clamp_lookback(limits, now_ns, &q->start_ns, &q->end_ns);
    q->max_bytes_read = limits->max_query_bytes_read;
    if (limits->query_timeout_ns > 0)
        q->deadline_mono_ns = clock_mono_ns() + limits->query_timeout_ns;
    q->cancel = http_request_cancel(r);
    return engine_query(api->engine, q, ret, reterr);
}

static void write_field(struct buf *out, const struct detected_field *f) {
    buf_add_str(out, STR("{\"label\":"));
    json_write_string(out, f->name);
    buf_add_str(out, STR(",\"type\":\""));
    buf_add_str(out, field_type_name(f->type));
    buf_add_str(out, STR("\",\"cardinality\":"));
    buf_add_u64(out, f->cardinality);
    buf_add_str(out, STR(",\"parsers\":"));
    if (f->json || f->logfmt)
        buf_addf(out, "[%s%s%s]", f->json ? "\"json\"" : "", f->json && f->logfmt ? "," : "",
                 f->logfmt ? "\"logfmt\"" : "");
    else
        buf_add_str(out, STR("null"));
    if (f->path) {
        buf_add_str(out, STR(",\"jsonPath\":["));
        for (size_t i = 0; i < f->path_count; i++) {
            if (i > 0)
                buf_add_char(out, ',');
            json_write_string(out, f->path[i]);
        }
        buf_add_char(out, ']');
    }
    buf_add_char(out, '}');
}

static void write_detected(struct buf *out, const struct detected *d, uint32_t limit) {
    if (d->n_fields == 0 && d->n_values == 0) {
        buf_add_str(out, STR("{}\n"));
        return;
    }
    buf_add_str(out, d->n_fields > 0 ? STR("{\"fields\":[") : STR("{\"values\":["));
    for (size_t i = 0; i < d->n_fields; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_field(out, &d->fields[i]);
    }
    for (size_t i = 0; i < d->n_values; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_write_string(out, d->values[i]);
    }
    buf_addf(out, "],\"limit\":%u}\n", limit);
}

static void answer_detected(struct http_request *r, struct api *api, const struct str *field) {
    struct query q = {0};
    struct err err = {0};
    int64_t now_ns = clock_now_ns();
    if (!api_tenants(api, r, &q.tenant))
        return;
    struct query_result *sample = NULL;
    struct detected *detected = NULL;
    uint32_t limit;
    int e = read_params(r, now_ns, &q, &limit, &err);
    if (e == 0)
        e = take_sample(r, api, &q, now_ns, &sample, &err);
    if (e == 0)
        e = field ? detect_values(sample, *field, limit, &detected, &err)
                  : detect_fields(sample, limit, &detected, &err);
    if (e < 0) {
        api_fail(r, e, &err);
    } else {
        struct buf body = buf_make(BUF_NO_MAX);
        write_detected(&body, detected, limit);
        http_reply(r, 200, json_type, &body);
        buf_done(&body);
    }
    detected_free(detected);
    query_result_free(sample);
}

void api_detected_fields(struct http_request *r, void *api) {
    answer_detected(r, api, NULL);
}

void api_detected_values(struct http_request *r, void *api) {
    struct str field = http_request_segment(r);
    answer_detected(r, api, &field);
}
