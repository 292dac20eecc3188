/* The compactor's thread: a pass at start + interval and then each interval, at once when asked; every minute the
 * small chores (files whose last query has ended, LMDB slots of readers that died). The first pass also removes
 * chunk files that the index does not know: a crash between two steps of an earlier pass, or of a flush, left
 * them. Retention alone has crash states; they are listed in retention.c. */
#include "compactor.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "clock.h"
#include "index.h"
#include "labels.h"
#include "log.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define INTERVAL_DEFAULT_NS (600 * NS_PER_SECOND)
#define CHORES_NS (60 * NS_PER_SECOND)

enum { PAIRS_MAX = 4096 };

struct compactor {
    struct store *store;
    struct compactor_options o;
    pthread_t thread;
    pthread_cond_t wake;             /* the thread: stop or a wanted pass */
    pthread_cond_t finished;         /* waiters of compactor_run_once */
    pthread_mutex_t lock;            /* guards all below but `swept` */
    struct retention_policy *policy; /* NULL = nothing expires */
    bool stop;
    uint64_t begun, ended, wanted; /* passes, counted from 1; wanted: run until ended >= wanted */
    int last_code;                 /* of pass `ended` */
    struct err last_err;
    struct compactor_stats stats;

    bool swept; /* the thread's own: orphans have been looked for */
};

static struct retention_policy *policy_get(struct compactor *c) {
    pthread_mutex_lock(&c->lock);
    struct retention_policy *p = retention_policy_ref(c->policy);
    pthread_mutex_unlock(&c->lock);
    return p;
}

/* store_visible_fn: what has expired but is still on disk does not exist for queries. */
static int64_t visible_from(void *ctx, struct str tenant, struct labels labels) {
    struct compactor *c = ctx;
    struct retention_policy *p = c ? policy_get(c) : NULL;
    int64_t period_ns = p ? retention_period(p, tenant, labels) : 0;
    retention_policy_unref(p);
    int64_t from_ns;
    if (period_ns <= 0 || __builtin_sub_overflow(clock_now_ns(), period_ns, &from_ns))
        return INT64_MIN;
    return from_ns;
}

/* ---- passes */

