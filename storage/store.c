/* store: opening and closing, streams, what is told of the whole. The directory and its index are opened in
 * store_directory.c, the WAL is replayed in store_replay.c, pushes are appended in store_append.c; flushing is in flush.c,
 * snapshots in snapshot.c.
 *
 * Crash states and what the next start does:
 *   1. A record is torn at the WAL's end: it was never acknowledged; replay stops before it.
 *   2. Records in the WAL, entries not in chunk files: replayed into heads.
 *   3. Chunk files written, not renamed (.tmp): removed by the orphan sweep; the WAL still has the entries.
 *   4. Chunk files renamed, index not committed: the index does not know them, so nobody reads them; removed
 *      by the orphan sweep; the WAL still has the entries.
 *   5. Index committed, WAL segments still there: the stream's flushed position, committed in the same
 *      transaction, makes replay skip what the chunk files hold.
 *   6. Segments removed: done. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "io.h"
#include "sieve_cache.h"
#include "stock.h"
#include "store_private.h"
#include "units.h"

enum {
    HEAD_BUDGET_DEFAULT = 128 << 20,
    HEAD_BUDGET_LEAST = 8 << 20, /* whatever else holds memory */
    STOCK_SHARE = 4,             /* of the head budget is kept for the next heads */
    SIEVES_SHARE = 8,   /* of the chunk cache's budget, besides it: tables of open sieves */
    PRESSURE_SHARE = 5, /* of the budget: kept free for what comes while heads are flushed */
    CHUNK_CACHE_DEFAULT = 256 << 20,
    ARENA_MAX = 1 << 30,
};
#define WAL_MAX_DEFAULT (UINT64_C(512) << 20)

/* Less when bodies, queries and label sets leave less: heads are what can be made smaller at once. */
uint64_t store_head_budget(const struct store *s) {
    uint64_t own =
        s->options.head_budget_bytes ? s->options.head_budget_bytes : HEAD_BUDGET_DEFAULT;
    uint64_t limit = budget_limit(), least = own < HEAD_BUDGET_LEAST ? own : HEAD_BUDGET_LEAST;
    if (limit == 0)
        return own;
    uint64_t all = budget_used(BUDGET_NONE), heads = budget_used(BUDGET_HEADS);
    uint64_t others = all > heads ? all - heads : 0; /* two looks, not one moment */
    uint64_t room = limit / 10 * 9 > others ? limit / 10 * 9 - others : 0;
    return own < room ? own : room > least ? room : least;
}

uint64_t store_head_pressure(const struct store *s) {
    uint64_t budget = store_head_budget(s);
    return budget - budget / PRESSURE_SHARE;
}

uint64_t store_wal_max(const struct store *s) {
    return s->options.wal_max_bytes ? s->options.wal_max_bytes : WAL_MAX_DEFAULT;
}

