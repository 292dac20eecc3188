/* census: which labels do streams have, and how many values has each? For detected_labels. One
 * thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "labels.h"

enum {
    CENSUS_NAMES_MAX = 1 << 16, /* distinct label names; further ones are left out */
};

struct census;

struct census_label {
    struct str name;
    uint64_t cardinality;
};

struct census *census_new(void);
void census_free(struct census *c);

/* Counts the labels of one stream. -ENOMEM. */
int census_add(struct census *c, struct labels labels);

/* The labels sorted by name, without those that only identify (all values are numbers or UUIDs;
 * 0 and 1 are a boolean, and cluster, namespace, instance and pod are always shown). They live
 * as long as the census. -ENOMEM. */
int census_list(struct census *c, const struct census_label **ret, size_t *ret_count);

/* A value that people do not choose labels by: a number or a UUID. */
bool census_is_id(struct str value);
