/* http_conn: one connection as a state machine, driven by its loop's thread alone.
 *
 *     HEAD -> GUARD -> BODY -> RUNNING -> REPLY -> HEAD ...   keep-alive; TLS begins with HANDSHAKE
 *       \________________________/ \-> LINGER -> closed   refusals, Connection: close
 *                                   \-> SOCKET -> LINGER   taken over
 *
 * While a handler runs, reading goes on just enough to notice that the client went away (end of
 * file sets the request's cancel flag, as Go's server does) and to hold a pipelined request;
 * those are answered in order. After a refusal the client may still be sending: closing at once
 * would make its kernel throw our reply away (RST), so the connection is half-closed and read
 * empty for a while. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"
#include "http_internal.h"
#include "units.h"

enum {
    READ_STEP = 16 << 10,
    BODY_STEP = 64 << 10,
    BODY_GROWTH =
        32, /* room for a body is at most this many times what has come of it: no byte moves often */
    TLS_RECORD = 16 << 10,
    TLS_HANDSHAKE = 0x16, /* the first byte of a client that wants TLS */
};

enum step { STEP_AGAIN, STEP_WAIT, STEP_CLOSE };

static void conn_run(struct conn *c);

static void set_deadline(struct conn *c, int seconds) {
    c->deadline_ns = clock_mono_ns() + seconds * NS_PER_S;
}

/* Adds or removes events so that they match what the state needs. What TLS has decrypted already
 * makes no socket readable: it is announced by hand. */
static void set_events(struct conn *c, bool reading, bool writing) {
    writing = writing || (reading && c->tls && tls_wants_write(c->tls));
    if (reading != c->reading) {
        c->reading = reading;
        (void)(reading ? event_add(&c->read_event, NULL) : event_del(&c->read_event));
    }
    if (writing != c->writing) {
        c->writing = writing;
        (void)(writing ? event_add(&c->write_event, NULL) : event_del(&c->write_event));
    }
    if (reading && c->tls && c->state != CONN_LINGER && tls_pending(c->tls) > 0)
        event_active(&c->read_event, EV_READ, 0);
}

static void conn_close(struct conn *c) {
    set_events(c, false, false);
    if (c->request) {
        c->request->conn = NULL;
        atomic_store(&c->request->cancelled, true);
        if (c->state != CONN_RUNNING && c->state != CONN_GUARD)
            request_free(c->request);
    }
    if (c->socket)
        socket_end(c->socket);
    if (c->stream)
        stream_end(c->stream);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->loop->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    tls_free(c->tls);
    (void)close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out_head);
    buf_done(&c->out_body);
    atomic_fetch_sub(&c->loop->server->connections, 1);
    free(c);
}

/* ---- the socket, with or without TLS */

static ssize_t conn_recv(struct conn *c, void *data, size_t size) {
    return c->tls ? tls_read(c->tls, data, size) : read(c->fd, data, size);
}

ssize_t conn_send(struct conn *c, const void *data, size_t size) {
    return c->tls ? tls_write(c->tls, data, size) : send(c->fd, data, size, MSG_NOSIGNAL);
}

/* Small parts go into one TLS record. A repeated write finds the same bytes, as TLS demands: what
 * has not been sent does not change. */
static ssize_t send_tls_parts(struct conn *c, const struct iovec *parts, int n_parts) {
    char record[TLS_RECORD];
    size_t size = parts[0].iov_len;
    if (n_parts < 2 || size >= sizeof(record))
        return tls_write(c->tls, parts[0].iov_base, size);
    size_t room = sizeof(record) - size;
    size_t rest = parts[1].iov_len < room ? parts[1].iov_len : room;
    memcpy(record, parts[0].iov_base, size);
    memcpy(record + size, parts[1].iov_base, rest);
    return tls_write(c->tls, record, size + rest);
}

static ssize_t send_parts(struct conn *c, struct iovec *parts, int n_parts) {
    if (c->tls)
        return send_tls_parts(c, parts, n_parts);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)n_parts};
    return sendmsg(c->fd, &message, MSG_NOSIGNAL);
}

/* ---- reading */

static struct http_options *options(struct conn *c) {
    return &c->loop->server->options;
}

