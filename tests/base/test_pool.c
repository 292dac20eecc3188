#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "err.h"
#include "pool.h"
#include "test.h"

static atomic_int ran;

static void count(void *arg) {
    (void)arg;
    atomic_fetch_add(&ran, 1);
}

static void test_runs_all(void) {
    for (unsigned threads = 1; threads <= 4; threads++) {
        atomic_store(&ran, 0);
        struct pool *p = pool_new("test", threads, 1000);
        CHECK(p != NULL);
        CHECK_INT(pool_threads(p), threads);
        int submitted = 0;
        for (int i = 0; i < 5000; i++)
            submitted += pool_submit(p, count, NULL) == 0;
        pool_drain(p);
        CHECK_INT(atomic_load(&ran), submitted);
        CHECK_INT(pool_waiting(p), 0);
        CHECK_INT(pool_submit(p, count, NULL), 0);
        pool_free(p);
        CHECK_INT(atomic_load(&ran), submitted + 1);
    }
    pool_free(NULL);
}

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool entered;
    bool open;
};

static void wait_at_gate(void *arg) {
    struct gate *g = arg;
    (void)pthread_mutex_lock(&g->lock);
    g->entered = true;
    (void)pthread_cond_broadcast(&g->changed);
    while (!g->open)
        (void)pthread_cond_wait(&g->changed, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
}

enum { QUEUE_MAX = 150, ORDER_MAX = 200 };
static int order[ORDER_MAX];
static int order_count;

static void note_order(void *arg) {
    order[order_count++] = *(int *)arg;
}

/* The one worker is held, so the queue fills up; jobs come out in the order they went in. */
static void test_queue_maximum(void) {
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    static int numbers[QUEUE_MAX];
    struct pool *p = pool_new("test", 1, QUEUE_MAX);
    CHECK_INT(pool_submit(p, wait_at_gate, &gate), 0);
    (void)pthread_mutex_lock(&gate.lock);
    while (!gate.entered)
        (void)pthread_cond_wait(&gate.changed, &gate.lock);
    (void)pthread_mutex_unlock(&gate.lock);
    for (int i = 0; i < QUEUE_MAX; i++) {
        numbers[i] = i;
        CHECK_INT(pool_submit(p, note_order, &numbers[i]), 0);
    }
    CHECK_INT(pool_waiting(p), QUEUE_MAX);
    CHECK_INT(pool_submit(p, note_order, &numbers[0]), -EBUSYNOW);
    (void)pthread_mutex_lock(&gate.lock);
    gate.open = true;
    (void)pthread_cond_broadcast(&gate.changed);
    (void)pthread_mutex_unlock(&gate.lock);
    pool_drain(p);
    CHECK_INT(order_count, QUEUE_MAX);
    for (int i = 0; i < order_count; i++)
        CHECK_INT(order[i], i);
    pool_free(p);
}

struct chain {
    struct pool *pool;
    atomic_int left;
};

static void submit_next(void *arg) {
    struct chain *c = arg;
    if (atomic_fetch_sub(&c->left, 1) > 1 && pool_submit(c->pool, submit_next, c) < 0)
        abort();
}

/* Jobs that submit jobs: draining waits for all of them. */
static void test_submit_from_worker(void) {
    struct chain chain = {.pool = pool_new("chain", 3, 10), .left = 1000};
    CHECK_INT(pool_submit(chain.pool, submit_next, &chain), 0);
    pool_free(chain.pool);
    CHECK_INT(atomic_load(&chain.left), 0);
}

static atomic_int turns;
static int modest_turn;

static void greedy_job(void *arg) {
    (void)arg;
    (void)atomic_fetch_add(&turns, 1);
}

static void modest_job(void *arg) {
    (void)arg;
    modest_turn = atomic_fetch_add(&turns, 1);
}

static void wait_for_gate(void *arg) {
    while (!atomic_load((atomic_bool *)arg))
        (void)sched_yield();
}

/* Who fills his queue is refused, and nobody waits behind him but his own. */
static void test_keyed_queues(void) {
    atomic_bool gate = false;
    struct pool *p = pool_new("keyed", 1, 100);
    CHECK_INT(pool_submit(p, wait_for_gate, &gate), 0);
    while (pool_waiting(p) > 0)
        (void)sched_yield();
    for (int i = 0; i < 50; i++)
        CHECK_INT(pool_submit_keyed(p, 7, greedy_job, NULL), 0);
    CHECK_INT(pool_submit_keyed(p, 7, greedy_job, NULL), -EBUSYNOW);
    CHECK_INT(pool_submit_keyed(p, 8, modest_job, NULL), 0);
    CHECK_INT(pool_waiting(p), 51);
    atomic_store(&gate, true);
    pool_free(p);
    CHECK_INT(atomic_load(&turns), 51);
    CHECK(modest_turn <= 1);
}

static void *submit_many(void *arg) {
    for (int i = 0; i < 1000; i++)
        while (pool_submit(arg, count, NULL) < 0)
            (void)sched_yield();
    return NULL;
}

static void test_many_submitters(void) {
    atomic_store(&ran, 0);
    struct pool *p = pool_new("a-name-longer-than-allowed", 2, 64);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, submit_many, p), 0);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    pool_drain(p);
    CHECK_INT(atomic_load(&ran), 4000);
    pool_free(p);
}

static void look_at_signals(void *arg) {
    (void)pthread_sigmask(SIG_SETMASK, NULL, arg);
}

static void test_signals_blocked(void) {
    sigset_t in_worker, here;
    (void)sigemptyset(&in_worker);
    struct pool *p = pool_new("signals", 1, 1);
    CHECK_INT(pool_submit(p, look_at_signals, &in_worker), 0);
    pool_free(p);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &here);
    CHECK(sigismember(&in_worker, SIGTERM) == 1);
    CHECK(sigismember(&here, SIGTERM) == 0);
}

int main(void) {
    RUN(test_runs_all);
    RUN(test_queue_maximum);
    RUN(test_submit_from_worker);
    RUN(test_keyed_queues);
    RUN(test_many_submitters);
    RUN(test_signals_blocked);
    return test_done();
}
