/* deletes, without LogQL (erasure.h). What hides and what is removed, states and receipts, starts in
 * between, a call that fails at each place, and that nothing comes back out of the WAL. */
#include "deletes.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "erasure.h"
#include "io.h"
#include "retention.h"
#include "store_private.h"
#include "store_world.h"
#include "units.h"

#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

/* ---- the language, its queries counted */

static int live_queries;

static int compile(struct str text, void **ret, struct err *reterr) {
    int r = erasure_language.compile(text, ret, reterr);
    live_queries += r == 0;
    return r;
}

static void release(void *compiled) {
    live_queries--;
    erasure_language.release(compiled);
}

/* ---- a store */

static struct store_world world;

static void open_store(void) {
    world_open(&world, (struct store_options){.wal = {.segment_bytes = 1 << 20}, .pack_from = 2});
}

static void begin(void) {
    world_begin_in_memory(&world);
    open_store();
}

static struct deletes *open_deletes(void) {
    struct err err = {0};
    struct deletes *d = NULL;
    static struct delete_language language;
    language = erasure_language;
    language.compile = compile;
    language.release = release;
    const struct deletes_options o = {.language = &language, .cancel_period_ns = NS_PER_HOUR};
    CHECK_INT(deletes_open(world.store, &o, &d, &err), 0);
    return d;
}

enum { PER_PUSH = 100 };

/* Every tenth line holds "secret". */
static void push(const char *app, int64_t start_ns) {
    static char lines[PER_PUSH][32];
    struct entry entries[PER_PUSH];
    for (int i = 0; i < PER_PUSH; i++) {
        int size = snprintf(lines[i], sizeof(lines[i]), "%s %d", i % 10 ? "plain" : "secret", i);
        entries[i] =
            (struct entry){.ts_ns = start_ns + i, .line = str_make(lines[i], (size_t)size)};
    }
    CHECK_INT(world_append_app(world.store, STR("t"), app, entries, PER_PUSH), 0);
}

static uint64_t count(const char *app) {
    return world_count(world.store, STR("t"), app);
}

static void add(struct deletes *d, const char *query, int64_t start_ns, int64_t end_ns,
                char id[static DELETE_ID_SIZE + 1]) {
    struct err err = {0};
    CHECK_INT(deletes_add(d, STR("t"), str_from(query), start_ns, end_ns, BASE_NS, id, &err), 0);
}

static struct delete_view seen[8];
static size_t n_seen;

static int note(const struct delete_view *v, void *ctx) {
    (void)ctx;
    seen[n_seen++] = *v;
    return 0;
}

static void look(struct deletes *d) {
    n_seen = 0;
    CHECK_INT(deletes_walk(d, STR("t"), note, NULL), 0);
}

static int run(struct deletes *d, int64_t now_ns, struct deletes_result *ret) {
    struct err err = {0};
    return deletes_run(d, now_ns, NULL, NULL, ret, &err);
}

/* ---- tests */

