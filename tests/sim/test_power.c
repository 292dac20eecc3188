/* Lost power: a random history of a store (pushes, retries, flushes, merges, sieves, retention, deletes, sweeps, kills,
 * restarts, rebuilt indexes) runs over the simulated disk of disk.h. Then the power fails before each single call of that
 * history in turn, and the store is opened on what the disk may hold: it must open, show each acknowledged entry once and
 * unaltered, and nothing that was never pushed; so after a flush, a sweep, and after the clients have retried. Some
 * histories begin where another one lost its power.
 *
 * usage: test_power [HISTORIES [SEED]]; a history has about 1 500 places. Without an argument a part of a few seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "disk.h"
#include "erasure.h"
#include "merge.h"
#include "retention.h"
#include "sieve_days.h"
#include "store_private.h"
#include "test.h"
#include "test_folder.h"
#include "units.h"
#include "world.h"

#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

enum { STEPS = 160, QUICK_HISTORIES = 2, QUICK_SHARE = 12, CHAIN_EACH = 3, KILLED_CALLS = 50 };

static struct world world, view;
static char folder[TEST_FOLDER_MAX], crashed[300], live[300];
static uint64_t seed;
static uint64_t n_places, n_merges, n_deletes, n_reopened, n_rebuilt, n_chained, n_kept;

static uint64_t dice(uint64_t sides) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % sides;
}

static void shell(const char *format, const char *a, const char *b) {
    char command[1000];
    (void)snprintf(command, sizeof(command), format, a, b);
    if (system(command) != 0)
        abort();
}

static void empty_folder(const char *path) {
    shell("rm -rf '%s' && mkdir -p '%s'", path, path);
}

/* ---- a history */

static bool open_world(struct world *w, const char *dir) {
    struct store_options o = world_options(dir);
    struct err err = {0};
    w->store = NULL;
    int r = store_open(&o, &w->store, &err);
    if (r < 0)
        printf("  the store does not open: %s\n", err.text);
    CHECK_INT(r, 0);
    return r == 0;
}

/* New entries of one stream: mostly in order, some late, some days later. */
static uint32_t invent(uint32_t n) {
    uint32_t first = world.n_entries, stream = (uint32_t)dice(WORLD_STREAMS);
    int64_t at = BASE_NS + first * NS_PER_S, step = dice(8) ? NS_PER_MS : -NS_PER_MS;
    if (dice(12) == 0)
        step = 9 * NS_PER_HOUR;
    for (uint32_t i = first; i < first + n; i++, at += step)
        world.entries[i] = (struct world_entry){.stream = stream, .ts_ns = at};
    world.n_entries += n;
    return first;
}

static uint32_t last_first, last_n;

static void step_push(void) {
    if (last_n > 0 && dice(6) == 0) {
        (void)world_push(&world, last_first, last_n); /* again, as after a lost answer */
        return;
    }
    uint32_t n = dice(5) ? 1 + (uint32_t)dice(8) : 1 + (uint32_t)dice(WORLD_PUSH_MAX);
    if (world.n_entries + n > WORLD_ENTRIES_MAX - WORLD_PUSH_MAX)
        return;
    last_first = invent(n);
    last_n = n;
    (void)world_push(&world, last_first, n);
}

static void step_flush_due(void) {
    world.store->options.chunk_target_bytes = 1;
    (void)flush_pass(world.store, FLUSH_DUE, NULL);
    world.store->options.chunk_target_bytes = 0;
}

static void step_retention(void) {
    struct matcher old = {.op = MATCH_EQ, .name = STR("app"), .value = STR("old")};
    struct retention_rule rule = {.matchers = &old, .n_matchers = 1, .period_ns = NS_PER_HOUR};
    struct retention_policy *p = retention_policy_new(0, &rule, 1, NULL, NULL);
    struct retention_result result;
    world_wait();
    disk_note(NOTE_EXPIRED, world.n_entries);
    CHECK_INT(retention_run(world.store, p, BASE_NS + 365 * NS_PER_DAY, &result, NULL), 0);
    retention_policy_unref(p);
    (void)store_reap(world.store);
}

