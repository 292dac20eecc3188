/* engine: runs LogQL over a store. Owns the worker pool that all queries share fairly. Knows nothing of HTTP. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "err.h"
#include "labels.h"
#include "store.h"

struct engine;

struct engine_options {
    unsigned threads;        /* 0 = number of cores */
    unsigned max_concurrent; /* queries that run at once; others wait; 0 = 2 per thread */
    unsigned max_waiting;    /* more are refused with -EBUSYNOW; 0 = 256 */
};
struct engine *engine_new(struct store *store, const struct engine_options *o);
void engine_free(struct engine *e);

struct engine_figures {
    unsigned running, max_concurrent, waiting, max_waiting, threads;
};
void engine_get_figures(struct engine *e, struct engine_figures *ret);

enum query_direction { DIR_BACKWARD, DIR_FORWARD };

struct query {
    struct str text;
    struct str tenant;
    bool instant; /* metric value at end_ns alone */
    int64_t start_ns, end_ns;
    int64_t step_ns;     /* range queries */
    int64_t interval_ns; /* log queries: at most one entry per interval; 0 = all */
    uint32_t limit;
    enum query_direction direction;
    /* limits */
    uint32_t max_series;       /* 0 = none */
    uint64_t max_bytes_read;   /* 0 = none */
    int64_t deadline_mono_ns;  /* 0 = none */
    const atomic_bool *cancel; /* the client went away; may be NULL */
    struct tap
        *tap; /* log queries: goes on where this query's snapshot ends (tap.h); may be NULL */
};

enum { QUERY_LOST_TEXT_MAX = 200 };

struct query_stats {
    uint64_t bytes_processed; /* raw line bytes looked at */
    uint64_t lines_processed;
    uint64_t lines_matched; /* left after filters */
    uint64_t meta_bytes_processed;
    uint64_t entries_returned;
    uint64_t streams, chunks;
    uint64_t blocks_considered, blocks_skipped_time, blocks_skipped_filter, blocks_decoded;
    uint64_t compressed_bytes, decompressed_bytes;
    uint64_t memory_bytes, memory_lines; /* from heads */
    uint64_t duplicates;
    /* Chunk files and blocks that are damaged: the answer is without them. What is wrong with the first one. */
    uint64_t lost;
    char lost_what[QUERY_LOST_TEXT_MAX];
    double exec_seconds, queue_seconds;
};

enum result_type { RESULT_STREAMS, RESULT_MATRIX, RESULT_VECTOR, RESULT_SCALAR };

/* RESULT_STREAMS: entries in the asked order over all streams, each pointing to its label set; the caller groups
 * them for output by set (merged) or by stream (categorized). */
struct result_set {
    struct labels merged;
    struct labels stream;
    struct labels metadata;
    struct labels parsed;
    uint64_t hash; /* of merged */
};
struct result_entry {
    int64_t ts_ns;
    struct str line;
    uint32_t set; /* index into sets */
};

struct result_point {
    int64_t ts_ns;
    double value;
};
struct result_series {
    struct labels labels;
    const struct result_point *points;
    size_t n_points;
};

struct query_result {
    enum result_type type;
    const struct result_set *sets;
    size_t n_sets;
    const struct result_entry *entries;
    size_t n_entries;
    const struct result_series
        *series; /* matrix; vector: one point each; sorted by labels unless sort() */
    size_t n_series;
    struct result_point scalar;
    struct query_stats stats;
    struct arena arena; /* owns all of the above */
};

/* Runs in the calling thread and on the pool; returns when done. On success *ret is the caller's (query_result_free).
 * -ESYNTAX (client's mistake, text is what Loki answers with 400), -EREFUSED (limits, 400), -EEXPIRED (504),
 * -ECANCELED (499), -EBUSYNOW (429), -ENOMEM, -EIO, -ECORRUPT. */
int engine_query(struct engine *e, const struct query *q, struct query_result **ret,
                 struct err *reterr);
void query_result_free(struct query_result *r);
