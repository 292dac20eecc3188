/* reap: removing chunk files that the index no longer knows: at once when nobody reads, else when the snapshots
 * that may need them have ended; and files that a crash left behind. A pack of which a member has gone is looked at: when
 * no row of the index names it any more, it goes the same way. Before any of this, what must not come back is noted
 * (positions.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "io.h"
#include "numbers.h"
#include "pack.h"
#include "positions.h"
#include "sieve.h"
#include "snapshot.h"

enum { POSITION_ARENA_MAX = 64 << 20 }; /* a stream's row */

/* The file goes when no running snapshot needs it. Without memory the orphan sweep will find it. */
static void doom(struct store *s, const char *path, uint64_t stream_id, uint64_t seq) {
    size_t size = strlen(path) + 1;
    struct doomed *d = malloc(sizeof(*d) + size);
    if (!d)
        return;
    memcpy(d->path, path, size);
    d->stream_id = stream_id;
    d->chunk_seq = seq;
    (void)pthread_mutex_lock(&s->snap_lock);
    d->at_clock = s->clock++;
    d->next = s->doomed;
    s->doomed = d;
    (void)pthread_mutex_unlock(&s->snap_lock);
}

/* Notes that a member of the pack has gone. */
static void note_thinned(struct store *s, struct str tenant, const struct index_chunk *c) {
    struct thinned *fresh = malloc(sizeof(*fresh) + tenant.size);
    (void)pthread_mutex_lock(&s->snap_lock);
    const struct thinned *t = s->thinned;
    while (t && t->pack_seq != c->pack_seq)
        t = t->next;
    if (!t && fresh) {
        char *name = (char *)(fresh + 1);
        memcpy(name, tenant.data, tenant.size);
        *fresh = (struct thinned){.next = s->thinned,
                                  .pack_seq = c->pack_seq,
                                  .day = c->day,
                                  .tenant = str_make(name, tenant.size)};
        s->thinned = fresh;
        fresh = NULL;
    }
    (void)pthread_mutex_unlock(&s->snap_lock);
    free(fresh);
}

void store_delete_chunk(struct store *s, struct str tenant, const struct index_chunk *c) {
    char path[CHUNK_PATH_MAX];
    if (c->pack_seq > 0)
        note_thinned(s, tenant, c);
    else if (chunk_path(path, tenant, c->day, c->stream_id, c->chunk_seq) == 0)
        doom(s, path, c->stream_id, c->chunk_seq);
    chunk_cache_forget(s->cache, c->stream_id, c->chunk_seq);
}

/* ---- packs without members */

struct alive {
    struct thinned *list;
    size_t n_left; /* not known to be alive */
};

static int note_alive(const struct index_chunk *c, void *ctx) {
    struct alive *a = ctx;
    for (struct thinned *t = a->list; t && c->pack_seq > 0; t = t->next)
        if (t->pack_seq == c->pack_seq && !t->alive) {
            t->alive = true;
            a->n_left--;
        }
    return a->n_left == 0 ? -ECANCELED : 0;
}

/* Is there a member whose row stands where the directory lets one look? Mostly there is, and that is all. */
static bool has_member(struct store *s, const struct thinned *t, const char *path) {
    struct pack pack;
    struct index_reader *reader = NULL;
    struct arena arena = arena_make(64 << 20);
    bool found = false;
    if (pack_open(s->dir_fd, path, &pack, NULL) < 0)
        return false;
    int r = index_reader_begin(s->index, &reader, NULL);
    for (size_t i = 0; i < pack.n_members && r == 0 && !found; i++) {
        const struct pack_member *m = &pack.members[i];
        struct index_chunk *rows;
        size_t n = 0;
        arena_reset(&arena);
        r = index_reader_chunks(reader, t->tenant, m->stream_id, m->first_ns, m->first_ns, &arena,
                                &rows, &n, NULL);
        for (size_t k = 0; k < n && r == 0; k++)
            found = found || (rows[k].chunk_seq == m->chunk_seq && rows[k].pack_seq == t->pack_seq);
    }
    index_reader_end(reader);
    pack_done(&pack);
    arena_done(&arena);
    return found || r < 0;
}

/* A member may stand under another stream than its directory says (rebuild.c), so a pack without any is looked for among
 * all rows of its tenant before it goes: all packs of the tenant in one walk. True: nothing is known of them. */
static bool walk_tenant(struct store *s, struct thinned *of_tenant) {
    struct alive a = {.list = of_tenant};
    for (const struct thinned *t = of_tenant; t; t = t->next)
        a.n_left++;
    int r = index_walk_chunks(s->index, of_tenant->tenant, note_alive, &a, NULL);
    return r < 0 && r != -ECANCELED;
}

