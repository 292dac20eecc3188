/* The store with failing disks: one scenario (open, push, flush, expire, close) runs again and again; in run n the n-th
 * call into the file system fails, until a run passes untouched. In one kind of run that call alone fails, in the
 * other all after it do, too, as when a machine dies. After each failure the store must open again and show every
 * acknowledged entry once and nothing that was never pushed; so must an index rebuilt from the chunk files. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io.h"
#include "store_private.h"
#include "store_world.h"
#include "units.h"

enum {
    ENTRIES_MAX = 2000,
    LINE_SIZE = 1800, /* a push of 200 is cut within its record */
    PUSH_MAX = 200,
    POSITIONS_MAX = 4000,
    REBUILD_EACH = 5,
};

#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

/* ---- faults */

static struct {
    atomic_int calls;
    int fail_at; /* counted from 1; 0 = never */
    int error;
    bool sticky;
    atomic_bool hit;
} fault;

static int on_io(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    if (op == IO_CLOSE)
        return 0;
    int call = atomic_fetch_add(&fault.calls, 1) + 1;
    if (fault.fail_at == 0 || call < fault.fail_at || (call > fault.fail_at && !fault.sticky))
        return 0;
    atomic_store(&fault.hit, true);
    return fault.error;
}

static void set_fault(int fail_at, int error, bool sticky) {
    fault.fail_at = fail_at;
    fault.error = error;
    fault.sticky = sticky;
    atomic_store(&fault.calls, 0);
    atomic_store(&fault.hit, false);
    io_set_hook(on_io, NULL);
}

/* ---- what was pushed */

enum state { NEVER, PUSHED, ACKNOWLEDGED, EXPIRED };

static _Atomic(enum state) states[ENTRIES_MAX];
static unsigned counts[ENTRIES_MAX];
static struct store_world world;

static void begin(void) {
    world_begin_in_memory(&world);
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        atomic_store(&states[i], NEVER);
}

static int open_store(struct store **ret) {
    struct err err = {0};
    struct store_options o = {.wal = {.segment_bytes = 256 << 10}, .pack_from = 2};
    int r = world_try_open(&world, o, &err);
    if (r == 0)
        *ret = world.store;
    return r;
}

/* A new store, and no call fails. */
static struct store *begin_sound(void) {
    struct store *s = NULL;
    begin();
    set_fault(0, 0, false);
    CHECK_INT(open_store(&s), 0);
    return s;
}

static struct stream *get_stream(struct store *s, const char *name) {
    struct label items[] = {{STR("app"), STR("test")}, {STR("n"), str_from(name)}};
    struct stream *stream = NULL;
    struct err err = {0};
    (void)store_stream(s, STR("t"), (struct labels){.items = items, .count = 2}, str_from(name),
                       &stream, &err);
    return stream;
}

static char text[PUSH_MAX][LINE_SIZE + 1];

/* Entries [first, first + n): random bytes, so that WAL and chunk files are not compressed away. */
static void push(struct store *s, const char *name, unsigned first, unsigned n, int64_t step_ns) {
    struct entry entries[PUSH_MAX];
    struct stream *stream = get_stream(s, name);
    if (!stream)
        return;
    uint64_t random = 88172645463325252u + first;
    for (unsigned i = 0; i < n; i++) {
        int at = snprintf(text[i], sizeof(text[i]), "%05u ", first + i);
        for (; at < LINE_SIZE; at++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[i][at] = (char)('a' + (random >> 33) % 26);
        }
        entries[i] = (struct entry){.ts_ns = BASE_NS + (int64_t)(first + i) * step_ns,
                                    .line = str_make(text[i], LINE_SIZE)};
        atomic_store(&states[first + i], PUSHED);
    }
    int r = world_append_pinned(s, STR("t"), stream, entries, n);
    for (unsigned i = 0; i < n && r == 0; i++)
        atomic_store(&states[first + i], ACKNOWLEDGED);
    store_unpin(s, stream);
}

/* ---- reading back */

static void count_entry(const struct snap_stream *stream, const struct entry *e, void *ctx) {
    (void)stream, (void)ctx;
    unsigned number = ENTRIES_MAX;
    (void)sscanf(e->line.data, "%5u ", &number);
    CHECK(number < ENTRIES_MAX);
    if (number < ENTRIES_MAX)
        counts[number]++;
}

