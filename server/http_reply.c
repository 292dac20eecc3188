/* http_reply: requests as handlers see them, and their replies. A reply is rendered (and
 * compressed) in the thread that makes it; only finished bytes travel to the loop. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "clock.h"
#include "http_internal.h"

enum { GZIP_MIN = 1024, GZIP_FAST_FROM = 1 << 20 };

struct http_request *request_new(struct http_loop *loop, const char *peer) {
    struct http_request *r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    /* The head's field table is large and filled by the parser: not zeroed. */
    r->loop = loop;
    r->conn = NULL;
    r->next_replied = NULL;
    r->route = NULL;
    r->start_ns = clock_mono_ns();
    r->arena = arena_make(HTTP_ARENA_MAX);
    r->head.n_fields = 0;
    r->head.method = HTTP_OTHER;
    r->head.minor = 1;
    r->path = r->segment = r->query = r->raw_path = (struct str){0};
    r->doubled = r->known = false;
    r->body = buf_make_for(BUDGET_BODIES, loop->server->options.body_max);
    r->body_charged = 0;
    (void)snprintf(r->peer, sizeof(r->peer), "%s", peer);
    r->address = (struct http_address){0};
    r->certificate = (struct str){0};
    r->pinned = NULL;
    r->unpin = NULL;
    atomic_init(&r->cancelled, false);
    r->params = NULL;
    r->n_params = 0;
    r->params_parsed = r->replied = false;
    r->status = 0;
    r->reply_head = buf_make(64 << 10);
    r->reply_body = buf_make(HTTP_REPLY_MAX);
    r->socket = NULL;
    r->stream = NULL;
    return r;
}

void request_free(struct http_request *r) {
    if (!r)
        return;
    atomic_fetch_sub(&r->loop->server->body_bytes, r->body_charged);
    if (r->unpin)
        r->unpin(r->pinned);
    buf_done(&r->body);
    buf_done(&r->reply_head);
    buf_done(&r->reply_body);
    arena_done(&r->arena);
    free(r);
}

bool request_charge_body(struct http_request *r) {
    struct http_server *s = r->loop->server;
    size_t more = r->body.capacity - r->body_charged;
    if (more == 0)
        return true;
    size_t before = atomic_fetch_add(&s->body_bytes, more);
    r->body_charged += more;
    return before + more <= s->options.bodies_max;
}

/* ---- reading a request */

enum http_method http_request_method(const struct http_request *r) {
    return r->head.method;
}

struct str http_request_path(const struct http_request *r) {
    return r->path;
}

struct str http_request_segment(const struct http_request *r) {
    return r->segment;
}

struct str http_request_header(const struct http_request *r, const char *name) {
    return http_head_field(&r->head, name);
}

struct str http_request_body(const struct http_request *r) {
    return buf_str(&r->body);
}

struct str http_request_peer(const struct http_request *r) {
    return str_from(r->peer);
}

struct str http_request_certificate(const struct http_request *r) {
    return r->certificate;
}

const struct http_route *http_request_route(const struct http_request *r) {
    return r->route;
}

void http_request_pin(struct http_request *r, void *what, void (*unpin)(void *what)) {
    assert(!r->unpin);
    r->pinned = what;
    r->unpin = unpin;
}

void *http_request_pinned(const struct http_request *r) {
    return r->pinned;
}

struct arena *http_request_arena(struct http_request *r) {
    return &r->arena;
}

const atomic_bool *http_request_cancel(const struct http_request *r) {
    return &r->cancelled;
}

static struct str unescape(struct http_request *r, struct str text) {
    if (text.size == 0 ||
        (!memchr(text.data, '%', text.size) && !memchr(text.data, '+', text.size)))
        return text;
    struct buf out = buf_make(text.size);
    http_unescape(&out, text, true);
    struct str copy = arena_copy(&r->arena, buf_str(&out));
    buf_done(&out);
    return copy.data ? copy : STR("");
}

