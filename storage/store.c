/* store: opening, replay, appending, closing. Flushing is in flush.c, snapshots in snapshot.c.
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
#include <unistd.h>

#include "clock.h"
#include "format_file.h"
#include "io.h"
#include "scratch.h"
#include "store_private.h"
#include "units.h"
#include "walrec.h"

enum {
    HEAD_BUDGET_DEFAULT = 128 << 20,
    HEAD_BUDGET_LEAST = 8 << 20, /* whatever else holds memory */
    CHUNK_CACHE_DEFAULT = 256 << 20,
    SEAL_QUEUE_MAX =
        8, /* more waiting: the appending thread encodes by itself, which slows pushes down */
    /* Queues of the pool, which takes twice as many jobs as one of them: whoever fills the first leaves room in the
     * second, which is seal_rest's alone. */
    SEAL_LANE = 0,
    SEAL_REST_LANE = 1,
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

/* ---- opening */

static int take_lock(struct store *s, struct err *reterr) {
    s->lock_fd = io_open(s->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock_fd < 0)
        return err_set(reterr, s->lock_fd, "cannot open %s/LOCK: %s", s->options.data_dir,
                       err_name(s->lock_fd));
    int r = io_lock(s->lock_fd);
    if (r == -EWOULDBLOCK)
        return err_set(reterr, -EBUSY,
                       "data directory %s is in use by another logqd (its LOCK is held)",
                       s->options.data_dir);
    return r < 0 ? err_set(reterr, r, "cannot lock %s/LOCK: %s", s->options.data_dir, err_name(r))
                 : 0;
}

/* A copy of the chunk files alone is enough to read. */
static int look_for_chunks(const struct store *s, struct err *reterr) {
    int fd = io_open(s->dir_fd, "chunks", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    io_close(fd);
    return fd >= 0 ? 0
                   : err_set(reterr, -ENOENT,
                             "%s is not a data directory of logqd: no format, no chunks",
                             s->options.data_dir);
}

/* Before anything of a newer kind is written, the file says so: an older build then refuses the directory instead of
 * skipping what it cannot read. */
static int check_format(struct store *s, struct err *reterr) {
    bool is_latest = false;
    int r = format_file_check(s->dir_fd, s->options.data_dir, &is_latest, reterr);
    if (s->options.read_only)
        return r == -ENOENT ? look_for_chunks(s, reterr) : r;
    if (r == -ENOENT || (r == 0 && !is_latest)) {
        r = format_file_write(s->dir_fd);
        if (r < 0)
            (void)err_set(reterr, r, "cannot write %s/format: %s", s->options.data_dir,
                          err_name(r));
    }
    return r;
}

static int sync_tenant_folder(const char *name, bool is_dir, void *ctx) {
    const struct store *s = ctx;
    char path[CHUNK_PATH_MAX];
    (void)snprintf(path, sizeof(path), "chunks/%s", name);
    return is_dir ? io_fsync_dir(s->dir_fd, path) : 0;
}

/* A process that was killed between making a folder and syncing its parent leaves a folder that is there, but not for
 * good; whoever finds it there does not sync again. So all names are made durable once, before anything relies on
 * them: those of the folders of days, of tenants, and of what stands beside them. */
static int sync_folders(struct store *s, struct err *reterr) {
    int r = io_list(s->dir_fd, "chunks", sync_tenant_folder, s);
    if (r == 0)
        r = io_fsync_dir(s->dir_fd, "chunks");
    if (r == 0)
        r = io_fsync_dir(s->dir_fd, ".");
    return r < 0 ? err_set(reterr, r, "cannot sync the folders of %s: %s", s->options.data_dir,
                           err_name(r))
                 : 0;
}

static int open_directory(struct store *s, struct err *reterr) {
    const char *path = s->options.data_dir;
    int r = 0;
    if (!s->options.read_only)
        r = io_mkdirs(AT_FDCWD, path, 0755);
    if (r < 0)
        return err_set(reterr, r, "cannot create %s: %s", path, err_name(r));
    s->dir_fd = io_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->dir_fd < 0)
        return err_set(reterr, s->dir_fd, "cannot open %s: %s", path, err_name(s->dir_fd));
    if (!s->options.read_only) {
        r = take_lock(s, reterr);
        if (r < 0)
            return r;
        static const char *const folders[] = {"wal", "index", "chunks"};
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
            r = io_mkdirs(s->dir_fd, folders[i], 0755);
            if (r < 0)
                return err_set(reterr, r, "cannot create %s/%s: %s", path, folders[i], err_name(r));
        }
        r = sync_folders(s, reterr);
        if (r < 0)
            return r;
    }
    return check_format(s, reterr);
}

