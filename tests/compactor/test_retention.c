/* retention: the policy by itself, then passes over a real store: what expires, what stays, failed transactions,
 * streams that an interrupted pass left empty, and the compactor's thread. */
#include <errno.h>
#include <fcntl.h>

#include "clock.h"
#include "compactor.h"
#include "io.h"
#include "retention.h"
#include "store_world.h"

#define HOUR (INT64_C(3600) * 1000000000)
#define DAY (24 * HOUR)

/* ---- policy */

static int released;

static void on_release(void *owner) {
    released += *(int *)owner;
}

static const struct matcher app_web[] = {{.op = MATCH_EQ, .name = {"app", 3}, .value = {"web", 3}}};
static const struct matcher app_not_web[] = {
    {.op = MATCH_NEQ, .name = {"app", 3}, .value = {"web", 3}}};
static const struct matcher env_dev[] = {{.op = MATCH_EQ, .name = {"env", 3}, .value = {"dev", 3}}};
static const struct matcher web_dev[] = {{.op = MATCH_EQ, .name = {"app", 3}, .value = {"web", 3}},
                                         {.op = MATCH_EQ, .name = {"env", 3}, .value = {"dev", 3}}};

static const struct label web[] = {{{"app", 3}, {"web", 3}}};
static const struct label web_in_dev[] = {{{"app", 3}, {"web", 3}}, {{"env", 3}, {"dev", 3}}};
static const struct label db_in_dev[] = {{{"app", 3}, {"db", 2}}, {{"env", 3}, {"dev", 3}}};

#define RULE(tenant_, list, priority_, hours)                                                      \
    {                                                                                              \
        .tenant = STR_OF(tenant_), .matchers = (list),                                             \
        .n_matchers = sizeof(list) / sizeof(*(list)), .priority = (priority_),                     \
        .period_ns = (hours)*HOUR                                                                  \
    }
#define STR_OF(literal)                                                                            \
    { "" literal, sizeof(literal) - 1 }

