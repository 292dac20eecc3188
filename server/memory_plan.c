#include "memory_plan.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "budget.h"
#include "io.h"
#include "units.h"

#define MIB ((uint64_t)1 << 20)

enum {
    LIMIT_AUTO_MAX_MIB = 4096,
    LIMIT_LEAST_MIB = 64, /* less serves nobody */
    SMALL_MIB = 512,      /* below it malloc is told to give memory back soon */
    BODIES_MAX_MIB = 256,
};

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* UINT64_MAX: no limit, or none that can be read. */
static uint64_t read_limit(const char *path) {
    struct buf text = buf_make(64);
    uint64_t value = UINT64_MAX;
    int r = io_read_file(AT_FDCWD, path, &text);
    if (r < 0 || u64_parse(str_trim(buf_str(&text)), &value) < 0)
        value = UINT64_MAX;
    buf_done(&text);
    return value;
}

/* The group's own directory, as a container sees it, or as /proc/self/cgroup names it (version 2: "0::/path"). */
static uint64_t cgroup_limit(void) {
    uint64_t least = smaller(read_limit("/sys/fs/cgroup/memory.max"),
                             read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    struct buf text = buf_make(4096);
    if (io_read_file(AT_FDCWD, "/proc/self/cgroup", &text) >= 0) {
        struct str line = str_trim(buf_str(&text));
        char path[4200];
        if (str_starts(line, STR("0::/")) && !memchr(line.data, '\n', line.size)) {
            (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%.*s/memory.max", (int)line.size - 4,
                           line.data + 4);
            least = smaller(least, read_limit(path));
        }
    }
    buf_done(&text);
    return least;
}

uint64_t memory_of_machine(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 2048 * MIB;
    return smaller(machine, cgroup_limit());
}

struct memory_plan memory_plan_make(const struct config *c, uint64_t machine_bytes) {
    uint64_t limit = c->memory_limit;
    if (limit == 0)
        limit = smaller(machine_bytes / 2, LIMIT_AUTO_MAX_MIB * MIB);
    if (limit < LIMIT_LEAST_MIB * MIB)
        limit = LIMIT_LEAST_MIB * MIB;
    return (struct memory_plan){
        .limit = limit,
        .head_budget = smaller(c->head_budget_bytes, limit / 4),
        .push_body_max = smaller(c->push_body_max, limit / 8),
        .bodies_max = smaller(BODIES_MAX_MIB * MIB, limit / 5),
        .chunk_cache = smaller(c->chunk_cache_bytes, limit / 4),
        .wal_buffer = smaller(c->wal.buffer_max_bytes, limit / 16),
        /* Each may hold a decompressed body and what was decoded from it. */
        .workers = limit < SMALL_MIB * MIB && c->workers == 0 ? 2 : c->workers,
    };
}

void memory_plan_apply(const struct memory_plan *p) {
    budget_set_limit(p->limit);
    if (p->limit >= SMALL_MIB * MIB)
        return;
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
}
