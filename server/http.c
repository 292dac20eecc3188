/* http: the server: listeners, loops, routing, start and stop. Each loop accepts from its own
 * SO_REUSEPORT socket, so the kernel spreads connections and no lock is shared. Replies made on
 * other threads come through the loop's queue and its eventfd. */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/thread.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "hash.h"
#include "http_internal.h"

enum { ACCEPT_AT_ONCE = 64, LISTEN_BACKLOG = 1024, CANCEL_GRACE_MS = 5000, TICK_MS = 500 };

/* ---- routing */

/* The path without the query, percent-decoded, slashes collapsed. `raw` keeps the escapes. */
static int split_target(struct http_request *r, struct str *ret_raw, bool *ret_doubled) {
    struct str target = r->head.target;
    const char *question = memchr(target.data, '?', target.size);
    size_t path_size = question ? (size_t)(question - target.data) : target.size;
    r->query = question ? str_from_offset(target, path_size + 1) : STR("");
    char *collapsed = arena_alloc(&r->arena, path_size + 1);
    if (!collapsed)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < path_size; i++)
        if (target.data[i] != '/' || n == 0 || collapsed[n - 1] != '/')
            collapsed[n++] = target.data[i];
    *ret_doubled = n != path_size;
    *ret_raw = str_make(collapsed, n);
    struct buf decoded = buf_make(path_size + 1);
    http_unescape(&decoded, *ret_raw, false);
    r->path = arena_copy(&r->arena, buf_str(&decoded));
    buf_done(&decoded);
    return r->path.data ? 0 : -ENOMEM;
}

static bool strip_prefix(const struct http_server *s, struct str *path) {
    struct str prefix = str_from(s->path_prefix);
    if (prefix.size == 0)
        return true;
    if (!str_starts(*path, prefix))
        return false;
    *path = str_from_offset(*path, prefix.size);
    return path->size > 0 && path->data[0] == '/';
}

/* Matches `raw` (with escapes, so that %2F stays inside its segment) against a route's path. */
static bool match_path(const char *pattern, struct str raw, struct str *ret_segment) {
    struct str p = str_from(pattern);
    const char *braces = str_find(p, STR("{}"));
    if (!braces)
        return str_eq(p, raw);
    struct str before = str_make(p.data, (size_t)(braces - p.data));
    struct str after = str_from_offset(p, before.size + 2);
    if (raw.size <= before.size + after.size || !str_starts(raw, before) || !str_ends(raw, after))
        return false;
    struct str segment = str_make(raw.data + before.size, raw.size - before.size - after.size);
    if (memchr(segment.data, '/', segment.size))
        return false;
    *ret_segment = segment;
    return true;
}

/* The route, or NULL: *ret_known tells whether another method has the path. */
static const struct http_route *find_route(const struct http_server *s, enum http_method method,
                                           struct str raw, struct str *ret_segment,
                                           bool *ret_known) {
    enum http_method wanted = method == HTTP_HEAD ? HTTP_GET : method;
    *ret_known = false;
    for (size_t i = 0; i < s->n_routes; i++) {
        if (!match_path(s->routes[i].path, raw, ret_segment))
            continue;
        if (s->routes[i].methods & (unsigned)(wanted | method))
            return &s->routes[i];
        *ret_known = true;
    }
    return NULL;
}

static void reply_redirect(struct http_request *r, struct str raw) {
    struct buf location = buf_make(BUF_NO_MAX);
    buf_add_str(&location, raw);
    if (r->query.size > 0) {
        buf_add_char(&location, '?');
        buf_add_str(&location, r->query);
    }
    buf_add_char(&location, '\0');
    struct buf body = buf_make(1);
    if (location.failed) {
        http_reply_error(r, 500, STR("out of memory\n"));
    } else {
        const struct http_header header = {"Location", location.data};
        http_reply_headers(r, 301, NULL, &header, 1, &body);
    }
    buf_done(&location);
}

static void run_handler(void *arg) {
    struct http_request *r = arg;
    r->route->handler(r, r->route->ctx);
}

