/* The HTTP server over real sockets on a free port. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "http.h"
#include "http_parse.h"

enum { BODY_MAX = 100000, BIG_REPLY = 8 << 20 };

static struct http_server *server;
static atomic_int seen_cancel;
static atomic_int observed_status;
static atomic_bool release_gate;

/* ---- handlers */

static void nap(void) {
    const struct timespec t = {.tv_nsec = 2 * 1000 * 1000};
    (void)nanosleep(&t, NULL);
}

static void reply_text(struct http_request *r, struct str text) {
    struct buf body = buf_make(BUF_NO_MAX);
    buf_add_str(&body, text);
    http_reply(r, 200, "text/plain; charset=utf-8", &body);
}

static void on_echo(struct http_request *r, void *ctx) {
    (void)ctx;
    reply_text(r, http_request_body(r));
}

static void on_segment(struct http_request *r, void *ctx) {
    (void)ctx;
    reply_text(r, http_request_segment(r));
}

static void on_params(struct http_request *r, void *ctx) {
    (void)ctx;
    struct buf body = buf_make(BUF_NO_MAX);
    const struct str *values;
    size_t n = http_params(r, "m[]", &values);
    for (size_t i = 0; i < n; i++)
        buf_addf(&body, "[%.*s]", STR_ARG(values[i]));
    struct str q = http_param(r, "q");
    buf_addf(&body, "q=%.*s", q.data ? (int)q.size : 4, q.data ? q.data : "none");
    http_reply(r, 200, "text/plain", &body);
}

static void on_nothing(struct http_request *r, void *ctx) {
    (void)ctx;
    http_reply(r, 204, NULL, NULL);
}

static void on_big(struct http_request *r, void *ctx) {
    (void)ctx;
    struct buf body = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < BIG_REPLY / 8; i++)
        buf_addf(&body, "%07zu\n", i);
    http_reply(r, 200, "text/plain", &body);
}

/* A body made in parts: lines of 16 bytes, as many as the parameter n says; f: fails at the end. */
struct lines {
    long next, count;
    bool fails;
};

static atomic_long lines_made;
static atomic_int bodies_done;

static bool lines_next(void *ctx, struct buf *out) {
    struct lines *l = ctx;
    for (int i = 0; i < 4096 && l->next < l->count; i++)
        buf_addf(out, "%015ld\n", l->next++);
    atomic_store(&lines_made, l->next);
    if (l->next == l->count && l->fails)
        out->failed = true;
    return l->next < l->count;
}

static void lines_done(void *ctx) {
    free(ctx);
    atomic_fetch_add(&bodies_done, 1);
}

static void on_lines(struct http_request *r, void *ctx) {
    (void)ctx;
    struct lines *l = calloc(1, sizeof(*l));
    struct str n = http_param(r, "n");
    l->count = n.size > 0 ? strtol(n.data, NULL, 10) : 0;
    l->fails = http_param(r, "f").data != NULL;
    struct str held = http_param(r, "held");
    const struct http_body body = {lines_next, lines_done, l,
                                   held.size > 0 ? strtoul(held.data, NULL, 10) : 0};
    http_reply_body(r, 200, "text/plain", &body);
}

static void on_long(struct http_request *r, void *ctx) {
    (void)ctx;
    struct buf body = buf_make(BUF_NO_MAX);
    struct str n = http_param(r, "n");
    for (long i = 0, count = strtol(n.data, NULL, 10); i < count; i++)
        buf_addf(&body, "%015ld\n", i);
    http_reply_long(r, 200, "text/plain", &body);
    buf_done(&body);
}

/* Waits for its client to go away. */
static void on_wait(struct http_request *r, void *ctx) {
    (void)ctx;
    for (int i = 0; i < 5000 && !atomic_load(http_request_cancel(r)); i++)
        nap();
    atomic_fetch_add(&seen_cancel, atomic_load(http_request_cancel(r)) ? 1 : 0);
    reply_text(r, STR("late"));
}

/* Answers from a thread of its own once the gate opens. */
static void *gate_main(void *arg) {
    for (int i = 0; i < 5000 && !atomic_load(&release_gate); i++)
        nap();
    reply_text(arg, STR("through the gate"));
    return NULL;
}

static void on_gate(struct http_request *r, void *ctx) {
    (void)ctx;
    pthread_t thread;
    if (pthread_create(&thread, NULL, gate_main, r) == 0)
        (void)pthread_detach(thread);
}

