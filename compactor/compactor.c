/* The compactor's thread: a pass at start + interval and then each interval, at once when asked; every minute the
 * small chores (files whose last query has ended, LMDB slots of readers that died). The first pass also removes
 * chunk files that the index does not know: a crash between two steps of an earlier pass, or of a flush, left
 * them. Retention alone has crash states; they are listed in retention.c. */
#include "compactor.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "index.h"
#include "labels.h"
#include "log.h"
#include "mapguard.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define INTERVAL_DEFAULT_NS (600 * NS_PER_SECOND)
#define CHORES_NS (60 * NS_PER_SECOND)

enum { PAIRS_MAX = 4096, MERGE_NICE = 10, PASS_WAIT_NS = 5000000 };

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

    struct deletes *deletes; /* NULL: none */
    bool swept;              /* the pass thread's own: orphans have been looked for */

    pthread_mutex_t
        round_lock; /* one round of merges at a time; guards `merger`; held across its I/O */
    struct merger *merger;
    pthread_t merge_thread;
    /* Who changes chunks: a pass as a whole, a merge one rewrite at a time. Held across I/O on purpose. */
    pthread_mutex_t chunks_lock;
    atomic_bool pass_waits; /* a merge lets it go first */
    atomic_bool stopping;
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
    if (code >= 0 && result->budget_chunks > 0)
        buf_addf(&pairs, " for_space_chunks=%" PRIu64 " for_space_bytes=%" PRIu64,
                 result->budget_chunks, result->budget_bytes);
    buf_add_char(&pairs, '\0');
    bool removed = result->chunks || result->streams || result->orphans;
    if (code < 0)
        c->o.log(LOG_ERROR, "retention pass failed", pairs.failed ? "" : pairs.data);
    else
        c->o.log(removed ? LOG_INFO : LOG_DEBUG, "retention pass", pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

static bool is_stopping(void *ctx) {
    struct compactor *c = ctx;
    return atomic_load(&c->stopping);
}

static int run_deletes(struct compactor *c, struct err *reterr) {
    struct deletes_result result = {0};
    if (!c->deletes)
        return 0;
    int r = deletes_run(c->deletes, clock_now_ns(), is_stopping, c, &result, reterr);
    pthread_mutex_lock(&c->lock);
    c->stats.deletes.processed += result.processed;
    c->stats.deletes.failures += result.failures;
    c->stats.deletes.sums.chunks_removed += result.sums.chunks_removed;
    c->stats.deletes.sums.chunks_rewritten += result.sums.chunks_rewritten;
    c->stats.deletes.sums.lines += result.sums.lines;
    c->stats.deletes.sums.bytes += result.sums.bytes;
    pthread_mutex_unlock(&c->lock);
    return r == -ECANCELED ? 0 : r;
}

static int run_pass(struct compactor *c, struct retention_result *ret, struct err *reterr) {
    struct retention_policy *policy = policy_get(c);
    int r = 0;
    atomic_store(&c->pass_waits, true);
    pthread_mutex_lock(&c->chunks_lock);
    atomic_store(&c->pass_waits, false);
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
    struct err err = {0};
    int deletes_r = run_deletes(c, &err);
    if (deletes_r < 0 && r == 0) {
        r = deletes_r;
        *reterr = err;
    }
    pthread_mutex_unlock(&c->chunks_lock);
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
    c->stats.totals.budget_chunks += result.budget_chunks;
    c->stats.totals.budget_bytes += result.budget_bytes;
    pthread_cond_broadcast(&c->finished);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Or until there is something else to do. The lock is held. */
static void wait_until(struct compactor *c, int64_t until_ns) {
    struct timespec until = {.tv_sec = until_ns / NS_PER_SECOND,
                             .tv_nsec = until_ns % NS_PER_SECOND};
    (void)pthread_cond_timedwait(&c->wake, &c->lock, &until);
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
            wait_until(c, earlier(pass_at_ns, chores_at_ns));
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- merging */

static void merge_enter(void *ctx) {
    struct compactor *c = ctx;
    struct timespec pause = {.tv_nsec = PASS_WAIT_NS};
    while (atomic_load(&c->pass_waits))
        (void)nanosleep(&pause, NULL);
    pthread_mutex_lock(&c->chunks_lock);
}

static void merge_leave(void *ctx) {
    struct compactor *c = ctx;
    pthread_mutex_unlock(&c->chunks_lock);
}

static void merge_progress(void *ctx, const struct rewrite_result *done) {
    struct compactor *c = ctx;
    pthread_mutex_lock(&c->lock);
    c->stats.merges.rewrites++;
    rewrite_result_add(&c->stats.merges.sums, done);
    pthread_mutex_unlock(&c->lock);
}

static struct merge_hooks merge_hooks_of(struct compactor *c) {
    return (struct merge_hooks){.ctx = c,
                                .enter = merge_enter,
                                .leave = merge_leave,
                                .stopped = is_stopping,
                                .progress = merge_progress,
                                .log = c->o.log};
}

static void log_round(const struct compactor *c, int code, const struct merge_result *result,
                      int64_t duration_ns, const struct err *err) {
    if (!c->o.log || code == -ECANCELED)
        return;
    struct buf pairs = buf_make(PAIRS_MAX);
    const struct rewrite_result *s = &result->sums;
    buf_addf(&pairs,
             "files_before=%" PRIu64 " files_after=%" PRIu64 " bytes_before=%" PRIu64
             " bytes_after=%" PRIu64 " duplicates=%" PRIu64 " failures=%" PRIu64
             " duration_ms=%" PRId64,
             s->sources, s->outputs, s->source_bytes, s->output_bytes, s->duplicates,
             result->failures, duration_ns / 1000000);
    if (code < 0) {
        buf_addf(&pairs, " err=");
        go_quote(&pairs, str_from(err->text));
    }
    buf_add_char(&pairs, '\0');
    int level = code < 0 ? LOG_ERROR : result->rewrites > 0 ? LOG_INFO : LOG_DEBUG;
    c->o.log(level, code < 0 ? "merge round failed" : "merge round",
             pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

static int merge_round(struct compactor *c, const struct merge_policy *policy,
                       struct merge_result *ret, struct err *reterr) {
    pthread_mutex_lock(&c->round_lock);
    int64_t start_ns = clock_now_ns(), start_mono_ns = clock_mono_ns();
    int r = merger_run(c->merger, policy, start_ns, ret, reterr);
    int64_t duration_ns = clock_mono_ns() - start_mono_ns;
    pthread_mutex_unlock(&c->round_lock);
    log_round(c, r, ret, duration_ns, reterr);
    pthread_mutex_lock(&c->lock);
    c->stats.merge_rounds++;
    c->stats.merge_failures += r < 0 && r != -ECANCELED;
    c->stats.merges.failures += ret->failures;
    c->stats.last_merge_ns = start_ns;
    c->stats.last_merge_duration_ns = duration_ns;
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* A needle is answered without sieves, too: what keeps them from being written is logged, and that is all. */
static void sieve_round(struct compactor *c, const struct merge_policy *policy) {
    struct sieves_result done = {0};
    struct err err = {0};
    const struct merge_hooks hooks = merge_hooks_of(c);
    pthread_mutex_lock(&c->round_lock);
    int r = sieves_run(c->store, policy, &hooks, clock_now_ns(), &done, &err);
    pthread_mutex_unlock(&c->round_lock);
    if (r < 0 && r != -ECANCELED && c->o.log) {
        struct buf pairs = buf_make(PAIRS_MAX);
        buf_addf(&pairs, "err=");
        go_quote(&pairs, str_from(err.text));
        buf_add_char(&pairs, '\0');
        c->o.log(LOG_WARN, "round of sieves failed", pairs.failed ? "" : pairs.data);
        buf_done(&pairs);
    }
    pthread_mutex_lock(&c->lock);
    c->stats.sieves.written += done.written;
    c->stats.sieves.removed += done.removed;
    c->stats.sieves.failures += done.failures + (r < 0 && r != -ECANCELED);
    c->stats.sieves.written_bytes += done.written_bytes;
    if (r == 0)
        c->stats.sieves.file_bytes = done.file_bytes;
    pthread_mutex_unlock(&c->lock);
}

int compactor_merge_once(struct compactor *c, bool everything, struct merge_result *ret,
                         struct err *reterr) {
    pthread_mutex_lock(&c->lock);
    struct merge_policy policy = c->o.merge_policy;
    pthread_mutex_unlock(&c->lock);
    policy.everything = everything;
    struct err err = {0};
    int r = merge_round(c, &policy, ret, &err);
    if (r == 0)
        sieve_round(c, &policy);
    return r < 0 ? err_set(reterr, r, "%s", err.text) : 0;
}

void compactor_set_merge(struct compactor *c, bool enabled, const struct merge_policy *policy) {
    pthread_mutex_lock(&c->lock);
    c->o.merge = enabled;
    c->o.merge_policy = *policy;
    pthread_mutex_unlock(&c->lock);
}

/* Behind queries and pushes, but not so far behind that a lock which it holds for a moment keeps them waiting: nice 10 is
 * a tenth of a core that others want, SCHED_IDLE would be a three-hundredth. */
static void lower_priority(void) {
    struct sched_param none = {0};
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), MERGE_NICE);
}

/* Have chunks come since the last round of sieves? Others go by merges and passes, after which there is a round in any case. */
static bool chunks_have_come(const struct compactor *c, uint64_t *known) {
    struct store_stats stats;
    store_get_stats(c->store, &stats);
    bool come = stats.flushed_chunks != *known;
    *known = stats.flushed_chunks;
    return come;
}

/* Merges and sieves each interval; between, sieves for what a load of many lines at once, or a start, has left without. */
static void *merge_main(void *arg) {
    struct compactor *c = arg;
    lower_priority();
    int64_t at_ns = clock_mono_ns() + c->o.interval_ns, sieves_at_ns = clock_mono_ns() + CHORES_NS;
    uint64_t known = UINT64_MAX;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        int64_t now_ns = clock_mono_ns();
        if (now_ns < at_ns && now_ns < sieves_at_ns) {
            wait_until(c, earlier(at_ns, sieves_at_ns));
            continue;
        }
        struct merge_policy policy = c->o.merge_policy;
        bool merges = now_ns >= at_ns, enabled = merges && c->o.merge;
        pthread_mutex_unlock(&c->lock);
        struct merge_result result = {0};
        struct err err = {0};
        if (enabled)
            (void)merge_round(c, &policy, &result, &err);
        bool come = chunks_have_come(c, &known);
        if ((merges || come) && !atomic_load(&c->stopping))
            sieve_round(c, &policy);
        now_ns = clock_mono_ns();
        at_ns = merges ? now_ns + c->o.interval_ns : at_ns;
        sieves_at_ns = now_ns + CHORES_NS;
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- the outside */

static void compactor_free(struct compactor *c) {
    deletes_close(c->deletes);
    retention_policy_unref(c->policy);
    merger_free(c->merger);
    pthread_mutex_destroy(&c->round_lock);
    pthread_mutex_destroy(&c->chunks_lock);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->finished);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void stop_threads(struct compactor *c) {
    atomic_store(&c->stopping, true);
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    pthread_cond_broadcast(&c->finished);
    pthread_mutex_unlock(&c->lock);
}

/* Signals are for other threads. */
static int start_threads(struct compactor *c) {
    sigset_t all, old;
    sigfillset(&all);
    map_guard_leave_open(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = -pthread_create(&c->thread, NULL, compactor_main, c);
    if (r == 0) {
        (void)pthread_setname_np(c->thread, "compactor");
        r = -pthread_create(&c->merge_thread, NULL, merge_main, c);
        if (r == 0) {
            (void)pthread_setname_np(c->merge_thread, "logq-merge");
        } else {
            stop_threads(c);
            (void)pthread_join(c->thread, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

static int open_deletes(struct compactor *c, struct err *reterr) {
    if (!c->o.delete_language)
        return 0;
    const struct deletes_options o = {.language = c->o.delete_language,
                                      .cancel_period_ns = c->o.delete_cancel_period_ns,
                                      .log = c->o.log};
    return deletes_open(c->store, &o, &c->deletes, reterr);
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
    pthread_mutex_init(&c->round_lock, NULL);
    pthread_mutex_init(&c->chunks_lock, NULL);
    const struct merge_hooks hooks = merge_hooks_of(c);
    c->merger = merger_new(store, &hooks);
    if (!c->merger) {
        compactor_free(c);
        return err_set(reterr, -ENOMEM, "no memory for the compactor");
    }
    int r = open_deletes(c, reterr);
    if (r < 0) {
        compactor_free(c);
        return r;
    }
    store_set_visibility(store, visible_from, c);
    r = start_threads(c);
    if (r < 0) {
        store_set_visibility(store, NULL, NULL);
        compactor_free(c);
        return err_set(reterr, r, "cannot start the compactor's threads: %s", err_name(r));
    }
    *ret = c;
    return 0;
}

void compactor_interrupt(struct compactor *c) {
    if (c)
        atomic_store(&c->stopping, true);
}

void compactor_stop(struct compactor *c) {
    if (!c)
        return;
    stop_threads(c);
    pthread_join(c->thread, NULL);
    pthread_join(c->merge_thread, NULL);
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
    pthread_cond_broadcast(&c->wake); /* the merge thread waits there, too */
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

int compactor_plan(struct compactor *c, int64_t within_ns, retention_item_fn *fn, void *ctx,
                   struct retention_usage *ret, struct err *reterr) {
    struct retention_policy *policy = policy_get(c);
    int r = retention_plan(c->store, policy, clock_now_ns(), within_ns, fn, ctx, ret, reterr);
    retention_policy_unref(policy);
    return r;
}

struct deletes *compactor_deletes(struct compactor *c) {
    return c->deletes;
}

void compactor_get_stats(struct compactor *c, struct compactor_stats *ret) {
    pthread_mutex_lock(&c->lock);
    *ret = c->stats;
    pthread_mutex_unlock(&c->lock);
}
