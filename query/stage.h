/* stage: the compiled form of a pipeline's stages, shared by pipeline.c and the stage_*.c modules; nobody else
 * includes it.
 *
 * A step is compiled once per query and immutable. A run executes steps on one line: each takes the line as the
 * step before left it and says whether the line survives. Names of labels that the query mentions are numbered
 * at compile time and have the same number in every run (labelset.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "labelset.h"
#include "pipeline.h"

struct byteseq;
struct regex;
struct template;
struct template_work;
struct ip_match;
struct json_path;
struct capture_pattern;

/* ---- compiling */

struct stage_compiler {
    struct arena *arena; /* the pipeline's */
    struct err *reterr;
    struct str *names; /* fixed names, by id */
    size_t n_names, name_capacity;
};

/* The fixed id of a name; NAME_NONE without memory. */
uint32_t compiler_name(struct stage_compiler *c, struct str name);

/* ---- steps */

/* One text to look for in lines. */
struct line_test {
    struct str text;
    const struct regex *regex;          /* NULL: `text` is contained */
    const struct byteseq *bytes;        /* the regex as a row of bytes; NULL: it is none */
    const struct byteseq *const *parts; /* rows that lines have which it matches */
    size_t n_parts;
    const struct ip_match *ip;             /* ip("...") */
    const struct capture_pattern *pattern; /* |> */
    /* It holds exactly for lines with one of these in them, with `fold` in any case; none: that is not all there is to it. */
    const struct str *literals;
    size_t n_literals;
    bool fold;
};

struct line_filter_step {
    const struct line_test *tests; /* any of them */
    size_t count;
    bool negated;
    bool is_clause; /* one of pipeline_clauses, or it holds for all lines */
};

/* Is the value this text, or does it hold it? */
struct value_test {
    struct str text;
    bool inside;
};

/* A node of a label filter; leaves of AND and OR are numbered names. */
struct filter_node {
    enum label_filter_kind kind;
    const struct filter_node *left, *right;
    uint32_t name;
    bool is_error; /* the label is __error__ */
    enum match_op match;
    enum compare_op compare;
    struct str text;
    double number;
    uint64_t bytes;
    int64_t duration_ns;
    const struct regex *regex;
    const struct value_test *tests; /* instead of the regex: any of these (label_regex.h) */
    size_t n_tests;
    const struct ip_match *ip;
};

struct extract_step {
    const struct json_path *paths; /* json with expressions */
    const uint32_t *names;         /* logfmt with expressions: what to make ... */
    const struct str *sources;     /* ... from which key */
    size_t count;                  /* of expressions; 0 = everything */
    bool strict, keep_empty;
};

/* Filters that a parser stage asks as soon as it has read their label: a line that fails one is dropped there. */
struct early_filters {
    const struct filter_node **list;
    size_t count;
    /* Filters further down whose label no stage up to them changes once the line has it: asked before the line is parsed
     * at all, where the stream or the metadata has the label. */
    const struct filter_node **before;
    size_t n_before;
    /* Those of numbers, durations and sizes that set __error__ already when they are asked early. */
    const struct filter_node **marking;
    size_t n_marking;
    /* The filters whose label only a field of exactly its name can make (letters and digits; a '_' may come from
     * nesting or sanitising): before anything else they are tried on the line alone (see run_probes). */
    const struct filter_node **plain;
    struct str *plain_names;
    size_t n_plain;
};

struct assign {
    uint32_t target;
    uint32_t source;                 /* renaming */
    const struct template *template; /* else */
};

struct choice {
    uint32_t name;
    bool has_matcher;
    bool is_error, is_details; /* __error__, __error_details__ */
    enum match_op match;
    struct str value;
    const struct regex *regex;
};

struct step {
    enum stage_kind kind;
    bool shows_line;            /* line_format, label_format: a template may ask for __line__ */
    struct early_filters early; /* parser stages */
    union {
        struct line_filter_step line_filter;
        struct extract_step extract;
        const struct filter_node *filter;
        const struct template *template;
        struct {
            const struct assign *list;
            size_t count;
        } assigns;
        struct {
            const struct choice *list;
            size_t count;
        } choices;
        struct {
            const struct regex *regex;
            const uint32_t *names; /* by group; NAME_NONE = not named */
            size_t count;
        } regexp;
        struct {
            const struct capture_pattern *pattern;
            const uint32_t *names;
        } pattern;
    };
};

/* ---- running */

