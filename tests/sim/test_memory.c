/* Memory that is refused: one scenario (open, push, flush, merge, read, close, open again) runs again and again; in run n
 * the n-th allocation of storage and compactor fails, alone or with all that follow for a while. Nothing crashes, no
 * acknowledged entry is lost or doubled, and with memory the store opens and shows all. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "merge.h"
#include "sieve_days.h"
#include "store_private.h"
#include "test.h"
#include "test_folder.h"
#include "units.h"
#include "world.h"

#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

enum { LONG_FAULT = 40, RUNS_MAX = 20000 };

static struct {
    atomic_int calls;
    atomic_int from, upto; /* those calls fail */
    atomic_bool hit;
} fault;

static bool refuses(void) {
    int call = atomic_fetch_add(&fault.calls, 1) + 1;
    if (call < atomic_load(&fault.from) || call > atomic_load(&fault.upto))
        return false;
    atomic_store(&fault.hit, true);
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t size) {
    return refuses() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
    return refuses() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size) {
    return refuses() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return refuses() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *s) {
    return refuses() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n) {
    return refuses() ? NULL : __real_strndup(s, n);
}

/* ---- the scenario */

static struct world world;
static char dir[TEST_FOLDER_MAX];

static void set_fault(int from, int length) {
    atomic_store(&fault.calls, 0);
    atomic_store(&fault.hit, false);
    atomic_store(&fault.from, from);
    atomic_store(&fault.upto, from > 0 ? from + length - 1 : 0);
}

static bool open_world(void) {
    struct store_options o = world_options(dir);
    struct err err = {0};
    world.store = NULL;
    int r = store_open(&o, &world.store, &err);
    if (atomic_load(&fault.from) == 0) {
        if (r < 0)
            printf("  the store does not open: %s\n", err.text);
        CHECK_INT(r, 0);
    } else {
        CHECK(r == 0 || r == -ENOMEM);
    }
    return r == 0;
}

static void push(uint32_t stream, uint32_t n, int64_t step_ns) {
    uint32_t first = world.n_entries;
    for (uint32_t i = first; i < first + n; i++)
        world.entries[i] =
            (struct world_entry){.stream = stream, .ts_ns = BASE_NS + (int64_t)i * step_ns};
    world.n_entries += n;
    (void)world_push(&world, first, n);
    world_wait();
}

static void nothing(void *ctx) {
    (void)ctx;
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

static void merge(void) {
    const struct merge_hooks hooks = {.enter = nothing, .leave = nothing, .stopped = never};
    const struct merge_policy policy = {.everything = true, .disk_percent = 90};
    struct merge_result result = {0};
    struct merger *m = merger_new(world.store, &hooks);
    if (m)
        (void)merger_run(m, &policy, BASE_NS + NS_PER_DAY, &result, NULL);
    merger_free(m);
    sieve_days_write(world.store, world_tenant(0));
}

/* Without reading, whose own failures would say nothing. */
static void scenario(void) {
    if (!open_world())
        return;
    push(0, 40, NS_PER_MS);
    push(1, 10, NS_PER_MS);
    (void)store_flush(world.store, NULL);
    push(0, 40, NS_PER_MS);
    push(2, 5, 7 * NS_PER_HOUR);
    (void)store_flush(world.store, NULL);
    merge();
    (void)store_sweep_orphans(world.store, NULL);
    (void)store_reap(world.store);
    push(1, 10, NS_PER_MS);
    struct select sel = {.tenant = world_tenant(0), .start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct snapshot *snap = NULL;
    if (store_select(world.store, &sel, &snap, NULL) == 0)
        store_snapshot_free(snap);
    store_close(world.store);
    if (open_world())
        store_close(world.store);
}

static void check_after(void) {
    set_fault(0, 0);
    if (!open_world())
        return;
    CHECK_INT(world_check(&world, "with memory again"), 0);
    CHECK_INT(store_flush(world.store, NULL), 0);
    CHECK(store_sweep_orphans(world.store, NULL) >= 0);
    CHECK_INT(world_check(&world, "after a flush and a sweep"), 0);
    store_close(world.store);
}

static void fail_everywhere(int length) {
    int position = 1;
    for (bool hit = true; hit && position < RUNS_MAX && test_case_failures == 0; position++) {
        folder_make_in_memory(dir);
        memset(&world, 0, sizeof(world));
        world_note_directly(&world);
        set_fault(position, length);
        scenario();
        hit = atomic_load(&fault.hit);
        check_after();
        if (test_case_failures > 0)
            printf("  allocation %d failed, and %d more\n", position, length - 1);
        folder_remove(dir);
    }
    printf("  %d allocations failed in turn, %d at a time\n", position - 2, length);
    CHECK(position > 200);
}

static void test_one_refused(void) {
    fail_everywhere(1);
}

static void test_many_refused(void) {
    fail_everywhere(LONG_FAULT);
}

int main(void) {
    RUN(test_one_refused);
    RUN(test_many_refused);
    return test_done();
}