static void parse_params(struct http_request *r, struct str text) {
    while (text.size > 0 && r->n_params < 2 * HTTP_PARAMS_MAX) {
        const char *amp = memchr(text.data, '&', text.size);
        size_t size = amp ? (size_t)(amp - text.data) : text.size;
        struct str pair = str_make(text.data, size);
        text = str_from_offset(text, size + 1);
        if (size == 0)
            continue;
        const char *equals = memchr(pair.data, '=', pair.size);
        size_t name_size = equals ? (size_t)(equals - pair.data) : pair.size;
        r->params[r->n_params++] = (struct http_param){
            .name = unescape(r, str_make(pair.data, name_size)),
            .value = equals ? unescape(r, str_from_offset(pair, name_size + 1)) : STR(""),
        };
    }
}

static size_t count_params(struct str text) {
    size_t n = text.size > 0;
    for (size_t i = 0; i < text.size; i++)
        n += text.data[i] == '&';
    return n < HTTP_PARAMS_MAX ? n : HTTP_PARAMS_MAX;
}

static bool is_form(const struct http_request *r) {
    struct str type = http_request_header(r, "Content-Type");
    const struct str form = STR("application/x-www-form-urlencoded");
    return r->head.method != HTTP_GET && r->head.method != HTTP_HEAD && type.size >= form.size &&
           str_eq_nocase(str_make(type.data, form.size), form);
}

static void need_params(struct http_request *r) {
    if (r->params_parsed)
        return;
    r->params_parsed = true;
    struct str form = is_form(r) ? buf_str(&r->body) : (struct str){0};
    size_t count = count_params(r->query) + count_params(form);
    r->params = arena_array(&r->arena, count ? count : 1, sizeof(*r->params));
    if (!r->params)
        return;
    /* Go's order, and so Loki's: what stands in the body comes before the query string. */
    parse_params(r, form);
    parse_params(r, r->query);
}

struct str http_param(struct http_request *r, const char *name) {
    need_params(r);
    struct str wanted = str_from(name);
    for (size_t i = 0; i < r->n_params; i++)
        if (str_eq(r->params[i].name, wanted))
            return r->params[i].value;
    return (struct str){0};
}

size_t http_params(struct http_request *r, const char *name, const struct str **ret) {
    need_params(r);
    struct str wanted = str_from(name);
    size_t count = 0;
    for (size_t i = 0; i < r->n_params; i++)
        count += str_eq(r->params[i].name, wanted);
    struct str *values = arena_array(&r->arena, count ? count : 1, sizeof(*values));
    if (!values)
        return 0;
    size_t n = 0;
    for (size_t i = 0; i < r->n_params; i++)
        if (str_eq(r->params[i].name, wanted))
            values[n++] = r->params[i].value;
    *ret = values;
    return count;
}

/* ---- replying */