struct run {
    struct labelset *set;
    struct arena scratch; /* values that are not bytes of the line; reset per line */
    struct buf *lines;    /* two buffers which line-changing steps use in turns */
    unsigned line_turn;
    int64_t ts_ns;
    struct str line;
    const struct early_filters *early; /* of the step that runs */
    uint32_t n_probed, n_refused;      /* lines; halved now and then */
    struct template_work *templates;   /* once a template has run */
    /* In place of the line: what a parser stage would find in it, numbers being places in `field_ids`. */
    const struct linetab_value *fields;
    size_t n_fields;
    const uint32_t *field_ids;
    bool decided; /* all line filters hold */
    bool failed;  /* no memory: the line's labels cannot be given */
};

/* `size` bytes that live until the next line; NULL without memory (run->failed is set). */
char *run_scratch(struct run *r, size_t size);

/* stage_early.c
 *
 * Gives each parser stage its early filters. `grouped`: the query says which labels it groups by; `hinted`: only some labels
 * are wanted. */
int early_attach(struct stage_compiler *c, struct step *steps, size_t count, bool grouped,
                 bool hinted);
/* Letters and digits alone: nesting or sanitising makes no such name. */
bool early_is_plain(struct str name);
/* Does a filter further down refuse what the stream or the metadata says? */
bool early_refuses_before(const struct early_filters *e, const struct run *r);
/* Does one of the running step's early filters refuse this value? */
bool run_refuses(struct run *r, uint32_t id, struct str value);

/* Is it worth looking for the plain filters' fields first, before extracting all? Only when all labels are wanted
 * anyway, the names mean nothing on this line yet, and it has lately thrown out a good part of the lines. */
bool run_probes(const struct run *r);
void run_probed(struct run *r, bool refused);
/* Asks the plain filters of this field that have not been asked on this line (bits of *seen, by filter): 1 = one
 * refuses, 0 = they pass, -1 = there are none. */
int run_probe(const struct run *r, struct str key, struct str value, uint64_t *seen);

/* stage_line.c */
int line_filter_compile(struct stage_compiler *c, const struct stage *s,
                        struct line_filter_step *ret);
bool line_filter_run(const struct line_filter_step *s, struct str line);

/* line_clause.c: what pipeline_clauses tells; sets is_clause of the steps. -ENOMEM. */
int line_clauses_find(struct arena *arena, struct step *steps, size_t count,
                      struct line_clause **ret, size_t *ret_count);

/* stage_json.c: false when an early filter has refused the line */
bool json_run(const struct extract_step *s, struct run *r);
bool json_run_fields(const struct extract_step *step, struct run *r);
bool unpack_run(struct run *r);
/* Unescapes as Loki's JSON parser does: -1 on a bad escape or a lone surrogate. `out` has room for raw.size. */
int64_t json_value_unescape(struct str raw, char *out);
/* A value without the characters that label values may not hold: each U+FFFD or invalid byte is a space. */
struct str run_clean_utf8(struct run *r, struct str value);

/* stage_logfmt.c */
bool logfmt_run(const struct extract_step *s, struct run *r);
bool logfmt_run_fields(struct run *r);

/* stage_label.c */
int label_filter_compile(struct stage_compiler *c, const struct label_filter *f,
                         const struct filter_node **ret);
bool label_filter_run(const struct filter_node *f, struct run *r);
/* Would the filter refuse this value of its label, on a line that has (no) error? Sets none. Leaves only. */
bool label_filter_refuses(const struct filter_node *f, struct str value, bool has_error);
/* Sets the filter's error when the value is not of its type (number, duration, size) and the line has none yet. */
void label_filter_mark(const struct filter_node *f, struct run *r, struct str value);
int choices_compile(struct stage_compiler *c, const struct label_choice *list, struct step *ret);
/* What Go's parsers say about a text that they refuse. */
void put_float_error(struct buf *out, struct str text);
void put_duration_error(struct buf *out, struct str text);
void put_bytes_error(struct buf *out, struct str text);
void drop_run(const struct step *s, struct run *r);
void keep_run(const struct step *s, struct run *r);

/* stage_text.c */
int regexp_compile(struct stage_compiler *c, const struct regex *regex, struct step *ret);
bool regexp_run(const struct step *s, struct run *r);
int pattern_stage_compile(struct stage_compiler *c, struct str text, struct step *ret);
bool pattern_run(const struct step *s, struct run *r);
void decolorize_run(struct run *r);

/* unwrap.c: false when the line has no value. A value that does not convert sets __error__. */
bool unwrap_run(enum unwrap_conversion conversion, uint32_t name, struct run *r, double *ret);