static bool wants_read(const struct conn *c) {
    if (c->eof)
        return false;
    if (c->state == CONN_RUNNING || c->state == CONN_GUARD || c->state == CONN_REPLY)
        return c->in.size < c->loop->server->options.headers_max;
    return true;
}

static ssize_t read_body(struct conn *c) {
    struct buf *body = &c->request->body;
    size_t left = (size_t)c->request->head.content_length - body->size;
    size_t step = body->size < BODY_STEP ? (size_t)BODY_STEP : body->size * (BODY_GROWTH - 1);
    if (buf_reserve(body, step < left ? step : left) < 0 || !request_charge_body(c->request)) {
        c->no_memory = true; /* the body's state answers 503 */
        errno = EAGAIN;
        return -1;
    }
    size_t room = body->capacity - body->size;
    ssize_t n = conn_recv(c, body->data + body->size, room < left ? room : left);
    if (n > 0)
        body->size += (size_t)n;
    return n;
}

static ssize_t read_once(struct conn *c) {
    if (c->state == CONN_BODY && !c->request->head.chunked)
        return read_body(c);
    if (c->state == CONN_LINGER) {
        char scratch[READ_STEP];
        return read(c->fd, scratch, sizeof(scratch));
    }
    if (buf_reserve(&c->in, READ_STEP) < 0) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t n = conn_recv(c, c->in.data + c->in.size, READ_STEP);
    if (n > 0)
        c->in.size += (size_t)n;
    return n;
}

/* What a call of conn_run should look at before it reads more: a complete body or a full head
 * buffer. */
static bool has_enough(const struct conn *c) {
    if (c->state == CONN_BODY && !c->request->head.chunked)
        return c->request->body.size == c->request->head.content_length;
    return c->state != CONN_LINGER && c->in.size >= c->loop->server->options.headers_max;
}

