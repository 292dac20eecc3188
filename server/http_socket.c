/* http_socket: connections that have been taken over by another protocol. The loop keeps reading
 * and writing; what the bytes mean is the owner's business. Senders on other threads put
 * finished buffers into the socket's list and wake the loop once for many. */
#include <errno.h>
#include <stdlib.h>

#include "http_internal.h"

struct socket_piece {
    struct socket_piece *next;
    struct buf bytes;
    size_t sent;
};

struct http_socket {
    atomic_int
        refs; /* the creator's, the loop's while the connection lives, one while in loop->ready */
    struct http_loop *loop;
    struct http_socket_hooks hooks;
    void *ctx;
    atomic_size_t queued;

    /* loop->lock */
    struct socket_piece *head, *tail; /* handed over, not yet looked at by the loop */
    struct http_socket *next_ready;
    bool in_ready;
    bool finish_wanted;

    /* Loop thread only. */
    struct conn *conn; /* NULL before the reply has been sent and after the end */
    struct socket_piece *writing_head, *writing_tail;
    bool finishing; /* nothing comes behind what is being written */
    bool over;      /* hooks.closed has been called */
    struct event timer;
    bool has_timer;
};

static void pieces_free(struct socket_piece *p) {
    while (p) {
        struct socket_piece *next = p->next;
        buf_done(&p->bytes);
        free(p);
        p = next;
    }
}

void http_socket_unref(struct http_socket *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    pieces_free(s->head);
    pieces_free(s->writing_head);
    free(s);
}

int http_upgrade(struct http_request *r, const struct http_header *extra, size_t n_extra,
                 const struct http_socket_hooks *hooks, void *ctx, struct http_socket **ret) {
    struct http_socket *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    atomic_init(&s->refs, 2);
    s->loop = r->loop;
    s->hooks = *hooks;
    s->ctx = ctx;
    r->socket = s;
    *ret = s;
    struct buf none = buf_make(1);
    http_reply_headers(r, 101, NULL, extra, n_extra, &none);
    return 0;
}

/* ---- any thread */

/* loop->lock is held. True when the loop must be woken. */
static bool make_ready(struct http_socket *s) {
    struct http_loop *loop = s->loop;
    if (s->in_ready)
        return false;
    s->in_ready = true;
    (void)atomic_fetch_add(&s->refs, 1);
    bool was_empty = loop->ready == NULL;
    s->next_ready = loop->ready;
    loop->ready = s;
    return was_empty;
}

void http_socket_send(struct http_socket *s, struct buf *bytes) {
    struct socket_piece *p = bytes->failed ? NULL : malloc(sizeof(*p));
    if (!p) {
        /* A message that cannot be sent must not be missing in silence. */
        buf_done(bytes);
        http_socket_finish(s);
        return;
    }
    *p = (struct socket_piece){.bytes = *bytes};
    *bytes = (struct buf){.max = bytes->max};
    (void)atomic_fetch_add(&s->queued, p->bytes.size);
    pthread_mutex_lock(&s->loop->lock);
    if (s->tail)
        s->tail->next = p;
    else
        s->head = p;
    s->tail = p;
    bool wake = make_ready(s);
    pthread_mutex_unlock(&s->loop->lock);
    if (wake)
        http_wake(s->loop);
}

void http_socket_finish(struct http_socket *s) {
    pthread_mutex_lock(&s->loop->lock);
    s->finish_wanted = true;
    bool wake = make_ready(s);
    pthread_mutex_unlock(&s->loop->lock);
    if (wake)
        http_wake(s->loop);
}

size_t http_socket_queued(const struct http_socket *s) {
    return atomic_load(&s->queued);
}

/* ---- loop thread */

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    struct http_socket *s = ctx;
    s->hooks.tick(s->ctx);
}

void socket_begin(struct http_socket *s, struct conn *c) {
    s->conn = c;
    if (s->hooks.tick_ms > 0) {
        const struct timeval every = {.tv_sec = s->hooks.tick_ms / 1000,
                                      .tv_usec = s->hooks.tick_ms % 1000 * 1000};
        (void)event_assign(&s->timer, s->loop->base, -1, EV_PERSIST, on_timer, s);
        s->has_timer = event_add(&s->timer, &every) == 0;
    }
}

void socket_end(struct http_socket *s) {
    if (s->over)
        return;
    s->over = true;
    s->conn = NULL;
    if (s->has_timer)
        (void)event_del(&s->timer);
    s->hooks.closed(s->ctx);
    http_socket_unref(s);
}

void socket_read(struct http_socket *s, struct str bytes) {
    s->hooks.read(s->ctx, bytes);
}

/* What others have handed over becomes the loop's. */
static void take_pieces(struct http_socket *s) {
    pthread_mutex_lock(&s->loop->lock);
    struct socket_piece *head = s->head, *tail = s->tail;
    s->head = s->tail = NULL;
    s->finishing = s->finish_wanted;
    pthread_mutex_unlock(&s->loop->lock);
    if (!head)
        return;
    if (s->writing_tail)
        s->writing_tail->next = head;
    else
        s->writing_head = head;
    s->writing_tail = tail;
}

int socket_write(struct http_socket *s, struct conn *c, bool *ret_progress, bool *ret_finished) {
    take_pieces(s);
    *ret_progress = false;
    *ret_finished = false;
    while (s->writing_head) {
        struct socket_piece *p = s->writing_head;
        size_t left = p->bytes.size - p->sent;
        ssize_t n = left ? conn_send(c, p->bytes.data + p->sent, left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
        *ret_progress = true;
        p->sent += (size_t)n;
        (void)atomic_fetch_sub(&s->queued, (size_t)n);
        if (p->sent < p->bytes.size)
            continue;
        s->writing_head = p->next;
        if (!s->writing_head)
            s->writing_tail = NULL;
        p->next = NULL;
        pieces_free(p);
    }
    *ret_finished = s->finishing;
    return 1;
}

void sockets_run_ready(struct http_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    struct http_socket *s = loop->ready;
    loop->ready = NULL;
    pthread_mutex_unlock(&loop->lock);
    while (s) {
        pthread_mutex_lock(&loop->lock);
        struct http_socket *next = s->next_ready;
        s->next_ready = NULL;
        s->in_ready = false;
        pthread_mutex_unlock(&loop->lock);
        if (s->conn)
            conn_socket_ready(s->conn);
        http_socket_unref(s);
        s = next;
    }
}
