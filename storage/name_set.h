/* name_set: a set of names of labels, or of values of one. It owns copies of them. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "labels.h"
#include "map.h"
#include "str.h"

struct name_set {
    struct arena arena;
    struct map seen;
    struct str *items; /* in the order in which they came */
    size_t count, capacity;
};

void name_set_init(struct name_set *n, enum budget_kind account, size_t max_bytes);
void name_set_done(struct name_set *n);
bool name_set_have(const struct name_set *n, struct str name);
/* 1 added, 0 was there, -ENOMEM. */
int name_set_add(struct name_set *n, struct str name);
/* The items in the order of their bytes. */
void name_set_sort(struct name_set *n);

/* What is to be found: names of labels, or values of `label` when it has data, of the tenant's streams whose times meet
 * [start, end] and for which `counts` says so. */
struct name_query {
    struct str tenant;
    struct str label;
    int64_t start_ns, end_ns;
    bool (*counts)(void *ctx, struct labels labels, int64_t last_ns);
    void *ctx;
};

/* What the query looks for in one label set. 0 or -ENOMEM; *left counts down with each name that is new. */
int name_set_add_labels(struct name_set *n, const struct name_query *q, struct labels labels,
                        size_t *left);
