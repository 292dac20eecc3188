/* vector: values of many series over all steps of a query, and LogQL's operations on them. Everything lives
 * in the query's arena (struct exec); only the calling thread works on vectors. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ast.h"
#include "exec.h"
#include "labels.h"

struct vec_series {
    struct labels labels;
    double *values; /* per step */
    bool *present;  /* per step: is there a value */
};

struct vec {
    bool is_scalar; /* one number at every step; no series */
    double scalar;
    struct vec_series *series;
    size_t count;
    bool ordered; /* sort() decided the order, here or further in */
};

/* Room for values of every step, nothing present. -ENOMEM. */
int vec_series_make(struct exec *x, struct labels labels, struct vec_series *ret);

/* ---- sets of label sets */

struct label_index_slot {
    uint64_t hash;
    uint32_t id_plus_one;
};
/* Label sets numbered in order of first appearance. The sets are borrowed. */
struct label_index {
    struct arena *arena;
    struct label_index_slot *slots;
    size_t mask;
    struct labels *sets;
    size_t count, capacity;
};
int label_index_make(struct arena *arena, size_t expected, struct label_index *ret);
/* The number of a set; a new one is added. *ret_new may be NULL. -ENOMEM. */
int label_index_find(struct label_index *index, struct labels set, uint32_t *ret, bool *ret_new);

/* Only the named labels, or (keep false) all others. The strings are borrowed. */
int labels_reduce(struct arena *arena, struct labels set, const struct str *names, size_t n_names,
                  bool keep, struct labels *ret);

/* ---- operations */

/* vectoragg.c: sum, avg, topk, sort, ... */
int vec_aggregate(struct exec *x, const struct vector_agg *agg, const struct vec *in,
                  struct vec *ret, struct err *reterr);

/* binop.c: any two sides. Loki's texts on ambiguous matches with -EREFUSED. */
int vec_binary(struct exec *x, const struct binary *b, const struct vec *left,
               const struct vec *right, struct vec *ret, struct err *reterr);

/* labelreplace is small enough to live in vector.c. */
int vec_label_replace(struct exec *x, const struct expr *e, const struct vec *in, struct vec *ret,
                      struct err *reterr);

/* rangeexec.c: runs a range aggregation over the store. `pushed`: the grouping of a sum() around it, or NULL. */
int range_eval(struct exec *x, const struct range_agg *agg, const struct grouping *pushed,
               struct vec *ret, struct err *reterr);

/* The refusal of more series than the query may have. */
int vec_check_series(const struct exec *x, size_t count, struct err *reterr);