static int reserve_numbers(struct index_txn *t, void *ctx, struct err *reterr) {
    struct store *s = ctx;
    int r = index_put_counter(t, STORE_COUNTER_STREAM,
                              atomic_load(&s->registry.next_id) + COUNTER_GAP, reterr);
    if (r == 0)
        r = index_put_counter(t, STORE_COUNTER_CHUNK, s->first_chunk_seq + COUNTER_GAP, reterr);
    return r;
}

/* An index without counters is new, or was lost, or its rebuilding was cut off: the counters come last. Chunk files
 * that it does not know must not become orphans, nor be overwritten by numbers given again. */
static int fill_new_index(struct store *s, struct err *reterr) {
    struct store_rebuild found = {0};
    int r = rebuild_fill(s->dir_fd, s->index, false, &found, reterr);
    if (r == 0 && (found.chunks > 0 || found.damaged > 0))
        store_log(s, LOG_LEVEL_WARN, "the index was lost and has been rebuilt from chunk files",
                  "chunks=%llu streams=%llu damaged=%llu", (unsigned long long)found.chunks,
                  (unsigned long long)found.streams, (unsigned long long)found.damaged);
    return r;
}

/* A number that cannot be read must not be taken for one that was never given. */
static int read_counters(struct store *s, uint64_t *ret_id, uint64_t *ret_seq, struct err *reterr) {
    int r = index_counter(s->index, STORE_COUNTER_STREAM, ret_id);
    if (r == 0)
        r = index_counter(s->index, STORE_COUNTER_CHUNK, ret_seq);
    return r < 0 ? err_set(reterr, r, "cannot read the index's counters: %s", err_name(r)) : 0;
}

/* A reader's own index in a scratch folder: the trailers of the chunk files say all that it needs. */
static int make_scratch_index(struct store *s, struct err *reterr) {
    char path[SCRATCH_PATH_MAX];
    struct store_rebuild found = {0};
    index_close(s->index);
    s->index = NULL;
    int r = scratch_make(path);
    if (r < 0)
        return err_set(reterr, r, "no place for an index of its own in /dev/shm, TMPDIR or /tmp");
    const struct index_options o = {.scratch = true};
    r = index_open(path, &o, &s->index, reterr);
    scratch_drop(path);
    if (r == 0)
        r = rebuild_fill(s->dir_fd, s->index, true, &found, reterr);
    if (r == 0 && found.damaged > 0)
        store_log(s, LOG_LEVEL_ERROR, "damaged chunk files are left out", "files=%llu",
                  (unsigned long long)found.damaged);
    return r;
}

/* What a reader cannot use: not there, damaged, not readable, without the counters that come last. */
static int open_index_read_only(struct store *s, const char *path, uint64_t *ret_id,
                                uint64_t *ret_seq, struct err *reterr) {
    const struct index_options o = {.read_only = true};
    struct err err = {0};
    int r = s->options.ignore_index ? -ENOENT : index_open(path, &o, &s->index, &err);
    if (r == 0)
        r = read_counters(s, ret_id, ret_seq, &err);
    if (r == 0 && *ret_seq > 0)
        return 0;
    if (r == -ENOMEM)
        return err_set(reterr, r, "%s", err.text);
    if (r < 0 && !s->options.ignore_index)
        store_log(s, LOG_LEVEL_WARN, "the index cannot be used, all chunk files are looked at",
                  "error=\"%s\"", err.text);
    r = make_scratch_index(s, reterr);
    return r < 0 ? r : read_counters(s, ret_id, ret_seq, reterr);
}

/* A damaged index is set aside and made anew from chunk files, which hold all that it tells. */
static int open_sound_index(struct store *s, const char *path, struct err *reterr) {
    const struct index_options o = {0};
    int r = index_open(path, &o, &s->index, reterr);
    if (r != -ECORRUPT)
        return r;
    store_log(s, LOG_LEVEL_ERROR,
              "the index is damaged: it is kept as index.old-*, a new one is made", "error=\"%s\"",
              reterr ? reterr->text : "");
    r = rebuild_set_index_aside(s->dir_fd);
    if (r == 0)
        r = io_mkdirs(s->dir_fd, "index", 0755);
    if (r < 0)
        return err_set(reterr, r, "cannot set %s aside: %s", path, err_name(r));
    return index_open(path, &o, &s->index, reterr);
}

