/* api_tail: the door to live tails. Everything that is wrong with a request is answered as plain
 * HTTP before the connection becomes a WebSocket, as Loki does, except that a metric query and
 * one tail too many are told to the client in the closing handshake. */
#include <errno.h>

#include "api.h"
#include "clock.h"
#include "params.h"
#include "render.h"
#include "tail.h"
#include "tail_query.h"
#include "units.h"

enum { DEFAULT_LIMIT = 100, DELAY_MAX_S = 5 };

static int check_history(const struct limits *limits, struct tail_options *o, int64_t now_ns,
                         struct err *reterr) {
    uint32_t most = limits->max_entries_limit_per_query;
    if (most > 0 && o->limit > most)
        return err_set(reterr, -EREFUSED,
                       "max entries limit per query exceeded, limit > max_entries_limit_per_query "
                       "(%u > %u)",
                       o->limit, most);
    if (o->start_ns < now_ns) {
        int e = api_check_length(limits, o->start_ns, now_ns, reterr);
        if (e < 0)
            return e;
    }
    int64_t end_ns = now_ns;
    api_clamp_lookback(limits, now_ns, &o->start_ns, &end_ns);
    return 0;
}

static int read_params(struct http_request *r, const struct limits *limits, struct tail_options *o,
                       struct err *reterr) {
    int64_t now_ns = clock_now_ns(), end_ns, delay_s;
    int e = params_limit(r, DEFAULT_LIMIT, &o->limit, reterr);
    if (e == 0)
        e = params_range(r, now_ns, &o->start_ns, &end_ns, reterr);
    if (e == 0)
        e = params_int(r, "delay_for", 0, &delay_s, reterr);
    if (e < 0)
        return e;
    if (delay_s > DELAY_MAX_S)
        return err_set(reterr, -ESYNTAX, "delay_for can't be greater than %d", DELAY_MAX_S);
    o->delay_ns = delay_s > 0 ? delay_s * NS_PER_S : 0;
    return check_history(limits, o, now_ns, reterr);
}

static void reply_not_websocket(struct http_request *r) {
    static const struct http_header version = {"Sec-WebSocket-Version", "13"};
    struct buf body = buf_make(64);
    buf_add_str(&body, STR("Bad Request\n"));
    http_reply_headers(r, 400, "text/plain; charset=utf-8", &version, 1, &body);
    buf_done(&body);
}

/* The client learns in a close frame why there will be no tail. */
static void refuse_in_frame(struct http_request *r, const char *accept, const struct err *err) {
    struct ws_session *ws = ws_open(r, accept);
    if (!ws) {
        http_reply_error(r, 503, STR("out of memory\n"));
        return;
    }
    ws_close(ws, WS_INTERNAL_ERROR, str_from(err->text));
    ws_free(ws);
}

static void open_tail(struct http_request *r, struct api *api, struct tail_query *query,
                      const struct tail_options *o, const char *accept) {
    struct tail *tail = tail_new(api->tails, query, o);
    struct ws_session *ws = tail ? ws_open(r, accept) : NULL;
    if (ws) {
        tail_begin(tail, ws);
        return;
    }
    if (tail)
        tail_free(tail);
    else
        tail_query_free(query);
    http_reply_error(r, 503, STR("out of memory\n"));
}

static void answer(struct http_request *r, struct api *api, bool legacy) {
    struct str flags = http_request_header(r, "X-Loki-Response-Encoding-Flags");
    struct tail_options o = {
        .format = {.encoding_flags = flags.data ? flags : STR(""),
                   .categorize = !legacy && render_wants_categories(flags),
                   .legacy = legacy},
        .duration_ns = api_config_of(r)->tail_max_duration_ns,
    };
    struct err err = {0};
    struct tail_query *query = NULL;
    char accept[WS_ACCEPT_SIZE + 1];
    if (!api_tenant(api, r, &o.tenant))
        return;
    const struct limits *limits = api_limits_of(r);
    o.max_per_tenant = limits->max_concurrent_tail_requests;
    o.max_bytes_read = limits->max_query_bytes_read;
    o.query_timeout_ns = limits->query_timeout_ns;
    int e = api_query_text(r, &o.text, &err);
    int query_e = e < 0 ? e : tail_query_new(o.text, &query, &err);
    bool metric = query_e == -EREFUSED;
    struct err metric_err = err;
    e = metric ? 0 : query_e;
    if (e == 0)
        e = read_params(r, limits, &o, &err);
    if (e < 0) {
        tail_query_free(query);
        api_fail(r, e, &err);
    } else if (!ws_wanted(r, accept)) {
        tail_query_free(query);
        reply_not_websocket(r);
    } else if (metric) {
        refuse_in_frame(r, accept, &metric_err);
    } else {
        open_tail(r, api, query, &o, accept);
    }
}

void api_tail(struct http_request *r, void *api) {
    answer(r, api, false);
}

void api_tail_legacy(struct http_request *r, void *api) {
    answer(r, api, true);
}
