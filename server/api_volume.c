/* api_volume: index/volume and index/volume_range. Parameters are judged in Loki's order, as its
 * texts are part of the interface. */
#include <errno.h>

#include "api.h"
#include "clock.h"
#include "params.h"
#include "render.h"
#include "units.h"
#include "volume.h"

enum { DEFAULT_LIMIT = 100 };

static const char json_type[] = "application/json; charset=UTF-8";

/* 0 means the default, unlike for queries. */
static int read_limit(struct http_request *r, uint32_t *ret, struct err *reterr) {
    *ret = DEFAULT_LIMIT;
    struct str text = http_param(r, "limit");
    int64_t value;
    if (text.size == 0 || (i64_parse(text, &value) == 0 && value == 0))
        return 0;
    return params_parse_limit(text, ret, reterr);
}

static int read_order(struct http_request *r, enum volume_by *ret, struct err *reterr) {
    struct str text = http_param(r, "aggregateBy");
    if (text.size == 0 || str_eq(text, STR("series")))
        *ret = VOLUME_BY_SERIES;
    else if (str_eq(text, STR("labels")))
        *ret = VOLUME_BY_LABELS;
    else
        return err_set(reterr, -ESYNTAX, "invalid aggregation option");
    return 0;
}

/* targetLabels: names separated by commas. */
static int read_targets(struct http_request *r, struct volume_query *q, struct err *reterr) {
    struct str text = http_param(r, "targetLabels");
    size_t count = text.size > 0;
    for (size_t i = 0; i < text.size; i++)
        count += text.data[i] == ',';
    if (count > VOLUME_TARGETS_MAX)
        return err_set(reterr, -EREFUSED, "%zu target labels, limit is %d", count,
                       VOLUME_TARGETS_MAX);
    struct str *targets = arena_array(http_request_arena(r), count, sizeof(*targets));
    if (count > 0 && !targets)
        return err_set(reterr, -ENOMEM, "not enough memory for the request");
    while (text.size > 0) {
        const char *comma = memchr(text.data, ',', text.size);
        size_t size = comma ? (size_t)(comma - text.data) : text.size;
        if (size > 0)
            targets[q->n_targets++] = str_make(text.data, size);
        text = str_from_offset(text, size + 1);
    }
    q->targets = targets;
    return 0;
}

static int read_params(struct http_request *r, const struct limits *limits, bool range,
                       struct volume_query *q, struct err *reterr) {
    int64_t now_ns = clock_now_ns();
    enum query_direction unused_direction;
    int e = read_limit(r, &q->limit, reterr);
    if (e == 0)
        e = params_range(r, now_ns, &q->start_ns, &q->end_ns, reterr);
    if (e == 0 && q->end_ns < q->start_ns)
        e = err_set(reterr, -ESYNTAX, "end timestamp must not be before or equal to start time");
    if (e == 0)
        e = params_direction(r, &unused_direction, reterr);
    if (e == 0 && range)
        e = params_resolution(r, q->start_ns, q->end_ns, &q->step_ns, reterr);
    if (e == 0)
        e = read_order(r, &q->by, reterr);
    if (e == 0)
        e = read_targets(r, q, reterr);
    if (e == 0)
        e = api_check_length(limits, q->start_ns, q->end_ns, reterr);
    if (e == 0)
        api_clamp_lookback(limits, now_ns, &q->start_ns, &q->end_ns);
    return e;
}

static void answer_volume(struct http_request *r, struct api *api, bool range) {
    struct volume_query q = {0};
    struct err err = {0};
    if (!api_tenants(api, r, &q.tenant))
        return;
    const struct limits *limits = api_limits_of(r);
    q.max_series = limits->volume_max_series;
    if (!limits->volume_enabled) {
        http_reply_error(r, 404, STR("volume is switched off by limits_config.volume_enabled\n"));
        return;
    }
    struct query_result *result = NULL;
    int e = read_params(r, limits, range, &q, &err);
    if (e == 0) {
        struct str selector = http_param(r, "query");
        q.selector = selector.data ? selector : STR("");
        if (limits->query_timeout_ns > 0)
            q.deadline_mono_ns = clock_mono_ns() + limits->query_timeout_ns;
        q.cancel = http_request_cancel(r);
        e = volume_query(api->store, &q, &result, &err);
    }
    if (e < 0) {
        api_fail(r, e, &err);
        return;
    }
    struct buf body = buf_make(BUF_NO_MAX);
    render_query_result(&body, result, &(struct render_options){0});
    query_result_free(result);
    http_reply_long(r, 200, json_type, &body);
    buf_done(&body);
}

void api_index_volume(struct http_request *r, void *api) {
    answer_volume(r, api, false);
}

void api_index_volume_range(struct http_request *r, void *api) {
    answer_volume(r, api, true);
}