void store_log(const struct store *s, int level, const char *msg, const char *format, ...) {
    if (!s->options.log)
        return;
    char pairs[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(pairs, sizeof(pairs), format, args);
    va_end(args);
    s->options.log(level, msg, pairs);
}

/* ---- opening and closing */

static int open_wal(struct store *s, struct err *reterr) {
    s->wal_dir_fd = io_open(s->dir_fd, "wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->wal_dir_fd < 0)
        return err_set(reterr, s->wal_dir_fd, "cannot open %s/wal: %s", s->options.data_dir,
                       err_name(s->wal_dir_fd));
    struct wal_options o = s->options.wal;
    uint64_t next_segment = 0;
    int r = index_counter(s->index, STORE_COUNTER_SEGMENT, &next_segment);
    if (r < 0)
        return err_set(reterr, r, "cannot read the index's counters: %s", err_name(r));
    if (o.first_segment < next_segment)
        o.first_segment = next_segment;
    o.last_segment = s->wal_found.last_segment;
    o.last_used_bytes = s->wal_found.last_used_bytes;
    return wal_open(s->wal_dir_fd, &o, &s->wal, reterr);
}

static int init_memory(struct store *s) {
    (void)pthread_mutex_init(&s->append_lock, NULL);
    (void)pthread_mutex_init(&s->index_lock, NULL);
    (void)pthread_mutex_init(&s->flush_lock, NULL);
    (void)pthread_mutex_init(&s->wake_lock, NULL);
    (void)pthread_mutex_init(&s->encoding_lock, NULL);
    (void)pthread_mutex_init(&s->snap_lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->wake_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (registry_init(&s->registry) < 0)
        return -ENOMEM;
    s->registry.effort = s->options.effort;
    stock_limit(store_head_budget(s) / STOCK_SHARE);
    s->registry.no_patterns = s->options.no_patterns;
    s->encoder = block_encoder_new();
    unsigned threads = s->options.seal_threads ? s->options.seal_threads : 1;
    s->sealers = s->options.read_only ? NULL : pool_new("logq-seal", threads, 2 * SEAL_QUEUE_MAX);
    return s->encoder && (s->sealers || s->options.read_only) ? 0 : -ENOMEM;
}

static void release(struct store *s) {
    pool_free(s->sealers);
    wal_close(s->wal);
    index_close(s->index);
    chunk_cache_free(s->cache);
    sieve_cache_free(s->sieves.cache);
    registry_done(&s->registry);
    block_encoder_free(s->encoder);
    store_forget_thinned(s);
    for (struct doomed *d = s->doomed; d;) {
        struct doomed *next = d->next;
        free(d);
        d = next;
    }
    if (s->wal_dir_fd >= 0)
        io_close(s->wal_dir_fd);
    if (s->lock_fd >= 0)
        io_close(s->lock_fd);
    if (s->dir_fd >= 0)
        io_close(s->dir_fd);
    (void)pthread_mutex_destroy(&s->append_lock);
    (void)pthread_mutex_destroy(&s->index_lock);
    (void)pthread_mutex_destroy(&s->flush_lock);
    (void)pthread_mutex_destroy(&s->wake_lock);
    (void)pthread_mutex_destroy(&s->encoding_lock);
    (void)pthread_mutex_destroy(&s->snap_lock);
    (void)pthread_cond_destroy(&s->wake_cond);
    free((char *)s->options.data_dir);
    free(s);
}

int store_open(const struct store_options *o, struct store **ret, struct err *reterr) {
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(reterr, -ENOMEM, "no memory");
    s->options = *o;
    s->dir_fd = s->lock_fd = s->wal_dir_fd = -1;
    s->options.data_dir = strdup(o->data_dir);
    int r = s->options.data_dir ? init_memory(s) : -ENOMEM;
    if (r < 0) {
        (void)err_set(reterr, r, "no memory");
        goto fail;
    }
    r = store_open_directory(s, reterr);
    if (r < 0)
        goto fail;
    if (!o->read_only)
        reserve_init(&s->reserve, s->dir_fd, o->reserve_bytes);
    r = store_open_index(s, reterr);
    if (r < 0)
        goto fail;
    uint64_t cache_bytes = o->chunk_cache_bytes ? o->chunk_cache_bytes : CHUNK_CACHE_DEFAULT;
    s->cache = chunk_cache_new(s->dir_fd, cache_bytes);
    s->sieves.cache = sieve_cache_new(cache_bytes / SIEVES_SHARE);
    if (!s->cache || !s->sieves.cache) {
        r = err_set(reterr, -ENOMEM, "no memory");
        goto fail;
    }
    r = store_replay(s, reterr);
    if (r < 0)
        goto fail;
    if (!o->read_only) {
        r = open_wal(s, reterr);
        if (r < 0)
            goto fail;
        r = -pthread_create(&s->flusher, NULL, flush_thread, s);
        if (r < 0) {
            (void)err_set(reterr, r, "cannot start the flush thread: %s", err_name(r));
            goto fail;
        }
        s->flusher_runs = true;
    }
    *ret = s;
    return 0;
fail:
    release(s);
    return r;
}

void store_close(struct store *s) {
    if (!s)
        return;
    if (s->flusher_runs) {
        (void)pthread_mutex_lock(&s->wake_lock);
        s->stop = true;
        (void)pthread_cond_signal(&s->wake_cond);
        (void)pthread_mutex_unlock(&s->wake_lock);
        (void)pthread_join(s->flusher, NULL);
        struct err err = {0};
        if (store_flush(s, &err) < 0)
            store_log(s, LOG_LEVEL_ERROR, "last flush failed; the WAL keeps the entries",
                      "error=\"%s\"", err.text);
        (void)store_reap(s);
    }
    release(s);
}

/* ---- streams */

struct stream *store_stream_by_text(struct store *s, struct str tenant, struct str text) {
    return registry_find_text(&s->registry, tenant, text);
}

int store_find_or_add(struct store *s, struct str tenant, struct labels labels, struct stream **ret,
                      struct err *reterr) {
    struct stream *found = registry_find(&s->registry, tenant, labels);
    if (found) {
        *ret = found;
        return 0;
    }
    struct arena arena = arena_make(ARENA_MAX);
    struct index_stream row;
    struct stream_identity identity = {.first_ns = INT64_MAX, .last_ns = INT64_MIN};
    int r = index_find_stream(s->index, tenant, labels, &arena, &row);
    if (r == 0)
        identity = (struct stream_identity){
            .id = row.id,
            .indexed = true,
            .flushed = {.lsn = row.flushed_lsn, .index = row.flushed_index},
            .first_ns = row.first_ns,
            .last_ns = row.last_ns,
        };
    arena_done(&arena);
    if (r < 0 && r != -ENOENT)
        return err_set(reterr, r, "cannot read the index: %s", err_name(r));
    r = registry_add(&s->registry, tenant, labels, &identity, ret);
    return r < 0 ? err_set(reterr, r, "no memory for a new stream") : 0;
}

int store_stream(struct store *s, struct str tenant, struct labels labels, struct str text,
                 struct stream **ret, struct err *reterr) {
    int r = store_find_or_add(s, tenant, labels, ret, reterr);
    if (r == 0 && text.size > 0)
        registry_add_text(&s->registry, *ret, text);
    return r;
}

uint64_t store_active_streams(struct store *s, struct str tenant) {
    (void)pthread_rwlock_rdlock(&s->registry.lock);
    const struct tenant *t = map_get(&s->registry.tenants, tenant);
    uint64_t count = t ? t->by_labels.count : 0;
    (void)pthread_rwlock_unlock(&s->registry.lock);
    return count;
}

bool store_has_active_stream(struct store *s, struct str tenant, struct labels labels) {
    struct stream *stream = registry_find(&s->registry, tenant, labels);
    if (stream)
        stream_unpin(stream);
    return stream != NULL;
}

void store_unpin(struct store *s, struct stream *stream) {
    (void)s;
    stream_unpin(stream);
}

void store_forget_texts(struct store *s) {
    registry_forget_texts(&s->registry);
}

struct labels stream_labels(const struct stream *stream) {
    return stream->labels;
}

uint64_t stream_id(const struct stream *stream) {
    return stream->id;
}

bool store_stream_active(struct store *s, uint64_t id) {
    struct stream *stream = registry_find_id(&s->registry, id);
    if (stream)
        stream_unpin(stream);
    return stream != NULL;
}

/* ---- small things */

void store_set_visibility(struct store *s, store_visible_fn *fn, void *ctx) {
    atomic_store(&s->visible_ctx, ctx);
    atomic_store(&s->visible, fn);
}

void store_set_eraser(struct store *s, const struct eraser *e) {
    atomic_store(&s->eraser, e);
}

struct index *store_index(struct store *s) {
    return s->index;
}

int store_dir_fd(struct store *s) {
    return s->dir_fd;
}

int store_tenants(struct store *s, struct arena *arena, struct str **ret, size_t *ret_count) {
    struct str *indexed;
    size_t n_indexed;
    int r = index_tenants(s->index, arena, &indexed, &n_indexed);
    if (r < 0)
        return r;
    (void)pthread_rwlock_rdlock(&s->registry.lock);
    size_t max = n_indexed + s->registry.tenants.count;
    struct str *all = arena_array(arena, max, sizeof(*all));
    size_t n = 0, at = 0;
    struct str key;
    void *value;
    for (; all && n < n_indexed; n++)
        all[n] = indexed[n];
    while (all && map_next(&s->registry.tenants, &at, &key, &value)) {
        bool known = false;
        for (size_t i = 0; i < n_indexed && !known; i++)
            known = str_eq(indexed[i], key);
        if (!known)
            all[n++] = arena_copy(arena, key);
    }
    (void)pthread_rwlock_unlock(&s->registry.lock);
    if (!all)
        return -ENOMEM;
    *ret = all;
    *ret_count = n;
    return 0;
}

static int index_update(struct store *s,
                        int (*fn)(struct index_txn *t, void *ctx, struct err *reterr), void *ctx,
                        struct err *reterr) {
    struct index_txn *t = NULL;
    int r = index_begin(s->index, &t, reterr);
    if (r < 0)
        return r;
    r = fn(t, ctx, reterr);
    if (r == 0)
        return index_commit(t, reterr);
    index_abort(t);
    return r;
}

int store_index_update(struct store *s,
                       int (*fn)(struct index_txn *t, void *ctx, struct err *reterr), void *ctx,
                       struct err *reterr) {
    (void)pthread_mutex_lock(&s->index_lock);
    int r = index_update(s, fn, ctx, reterr);
    if (r == -ENOSPC && reserve_release(&s->reserve)) {
        store_log(s, LOG_LEVEL_WARN, "the disk is full: the reserve is used for the index", "%s",
                  "");
        r = index_update(s, fn, ctx, reterr);
    }
    (void)pthread_mutex_unlock(&s->index_lock);
    return r;
}

void store_refill_reserve(struct store *s) {
    (void)pthread_mutex_lock(&s->index_lock);
    reserve_refill(&s->reserve);
    (void)pthread_mutex_unlock(&s->index_lock);
}

void store_get_stats(struct store *s, struct store_stats *ret) {
    *ret = (struct store_stats){0};
    size_t n = 0;
    struct stream **list = registry_list_filled(&s->registry, &n);
    ret->streams_in_memory = registry_count(&s->registry);
    for (size_t i = 0; list && i < n; i++) {
        (void)pthread_mutex_lock(&list[i]->lock);
        ret->open_entries += list[i]->open.count;
        ret->sealed_blocks += list[i]->n_sealed;
        ret->sealed_bytes += list[i]->sealed_bytes;
        (void)pthread_mutex_unlock(&list[i]->lock);
    }
    registry_list_done(list, n);
    ret->head_bytes = atomic_load(&s->registry.head_bytes);
    ret->head_budget_bytes = store_head_budget(s);
    ret->appended_entries = atomic_load(&s->registry.appended);
    ret->appended_bytes = atomic_load(&s->registry.appended_bytes);
    ret->duplicate_entries = atomic_load(&s->registry.duplicates);
    ret->flushes = atomic_load(&s->flushes);
    ret->flushed_chunks = atomic_load(&s->flushed_chunks);
    ret->flushed_bytes = atomic_load(&s->flushed_bytes);
    ret->flush_ns_total = atomic_load(&s->flush_ns_total);
    ret->flush_failures = atomic_load(&s->flush_failures);
    ret->replayed_entries = s->replayed_entries;
    ret->replay_ns = s->replay_ns;
    ret->lost_wal_bytes = s->wal_found.lost_bytes;
    ret->sieve_queries = atomic_load(&s->sieves.asked);
    ret->sieve_chunks_skipped = atomic_load(&s->sieves.chunks_skipped);
    ret->sieves_damaged = atomic_load(&s->sieves.damaged);
    chunk_cache_stats(s->cache, &ret->chunk_cache_bytes, &ret->chunk_cache_count);
    chunk_cache_shelf_stats(s->cache, &ret->shelved_bytes, &ret->shelved_blocks);
    if (s->wal)
        wal_get_stats(s->wal, &ret->wal);
    (void)index_get_stats(s->index, &ret->index);
    (void)io_disk_space(s->dir_fd, &ret->disk_free_bytes, &ret->disk_total_bytes);
}
