/* Taps: who gets which entries, what a full queue does, and the seam between a snapshot and what
 * comes after it. */
#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "store_world.h"
#include "units.h"

enum { WRITERS = 3, PUSHES = 400, LINES_PER_PUSH = 10, TAPS = 12, STREAMS = 4 };

static struct store_world world;

static void open_store(void) {
    world_begin(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
}

static void nap(void) {
    const struct timespec t = {.tv_nsec = NS_PER_MS / 4};
    (void)nanosleep(&t, NULL);
}

/* One push of `count` entries to one stream of {app=..}; waits until it is durable. */
static void push(struct str tenant, const char *name, const struct entry *entries, size_t count) {
    int r;
    while ((r = world_append_app(world.store, tenant, name, entries, count)) == -EBUSYNOW)
        nap();
    CHECK_INT(r, 0);
}

static bool starts_with_w(const void *regex, struct str value) {
    (void)regex;
    return str_starts(value, STR("w"));
}

static struct tap *open_tap(struct str tenant, const struct matcher *m, size_t queue_max) {
    const struct tap_options o = {
        .tenant = tenant, .matchers = m, .n_matchers = 1, .queue_max = queue_max};
    struct tap *tap = NULL;
    struct err err = {0};
    CHECK_INT(tap_open(world.store, &o, &tap, &err), 0);
    return tap;
}

static const struct matcher web = {
    .op = MATCH_EQ, .name = STR_INIT("app"), .value = STR_INIT("web")};
static const struct matcher all_w = {
    .op = MATCH_RE, .name = STR_INIT("app"), .matches = starts_with_w};

static void push_line(struct str tenant, const char *name, int64_t ts_ns, const char *line) {
    const struct entry e = {.ts_ns = ts_ns, .line = str_from(line)};
    push(tenant, name, &e, 1);
}

static void gets_what_matches(void) {
    open_store();
    push_line(STR("t"), "web", 1, "before");
    struct tap *one = open_tap(STR("t"), &web, 0), *many = open_tap(STR("t"), &all_w, 0);
    const struct label meta[] = {{STR("a"), STR("1")}, {STR("b"), STR("22")}};
    const struct entry rich = {.ts_ns = 2, .line = STR("rich"), .meta = meta, .meta_count = 2};
    push(STR("t"), "web", &rich, 1);
    push(STR("t"), "web", &rich, 1); /* a retry */
    push_line(STR("t"), "worker", 3, "");
    push_line(STR("t"), "db", 4, "not asked for");
    push_line(STR("u"), "web", 5, "another tenant's");
    CHECK_INT(tap_take(one), 0);
    struct tap_entry e;
    CHECK_INT(tap_next(one, &e), 1);
    CHECK_STR(e.entry.line, STR("rich"));
    CHECK_INT(e.entry.ts_ns, 2);
    CHECK_INT(e.entry.meta_count, 2);
    CHECK_STR(e.entry.meta[1].name, STR("b"));
    CHECK_STR(e.entry.meta[1].value, STR("22"));
    CHECK_STR(labels_get(e.labels, STR("app")), STR("web"));
    CHECK_INT(tap_next(one, &e), 0);
    CHECK_INT(tap_take(one), 0);
    CHECK_INT(tap_next(one, &e), 0);
    CHECK_INT(tap_take(many), 0);
    CHECK_INT(tap_next(many, &e), 1);
    CHECK_INT(tap_next(many, &e), 1);
    CHECK_STR(labels_get(e.labels, STR("app")), STR("worker"));
    CHECK_INT(e.entry.line.size, 0);
    CHECK_INT(tap_next(many, &e), 0);
    tap_close(one);
    push_line(STR("t"), "web", 6, "after one has gone");
    CHECK_INT(tap_take(many), 0);
    CHECK_INT(tap_next(many, &e), 1);
    CHECK_STR(e.entry.line, STR("after one has gone"));
    push_line(STR("t"), "web", 7, "never taken");
    tap_close(many);
    tap_close(NULL);
    push_line(STR("t"), "web", 8, "to nobody");
    world_end(&world);
}

static void count_wake(void *ctx) {
    (*(int *)ctx)++;
}

static void full_queue_drops(void) {
    open_store();
    int wakes = 0;
    const struct tap_options o = {.tenant = STR("t"),
                                  .matchers = &web,
                                  .n_matchers = 1,
                                  .queue_max = 1, /* the least there is */
                                  .wake = count_wake,
                                  .wake_ctx = &wakes};
    struct tap *tap = NULL;
    struct err err = {0};
    CHECK_INT(tap_open(world.store, &o, &tap, &err), 0);
    static char line[1000];
    memset(line, 'x', sizeof(line));
    static struct entry entries[2000];
    for (int i = 0; i < 2000; i++)
        entries[i] = (struct entry){.ts_ns = i, .line = str_make(line, sizeof(line))};
    push(STR("t"), "web", entries, 2000);
    uint64_t dropped = tap_take(tap);
    int got = 0, told = 0;
    struct tap_entry e;
    struct tap_drop d;
    while (tap_next(tap, &e) > 0)
        CHECK_INT(e.entry.ts_ns, got++);
    while (tap_next_drop(tap, &d) > 0) {
        CHECK_INT(d.ts_ns, got + told);
        CHECK_STR(labels_get(d.labels, STR("app")), STR("web"));
        told++;
    }
    CHECK(got > 50 && got < 66);
    CHECK_INT(got + (int)dropped, 2000);
    CHECK_INT(told, TAP_DROPS_MAX);
    CHECK_INT(wakes, 1);
    /* There is room again. */
    push_line(STR("t"), "web", 5000, "more");
    CHECK_INT(tap_take(tap), 0);
    CHECK_INT(tap_next(tap, &e), 1);
    CHECK_INT(tap_next_drop(tap, &d), 0);
    tap_close(tap);
    world_end(&world);
}

/* ---- the seam */

static atomic_int writers_left;

/* Entry numbers stand in the line; times go back and forth. */
static void *write_lines(void *arg) {
    unsigned writer = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < PUSHES; i++) {
        struct entry entries[LINES_PER_PUSH];
        char lines[LINES_PER_PUSH][300];
        for (unsigned k = 0; k < LINES_PER_PUSH; k++) {
            unsigned number = (writer * PUSHES + i) * LINES_PER_PUSH + k;
            int n = snprintf(lines[k], sizeof(lines[k]), "%u %0250d", number, 0);
            entries[k] = (struct entry){.ts_ns = 1000 + (int64_t)(number * 7919 % 100003),
                                        .line = str_make(lines[k], (size_t)n)};
        }
        char name[8];
        (void)snprintf(name, sizeof(name), "w%u", (writer + i) % STREAMS);
        push(STR("t"), name, entries, LINES_PER_PUSH);
    }
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void *flush_all_the_time(void *unused) {
    struct err err;
    while (atomic_load(&writers_left) > 0)
        (void)store_flush(world.store, &err);
    return unused;
}

/* From `start_ns` on, told to the tap. */
static struct snapshot *select_from(int64_t start_ns, const struct matcher *m, struct tap *tap) {
    const struct select sel = {.tenant = STR("t"),
                               .matchers = m,
                               .n_matchers = 1,
                               .start_ns = start_ns,
                               .end_ns = INT64_MAX,
                               .tap = tap};
    struct snapshot *snap = NULL;
    struct err err = {0};
    CHECK_INT(store_select(world.store, &sel, &snap, &err), 0);
    return snap;
}

static void count_line(uint8_t *seen, struct str line) {
    unsigned number = 0;
    for (size_t i = 0; i < line.size && line.data[i] != ' '; i++)
        number = number * 10 + (unsigned)(line.data[i] - '0');
    seen[number]++;
}

static void count_entry(const struct snap_stream *stream, const struct entry *e, void *ctx) {
    (void)stream;
    count_line(ctx, e->line);
}

static void count_snapshot(uint8_t *seen, struct tap *tap) {
    struct snapshot *snap = select_from(INT64_MIN, &all_w, tap);
    world_walk(snap, count_entry, seen);
    store_snapshot_free(snap);
}

static void count_tap(uint8_t *seen, struct tap *tap) {
    struct tap_entry e;
    CHECK_INT(tap_take(tap), 0);
    while (tap_next(tap, &e) > 0)
        count_line(seen, e.entry.line);
}

static void each_entry_once(void) {
    static uint8_t seen[TAPS][WRITERS * PUSHES * LINES_PER_PUSH];
    struct tap *taps[TAPS];
    pthread_t writers[WRITERS], flusher;
    open_store();
    atomic_store(&writers_left, WRITERS);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK_INT(pthread_create(&writers[i], NULL, write_lines, (void *)i), 0);
    CHECK_INT(pthread_create(&flusher, NULL, flush_all_the_time, NULL), 0);
    for (int i = 0; i < TAPS; i++) {
        taps[i] = open_tap(STR("t"), &all_w, 16 << 20);
        for (int k = 0; k < 4 * (i % 4); k++)
            nap();
        count_snapshot(seen[i], taps[i]);
        count_tap(seen[i], taps[i]);
        for (int k = 0; k < 8; k++)
            nap();
    }
    for (int i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    (void)pthread_join(flusher, NULL);
    for (int i = 0; i < TAPS; i++) {
        count_tap(seen[i], taps[i]);
        size_t missing = 0, doubles = 0;
        for (size_t k = 0; k < sizeof(seen[i]); k++) {
            missing += seen[i][k] == 0;
            doubles += seen[i][k] > 1;
        }
        CHECK_INT(missing, 0);
        CHECK_INT(doubles, 0);
        tap_close(taps[i]);
    }
    world_end(&world);
}

/* What the snapshot contains but does not show, because it is older than the range, comes from
 * the tap. */
static void late_entries_come(void) {
    open_store();
    struct tap *tap = open_tap(STR("t"), &web, 0);
    push_line(STR("t"), "web", 50, "late");
    push_line(STR("t"), "web", 150, "in range");
    struct snapshot *snap = select_from(100, &web, tap);
    store_snapshot_free(snap);
    CHECK_INT(tap_take(tap), 0);
    struct tap_entry e;
    CHECK_INT(tap_next(tap, &e), 1);
    CHECK_STR(e.entry.line, STR("late"));
    CHECK_INT(tap_next(tap, &e), 0);
    tap_close(tap);
    world_end(&world);
}

/* A matcher of a select is asked about heads first and about the index later. In between, an
 * entry comes and is flushed: its chunk holds what the head had when it was looked at, and more. */
static int asked;

static void *push_and_flush(void *unused) {
    push_line(STR("t"), "web", 3, "between");
    struct err err = {0};
    CHECK_INT(store_flush(world.store, &err), 0);
    return unused;
}

static bool flushes_between(const void *regex, struct str value) {
    (void)regex;
    if (asked++ == 1) {
        pthread_t other;
        CHECK_INT(pthread_create(&other, NULL, push_and_flush, NULL), 0);
        (void)pthread_join(other, NULL);
    }
    return str_eq(value, STR("web"));
}

static void flushed_meanwhile(void) {
    open_store();
    struct err err = {0};
    push_line(STR("t"), "web", 1, "old");
    CHECK_INT(store_flush(world.store, &err), 0);
    struct tap *tap = open_tap(STR("t"), &web, 0);
    push_line(STR("t"), "web", 2, "in the head");
    const struct matcher slow = {.op = MATCH_RE, .name = STR("app"), .matches = flushes_between};
    asked = 0;
    struct snapshot *snap = select_from(0, &slow, tap);
    CHECK(asked >= 2);
    const struct snap_stream *streams;
    CHECK_INT(snapshot_streams(snap, &streams), 1);
    CHECK_INT(world_count_in(snap), 3);
    store_snapshot_free(snap);
    push_line(STR("t"), "web", 4, "after");
    CHECK_INT(tap_take(tap), 0);
    struct tap_entry e;
    CHECK_INT(tap_next(tap, &e), 1);
    CHECK_STR(e.entry.line, STR("after"));
    CHECK_INT(tap_next(tap, &e), 0);
    tap_close(tap);
    world_end(&world);
}

static void needs_a_writer(void) {
    struct err err = {0};
    open_store();
    world_close(&world);
    world_open(&world, (struct store_options){.read_only = true});
    const struct tap_options tap_options = {.tenant = STR("t")};
    struct tap *tap = NULL;
    CHECK(tap_open(world.store, &tap_options, &tap, &err) < 0);
    world_end(&world);
}

int main(void) {
    RUN(gets_what_matches);
    RUN(full_queue_drops);
    RUN(each_entry_once);
    RUN(late_entries_come);
    RUN(flushed_meanwhile);
    RUN(needs_a_writer);
    return test_done();
}
