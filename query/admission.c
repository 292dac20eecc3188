#include "admission.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "budget.h"
#include "exec.h"
#include "units.h"

enum {
    WAIT_POLL_NS = 50 * NS_PER_MS /* how soon a waiting query notices that its client has gone */
};

struct admission {
    pthread_mutex_t lock; /* guards all below */
    struct admission_place *waiting_first, *waiting_last;
    struct admission_place *running_first;
    unsigned running, waiting, max_running, max_waiting;
};

struct admission *admission_new(unsigned max_running, unsigned max_waiting) {
    struct admission *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->max_running = max_running;
    a->max_waiting = max_waiting;
    return a;
}

void admission_free(struct admission *a) {
    if (!a)
        return;
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* One query always runs: what it holds is all that will be given back. */
static bool has_room(const struct admission *a) {
    return a->running < a->max_running && (a->running == 0 || !budget_is_tight(BUDGET_QUERIES));
}

static void start(struct admission *a, struct admission_place *p) {
    p->runs = true;
    p->next = a->running_first;
    a->running_first = p;
    a->running++;
}

static void stop_waiting(struct admission *a, struct admission_place *p) {
    struct admission_place **link = &a->waiting_first, *before = NULL;
    while (*link != p) {
        before = *link;
        link = &(*link)->next;
    }
    *link = p->next;
    if (a->waiting_last == p)
        a->waiting_last = before;
    a->waiting--;
}

static unsigned running_of(const struct admission *a, struct str tenant) {
    unsigned count = 0;
    for (const struct admission_place *p = a->running_first; p; p = p->next)
        count += str_eq(p->tenant, tenant);
    return count;
}

/* Lets in whoever may run. A few hundred places at most, looked at once per query. */
static void call_next(struct admission *a) {
    while (a->waiting_first && has_room(a)) {
        struct admission_place *best = NULL;
        unsigned fewest = 0;
        for (struct admission_place *p = a->waiting_first; p; p = p->next) {
            unsigned count = running_of(a, p->tenant);
            if (best && count >= fewest)
                continue;
            best = p;
            fewest = count;
            if (count == 0)
                break;
        }
        stop_waiting(a, best);
        start(a, best);
        pthread_cond_signal(&best->turn);
    }
}

static void init_place(struct admission_place *p, struct str tenant) {
    *p = (struct admission_place){.tenant = tenant};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->turn, &attr);
    pthread_condattr_destroy(&attr);
}

static void nap(struct admission *a, struct admission_place *p) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_POLL_NS;
    if (until.tv_nsec >= NS_PER_S) {
        until.tv_nsec -= NS_PER_S;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&p->turn, &a->lock, &until);
}

int admission_enter(struct admission *a, struct admission_place *p, const struct query *q,
                    struct err *reterr) {
    int r = 0;
    init_place(p, q->tenant);
    pthread_mutex_lock(&a->lock);
    if (!a->waiting_first && has_room(a)) {
        start(a, p);
    } else if (a->waiting >= a->max_waiting) {
        r = err_set(reterr, -EBUSYNOW, "too many outstanding requests: %u queries run and %u wait",
                    a->running, a->waiting);
    } else {
        *(a->waiting_last ? &a->waiting_last->next : &a->waiting_first) = p;
        a->waiting_last = p;
        a->waiting++;
    }
    while (r == 0 && !p->runs) {
        nap(a, p);
        /* Memory comes back without anybody leaving. */
        call_next(a);
        if (p->runs)
            break;
        r = exec_check_time(q, reterr);
        if (r < 0)
            stop_waiting(a, p);
    }
    pthread_mutex_unlock(&a->lock);
    if (r < 0)
        pthread_cond_destroy(&p->turn);
    return r;
}

void admission_leave(struct admission *a, struct admission_place *p) {
    pthread_mutex_lock(&a->lock);
    struct admission_place **link = &a->running_first;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    a->running--;
    call_next(a);
    pthread_mutex_unlock(&a->lock);
    pthread_cond_destroy(&p->turn);
}

void admission_get_figures(struct admission *a, struct engine_figures *ret) {
    pthread_mutex_lock(&a->lock);
    ret->running = a->running;
    ret->max_concurrent = a->max_running;
    ret->waiting = a->waiting;
    ret->max_waiting = a->max_waiting;
    pthread_mutex_unlock(&a->lock);
}
