/* reap: removing chunk files that the index no longer knows: at once when nobody reads, else when the snapshots
 * that may need them have ended; and files that a crash left behind. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "io.h"
#include "snapshot.h"

void store_delete_chunk_file(struct store *s, struct str tenant, int32_t day, uint64_t stream_id,
                             uint64_t chunk_seq) {
    char path[CHUNK_PATH_MAX];
    if (chunk_path(path, tenant, day, stream_id, chunk_seq) < 0)
        return;
    size_t size = strlen(path) + 1;
    struct doomed *d = malloc(sizeof(*d) + size);
    if (!d)
        return; /* the orphan sweep will find the file */
    memcpy(d->path, path, size);
    d->stream_id = stream_id;
    d->chunk_seq = chunk_seq;
    (void)pthread_mutex_lock(&s->snap_lock);
    d->at_clock = s->clock++;
    d->next = s->doomed;
    s->doomed = d;
    (void)pthread_mutex_unlock(&s->snap_lock);
    chunk_cache_forget(s->cache, stream_id, chunk_seq);
}

/* Takes out the files that no running snapshot can need. snap_lock held. */
static struct doomed *take_ready(struct store *s, size_t *ret_waiting) {
    uint64_t oldest = UINT64_MAX;
    for (const struct snapshot *p = s->snapshots; p; p = p->next)
        if (p->clock < oldest)
            oldest = p->clock;
    struct doomed *ready = NULL;
    size_t waiting = 0;
    for (struct doomed **at = &s->doomed; *at;) {
        struct doomed *d = *at;
        if (d->at_clock < oldest) {
            *at = d->next;
            d->next = ready;
            ready = d;
        } else {
            waiting++;
            at = &d->next;
        }
    }
    *ret_waiting = waiting;
    return ready;
}

/* The day's folder goes with its last chunk; a tenant's folder stays. */
static void remove_empty_folder(struct store *s, const char *path) {
    char folder[CHUNK_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n == 0 || n >= sizeof(folder))
        return;
    memcpy(folder, path, n);
    folder[n] = '\0';
    (void)io_rmdir(s->dir_fd, folder); /* fails while other chunks are there */
}

bool store_wal_reaches(struct store *s, uint64_t flushed_lsn) {
    struct wal_stats w = {0};
    if (!s->wal)
        return true;
    wal_get_stats(s->wal, &w);
    return flushed_lsn >= w.oldest_lsn;
}

size_t store_reap(struct store *s) {
    size_t waiting;
    (void)pthread_mutex_lock(&s->snap_lock);
    struct doomed *d = take_ready(s, &waiting);
    (void)pthread_mutex_unlock(&s->snap_lock);
    while (d) {
        struct doomed *next = d->next;
        /* Again: a snapshot that began before the deletion may have opened it since, and the map of a cached tail
         * would keep the file's space. */
        chunk_cache_forget(s->cache, d->stream_id, d->chunk_seq);
        (void)io_unlink(s->dir_fd, d->path);
        remove_empty_folder(s, d->path);
        free(d);
        d = next;
    }
    return waiting;
}

/* ---- orphans */

struct sweep {
    struct store *store;
    uint64_t first_new_seq; /* files of this process's own flushes are not orphans */
    struct arena arena;
    uint64_t *known; /* sorted chunk numbers of the index */
    size_t n_known, known_capacity;
    char path[CHUNK_PATH_MAX];
    int64_t removed;
};

static int note_known(const struct index_chunk *c, void *ctx) {
    struct sweep *w = ctx;
    if (w->n_known == w->known_capacity) {
        size_t capacity = w->known_capacity ? w->known_capacity * 2 : 1024;
        uint64_t *known = realloc(w->known, sizeof(*known) * capacity);
        if (!known)
            return -ENOMEM;
        w->known = known;
        w->known_capacity = capacity;
    }
    w->known[w->n_known++] = c->chunk_seq;
    return 0;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* <stream>-<seq>.chunk or .chunk.tmp, both numbers in hex. */
static bool parse_name(const char *name, uint64_t *ret_seq) {
    unsigned long long stream, seq;
    int at = 0;
    if (sscanf(name, "%16llx-%16llx.chunk%n", &stream, &seq, &at) != 2 || at == 0)
        return false;
    *ret_seq = seq;
    return name[at] == '\0' || strcmp(name + at, ".tmp") == 0;
}

/* Its row has gone, but a snapshot may need it: it is not forgotten, store_reap takes it. */
static bool is_doomed(struct store *s, uint64_t seq) {
    (void)pthread_mutex_lock(&s->snap_lock);
    const struct doomed *d = s->doomed;
    while (d && d->chunk_seq != seq)
        d = d->next;
    (void)pthread_mutex_unlock(&s->snap_lock);
    return d != NULL;
}

static int sweep_file(const char *name, bool is_dir, void *ctx) {
    struct sweep *w = ctx;
    uint64_t seq;
    if (is_dir || !parse_name(name, &seq) || seq >= w->first_new_seq)
        return 0;
    bool temporary = str_ends(str_from(name), STR(".tmp"));
    if (!temporary &&
        (bsearch(&seq, w->known, w->n_known, sizeof(seq), compare_u64) || is_doomed(w->store, seq)))
        return 0;
    char path[2 * CHUNK_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", w->path, name);
    int r = io_unlink(w->store->dir_fd, path);
    if (r == 0) {
        w->removed++;
        store_log(w->store, LOG_LEVEL_INFO, "removed a chunk file that the index does not know",
                  "file=%s", path);
    }
    return 0;
}

static int sweep_day(const char *name, bool is_dir, void *ctx) {
    struct sweep *w = ctx;
    size_t size = strlen(w->path);
    if (!is_dir || (size_t)snprintf(w->path + size, sizeof(w->path) - size, "/%s", name) >=
                       sizeof(w->path) - size)
        return 0;
    int r = io_list(w->store->dir_fd, w->path, sweep_file, w);
    (void)io_rmdir(w->store->dir_fd, w->path);
    w->path[size] = '\0';
    return r;
}

static int sweep_tenant(const char *name, bool is_dir, void *ctx) {
    struct sweep *w = ctx;
    if (!is_dir)
        return 0;
    (void)snprintf(w->path, sizeof(w->path), "chunks/%s", name);
    return io_list(w->store->dir_fd, w->path, sweep_day, w);
}

int64_t store_sweep_orphans(struct store *s, struct err *reterr) {
    struct sweep w = {.store = s, .arena = arena_make(64 << 20)};
    struct str *tenants;
    size_t n_tenants;
    w.first_new_seq = s->first_chunk_seq;
    (void)pthread_mutex_lock(&s->flush_lock); /* no group is between rename and commit */
    int r = index_tenants(s->index, &w.arena, &tenants, &n_tenants);
    for (size_t i = 0; i < n_tenants && r == 0; i++)
        r = index_walk_chunks(s->index, tenants[i], note_known, &w, reterr);
    (void)pthread_mutex_unlock(&s->flush_lock);
    if (r == 0) {
        if (w.n_known > 0)
            qsort(w.known, w.n_known, sizeof(*w.known), compare_u64);
        r = io_list(s->dir_fd, "chunks", sweep_tenant, &w);
    }
    free(w.known);
    arena_done(&w.arena);
    if (r < 0)
        return err_set(reterr, r, "cannot sweep chunk files: %s", err_name(r));
    return w.removed;
}