static void check_entries(struct store *s, const char *when) {
    memset(counts, 0, sizeof(counts));
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    if (!snap)
        return;
    world_walk(snap, count_entry, NULL);
    store_snapshot_free(snap);
    unsigned lost = 0, doubled = 0, invented = 0;
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        enum state state = atomic_load(&states[i]);
        lost += state == ACKNOWLEDGED && counts[i] == 0;
        doubled += counts[i] > 1;
        invented += state == NEVER && counts[i] > 0;
    }
    if (lost || doubled || invented) {
        printf("  failing call %d (%d%s), %s: %u lost, %u doubled, %u invented\n", fault.fail_at,
               fault.error, fault.sticky ? ", sticky" : "", when, lost, doubled, invented);
        CHECK(false);
    }
}

/* ---- the scenario */

struct expiry {
    struct index_chunk *chunks;
    size_t n_chunks;
    uint64_t id;
};

static int expire_rows(struct index_txn *txn, void *ctx, struct err *reterr) {
    const struct expiry *e = ctx;
    int r = 0;
    for (size_t i = 0; r == 0 && i < e->n_chunks; i++)
        r = index_del_chunk(txn, STR("t"), &e->chunks[i], reterr);
    return r < 0 ? r : index_del_stream(txn, e->id, reterr);
}

/* As retention does it. */
static void expire(struct store *s, const char *name, unsigned first, unsigned n) {
    struct arena arena = arena_make(1 << 20);
    struct stream *stream = get_stream(s, name);
    struct expiry e = {.id = stream ? stream_id(stream) : 0};
    struct index_reader *reader = NULL;
    for (unsigned i = first; i < first + n; i++)
        atomic_store(&states[i], EXPIRED);
    if (stream && index_reader_begin(store_index(s), &reader, NULL) == 0) {
        int r = index_reader_chunks(reader, STR("t"), e.id, INT64_MIN, INT64_MAX, &arena, &e.chunks,
                                    &e.n_chunks, NULL);
        index_reader_end(reader);
        if (r == 0 && store_index_update(s, expire_rows, &e, NULL) == 0)
            for (size_t i = 0; i < e.n_chunks; i++)
                store_delete_chunk(s, STR("t"), &e.chunks[i]);
    }
    (void)store_reap(s);
    if (stream)
        store_unpin(s, stream);
    arena_done(&arena);
}

static void scenario(void) {
    struct store *s = NULL;
    struct err err = {0};
    if (open_store(&s) < 0)
        return;
    push(s, "a", 0, 3, 1);
    push(s, "old", 10, 5, 1);
    push(s, "b", 100, 200, NS_PER_S);     /* cut within the record */
    (void)flush_pass(s, FLUSH_DUE, &err); /* nothing is due */
    (void)store_flush(s, &err);
    expire(s, "old", 10, 5);
    push(s, "b", 300, 200, NS_PER_S); /* sealed blocks and an open one ... */
    struct store_options *o = &s->options;
    o->chunk_target_bytes = 1;
    (void)flush_pass(s, FLUSH_DUE, &err); /* ... of which the former are flushed */
    o->chunk_target_bytes = 0;
    push(s, "days", 500, 9, 20 * NS_PER_HOUR); /* a file per day */
    push(s, "a", 3, 3, 1);
    (void)store_flush(s, &err);
    push(s, "a", 6, 3, 1);
    push(s, "a", 0, 3, 1); /* again */
    push(s, "b", 700, 2, NS_PER_S);
    int64_t swept = store_sweep_orphans(s, &err);
    (void)swept;
    world_close(&world);
}

static void lose_index(void) {
    char command[300];
    (void)snprintf(command, sizeof(command), "rm -rf '%s/index'", world.dir);
    if (system(command) != 0)
        abort();
}

static void check_after(bool rebuild) {
    io_set_hook(NULL, NULL);
    struct store *s = NULL;
    int r = open_store(&s);
    CHECK_INT(r, 0);
    if (r < 0)
        return;
    check_entries(s, "after reopening");
    push(s, "b", 900, 5, NS_PER_S);
    CHECK_INT(atomic_load(&states[900]), ACKNOWLEDGED);
    CHECK_INT(store_flush(s, NULL), 0);
    CHECK(store_sweep_orphans(s, NULL) >= 0);
    check_entries(s, "after a flush and a sweep");
    world_close(&world);
    if (rebuild) {
        struct store_rebuild done;
        struct err err = {0};
        CHECK_INT(store_rebuild_index(world.dir, &done, &err), 0);
        CHECK_INT(open_store(&s), 0);
        check_entries(s, "after rebuilding the index");
        world_close(&world);
    }
}

