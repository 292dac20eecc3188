/* store_append: a push goes into the WAL and into the heads of its streams, in one order; full heads are encoded. */
#include <errno.h>
#include <stdlib.h>

#include "flush_encode.h"
#include "store_private.h"
#include "walrec.h"

enum {
    /* With twice what it has brought, but half a millisecond long at most (or one block): the thread may be a network loop. It
     * is none for pushes of so many bytes, which help with as much as they have brought. */
    HELP_FACTOR = 2,
    HELP_BYTES_MAX = 64 << 10,
    HELP_LARGE = 512 << 10,
};

/* The answer to a push is given when its record is durable AND its entries are in the heads, so that a client
 * that has its 204 finds its lines. Whoever comes second calls. */
struct pending {
    atomic_int left;
    atomic_int status;
    wal_done *done;
    void *ctx;
};

static void pending_step(struct pending *p, int status) {
    if (status < 0)
        atomic_store(&p->status, status);
    if (atomic_fetch_sub(&p->left, 1) != 1)
        return;
    p->done(p->ctx, atomic_load(&p->status));
    free(p);
}

static void record_durable(void *ctx, int status) {
    pending_step(ctx, status);
}

struct seal_job {
    struct store *store;
    struct stream *stream; /* pinned */
};

static _Thread_local struct {
    struct block_encoder *encoder;
    struct walrec_writer writer;
} scratch;

/* Frees the calling thread's scratch when it ends. */
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_done(void *unused) {
    (void)unused;
    block_encoder_free(scratch.encoder);
    scratch.encoder = NULL;
    walrec_writer_done(&scratch.writer);
}

static void scratch_make_key(void) {
    (void)pthread_key_create(&scratch_key, scratch_done);
}

static void scratch_use(void) {
    (void)pthread_once(&scratch_once, scratch_make_key);
    (void)pthread_setspecific(scratch_key, &scratch);
}

struct block_encoder *store_thread_encoder(void) {
    scratch_use();
    if (!scratch.encoder)
        scratch.encoder = block_encoder_new();
    return scratch.encoder;
}

static void seal_now(struct store *s, struct stream *stream) {
    struct block_encoder *encoder = store_thread_encoder();
    /* Without memory the block stays raw; a later append or the flusher tries again. */
    if (encoder)
        (void)head_seal(&s->registry, stream, encoder, false);
}

static void run_seal_job(void *arg) {
    struct seal_job *job = arg;
    seal_now(job->store, job->stream);
    stream_unpin(job->stream);
    free(job);
}

bool store_seal_submit(struct store *s, struct stream *stream) {
    struct seal_job *job = malloc(sizeof(*job));
    if (!job)
        return false;
    *job = (struct seal_job){.store = s, .stream = stream};
    stream_pin(stream);
    if (pool_submit_keyed(s->sealers, SEAL_LANE, run_seal_job, job) == 0)
        return true;
    stream_unpin(stream);
    free(job);
    return false;
}

void store_seal_soon(struct store *s, struct stream *stream) {
    if (!store_seal_submit(s, stream))
        seal_now(s, stream);
}

static void seal_rest(void *store) {
    struct store *s = store;
    size_t count = 0;
    struct stream **list = registry_list_filled(&s->registry, &count);
    for (size_t i = 0; i < count; i++)
        seal_now(s, list[i]);
    if (list)
        registry_list_done(list, count);
    atomic_store(&s->replay_excess_bytes, 0);
}

void store_seal_rest(struct store *s) {
    if (pool_submit_keyed(s->sealers, SEAL_REST_LANE, seal_rest, s) < 0)
        atomic_store(&s->replay_excess_bytes, 0);
}

/* Under append_lock: the record into the WAL. Streams without a definition in the segment that the record goes
 * to get one. */
static int append_record(struct store *s, const struct batch *batch, struct walrec_writer *w,
                         bool *define, struct pending *pending, uint64_t *ret_lsn) {
    size_t definitions = 4 + 8;
    for (size_t i = 0; i < batch->n_streams; i++)
        definitions += batch->streams[i].stream->encoded.size +
                       batch->streams[i].stream->tenant->name.size + 30;
    /* Asked with the largest size that this record can have: if it fits, any smaller one goes to the same
     * segment. */
    uint64_t segment = wal_next_segment(s->wal, walrec_size(w) + definitions);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < batch->n_streams; i++)
            define[i] = batch->streams[i].stream->wal_segment != segment;
        int r = walrec_write_definitions(w, batch, define);
        if (r < 0)
            return r;
        uint64_t exact = wal_next_segment(s->wal, walrec_size(w));
        if (exact == segment || round == 1) {
            segment = exact;
            break;
        }
        segment = exact;
    }
    struct str payload[WALREC_PARTS];
    walrec_payload(w, payload);
    int r = wal_append_parts(s->wal, w->type, w->codec, w->raw_size, payload, WALREC_PARTS,
                             record_durable, pending, ret_lsn);
    if (r < 0)
        return r;
    for (size_t i = 0; i < batch->n_streams; i++)
        batch->streams[i].stream->wal_segment = *ret_lsn >> 32;
    return 0;
}

