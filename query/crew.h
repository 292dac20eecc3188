/* crew: the worker threads that all queries share. A query brings a job: a number of tasks and a function.
 * Workers go round the jobs and take a few tasks of each in turn, so a short query is not stuck behind a long
 * one; the thread that runs the query works too, on its own job alone. Any thread may call. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "share.h"

struct crew;

struct crew_job {
    /* Runs tasks [from, to). `worker` is below crew_slots() and no two calls for one job with the same number
     * run at once. 0, 1 = no further task is worth running, or a negative error that ends the job. */
    int (*run)(void *ctx, unsigned worker, size_t from, size_t to, struct err *reterr);
    void *ctx;
    size_t n_tasks;
    size_t batch; /* tasks taken at a time, >= 1 */

    /* The crew's own, under its lock. */
    size_t next;
    unsigned running;
    int status;
    struct err *err;
    struct crew_job *before, *after; /* ring of jobs with tasks left */
};

/* `threads`: how many may work on one query, the caller's included; >= 1. NULL without memory. */
struct crew *crew_new(unsigned threads);
void crew_free(struct crew *s);

/* Number of workers that a job must have state for. */
unsigned crew_slots(const struct crew *s);

/* Runs all tasks; returns when none runs any more. 0, or the first error. */
int crew_run(struct crew *s, struct crew_job *job, struct err *reterr);

/* The crew for a room below. Lives as long as the crew; not for tasks of jobs. */
struct share crew_share(struct crew *s);