static int fail_everywhere(int error, bool sticky, bool without_index) {
    int position = 0;
    for (bool hit = true; hit && position < POSITIONS_MAX && test_case_failures == 0;) {
        position++;
        begin();
        set_fault(position, error, sticky);
        scenario();
        hit = atomic_load(&fault.hit);
        if (without_index)
            lose_index();
        check_after(position % REBUILD_EACH == 0);
        world_end(&world);
    }
    printf("  %d calls failed in turn (%d%s)\n", position - 1, error, sticky ? ", sticky" : "");
    CHECK(position > 50);
    return position;
}

static void test_one_call_fails(void) {
    (void)fail_everywhere(-EIO, false, false);
}

static void test_disk_full_once(void) {
    (void)fail_everywhere(-ENOSPC, false, false);
}

static void test_all_calls_fail_from_one_on(void) {
    (void)fail_everywhere(-EIO, true, false);
}

static void test_disk_full_from_one_on(void) {
    (void)fail_everywhere(-ENOSPC, true, false);
}

static void test_a_crash_anywhere_that_costs_the_index(void) {
    (void)fail_everywhere(-EIO, true, true);
}

/* ---- single cases */

static void reopen_and_check(const char *when) {
    struct store *s = NULL;
    CHECK_INT(open_store(&s), 0);
    CHECK(store_sweep_orphans(s, NULL) >= 0);
    check_entries(s, when);
    world_close(&world);
}

/* The index folder is gone: its chunk files must neither be swept away nor be overwritten. */
static void test_lost_index(void) {
    struct store *s = begin_sound();
    push(s, "a", 0, 200, NS_PER_S);
    CHECK_INT(store_flush(s, NULL), 0);
    push(s, "b", 200, 200, NS_PER_S);
    CHECK_INT(store_flush(s, NULL), 0);
    push(s, "b", 400, 200, NS_PER_S);
    world_close(&world);
    lose_index();
    CHECK_INT(open_store(&s), 0);
    push(s, "c", 600, 50, NS_PER_S);
    push(s, "a", 700, 50, NS_PER_S);
    world_close(&world);
    for (unsigned i = 0; i < 3; i++)
        reopen_and_check("without the index");
    world_end(&world);
}

static int put_request(struct index_txn *t, void *ctx, struct err *reterr) {
    (void)ctx;
    return index_put_delete(t, STR("0123abcd"), STR("a request"), reterr);
}

static int count_request(struct str key, struct str value, void *ctx) {
    unsigned *count = ctx;
    *count += str_eq(key, STR("0123abcd")) && str_eq(value, STR("a request"));
    return 0;
}

/* A flipped bit in the index, in each page of it: the server sets it aside and goes on with a new one, a reader makes
 * one of its own; nothing is missing, and a delete request only when its own bytes, or a root, are hit. */
static void test_damaged_index(void) {
    unsigned damaged = 0, requests = 0;
    for (off_t at = 12; test_case_failures == 0; at += 4096) {
        struct store *s = begin_sound();
        push(s, "a", 0, 200, NS_PER_S);
        CHECK_INT(store_flush(s, NULL), 0);
        push(s, "b", 200, 200, NS_PER_S);
        CHECK_INT(store_index_update(s, put_request, NULL, NULL), 0);
        world_close(&world);
        char path[300];
        (void)snprintf(path, sizeof(path), "%s/index/data.mdb", world.dir);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        bool more = pread(fd, &byte, 1, at) == 1;
        byte ^= 4;
        if (more)
            CHECK_INT(pwrite(fd, &byte, 1, at), 1);
        (void)close(fd);
        s = world_open(&world, (struct store_options){.read_only = true});
        check_entries(s, "read beside a damaged index");
        world_close(&world);
        reopen_and_check("with a damaged index");
        (void)snprintf(path, sizeof(path), "%s/index.old-1", world.dir);
        if (access(path, F_OK) == 0) {
            damaged++;
            CHECK_INT(open_store(&s), 0);
            CHECK_INT(index_walk_deletes(store_index(s), count_request, &requests, NULL), 0);
            world_close(&world);
        }
        world_end(&world);
        if (!more)
            break;
    }
    CHECK(damaged >= 5);
    printf("  %u damaged indexes, %u delete requests saved\n", damaged, requests);
    CHECK(requests + 2 >= damaged);
}

/* Rebuilding the index is cut off at each of its calls: the next start finishes the work. */
static void test_cut_off_rebuild(void) {
    int position = 0;
    for (bool hit = true; hit && test_case_failures == 0;) {
        struct store *s = begin_sound();
        push(s, "a", 0, 200, NS_PER_S);
        push(s, "b", 200, 200, NS_PER_S);
        CHECK_INT(store_flush(s, NULL), 0);
        push(s, "days", 400, 5, 20 * NS_PER_HOUR);
        world_close(&world);
        set_fault(++position, -EIO, true);
        struct store_rebuild done;
        struct err err = {0};
        (void)store_rebuild_index(world.dir, &done, &err);
        hit = atomic_load(&fault.hit);
        io_set_hook(NULL, NULL);
        for (unsigned i = 0; i < 2; i++)
            reopen_and_check("after a cut off rebuild");
        world_end(&world);
    }
    printf("  %d calls of a rebuild failed in turn\n", position - 1);
}

