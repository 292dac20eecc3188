#include "ws_session.h"

#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "http_parse.h"
#include "units.h"

enum {
    PING_MS = 1000,      /* Loki's; loki-canary counts them */
    CLOSE_WAIT_S = 5,    /* for the client's answer to our goodbye */
    ANSWER_MAX = 4 << 10 /* a client that pings and takes nothing gets no more pongs than this */
};

struct ws_session {
    atomic_int refs; /* the owner's and the connection's */
    struct http_socket *socket;
    struct ws_reader reader; /* loop */
    int64_t close_mono_ns;   /* loop: when the tick first saw that we are closing */
    atomic_bool over;

    pthread_mutex_t lock; /* guards `closing`: nothing is sent behind the goodbye */
    bool closing;
};

/* ---- handshake */

bool ws_wanted(const struct http_request *r, char ret_accept[static WS_ACCEPT_SIZE + 1]) {
    return http_request_method(r) == HTTP_GET &&
           http_list_has(http_request_header(r, "Connection"), STR("upgrade")) &&
           http_list_has(http_request_header(r, "Upgrade"), STR("websocket")) &&
           str_eq(http_request_header(r, "Sec-WebSocket-Version"), STR("13")) &&
           ws_accept(http_request_header(r, "Sec-WebSocket-Key"), ret_accept);
}

static void session_unref(struct ws_session *s) {
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    http_socket_unref(s->socket);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- sending */

/* The goodbye goes out once; false when it has gone out before. */
static bool say_goodbye(struct ws_session *s, struct buf *frame) {
    (void)pthread_mutex_lock(&s->lock);
    bool first = !s->closing;
    s->closing = true;
    if (first)
        http_socket_send(s->socket, frame);
    (void)pthread_mutex_unlock(&s->lock);
    atomic_store(&s->over, true);
    buf_done(frame);
    return first;
}

void ws_close(struct ws_session *s, enum ws_code code, struct str reason) {
    struct buf frame = buf_make(WS_HEADER_MAX + WS_CONTROL_MAX);
    ws_write_close(&frame, code, reason);
    (void)say_goodbye(s, &frame);
}

void ws_leave(struct ws_session *s, enum ws_code code, struct str reason) {
    ws_close(s, code, reason);
    http_socket_finish(s->socket);
}

static void send_frame(struct ws_session *s, struct buf *frame) {
    (void)pthread_mutex_lock(&s->lock);
    if (!s->closing)
        http_socket_send(s->socket, frame);
    (void)pthread_mutex_unlock(&s->lock);
    buf_done(frame);
}

static void send_control(struct ws_session *s, enum ws_opcode opcode, struct str payload) {
    if (http_socket_queued(s->socket) > ANSWER_MAX)
        return;
    struct buf frame = buf_make(WS_HEADER_MAX + WS_CONTROL_MAX);
    ws_write(&frame, opcode, payload);
    send_frame(s, &frame);
}

void ws_send(struct ws_session *s, struct buf *text) {
    /* The header travels as a piece of its own, so that the message need not move. */
    struct buf header = buf_make(WS_HEADER_MAX);
    uint8_t bytes[WS_HEADER_MAX];
    buf_add(&header, bytes, ws_header(bytes, WS_TEXT, text->size));
    if (text->failed)
        header.failed = true;
    (void)pthread_mutex_lock(&s->lock);
    if (!s->closing) {
        http_socket_send(s->socket, &header);
        http_socket_send(s->socket, text);
    }
    (void)pthread_mutex_unlock(&s->lock);
    buf_done(&header);
    buf_done(text);
}

size_t ws_queued(const struct ws_session *s) {
    return http_socket_queued(s->socket);
}

const atomic_bool *ws_over(const struct ws_session *s) {
    return &s->over;
}

/* ---- the connection's loop */

static void on_close(struct ws_session *s, const struct ws_event *event) {
    struct buf frame = buf_make(WS_HEADER_MAX + WS_CONTROL_MAX);
    if (event->code == WS_NO_STATUS)
        ws_write(&frame, WS_CLOSE, STR(""));
    else
        ws_write_close(&frame, event->code, STR(""));
    /* Either our answer, or the client's answer to ours. */
    (void)say_goodbye(s, &frame);
    http_socket_finish(s->socket);
}

static void on_read(void *ctx, struct str bytes) {
    struct ws_session *s = ctx;
    while (bytes.size > 0) {
        struct ws_event event = ws_read(&s->reader, &bytes);
        switch (event.kind) {
        case WS_EVENT_NONE:
        case WS_EVENT_MESSAGE:
        case WS_EVENT_PONG:
            break;
        case WS_EVENT_PING:
            send_control(s, WS_PONG, event.payload);
            break;
        case WS_EVENT_CLOSE:
            on_close(s, &event);
            break;
        case WS_EVENT_BAD:
            ws_leave(s, event.code, event.payload);
            break;
        }
    }
}

static void on_tick(void *ctx) {
    struct ws_session *s = ctx;
    if (!atomic_load(&s->over)) {
        send_control(s, WS_PING, STR(""));
        return;
    }
    int64_t now_ns = clock_mono_ns();
    if (s->close_mono_ns == 0)
        s->close_mono_ns = now_ns;
    if (now_ns - s->close_mono_ns >= CLOSE_WAIT_S * NS_PER_S)
        http_socket_finish(s->socket);
}

static void on_closed(void *ctx) {
    struct ws_session *s = ctx;
    atomic_store(&s->over, true);
    session_unref(s);
}

/* ---- opening and letting go */

struct ws_session *ws_open(struct http_request *r, const char *accept) {
    static const struct http_socket_hooks hooks = {
        .read = on_read, .tick = on_tick, .closed = on_closed, .tick_ms = PING_MS};
    const struct http_header headers[] = {
        {"Upgrade", "websocket"},
        {"Connection", "Upgrade"},
        {"Sec-WebSocket-Accept", accept},
    };
    struct ws_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    (void)pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->refs, 2);
    size_t count = sizeof(headers) / sizeof(headers[0]);
    if (http_upgrade(r, headers, count, &hooks, s, &s->socket) < 0) {
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return s;
}

void ws_free(struct ws_session *s) {
    if (!s)
        return;
    ws_close(s, WS_NORMAL, STR(""));
    session_unref(s);
}
