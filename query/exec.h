/* exec: one running query, as the modules of the executor see it. Belongs to engine_query; worker threads
 * read it and touch only the atomics. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "arena.h"
#include "ast.h"
#include "engine.h"
#include "err.h"
#include "crew.h"
#include "store.h"

/* A query that needs more for its plan, partial sums and result is refused: one query must not take the
 * machine's memory. */
#define EXEC_BYTES_MAX ((size_t)512 << 20)

/* The times at which a metric query is evaluated. An instant query has one. */
struct steps {
    int64_t start_ns, step_ns;
    uint32_t count;
};

static inline int64_t step_time(const struct steps *s, uint32_t i) {
    return s->start_ns + (int64_t)i * s->step_ns;
}

struct exec {
    struct store *store;
    struct crew *crew;
    const struct query *query;
    struct arena
        arena; /* plans and vectors; dies with the query; only the calling thread allocates */
    struct steps steps;               /* metric queries */
    struct query_stats stats;         /* of finished scans; only the calling thread */
    atomic_uint_least64_t bytes_read; /* decoded line bytes, against max_bytes_read */
};

/* Called per block: 0, or why the query must stop. -EEXPIRED, -ECANCELED, -EREFUSED. */
int exec_check(struct exec *x, struct err *reterr);

/* Of these the deadline and the client alone. */
int exec_check_time(const struct query *q, struct err *reterr);

int exec_no_memory(struct err *reterr);

/* Deep copy; 0 or -ENOMEM. */
int exec_copy_labels(struct arena *arena, struct labels from, struct labels *ret);

void exec_add_stats(struct query_stats *total, const struct query_stats *part);
/* Notes that so much has been left out of the answer, and why. */
void exec_note_lost(struct query_stats *total, uint64_t count, const char *what);

/* logexec.c: fills sets and entries. */
int exec_log(struct exec *x, const struct log_expr *log, struct query_result *result,
             struct err *reterr);

/* metricexec.c: fills series or scalar. */
int exec_metric(struct exec *x, const struct expr *expr, struct query_result *result,
                struct err *reterr);

/* Time arithmetic that stays at the ends of int64 instead of wrapping. */
static inline int64_t time_add(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

static inline int64_t time_sub(int64_t a, int64_t b) {
    int64_t difference;
    if (__builtin_sub_overflow(a, b, &difference))
        return b < 0 ? INT64_MAX : INT64_MIN;
    return difference;
}
