#include "crew.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "mapguard.h"

enum {
    CREW_THREADS_MAX = 256, /* more than any machine this runs on has cores */
    SHARE_BATCH = 8,
};

struct crew {
    pthread_mutex_t lock;  /* guards: jobs, the crew's fields of jobs, stopping */
    pthread_cond_t work;   /* a job has come, or stopping */
    pthread_cond_t done;   /* a job has no running task left */
    struct crew_job *jobs; /* where the next free worker looks first; NULL = none */
    bool stopping;
    unsigned n_threads;
    struct crew_worker {
        struct crew *crew;
        unsigned slot; /* slot 0 is the calling thread */
        pthread_t thread;
    } workers[];
};

static void ring_add(struct crew *s, struct crew_job *job) {
    if (!s->jobs) {
        job->before = job->after = job;
        s->jobs = job;
        return;
    }
    job->after = s->jobs;
    job->before = s->jobs->before;
    job->before->after = job;
    job->after->before = job;
}

static void ring_remove(struct crew *s, struct crew_job *job) {
    if (!job->after)
        return;
    if (job->after == job) {
        s->jobs = NULL;
    } else {
        job->before->after = job->after;
        job->after->before = job->before;
        if (s->jobs == job)
            s->jobs = job->after;
    }
    job->before = job->after = NULL;
}

/* Takes one batch of `job` and runs it. Called and returns with the lock held. */
static void run_batch(struct crew *s, struct crew_job *job, unsigned slot) {
    size_t from = job->next;
    size_t left = job->n_tasks - from;
    size_t to = from + (left < job->batch ? left : job->batch);
    job->next = to;
    if (to == job->n_tasks)
        ring_remove(s, job);
    job->running++;
    pthread_mutex_unlock(&s->lock);
    struct err err;
    err.text[0] = '\0';
    int r = job->run(job->ctx, slot, from, to, &err);
    pthread_mutex_lock(&s->lock);
    if (r != 0) {
        job->next = job->n_tasks;
        ring_remove(s, job);
        if (r < 0 && job->status == 0) {
            job->status = r;
            if (job->err)
                *job->err = err;
        }
    }
    job->running--;
    if (job->running == 0 && job->next == job->n_tasks)
        pthread_cond_broadcast(&s->done);
}

static void *worker_main(void *arg) {
    struct crew_worker *w = arg;
    struct crew *s = w->crew;
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        struct crew_job *job = s->jobs;
        if (!job) {
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        s->jobs = job->after;
        run_batch(s, job, w->slot);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct crew *crew_new(unsigned threads) {
    if (threads < 1)
        threads = 1;
    if (threads > CREW_THREADS_MAX)
        threads = CREW_THREADS_MAX;
    struct crew *s = calloc(1, sizeof(*s) + (threads - 1) * sizeof(s->workers[0]));
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    sigset_t all, before;
    sigfillset(&all);
    map_guard_leave_open(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < threads - 1; i++) {
        s->workers[i].crew = s;
        s->workers[i].slot = i + 1;
        if (pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]) != 0)
            break; /* fewer threads do the same work */
        s->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s;
}

void crew_free(struct crew *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    assert(!s->jobs);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->n_threads; i++)
        pthread_join(s->workers[i].thread, NULL);
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

unsigned crew_slots(const struct crew *s) {
    return s->n_threads + 1;
}

int crew_run(struct crew *s, struct crew_job *job, struct err *reterr) {
    assert(job->batch >= 1);
    job->next = 0;
    job->running = 0;
    job->status = 0;
    job->err = reterr;
    job->before = job->after = NULL;
    if (job->n_tasks == 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    ring_add(s, job);
    if (job->n_tasks > job->batch)
        pthread_cond_broadcast(&s->work);
    while (job->next < job->n_tasks)
        run_batch(s, job, 0);
    while (job->running > 0)
        pthread_cond_wait(&s->done, &s->lock);
    assert(!job->after);
    pthread_mutex_unlock(&s->lock);
    return job->status;
}

/* ---- for rooms below */

struct shared {
    share_fn *fn;
    void *ctx;
};

static int run_shared(void *ctx, unsigned worker, size_t from, size_t to, struct err *reterr) {
    const struct shared *shared = ctx;
    (void)worker;
    (void)reterr;
    shared->fn(shared->ctx, from, to);
    return 0;
}

static void share_run(void *threads, size_t n, share_fn *fn, void *ctx) {
    struct shared shared = {.fn = fn, .ctx = ctx};
    struct crew_job job = {.run = run_shared, .ctx = &shared, .n_tasks = n, .batch = SHARE_BATCH};
    (void)crew_run(threads, &job, NULL);
}

struct share crew_share(struct crew *s) {
    return (struct share){.run = share_run, .threads = s};
}
