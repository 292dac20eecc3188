/* clock: the two clocks. Tests may shift the wall clock of the whole process (retention, age limits);
 * programs never do. Any thread. */
#pragma once

#include <stdint.h>

/* Wall clock, nanoseconds since 1970 UTC. */
int64_t clock_now_ns(void);

/* Monotonic, for deadlines and latencies. */
int64_t clock_mono_ns(void);

/* Added to clock_now_ns() from now on. Reads LOGQ_TEST_CLOCK_OFFSET (a Go duration) once at first use when
 * never called. */
void clock_shift_ns(int64_t offset_ns);
