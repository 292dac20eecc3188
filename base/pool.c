#include "pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mapguard.h"

struct job {
    pool_fn *fn;
    void *arg;
};

enum { QUEUE_FIRST = 64, LANES = 16 };

struct lane {
    struct job *jobs; /* ring of `capacity`, grows up to queue_max */
    size_t capacity;
    size_t head; /* the oldest waiting job */
    size_t waiting;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    pthread_cond_t wake; /* it has been taken off the idle ones */
    bool is_idle;
    struct worker *below; /* idle since before */
};

struct pool {
    pthread_mutex_t lock; /* guards: lanes, turn, waiting, running, stopping, idle workers */
    /* Whoever became idle last goes first: what it has in caches and in its malloc's arena is used again, and the others,
     * when there is little to do, cost nothing. */
    struct worker *last_idle;
    pthread_cond_t idle; /* nothing waits and nothing runs */
    struct lane lanes[LANES];
    size_t turn;    /* the lane to look at first */
    size_t waiting; /* in all lanes */
    size_t running;
    bool stopping;
    size_t queue_max;
    unsigned threads_count; /* of those started */
    char name[13];
    struct worker workers[];
};

/* The oldest job of the next lane that has one; the lock is held and something waits. */
static struct job take_job(struct pool *p) {
    while (p->lanes[p->turn].waiting == 0)
        p->turn = (p->turn + 1) % LANES;
    struct lane *l = &p->lanes[p->turn];
    p->turn = (p->turn + 1) % LANES;
    struct job job = l->jobs[l->head];
    l->head = l->head + 1 == l->capacity ? 0 : l->head + 1;
    l->waiting--;
    p->waiting--;
    return job;
}

static void wait_for_work(struct pool *p, struct worker *w) {
    w->is_idle = true;
    w->below = p->last_idle;
    p->last_idle = w;
    while (w->is_idle)
        (void)pthread_cond_wait(&w->wake, &p->lock);
}

/* The lock is held. */
static void wake_one(struct pool *p) {
    struct worker *w = p->last_idle;
    if (!w)
        return; /* all are at work, and look for more before they wait */
    p->last_idle = w->below;
    w->is_idle = false;
    (void)pthread_cond_signal(&w->wake);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->waiting == 0 && !p->stopping)
            wait_for_work(p, w);
        if (p->waiting == 0)
            break;
        struct job job = take_job(p);
        p->running++;
        (void)pthread_mutex_unlock(&p->lock);
        job.fn(job.arg);
        (void)pthread_mutex_lock(&p->lock);
        p->running--;
        if (p->waiting == 0 && p->running == 0)
            (void)pthread_cond_broadcast(&p->idle);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Threads inherit the signal mask, so all is blocked around their start: a signal is the main thread's. */
static bool start_threads(struct pool *p, unsigned threads) {
    sigset_t all, before;
    (void)sigfillset(&all);
    map_guard_leave_open(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < threads; i++) {
        struct worker *w = &p->workers[i];
        w->pool = p;
        (void)pthread_cond_init(&w->wake, NULL);
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            (void)pthread_cond_destroy(&w->wake);
            break;
        }
        p->threads_count++;
        char name[16];
        (void)snprintf(name, sizeof(name), "%s-%u", p->name, i % 100);
        (void)pthread_setname_np(w->thread, name);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->threads_count == threads;
}

struct pool *pool_new(const char *name, unsigned threads, size_t queue_max) {
    assert(threads >= 1);
    assert(queue_max >= 1);
    struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->workers[0]));
    if (!p)
        return NULL;
    p->queue_max = queue_max;
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->idle, NULL);
    if (!start_threads(p, threads)) {
        pool_free(p);
        return NULL;
    }
    return p;
}

/* Called with the lock held and the ring full. */
static bool grow(const struct pool *p, struct lane *l) {
    size_t capacity = l->capacity == 0 ? QUEUE_FIRST : l->capacity * 2;
    if (capacity > p->queue_max)
        capacity = p->queue_max;
    struct job *jobs = calloc(capacity, sizeof(*jobs));
    if (!jobs)
        return false;
    size_t until_wrap = l->capacity - l->head;
    if (l->waiting > 0) {
        memcpy(jobs, l->jobs + l->head, until_wrap * sizeof(*jobs));
        memcpy(jobs + until_wrap, l->jobs, l->head * sizeof(*jobs));
    }
    free(l->jobs);
    l->jobs = jobs;
    l->capacity = capacity;
    l->head = 0;
    return true;
}

static int submit(struct pool *p, struct lane *l, size_t lane_max, struct job job) {
    int r = -EBUSYNOW;
    (void)pthread_mutex_lock(&p->lock);
    if (p->waiting >= p->queue_max || l->waiting >= lane_max)
        goto out;
    /* No memory for a longer queue is overload too: the caller comes again later. */
    if (l->waiting == l->capacity && !grow(p, l))
        goto out;
    l->jobs[(l->head + l->waiting) % l->capacity] = job;
    l->waiting++;
    p->waiting++;
    wake_one(p);
    r = 0;
out:
    (void)pthread_mutex_unlock(&p->lock);
    return r;
}

int pool_submit(struct pool *p, pool_fn *fn, void *arg) {
    return submit(p, &p->lanes[0], p->queue_max, (struct job){.fn = fn, .arg = arg});
}

int pool_submit_keyed(struct pool *p, uint64_t key, pool_fn *fn, void *arg) {
    return submit(p, &p->lanes[key % LANES], (p->queue_max + 1) / 2,
                  (struct job){.fn = fn, .arg = arg});
}

void pool_drain(struct pool *p) {
    (void)pthread_mutex_lock(&p->lock);
    while (p->waiting > 0 || p->running > 0)
        (void)pthread_cond_wait(&p->idle, &p->lock);
    (void)pthread_mutex_unlock(&p->lock);
}

size_t pool_waiting(struct pool *p) {
    (void)pthread_mutex_lock(&p->lock);
    size_t waiting = p->waiting;
    (void)pthread_mutex_unlock(&p->lock);
    return waiting;
}

unsigned pool_threads(const struct pool *p) {
    return p->threads_count;
}

void pool_free(struct pool *p) {
    if (!p)
        return;
    /* Workers leave only when nothing waits; a running job may still submit, so idleness comes first. */
    pool_drain(p);
    (void)pthread_mutex_lock(&p->lock);
    p->stopping = true;
    while (p->last_idle)
        wake_one(p);
    (void)pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads_count; i++) {
        (void)pthread_join(p->workers[i].thread, NULL);
        (void)pthread_cond_destroy(&p->workers[i].wake);
    }
    (void)pthread_cond_destroy(&p->idle);
    (void)pthread_mutex_destroy(&p->lock);
    for (size_t i = 0; i < LANES; i++)
        free(p->lanes[i].jobs);
    free(p);
}