/* Requests of one tenant, and without tenants those from one address, wait for each other and not
 * others for them. */
static uint64_t key_of(const struct http_request *r) {
    struct str tenant = http_head_field(&r->head, "X-Scope-OrgID");
    if (tenant.size > 0)
        return hash64(tenant.data, tenant.size);
    return hash64(r->address.bytes, sizeof(r->address.bytes));
}

static void run_route(struct http_request *r) {
    struct http_server *s = r->loop->server;
    enum http_where where = r->route->choose ? r->route->choose(r) : r->route->where;
    if (where == HTTP_ON_LOOP) {
        run_handler(r);
        return;
    }
    bool query = where == HTTP_ON_QUERY_POOL;
    if (pool_submit_keyed(query ? s->query_pool : s->pool, key_of(r), run_handler, r) == 0)
        return;
    http_count_refusal(s, query ? HTTP_REFUSED_QUERY_QUEUE : HTTP_REFUSED_QUEUE);
    /* Loki's status and text for a full query queue; senders retry a 503. */
    if (query)
        http_reply_error(r, 429, STR("too many outstanding requests"));
    else
        http_reply_error(r, 503, STR("server is overloaded, try again\n"));
}

static bool too_many_params(struct str text) {
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++)
        n += text.data[i] == '&';
    return n >= HTTP_PARAMS_MAX;
}

int http_find(struct http_request *r) {
    if (split_target(r, &r->raw_path, &r->doubled) < 0)
        return -ENOMEM;
    struct str raw = r->raw_path, segment = STR("");
    const struct http_server *s = r->loop->server;
    if (strip_prefix(s, &raw) && strip_prefix(s, &r->path))
        r->route = find_route(s, r->head.method, raw, &segment, &r->known);
    struct buf decoded = buf_make(segment.size + 1);
    http_unescape(&decoded, segment, false);
    r->segment = arena_copy(&r->arena, buf_str(&decoded));
    buf_done(&decoded);
    return r->segment.data ? 0 : -ENOMEM;
}

void http_dispatch(struct http_request *r) {
    bool reads = r->head.method == HTTP_GET || r->head.method == HTTP_HEAD;
    if (too_many_params(r->query)) {
        http_count_refusal(r->loop->server, HTTP_REFUSED_PARAMS);
        http_reply_error(r, 400, STR("too many parameters, limit is 1000\n"));
    } else if (r->route) {
        run_route(r);
    } else if (r->known && http_cors_is_preflight(r)) {
        http_cors_answer(r);
    } else if (r->known) {
        struct buf empty = buf_make(1);
        http_reply(r, 405, NULL, &empty);
    } else if (r->doubled && reads) {
        /* A served path is served with doubled slashes, too; elsewhere a reader is sent to the
         * clean one. */
        reply_redirect(r, r->raw_path);
    } else {
        http_reply_error(r, 404, STR("404 page not found\n"));
    }
}

/* ---- the guard */

static void ask_slowly(void *arg) {
    struct http_request *r = arg;
    const struct http_guard *guard = &r->loop->server->options.guard;
    if (guard->ask(guard->ctx, r, true) == HTTP_PASS)
        http_send_to_loop(r);
}

enum http_verdict http_ask_guard(struct http_request *r) {
    struct http_server *s = r->loop->server;
    const struct http_guard *guard = &s->options.guard;
    /* A browser's preflight brings no credentials, by specification; it is answered from the
     * settings alone. */
    if (!guard->ask || (!r->route && http_cors_is_preflight(r)))
        return HTTP_PASS;
    enum http_verdict verdict = guard->ask(guard->ctx, r, false);
    if (verdict != HTTP_ASK_SLOW || pool_submit(s->guard_pool, ask_slowly, r) == 0)
        return verdict;
    http_count_refusal(s, HTTP_REFUSED_GUARD_QUEUE);
    http_reply_error(r, 503, STR("too many logins at once, try again\n"));
    return HTTP_REFUSED;
}