static const char *status_text(int status) {
    static const struct {
        int status;
        const char *text;
    } known[] = {
        {101, "Switching Protocols"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].text;
    return "Status";
}

/* Replaces the body by its gzip form when that is smaller; false when it stays as it is. */
static bool gzip_body(struct buf *body) {
    z_stream z = {0};
    int level = body->size >= GZIP_FAST_FROM ? 1 : 3;
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    struct buf packed = buf_make(body->size);
    bool done = false;
    if (body->size <= UINT32_MAX / 2 && buf_reserve(&packed, body->size) == 0) {
        z.next_in = (Bytef *)body->data;
        z.avail_in = (uInt)body->size;
        z.next_out = (Bytef *)packed.data;
        z.avail_out = (uInt)packed.capacity;
        done = deflate(&z, Z_FINISH) == Z_STREAM_END;
        packed.size = packed.capacity - z.avail_out;
    }
    (void)deflateEnd(&z);
    if (done) {
        struct buf raw = *body;
        *body = packed;
        packed = raw;
    }
    buf_done(&packed);
    return done;
}

static void add_date(struct buf *out) {
    time_t now = (time_t)(clock_now_ns() / 1000000000);
    struct tm tm;
    char text[40];
    if (gmtime_r(&now, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
        buf_addf(out, "Date: %s\r\n", text);
}

static void render_head(struct http_request *r, const char *content_type,
                        const struct http_header *extra, size_t n_extra) {
    struct buf *h = &r->reply_head;
    bool has_body = r->status != 101 && r->status != 204 && r->status != 304;
    bool may_gzip = has_body && (r->stream || r->reply_body.size >= GZIP_MIN);
    bool gzipped = r->stream
                       ? stream_is_packed(r->stream)
                       : may_gzip && http_accepts_gzip(http_request_header(r, "Accept-Encoding")) &&
                             gzip_body(&r->reply_body);
    buf_addf(h, "HTTP/1.1 %d %s\r\n", r->status, status_text(r->status));
    if (has_body && content_type)
        buf_addf(h, "Content-Type: %s\r\n", content_type);
    for (size_t i = 0; i < n_extra; i++)
        buf_addf(h, "%s: %s\r\n", extra[i].name, extra[i].value);
    if (may_gzip)
        buf_addf(h, "Vary: Accept-Encoding\r\n");
    if (gzipped)
        buf_addf(h, "Content-Encoding: gzip\r\n");
    if (r->stream && r->head.minor > 0)
        buf_add_str(h, STR("Transfer-Encoding: chunked\r\n"));
    else if (has_body && !r->stream)
        buf_addf(h, "Content-Length: %zu\r\n", r->reply_body.size);
    http_cors_add_headers(r, h);
    add_date(h);
    if (!has_body || r->head.method == HTTP_HEAD)
        buf_done(&r->reply_body);
}

void http_send_to_loop(struct http_request *r) {
    struct http_loop *loop = r->loop;
    if (http_on_loop(loop) && loop->in_handler == r) {
        r->replied = true;
        return;
    }
    pthread_mutex_lock(&loop->lock);
    bool was_empty = loop->replied_head == NULL;
    if (was_empty)
        loop->replied_head = r;
    else
        loop->replied_tail->next_replied = r;
    loop->replied_tail = r;
    pthread_mutex_unlock(&loop->lock);
    /* One wake-up for all replies of a group commit. */
    if (was_empty)
        http_wake(loop);
}

static void fill_reply(struct http_request *r, int status, const char *content_type,
                       const struct http_header *extra, size_t n_extra, struct buf *body) {
    r->status = status;
    if (body) {
        r->reply_body = *body;
        *body = (struct buf){.max = body->max};
        if (r->reply_body.failed) {
            /* The handler ran out of memory (or of HTTP_REPLY_MAX) while it rendered. */
            buf_done(&r->reply_body);
            r->reply_body = buf_make(256);
            r->status = 500;
            content_type = "text/plain; charset=utf-8";
            buf_add_str(&r->reply_body, STR("the answer does not fit into memory"));
        }
    }
    render_head(r, content_type, extra, n_extra);
}

void http_reply_headers(struct http_request *r, int status, const char *content_type,
                        const struct http_header *extra, size_t n_extra, struct buf *body) {
    assert(r->status == 0 && "exactly one reply");
    fill_reply(r, status, content_type, extra, n_extra, body);
    http_send_to_loop(r);
}

void request_reply_stream(struct http_request *r, int status, const char *content_type) {
    assert(r->status == 0 && "exactly one reply");
    fill_reply(r, status, content_type, NULL, 0, NULL);
}

void http_reply(struct http_request *r, int status, const char *content_type, struct buf *body) {
    http_reply_headers(r, status, content_type, NULL, 0, body);
}

static const struct http_header nosniff = {"X-Content-Type-Options", "nosniff"};

void http_reply_error(struct http_request *r, int status, struct str text) {
    struct buf body = buf_make(text.size + 1);
    buf_add_str(&body, text);
    http_reply_headers(r, status, "text/plain; charset=utf-8", &nosniff, 1, &body);
    buf_done(&body);
}

void request_refuse(struct http_request *r, int status, struct str text) {
    struct buf body = buf_make(text.size + 1);
    buf_add_str(&body, text);
    fill_reply(r, status, "text/plain; charset=utf-8", &nosniff, 1, &body);
    buf_done(&body);
}
