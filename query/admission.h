/* admission: how many queries run at once, and who comes next: the tenant of whom the fewest run, then whoever has
 * waited longest. So a tenant that asks for a hundred dashboards at once waits for itself, not the others for it.
 * Memory counts, too (budget.h): when queries hold nearly all that they may, new ones wait until some have ended.
 * Any thread; a waiting query holds its thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "engine.h"
#include "err.h"

struct admission;

/* Of one query, on its caller's stack from enter to leave. */
struct admission_place {
    struct admission_place *next; /* of those that wait, or of those that run */
    struct str tenant;
    pthread_cond_t turn;
    bool runs;
};

struct admission *admission_new(unsigned max_running, unsigned max_waiting);
void admission_free(struct admission *a); /* NULL is fine */

/* Waits for its turn. -EBUSYNOW when too many wait; -ECANCELED, -EEXPIRED. */
int admission_enter(struct admission *a, struct admission_place *p, const struct query *q,
                    struct err *reterr);
/* After an enter that returned 0. */
void admission_leave(struct admission *a, struct admission_place *p);

void admission_get_figures(struct admission *a, struct engine_figures *ret);
