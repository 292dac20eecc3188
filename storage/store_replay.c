/* store_replay: what the WAL has of entries that are in no chunk file goes into the heads again.
 *
 * Two threads do it, behind those that read ahead (wal_ahead.h). One checks records, decompresses them, finds their
 * streams. The other, which has called, appends what they hold to the heads, in the order of the log, and sees to
 * memory. A few records are on the way between them. What has become a block is encoded when the server is up, or when
 * memory demands it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "io.h"
#include "pool.h"
#include "store_private.h"
#include "walrec.h"

enum {
    ARENA_MAX = 1 << 30,
    READY_MAX = 4,          /* records on the way: the threads seldom wait for each other */
    SCRATCH_KEPT = 8 << 20, /* from one record to the next: pushes are mostly smaller */
    PORTIONS_FIRST = 64,
    BUDGET_FACTOR = 3, /* lines take six times as much before they are encoded */
};

/* Entries of a record that are of one stream. */
struct portion {
    struct stream *stream; /* pinned */
    const struct entry *entries;
    size_t count;
};

/* A record that has been read, and the memory that it is in. */
struct unpacked {
    uint64_t lsn;
    struct arena arena;
    struct buf scratch;
    struct portion *portions;
    size_t n_portions, room;
};

struct replay {
    struct store *store;
    /* The reading thread's. */
    int wal_fd;
    struct map
        by_id; /* stream id as written -> stream, in the present segment; keys in ids_arena */
    struct arena ids_arena;
    uint64_t segment;
    struct unpacked *filling;
    int status; /* these two: its result */
    struct err err;
    /* The appending thread's. */
    uint64_t entries;
    uint64_t flush_at_bytes; /* of heads */
    bool left_raw;
    /* Record n is in slot n % READY_MAX, the reader's until it has been read, the other's until it is appended. */
    pthread_mutex_t lock; /* guards: n_read, n_appended, is_over, stop */
    pthread_cond_t moved; /* one of them has changed */
    uint64_t n_read, n_appended;
    bool is_over; /* nothing more is read */
    bool stop;    /* nothing more is to be read */
    struct unpacked slots[READY_MAX];
};

/* ---- on the way */

/* Where the next record goes; NULL: nothing more is to be read. */
static struct unpacked *free_slot(struct replay *p) {
    (void)pthread_mutex_lock(&p->lock);
    while (p->n_read - p->n_appended == READY_MAX && !p->stop)
        (void)pthread_cond_wait(&p->moved, &p->lock);
    struct unpacked *u = p->stop ? NULL : &p->slots[p->n_read % READY_MAX];
    (void)pthread_mutex_unlock(&p->lock);
    return u;
}

/* NULL: all have been read and appended. */
static struct unpacked *next_read(struct replay *p) {
    (void)pthread_mutex_lock(&p->lock);
    while (p->n_read == p->n_appended && !p->is_over)
        (void)pthread_cond_wait(&p->moved, &p->lock);
    bool any = p->n_read != p->n_appended;
    struct unpacked *u = any ? &p->slots[p->n_appended % READY_MAX] : NULL;
    (void)pthread_mutex_unlock(&p->lock);
    return u;
}

static void step(struct replay *p, uint64_t *count) {
    (void)pthread_mutex_lock(&p->lock);
    (*count)++;
    (void)pthread_cond_signal(&p->moved);
    (void)pthread_mutex_unlock(&p->lock);
}

static void say(struct replay *p, bool *what) {
    (void)pthread_mutex_lock(&p->lock);
    *what = true;
    (void)pthread_cond_signal(&p->moved);
    (void)pthread_mutex_unlock(&p->lock);
}

static void drop_portions(struct unpacked *u) {
    for (size_t i = 0; i < u->n_portions; i++)
        stream_unpin(u->portions[i].stream);
    u->n_portions = 0;
}

static int add_portion(struct unpacked *u, const struct portion *portion) {
    if (u->n_portions == u->room) {
        size_t room = u->room ? 2 * u->room : PORTIONS_FIRST;
        struct portion *portions = realloc(u->portions, room * sizeof(*portions));
        if (!portions)
            return -ENOMEM;
        u->portions = portions;
        u->room = room;
    }
    stream_pin(portion->stream);
    u->portions[u->n_portions++] = *portion;
    return 0;
}

static void slots_init(struct replay *p) {
    for (size_t i = 0; i < READY_MAX; i++) {
        p->slots[i].arena = arena_make(ARENA_MAX);
        p->slots[i].scratch = buf_make(BUF_NO_MAX);
    }
}

static void slots_done(struct replay *p) {
    for (size_t i = 0; i < READY_MAX; i++) {
        arena_done(&p->slots[i].arena);
        buf_done(&p->slots[i].scratch);
        free(p->slots[i].portions);
    }
}

/* ---- reading */

static void replay_unpin(struct replay *p) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(&p->by_id, &at, &key, &value))
        stream_unpin(value);
    map_done(&p->by_id);
    arena_reset(&p->ids_arena);
}