static void a_life(void) {
    begin();
    push("a", BASE_NS);
    struct err err = {0};
    CHECK_INT(store_flush(world.store, &err), 0);
    push("a", BASE_NS + NS_PER_S);
    push("b", BASE_NS);
    struct deletes *d = open_deletes();
    char secret[DELETE_ID_SIZE + 1], whole[DELETE_ID_SIZE + 1], part[DELETE_ID_SIZE + 1];
    CHECK_INT(deletes_add(d, STR("t"), STR(" "), 0, 1, BASE_NS, secret, &err), -ESYNTAX);
    add(d, "a secret", BASE_NS, BASE_NS + NS_PER_MIN, secret);
    add(d, "b", BASE_NS, BASE_NS + 49, whole);
    add(d, "a", BASE_NS, BASE_NS, part);
    CHECK(strcmp(secret, whole) != 0 && strcmp(whole, part) != 0);
    CHECK_INT(count("a"), 180);
    CHECK_INT(count("b"), 50);
    CHECK_INT(deletes_cancel(d, STR("u"), str_from(part), false, BASE_NS, &err), -ENOENT);
    CHECK_INT(deletes_cancel(d, STR("t"), str_from(part), false, BASE_NS, &err), 0);
    CHECK_INT(deletes_cancel(d, STR("t"), str_from(part), false, BASE_NS, &err), -ENOENT);
    int64_t late_ns = BASE_NS + NS_PER_HOUR;
    CHECK_INT(deletes_cancel(d, STR("t"), str_from(whole), false, late_ns, &err), -ETIMEDOUT);
    struct deletes_result done;
    CHECK_INT(run(d, late_ns - 1, &done), 0); /* nothing is due */
    CHECK_INT(done.processed, 0);
    look(d);
    CHECK_INT(n_seen, 2);
    CHECK_INT(seen[0].state, DELETE_RECEIVED);

    deletes_close(d); /* and again after a start */
    world_close(&world);
    open_store();
    CHECK_INT(count("a"), 200);
    d = open_deletes();
    CHECK_INT(count("a"), 180);
    CHECK_INT(run(d, late_ns, &done), 0);
    CHECK_INT(done.processed, 2);
    CHECK_INT(done.failures, 0);
    CHECK_INT(done.sums.lines, 20 + 50);
    CHECK_INT(done.sums.chunks_rewritten, 3);
    look(d);
    CHECK_INT(n_seen, 2);
    for (size_t i = 0; i < n_seen; i++) {
        CHECK_INT(seen[i].state, DELETE_PROCESSED);
        CHECK_INT(seen[i].receipt.lines, strcmp(seen[i].id, secret) == 0 ? 20 : 50);
        CHECK(seen[i].receipt.finished_ns >= seen[i].receipt.begun_ns);
    }
    CHECK_INT(deletes_cancel(d, STR("t"), str_from(whole), true, late_ns, &err), -EALREADY);
    CHECK_INT(count("a"), 180);
    CHECK_INT(count("b"), 50);
    deletes_close(d);
    CHECK_INT(count("a"), 180); /* not only hidden */
    world_close(&world);
    open_store();
    CHECK_INT(count("a"), 180);
    d = open_deletes();
    look(d);
    CHECK_INT(n_seen, 2);
    CHECK_INT(run(d, late_ns, &done), 0);
    CHECK_INT(done.processed, 0);
    deletes_close(d);
    world_end(&world);
    CHECK_INT(live_queries, 0);
}

/* The WAL still has the entries of a stream that was deleted whole and has been forgotten: a start must not replay them. */
static void nothing_comes_back(void) {
    begin();
    push("a", BASE_NS);
    push("b", BASE_NS);
    struct deletes *d = open_deletes();
    struct deletes_result done;
    struct err err = {0};
    char id[DELETE_ID_SIZE + 1];
    add(d, "a", BASE_NS, BASE_NS + NS_PER_MIN, id);
    CHECK_INT(run(d, BASE_NS + NS_PER_HOUR, &done), 0);
    CHECK_INT(done.sums.chunks_removed, 1);
    CHECK_INT(world_chunk_files(&world), 1); /* not even as a file that the index does not know */
    registry_evict(&world.store->registry, INT64_MAX);
    struct retention_policy *p = retention_policy_new(0, NULL, 0, NULL, NULL);
    struct retention_result got = {0};
    CHECK_INT(retention_run(world.store, p, BASE_NS, &got, &err), 0);
    CHECK_INT(got.streams, 0);
    deletes_close(d);
    world_close(&world);
    open_store();
    CHECK_INT(count("a"), 0);
    CHECK_INT(count("b"), PER_PUSH);
    retention_policy_unref(p);
    world_end(&world);
}