/* A push over more days than there are descriptors: one file per day. */
static void test_more_days_than_descriptors(void) {
    struct rlimit before, few = {0};
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 400;
    struct store *s = begin_sound();
    for (unsigned i = 0; i < 5; i++)
        push(s, "days", i * PUSH_MAX, PUSH_MAX, 24 * NS_PER_HOUR);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct err err = {0};
    CHECK_INT(store_flush(s, &err), 0);
    check_entries(s, "after flushing many days");
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_close(&world);
    reopen_and_check("with many days");
    world_end(&world);
}

/* Without descriptors a query must fail, not leave chunks out quietly. */
static void test_query_without_descriptors_fails(void) {
    struct store *s = begin_sound();
    push(s, "a", 0, 5, NS_PER_S);
    CHECK_INT(store_flush(s, NULL), 0);
    set_fault(1, -EMFILE, true);
    struct select sel = {.tenant = STR("t"), .start_ns = 0, .end_ns = INT64_MAX};
    struct snapshot *snap = NULL;
    struct err err = {0};
    CHECK_INT(store_select(s, &sel, &snap, &err), -EMFILE);
    io_set_hook(NULL, NULL);
    check_entries(s, "with descriptors again");
    world_end(&world);
}

/* A stream that no block can hold (metadata beyond a column's bound) must not keep others in memory. */
static void test_one_stream_cannot_be_encoded(void) {
    struct store *s = begin_sound();
    size_t size = (size_t)BLOCK_RAW_MAX + 1;
    char *value = malloc(size);
    memset(value, 'x', size);
    struct label meta = {STR("k"), str_make(value, size)};
    struct entry entry = {.ts_ns = BASE_NS, .line = STR("line"), .meta = &meta, .meta_count = 1};
    struct stream *stream = get_stream(s, "bad");
    CHECK_INT(world_append_pinned(s, STR("t"), stream, &entry, 1), -E2BIG);
    store_unpin(s, stream);
    free(value);
    push(s, "good", 0, 5, NS_PER_S);
    CHECK_INT(store_flush(s, NULL), 0);
    world_close(&world);
    reopen_and_check("beside a stream that cannot be encoded");
    world_end(&world);
}

/* A failed fsync is final for the WAL: pushes are refused with the reason, queries and flushes go on. */
static int fail_fsync(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    return op == IO_FSYNC ? -EIO : 0;
}

static void test_failed_fsync_of_the_wal(void) {
    struct store *s = begin_sound();
    struct err err = {0};
    push(s, "a", 0, 5, NS_PER_S);
    CHECK_INT(store_writable(s, &err), 0);
    io_set_hook(fail_fsync, NULL);
    push(s, "a", 5, 5, NS_PER_S);
    CHECK_INT(atomic_load(&states[5]), PUSHED);
    io_set_hook(NULL, NULL);
    push(s, "a", 10, 5, NS_PER_S);
    CHECK_INT(atomic_load(&states[10]), PUSHED);
    CHECK_INT(store_writable(s, &err), -EIO);
    CHECK(strstr(err.text, "fsync") != NULL);
    check_entries(s, "beside a failed WAL");
    CHECK_INT(store_flush(s, &err), 0);
    check_entries(s, "flushed beside a failed WAL");
    world_close(&world);
    CHECK_INT(open_store(&s), 0);
    CHECK_INT(store_writable(s, &err), 0);
    push(s, "a", 15, 5, NS_PER_S);
    CHECK_INT(atomic_load(&states[15]), ACKNOWLEDGED);
    check_entries(s, "after a failed WAL");
    world_end(&world);
}

int main(void) {
    RUN(test_failed_fsync_of_the_wal);
    RUN(test_lost_index);
    RUN(test_damaged_index);
    RUN(test_cut_off_rebuild);
    RUN(test_more_days_than_descriptors);
    RUN(test_query_without_descriptors_fails);
    RUN(test_one_stream_cannot_be_encoded);
    RUN(test_one_call_fails);
    RUN(test_disk_full_once);
    RUN(test_all_calls_fail_from_one_on);
    RUN(test_disk_full_from_one_on);
    RUN(test_a_crash_anywhere_that_costs_the_index);
    return test_done();
}
