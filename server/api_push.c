/* api_push: the HTTP side of a push. What it means is push.c's business; the reply comes from
 * the WAL thread once the entries are durable. */
#include "api.h"
#include "clock.h"

static void on_done(void *ctx, int status, struct str text) {
    struct http_request *r = ctx;
    if (status == 204) {
        http_reply(r, status, NULL, NULL);
        return;
    }
    /* Shippers log the first line of an error; Loki ends it with a newline. */
    struct buf line = buf_make(text.size + 1);
    buf_add_str(&line, text);
    buf_add_char(&line, '\n');
    http_reply_error(r, status, line.failed ? text : buf_str(&line));
    buf_done(&line);
}

static struct push_request request_of(const struct http_request *r) {
    return (struct push_request){
        .content_type = http_request_header(r, "Content-Type"),
        .content_encoding = http_request_header(r, "Content-Encoding"),
        .body = http_request_body(r),
    };
}

static void push(struct http_request *r, struct api *api, bool legacy) {
    struct push_request request = request_of(r);
    request.legacy = legacy;
    request.now_ns = clock_now_ns();
    const struct config *config = api_config_now(api);
    request.body_max = config->push_body_max;
    if (!api_tenant(api, r, &request.tenant))
        return;
    push_handle(api->store, &config->limits, &api->push_metrics, &request, on_done, r);
}

void api_push(struct http_request *r, void *ctx) {
    push(r, ctx, false);
}

void api_push_legacy(struct http_request *r, void *ctx) {
    push(r, ctx, true);
}

enum http_where api_push_where(const struct http_request *r) {
    struct push_request request = request_of(r);
    return push_is_small(&request) ? HTTP_ON_LOOP : HTTP_ON_POOL;
}