static void log_pass(const struct compactor *c, int code, const struct retention_result *result,
                     int64_t duration_ns, const struct err *err) {
    if (!c->o.log)
        return;
    struct buf pairs = buf_make(PAIRS_MAX);
    if (code < 0) {
        buf_addf(&pairs, "err=");
        go_quote(&pairs, str_from(err->text));
    } else {
        buf_addf(&pairs,
                 "chunks=%" PRIu64 " bytes=%" PRIu64 " entries=%" PRIu64 " streams=%" PRIu64
                 " orphans=%" PRIu64 " duration_ms=%" PRId64,
                 result->chunks, result->bytes, result->entries, result->streams, result->orphans,
                 duration_ns / 1000000);
    }
    buf_add_char(&pairs, '\0');
    bool removed = result->chunks || result->streams || result->orphans;
    if (code < 0)
        c->o.log(LOG_ERROR, "retention pass failed", pairs.failed ? "" : pairs.data);
    else
        c->o.log(removed ? LOG_INFO : LOG_DEBUG, "retention pass", pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

static int run_pass(struct compactor *c, struct retention_result *ret, struct err *reterr) {
    struct retention_policy *policy = policy_get(c);
    int r = 0;
    if (!c->swept) {
        int64_t orphans = store_sweep_orphans(c->store, reterr);
        c->swept = orphans >= 0;
        if (orphans < 0)
            r = (int)orphans;
        else
            ret->orphans = (uint64_t)orphans;
    }
    if (policy) {
        struct retention_result removed = {0};
        struct err err = {0};
        int run_r = retention_run(c->store, policy, clock_now_ns(), &removed, &err);
        if (run_r < 0 && r == 0) {
            r = run_r;
            *reterr = err;
        }
        removed.orphans = ret->orphans;
        *ret = removed;
    }
    retention_policy_unref(policy);
    (void)store_reap(c->store);
    return r;
}

/* Called and left with the lock held. */
static void pass_with_figures(struct compactor *c) {
    c->begun++;
    pthread_mutex_unlock(&c->lock);
    struct retention_result result = {0};
    struct err err = {0};
    int64_t start_ns = clock_now_ns(), start_mono_ns = clock_mono_ns();
    int code = run_pass(c, &result, &err);
    int64_t duration_ns = clock_mono_ns() - start_mono_ns;
    log_pass(c, code, &result, duration_ns, &err);
    pthread_mutex_lock(&c->lock);
    c->ended = c->begun;
    c->last_code = code;
    c->last_err = err;
    c->stats.runs++;
    c->stats.failures += code < 0;
    c->stats.last_run_ns = start_ns;
    c->stats.last_duration_ns = duration_ns;
    c->stats.totals.chunks += result.chunks;
    c->stats.totals.bytes += result.bytes;
    c->stats.totals.entries += result.entries;
    c->stats.totals.streams += result.streams;
    c->stats.totals.orphans += result.orphans;
    pthread_cond_broadcast(&c->finished);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void *compactor_main(void *arg) {
    struct compactor *c = arg;
    int64_t pass_at_ns = clock_mono_ns() + c->o.interval_ns;
    int64_t chores_at_ns = clock_mono_ns() + CHORES_NS;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        int64_t now_ns = clock_mono_ns();
        if (c->ended < c->wanted || now_ns >= pass_at_ns) {
            pass_with_figures(c);
            pass_at_ns = clock_mono_ns() + c->o.interval_ns;
        } else if (now_ns >= chores_at_ns) {
            pthread_mutex_unlock(&c->lock);
            (void)store_reap(c->store);
            index_check_readers(store_index(c->store));
            chores_at_ns = clock_mono_ns() + CHORES_NS;
            pthread_mutex_lock(&c->lock);
        } else {
            int64_t until_ns = earlier(pass_at_ns, chores_at_ns);
            struct timespec until = {.tv_sec = until_ns / NS_PER_SECOND,
                                     .tv_nsec = until_ns % NS_PER_SECOND};
            (void)pthread_cond_timedwait(&c->wake, &c->lock, &until);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- the outside */

static void compactor_free(struct compactor *c) {
    retention_policy_unref(c->policy);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->finished);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int compactor_start(struct store *store, struct retention_policy *policy,
                    const struct compactor_options *o, struct compactor **ret, struct err *reterr) {
    struct compactor *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(reterr, -ENOMEM, "no memory for the compactor");
    c->store = store;
    c->o = *o;
    if (c->o.interval_ns <= 0)
        c->o.interval_ns = INTERVAL_DEFAULT_NS;
    c->policy = retention_policy_ref(policy);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&c->finished, NULL);
    store_set_visibility(store, visible_from, c);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = -pthread_create(&c->thread, NULL, compactor_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r < 0) {
        store_set_visibility(store, NULL, NULL);
        compactor_free(c);
        return err_set(reterr, r, "cannot start the compactor's thread: %s", err_name(r));
    }
    (void)pthread_setname_np(c->thread, "compactor");
    *ret = c;
    return 0;
}

void compactor_stop(struct compactor *c) {
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_cond_broadcast(&c->finished);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    store_set_visibility(c->store, NULL, NULL);
    compactor_free(c);
}

void compactor_set_policy(struct compactor *c, struct retention_policy *policy) {
    struct retention_policy *fresh = retention_policy_ref(policy);
    pthread_mutex_lock(&c->lock);
    struct retention_policy *old = c->policy;
    c->policy = fresh;
    pthread_mutex_unlock(&c->lock);
    retention_policy_unref(old);
}

int compactor_run_once(struct compactor *c, struct err *reterr) {
    pthread_mutex_lock(&c->lock);
    /* A pass that runs now may have gone past what the caller wants to see removed: wait for a new one. */
    uint64_t target = c->begun + 1;
    if (c->wanted < target)
        c->wanted = target;
    pthread_cond_signal(&c->wake);
    while (c->ended < target && !c->stop)
        pthread_cond_wait(&c->finished, &c->lock);
    int r = c->last_code;
    if (c->ended < target)
        r = err_set(reterr, -ECANCELED, "the compactor is being stopped");
    else if (r < 0)
        (void)err_set(reterr, r, "%s", c->last_err.text);
    pthread_mutex_unlock(&c->lock);
    return r;
}

void compactor_get_stats(struct compactor *c, struct compactor_stats *ret) {
    pthread_mutex_lock(&c->lock);
    *ret = c->stats;
    pthread_mutex_unlock(&c->lock);
}