void http_count_refusal(struct http_server *s, enum http_refusal r) {
    (void)atomic_fetch_add_explicit(&s->refusals[r], 1, memory_order_relaxed);
}

uint64_t http_refusals(const struct http_server *s, enum http_refusal r) {
    return atomic_load_explicit(&s->refusals[r], memory_order_relaxed);
}

const char *http_refusal_name(enum http_refusal r) {
    static const char *const names[HTTP_REFUSALS] = {
        [HTTP_REFUSED_CONNECTIONS] = "too_many_connections",
        [HTTP_REFUSED_ADDRESS] = "address_not_allowed",
        [HTTP_REFUSED_TLS] = "tls_handshake",
        [HTTP_REFUSED_MALFORMED] = "malformed_request",
        [HTTP_REFUSED_HEAD_SIZE] = "headers_too_large",
        [HTTP_REFUSED_BODY_SIZE] = "body_too_large",
        [HTTP_REFUSED_BODIES] = "bodies_memory",
        [HTTP_REFUSED_REPLIES] = "replies_memory",
        [HTTP_REFUSED_SLOW] = "too_slow",
        [HTTP_REFUSED_PARAMS] = "too_many_parameters",
        [HTTP_REFUSED_QUEUE] = "worker_queue_full",
        [HTTP_REFUSED_QUERY_QUEUE] = "query_queue_full",
        [HTTP_REFUSED_GUARD_QUEUE] = "login_queue_full",
    };
    return names[r];
}

/* ---- loops */

static void format_peer(const struct sockaddr_storage *address, char out[static HTTP_PEER_MAX]) {
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        port = ntohs(in6->sin6_port);
    }
    (void)snprintf(out, HTTP_PEER_MAX, "%s:%u", host, port);
}

