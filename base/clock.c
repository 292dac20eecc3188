#include "clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "units.h"

static pthread_once_t offset_once = PTHREAD_ONCE_INIT;
static _Atomic int64_t offset_ns;

static void read_offset(void) {
    const char *text = getenv("LOGQ_TEST_CLOCK_OFFSET");
    int64_t ns;
    if (text && duration_parse_go(str_from(text), &ns) == 0)
        atomic_store_explicit(&offset_ns, ns, memory_order_relaxed);
}

static int64_t read_clock(clockid_t id) {
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_now_ns(void) {
    (void)pthread_once(&offset_once, read_offset);
    return read_clock(CLOCK_REALTIME) + atomic_load_explicit(&offset_ns, memory_order_relaxed);
}

int64_t clock_mono_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

void clock_shift_ns(int64_t shift_ns) {
    (void)pthread_once(&offset_once, read_offset);
    atomic_store_explicit(&offset_ns, shift_ns, memory_order_relaxed);
}
