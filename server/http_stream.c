/* http_stream: replies that are made piece by piece as the client takes them. One piece waits
 * while another is being sent; a client that reads slowly holds these two and no more, however
 * long its answer is. Pieces are made (and compressed) on threads of their own, which are never
 * kept busy for longer than a piece takes; the loop only sends. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "http_internal.h"

enum {
    PIECE_BYTES = 256 << 10, /* of a body in plain; what one call makes may go beyond */
    CHUNK_HEAD = 10,         /* "0000abcd\r\n": written before the size is known */
};

struct http_stream {
    struct http_loop *loop;
    struct http_body body;
    bool chunked, gzip;
    z_stream z;

    /* Whoever makes a piece: the handler's thread first, then one maker at a time. */
    struct buf raw;   /* gzip: made, not compressed yet */
    struct buf piece; /* made, not taken; the loop's while nobody makes one */
    bool ended;       /* nothing comes behind `piece` */
    bool failed;

    struct http_stream *next_made; /* loop->lock */

    /* Loop thread only. */
    struct conn *conn; /* NULL before the reply and after the end */
    bool making;
};

static void stream_free(struct http_stream *s) {
    s->body.done(s->body.ctx);
    (void)atomic_fetch_sub(&s->loop->server->held_bytes, s->body.held_bytes);
    if (s->gzip)
        (void)deflateEnd(&s->z);
    buf_done(&s->raw);
    buf_done(&s->piece);
    free(s);
}

/* ---- making */

/* Appends to `out` until it has a piece's size; false behind the body's last byte. */
static bool make_raw(const struct http_body *body, struct buf *out) {
    bool more = true;
    while (more && !out->failed && out->size < PIECE_BYTES)
        more = body->next(body->ctx, out);
    return more;
}

/* Compresses s->raw to the end of s->piece. */
static void pack(struct http_stream *s) {
    s->z.next_in = (Bytef *)s->raw.data;
    s->z.avail_in = (uInt)s->raw.size;
    int flush = s->ended ? Z_FINISH : Z_NO_FLUSH, r = Z_OK;
    do {
        if (buf_reserve(&s->piece, PIECE_BYTES / 4) < 0) {
            s->failed = true;
            return;
        }
        size_t room = s->piece.capacity - s->piece.size;
        s->z.next_out = (Bytef *)s->piece.data + s->piece.size;
        s->z.avail_out = (uInt)(room < UINT32_MAX ? room : UINT32_MAX);
        uInt before = s->z.avail_out;
        r = deflate(&s->z, flush);
        s->piece.size += before - s->z.avail_out;
    } while (r == Z_OK && s->z.avail_out == 0);
    s->failed = s->ended ? r != Z_STREAM_END : r != Z_OK && r != Z_BUF_ERROR;
    buf_clear(&s->raw);
}

static void add_chunk_head(struct http_stream *s) {
    if (s->chunked)
        buf_add_str(&s->piece, STR("00000000\r\n"));
}

/* Fills in the size of the chunk; one without content is left out: it would end the body. */
static void finish_chunk(struct http_stream *s) {
    if (!s->chunked)
        return;
    static const char digits[] = "0123456789abcdef";
    size_t size = s->piece.size - CHUNK_HEAD;
    assert(size <= UINT32_MAX);
    if (size == 0)
        buf_clear(&s->piece);
    for (int i = 0; i < 8 && size > 0; i++)
        s->piece.data[i] = digits[size >> (28 - 4 * i) & 15];
    if (size > 0)
        buf_add_str(&s->piece, STR("\r\n"));
    if (s->ended)
        buf_add_str(&s->piece, STR("0\r\n\r\n"));
}

/* Makes one piece that is not empty unless it is the last. What gzip holds back makes it want
 * more than one helping. */
static void make_piece(struct http_stream *s) {
    add_chunk_head(s);
    size_t empty = s->piece.size;
    while (!s->ended && !s->failed && s->piece.size == empty) {
        struct buf *out = s->gzip ? &s->raw : &s->piece;
        s->ended = !make_raw(&s->body, out);
        s->failed = out->failed;
        if (s->gzip && !s->failed)
            pack(s);
    }
    if (!s->failed)
        finish_chunk(s);
    s->failed = s->failed || s->piece.failed;
}

static void make(void *arg) {
    struct http_stream *s = arg;
    make_piece(s);
    struct http_loop *loop = s->loop;
    pthread_mutex_lock(&loop->lock);
    bool wake = loop->made == NULL;
    s->next_made = loop->made;
    loop->made = s;
    pthread_mutex_unlock(&loop->lock);
    if (wake)
        http_wake(loop);
}

/* ---- the reply */

/* False when too much is being held already. One is always let through. */
static bool charge(struct http_server *s, size_t bytes) {
    size_t before = atomic_fetch_add(&s->held_bytes, bytes);
    if (before == 0 || before + bytes <= s->options.replies_max)
        return true;
    (void)atomic_fetch_sub(&s->held_bytes, bytes);
    return false;
}

