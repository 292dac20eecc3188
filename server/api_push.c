/* api_push: the HTTP side of a push. What it means is push.c's business; the reply comes from
 * the WAL thread once the entries are durable. */
#include "api.h"
#include "bytes.h"
#include "clock.h"
#include "wire.h"

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

/* OTLP's errors are messages: google.rpc.Status { 1 code, left out; 2 message }. Its clients
 * send again after 429, 502, 503 and 504 alone, so that no other status may stand for "later". */
static void on_done_otlp(void *ctx, int status, struct str text) {
    struct http_request *r = ctx;
    if (status == 204) {
        http_reply(r, status, NULL, NULL);
        return;
    }
    enum { MESSAGE_FIELD = 2 << 3 | WIRE_LEN };
    uint8_t head[1 + VARINT_MAX_BYTES] = {MESSAGE_FIELD};
    struct buf message = buf_make(sizeof(head) + text.size);
    buf_add(&message, head, (size_t)(put_varint(head + 1, text.size) - head));
    buf_add_str(&message, text);
    if (message.failed)
        buf_clear(&message);
    http_reply(r, status == 500 ? 503 : status, "application/octet-stream", &message);
    buf_done(&message);
}

static struct push_request request_of(const struct http_request *r, enum push_kind kind) {
    return (struct push_request){
        .kind = kind,
        .content_type = http_request_header(r, "Content-Type"),
        .content_encoding = http_request_header(r, "Content-Encoding"),
        .body = http_request_body(r),
    };
}

static void push(struct http_request *r, struct api *api, enum push_kind kind, bool legacy) {
    struct push_request request = request_of(r, kind);
    request.legacy = legacy;
    request.now_ns = clock_now_ns();
    request.body_max = api->push_body_max;
    if (!api_tenant(api, r, &request.tenant))
        return;
    push_handle(api->store, api_limits_of(r), push_figures_of(api->pushes, request.tenant),
                &request, kind == PUSH_OTLP ? on_done_otlp : on_done, r);
}

void api_push(struct http_request *r, void *ctx) {
    push(r, ctx, PUSH_LOKI, false);
}

void api_push_legacy(struct http_request *r, void *ctx) {
    push(r, ctx, PUSH_LOKI, true);
}

void api_push_otlp(struct http_request *r, void *ctx) {
    push(r, ctx, PUSH_OTLP, false);
}

enum http_where api_push_where(const struct http_request *r) {
    struct push_request request = request_of(r, PUSH_LOKI);
    return push_is_small(&request) ? HTTP_ON_LOOP : HTTP_ON_POOL;
}

enum http_where api_push_otlp_where(const struct http_request *r) {
    struct push_request request = request_of(r, PUSH_OTLP);
    return push_is_small(&request) ? HTTP_ON_LOOP : HTTP_ON_POOL;
}
