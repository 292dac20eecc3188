/* Which queries run at once, and who comes next. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "admission.h"
#include "budget.h"
#include "clock.h"
#include "units.h"

static struct admission *a;
static atomic_int order, inside, most_inside;

struct asker {
    pthread_t thread;
    const char *tenant;
    struct query query;
    struct admission_place place;
    int status, came; /* in which order it was let in */
};

static void nap_ms(int ms) {
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static unsigned waiting(void) {
    struct engine_figures f = {0};
    admission_get_figures(a, &f);
    return f.waiting;
}

static void *ask(void *arg) {
    struct asker *s = arg;
    struct err err;
    s->query.tenant = str_from(s->tenant);
    s->status = admission_enter(a, &s->place, &s->query, &err);
    if (s->status < 0)
        return NULL;
    s->came = atomic_fetch_add(&order, 1);
    int now = atomic_fetch_add(&inside, 1) + 1;
    if (now > atomic_load(&most_inside))
        atomic_store(&most_inside, now);
    nap_ms(3);
    (void)atomic_fetch_sub(&inside, 1);
    admission_leave(a, &s->place);
    return NULL;
}

/* Within a tenant whoever came first, and never more at once than may run. */
static void test_turns(void) {
    struct err err;
    struct query q = {.tenant = STR("greedy")};
    struct admission_place held;
    struct asker askers[11] = {0};
    a = admission_new(1, 100);
    CHECK_INT(admission_enter(a, &held, &q, &err), 0);
    for (unsigned i = 0; i < 11; i++) {
        askers[i].tenant = i < 10 ? "greedy" : "modest";
        CHECK_INT(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
        while (waiting() < i + 1)
            nap_ms(1);
    }
    admission_leave(a, &held);
    for (unsigned i = 0; i < 11; i++)
        (void)pthread_join(askers[i].thread, NULL);
    for (unsigned i = 0; i < 11; i++)
        CHECK_INT(askers[i].status, 0);
    CHECK_INT(atomic_load(&most_inside), 1);
    for (unsigned i = 0; i + 1 < 10; i++)
        CHECK(askers[i].came < askers[i + 1].came);
    admission_free(a);
}

static void test_fewest_first(void) {
    struct err err;
    struct query q = {.tenant = STR("greedy")};
    struct admission_place first, second;
    struct asker askers[6] = {0};
    atomic_store(&order, 0);
    a = admission_new(2, 100);
    CHECK_INT(admission_enter(a, &first, &q, &err), 0);
    CHECK_INT(admission_enter(a, &second, &q, &err), 0);
    for (unsigned i = 0; i < 6; i++) {
        askers[i].tenant = i < 5 ? "greedy" : "modest";
        CHECK_INT(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
        while (waiting() < i + 1)
            nap_ms(1);
    }
    admission_leave(a, &first); /* greedy still runs one: modest is next */
    while (waiting() == 6)
        nap_ms(1);
    (void)pthread_join(askers[5].thread, NULL);
    CHECK_INT(askers[5].came, 0);
    admission_leave(a, &second);
    for (unsigned i = 0; i < 5; i++)
        (void)pthread_join(askers[i].thread, NULL);
    admission_free(a);
}

static void test_refusals(void) {
    struct err err;
    struct query q = {.tenant = STR("t")};
    struct admission_place held, other;
    a = admission_new(1, 1);
    CHECK_INT(admission_enter(a, &held, &q, &err), 0);
    struct query late = q;
    late.deadline_mono_ns = clock_mono_ns() + 20 * NS_PER_MS;
    CHECK_INT(admission_enter(a, &other, &late, &err), -EEXPIRED);
    atomic_bool gone = true;
    struct query left = q;
    left.cancel = &gone;
    CHECK_INT(admission_enter(a, &other, &left, &err), -ECANCELED);
    struct asker waits = {.tenant = "t"};
    CHECK_INT(pthread_create(&waits.thread, NULL, ask, &waits), 0);
    while (waiting() == 0)
        nap_ms(1);
    CHECK_INT(admission_enter(a, &other, &q, &err), -EBUSYNOW);
    CHECK(strstr(err.text, "too many outstanding requests") != NULL);
    admission_leave(a, &held);
    (void)pthread_join(waits.thread, NULL);
    CHECK_INT(waits.status, 0);
    CHECK_INT(waiting(), 0);
    admission_free(a);
}

/* Memory that is used up holds the second query back, never the first; it comes in when there is some again. */
static void test_memory(void) {
    struct err err;
    struct query q = {.tenant = STR("t")};
    struct admission_place held;
    budget_set_limit(1000);
    CHECK(budget_take(BUDGET_QUERIES, 450));
    a = admission_new(4, 10);
    CHECK_INT(admission_enter(a, &held, &q, &err), 0);
    struct asker waits = {.tenant = "t"};
    CHECK_INT(pthread_create(&waits.thread, NULL, ask, &waits), 0);
    while (waiting() == 0)
        nap_ms(1);
    nap_ms(60);
    CHECK_INT(waiting(), 1);
    budget_give(BUDGET_QUERIES, 450);
    (void)pthread_join(waits.thread, NULL);
    CHECK_INT(waits.status, 0);
    admission_leave(a, &held);
    admission_free(a);
    budget_set_limit(0);
}

int main(void) {
    RUN(test_turns);
    RUN(test_fewest_first);
    RUN(test_refusals);
    RUN(test_memory);
    return test_done();
}