static int replay_define(uint64_t id, struct str tenant, struct labels labels, void *ctx) {
    struct replay *p = ctx;
    struct stream *stream;
    int r = store_find_or_add(p->store, tenant, labels, &stream, NULL);
    if (r < 0)
        return r;
    struct str key = arena_copy(&p->ids_arena, str_make((const char *)&id, sizeof(id)));
    struct stream *before = map_get(&p->by_id, key);
    if (!key.data || map_put(&p->by_id, key, stream) < 0) {
        stream_unpin(stream);
        return -ENOMEM;
    }
    if (before)
        stream_unpin(before);
    return 0;
}

/* The record with the stream's definition was damaged. Numbers of streams are never given twice, so one that the index
 * has is the same stream. */
static int define_by_index(struct replay *p, uint64_t id) {
    struct arena arena = arena_make(ARENA_MAX);
    struct index_stream row;
    int r = index_stream_by_id(p->store->index, id, &arena, &row);
    if (r == 0)
        r = replay_define(id, row.tenant, row.labels, p);
    arena_done(&arena);
    return r == -ENOENT ? -ECORRUPT : r;
}

/* What lies before the stream's flushed position is in chunk files: head_append would leave out each entry of it. */
static bool replay_needs(uint64_t id, size_t count, void *ctx) {
    struct replay *p = ctx;
    struct stream *stream = map_get(&p->by_id, str_make((const char *)&id, sizeof(id)));
    if (!stream || count == 0)
        return true;
    struct wal_pos last = {.lsn = p->filling->lsn, .index = (uint32_t)count - 1};
    (void)pthread_mutex_lock(&stream->lock);
    bool flushed = wal_pos_before(last, stream->flushed);
    (void)pthread_mutex_unlock(&stream->lock);
    return !flushed;
}

static int replay_entries(uint64_t id, const struct entry *entries, size_t count, void *ctx) {
    struct replay *p = ctx;
    struct str key = str_make((const char *)&id, sizeof(id));
    struct stream *stream = map_get(&p->by_id, key);
    if (!stream) {
        int r = define_by_index(p, id);
        if (r < 0)
            return r;
        stream = map_get(&p->by_id, key);
    }
    const struct portion portion = {.stream = stream, .entries = entries, .count = count};
    return add_portion(p->filling, &portion);
}

static int read_record(const struct wal_record *record, void *ctx) {
    struct replay *p = ctx;
    uint64_t segment = record->lsn >> 32;
    if (segment != p->segment) {
        replay_unpin(p);
        p->segment = segment;
    }
    struct unpacked *u = p->filling = free_slot(p);
    if (!u)
        return -ECANCELED;
    u->lsn = record->lsn;
    arena_reset(&u->arena);
    struct err err = {0};
    struct walrec_visitor visitor = {
        .define = replay_define, .needs = replay_needs, .entries = replay_entries, .ctx = p};
    int r = walrec_read(record, &u->arena, &u->scratch, &visitor, &err);
    if (r == -ECORRUPT) { /* its checksum was right: written so by a bug; go on with the others */
        store_log(p->store, LOG_LEVEL_ERROR, "wal record skipped", "lsn=%llu error=\"%s\"",
                  (unsigned long long)record->lsn, err.text);
        r = 0;
    }
    if (r < 0)
        drop_portions(u);
    else if (u->n_portions > 0)
        step(p, &p->n_read);
    return r;
}

static void read_wal(void *arg) {
    struct replay *p = arg;
    p->status = wal_replay(p->wal_fd, read_record, p, &p->store->wal_found, &p->err);
    replay_unpin(p);
    say(p, &p->is_over);
}

/* ---- appending */

/* Nobody pushes yet, and what is above the budget is sealed and flushed as soon as the server is up: replay may use three
 * times as much, of the process's memory no more than what heads may ever have of it, unless others hold most of that. */
static uint64_t replay_budget(const struct store *s) {
    uint64_t budget = store_head_budget(s), limit = budget_limit();
    if (limit > 0 && budget_used(BUDGET_NONE) > limit / 4 * 3)
        return budget;
    uint64_t share = budget_share(BUDGET_HEADS), room = BUDGET_FACTOR * budget;
    room = room < share ? room : share;
    return room > budget ? room : budget;
}

/* Encoding costs three times as much as all the rest of replay. It waits until the server is up, or is never done for a
 * reader, while memory allows. */
static int replay_seal(struct replay *p, struct stream *stream) {
    struct store *s = p->store;
    if (atomic_load(&s->registry.head_bytes) < replay_budget(s)) {
        p->left_raw = true;
        return 0;
    }
    if (s->sealers && store_seal_submit(s, stream))
        return 0;
    int r = head_seal(&s->registry, stream, s->encoder, true);
    return r == -E2BIG ? 0
                       : r; /* stays as it is: better in memory than a server that does not start */
}

/* Sealing makes room first. */
static uint64_t flush_from(uint64_t budget) {
    return budget + budget / 4;
}

/* A flush that fails (the disk may be full) is tried again when some more memory is used: to serve what is there is
 * worth half as much again. */