/* False when the connection is broken. */
static bool conn_read(struct conn *c) {
    size_t total = 0;
    while (total < HTTP_READ_AT_ONCE && !has_enough(c)) {
        ssize_t n = read_once(c);
        if (n == 0) {
            c->eof = true;
            return true;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        total += (size_t)n;
        /* A short read means that the socket is empty: spare the call that would say so. A TLS
         * record may be of any size. */
        if (n < READ_STEP && !c->tls)
            break;
    }
    return true;
}

static void consume(struct conn *c, size_t size) {
    c->in.size -= size;
    memmove(c->in.data, c->in.data + size, c->in.size);
    c->head_scanned = 0;
}

/* ---- replying */

static void start_reply(struct conn *c) {
    struct http_request *r = c->request;
    const struct http_server *s = c->loop->server;
    if (atomic_load(&s->stopping))
        c->keep_alive = false;
    if (r->stream && r->head.minor == 0)
        c->keep_alive = false;         /* the end of the connection is the end of the body */
    bool upgrades = r->socket != NULL; /* says "Connection: Upgrade" itself */
    if (!upgrades && !c->keep_alive)
        buf_add_str(&r->reply_head, STR("Connection: close\r\n"));
    else if (!upgrades && r->head.minor == 0)
        buf_add_str(&r->reply_head, STR("Connection: keep-alive\r\n"));
    buf_add_str(&r->reply_head, STR("\r\n"));
    if (s->options.observe) {
        double seconds = (double)(clock_mono_ns() - r->start_ns) / 1e9;
        s->options.observe(s->options.observe_ctx, r->head.method,
                           r->route ? r->route->name : "other", r->status, seconds);
    }
    c->out_head = r->reply_head;
    c->out_body = r->reply_body;
    c->out_sent = 0;
    r->reply_head = r->reply_body = (struct buf){0};
    c->request = NULL;
    c->socket = r->socket;
    c->stream = r->stream;
    if (c->stream)
        stream_begin(c->stream, c);
    request_free(r);
    c->state = CONN_REPLY;
    set_deadline(c, options(c)->write_timeout_s);
}

/* Refuses the present request and closes. */
static enum step refuse(struct conn *c, enum http_refusal why, int status, const char *text) {
    c->keep_alive = false;
    http_count_refusal(c->loop->server, why);
    request_refuse(c->request, status, str_from(text));
    start_reply(c);
    return STEP_AGAIN;
}

/* Writes what the socket takes: 1 all written, 0 not yet, negative errno. */
static int flush_reply(struct conn *c) {
    size_t total = c->out_head.size + c->out_body.size;
    while (c->out_sent < total) {
        struct iovec parts[2];
        int n_parts = 0;
        size_t skip = c->out_sent;
        if (skip < c->out_head.size) {
            parts[n_parts++] = (struct iovec){c->out_head.data + skip, c->out_head.size - skip};
            skip = c->out_head.size;
        }
        skip -= c->out_head.size;
        if (skip < c->out_body.size)
            parts[n_parts++] = (struct iovec){c->out_body.data + skip, c->out_body.size - skip};
        ssize_t n = send_parts(c, parts, n_parts);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
        c->out_sent += (size_t)n;
        set_deadline(c, options(c)->write_timeout_s);
    }
    return 1;
}

static enum step begin_linger(struct conn *c) {
    if (c->tls)
        tls_say_goodbye(c->tls);
    (void)shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->deadline_ns = clock_mono_ns() + (int64_t)HTTP_LINGER_MS * NS_PER_MS;
    return STEP_AGAIN;
}

/* All that was there has been sent. */
static enum step step_stream(struct conn *c) {
    c->out_sent = 0;
    int r = stream_take(c->stream, &c->out_body);
    c->starved = r == 0;
    if (r >= 0)
        return r > 0 ? STEP_AGAIN : STEP_WAIT;
    stream_end(c->stream);
    c->stream = NULL;
    return r == -ENODATA ? STEP_AGAIN : STEP_CLOSE;
}

static enum step step_reply(struct conn *c) {
    int r = flush_reply(c);
    if (r < 0)
        return STEP_CLOSE;
    if (r == 0)
        return STEP_WAIT;
    buf_done(&c->out_head);
    buf_done(&c->out_body);
    if (c->stream)
        return step_stream(c);
    if (c->socket && !c->eof) {
        c->state = CONN_SOCKET;
        c->deadline_ns = 0;
        socket_begin(c->socket, c);
        return STEP_AGAIN;
    }
    if (c->keep_alive && !c->eof) {
        c->state = CONN_HEAD;
        set_deadline(c, options(c)->idle_timeout_s);
        return STEP_AGAIN;
    }
    return c->eof ? STEP_CLOSE : begin_linger(c);
}

/* Reading first: what the client said may have made an answer. */
static enum step step_socket(struct conn *c) {
    if (c->in.size > 0) {
        socket_read(c->socket, buf_str(&c->in));
        buf_done(&c->in);
    }
    if (c->eof)
        return STEP_CLOSE;
    bool progress, finished;
    int r = socket_write(c->socket, c, &progress, &finished);
    if (r < 0)
        return STEP_CLOSE;
    if (r > 0 && finished) {
        socket_end(c->socket);
        c->socket = NULL;
        return begin_linger(c);
    }
    c->socket_blocked = r == 0;
    if (!c->socket_blocked)
        c->deadline_ns = 0;
    else if (progress || c->deadline_ns == 0)
        set_deadline(c, HTTP_SOCKET_STALL_S);
    return STEP_WAIT;
}

/* ---- the states */

static enum step step_handshake(struct conn *c) {
    struct err err;
    int r = tls_handshake(c->tls, &err);
    if (r == 0)
        return STEP_WAIT;
    if (r == 1) {
        c->state = CONN_HEAD;
        set_deadline(c, options(c)->read_timeout_s);
        return STEP_AGAIN;
    }
    http_count_refusal(c->loop->server, HTTP_REFUSED_TLS);
    if (r != -EPROTONOSUPPORT)
        return STEP_CLOSE;
    /* Go's answer to plain HTTP on a TLS port, in plain. */
    const struct str plain = STR("HTTP/1.0 400 Bad Request\r\n\r\n"
                                 "Client sent an HTTP request to an HTTPS server.\n");
    ssize_t n = send(c->fd, plain.data, plain.size, MSG_NOSIGNAL);
    (void)n;
    return begin_linger(c);
}

static const char bodies_text[] = "too many large requests at once, try again\n";

static enum step begin_body(struct conn *c) {
    struct http_request *r = c->request;
    if (r->head.content_length > options(c)->body_max)
        return refuse(c, HTTP_REFUSED_BODY_SIZE, 413, "request body too large\n");
    /* There is no point in reading what will not find room. */
    size_t held = atomic_load(&c->loop->server->body_bytes), most = options(c)->bodies_max;
    if (held > most || r->head.content_length > most - held)
        return refuse(c, HTTP_REFUSED_BODIES, 503, bodies_text);
    c->no_memory = false;
    c->state = CONN_BODY;
    c->chunked = (struct http_chunked){0};
    c->body_at_deadline = 0;
    set_deadline(c, options(c)->read_timeout_s);
    bool expects = r->head.expect_continue && (r->head.chunked || r->head.content_length > 0);
    if (expects && c->in.size == 0) {
        const struct str go_on = STR("HTTP/1.1 100 Continue\r\n\r\n");
        ssize_t n = conn_send(c, go_on.data, go_on.size);
        if (n != (ssize_t)go_on.size)
            return STEP_CLOSE;
    }
    return STEP_AGAIN;
}

/* The request has been refused before its body was read: what follows is not looked at. */
static enum step guard_refused(struct conn *c) {
    const struct http_request *r = c->request;
    if (r->head.chunked || r->head.content_length > 0)
        c->keep_alive = false;
    start_reply(c);
    return STEP_AGAIN;
}

static enum step ask_guard(struct conn *c) {
    struct http_request *r = c->request;
    c->state = CONN_GUARD;
    c->deadline_ns = 0;
    c->loop->in_handler = r;
    enum http_verdict verdict = http_ask_guard(r);
    c->loop->in_handler = NULL;
    if (verdict == HTTP_PASS)
        return begin_body(c);
    if (verdict == HTTP_REFUSED)
        return guard_refused(c);
    atomic_fetch_add(&c->loop->server->running, 1);
    return STEP_WAIT;
}

static enum step parse_head(struct conn *c, size_t head_size) {
    c->request = request_new(c->loop, c->peer);
    if (!c->request)
        return STEP_CLOSE;
    struct http_request *r = c->request;
    r->conn = c;
    /* A copy of its own: `in` may move while the handler runs. */
    struct str bytes = arena_copy(&r->arena, str_make(c->in.data, head_size));
    consume(c, head_size);
    if (!bytes.data)
        return STEP_CLOSE;
    struct err err;
    int status = http_head_parse(bytes, &r->head, &err);
    if (status != 0) {
        r->head.n_fields = 0;
        return refuse(c, HTTP_REFUSED_MALFORMED, status, err.text);
    }
    c->keep_alive = r->head.keep_alive;
    r->address = c->address;
    if (c->tls) {
        struct str name = tls_peer_name(c->tls);
        r->certificate = name.data ? arena_copy(&r->arena, name) : name;
    }
    if (http_find(r) < 0)
        return STEP_CLOSE;
    return ask_guard(c);
}

static enum step step_head(struct conn *c) {
    /* Empty lines before a request line are allowed (RFC 9112 section 2.2). */
    size_t blank = 0;
    while (blank < c->in.size && (c->in.data[blank] == '\r' || c->in.data[blank] == '\n'))
        blank++;
    if (blank > 0)
        consume(c, blank);
    if (c->in.size == 0) {
        buf_done(&c->in); /* idle connections hold no memory */
        return c->eof || c->loop->stopping ? STEP_CLOSE : STEP_WAIT;
    }
    if (!c->tls && c->in.data[0] == TLS_HANDSHAKE) {
        c->request = request_new(c->loop, c->peer);
        return c->request ? refuse(c, HTTP_REFUSED_MALFORMED, 400,
                                   "a TLS handshake came to a port that speaks HTTP\n")
                          : STEP_CLOSE;
    }
    bool first_bytes = c->head_scanned == 0;
    size_t head_size = http_head_end(buf_str(&c->in), &c->head_scanned);
    if (head_size > 0 && head_size <= options(c)->headers_max)
        return parse_head(c, head_size);
    if (c->in.size >= options(c)->headers_max) {
        c->request = request_new(c->loop, c->peer);
        return c->request ? refuse(c, HTTP_REFUSED_HEAD_SIZE, 431, "request headers too large\n")
                          : STEP_CLOSE;
    }
    if (first_bytes)
        set_deadline(c, options(c)->read_timeout_s);
    return c->eof ? STEP_CLOSE : STEP_WAIT;
}

/* Feeds what has been read to the body: 1 complete, 0 not yet, negative: refused with that
 * status. */
static int feed_body(struct conn *c) {
    struct http_request *r = c->request;
    if (c->no_memory)
        return -503;
    if (!r->head.chunked) {
        size_t left = (size_t)r->head.content_length - r->body.size;
        size_t n = c->in.size < left ? c->in.size : left;
        buf_add(&r->body, c->in.data, n);
        if (r->body.failed || !request_charge_body(r))
            return -503;
        if (n > 0)
            consume(c, n);
        return r->body.size == r->head.content_length;
    }
    size_t used;
    int e = http_chunked_feed(&c->chunked, buf_str(&c->in), &r->body, &used);
    if (e < 0)
        return e == -E2BIG ? -413 : e == -ENOMEM ? -503 : -400;
    consume(c, used);
    if (!request_charge_body(r))
        return -503;
    return c->chunked.state == CHUNK_DONE;
}

static enum step step_body(struct conn *c) {
    int r = feed_body(c);
    if (r == -413)
        return refuse(c, HTTP_REFUSED_BODY_SIZE, 413, "request body too large\n");
    if (r == -503)
        return refuse(c, HTTP_REFUSED_BODIES, 503, bodies_text);
    if (r < 0)
        return refuse(c, HTTP_REFUSED_MALFORMED, 400, "malformed chunked body\n");
    if (r == 0) {
        if (c->request->body.size - c->body_at_deadline >= HTTP_PROGRESS_BYTES) {
            c->body_at_deadline = c->request->body.size;
            set_deadline(c, options(c)->read_timeout_s);
        }
        return c->eof ? STEP_CLOSE : STEP_WAIT;
    }
    c->state = CONN_RUNNING;
    c->deadline_ns = 0;
    atomic_fetch_add(&c->loop->server->running, 1);
    c->loop->in_handler = c->request;
    http_dispatch(c->request);
    c->loop->in_handler = NULL;
    return STEP_AGAIN;
}

static enum step step_running(struct conn *c) {
    /* Only a reply made inside the handler's call on this thread shows here; others come as
     * messages. */
    if (c->request->replied) {
        atomic_fetch_sub(&c->loop->server->running, 1);
        start_reply(c);
        return STEP_AGAIN;
    }
    if (c->eof)
        atomic_store(&c->request->cancelled, true);
    return STEP_WAIT;
}

static void conn_run(struct conn *c) {
    for (;;) {
        enum step step = STEP_CLOSE;
        switch (c->state) {
        case CONN_HANDSHAKE:
            step = step_handshake(c);
            break;
        case CONN_HEAD:
            step = step_head(c);
            break;
        case CONN_GUARD:
            step = STEP_WAIT;
            break;
        case CONN_BODY:
            step = step_body(c);
            break;
        case CONN_RUNNING:
            step = step_running(c);
            break;
        case CONN_REPLY:
            step = step_reply(c);
            break;
        case CONN_LINGER:
            step = c->eof ? STEP_CLOSE : STEP_WAIT;
            break;
        case CONN_SOCKET:
            step = step_socket(c);
            break;
        }
        if (step == STEP_CLOSE) {
            conn_close(c);
            return;
        }
        if (step == STEP_WAIT) {
            set_events(c, wants_read(c),
                       (c->state == CONN_REPLY && !c->starved) ||
                           (c->state == CONN_SOCKET && c->socket_blocked));
            return;
        }
    }
}

static void on_read(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    struct conn *c = ctx;
    if (c->state != CONN_HANDSHAKE && !conn_read(c))
        conn_close(c);
    else
        conn_run(c);
}

static void on_write(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    struct conn *c = ctx;
    bool read_waits = c->tls && c->state != CONN_HANDSHAKE && tls_wants_write(c->tls);
    if (read_waits && !conn_read(c))
        conn_close(c);
    else
        conn_run(c);
}

/* ---- from the loop */

/* To a client whose address may not connect; one that speaks TLS is not worth a handshake. */
static enum step turn_away(struct conn *c) {
    const struct str reply = STR("HTTP/1.1 403 Forbidden\r\nContent-Length: 35\r\n"
                                 "Connection: close\r\n\r\nyour address may not connect here.\n");
    http_count_refusal(c->loop->server, HTTP_REFUSED_ADDRESS);
    if (c->tls)
        return STEP_CLOSE;
    ssize_t n = send(c->fd, reply.data, reply.size, MSG_NOSIGNAL);
    (void)n;
    return begin_linger(c);
}

void conn_accept(struct http_loop *loop, int fd, const char *peer,
                 const struct http_address *address, bool admitted) {
    struct tls_context *tls = loop->server->options.tls;
    struct conn *c = calloc(1, sizeof(*c));
    if (c && tls)
        c->tls = tls_new(tls, fd);
    if (!c || (tls && !c->tls)) {
        free(c);
        (void)close(fd);
        atomic_fetch_sub(&loop->server->connections, 1);
        return;
    }
    c->loop = loop;
    c->fd = fd;
    c->state = c->tls ? CONN_HANDSHAKE : CONN_HEAD;
    c->in = buf_make(loop->server->options.headers_max + HTTP_READ_AT_ONCE + READ_STEP);
    c->address = *address;
    (void)snprintf(c->peer, sizeof(c->peer), "%s", peer);
    (void)event_assign(&c->read_event, loop->base, fd, EV_READ | EV_PERSIST, on_read, c);
    (void)event_assign(&c->write_event, loop->base, fd, EV_WRITE | EV_PERSIST, on_write, c);
    c->next = loop->conns;
    if (c->next)
        c->next->prev = c;
    loop->conns = c;
    set_deadline(c, options(c)->read_timeout_s);
    if (!admitted && turn_away(c) == STEP_CLOSE)
        conn_close(c);
    else
        set_events(c, true, false);
}

void conn_replied(struct http_request *r) {
    struct conn *c = r->conn;
    atomic_fetch_sub(&r->loop->server->running, 1);
    if (!c) {
        if (r->socket)
            socket_end(r->socket);
        if (r->stream)
            stream_end(r->stream);
        request_free(r);
        return;
    }
    enum step step = STEP_AGAIN;
    if (c->state == CONN_GUARD && r->status == 0)
        step = begin_body(c);
    else if (c->state == CONN_GUARD)
        step = guard_refused(c);
    else
        start_reply(c);
    if (step == STEP_CLOSE)
        conn_close(c);
    else
        conn_run(c);
}

void conn_tick(struct http_loop *loop, int64_t now_ns) {
    struct conn *next;
    for (struct conn *c = loop->conns; c; c = next) {
        next = c->next;
        if (c->deadline_ns == 0 || now_ns < c->deadline_ns)
            continue;
        bool mid_request = c->state == CONN_BODY || (c->state == CONN_HEAD && c->in.size > 0);
        if (mid_request && !c->request)
            c->request = request_new(c->loop, c->peer);
        if (!mid_request || !c->request) {
            if (c->state == CONN_REPLY || c->state == CONN_HANDSHAKE || c->state == CONN_SOCKET)
                http_count_refusal(loop->server, HTTP_REFUSED_SLOW);
            conn_close(c);
            continue;
        }
        (void)refuse(c, HTTP_REFUSED_SLOW, 408, "the request did not arrive in time\n");
        conn_run(c);
    }
}

void conn_socket_ready(struct conn *c) {
    if (c->state == CONN_SOCKET)
        conn_run(c);
}

void conn_stream_ready(struct conn *c) {
    if (c->state == CONN_REPLY && c->starved)
        conn_run(c);
}

void conn_close_idle(struct http_loop *loop) {
    struct conn *next;
    for (struct conn *c = loop->conns; c; c = next) {
        next = c->next;
        if (c->state == CONN_LINGER || (c->state == CONN_HEAD && c->in.size == 0))
            conn_close(c);
    }
}

void conn_close_all(struct http_loop *loop) {
    while (loop->conns)
        conn_close(loop->conns);
}