static void nothing(void *ctx) {
    (void)ctx;
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

/* Two times of three as days that are over: sorted, without duplicates, compressed anew. */
static void step_merge(void) {
    const struct merge_hooks hooks = {.enter = nothing, .leave = nothing, .stopped = never};
    struct merge_policy policy = {.everything = dice(3) > 0, .disk_percent = 90};
    struct merge_result result = {0};
    struct merger *m = merger_new(world.store, &hooks);
    CHECK_INT(merger_run(m, &policy, BASE_NS + NS_PER_DAY, &result, NULL), 0);
    CHECK_INT(result.failures, 0);
    n_merges += result.rewrites;
    merger_free(m);
    if (dice(4) == 0)
        sieve_days_write(world.store, world_tenant((uint32_t)dice(2)));
    (void)store_reap(world.store);
}

/* Deletes from the old streams, all or what has an "e"; sometimes the request is taken, and its work left for later. */
static void step_delete(void) {
    const struct deletes_options o = {.language = &erasure_language};
    struct deletes *d = NULL;
    struct deletes_result done = {0};
    char id[DELETE_ID_SIZE + 1];
    world_wait();
    if (deletes_open(world.store, &o, &d, NULL) < 0)
        return; /* the process is being killed */
    disk_note(NOTE_EXPIRED, world.n_entries);
    struct str query = dice(2) ? STR("old e") : STR("old");
    int r = deletes_add(d, world_tenant((uint32_t)dice(2)), query, INT64_MIN, INT64_MAX,
                        BASE_NS + NS_PER_DAY, id, NULL);
    if (r == 0 && dice(4) > 0)
        (void)deletes_run(d, BASE_NS + 2 * NS_PER_DAY, NULL, NULL, &done, NULL);
    n_deletes += done.processed;
    (void)store_reap(world.store);
    deletes_close(d);
}

static bool step_restart(bool rebuild) {
    struct store_rebuild done;
    world_wait();
    store_close(world.store);
    if (rebuild)
        CHECK_INT(store_rebuild_index(live, &done, NULL), 0);
    return open_world(&world, live);
}

static void kill_merge(void) {
    const struct merge_hooks hooks = {.enter = nothing, .leave = nothing, .stopped = never};
    struct merge_policy policy = {.everything = true, .disk_percent = 90};
    struct merge_result result = {0};
    struct merger *m = merger_new(world.store, &hooks);
    (void)merger_run(m, &policy, BASE_NS + NS_PER_DAY, &result, NULL);
    merger_free(m);
    sieve_days_write(world.store, world_tenant(0));
}

/* kill -9 in the middle of something: what was written stays, durable or not. */
static bool step_killed(void) {
    disk_die_after((unsigned)dice(60));
    switch (dice(6)) {
    case 4:
        kill_merge();
        break;
    case 5:
        step_delete();
        break;
    case 0:
        (void)store_flush(world.store, NULL);
        break;
    case 1:
        step_flush_due();
        break;
    case 2:
        (void)store_sweep_orphans(world.store, NULL);
        break;
    default:
        step_push();
        break;
    }
    store_close(world.store);
    world_wait();
    disk_revive();
    return open_world(&world, live);
}

static struct disk_log *run_history(void) {
    disk_watch(live);
    last_n = 0;
    bool open = open_world(&world, live);
    for (int i = 0; open && i < STEPS; i++) {
        uint64_t what = dice(100);
        if (what < 62)
            step_push();
        else if (what < 77)
            world_wait();
        else if (what < 80)
            step_merge();
        else if (what < 86)
            CHECK_INT(store_flush(world.store, NULL), 0);
        else if (what < 91)
            step_flush_due();
        else if (what < 92)
            step_retention();
        else if (what < 94)
            step_delete();
        else if (what < 96)
            CHECK(store_sweep_orphans(world.store, NULL) >= 0);
        else if (what < 98)
            open = step_killed();
        else
            open = step_restart(what == 99);
    }
    world_wait();
    if (open)
        store_close(world.store);
    return disk_unwatch();
}

/* ---- after the power failed */

static void retry_pushes(void) {
    for (uint32_t i = 0; i < view.n_entries; i++) {
        uint32_t n = 0;
        while (i + n < view.n_entries && n < WORLD_PUSH_MAX && view.states[i + n] == WORLD_PUSHED &&
               view.entries[i + n].stream == view.entries[i].stream)
            n++;
        if (n == 0)
            continue;
        CHECK(world_push(&view, i, n));
        world_wait();
        world_note(NOTE_ACKNOWLEDGED, (uint64_t)i << 16 | n, &view);
        i += n - 1;
    }
}

static void check_crashed(unsigned depth) {
    sieve_days_check(crashed);
    if (!open_world(&view, crashed))
        return;
    CHECK_INT(world_check(&view, "after the power failed"), 0);
    if (depth > 0) {
        retry_pushes();
        CHECK_INT(store_flush(view.store, NULL), 0);
        CHECK(store_sweep_orphans(view.store, NULL) >= 0);
        CHECK_INT(world_check(&view, "after retries, a flush and a sweep"), 0);
        n_reopened++;
    }
    store_close(view.store);
    if (depth > 1) {
        struct store_rebuild done;
        CHECK_INT(store_rebuild_index(crashed, &done, NULL), 0);
        CHECK_INT(done.damaged, 0);
    }
    if (depth > 0 && open_world(&view, crashed)) {
        CHECK_INT(world_check(&view, depth > 1 ? "with a rebuilt index" : "opened again"), 0);
        store_close(view.store);
        n_rebuilt += depth > 1;
    }
}

static void copy_states(struct world *to, const struct world *from) {
    memcpy(to->entries, from->entries, sizeof(to->entries));
    memcpy(to->states, from->states, sizeof(to->states));
    to->n_entries = from->n_entries;
}

/* Lets the power fail at each `each`-th place of the log. `before` is what the world was when it began. */
static void fail_everywhere(const struct disk_log *log, const struct world *before, size_t each) {
    static struct world at;
    struct disk_replay *replay = disk_replay_new(log);
    copy_states(&at, before);
    memcpy(at.entries, world.entries, sizeof(at.entries));
    at.n_entries = world.n_entries;
    for (size_t place = dice(each); place <= disk_log_size(log) && test_case_failures == 0;
         place += each) {
        disk_replay_to(replay, place, world_note, &at);
        uint64_t own = dice(UINT64_C(1) << 31);
        empty_folder(crashed);
        disk_crash(replay, crashed, own);
        copy_states(&view, &at);
        for (uint32_t i = 0; i < at.n_entries; i++)
            n_kept += at.states[i] == WORLD_ACKNOWLEDGED;
        check_crashed(own % 16 == 0 ? 2 : own % 4 == 0);
        n_places++;
        if (test_case_failures > 0)
            printf("  power failed at place %zu of %zu, state %llu\n", place, disk_log_size(log),
                   (unsigned long long)own);
    }
    disk_replay_free(replay);
}

/* The next history begins on what a crash left of this one. */
static void begin_in_ruins(const struct disk_log *log, const struct world *before) {
    struct disk_replay *replay = disk_replay_new(log);
    static struct world at;
    copy_states(&at, before);
    memcpy(at.entries, world.entries, sizeof(at.entries));
    at.n_entries = world.n_entries;
    size_t place = dice(disk_log_size(log) + 1);
    disk_replay_to(replay, place, world_note, &at);
    empty_folder(live);
    disk_crash(replay, live, dice(UINT64_C(1) << 31));
    copy_states(&world, &at);
    disk_replay_free(replay);
    n_chained++;
}

static void run(unsigned histories, size_t each) {
    static struct world before;
    bool in_ruins = false;
    for (unsigned i = 0; i < histories && test_case_failures == 0; i++) {
        if (!in_ruins) {
            empty_folder(live);
            memset(&world, 0, sizeof(world));
        }
        copy_states(&before, &world);
        uint64_t started_with = seed;
        struct disk_log *log = run_history();
        if (test_case_failures == 0)
            fail_everywhere(log, &before, each);
        in_ruins = i % CHAIN_EACH != CHAIN_EACH - 1;
        if (test_case_failures > 0)
            printf("  in history %u, which began with seed %llu\n", i,
                   (unsigned long long)started_with);
        else if (in_ruins)
            begin_in_ruins(log, &before);
        disk_log_free(log);
    }
}

static unsigned histories = QUICK_HISTORIES;
static size_t each = QUICK_SHARE;

static void make_folders(void) {
    folder_make_in_memory(folder);
    (void)snprintf(live, sizeof(live), "%s/live", folder);
    (void)snprintf(crashed, sizeof(crashed), "%s/crashed", folder);
}

static void remove_folders(void) {
    if (test_case_failures == 0) /* else somebody wants to look */
        folder_remove(folder);
}

/* The process is killed in each call of a flush in turn, goes on after a restart, and then the power fails: what the
 * dead one left in the caches only must not be built on. */
static void test_killed_then_lost_power(void) {
    make_folders();
    for (unsigned calls = 0; calls < KILLED_CALLS && test_case_failures == 0; calls++) {
        empty_folder(live);
        memset(&world, 0, sizeof(world));
        disk_watch(live);
        if (!open_world(&world, live))
            return;
        for (int i = 0; i < 3; i++)
            (void)world_push(&world, invent(5), 5);
        world_wait();
        disk_die_after(calls);
        (void)store_flush(world.store, NULL);
        store_close(world.store);
        disk_revive();
        if (!open_world(&world, live))
            return;
        CHECK_INT(store_flush(world.store, NULL), 0);
        struct disk_log *log = disk_unwatch(); /* the power fails here */
        struct disk_replay *replay = disk_replay_new(log);
        memcpy(&view, &world, sizeof(view));
        disk_replay_to(replay, disk_log_size(log), world_note, &view);
        for (uint64_t i = 0; i < 4; i++) {
            empty_folder(crashed);
            disk_crash(replay, crashed, calls * 4 + i);
            check_crashed(1);
        }
        disk_replay_free(replay);
        disk_log_free(log);
        store_close(world.store);
        if (test_case_failures > 0)
            printf("  killed in call %u of a flush\n", calls);
    }
    remove_folders();
}

static void test_lost_power(void) {
    make_folders();
    int64_t begun = clock_mono_ns();
    run(histories, each);
    printf("  power lost at %llu places: %llu acknowledged entries looked for, %llu reopened "
           "again, %llu rebuilt, "
           "%llu histories begun in ruins, %llu merges, %llu deletes, %.1f s\n",
           (unsigned long long)n_places, (unsigned long long)n_kept, (unsigned long long)n_reopened,
           (unsigned long long)n_rebuilt, (unsigned long long)n_chained,
           (unsigned long long)n_merges, (unsigned long long)n_deletes,
           (double)(clock_mono_ns() - begun) / 1e9);
    remove_folders();
}

int main(int argc, char **argv) {
    seed = 20261126;
    if (argc > 1) {
        histories = (unsigned)strtoul(argv[1], NULL, 10);
        each = 1;
    }
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    RUN(test_killed_then_lost_power);
    RUN(test_lost_power);
    return test_done();
}
