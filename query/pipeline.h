/* pipeline: the stages of a log expression, compiled once per query and run line by line. It knows nothing of
 * blocks, storage or time.
 *
 * A struct pipeline is immutable; any thread may use it. A struct pipeline_run is one worker's state (the label
 * builder, scratch memory that is reset per line; no allocation per line once warm).
 *
 * Labels of a line come in three groups, kept apart because results show them apart: stream labels, structured
 * metadata, parsed (made or changed by a stage). `__error__` and `__error_details__` are parsed labels. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "ast.h"
#include "err.h"
#include "labels.h"
#include "linetab.h"

struct pipeline;
struct pipeline_run;

/* Which labels the rest of the query will look at: parser stages extract nothing else, and are skipped whole when
 * nothing is needed (Loki's ParserHints; the answer can depend on it, see SEMANTICS "json and the other
 * parsers are skipped"). */
struct label_needs {
    bool all;                /* log queries; ungrouped range aggregations; without (...) */
    bool none;               /* sum(count_over_time(...)) and the like */
    const struct str *names; /* otherwise: exactly these are wanted at the end */
    size_t count;
};

struct pipeline_options {
    struct label_needs needs;
    const struct unwrap
        *unwrap; /* NULL for none: value extraction and post filters of a metric query */
    /* Neither the line's text nor its size is part of the result: a line_format that no later stage reads is left
     * out, errors and all, as Loki does. */
    bool line_unseen;
};

int pipeline_compile(const struct stage *stages, const struct pipeline_options *o,
                     struct pipeline **ret, struct err *reterr);
void pipeline_free(struct pipeline *p);

/* Facts for the planner. */
bool pipeline_needs_line(
    const struct pipeline *p); /* some stage reads or the result shows line bytes */
bool pipeline_needs_meta(const struct pipeline *p); /* metadata is looked at or shown */
/* True: exactly these metadata names are looked at (label filters, grouping). False: all. */
bool pipeline_meta_names(const struct pipeline *p, const struct str **ret, size_t *ret_count);

/* Needles every surviving line must contain: literals of the leading |= and |~ stages before any stage that
 * changes the line. For gram filters and whole-block search. `fold`: without case. */
struct needle {
    struct str text;
    bool fold;
};
size_t pipeline_needles(const struct pipeline *p, const struct needle **ret);
/* Line filters in front of any stage that makes another line, as far as blocks can be asked for them: they hold exactly for
 * lines with one of the literals, or the row of bytes, in them; negated: for all others. Besides, rows that lines must
 * have for a filter to hold which looks at the lines itself. */
struct byteseq;
struct line_clause {
    bool negated;
    const struct byteseq *row; /* NULL: the literals */
    const struct needle *any;
    size_t count;
};
size_t pipeline_clauses(const struct pipeline *p, const struct line_clause **ret);
/* Does nothing look at lines but clauses? */
bool pipeline_only_clauses(const struct pipeline *p);
/* Do clauses alone say which lines pass? All do when there are none. Other stages may look at lines, but drop none. */
bool pipeline_clauses_tell(const struct pipeline *p);
/* Or clauses, and labels that no line has a part in: of a line that passes all clauses the pipeline says without the line
 * whether it passes. */
bool pipeline_labels_tell(const struct pipeline *p);

/* Filters that a json or logfmt stage at the front (behind line filters at most) asks of the field of their name as soon as
 * it has read it, when neither the stream nor the metadata have a label of that name: a line whose field is refused is
 * dropped there. Names are letters and digits, so that no nesting or sanitising makes them. */
struct filter_node;
struct field_filter {
    enum linetab_form form;
    struct str name;
    const struct filter_node *node;
};
size_t pipeline_field_filters(const struct pipeline *p, const struct field_filter **ret);
/* Does it refuse the value for certain? Of a string without its quotes, and without escapes. */
bool field_filter_refuses(const struct field_filter *f, struct str value, bool quoted);

/* Are the labels `names` all that is wanted of the lines, or what is at `paths`, made by a json or logfmt stage with nothing
 * but clauses and label filters in front? Then a line may be given as the fields that make these labels: when has_filter, of
 * a line that passes all clauses. */
struct json_path;
struct pipeline_fields {
    enum linetab_form form;
    const struct str *names;
    const struct json_path *paths; /* instead of names: of json with expressions */
    size_t count;                  /* at most LINETAB_FIELDS_MAX */
    bool has_filter;
};
bool pipeline_fields(const struct pipeline *p, struct pipeline_fields *ret);
/* The number of the label or path among them that a field makes, as linetab_question.wanted; ctx is a struct
 * pipeline_fields. */
uint32_t pipeline_field_number(void *ctx, const struct str *path, size_t depth);

struct pipeline_run *pipeline_run_new(const struct pipeline *p);
void pipeline_run_free(struct pipeline_run *r);

/* Tells the run which stream the following lines belong to. Labels must outlive the lines. */
void pipeline_run_stream(struct pipeline_run *r, struct labels stream_labels);

struct pipeline_line {
    int64_t ts_ns;
    struct str line;
    const struct label *meta; /* sorted by name */
    size_t meta_count;
    /* In place of the line (pipeline_fields), in the order in which they stand there; NULL: there is a line. */
    const struct linetab_value *fields;
    size_t n_fields;
    /* It is known to pass all clauses, and nothing else looks at it: there is no line. */
    bool decided;
};

struct pipeline_output {
    struct str line; /* borrowed from the input or from the run; valid until the next line */
    double value;    /* with unwrap */
};

/* Runs all stages. False when the line is dropped. */
bool pipeline_run_line(struct pipeline_run *r, const struct pipeline_line *in,
                       struct pipeline_output *ret);

/* Does a metric query fail for the error of the line that just passed? Not for one of a parser when the query asks for
 * __error__ by name. */
bool pipeline_run_fails(const struct pipeline_run *r);

/* The labels of the line that just passed. The set is interned in the run: the same set gives the same pointer, so
 * grouping is one pointer comparison. Lives as long as the run. */
struct line_labels {
    uint64_t hash;        /* of the merged set */
    struct labels merged; /* sorted: what a result shows without categorize-labels; metric labels */
    struct labels stream; /* what is left of the stream labels */
    struct labels metadata;
    struct labels parsed;
    struct str error; /* value of __error__, empty when none */
    uint32_t id;      /* 0, 1, 2, ... in order of first appearance in this run */
};
/* NULL without memory. */
const struct line_labels *pipeline_run_labels(struct pipeline_run *r);

/* The merged set reduced by a grouping (by: only these; without: all but these; Loki's rules), interned the same
 * way in its own table. `g->present` false = the merged set. */
const struct line_labels *pipeline_run_group(struct pipeline_run *r, const struct grouping *g);