static void observe(void *ctx, enum http_method m, const char *route, int status, double seconds) {
    (void)ctx;
    (void)m;
    (void)route;
    (void)seconds;
    atomic_store(&observed_status, status);
}

static const struct http_route routes[] = {
    {HTTP_POST, "/echo", on_echo, NULL, HTTP_ON_LOOP, "echo", NULL},
    {HTTP_POST, "/pool", on_echo, NULL, HTTP_ON_POOL, "pool", NULL},
    {HTTP_GET, "/label/{}/values", on_segment, NULL, HTTP_ON_LOOP, "segment", NULL},
    {HTTP_GET | HTTP_POST, "/params", on_params, NULL, HTTP_ON_QUERY_POOL, "params", NULL},
    {HTTP_GET | HTTP_POST, "/nothing", on_nothing, NULL, HTTP_ON_LOOP, "nothing", NULL},
    {HTTP_GET, "/big", on_big, NULL, HTTP_ON_POOL, "big", NULL},
    {HTTP_GET, "/lines", on_lines, NULL, HTTP_ON_POOL, "lines", NULL},
    {HTTP_GET, "/long", on_long, NULL, HTTP_ON_POOL, "long", NULL},
    {HTTP_GET, "/wait", on_wait, NULL, HTTP_ON_QUERY_POOL, "wait", NULL},
    {HTTP_GET, "/gate", on_gate, NULL, HTTP_ON_LOOP, "gate", NULL},
};

static void start(struct http_options o) {
    struct err err;
    o.address = "127.0.0.1";
    o.loops = o.loops ? o.loops : 2;
    o.body_max = BODY_MAX;
    o.headers_max = 4096;
    o.observe = observe;
    int r = http_start(&o, routes, sizeof(routes) / sizeof(routes[0]), &server, &err);
    if (r < 0) {
        printf("%s\n", err.text);
        abort();
    }
}

static void stop(void) {
    http_stop(server, 5000);
    server = NULL;
}

/* ---- a client */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_port(server))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct timeval limit = {.tv_sec = 20};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        abort();
    return fd;
}

static void say(int fd, struct str text) {
    while (text.size > 0) {
        ssize_t n = send(fd, text.data, text.size, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text = str_from_offset(text, (size_t)n);
    }
}

/* Reads one byte more; false at the end. */
static bool hear(int fd, struct buf *in) {
    char chunk[65536];
    ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
    if (n <= 0)
        return false;
    buf_add(in, chunk, (size_t)n);
    return true;
}

struct reply {
    int status;
    bool closed; /* the server closed behind it */
    struct buf head, body;
};

static void reply_done(struct reply *r) {
    buf_done(&r->head);
    buf_done(&r->body);
}

/* Takes one reply off the connection; `in` keeps what follows. */
static struct reply take_reply(int fd, struct buf *in, bool has_body) {
    struct reply r = {.head = buf_make(BUF_NO_MAX), .body = buf_make(BUF_NO_MAX)};
    const char *end;
    while (!(end = str_find(buf_str(in), STR("\r\n\r\n"))))
        if (!hear(fd, in)) {
            r.closed = true;
            return r;
        }
    size_t head_size = (size_t)(end - in->data) + 4;
    buf_add(&r.head, in->data, head_size);
    r.status = (int)strtol(r.head.data + 9, NULL, 10);
    buf_add_char(&r.head, '\0');
    r.head.size--;
    const char *length = str_find(buf_str(&r.head), STR("Content-Length: "));
    size_t body_size = length && has_body ? strtoul(length + 16, NULL, 10) : 0;
    while (in->size < head_size + body_size && hear(fd, in))
        ;
    size_t got = in->size - head_size < body_size ? in->size - head_size : body_size;
    buf_add(&r.body, in->data + head_size, got);
    memmove(in->data, in->data + head_size + got, in->size - head_size - got);
    in->size -= head_size + got;
    return r;
}

static struct reply ask(struct str request, bool has_body) {
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, request);
    struct reply r = take_reply(fd, &in, has_body);
    buf_done(&in);
    (void)close(fd);
    return r;
}

static void check_status(struct str request, int want) {
    struct reply r = ask(request, true);
    if (r.status != want)
        printf("  request: %.80s\n", request.data);
    CHECK_INT(r.status, want);
    reply_done(&r);
}

static bool has_header(const struct reply *r, struct str text) {
    return str_find(buf_str(&r->head), text) != NULL;
}