/* Takes those of the first one's tenant out of the list. */
static struct thinned *take_tenant(struct thinned **list) {
    struct thinned *taken = NULL;
    struct str tenant = (*list)->tenant;
    for (struct thinned **at = list; *at;) {
        struct thinned *t = *at;
        if (!str_eq(t->tenant, tenant)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        t->next = taken;
        taken = t;
    }
    return taken;
}

static void free_thinned(struct thinned *list) {
    while (list) {
        struct thinned *next = list->next;
        free(list);
        list = next;
    }
}

void store_forget_thinned(struct store *s) {
    free_thinned(s->thinned);
    s->thinned = NULL;
}

/* Dooms packs that no row names any more. A look at each that has lost a member since the last time. */
static void doom_empty_packs(struct store *s) {
    char path[CHUNK_PATH_MAX];
    struct thinned *empty = NULL;
    (void)pthread_mutex_lock(&s->snap_lock);
    struct thinned *list = s->thinned;
    s->thinned = NULL;
    (void)pthread_mutex_unlock(&s->snap_lock);
    while (list) {
        struct thinned *t = list;
        list = t->next;
        if (pack_path(path, t->tenant, t->day, t->pack_seq) < 0 || has_member(s, t, path)) {
            free(t);
            continue;
        }
        t->next = empty;
        empty = t;
    }
    while (empty) {
        struct thinned *of_tenant = take_tenant(&empty);
        bool unknown = walk_tenant(s, of_tenant);
        for (const struct thinned *t = of_tenant; t && !unknown; t = t->next)
            if (!t->alive && pack_path(path, t->tenant, t->day, t->pack_seq) == 0)
                doom(s, path, 0, t->pack_seq);
        free_thinned(of_tenant);
    }
}

/* ---- files whose time has come */

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

void store_renew_wal(struct store *s) {
    if (s->wal)
        wal_begin_fresh(s->wal);
}

/* Only those that the WAL still reaches need be kept. */
static void drop_unreached(struct store *s, struct positions *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++)
        if (store_wal_reaches(s, p->items[i].flushed_lsn))
            p->items[n++] = p->items[i];
    p->count = n;
}

/* Of a stream as far as the index has it. */
static int keep_position(struct store *s, struct positions *p, uint64_t stream_id) {
    struct arena arena = arena_make(POSITION_ARENA_MAX);
    struct index_stream row;
    int r = index_stream_by_id(s->index, stream_id, &arena, &row);
    if (r == 0 && store_wal_reaches(s, row.flushed_lsn))
        r = positions_add(p, &row);
    arena_done(&arena);
    return r == -ENOENT ? 0 : r;
}

/* On a full disk with the reserve's space: to delete makes room. */
static int write_positions(struct store *s, struct positions *p, struct err *reterr) {
    int r = positions_write(s->dir_fd, POSITIONS_NAME, p, reterr);
    if (r != -ENOSPC)
        return r;
    (void)pthread_mutex_lock(&s->index_lock);
    bool any = reserve_release(&s->reserve);
    (void)pthread_mutex_unlock(&s->index_lock);
    return any ? positions_write(s->dir_fd, POSITIONS_NAME, p, reterr) : r;
}

int store_keep_positions(struct store *s, const uint64_t *stream_ids, size_t count,
                         struct err *reterr) {
    struct positions p = positions_make();
    struct err err = {0};
    int r = positions_read(s->dir_fd, POSITIONS_NAME, &p, &err);
    if (r < 0 && r != -ENOENT)
        store_log(s, LOG_LEVEL_WARN, "the file of positions is begun anew", "error=\"%s\"",
                  err.text);
    drop_unreached(s, &p);
    size_t known = p.count;
    r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        if (i == 0 || stream_ids[i] != stream_ids[i - 1])
            r = keep_position(s, &p, stream_ids[i]);
    if (r < 0)
        (void)err_set(reterr, r, "cannot keep the positions of streams: %s", err_name(r));
    else if (p.count > known)
        r = write_positions(s, &p, reterr);
    positions_done(&p);
    return r;
}

size_t store_reap(struct store *s) {
    size_t waiting;
    doom_empty_packs(s);
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
    struct numbers known; /* chunk numbers of the index, sorted */
    char path[CHUNK_PATH_MAX];
    int64_t removed;
};

/* Members of packs are not looked for: their packs are. */
static int note_known(const struct index_chunk *c, void *ctx) {
    struct sweep *w = ctx;
    if (c->pack_seq == 0)
        return numbers_add(&w->known, c->chunk_seq);
    bool again = w->known.n > 0 && w->known.items[w->known.n - 1] == c->pack_seq;
    return again ? 0 : numbers_add(&w->known, c->pack_seq);
}

/* <stream>-<seq>.chunk, <seq>.pack, or one of them with .tmp; numbers in hex. */
static bool parse_name(const char *name, uint64_t *ret_seq) {
    unsigned long long stream, seq;
    int at = 0;
    bool named = sscanf(name, "%16llx-%16llx.chunk%n", &stream, &seq, &at) == 2 && at > 0;
    if (!named)
        named = sscanf(name, "%16llx.pack%n", &seq, &at) == 1 && at > 0;
    if (!named)
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
    uint64_t seq = 0;
    bool cut_sieve = strcmp(name, SIEVE_NAME ".tmp") == 0; /* the compactor writes none meanwhile */
    if (is_dir || (!cut_sieve && (!parse_name(name, &seq) || seq >= w->first_new_seq)))
        return 0;
    bool temporary = str_ends(str_from(name), STR(".tmp"));
    if (!temporary && (numbers_have(&w->known, seq) || is_doomed(w->store, seq)))
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
        numbers_sort(&w.known);
        r = io_list(s->dir_fd, "chunks", sweep_tenant, &w);
    }
    numbers_done(&w.known);
    arena_done(&w.arena);
    if (r < 0)
        return err_set(reterr, r, "cannot sweep chunk files: %s", err_name(r));
    return w.removed;
}
