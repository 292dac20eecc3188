/* scan: one worker's way through one block: which entries are in the range, which lines can pass, and the
 * pipeline on those. Decodes only what is asked for. One thread per struct scanner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "blockref.h"
#include "pipeline.h"
#include "plan.h"

/* Lines are gathered by so many before the pipeline runs on them, so that a backward query searches forward
 * through bytes yet looks at the newest lines first. */
enum { SCAN_SEGMENT = 256 };
/* Of so many blocks a scanner keeps what it has decoded for the next query: it looks at the best ones first, and one that
 * looks at many is not going to be asked again soon. */
enum { SCAN_SHARED_MAX = 256 };

enum scan_answer { SCAN_UNKNOWN, SCAN_DROPPED, SCAN_PASSES };

struct scanner {
    const struct plan *plan;
    struct block_reader *reader;
    struct pipeline_run *run;
    const struct snap_stream *stream; /* the run's present one */
    struct query_stats stats;

    /* The block that scan_begin opened. */
    const struct plan_task *task;
    struct block_ref_info info;
    uint32_t from, to; /* entries in the time range */
    bool twice;        /* blocks that can tell of their entries are going to be opened again */
    const uint64_t *dead;
    const int64_t *times;    /* NULL until scan_times */
    const uint32_t *offsets; /* NULL until scan_offsets */
    const uint32_t *places;  /* the same of those lines that have been decoded */
    struct meta_column *columns;
    size_t n_columns, columns_capacity;
    struct label *meta;
    size_t meta_capacity;
    uint32_t hits[SCAN_SEGMENT];
    /* Of a block that was searched by its parts: per entry what is known (enum linetab_level), and of which entries
     * there are lines. */
    bool asked; /* the parts, of its levels */
    bool loaded, sifted;
    struct str lines; /* once loaded; without data: none is wanted */
    uint8_t *levels, *other_levels;
    uint64_t *wanted;
    size_t levels_capacity;
    bool has_fields; /* of some of its entries there are fields in place of lines */
    /* By combination of fields, with plan->same_for_same_fields: what the pipeline says of lines that have it. `combination` is
     * that of the line which a scan_fn is told of (LINETAB_UNWANTED: none is known); when the answer is known already
     * the pipeline has not run for it. A scan_fn that can do without sets SCAN_PASSES. */
    uint32_t combination;
    uint8_t answers[LINETAB_COMBINATIONS_MAX];
    uint32_t n_shared;
    uint32_t n_asked, n_refusing; /* blocks asked for fields; in which most lines were refused */
    uint32_t n_sifts, n_sifted;   /* blocks asked for clauses; in which that left few lines */
};

int scanner_init(struct scanner *s, const struct plan *plan, struct err *reterr);
void scanner_done(struct scanner *s);

/* Opens the block of a task. 1: there is something to look at; 0: nothing (outside the time range, or the
 * filters exclude it); negative: error. */
int scan_begin(struct scanner *s, const struct plan_task *task, struct err *reterr);

int scan_times(struct scanner *s, struct err *reterr);
/* Of the block that is open only entries in [low_ns, high_ns] are of interest any more. */
int scan_narrow(struct scanner *s, int64_t low_ns, int64_t high_ns, struct err *reterr);
int scan_offsets(struct scanner *s, struct err *reterr);
/* The metadata columns that the plan needs, into s->columns. */
int scan_columns(struct scanner *s, struct err *reterr);

/* The entry's metadata from the columns, into s->meta; the count. */
size_t scan_meta(struct scanner *s, uint32_t entry);

/* Where clauses decide: 1 when the block's parts have told of each entry whether its line passes them; those which do not
 * are among the dead from then on. 0: scan_entries has to look at lines. */
int scan_decide(struct scanner *s, struct err *reterr);

/* What is known of the block's entries without writing a line: 1: of each in the range whether it passes the pipeline, or
 * with plan->labels_tell the clauses (LINETAB_YES or LINETAB_NO in *ret; NULL: all that are not dead do), and the block will
 * be there to be opened again; 0: lines have to be looked at, by scan_entries. */
int scan_tell(struct scanner *s, const uint8_t **ret, struct err *reterr);
/* With plan->labels_tell: does the entry pass, which passes the clauses? Once there are columns. */
bool scan_labels_pass(struct scanner *s, uint32_t entry);
/* Lets go of the open block. */
void scan_leave(struct scanner *s);

/* Called for each line that passed the pipeline; the labels are asked of s->run. 0, 1 = leave this block,
 * or negative. */
typedef int scan_fn(void *ctx, struct scanner *s, uint32_t entry, int64_t ts_ns,
                    const struct pipeline_output *out, struct err *reterr);

/* Runs the pipeline over the block's entries in the plan's direction. With lines the plan's needle is
 * searched first. */
int scan_entries(struct scanner *s, scan_fn *fn, void *ctx, struct err *reterr);

/* Opens the block of a task again, for some of its entries that pass. What has been counted is not counted once more. */
struct scan_chosen {
    const uint32_t *entries;
    const int64_t *times;
    uint32_t count;
};
int scan_chosen(struct scanner *s, const struct plan_task *task, const struct scan_chosen *chosen,
                scan_fn *fn, void *ctx, struct err *reterr);

/* Tells the run about the stream of the block, when it has changed. */
void scan_enter_stream(struct scanner *s);