/* ---- tests */

static void test_keep_alive_and_pipelining(void) {
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 3; i++) {
        say(fd, STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"));
        struct reply r = take_reply(fd, &in, true);
        CHECK_INT(r.status, 200);
        CHECK_STR(buf_str(&r.body), STR("abc"));
        CHECK(!has_header(&r, STR("Connection: close")));
        reply_done(&r);
    }
    CHECK_INT(atomic_load(&observed_status), 200);
    /* The first runs on a pool, the others must wait for their turn. */
    say(fd, STR("POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n2"
                "\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n4"));
    const struct str want[] = {STR("1"), STR("2"), STR(""), STR("4")};
    for (int i = 0; i < 4; i++) {
        struct reply r = take_reply(fd, &in, true);
        CHECK_INT(r.status, i == 2 ? 204 : 200);
        CHECK_STR(buf_str(&r.body), want[i]);
        reply_done(&r);
    }
    buf_done(&in);
    (void)close(fd);
}

static void test_bytewise_arrival(void) {
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    const struct str request =
        STR("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n");
    for (size_t i = 0; i < request.size; i++) {
        say(fd, str_make(request.data + i, 1));
        if (i % 16 == 0)
            nap();
    }
    struct reply r = take_reply(fd, &in, true);
    CHECK_INT(r.status, 200);
    CHECK_STR(buf_str(&r.body), STR("abc0123456789"));
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
}