static struct http_address address_of(const struct sockaddr_storage *address) {
    struct http_address a = {0};
    if (address->ss_family == AF_INET) {
        memset(a.bytes + 10, 0xff, 2);
        memcpy(a.bytes + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        memcpy(a.bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    }
    return a;
}

/* A TLS client could not read it: a handshake is work, and there is too much already. */
static void refuse_connection(const struct http_server *s, int fd) {
    const struct str reply = STR("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 21\r\n"
                                 "Connection: close\r\n\r\ntoo many connections\n");
    ssize_t sent =
        s->options.tls ? 0 : send(fd, reply.data, reply.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
    (void)close(fd);
}

static void on_accept(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    struct http_loop *loop = ctx;
    struct http_server *s = loop->server;
    for (unsigned i = 0; i < ACCEPT_AT_ONCE; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        int client = accept4(fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            /* Out of descriptors or memory: the tick listens again. */
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                (void)event_del(loop->listen_event);
            return;
        }
        if (atomic_fetch_add(&s->connections, 1) >= s->options.connections_max) {
            atomic_fetch_sub(&s->connections, 1);
            http_count_refusal(s, HTTP_REFUSED_CONNECTIONS);
            refuse_connection(s, client);
            continue;
        }
        char peer[HTTP_PEER_MAX];
        format_peer(&address, peer);
        const struct http_guard *guard = &s->options.guard;
        struct http_address from = address_of(&address);
        bool admitted = !guard->admit || guard->admit(guard->ctx, &from);
        conn_accept(loop, client, peer, &from, admitted);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    struct http_loop *loop = ctx;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));
    (void)n;
    pthread_mutex_lock(&loop->lock);
    struct http_request *r = loop->replied_head;
    loop->replied_head = loop->replied_tail = NULL;
    bool stop = loop->stop_wanted, quit = loop->quit_wanted;
    pthread_mutex_unlock(&loop->lock);
    while (r) {
        struct http_request *next = r->next_replied;
        conn_replied(r);
        r = next;
    }
    sockets_run_ready(loop);
    streams_run_made(loop);
    if (stop && !loop->stopping) {
        loop->stopping = true;
        (void)event_del(loop->listen_event);
        (void)close(loop->listen_fd);
        loop->listen_fd = -1;
        conn_close_idle(loop);
    }
    /* Said from within: event_base_loop forgets a break that came before it started. */
    if (quit)
        (void)event_base_loopbreak(loop->base);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    struct http_loop *loop = ctx;
    conn_tick(loop, clock_mono_ns());
    if (loop->stopping)
        conn_close_idle(loop);
    else
        (void)event_add(loop->listen_event, NULL);
}

static _Thread_local const struct http_loop *own_loop;

bool http_on_loop(const struct http_loop *loop) {
    return own_loop == loop;
}

void http_own_loop(struct http_loop *loop) {
    own_loop = loop;
}

static void *loop_main(void *arg) {
    struct http_loop *loop = arg;
    own_loop = loop;
    (void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    conn_close_all(loop);
    return NULL;
}

/* ---- start and stop */

static int try_bind(const struct addrinfo *ai, bool share_port) {
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (share_port)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    /* Accepted sockets inherit it: replies leave at once, they are never written piecemeal. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
        (share_port && listen(fd, LISTEN_BACKLOG) < 0)) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

static int bound_port(int fd, uint16_t *ret) {
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    *ret = address.ss_family == AF_INET6
               ? ntohs(((const struct sockaddr_in6 *)(const void *)&address)->sin6_port)
               : ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
    return 0;
}

static int bind_listener(const struct http_server *s, struct http_loop *loop, uint16_t port,
                         bool first, struct err *reterr) {
    char port_text[8];
    (void)snprintf(port_text, sizeof(port_text), "%u", port);
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    const char *address = s->options.address;
    struct addrinfo *list;
    int gai = getaddrinfo(address && *address ? address : NULL, port_text, &hints, &list);
    if (gai != 0)
        return err_set(reterr, -EINVAL, "listen address \"%s\": %s", address, gai_strerror(gai));
    int fd = 0;
    /* SO_REUSEPORT would silently share the port with another server of the same user: ask
     * without it first. */
    if (first && port != 0) {
        fd = try_bind(list, false);
        if (fd >= 0)
            (void)close(fd);
    }
    if (fd >= 0)
        fd = try_bind(list, true);
    freeaddrinfo(list);
    if (fd < 0)
        return err_set(reterr, fd, "cannot listen on %s:%u: %s", address, port, err_name(fd));
    loop->listen_fd = fd;
    return 0;
}

static int init_loop(struct http_server *s, struct http_loop *loop, struct err *reterr) {
    loop->base = event_base_new();
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!loop->base || loop->wake_fd < 0)
        return err_set(reterr, -ENOMEM, "cannot make an event loop");
    int r = bind_listener(s, loop, s->port, loop == s->loops, reterr);
    if (r < 0)
        return r;
    r = bound_port(loop->listen_fd, &s->port);
    if (r < 0)
        return err_set(reterr, r, "getsockname: %s", err_name(r));
    short persist = EV_READ | EV_PERSIST;
    loop->listen_event = event_new(loop->base, loop->listen_fd, persist, on_accept, loop);
    loop->wake_event = event_new(loop->base, loop->wake_fd, persist, on_wake, loop);
    loop->tick = event_new(loop->base, -1, EV_PERSIST, on_tick, loop);
    const struct timeval every = {.tv_usec = TICK_MS * 1000};
    if (!loop->listen_event || !loop->wake_event || !loop->tick ||
        event_add(loop->listen_event, NULL) < 0 || event_add(loop->wake_event, NULL) < 0 ||
        event_add(loop->tick, &every) < 0)
        return err_set(reterr, -ENOMEM, "cannot make events");
    return 0;
}

static void done_loop(struct http_loop *loop) {
    if (loop->listen_event)
        event_free(loop->listen_event);
    if (loop->wake_event)
        event_free(loop->wake_event);
    if (loop->tick)
        event_free(loop->tick);
    if (loop->base)
        event_base_free(loop->base);
    if (loop->listen_fd >= 0)
        (void)close(loop->listen_fd);
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd);
    pthread_mutex_destroy(&loop->lock);
}

static void free_server(struct http_server *s) {
    for (unsigned i = 0; i < s->n_loops; i++)
        done_loop(&s->loops[i]);
    free(s->loops);
    free(s->routes);
    free(s->path_prefix);
    arena_done(&s->texts);
    free(s);
}

static void set_defaults(struct http_options *o) {
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores > 0 ? cores : 1;
    o->loops = o->loops ? o->loops : cores;
    o->workers = o->workers ? o->workers : 2 * cores;
    o->query_workers = o->query_workers ? o->query_workers : 16;
    o->body_max = o->body_max ? o->body_max : (size_t)64 << 20;
    o->bodies_max = o->bodies_max ? o->bodies_max : (size_t)256 << 20;
    o->replies_max = o->replies_max ? o->replies_max : (size_t)512 << 20;
    if (o->bodies_max < o->body_max)
        o->bodies_max = o->body_max;
    o->headers_max = o->headers_max ? o->headers_max : (size_t)64 << 10;
    o->connections_max = o->connections_max ? o->connections_max : 10000;
    o->read_timeout_s = o->read_timeout_s > 0 ? o->read_timeout_s : 30;
    o->write_timeout_s = o->write_timeout_s > 0 ? o->write_timeout_s : 30;
    o->idle_timeout_s = o->idle_timeout_s > 0 ? o->idle_timeout_s : 120;
}

static int copy_origins(struct http_server *s) {
    enum { ORIGINS_MEMORY_MAX = 1 << 20 };
    struct http_options *o = &s->options;
    s->texts = arena_make(ORIGINS_MEMORY_MAX);
    struct str *copies = arena_array(&s->texts, o->n_cors_origins + 1, sizeof(*copies));
    for (size_t i = 0; copies && i < o->n_cors_origins; i++) {
        copies[i] = arena_copy(&s->texts, o->cors_origins[i]);
        if (!copies[i].data)
            return -ENOMEM;
    }
    o->cors_origins = copies;
    return copies ? 0 : -ENOMEM;
}

static struct http_server *new_server(const struct http_options *o, const struct http_route *routes,
                                      size_t n_routes) {
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->options = *o;
    set_defaults(&s->options);
    s->port = o->port;
    s->n_routes = n_routes;
    s->n_loops = s->options.loops;
    s->path_prefix = strdup(o->path_prefix ? o->path_prefix : "");
    s->routes = calloc(n_routes ? n_routes : 1, sizeof(*routes));
    s->loops = calloc(s->n_loops, sizeof(*s->loops));
    if (!s->path_prefix || !s->routes || !s->loops || copy_origins(s) < 0) {
        s->n_loops = 0;
        free_server(s);
        return NULL;
    }
    for (size_t i = 0; i < n_routes; i++)
        s->routes[i] = routes[i];
    for (unsigned i = 0; i < s->n_loops; i++) {
        s->loops[i].server = s;
        s->loops[i].listen_fd = s->loops[i].wake_fd = -1;
        pthread_mutex_init(&s->loops[i].lock, NULL);
    }
    return s;
}

/* Threads that serve block all signals: main waits for those. */
static int start_threads(struct http_server *s, struct err *reterr) {
    s->pool = pool_new("http", s->options.workers, 1024);
    s->query_pool = pool_new("http-query", s->options.query_workers, 1024);
    s->body_pool = pool_new("http-body", HTTP_BODY_THREADS, HTTP_BODY_QUEUE);
    s->guard_pool = pool_new("http-guard", HTTP_GUARD_THREADS, HTTP_GUARD_QUEUE);
    if (!s->pool || !s->query_pool || !s->body_pool || !s->guard_pool)
        return err_set(reterr, -ENOMEM, "cannot start worker threads");
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = 0;
    for (unsigned i = 0; i < s->n_loops && r == 0; i++) {
        r = -pthread_create(&s->loops[i].thread, NULL, loop_main, &s->loops[i]);
        s->loops[i].started = r == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r < 0 ? err_set(reterr, r, "cannot start an event loop thread") : 0;
}

void http_wake(struct http_loop *loop) {
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));
    (void)n; /* the counter is full: the loop is being woken anyway */
}

