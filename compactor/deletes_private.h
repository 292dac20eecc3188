/* deletes_private: requests as deletes.c keeps them, for deletes_run.c, which does what they ask for. Nobody else includes
 * it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "deletes.h"

/* Immutable but for state, percent and receipt (deletes.lock). */
struct request {
    atomic_int refs; /* the list's, and those of erase sets */
    struct request *next;
    char id[DELETE_ID_SIZE + 1];
    struct str tenant, query; /* own memory, behind the struct */
    int64_t start_ns, end_ns, created_ns;
    enum delete_state state;
    unsigned percent;
    struct delete_receipt receipt;
    const struct delete_language *language;
    void *compiled; /* NULL: it does not compile */
};

/* Lines that requests of a tenant have removed since the start. */
struct erased_lines {
    struct erased_lines *next;
    uint64_t lines;
    struct str tenant; /* own memory, behind the struct */
};

struct erase_set;
struct deletes {
    struct store *store;
    struct deletes_options o;
    struct eraser eraser;
    atomic_uint_fast64_t
        n_hiding; /* unprocessed requests of all tenants: 0 spares queries the lock */
    pthread_mutex_t change_lock; /* one change of the list and the index at a time; before lock */
    pthread_mutex_t lock;        /* guards: requests, sets, erased, and what changes in a request */
    struct request *requests;    /* the oldest first */
    size_t n_requests;
    struct erase_set *sets;
    struct erased_lines *erased;
    uint64_t received;
    atomic_int_fast64_t cancel_period_ns;
};

void delete_request_unref(struct request *q);
/* May the request mean entries of a stream with these labels and times? */
bool delete_request_concerns(const struct request *q, struct labels labels, int64_t first_ns,
                             int64_t last_ns);

/* `error` may be NULL. */
void deletes_log(const struct deletes *d, int level, const char *msg, const struct request *q,
                 const char *error);

/* The oldest request that is due, behind `after` unless that is NULL, with a reference; NULL: none. */
struct request *deletes_next_due(struct deletes *d, int64_t now_ns, const struct request *after);

struct request_progress {
    enum delete_state state;
    unsigned percent;
    struct delete_receipt receipt;
};
/* Makes it durable and visible in the list. -ECANCELED: it has been taken back. */
int deletes_save_progress(struct deletes *d, struct request *q,
                          const struct request_progress *progress, struct err *reterr);
/* Counts them for deletes_walk_erased; without memory for a new tenant they are not counted. */
void deletes_count_erased(struct deletes *d, struct str tenant, uint64_t lines);
/* Queries need not hide any more what processed requests of the tenant have meant. */
void deletes_show_again(struct deletes *d, struct str tenant);