static void policy_rules(void) {
    static const struct retention_rule none_match[] = {RULE("other", app_web, 9, 1)};
    static const struct retention_rule by_priority[] = {RULE("", app_web, 1, 5),
                                                        RULE("", env_dev, 2, 9)};
    static const struct retention_rule tie[] = {RULE("", app_web, 1, 5), RULE("", env_dev, 1, 3),
                                                RULE("", web_dev, 1, 4)};
    static const struct retention_rule tie_for_ever[] = {RULE("", app_web, 1, 0),
                                                         RULE("", env_dev, 1, 7)};
    static const struct retention_rule both_for_ever[] = {RULE("", app_web, 1, 0),
                                                          RULE("", env_dev, 1, 0)};
    static const struct retention_rule tenants[] = {
        RULE("a", app_web, 5, 2), RULE("b", app_web, 9, 3), RULE("", app_web, 1, 4)};
    static const struct retention_rule negative[] = {RULE("", app_not_web, -3, 6)};
    static const struct retention_rule all[] = {{.tenant = STR_OF(""),
                                                 .matchers = NULL,
                                                 .n_matchers = 0,
                                                 .priority = 0,
                                                 .period_ns = HOUR}};
    static const struct {
        const char *name;
        const struct retention_rule *rules;
        size_t n_rules;
        const char *tenant;
        struct labels labels;
        int64_t default_hours, want_hours;
    } cases[] = {
        {"no rules", NULL, 0, "a", {web, 1}, 10, 10},
        {"no rules, for ever", NULL, 0, "a", {web, 1}, 0, 0},
        {"other tenant's rule", none_match, 1, "a", {web, 1}, 10, 10},
        {"higher priority wins though longer", by_priority, 2, "a", {web_in_dev, 2}, 10, 9},
        {"the only match", by_priority, 2, "a", {web, 1}, 10, 5},
        {"equal priority: the shortest", tie, 3, "a", {web_in_dev, 2}, 10, 3},
        {"equal priority, fewer matches", tie, 3, "a", {web, 1}, 10, 5},
        {"for ever is longer than any period", tie_for_ever, 2, "a", {web_in_dev, 2}, 10, 7},
        {"for ever by rule", tie_for_ever, 2, "a", {web, 1}, 10, 0},
        {"for ever twice", both_for_ever, 2, "a", {web_in_dev, 2}, 10, 0},
        {"own tenant", tenants, 3, "a", {web, 1}, 10, 2},
        {"own tenant, second", tenants, 3, "b", {web, 1}, 10, 3},
        {"every tenant", tenants, 3, "c", {web, 1}, 10, 4},
        {"negative priority beats the default", negative, 1, "a", {db_in_dev, 2}, 10, 6},
        {"not matched", negative, 1, "a", {web, 1}, 10, 10},
        {"a selector without matchers", all, 1, "a", {NULL, 0}, 10, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retention_policy *p = retention_policy_new(
            cases[i].default_hours * HOUR, cases[i].rules, cases[i].n_rules, NULL, NULL);
        int64_t got = retention_period(p, str_from(cases[i].tenant), cases[i].labels);
        if (got != cases[i].want_hours * HOUR)
            printf("  case: %s\n", cases[i].name);
        CHECK_INT(got / HOUR, cases[i].want_hours);
        retention_policy_unref(p);
    }
}

static void policy_is_counted(void) {
    int owner = 1;
    released = 0;
    struct retention_policy *p = retention_policy_new(HOUR, NULL, 0, &owner, on_release);
    CHECK(retention_policy_ref(p) == p);
    retention_policy_unref(p);
    CHECK_INT(released, 0);
    retention_policy_unref(p);
    CHECK_INT(released, 1);
    retention_policy_unref(NULL);
    CHECK(retention_policy_ref(NULL) == NULL);
}

/* ---- a store with data */

static struct store_world world;

static struct store *store_start(void) {
    return world_open(&world, (struct store_options){0});
}

static int remove_segment(const char *name, bool is_dir, void *ctx) {
    return is_dir ? 0 : io_unlink(*(const int *)ctx, name);
}

/* Streams whose definition is still in the WAL come back to memory when it is replayed and count as active until
 * they have been idle for a while. Everything is in chunk files after a close, so the WAL can go. */
static void store_stop(void) {
    world_close(&world);
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/wal", world.dir);
    int fd = io_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    CHECK_INT(io_list(fd, ".", remove_segment, &fd), 0);
    io_close(fd);
}

/* One entry into the stream {app="<app>"} of a tenant; a chunk file of its own. */
static void push(struct store *s, const char *tenant, const char *app, int64_t ts_ns) {
    struct entry entry = {.ts_ns = ts_ns, .line = STR("a line of text")};
    struct err err = {0};
    CHECK_INT(world_append_app(s, str_from(tenant), app, &entry, 1), 0);
    CHECK_INT(store_flush(s, &err), 0);
}

static size_t series_count(struct store *s, const char *tenant) {
    struct snapshot *snap = world_select(s, str_from(tenant), NULL);
    const struct snap_stream *streams;
    size_t count = snapshot_streams(snap, &streams);
    store_snapshot_free(snap);
    return count;
}

/* Two tenants; times are days before `now`. */
static void fill(int64_t now_ns) {
    struct store *s = store_start();
    push(s, "a", "web", now_ns - 40 * DAY);
    push(s, "a", "web", now_ns - 20 * DAY);
    push(s, "a", "web", now_ns - 1 * DAY);
    push(s, "a", "old", now_ns - 50 * DAY);
    push(s, "a", "old", now_ns - 45 * DAY);
    push(s, "b", "old", now_ns - 50 * DAY);
    push(s, "b", "keep", now_ns - 50 * DAY);
    store_stop();
    CHECK_INT(world_chunk_files(&world), 7);
}

static const struct matcher app_keep[] = {
    {.op = MATCH_EQ, .name = {"app", 3}, .value = {"keep", 4}}};
static const struct retention_rule keep_rule[] = {RULE("b", app_keep, 1, 0)};

static void pass_over_store(void) {
    world_begin(&world);
    int64_t now_ns = clock_now_ns();
    fill(now_ns);
    struct store *s = store_start();
    struct retention_policy *p = retention_policy_new(30 * DAY, keep_rule, 1, NULL, NULL);
    struct retention_result got = {0};
    struct err err = {0};
    CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks, 4);
    CHECK_INT(got.entries, 4);
    CHECK(got.bytes > 0);
    CHECK_INT(got.streams, 2);
    CHECK_INT(store_reap(s), 0);
    CHECK_INT(world_chunk_files(&world), 3);
    CHECK_INT(world_index_stats(s).chunks, 3);
    CHECK_INT(world_index_stats(s).streams, 2);
    CHECK_INT(series_count(s, "a"), 1);
    CHECK_INT(series_count(s, "b"), 1);
    /* Nothing is left to do. */
    CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks + got.streams, 0);
    /* Exactly at the end of the period an entry still lives; one nanosecond later it does not. */
    CHECK_INT(retention_run(s, p, now_ns + 10 * DAY, &got, &err), 0);
    CHECK_INT(got.chunks, 0);
    CHECK_INT(retention_run(s, p, now_ns + 10 * DAY + 1, &got, &err), 0);
    CHECK_INT(got.chunks, 1);
    /* A clock before all times overflows nothing. */
    CHECK_INT(retention_run(s, p, INT64_MIN, &got, &err), 0);
    CHECK_INT(got.chunks, 0);
    retention_policy_unref(p);

    /* For ever. */
    p = retention_policy_new(0, NULL, 0, NULL, NULL);
    CHECK_INT(retention_run(s, p, INT64_MAX, &got, &err), 0);
    CHECK_INT(got.chunks + got.streams, 0);
    retention_policy_unref(p);
    world_end(&world);
}