static void join_loops(struct http_server *s) {
    for (unsigned i = 0; i < s->n_loops; i++) {
        struct http_loop *loop = &s->loops[i];
        if (!loop->started)
            continue;
        pthread_mutex_lock(&loop->lock);
        loop->quit_wanted = true;
        pthread_mutex_unlock(&loop->lock);
        http_wake(loop);
        (void)pthread_join(loop->thread, NULL);
        loop->started = false;
    }
}

static void free_pools(struct http_server *s) {
    pool_free(s->pool);
    pool_free(s->query_pool);
    pool_free(s->body_pool);
    pool_free(s->guard_pool);
}

int http_start(const struct http_options *o, const struct http_route *routes, size_t n_routes,
               struct http_server **ret, struct err *reterr) {
    if (evthread_use_pthreads() < 0)
        return err_set(reterr, -ENOMEM, "cannot set up libevent for threads");
    struct http_server *s = new_server(o, routes, n_routes);
    if (!s)
        return err_set(reterr, -ENOMEM, "cannot make the HTTP server");
    int r = 0;
    for (unsigned i = 0; i < s->n_loops && r == 0; i++)
        r = init_loop(s, &s->loops[i], reterr);
    if (r == 0)
        r = start_threads(s, reterr);
    if (r < 0) {
        join_loops(s);
        free_pools(s);
        free_server(s);
        return r;
    }
    s->options.address = NULL; /* the caller's, and no longer needed */
    *ret = s;
    return 0;
}

