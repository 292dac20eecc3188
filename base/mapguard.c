/* The handler runs in the thread that read, in the middle of anything: it takes no lock and allocates nothing. It looks
 * through a table of maps that only grows; an entry is free when its size is 0. Adding and removing are serialised by a
 * mutex; start is written before size and read after it, and an entry that is reused meanwhile is not the reader's own,
 * for nobody removes a map that he reads. */
#include "mapguard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PART_SIZE = 4096, PARTS_MAX = 256 }; /* a million maps: more than a process may have */

struct entry {
    atomic_uintptr_t start;
    atomic_size_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards: n_parts, first_free */
static _Atomic(struct entry *) parts[PARTS_MAX];
static int n_parts, first_free; /* no entry before it is free */
static atomic_uint_fast64_t faults;
static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uintptr_t page_size;

static bool is_guarded(uintptr_t address) {
    for (int i = 0; i < PARTS_MAX; i++) {
        struct entry *part = atomic_load_explicit(&parts[i], memory_order_acquire);
        for (int k = 0; part && k < PART_SIZE; k++) {
            size_t size = atomic_load_explicit(&part[k].size, memory_order_acquire);
            uintptr_t start = atomic_load_explicit(&part[k].start, memory_order_relaxed);
            if (size > 0 && address >= start && address - start < size)
                return true;
        }
    }
    return false;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t page = (uintptr_t)info->si_addr & ~(page_size - 1);
    if (is_guarded((uintptr_t)info->si_addr)) {
        void *fresh = mmap((void *)page, page_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (fresh != MAP_FAILED) {
            memset(fresh, 0xff, page_size);
            (void)atomic_fetch_add(&faults, 1);
            return; /* the read is done again */
        }
    }
    (void)sigaction(number, &before, NULL); /* the read fails again, there */
}

static void install(void) {
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, &before);
}

static struct entry *entry_of(int guard) {
    return &atomic_load(&parts[guard / PART_SIZE])[guard % PART_SIZE];
}

/* A free entry; NULL when there is none. Lock held. */
static struct entry *take_free(int *ret_guard) {
    while (first_free < n_parts * PART_SIZE && atomic_load(&entry_of(first_free)->size) > 0)
        first_free++;
    if (first_free == n_parts * PART_SIZE) {
        struct entry *part = n_parts < PARTS_MAX ? calloc(PART_SIZE, sizeof(*part)) : NULL;
        if (!part)
            return NULL;
        atomic_store_explicit(&parts[n_parts++], part, memory_order_release);
    }
    *ret_guard = first_free;
    return entry_of(first_free++);
}

int map_guard_add(const void *map, size_t size) {
    int guard = -1;
    (void)pthread_once(&once, install);
    (void)pthread_mutex_lock(&lock);
    struct entry *e = take_free(&guard);
    if (e) {
        atomic_store_explicit(&e->start, (uintptr_t)map, memory_order_relaxed);
        atomic_store_explicit(&e->size, size, memory_order_release);
    }
    (void)pthread_mutex_unlock(&lock);
    return guard;
}

void map_guard_remove(int guard) {
    if (guard < 0)
        return;
    (void)pthread_mutex_lock(&lock);
    atomic_store(&entry_of(guard)->size, 0);
    if (guard < first_free)
        first_free = guard;
    (void)pthread_mutex_unlock(&lock);
}

void map_guard_leave_open(sigset_t *blocked) {
    (void)sigdelset(blocked, SIGBUS);
}

uint64_t map_guard_faults(void) {
    return atomic_load(&faults);
}