/* A running query keeps the files that it may need; a stream in memory keeps its row. */
static void queries_and_active_streams(void) {
    world_begin(&world);
    int64_t now_ns = clock_now_ns();
    fill(now_ns);
    struct store *s = store_start();
    struct snapshot *snap = world_select(s, STR("a"), NULL);
    struct err err = {0};
    struct label items[] = {{STR("app"), STR("old")}};
    struct stream *pinned;
    CHECK_INT(store_stream(s, STR("a"), (struct labels){items, 1}, (struct str){0}, &pinned, &err),
              0);
    struct retention_policy *p = retention_policy_new(30 * DAY, NULL, 0, NULL, NULL);
    struct retention_result got = {0};
    CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks, 5);
    CHECK_INT(got.streams, 2); /* both of b; a's is pinned */
    CHECK(store_reap(s) > 0);
    CHECK_INT(world_chunk_files(&world), 7);
    store_snapshot_free(snap);
    CHECK_INT(store_reap(s), 0);
    CHECK_INT(world_chunk_files(&world), 2);
    CHECK_INT(world_index_stats(s).streams, 2);
    store_unpin(s, pinned);
    store_stop();
    /* The stream that had lost its chunks before is found without them. */
    s = store_start();
    CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks, 0);
    CHECK_INT(got.streams, 1);
    CHECK_INT(world_index_stats(s).streams, 1);
    /* Its label set can come back. */
    push(s, "a", "old", now_ns);
    CHECK_INT(series_count(s, "a"), 2);
    retention_policy_unref(p);
    world_end(&world);
}

static int commits_left;
static int commit_code;

static int limited_commits(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    return op == IO_COMMIT && commits_left-- <= 0 ? commit_code : 0;
}

/* The n-th commit fails; the store is reopened as after a crash, and the next pass finishes the work. */
static void interrupted_passes(void) {
    int64_t now_ns = clock_now_ns();
    struct retention_policy *p = retention_policy_new(30 * DAY, NULL, 0, NULL, NULL);
    for (int fail_at = 0; fail_at < 6; fail_at++) {
        world_begin(&world);
        fill(now_ns);
        struct store *s = store_start();
        struct retention_result got = {0};
        struct err err = {0};
        commits_left = fail_at;
        commit_code = fail_at % 2 ? -ENOSPC : -EIO;
        io_set_hook(limited_commits, NULL);
        int r = retention_run(s, p, now_ns, &got, &err);
        io_set_hook(NULL, NULL);
        /* Four transactions: chunks and streams of each tenant. */
        CHECK_INT(r, fail_at < 4 ? commit_code : 0);
        world_close(&world); /* files not reaped yet become orphans or are reaped */
        s = store_start();
        CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
        CHECK(store_sweep_orphans(s, &err) >= 0);
        (void)store_reap(s);
        CHECK_INT(world_chunk_files(&world), 2);
        CHECK_INT(world_index_stats(s).chunks, 2);
        CHECK_INT(world_index_stats(s).streams, 1);
        CHECK_INT(series_count(s, "a"), 1);
        world_end(&world);
    }
    retention_policy_unref(p);
}

/* More rows than fit one transaction. */
static int put_many(struct index_txn *txn, void *ctx, struct err *reterr) {
    int64_t now_ns = *(const int64_t *)ctx;
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < 2500; i++) {
        char text[24];
        (void)snprintf(text, sizeof(text), "v%u", (unsigned)i);
        struct label items[] = {{STR("unique"), str_from(text)}};
        int64_t ts_ns = now_ns - (i % 2 ? 50 : 5) * DAY;
        struct index_stream row = {.id = 1000000 + i,
                                   .tenant = STR("many"),
                                   .labels = {items, 1},
                                   .first_ns = ts_ns,
                                   .last_ns = ts_ns};
        struct index_chunk c = {.stream_id = row.id,
                                .chunk_seq = 1000000 + i,
                                .day = (int32_t)(ts_ns / DAY),
                                .sums = {.first_ns = ts_ns, .last_ns = ts_ns, .entries = 1}};
        r = index_put_stream(txn, &row, reterr);
        if (r == 0)
            r = index_put_chunk(txn, STR("many"), &c, reterr);
    }
    return r;
}

