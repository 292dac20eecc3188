/* api_ring: the pages on which Loki shows who is part of it. Here it is one process, and it says so to
 * whoever asks before it trusts a new server. */
#include "api.h"
#include "clock.h"
#include "units.h"

static const char *state_of(const struct api *api) {
    if (atomic_load(&api->stopping))
        return "LEAVING";
    return atomic_load(&api->ready) ? "ACTIVE" : "JOINING";
}

static void write_json(struct buf *out, const char *state, struct str now) {
    buf_addf(out,
             "{\"shards\":[{\"id\":\"logqd\",\"state\":\"%s\",\"address\":\"127.0.0.1\","
             "\"timestamp\":\"%.*s\",\"registered_timestamp\":\"\",\"zone\":\"\",\"tokens\":[]}],"
             "\"now\":\"%.*s\"}\n",
             state, STR_ARG(now), STR_ARG(now));
}

static void write_page(struct buf *out, const char *state, struct str now) {
    buf_addf(out,
             "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>Ring Status</title></head>"
             "<body><h1>Ring Status</h1><p>Current time: %.*s</p>"
             "<table><tr><th>Instance ID</th><th>State</th></tr>"
             "<tr><td>logqd</td><td>%s</td></tr></table></body></html>\n",
             STR_ARG(now), state);
}

void api_ring(struct http_request *r, void *ctx) {
    struct buf now = buf_make(64), body = buf_make(4096);
    time_format_rfc3339(&now, clock_now_ns(), false);
    struct str accept = http_request_header(r, "Accept");
    bool json = accept.data && str_find(accept, STR("application/json")) != NULL;
    (json ? write_json : write_page)(&body, state_of(ctx), buf_str(&now));
    http_reply(r, 200, json ? "application/json" : "text/html; charset=utf-8", &body);
    buf_done(&now);
    buf_done(&body);
}

void api_memberlist(struct http_request *r, void *ctx) {
    (void)ctx;
    struct buf body = buf_make(64);
    buf_add_str(&body, STR("This instance doesn't use memberlist.\n"));
    http_reply(r, 200, "text/plain; charset=utf-8", &body);
    buf_done(&body);
}
