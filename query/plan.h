/* plan: what a log expression asks of the store: the snapshot, the blocks in it as tasks, and which columns
 * and needles matter. Made once per selector by the calling thread, then read by all workers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "exec.h"
#include "finder.h"
#include "gram.h"
#include "pipeline.h"
#include "value_needle.h"

struct plan_task {
    const struct block_ref *block;
    uint32_t stream; /* in plan->streams */
    uint64_t order; /* of the block among its stream's: arrival order of entries at the same time */
    int64_t first_ns, last_ns;
};

/* Literals of which every line must contain at least one: |= "a" or "b", |~ "a|b". */
struct plan_choice {
    struct gram_query *grams; /* NULL when one alternative has none */
    struct finder *finders;   /* NULL when one alternative cannot be searched for */
    size_t count;
};

/* A line_clause, for linetab. */
struct plan_clause {
    bool negated, is_row;
    struct linetab_row row;
    const struct needle *any;
    size_t count;
};

enum plan_order { PLAN_BY_STREAM, PLAN_OLDEST_FIRST, PLAN_NEWEST_FIRST };

struct plan_options {
    const struct log_expr *log;
    struct pipeline_options pipeline;
    int64_t start_ns, end_ns; /* both inclusive */
    enum plan_order order;
    bool shows_lines; /* the result has the lines, whatever the pipeline looks at */
};

struct plan {
    struct exec *exec;
    struct pipeline *pipeline;
    struct snapshot *snapshot;
    const struct snap_stream *streams;
    size_t n_streams;
    struct plan_task *tasks;
    size_t n_tasks;
    int64_t start_ns, end_ns;
    bool backward;

    bool shares_blocks; /* what is decoded of blocks stays for the next query */
    bool needs_lines;
    bool needs_meta;
    bool meta_limited; /* only meta_names matter, sorted */
    struct str *meta_names;
    size_t n_meta_names;

    struct gram_query
        grams; /* of literals that every line must contain: the snapshot has no other blocks */
    struct finder *needles;
    size_t n_needles;
    struct plan_choice *choices;
    size_t n_choices;
    struct value_needles values; /* of label filters */
    /* What to look for in block bytes: a line passes only if one of these stands in it. None: look at every
     * line. */
    const struct finder *search;
    size_t n_search;
    /* What blocks that are tables are asked for. With also_search what is searched for says something that they do not. */
    struct plan_clause *clauses; /* what leaves the fewest lines first */
    size_t n_clauses;
    bool also_search;
    bool clauses_decide; /* nothing else looks at lines */
    bool clauses_tell;   /* which lines pass, whatever else looks at them */
    bool labels_tell;    /* the same, of lines that clauses pass */
    /* Fields that blocks may be asked for instead of their lines. */
    const struct field_filter *field_filters;
    size_t n_field_filters;
    /* Fields do in place of lines; with fields.has_filter: of those that pass all clauses. */
    bool takes_fields;
    struct pipeline_fields fields;
    /* Lines of a stream with the same fields and metadata get the same answer; set by who knows that. */
    bool same_for_same_fields;
};

int plan_make(struct exec *x, const struct plan_options *o, struct plan *ret, struct err *reterr);
void plan_done(struct plan *p);

/* Could the block of a task hold an entry that has one of each choice and each value? */
bool plan_may_contain(const struct plan *p, const struct plan_task *task);
