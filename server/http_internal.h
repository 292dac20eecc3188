/* http_internal: what http.c (server, loops, routing), http_conn.c (connections) and
 * http_reply.c (requests and replies) share, and local.c, which answers without connections.
 * Nobody else includes it. */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>

#include "http.h"
#include "http_parse.h"
#include "pool.h"
#include "tls.h"

enum {
    HTTP_PARAMS_MAX = 1000,         /* & in a query string or form */
    HTTP_PEER_MAX = 64,             /* "[ipv6]:port" */
    HTTP_ARENA_MAX = 256 << 20,     /* of one request: decoded pushes live there */
    HTTP_LINGER_MS = 5000,          /* after a refusal: time for the client to read it */
    HTTP_READ_AT_ONCE = 256 << 10,  /* per connection and wake-up, so that all get their turn */
    HTTP_PROGRESS_BYTES = 16 << 10, /* a body that grew by this has earned a new deadline */
    HTTP_REPLY_MAX = 1 << 30,
    HTTP_BODY_THREADS = 2, /* each is busy for a millisecond or two at a time */
    HTTP_BODY_QUEUE = 1024,
    /* A client of a taken-over connection that takes nothing of what waits for it for so long is
     * given up: a paused tail may come back within minutes, memory is bounded all the while. */
    HTTP_SOCKET_STALL_S = 300,
    /* Passwords are checked there, some ten per second and thread: so many that one flood of
     * logins does not keep a core from everything else. */
    HTTP_GUARD_THREADS = 1,
    HTTP_GUARD_QUEUE = 64,
    HTTP_CERTIFICATE_MAX = 256, /* bytes of a common name, tls.c takes no longer ones */
};

struct http_loop {
    struct http_server *server;
    pthread_t thread;
    bool started;
    struct event_base *base;
    int listen_fd;
    struct event *listen_event;
    struct event *tick;
    int wake_fd;
    struct event *wake_event;
    struct conn *conns;              /* all of this loop */
    struct http_request *in_handler; /* whose handler this loop's thread runs at the moment */
    bool stopping;
    /* guards: replied, ready, stop_wanted, quit_wanted, and what sockets and streams hand over */
    pthread_mutex_t lock;
    struct http_request *replied_head, *replied_tail;
    struct http_socket *ready; /* have something to write */
    struct http_stream *made;  /* have a piece to send */
    bool stop_wanted;          /* accept no more */
    bool quit_wanted;          /* end the thread */
};

struct http_server {
    struct http_options options;
    /* local.c: takes the pieces of a body in the calling thread, instead of a connection; false = no more. */
    bool (*take_piece)(void *ctx, int status, struct buf *piece);
    void *take_ctx;
    char *path_prefix;
    struct arena texts; /* options.cors_origins */
    struct http_route *routes;
    size_t n_routes;
    struct http_loop *loops;
    unsigned n_loops;
    uint16_t port;
    struct pool *pool, *query_pool, *body_pool, *guard_pool;
    atomic_uint connections;
    atomic_size_t body_bytes; /* held by all requests */
    atomic_size_t held_bytes; /* by all http_body that are being sent */
    atomic_uint running;      /* requests whose handler has not replied */
    atomic_bool stopping;
    atomic_uint_fast64_t refusals[HTTP_REFUSALS];
};

struct http_param {
    struct str name, value;
};

struct http_request {
    struct http_loop *loop;
    struct conn *conn; /* loop thread only; NULL once the client has gone */
    struct http_request *next_replied;
    const struct http_route *route; /* NULL: none matched */
    int64_t start_ns;
    struct arena arena;
    struct http_head head;
    /* Found when the head has come. */
    struct str path, segment, query;
    struct str raw_path; /* with escapes and the prefix, slashes collapsed */
    bool doubled;        /* slashes have been collapsed */
    bool known;          /* another method has the path */
    struct buf body;
    size_t body_charged; /* part of server->body_bytes */
    char peer[HTTP_PEER_MAX];
    struct http_address address;
    struct str certificate;
    void *pinned;
    void (*unpin)(void *pinned);
    atomic_bool cancelled;
    struct http_param *params;
    size_t n_params;
    bool params_parsed;
    /* The reply, filled by http_reply_headers. */
    bool replied; /* read by the loop thread inside the handler call, or after the message */
    int status;
    struct buf reply_head, reply_body;
    struct http_socket *socket; /* takes the connection over behind a 101; NULL = stays HTTP */
    struct http_stream *stream; /* makes the body; NULL = reply_body is all of it */
};