static int relieve_memory(struct replay *p) {
    struct store *s = p->store;
    uint64_t bytes = atomic_load(&s->registry.head_bytes), budget = replay_budget(s);
    if (s->options.read_only || bytes <= p->flush_at_bytes)
        return 0;
    struct err err = {0};
    int r = flush_pass(s, FLUSH_DUE, &err);
    if (r < 0)
        store_log(s, LOG_LEVEL_WARN, "flush failed during replay", "error=\"%s\"", err.text);
    bytes = atomic_load(&s->registry.head_bytes);
    p->flush_at_bytes = r < 0 ? bytes + budget / 4 : flush_from(budget);
    return bytes > budget / 2 * 3 ? r : 0;
}

static int append_portion(struct replay *p, uint64_t lsn, const struct portion *portion) {
    bool sealable;
    int r = head_append(&p->store->registry, portion->stream, portion->entries, portion->count, lsn,
                        NULL, &sealable);
    if (r < 0)
        return r;
    p->entries += portion->count;
    return sealable ? replay_seal(p, portion->stream) : 0;
}

static int append_record(struct replay *p, struct unpacked *u) {
    int r = 0;
    for (size_t i = 0; i < u->n_portions && r == 0; i++)
        r = append_portion(p, u->lsn, &u->portions[i]);
    drop_portions(u);
    if (u->scratch.capacity > SCRATCH_KEPT) {
        buf_done(&u->scratch);
        u->scratch = buf_make(BUF_NO_MAX);
    }
    return r == 0 ? relieve_memory(p) : r;
}

/* Both threads' work. */
static int read_and_append(struct replay *p, struct err *reterr) {
    struct pool *reader = pool_new("logq-replay", 1, 2);
    int r = reader ? pool_submit(reader, read_wal, p) : -ENOMEM;
    if (r == -EBUSYNOW) /* nobody else's jobs are in the queue: there is no memory for one */
        r = -ENOMEM;
    if (r < 0) {
        pool_free(reader);
        return err_set(reterr, r, "no thread to read the WAL: %s", err_name(r));
    }
    for (struct unpacked *u; (u = next_read(p)); step(p, &p->n_appended)) {
        if (r == 0) {
            r = append_record(p, u);
            if (r < 0)
                say(p, &p->stop);
        } else {
            drop_portions(u);
        }
    }
    pool_free(reader);
    if (r == 0 && p->status < 0 && p->err.text[0])
        return err_set(reterr, p->status, "%s", p->err.text);
    r = r < 0 ? r : p->status;
    return r < 0 ? err_set(reterr, r, "cannot replay the WAL: %s", err_name(r)) : 0;
}

/* A reader that may not read the WAL shows what is in chunk files, and says so. */
static int without_wal(struct store *s, int cause, struct err *reterr) {
    if (!s->options.read_only || (cause != -EACCES && cause != -EPERM))
        return cause;
    store_log(s, LOG_LEVEL_ERROR, "the newest lines are left out", "error=\"%s\"", reterr->text);
    return 0;
}

/* Pushes are not refused for what replay has left to do. */
static void seal_later(struct store *s) {
    uint64_t heads = atomic_load(&s->registry.head_bytes), budget = store_head_budget(s);
    atomic_store(&s->replay_excess_bytes, heads > budget ? heads - budget : 0);
    store_seal_rest(s);
}

int store_replay(struct store *s, struct err *reterr) {
    int wal_fd = io_open(s->dir_fd, "wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (wal_fd == -ENOENT && s->options.read_only)
        return 0;
    if (wal_fd < 0)
        return without_wal(s,
                           err_set(reterr, wal_fd, "cannot open %s/wal: %s", s->options.data_dir,
                                   err_name(wal_fd)),
                           reterr);
    int64_t begun = clock_mono_ns();
    struct replay p = {.store = s,
                       .wal_fd = wal_fd,
                       .ids_arena = arena_make(ARENA_MAX),
                       .segment = UINT64_MAX,
                       .flush_at_bytes = flush_from(replay_budget(s))};
    (void)pthread_mutex_init(&p.lock, NULL);
    (void)pthread_cond_init(&p.moved, NULL);
    slots_init(&p);
    int r = read_and_append(&p, reterr);
    if (r == 0 && p.left_raw && s->sealers)
        seal_later(s);
    slots_done(&p);
    arena_done(&p.ids_arena);
    (void)pthread_cond_destroy(&p.moved);
    (void)pthread_mutex_destroy(&p.lock);
    io_close(wal_fd);
    s->replayed_entries = p.entries;
    s->replay_ns = (uint64_t)(clock_mono_ns() - begun);
    if (p.entries > 0 || s->wal_found.lost_bytes > 0)
        store_log(
            s, s->wal_found.lost_bytes && !s->options.read_only ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
            "wal replayed", "entries=%llu torn_bytes=%llu seconds=%.3f",
            (unsigned long long)p.entries, (unsigned long long)s->wal_found.lost_bytes,
            (double)s->replay_ns / 1e9);
    return r < 0 ? without_wal(s, r, reterr) : 0;
}