static int open_index(struct store *s, struct err *reterr) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/index", s->options.data_dir);
    uint64_t next_id = 0, next_seq = 0;
    int r;
    if (s->options.read_only) {
        r = open_index_read_only(s, path, &next_id, &next_seq, reterr);
    } else {
        r = open_sound_index(s, path, reterr);
        if (r == 0)
            r = read_counters(s, &next_id, &next_seq, reterr);
    }
    if (r == 0 && next_seq == 0 && !s->options.read_only) {
        r = fill_new_index(s, reterr);
        if (r == 0)
            r = read_counters(s, &next_id, &next_seq, reterr);
    }
    if (r < 0)
        return r;
    atomic_store(&s->registry.next_id, next_id ? next_id : 1);
    s->first_chunk_seq = next_seq ? next_seq : 1;
    atomic_store(&s->next_chunk_seq, s->first_chunk_seq);
    r = s->options.read_only ? 0 : store_index_update(s, reserve_numbers, s, reterr);
    /* On a full disk queries still want a server. Each flush commits the counters again, so nothing but an orphan of a
     * failed flush can meet its number a second time, and that one may be overwritten. */
    return r == -ENOSPC ? 0 : r;
}

static bool seal_submit(struct store *s, struct stream *stream);
static void seal_rest(void *store);

/* ---- replay */

struct replay {
    struct store *store;
    struct arena arena;
    struct buf scratch;
    struct map
        by_id; /* stream id as written -> stream, in the present segment; keys in ids_arena */
    struct arena ids_arena;
    uint64_t segment;
    uint64_t lsn;
    uint64_t entries;
    uint64_t bad_records;
    uint64_t flush_at_bytes; /* of heads */
    bool left_raw;
};

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
    struct wal_pos last = {.lsn = p->lsn, .index = (uint32_t)count - 1};
    (void)pthread_mutex_lock(&stream->lock);
    bool flushed = wal_pos_before(last, stream->flushed);
    (void)pthread_mutex_unlock(&stream->lock);
    return !flushed;
}

/* Encoding costs more than all the rest of replay. What the sealing threads have no time for waits until the server is
 * up, or stays as it is for a reader, while memory allows. */
static int replay_seal(struct replay *p, struct stream *stream) {
    struct store *s = p->store;
    if (s->sealers && seal_submit(s, stream))
        return 0;
    if (atomic_load(&s->registry.head_bytes) < store_head_budget(s) / 4 * 3) {
        p->left_raw = true;
        return 0;
    }
    int r = head_seal(&s->registry, stream, s->encoder, true);
    return r == -E2BIG ? 0
                       : r; /* stays as it is: better in memory than a server that does not start */
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
    bool sealable;
    int r = head_append(&p->store->registry, stream, entries, count, p->lsn, NULL, &sealable);
    if (r < 0)
        return r;
    p->entries += count;
    return sealable ? replay_seal(p, stream) : 0;
}

/* A flush that fails (the disk may be full) is tried again when some more memory is used: to serve what is there is
 * worth twice the memory, as when pushes come faster than flushes. */
static int relieve_memory(struct replay *p) {
    struct store *s = p->store;
    uint64_t bytes = atomic_load(&s->registry.head_bytes), budget = store_head_budget(s);
    if (s->options.read_only || bytes <= p->flush_at_bytes)
        return 0;
    struct err err = {0};
    int r = flush_pass(s, FLUSH_DUE, &err);
    if (r < 0)
        store_log(s, LOG_LEVEL_WARN, "flush failed during replay", "error=\"%s\"", err.text);
    bytes = atomic_load(&s->registry.head_bytes);
    p->flush_at_bytes = r < 0 ? bytes + budget / 4 : budget;
    return bytes > 3 * budget ? r : 0;
}

static int replay_record(const struct wal_record *record, void *ctx) {
    struct replay *p = ctx;
    uint64_t segment = record->lsn >> 32;
    if (segment != p->segment) {
        replay_unpin(p);
        p->segment = segment;
    }
    p->lsn = record->lsn;
    arena_reset(&p->arena);
    struct err err = {0};
    struct walrec_visitor visitor = {
        .define = replay_define, .needs = replay_needs, .entries = replay_entries, .ctx = p};
    int r = walrec_read(record, &p->arena, &p->scratch, &visitor, &err);
    if (r == -ECORRUPT) { /* its checksum was right: written so by a bug; go on with the others */
        p->bad_records++;
        store_log(p->store, LOG_LEVEL_ERROR, "wal record skipped", "lsn=%llu error=\"%s\"",
                  (unsigned long long)record->lsn, err.text);
        r = 0;
    }
    return r == 0 ? relieve_memory(p) : r;
}

