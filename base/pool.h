/* pool: a fixed number of worker threads and bounded queues of jobs. pool_submit may be called from
 * any thread, workers included. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct pool;

typedef void pool_fn(void *arg);

/* `threads` >= 1; at most `queue_max` jobs wait. NULL without memory or threads. `name` (<= 12 bytes) names
 * the threads for top and gdb. All signals are blocked in the workers. */
struct pool *pool_new(const char *name, unsigned threads, size_t queue_max);

/* 0, or -EBUSYNOW when queue_max jobs wait already. */
int pool_submit(struct pool *p, pool_fn *fn, void *arg);

/* The same, in one of several queues that take turns: whoever fills one (a tenant, say) is in nobody's way but
 * his own. `key` chooses; pool_submit's queue is that of key 0. One queue holds at most half of queue_max. */
int pool_submit_keyed(struct pool *p, uint64_t key, pool_fn *fn, void *arg);

/* Waits until no job waits or runs. */
void pool_drain(struct pool *p);

size_t pool_waiting(struct pool *p);
unsigned pool_threads(const struct pool *p);

/* Drains, stops and joins. NULL is fine. */
void pool_free(struct pool *p);
