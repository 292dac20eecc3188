#include "flush_encode.h"

#include <stdlib.h>

enum { ENCODE_TOGETHER_FROM = 4 }; /* fewer are done before anybody comes */

/* Encodes what is due of a stream. */
static int encode_candidate(struct store *s, const struct candidate *c, struct block_encoder *e) {
    int r = 0;
    if (c->cut) {
        (void)pthread_mutex_lock(&c->stream->lock);
        size_t before = c->stream->n_sealed;
        r = head_cut(&s->registry, c->stream);
        if (r == 0 && c->stream->n_sealed > before)
            c->stream->sealed[before]->hurried = c->hurried;
        (void)pthread_mutex_unlock(&c->stream->lock);
    }
    return r == 0 ? head_seal(&s->registry, c->stream, e, c->cut) : r;
}

/* Whoever comes late finds no number left, and the list perhaps gone. */
struct encoding {
    struct store *store;
    struct candidate *list;
    size_t n;
    atomic_size_t next, n_done;
    atomic_int refs;
    pthread_mutex_t lock; /* guards nothing but the wait for n_done */
    pthread_cond_t all_done;
};

static void encoding_unref(struct encoding *e) {
    if (atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    (void)pthread_mutex_destroy(&e->lock);
    (void)pthread_cond_destroy(&e->all_done);
    free(e);
}

/* Until nothing is left, or so many bytes are done. */
static void encode_some(struct encoding *e, struct block_encoder *encoder, size_t bytes_max) {
    for (size_t i, bytes = 0; bytes < bytes_max && (i = atomic_fetch_add(&e->next, 1)) < e->n;) {
        bytes += e->list[i].open_bytes;
        e->list[i].status = encode_candidate(e->store, &e->list[i], encoder);
        if (atomic_fetch_add(&e->n_done, 1) + 1 < e->n)
            continue;
        (void)pthread_mutex_lock(&e->lock);
        (void)pthread_cond_signal(&e->all_done);
        (void)pthread_mutex_unlock(&e->lock);
    }
}

static void help_encoding(void *arg) {
    struct block_encoder *encoder = store_thread_encoder();
    if (encoder)
        encode_some(arg, encoder, SIZE_MAX);
    encoding_unref(arg);
}

/* What pushes may help with. */
static void offer(struct store *s, struct encoding *e) {
    if (e)
        (void)atomic_fetch_add(&e->refs, 1);
    (void)pthread_mutex_lock(&s->encoding_lock);
    struct encoding *before = s->encoding;
    s->encoding = e;
    (void)pthread_mutex_unlock(&s->encoding_lock);
    if (before)
        encoding_unref(before);
}

void flush_help(struct store *s, size_t bytes) {
    (void)pthread_mutex_lock(&s->encoding_lock);
    struct encoding *e = s->encoding;
    if (e)
        (void)atomic_fetch_add(&e->refs, 1);
    (void)pthread_mutex_unlock(&s->encoding_lock);
    if (!e)
        return;
    struct block_encoder *encoder = store_thread_encoder();
    if (encoder)
        encode_some(e, encoder, bytes);
    encoding_unref(e);
}

void flush_encode(struct store *s, struct candidate *list, size_t n) {
    struct encoding *e = n >= ENCODE_TOGETHER_FROM ? calloc(1, sizeof(*e)) : NULL;
    if (!e) {
        for (size_t i = 0; i < n; i++)
            list[i].status = encode_candidate(s, &list[i], s->encoder);
        return;
    }
    *e = (struct encoding){.store = s, .list = list, .n = n};
    atomic_init(&e->refs, 1);
    (void)pthread_mutex_init(&e->lock, NULL);
    (void)pthread_cond_init(&e->all_done, NULL);
    for (unsigned i = 0; i < pool_threads(s->sealers); i++) {
        (void)atomic_fetch_add(&e->refs, 1);
        if (pool_submit_keyed(s->sealers, SEAL_FLUSH_LANE, help_encoding, e) < 0)
            encoding_unref(e);
    }
    offer(s, e);
    encode_some(e, s->encoder, SIZE_MAX);
    offer(s, NULL);
    (void)pthread_mutex_lock(&e->lock);
    while (atomic_load(&e->n_done) < n)
        (void)pthread_cond_wait(&e->all_done, &e->lock);
    (void)pthread_mutex_unlock(&e->lock);
    encoding_unref(e);
}