static void lose_index(void) {
    char path[TEST_FOLDER_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/index/data.mdb", world.dir);
    CHECK_INT(unlink(path), 0);
}

/* The WAL as it was, as a crash would leave it: processing a request, and closing, make it forget what it can. */
static void keep_wal(bool bring_back) {
    char command[8 * TEST_FOLDER_MAX];
    (void)snprintf(command, sizeof(command), "mkdir -p %s/kept %s/wal && cp %s/%s/* %s/%s",
                   world.dir, world.dir, world.dir, bring_back ? "kept" : "wal", world.dir,
                   bring_back ? "wal" : "kept");
    CHECK_INT(system(command), 0);
}

struct wish {
    const char *query;
    int64_t start_ns, end_ns;
};

/* In one pass. */
static void erase(const struct wish *wishes, size_t count) {
    struct deletes *d = open_deletes();
    struct deletes_result done;
    char id[DELETE_ID_SIZE + 1];
    for (size_t i = 0; i < count; i++)
        add(d, wishes[i].query, wishes[i].start_ns, wishes[i].end_ns, id);
    CHECK_INT(run(d, BASE_NS + NS_PER_HOUR, &done), 0);
    CHECK_INT(done.processed, count);
    deletes_close(d);
}

/* Nor when the index is lost with all that it tells: whole streams, the newest chunk of one, a chunk of which a filter has left
 * nothing; what was written after that is there once. */
static void nothing_comes_back_without_the_index(void) {
    begin();
    struct err err = {0};
    push("a", BASE_NS);
    push("b", BASE_NS);
    CHECK_INT(store_flush(world.store, &err), 0);
    push("b", BASE_NS + NS_PER_HOUR);
    push("c", BASE_NS);
    push("e", BASE_NS);
    struct entry one = {.ts_ns = BASE_NS, .line = STR("secret alone")};
    CHECK_INT(world_append_app(world.store, STR("t"), "d", &one, 1), 0);
    static const struct wish wishes[] = {
        {"a", BASE_NS, BASE_NS + NS_PER_MIN},
        {"b", BASE_NS + NS_PER_HOUR, BASE_NS + 2 * NS_PER_HOUR},
        {"d secret", BASE_NS, BASE_NS + NS_PER_MIN},
        {"e", BASE_NS, BASE_NS + NS_PER_MIN},
    };
    erase(wishes, sizeof(wishes) / sizeof(wishes[0]));
    push("a", BASE_NS + NS_PER_MIN);
    keep_wal(false);
    /* The second time the WAL still has them, the third time it has not. */
    for (int i = 0; i < 3; i++) {
        world_close(&world);
        if (i < 2) {
            lose_index();
            keep_wal(true);
        }
        open_store();
        CHECK_INT(count("a"), PER_PUSH);
        CHECK_INT(count("b"), PER_PUSH);
        CHECK_INT(count("c"), PER_PUSH);
        CHECK_INT(count("d"), 0);
        CHECK_INT(count("e"), 0);
    }
    world_end(&world);
}

static int damage_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)ftw;
    FILE *f = type == FTW_F ? fopen(path, "r+b") : NULL;
    if (f) {
        CHECK_INT(fwrite("damage", 6, 1, f), 1); /* in place of the magic */
        CHECK_INT(fclose(f), 0);
    }
    return 0;
}

/* When a request has been processed, what it removed goes from the WAL as well, as soon as the others there have been
 * flushed. */
static void nothing_stays_in_the_wal(void) {
    begin();
    push("a", BASE_NS);
    struct store_stats before, after;
    store_get_stats(world.store, &before);
    erase(&(struct wish){"c", BASE_NS, BASE_NS + NS_PER_MIN}, 1); /* finds nothing */
    store_get_stats(world.store, &after);
    CHECK_INT(after.wal.next_lsn, before.wal.next_lsn);
    erase(&(struct wish){"a secret", BASE_NS, BASE_NS + NS_PER_MIN}, 1);
    push("b", BASE_NS);
    struct err err = {0};
    CHECK_INT(store_flush(world.store, &err), 0);
    store_get_stats(world.store, &after);
    CHECK(after.wal.oldest_lsn >= before.wal.next_lsn);
    CHECK_INT(count("a"), PER_PUSH - PER_PUSH / 10);
    CHECK_INT(count("b"), PER_PUSH);
    world_end(&world);
}