/* A reader that may not read the WAL shows what is in chunk files, and says so. */
static int without_wal(struct store *s, int cause, struct err *reterr) {
    if (!s->options.read_only || (cause != -EACCES && cause != -EPERM))
        return cause;
    store_log(s, LOG_LEVEL_ERROR, "the newest lines are left out", "error=\"%s\"", reterr->text);
    return 0;
}

static int replay(struct store *s, struct err *reterr) {
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
                       .arena = arena_make(ARENA_MAX),
                       .ids_arena = arena_make(ARENA_MAX),
                       .scratch = buf_make(BUF_NO_MAX),
                       .flush_at_bytes = store_head_budget(s)};
    p.segment = UINT64_MAX;
    int r = wal_replay(wal_fd, replay_record, &p, &s->wal_found, reterr);
    replay_unpin(&p);
    if (r == 0 && p.left_raw && s->sealers)
        (void)pool_submit_keyed(s->sealers, SEAL_REST_LANE, seal_rest, s);
    arena_done(&p.arena);
    arena_done(&p.ids_arena);
    buf_done(&p.scratch);
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
    (void)pthread_mutex_init(&s->snap_lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->wake_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (registry_init(&s->registry) < 0)
        return -ENOMEM;
    s->registry.effort = s->options.effort;
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
    r = open_directory(s, reterr);
    if (r < 0)
        goto fail;
    if (!o->read_only)
        reserve_init(&s->reserve, s->dir_fd, o->reserve_bytes);
    r = open_index(s, reterr);
    if (r < 0)
        goto fail;
    s->cache = chunk_cache_new(s->dir_fd,
                               o->chunk_cache_bytes ? o->chunk_cache_bytes : CHUNK_CACHE_DEFAULT);
    if (!s->cache) {
        r = err_set(reterr, -ENOMEM, "no memory");
        goto fail;
    }
    r = replay(s, reterr);
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

struct str stream_labels_text(const struct stream *stream) {
    return stream->text;
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

/* ---- appending */

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

static void seal_now(struct store *s, struct stream *stream) {
    scratch_use();
    if (!scratch.encoder)
        scratch.encoder = block_encoder_new();
    /* Without memory the block stays raw; a later append or the flusher tries again. */
    if (scratch.encoder)
        (void)head_seal(&s->registry, stream, scratch.encoder, false);
}

static void run_seal_job(void *arg) {
    struct seal_job *job = arg;
    seal_now(job->store, job->stream);
    stream_unpin(job->stream);
    free(job);
}

/* False when the sealing threads have enough to do. */
static bool seal_submit(struct store *s, struct stream *stream) {
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
    if (!seal_submit(s, stream))
        seal_now(s, stream);
}

/* What replay has left. */
static void seal_rest(void *store) {
    struct store *s = store;
    size_t count = 0;
    struct stream **list = registry_list(&s->registry, &count);
    for (size_t i = 0; i < count; i++)
        seal_now(s, list[i]);
    if (list)
        registry_list_done(list, count);
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
    if (heads > 2 * budget)
        return true;
    return heads > budget && limit > 0 && budget_used(BUDGET_NONE) > limit / 4 * 3;
}

/* Packing costs 1.3 CPU-seconds per GB and makes records a third as large: for disks that need that, and for a WAL
 * that is long already. */
static bool must_pack(struct store *s) {
    if (s->options.wal_compress)
        return true;
    struct wal_stats w;
    wal_get_stats(s->wal, &w);
    return !w.keeps_up || w.bytes > store_wal_max(s) / 8 * 7;
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
    int r = flags && pending ? walrec_write_data(w, batch, must_pack(s)) : -ENOMEM;
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
    if (atomic_load(&s->registry.head_bytes) > store_head_budget(s))
        flush_wake(s);
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
    struct stream **list = registry_list(&s->registry, &n);
    ret->streams_in_memory = n;
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
    chunk_cache_stats(s->cache, &ret->chunk_cache_bytes, &ret->chunk_cache_count);
    if (s->wal)
        wal_get_stats(s->wal, &ret->wal);
    (void)index_get_stats(s->index, &ret->index);
    (void)io_disk_space(s->dir_fd, &ret->disk_free_bytes, &ret->disk_total_bytes);
}