static struct http_stream *stream_new(struct http_request *r, const struct http_body *body,
                                      struct buf *first) {
    struct http_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = r->loop;
    s->body = *body;
    s->raw = s->piece = buf_make(HTTP_REPLY_MAX);
    s->chunked = r->head.minor > 0;
    s->gzip = http_accepts_gzip(http_request_header(r, "Accept-Encoding")) &&
              deflateInit2(&s->z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    add_chunk_head(s);
    if (s->gzip) {
        s->raw = *first;
        *first = (struct buf){0};
        pack(s);
        /* Nothing came out yet: the loop asks for the next piece. */
    } else {
        buf_add_str(&s->piece, buf_str(first));
    }
    if (!s->failed)
        finish_chunk(s);
    s->failed = s->failed || s->piece.failed;
    return s;
}

bool stream_is_packed(const struct http_stream *s) {
    return s->gzip;
}

/* A caller in this process takes the pieces itself; what it leaves is the reply. */
static void reply_here(struct http_request *r, int status, const char *content_type,
                       const struct http_body *body) {
    struct http_server *s = r->loop->server;
    struct buf piece = buf_make(HTTP_REPLY_MAX);
    bool more = true;
    while (more) {
        more = body->next(body->ctx, &piece) && !piece.failed;
        more = s->take_piece(s->take_ctx, status, &piece) && more;
    }
    body->done(body->ctx);
    http_reply(r, status, content_type, &piece);
    buf_done(&piece);
}

void http_reply_body(struct http_request *r, int status, const char *content_type,
                     const struct http_body *body) {
    if (r->loop->server->take_piece) {
        reply_here(r, status, content_type, body);
        return;
    }
    struct buf first = buf_make(HTTP_REPLY_MAX);
    bool more = make_raw(body, &first) && !first.failed;
    if (more && !charge(r->loop->server, body->held_bytes)) {
        body->done(body->ctx);
        buf_done(&first);
        http_count_refusal(r->loop->server, HTTP_REFUSED_REPLIES);
        http_reply_error(r, 503, STR("too many long answers are being read at once, try again\n"));
        return;
    }
    if (more) {
        r->stream = stream_new(r, body, &first);
        first.failed = !r->stream;
        if (!r->stream)
            (void)atomic_fetch_sub(&r->loop->server->held_bytes, body->held_bytes);
    }
    if (!r->stream)
        body->done(body->ctx);
    if (r->stream && r->head.method == HTTP_HEAD) {
        struct http_stream *s = r->stream;
        request_reply_stream(r, status, content_type);
        r->stream = NULL;
        stream_free(s);
        http_send_to_loop(r);
    } else if (r->stream) {
        request_reply_stream(r, status, content_type);
        http_send_to_loop(r);
    } else {
        http_reply(r, status, content_type, &first);
    }
    buf_done(&first);
}

/* ---- bodies that are made already */

struct made {
    struct buf bytes;
    size_t sent;
};

static bool made_next(void *ctx, struct buf *out) {
    struct made *m = ctx;
    size_t left = m->bytes.size - m->sent;
    size_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
    buf_add(out, m->bytes.data + m->sent, n);
    m->sent += n;
    return m->sent < m->bytes.size;
}

static void made_done(void *ctx) {
    struct made *m = ctx;
    buf_done(&m->bytes);
    free(m);
}

void http_reply_long(struct http_request *r, int status, const char *content_type,
                     struct buf *body) {
    struct made *m = body->failed || body->size <= PIECE_BYTES ? NULL : calloc(1, sizeof(*m));
    if (!m) {
        http_reply(r, status, content_type, body);
        return;
    }
    m->bytes = *body;
    *body = (struct buf){.max = body->max};
    const struct http_body made = {made_next, made_done, m, m->bytes.size};
    http_reply_body(r, status, content_type, &made);
}

/* ---- loop thread */

static void begin_making(struct http_stream *s) {
    if (s->ended || s->failed)
        return;
    s->making = true;
    if (pool_submit(s->loop->server->body_pool, make, s) == 0)
        return;
    make_piece(s); /* too many at once: a piece takes a millisecond or two */
    s->making = false;
}

void stream_begin(struct http_stream *s, struct conn *c) {
    s->conn = c;
}

void stream_end(struct http_stream *s) {
    s->conn = NULL;
    if (!s->making)
        stream_free(s);
}

int stream_take(struct http_stream *s, struct buf *ret) {
    if (s->making)
        return 0;
    if (s->failed)
        return -EIO;
    if (s->piece.size == 0 && s->ended)
        return -ENODATA;
    if (s->piece.size == 0) {
        begin_making(s);
        return s->making ? 0 : stream_take(s, ret);
    }
    *ret = s->piece;
    s->piece = buf_make(HTTP_REPLY_MAX);
    begin_making(s);
    return 1;
}

void streams_run_made(struct http_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    struct http_stream *s = loop->made;
    loop->made = NULL;
    pthread_mutex_unlock(&loop->lock);
    while (s) {
        struct http_stream *next = s->next_made;
        s->making = false;
        if (s->conn)
            conn_stream_ready(s->conn);
        else
            stream_free(s);
        s = next;
    }
}
