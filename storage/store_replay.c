/* store_replay: what the WAL has of entries that are in no chunk file goes into the heads again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "clock.h"
#include "io.h"
#include "store_private.h"
#include "walrec.h"

enum { ARENA_MAX = 1 << 30 };

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

/* Nobody pushes yet, and what is above the budget is flushed as soon as the server is up: replay may use half as much
 * again, unless others hold most of the memory. */
static uint64_t replay_budget(const struct store *s) {
    uint64_t budget = store_head_budget(s), limit = budget_limit();
    bool tight = limit > 0 && budget_used(BUDGET_NONE) > limit / 4 * 3;
    return tight ? budget : budget / 2 * 3;
}

/* Encoding costs more than all the rest of replay. What the sealing threads have no time for waits until the server is
 * up, or stays as it is for a reader, while memory allows. */
static int replay_seal(struct replay *p, struct stream *stream) {
    struct store *s = p->store;
    if (s->sealers && store_seal_submit(s, stream))
        return 0;
    if (atomic_load(&s->registry.head_bytes) < replay_budget(s)) {
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
    uint64_t bytes = atomic_load(&s->registry.head_bytes), budget = replay_budget(s);
    if (s->options.read_only || bytes <= p->flush_at_bytes)
        return 0;
    struct err err = {0};
    int r = flush_pass(s, FLUSH_DUE, &err);
    if (r < 0)
        store_log(s, LOG_LEVEL_WARN, "flush failed during replay", "error=\"%s\"", err.text);
    bytes = atomic_load(&s->registry.head_bytes);
    p->flush_at_bytes = r < 0 ? bytes + budget / 4 : budget;
    return bytes > 2 * budget ? r : 0;
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
                       .arena = arena_make(ARENA_MAX),
                       .ids_arena = arena_make(ARENA_MAX),
                       .scratch = buf_make(BUF_NO_MAX),
                       .flush_at_bytes = replay_budget(s)};
    p.segment = UINT64_MAX;
    int r = wal_replay(wal_fd, replay_record, &p, &s->wal_found, reterr);
    replay_unpin(&p);
    if (r == 0 && p.left_raw && s->sealers)
        store_seal_rest(s);
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