static void test_expect_continue(void) {
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd,
        STR("POST /pool HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    struct reply r = take_reply(fd, &in, true);
    CHECK_INT(r.status, 100);
    reply_done(&r);
    say(fd, STR("hello"));
    r = take_reply(fd, &in, true);
    CHECK_INT(r.status, 200);
    CHECK_STR(buf_str(&r.body), STR("hello"));
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
    check_status(STR("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                     "Content-Length: 100001\r\n\r\n"),
                 413);
}

static void test_old_version_and_head(void) {
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, STR("POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"));
    struct reply r = take_reply(fd, &in, true);
    CHECK_INT(r.status, 200);
    CHECK_STR(buf_str(&r.body), STR("hi"));
    CHECK(has_header(&r, STR("Connection: close")));
    CHECK(!hear(fd, &in));
    reply_done(&r);
    (void)close(fd);
    r = ask(STR("HEAD /label/abc/values HTTP/1.1\r\nHost: x\r\n\r\n"), false);
    CHECK_INT(r.status, 200);
    CHECK(has_header(&r, STR("Content-Length: 3\r\n")));
    reply_done(&r);
    /* Nothing follows the head: the next reply on the connection starts at once. */
    fd = dial();
    buf_clear(&in);
    say(fd, STR("HEAD /label/abc/values HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /label/de/values HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    r = take_reply(fd, &in, false);
    reply_done(&r);
    r = take_reply(fd, &in, true);
    CHECK_STR(buf_str(&r.body), STR("de"));
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
}

static void test_no_content(void) {
    struct reply r =
        ask(STR("POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), true);
    CHECK_INT(r.status, 204);
    CHECK(!has_header(&r, STR("Content-Length")));
    CHECK(!has_header(&r, STR("Content-Type")));
    CHECK(!has_header(&r, STR("Transfer-Encoding")));
    reply_done(&r);
}

static void test_limits(void) {
    check_status(STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n"), 413);
    check_status(
        STR("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n"), 413);
    check_status(
        STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999\r\n\r\n"), 413);
    struct buf request = buf_make(BUF_NO_MAX);
    buf_add_str(&request, STR("GET /nothing HTTP/1.1\r\nHost: x\r\nX-Long: "));
    for (int i = 0; i < 5000; i++)
        buf_add_char(&request, 'a');
    check_status(buf_str(&request), 431);
    buf_clear(&request);
    buf_add_str(&request, STR("GET /params?"));
    for (int i = 0; i < 1000; i++)
        buf_add_str(&request, STR("a&"));
    buf_add_str(&request, STR(" HTTP/1.1\r\nHost: x\r\n\r\n"));
    check_status(buf_str(&request), 400);
    /* A body of exactly the limit passes; the client that sends too much still reads its 413. */
    for (int extra = 0; extra < 2; extra++) {
        buf_clear(&request);
        buf_addf(&request, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                 BODY_MAX + extra * 3000000);
        for (int i = 0; i < BODY_MAX + extra * 3000000; i++)
            buf_add_char(&request, 'b');
        struct reply r = ask(buf_str(&request), true);
        CHECK_INT(r.status, extra ? 413 : 200);
        CHECK(extra || r.body.size == BODY_MAX);
        reply_done(&r);
    }
    buf_done(&request);
}

static void test_routing(void) {
    static const struct {
        const char *target;
        int status;
        const char *body;
    } cases[] = {
        {"/label/app/values", 200, "app"},
        {"//label///app/values", 200, "app"},
        {"/label/a%2Fb%20c/values", 200, "a/b c"},
        {"/label/a%zz/values", 200, "a%zz"},
        {"/label/a+b/values?x=1", 200, "a+b"},
        {"http://host:1/label/abs/values", 200, "abs"},
        {"/label/a/b/values", 404, "404 page not found\n"},
        {"/label/values", 404, "404 page not found\n"},
        {"/label//values", 301, ""},
        {"/nothing/", 404, "404 page not found\n"},
        {"/", 404, "404 page not found\n"},
        {"/echo", 405, ""},
        {"/params?q=a%20b+c&q=second", 200, "q=a b c"},
        {"/params?m[]=1&m%5B%5D=%7Bx%3D%221%22%7D&x", 200, "[1][{x=\"1\"}]q=none"},
        {"/params?q=&&&", 200, "q="},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf request = buf_make(BUF_NO_MAX);
        buf_addf(&request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
        struct reply r = ask(buf_str(&request), true);
        CHECK_INT(r.status, cases[i].status);
        CHECK_STR(buf_str(&r.body), str_from(cases[i].body));
        reply_done(&r);
        buf_done(&request);
    }
    struct reply r =
        ask(STR("POST /params?q=query HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n"
                "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\n"
                "q=body&m%5B%5D=%41"),
            true);
    CHECK_STR(buf_str(&r.body), STR("[A]q=body"));
    reply_done(&r);
    check_status(STR("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
}

static void test_malformed(void) {
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"GET /nothing HTTP/1.1\r\n\r\n", 400}, /* no Host */
        {"GET /nothing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\nHost: a\n\n", 400}, /* bare LF */
        {"GET /nothing\r\n\r\n", 400},
        {"GET  /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET nothing HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /nothing HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"GET /nothing HTTX/1.1\r\nHost: a\r\n\r\n", 400},
        {"G@T /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", 400},
        {"GET /nothing HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417},
        /* Allowed oddities. */
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 200},
        {"\r\n\r\nGET /nothing HTTP/1.1\r\nhOST:a\r\n\r\n", 204},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_status(str_from(cases[i].request), cases[i].status);
    /* A refusal closes: what follows is not taken for a request. */
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, STR("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"));
    struct reply r = take_reply(fd, &in, true);
    CHECK_INT(r.status, 400);
    CHECK(has_header(&r, STR("Connection: close")));
    CHECK(!hear(fd, &in) && in.size == 0);
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
}

static void inflate_and_check(const struct buf *packed) {
    z_stream z = {0};
    char *raw = malloc(BIG_REPLY + 1);
    CHECK(raw && inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = (Bytef *)packed->data;
    z.avail_in = (uInt)packed->size;
    z.next_out = (Bytef *)raw;
    z.avail_out = BIG_REPLY + 1;
    CHECK_INT(inflate(&z, Z_FINISH), Z_STREAM_END);
    CHECK_INT(z.total_out, BIG_REPLY);
    CHECK(memcmp(raw, "0000000\n0000001\n", 16) == 0);
    (void)inflateEnd(&z);
    free(raw);
}

static void test_gzip_and_large_replies(void) {
    struct reply r =
        ask(STR("GET /big HTTP/1.1\r\nHost: x\r\nAccept-Encoding: deflate, gzip\r\n\r\n"), true);
    CHECK(has_header(&r, STR("Content-Encoding: gzip")));
    CHECK(has_header(&r, STR("Vary: Accept-Encoding")));
    inflate_and_check(&r.body);
    reply_done(&r);
    r = ask(STR("GET /big HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0\r\n\r\n"), true);
    CHECK(!has_header(&r, STR("Content-Encoding")));
    CHECK_INT(r.body.size, BIG_REPLY);
    reply_done(&r);
    /* A client that reads slowly gets it all the same. */
    int fd = dial();
    say(fd, STR("GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    size_t total = 0;
    char chunk[65536];
    for (ssize_t n; (n = recv(fd, chunk, sizeof(chunk), 0)) > 0;) {
        total += (size_t)n;
        if (total < 1 << 20)
            nap();
    }
    CHECK(total > BIG_REPLY);
    (void)close(fd);
}

/* ---- bodies in parts */

/* Everything until the server closes. */
static struct buf hear_all(int fd, struct str request) {
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, request);
    while (hear(fd, &in))
        ;
    (void)close(fd);
    return in;
}

static struct str body_of(const struct buf *in) {
    const char *end = str_find(buf_str(in), STR("\r\n\r\n"));
    return end ? str_from_offset(buf_str(in), (size_t)(end - in->data) + 4) : STR("");
}

/* Takes the chunks apart; false when the last one is missing. */
static bool unchunk(struct str text, struct buf *out) {
    for (;;) {
        const char *line = str_find(text, STR("\r\n"));
        if (!line)
            return false;
        size_t size = strtoul(text.data, NULL, 16), head = (size_t)(line - text.data) + 2;
        if (head + size + 2 > text.size)
            return false;
        buf_add(out, text.data + head, size);
        text = str_from_offset(text, head + size + 2);
        if (size == 0)
            return text.size == 0;
    }
}

static bool are_lines(struct str text, long count) {
    if (text.size != (size_t)count * 16)
        return false;
    for (long i = 0; i < count; i++)
        if (strtol(text.data + i * 16, NULL, 10) != i)
            return false;
    return true;
}

static bool gunzip(struct str packed, struct buf *out) {
    z_stream z = {.next_in = (Bytef *)packed.data, .avail_in = (uInt)packed.size};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return false;
    int r = Z_OK;
    while (r == Z_OK) {
        char plain[65536];
        z.next_out = (Bytef *)plain;
        z.avail_out = sizeof(plain);
        r = inflate(&z, Z_NO_FLUSH);
        buf_add(out, plain, sizeof(plain) - z.avail_out);
    }
    (void)inflateEnd(&z);
    return r == Z_STREAM_END && z.avail_in == 0;
}

static void wait_done(int want) {
    for (int i = 0; i < 5000 && atomic_load(&bodies_done) < want; i++)
        nap();
    CHECK_INT(atomic_load(&bodies_done), want);
}

static void test_body_in_parts(void) {
    atomic_store(&bodies_done, 0);
    struct buf plain = buf_make(BUF_NO_MAX);
    struct buf in = hear_all(
        dial(), STR("GET /lines?n=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("Transfer-Encoding: chunked\r\n")) != NULL);
    CHECK(str_find(buf_str(&in), STR("Content-Length")) == NULL);
    CHECK(unchunk(body_of(&in), &plain) && are_lines(buf_str(&plain), 100000));
    buf_done(&in);

    struct buf packed = buf_make(BUF_NO_MAX);
    buf_clear(&plain);
    in = hear_all(dial(), STR("GET /lines?n=300000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                              "Accept-Encoding: gzip\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("Content-Encoding: gzip\r\n")) != NULL);
    CHECK(unchunk(body_of(&in), &packed) && gunzip(buf_str(&packed), &plain));
    CHECK(are_lines(buf_str(&plain), 300000));
    buf_done(&in);

    in = hear_all(dial(), STR("GET /lines?n=100000 HTTP/1.0\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("chunked")) == NULL);
    CHECK(are_lines(body_of(&in), 100000));
    buf_done(&in);

    /* Short ones have a length; HEAD has no body. */
    in = hear_all(dial(), STR("GET /lines?n=10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("Content-Length: 160\r\n")) != NULL);
    CHECK(are_lines(body_of(&in), 10));
    buf_done(&in);
    in = hear_all(dial(),
                  STR("HEAD /lines?n=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("chunked")) != NULL && body_of(&in).size == 0);
    buf_done(&in);

    /* What cannot be made to its end must not look complete. */
    buf_clear(&plain);
    in = hear_all(dial(), STR("GET /lines?n=100000&f=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(!unchunk(body_of(&in), &plain) && plain.size > 0);
    buf_done(&in);
    in = hear_all(dial(),
                  STR("GET /lines?n=10&f=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(str_starts(buf_str(&in), STR("HTTP/1.1 500 ")));
    buf_done(&in);
    wait_done(7);
    buf_done(&packed);
    buf_done(&plain);
}

static void test_long_reply(void) {
    struct buf plain = buf_make(BUF_NO_MAX), packed = buf_make(BUF_NO_MAX);
    struct buf in = hear_all(
        dial(), STR("GET /long?n=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(unchunk(body_of(&in), &plain) && are_lines(buf_str(&plain), 100000));
    buf_done(&in);
    in = hear_all(dial(), STR("GET /long?n=1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(str_find(buf_str(&in), STR("Content-Length: 16000\r\n")) != NULL);
    CHECK(are_lines(body_of(&in), 1000));
    buf_done(&in);
    buf_clear(&plain);
    in = hear_all(dial(), STR("GET /long?n=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                              "Accept-Encoding: gzip\r\n\r\n"));
    CHECK(unchunk(body_of(&in), &packed) && gunzip(buf_str(&packed), &plain));
    CHECK(are_lines(buf_str(&plain), 100000));
    buf_done(&in);
    buf_done(&plain);
    buf_done(&packed);
}

/* A client that does not read: no more is made than fits into the kernel's buffers and two pieces.
 * One that goes away frees the body. The connection can be used again behind a body in parts. */
static void test_body_waits_for_its_reader(void) {
    enum { COUNT = 4000000 }; /* 64 MB */
    atomic_store(&bodies_done, 0);
    int fd = dial();
    say(fd, STR("GET /lines?n=4000000 HTTP/1.1\r\nHost: x\r\n\r\n"
                "GET /label/abc/values HTTP/1.1\r\nHost: x\r\n\r\n"));
    for (int i = 0; i < 100; i++)
        nap();
    CHECK(atomic_load(&lines_made) < COUNT / 4);
    struct buf in = buf_make(BUF_NO_MAX), plain = buf_make(BUF_NO_MAX);
    while (!str_find(str_from_offset(buf_str(&in), in.size > 300 ? in.size - 300 : 0),
                     STR("\r\n\r\nabc")) &&
           hear(fd, &in))
        ;
    const char *second = str_find(buf_str(&in), STR("0\r\n\r\nHTTP/1.1 200 OK"));
    CHECK(second != NULL);
    struct str first = body_of(&in);
    if (second)
        first.size = (size_t)(second - first.data) + 5;
    CHECK(unchunk(first, &plain) && are_lines(buf_str(&plain), COUNT));
    (void)close(fd);
    wait_done(1);

    fd = dial();
    say(fd, STR("GET /lines?n=4000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    buf_clear(&in);
    (void)hear(fd, &in);
    (void)close(fd);
    wait_done(2);
    buf_done(&in);
    buf_done(&plain);
}

/* Bodies that wait for their readers hold memory: too much of it together is refused, until one is done. */
static void test_bodies_held(void) {
    atomic_store(&bodies_done, 0);
    int fds[3];
    struct buf in = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 2; i++) {
        fds[i] = dial();
        say(fds[i], STR("GET /lines?n=4000000&held=300000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
        buf_clear(&in);
        (void)hear(fds[i], &in);
        CHECK(str_starts(buf_str(&in), i == 0 ? STR("HTTP/1.1 200 ") : STR("HTTP/1.1 503 ")));
    }
    CHECK(http_refusals(server, HTTP_REFUSED_REPLIES) == 1);
    /* A short one holds nothing. */
    check_status(STR("GET /lines?n=10&held=300000000 HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    (void)close(fds[0]);
    (void)close(fds[1]);
    wait_done(3);
    fds[2] = dial();
    say(fds[2], STR("GET /lines?n=4000000&held=300000000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    buf_clear(&in);
    (void)hear(fds[2], &in);
    CHECK(str_starts(buf_str(&in), STR("HTTP/1.1 200 ")));
    (void)close(fds[2]);
    wait_done(4);
    buf_done(&in);
}

static void test_accept_encoding(void) {
    static const struct {
        const char *value;
        bool want;
    } cases[] = {
        {"gzip", true},        {"GZIP", true},         {"deflate", false},
        {"", false},           {"gzip;q=0", false},    {"gzip; q=0.0", false},
        {"gzip;q=0.5", true},  {"br, gzip;q=1", true}, {"*", true},
        {"*;q=0", false},      {"gzip;q=0, *", false}, {"xgzip", false},
        {"identity, *", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_INT(http_accepts_gzip(str_from(cases[i].value)), cases[i].want);
}

static void test_client_goes_away(void) {
    atomic_store(&seen_cancel, 0);
    int fd = dial();
    say(fd, STR("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"));
    nap();
    (void)close(fd);
    for (int i = 0; i < 2500 && atomic_load(&seen_cancel) == 0; i++)
        nap();
    CHECK_INT(atomic_load(&seen_cancel), 1);
    check_status(STR("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), 204);
    /* Gone before an asynchronous reply: dropped quietly. */
    atomic_store(&release_gate, false);
    fd = dial();
    say(fd, STR("GET /gate HTTP/1.1\r\nHost: x\r\n\r\n"));
    nap();
    const struct linger reset = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    (void)close(fd);
    nap();
    atomic_store(&release_gate, true);
    /* A half-closed client still gets its reply. */
    fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, STR("POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"));
    (void)shutdown(fd, SHUT_WR);
    struct reply r = take_reply(fd, &in, true);
    CHECK_STR(buf_str(&r.body), STR("ok"));
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
}

static void test_slow_request(void) {
    stop();
    start((struct http_options){.read_timeout_s = 1, .idle_timeout_s = 1});
    struct reply r =
        ask(STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"), true);
    CHECK_INT(r.status, 408);
    reply_done(&r);
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    CHECK(!hear(fd, &in)); /* idle: closed without a word */
    buf_done(&in);
    (void)close(fd);
}

static void test_connection_cap(void) {
    stop();
    start((struct http_options){.connections_max = 3});
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 3; i++) {
        say(fds[i], STR("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"));
        struct reply r = take_reply(fds[i], &in, true);
        CHECK_INT(r.status, 204);
        reply_done(&r);
    }
    buf_done(&in);
    check_status(STR("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
    (void)close(fds[0]);
    for (int i = 0; i < 2500 && http_connections(server) > 2; i++)
        nap();
    check_status(STR("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), 204);
    (void)close(fds[1]);
    (void)close(fds[2]);
}

static void test_prefix(void) {
    stop();
    start((struct http_options){.path_prefix = "/logs"});
    check_status(STR("GET /logs/nothing HTTP/1.1\r\nHost: x\r\n\r\n"), 204);
    check_status(STR("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    check_status(STR("GET /logs HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    check_status(STR("GET /logsnothing HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
}

static void *stop_main(void *arg) {
    http_stop(arg, 5000);
    return NULL;
}

/* A request that runs when the server stops is answered; the port is free afterwards. */
static void test_stop_while_running(void) {
    stop();
    start((struct http_options){0});
    atomic_store(&release_gate, false);
    uint16_t port = http_port(server);
    int fd = dial();
    struct buf in = buf_make(BUF_NO_MAX);
    say(fd, STR("GET /gate HTTP/1.1\r\nHost: x\r\n\r\n"));
    for (int i = 0; i < 20; i++)
        nap();
    pthread_t stopper;
    CHECK_INT(pthread_create(&stopper, NULL, stop_main, server), 0);
    for (int i = 0; i < 20; i++)
        nap();
    atomic_store(&release_gate, true);
    struct reply r = take_reply(fd, &in, true);
    CHECK_STR(buf_str(&r.body), STR("through the gate"));
    CHECK(has_header(&r, STR("Connection: close")));
    reply_done(&r);
    buf_done(&in);
    (void)close(fd);
    (void)pthread_join(stopper, NULL);
    start((struct http_options){.port = port});
    /* Another server on the same port is refused, although SO_REUSEPORT would let it in. */
    struct http_server *second;
    struct err err;
    const struct http_options o = {.address = "127.0.0.1", .port = port};
    CHECK_INT(http_start(&o, routes, 1, &second, &err), -EADDRINUSE);
}

int main(void) {
    start((struct http_options){0});
    RUN(test_keep_alive_and_pipelining);
    RUN(test_bytewise_arrival);
    RUN(test_expect_continue);
    RUN(test_old_version_and_head);
    RUN(test_no_content);
    RUN(test_limits);
    RUN(test_routing);
    RUN(test_malformed);
    RUN(test_gzip_and_large_replies);
    RUN(test_body_in_parts);
    RUN(test_long_reply);
    RUN(test_body_waits_for_its_reader);
    RUN(test_bodies_held);
    RUN(test_accept_encoding);
    RUN(test_client_goes_away);
    RUN(test_slow_request);
    RUN(test_connection_cap);
    RUN(test_prefix);
    RUN(test_stop_while_running);
    stop();
    return test_done();
}
