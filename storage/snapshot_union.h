/* snapshot_union (private to storage): reads of several tenants at once. Tenants joined with '|', which no name
 * contains, mean their union: each stream gets the label STORE_TENANT_LABEL, and matchers of that name choose among
 * the tenants. */
#pragma once

#include "snapshot.h"

static inline bool is_union(struct str tenant) {
    return tenant.size > 0 && memchr(tenant.data, '|', tenant.size) != NULL;
}

int union_select(struct store *s, const struct select *sel, struct snapshot **ret,
                 struct err *reterr);
int union_series(struct store *s, const struct select *sel, store_series_fn *fn, void *ctx,
                 struct err *reterr);