enum conn_state {
    CONN_HANDSHAKE, /* TLS only */
    CONN_HEAD,      /* reading the head of the next request, or idle */
    CONN_GUARD,     /* a guard thread has the request */
    CONN_BODY,
    CONN_RUNNING, /* a handler has the request */
    CONN_REPLY,   /* writing */
    CONN_LINGER,  /* refused or closing: reading away what the client still sends */
    CONN_SOCKET,  /* taken over, see http_socket.c */
};

struct conn {
    struct http_loop *loop;
    struct conn *prev, *next;
    int fd;
    struct tls *tls; /* NULL: plain */
    struct event read_event, write_event;
    bool reading, writing; /* events that are added */
    bool eof;
    bool no_memory; /* for the body being read */
    bool keep_alive;
    enum conn_state state;
    struct buf in;
    size_t head_scanned;
    struct http_request *request;
    struct http_socket *socket; /* has taken over, or will behind the present reply */
    struct http_stream *stream; /* CONN_REPLY: makes the rest of the body */
    bool starved;               /* CONN_REPLY: all is sent, the next piece is being made */
    struct http_chunked chunked;
    size_t body_at_deadline; /* size of the body when the deadline was set */
    struct buf out_head, out_body;
    size_t out_sent;
    bool socket_blocked; /* CONN_SOCKET: the kernel takes no more at the moment */
    int64_t deadline_ns; /* 0 = none */
    char peer[HTTP_PEER_MAX];
    struct http_address address;
};

/* http.c, loop thread: finds path and route of a request whose head is complete; -ENOMEM. */
int http_find(struct http_request *r);
/* http.c, loop thread: what the guard says; HTTP_ASK_SLOW: an answer will come by message. */
enum http_verdict http_ask_guard(struct http_request *r);
void http_count_refusal(struct http_server *s, enum http_refusal r);
/* http.c: runs the handler of a request whose head and body are complete. */
void http_dispatch(struct http_request *r);
/* Is the calling thread that of the loop? */
bool http_on_loop(const struct http_loop *loop);
/* Makes the calling thread that of the loop (local.c). */
void http_own_loop(struct http_loop *loop);
void http_wake(struct http_loop *loop);

/* http_conn.c, loop thread only */
void conn_accept(struct http_loop *loop, int fd, const char *peer,
                 const struct http_address *address, bool admitted);
void conn_replied(struct http_request *r); /* the reply's message has arrived */
void conn_tick(struct http_loop *loop, int64_t now_ns);
void conn_close_idle(struct http_loop *loop);
void conn_close_all(struct http_loop *loop);
void conn_socket_ready(struct conn *c);
void conn_stream_ready(struct conn *c);
/* As send(2), through TLS where there is TLS. */
ssize_t conn_send(struct conn *c, const void *data, size_t size);

/* http_socket.c, loop thread only */
void socket_begin(struct http_socket *s, struct conn *c);
void socket_end(struct http_socket *s); /* the connection has gone; harmless when repeated */
void socket_read(struct http_socket *s, struct str bytes);
/* Writes what the kernel takes: 1 all, 0 not yet, negative errno. *ret_finished: nothing will
 * come any more. */
int socket_write(struct http_socket *s, struct conn *c, bool *ret_progress, bool *ret_finished);
void sockets_run_ready(struct http_loop *loop);

/* http_cors.c */
void http_cors_add_headers(struct http_request *r, struct buf *head);
bool http_cors_is_preflight(const struct http_request *r);
void http_cors_answer(struct http_request *r);

/* http_stream.c, loop thread only but for the first */
bool stream_is_packed(const struct http_stream *s);
void stream_begin(struct http_stream *s, struct conn *c);
void stream_end(struct http_stream *s); /* the connection wants no more of it */
/* 1 a piece; 0 it is being made, conn_stream_ready will tell; -ENODATA behind the last one; another
 * errno: the body cannot be made. */
int stream_take(struct http_stream *s, struct buf *ret);
void streams_run_made(struct http_loop *loop);

/* http_reply.c */
struct http_request *request_new(struct http_loop *loop, const char *peer);
void request_free(struct http_request *r);
/* Accounts for what the body has grown to; false when all requests together hold too much. */
bool request_charge_body(struct http_request *r);
/* Fills the reply of a request that never got to a handler. */
void request_refuse(struct http_request *r, int status, struct str text);
/* Fills the head of a reply whose body r->stream makes. */
void request_reply_stream(struct http_request *r, int status, const char *content_type);
/* Hands a finished reply, or a verdict of the guard, to its loop. */
void http_send_to_loop(struct http_request *r);