/* Where chunks are damaged, too, the WAL is to have all that it can give, even if that is more than there was. */
static void the_wal_fills_gaps(void) {
    begin();
    push("a", BASE_NS);
    push("b", BASE_NS);
    erase(&(struct wish){"a", BASE_NS, BASE_NS + NS_PER_MIN}, 1);
    keep_wal(false);
    world_close(&world);
    keep_wal(true);
    char path[TEST_FOLDER_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/chunks", world.dir);
    (void)nftw(path, damage_file, 16, FTW_PHYS);
    lose_index();
    open_store();
    CHECK_INT(count("b"), PER_PUSH);
    CHECK_INT(count("a"), PER_PUSH);
    world_end(&world);
}

static void what_others_have_written(void) {
    begin();
    struct deletes *d = open_deletes();
    char id[DELETE_ID_SIZE + 1];
    add(d, "a", BASE_NS, BASE_NS, id);
    deletes_close(d);
    static const char *const records[] = {"", "\x01", "\x02 a later version", "\x01\x09"};
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        struct index_txn *t;
        struct err err = {0};
        char key[9];
        (void)snprintf(key, sizeof(key), "bad%05zu", i);
        CHECK_INT(index_begin(store_index(world.store), &t, &err), 0);
        CHECK_INT(index_put_delete(t, str_from(key), str_from(records[i]), &err), 0);
        CHECK_INT(index_commit(t, &err), 0);
    }
    d = open_deletes();
    look(d);
    CHECK_INT(n_seen, 1);
    deletes_close(d);
    world_end(&world);
}

/* ---- faults */

static atomic_int calls;
static int fail_at;

static int on_io(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    if (op == IO_CLOSE)
        return 0;
    return atomic_fetch_add(&calls, 1) + 1 == fail_at ? -EIO : 0;
}

static void each_call_fails(void) {
    bool untouched = false;
    for (int n = 1; !untouched && n < 500; n++) {
        begin();
        struct err err = {0};
        push("a", BASE_NS);
        push("c", BASE_NS);
        CHECK_INT(store_flush(world.store, &err), 0);
        push("a", BASE_NS + NS_PER_S);
        struct deletes *d = open_deletes();
        char id[DELETE_ID_SIZE + 1];
        add(d, "a secret", BASE_NS, BASE_NS + NS_PER_MIN, id);
        add(d, "c", BASE_NS, BASE_NS + NS_PER_MIN, id);
        struct deletes_result done;
        atomic_store(&calls, 0);
        fail_at = n;
        io_set_hook(on_io, NULL);
        (void)run(d, BASE_NS + NS_PER_HOUR, &done);
        io_set_hook(NULL, NULL);
        untouched = atomic_load(&calls) < n;
        CHECK_INT(count("a"), 180);
        CHECK_INT(count("c"), 0);
        deletes_close(d);
        world_close(&world);
        open_store();
        CHECK(store_sweep_orphans(world.store, &err) >= 0);
        d = open_deletes();
        CHECK_INT(count("a"), 180);
        CHECK_INT(run(d, BASE_NS + NS_PER_HOUR, &done), 0);
        look(d);
        CHECK_INT(seen[0].state, DELETE_PROCESSED);
        CHECK_INT(seen[1].state, DELETE_PROCESSED);
        deletes_close(d);
        CHECK_INT(count("a"), 180);
        CHECK_INT(count("c"), 0);
        world_end(&world);
        if (test_case_failures > 0) {
            printf("  call %d\n", n);
            return;
        }
    }
    CHECK(untouched);
}

int main(void) {
    RUN(a_life);
    RUN(nothing_comes_back);
    RUN(nothing_comes_back_without_the_index);
    RUN(nothing_stays_in_the_wal);
    RUN(the_wal_fills_gaps);
    RUN(what_others_have_written);
    RUN(each_call_fails);
    return test_done();
}
