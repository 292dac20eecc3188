/* http: the HTTP/1.1 server: one libevent loop per thread, all listening on the same port with
 * SO_REUSEPORT; each loop owns its connections. Only http.c and http_conn.c know libevent. The
 * protocol is read by http_parse.c and not by evhttp, which in 2.1 accepts requests that two
 * parties may read differently (two Content-Lengths, blanks before a colon, no Host), cannot cap
 * connections or tell idle from slow ones, and copies bodies.
 *
 * A handler gets a request, which stays valid until http_reply (or the last http_stream call) is
 * made, exactly once, from ANY thread: replies travel back to the owning loop by message. When
 * the client goes away first, the request's cancel flag is set and the reply is dropped quietly. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "str.h"

struct http_server;
struct http_request;
struct tls_context;

enum http_method {
    HTTP_GET = 1,
    HTTP_POST = 2,
    HTTP_PUT = 4,
    HTTP_DELETE = 8,
    HTTP_HEAD = 16,
    HTTP_OPTIONS = 32,
    HTTP_OTHER = 64
};

typedef void http_handler(struct http_request *req, void *ctx);

enum http_where {
    HTTP_ON_LOOP, /* handler takes under a millisecond */
    HTTP_ON_POOL, /* handler runs on the server's worker pool */
    /* Handler may block for as long as a query runs: its own threads, so that pushes never wait
     * behind queries. */
    HTTP_ON_QUERY_POOL,
};

struct http_route {
    unsigned methods; /* OR of http_method; a GET route also answers HEAD */
    /* Exact path, or with one "{}" for one percent-decoded segment. */
    const char *path;
    http_handler *handler;
    void *ctx;
    enum http_where where;
    const char *name; /* for metrics: route label */
    /* Optional: decides per request instead of `where`, e.g. by the size of the body. */
    enum http_where (*choose)(const struct http_request *req);
};

/* An IPv6 address in network order; IPv4 as ::ffff:a.b.c.d. */
struct http_address {
    uint8_t bytes[16];
};

enum http_verdict {
    HTTP_PASS,
    HTTP_REFUSED,  /* the guard has replied */
    HTTP_ASK_SLOW, /* finding out takes longer than a loop may: ask again where that is allowed */
};

/* Who may come in. All functions may be NULL. */
struct http_guard {
    /* May this address connect? Any loop thread. */
    bool (*admit)(void *ctx, const struct http_address *peer);
    /* Asked when the head of a request has come and its route is known, before the body is read:
     * on the loop with may_block false and, after HTTP_ASK_SLOW, on one of few threads of its own
     * with may_block true. Requests to unknown paths are asked about, too. */
    enum http_verdict (*ask)(void *ctx, struct http_request *r, bool may_block);
    void *ctx;
};

/* What the server itself refuses, for metrics. */
enum http_refusal {
    HTTP_REFUSED_CONNECTIONS, /* connections_max */
    HTTP_REFUSED_ADDRESS,     /* guard.admit */
    HTTP_REFUSED_TLS,         /* handshakes that failed */
    HTTP_REFUSED_MALFORMED,   /* framing that is wrong or can be read in two ways */
    HTTP_REFUSED_HEAD_SIZE,
    HTTP_REFUSED_BODY_SIZE,
    HTTP_REFUSED_BODIES,  /* bodies_max */
    HTTP_REFUSED_REPLIES, /* replies_max */
    HTTP_REFUSED_SLOW,    /* requests that did not arrive, replies that were not taken */
    HTTP_REFUSED_PARAMS,  /* too many of them */
    HTTP_REFUSED_QUEUE,
    HTTP_REFUSED_QUERY_QUEUE,
    HTTP_REFUSED_GUARD_QUEUE,
    HTTP_REFUSALS,
};
const char *http_refusal_name(enum http_refusal r);

struct http_options {
    const char *address;    /* "127.0.0.1" */
    uint16_t port;          /* 0 = any free one */
    unsigned loops;         /* 0 = number of cores */
    unsigned workers;       /* pool for HTTP_ON_POOL; 0 = 2 * cores */
    unsigned query_workers; /* pool for HTTP_ON_QUERY_POOL; 0 = 16 */
    size_t body_max;        /* 413 above; 0 = 64 MiB */
    size_t bodies_max;  /* of all requests being read or handled together, 503 above; 0 = 256 MiB */
    size_t headers_max; /* 431 above; 0 = 64 KiB */
    /* Held by all bodies that are being sent together, 503 above; 0 = 512 MiB. Clients may take as long to
     * read them as they like. */
    size_t replies_max;
    /* A request must make progress, a reply be taken, within these; an idle connection is
     * closed. 0 = 30, 30, 120 */
    int read_timeout_s, write_timeout_s, idle_timeout_s;
    const char *path_prefix;  /* "" or "/loki" */
    unsigned connections_max; /* 503 and close above; 0 = 10000 */
    /* Origins whose pages may read replies, "*" = all; copied. */
    const struct str *cors_origins;
    size_t n_cors_origins;
    struct http_guard guard;
    struct tls_context *tls; /* the caller's, until http_stop has returned; NULL: plain HTTP */
    /* After each reply: method, route name, status, seconds; any loop thread. */
    void (*observe)(void *ctx, enum http_method m, const char *route, int status, double seconds);
    void *observe_ctx;
};