uint16_t http_port(const struct http_server *s) {
    return s->port;
}

unsigned http_connections(const struct http_server *s) {
    return atomic_load(&s->connections);
}

void http_get_figures(const struct http_server *s, struct http_figures *ret) {
    *ret = (struct http_figures){
        .connections = atomic_load(&s->connections),
        .running = atomic_load(&s->running),
        .workers = pool_threads(s->pool),
        .query_workers = pool_threads(s->query_pool),
        .guard_workers = pool_threads(s->guard_pool),
        .waiting = pool_waiting(s->pool),
        .query_waiting = pool_waiting(s->query_pool),
        .guard_waiting = pool_waiting(s->guard_pool),
    };
}

/* Waits until nothing runs and all replies have been written, at most `ms`. */
static void wait_quiet(struct http_server *s, int ms) {
    int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
    while (atomic_load(&s->running) > 0 || atomic_load(&s->connections) > 0) {
        if (clock_mono_ns() >= until)
            return;
        const struct timespec nap = {.tv_nsec = 5 * 1000 * 1000};
        (void)nanosleep(&nap, NULL);
    }
}

void http_stop(struct http_server *s, int grace_ms) {
    if (!s)
        return;
    atomic_store(&s->stopping, true);
    for (unsigned i = 0; i < s->n_loops; i++) {
        pthread_mutex_lock(&s->loops[i].lock);
        s->loops[i].stop_wanted = true;
        pthread_mutex_unlock(&s->loops[i].lock);
        http_wake(&s->loops[i]);
    }
    bool quiet = false;
    wait_quiet(s, grace_ms);
    /* Whoever still runs is cancelled: closing a connection sets its request's flag. */
    join_loops(s);
    free_pools(s);
    int64_t until = clock_mono_ns() + (int64_t)CANCEL_GRACE_MS * 1000000;
    for (;;) {
        for (unsigned i = 0; i < s->n_loops; i++)
            on_wake(s->loops[i].wake_fd, EV_READ, &s->loops[i]);
        quiet = atomic_load(&s->running) == 0;
        if (quiet || clock_mono_ns() >= until)
            break;
        const struct timespec nap = {.tv_nsec = 5 * 1000 * 1000};
        (void)nanosleep(&nap, NULL);
    }
    /* A request whose reply never came may still refer to the server: it stays, the process is
     * ending. */
    if (quiet)
        free_server(s);
}