static int append_locked(struct store *s, const struct batch *batch, struct walrec_writer *w,
                         bool *flags, struct pending *pending) {
    uint64_t lsn = 0;
    (void)pthread_mutex_lock(&s->append_lock);
    int r = append_record(s, batch, w, flags, pending, &lsn);
    bool followed = atomic_load_explicit(&s->taps.count, memory_order_relaxed) > 0;
    if (r == 0)
        for (size_t i = 0; i < batch->n_streams; i++) {
            const struct batch_stream *b = &batch->streams[i];
            const struct tap_route *route = followed ? tap_route_find(&s->taps, b->stream) : NULL;
            int status =
                head_append(&s->registry, b->stream, b->entries, b->count, lsn, route, &flags[i]);
            if (status <
                0) /* durable in the WAL, but not visible before a restart: the client retries */
                atomic_store(&pending->status, status);
        }
    (void)pthread_mutex_unlock(&s->append_lock);
    return r;
}

/* Pushes that come faster than flushes may use twice the budget, but not what queries need to work at all. */
static bool heads_are_full(const struct store *s) {
    uint64_t heads = atomic_load(&s->registry.head_bytes), budget = store_head_budget(s);
    uint64_t limit = budget_limit();
    if (heads > 2 * budget + atomic_load(&s->replay_excess_bytes))
        return true;
    return heads > budget && limit > 0 && budget_used(BUDGET_NONE) > limit / 4 * 3;
}

/* Packing costs 1.3 CPU-seconds per GB and makes records a third as large: for disks that need that, and for a WAL
 * that grows though its oldest entries are being flushed. (One that packs before flushing begins packs a half of all that
 * comes: at its maximum is where the WAL spends its time under load.) */
static bool must_pack(struct store *s) {
    if (s->options.wal_compress)
        return true;
    struct wal_stats w;
    wal_get_stats(s->wal, &w);
    return !w.keeps_up || w.bytes > store_wal_max(s) / 4 * 5;
}

/* Wakes the flusher when heads come near their budget, and helps it when they are over it. */
static void relieve(struct store *s, size_t bytes) {
    uint64_t heads = atomic_load(&s->registry.head_bytes);
    if (heads <= store_head_pressure(s))
        return;
    flush_wake(s);
    if (heads <= store_head_budget(s))
        return;
    if (bytes < HELP_LARGE)
        bytes = HELP_FACTOR * bytes < HELP_BYTES_MAX ? HELP_FACTOR * bytes : HELP_BYTES_MAX;
    flush_help(s, bytes);
}

int store_append(struct store *s, const struct batch *batch, wal_done *done, void *ctx,
                 struct err *reterr) {
    if (heads_are_full(s)) {
        flush_wake(s);
        return err_set(
            reterr, -EBUSYNOW,
            "memory for heads is used up (logq.head_budget is %llu bytes): the disk does "
            "not keep up, try again",
            (unsigned long long)store_head_budget(s));
    }
    scratch_use();
    struct walrec_writer *w = &scratch.writer;
    bool *flags = calloc(batch->n_streams + 1, sizeof(*flags));
    struct pending *pending = calloc(1, sizeof(*pending));
    size_t bytes = batch_line_bytes(batch);
    int r = flags && pending ? walrec_write_data(w, batch, bytes, must_pack(s)) : -ENOMEM;
    if (r == 0) {
        atomic_init(&pending->left, 2);
        pending->done = done;
        pending->ctx = ctx;
        r = append_locked(s, batch, w, flags, pending);
    }
    if (r < 0) {
        free(pending);
        free(flags);
        walrec_writer_trim(w);
        struct err why = {0};
        bool told = (r == -EIO || r == -ENOSPC) && store_writable(s, &why) < 0;
        return err_set(reterr, r, "cannot append to the WAL: %s", told ? why.text : err_name(r));
    }
    pending_step(pending, 0);
    for (size_t i = 0; i < batch->n_streams; i++)
        if (flags[i])
            store_seal_soon(s, batch->streams[i].stream);
    free(flags);
    walrec_writer_trim(w);
    relieve(s, bytes);
    return 0;
}

int store_writable(struct store *s, struct err *reterr) {
    if (!s->wal)
        return err_set(reterr, -EROFS, "opened read-only");
    struct wal_stats w;
    wal_get_stats(s->wal, &w);
    if (w.failed == 0)
        return 0;
    return err_set(reterr, w.failed, "%s", w.failed_text[0] ? w.failed_text : err_name(w.failed));
}