int http_start(const struct http_options *o, const struct http_route *routes, size_t n_routes,
               struct http_server **ret, struct err *reterr);
uint16_t http_port(const struct http_server *s);
/* Stops accepting; waits until running requests have been answered (at most grace_ms), then
 * stops the loops. */
void http_stop(struct http_server *s, int grace_ms);
unsigned http_connections(const struct http_server *s);
struct http_figures {
    unsigned connections, running;
    unsigned workers, query_workers, guard_workers;
    size_t waiting, query_waiting, guard_waiting; /* requests in front of them */
};
void http_get_figures(const struct http_server *s, struct http_figures *ret);
uint64_t http_refusals(const struct http_server *s, enum http_refusal r);

/* ---- request; all strings live until the reply */
enum http_method http_request_method(const struct http_request *r);
struct str http_request_path(
    const struct http_request *r); /* decoded, slashes collapsed, without prefix */
struct str http_request_segment(const struct http_request *r); /* what "{}" matched */
struct str http_request_header(const struct http_request *r,
                               const char *name);           /* .data NULL when absent */
struct str http_request_body(const struct http_request *r); /* contiguous */
struct str http_request_peer(const struct http_request *r);
/* Common name of the client's certificate, if it was verified; .data NULL = none. */
struct str http_request_certificate(const struct http_request *r);
const struct http_route *http_request_route(const struct http_request *r); /* NULL: none */
/* Something that must live as long as the request; `unpin` is called when it ends. Once. */
void http_request_pin(struct http_request *r, void *what, void (*unpin)(void *what));
void *http_request_pinned(const struct http_request *r); /* NULL: nothing */
struct arena *http_request_arena(struct http_request *r);
const atomic_bool *http_request_cancel(const struct http_request *r);

/* Parameters of a form-urlencoded body, then of the query string. .data NULL when absent; the
 * first one wins. */
struct str http_param(struct http_request *r, const char *name);
/* All values of a repeated parameter; returns the count. */
size_t http_params(struct http_request *r, const char *name, const struct str **ret);

/* ---- reply */
struct http_header {
    const char *name;
    const char *value;
};
/* The body is copied or taken: with `take` the buf's memory becomes the server's. content_type
 * NULL = no Content-Type (204). Compressed with gzip when the client accepts it and the body is
 * worth it (never below 1 KiB). */
void http_reply(struct http_request *r, int status, const char *content_type, struct buf *body);
void http_reply_headers(struct http_request *r, int status, const char *content_type,
                        const struct http_header *extra, size_t n_extra, struct buf *body);
/* A body that is made while it is sent: memory is bounded by two pieces, not by its length or the
 * client's patience. */
struct http_body {
    /* Appends the next part, 64 KiB or so; false behind the last one. Any thread, one at a time.
     * An `out` that fails ends the connection. */
    bool (*next)(void *ctx, struct buf *out);
    void (*done)(void *ctx); /* exactly once: all has been made, or nobody wants it */
    void *ctx;
    size_t
        held_bytes; /* what it keeps in memory until it is done; long ones count, see replies_max */
};
/* What is short leaves as by http_reply; longer bodies leave in chunks. */
void http_reply_body(struct http_request *r, int status, const char *content_type,
                     const struct http_body *body);
/* The same for one that is made already and may be long: takes the buf's memory. */
void http_reply_long(struct http_request *r, int status, const char *content_type,
                     struct buf *body);
/* text/plain; charset=utf-8 with X-Content-Type-Options: nosniff. */
void http_reply_error(struct http_request *r, int status, struct str text);

/* ---- taking a connection over: WebSocket */
struct http_socket;

/* All are called on the loop's thread and must not block. */
struct http_socket_hooks {
    void (*read)(void *ctx, struct str bytes); /* what the client sent, as it comes */
    void (*tick)(void *ctx);                   /* every tick_ms; 0 = never */
    void (*closed)(void *ctx);                 /* exactly once, the last call */
    int tick_ms;
};

/* Instead of a reply: answers 101 with these headers; from then on the connection's bytes go to the
 * hooks, at first perhaps before this returns. The request ends here as with a reply. The caller
 * owns one reference, written before anything is answered. -ENOMEM: nothing has been answered. */
int http_upgrade(struct http_request *r, const struct http_header *extra, size_t n_extra,
                 const struct http_socket_hooks *hooks, void *ctx, struct http_socket **ret);
/* Any thread, also after the connection has gone. Takes the buf's memory; bytes leave in call
 * order. */
void http_socket_send(struct http_socket *s, struct buf *bytes);
/* After what was sent before: half-closes, reads away what the client still sends, closes. */
void http_socket_finish(struct http_socket *s);
/* Bytes sent that the client's side has not taken yet: senders look before they send more. */
size_t http_socket_queued(const struct http_socket *s);
void http_socket_unref(struct http_socket *s); /* NULL is fine */