static void many_rows(void) {
    world_begin(&world);
    int64_t now_ns = clock_now_ns();
    struct store *s = store_start();
    struct err err = {0};
    CHECK_INT(store_index_update(s, put_many, &now_ns, &err), 0);
    struct retention_policy *p = retention_policy_new(30 * DAY, NULL, 0, NULL, NULL);
    struct retention_result got = {0};
    CHECK_INT(retention_run(s, p, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks, 1250);
    CHECK_INT(got.streams, 1250);
    CHECK_INT(world_index_stats(s).streams, 1250);
    CHECK_INT(retention_run(s, p, now_ns + 60 * DAY, &got, &err), 0);
    CHECK_INT(got.chunks, 1250);
    CHECK_INT(world_index_stats(s).streams, 0);
    retention_policy_unref(p);
    world_end(&world);
}

/* ---- the thread */

static int logged;
static char last_pairs[512];

static void on_log(int level, const char *msg, const char *pairs) {
    (void)level, (void)msg;
    logged++;
    (void)snprintf(last_pairs, sizeof(last_pairs), "%s", pairs);
}

static void compactor_thread(void) {
    world_begin(&world);
    int64_t now_ns = clock_now_ns();
    fill(now_ns);
    struct store *s = store_start();
    struct err err = {0};
    /* A chunk file that no row knows. */
    CHECK_INT(io_mkdirs(store_dir_fd(s), "chunks/a/2020-01-01", 0755), 0);
    CHECK_INT(io_write_file_durable(store_dir_fd(s),
                                    "chunks/a/2020-01-01/0000000000000001-0000000000000000.chunk",
                                    STR("left by a crash")),
              0);
    int owner = 1;
    released = 0;
    logged = 0;
    struct retention_policy *p = retention_policy_new(30 * DAY, NULL, 0, &owner, on_release);
    struct compactor_options o = {.log = on_log};
    struct compactor *c = NULL;
    CHECK_INT(compactor_start(s, p, &o, &c, &err), 0);
    retention_policy_unref(p);
    /* Expired entries are invisible before any pass. */
    CHECK_INT(world_chunk_files(&world), 8);
    struct snapshot *snap = world_select(s, STR("a"), NULL);
    const struct snap_stream *streams;
    size_t count = snapshot_streams(snap, &streams);
    for (size_t i = 0; i < count; i++)
        CHECK(streams[i].visible_from_ns > now_ns - 31 * DAY);
    store_snapshot_free(snap);

    CHECK_INT(compactor_run_once(c, &err), 0);
    CHECK_INT(world_chunk_files(&world), 2);
    CHECK_INT(logged, 1);
    CHECK(strstr(last_pairs, "chunks=5 ") && strstr(last_pairs, "orphans=1 "));
    struct compactor_stats stats;
    compactor_get_stats(c, &stats);
    CHECK_INT(stats.runs, 1);
    CHECK_INT(stats.failures, 0);
    CHECK_INT(stats.totals.chunks, 5);
    CHECK_INT(stats.totals.orphans, 1);
    CHECK(stats.last_run_ns >= now_ns);

    /* A shorter policy takes the rest; none at all keeps everything. */
    compactor_set_policy(c, NULL);
    CHECK_INT(released, 1);
    CHECK_INT(compactor_run_once(c, &err), 0);
    CHECK_INT(world_chunk_files(&world), 2);
    p = retention_policy_new(2 * DAY, NULL, 0, &owner, on_release);
    compactor_set_policy(c, p);
    retention_policy_unref(p);
    commits_left = 0;
    commit_code = -EIO;
    io_set_hook(limited_commits, NULL);
    CHECK_INT(compactor_run_once(c, &err), -EIO);
    io_set_hook(NULL, NULL);
    CHECK(err.text[0] != '\0' && strstr(last_pairs, "err=\"") != NULL);
    CHECK_INT(compactor_run_once(c, &err), 0);
    CHECK_INT(world_chunk_files(&world), 1);
    compactor_get_stats(c, &stats);
    CHECK_INT(stats.runs, 4);
    CHECK_INT(stats.failures, 1);
    compactor_stop(c);
    compactor_stop(NULL);
    CHECK_INT(released, 2);
    world_end(&world);
}

int main(void) {
    RUN(policy_rules);
    RUN(policy_is_counted);
    RUN(pass_over_store);
    RUN(queries_and_active_streams);
    RUN(interrupted_passes);
    RUN(many_rows);
    RUN(compactor_thread);
    return test_done();
}
