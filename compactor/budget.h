/* budget: which chunks must go so that the rest fits: the store, each tenant, each rule with max_bytes, and the free space
 * of the disk. Of each budget the oldest go first (by their last entry), wherever they are, until it is kept: rules, then
 * tenants, then the store. Sizes are those of the files. Decides only; retention.c removes. One thread. */
#pragma once

#include "retention.h"

enum { BUDGET_RULES_MAX = RETENTION_BUDGET_RULES_MAX };

struct budget_item {
    struct index_chunk chunk;
    uint32_t tenant;            /* number in budget.tenants */
    uint64_t rules;             /* bit i: counts for the i-th rule with max_bytes */
    enum retention_cause cause; /* RETENTION_STAYS or why it goes */
};

struct budget {
    const struct retention_budgets *limits;
    uint64_t rule_limits[BUDGET_RULES_MAX]; /* of rules with max_bytes, in their order */
    size_t n_rules;
    uint64_t free_bytes; /* of the disk, now */
    struct budget_item *items;
    size_t n_items, capacity;
    uint64_t *tenant_bytes; /* per tenant */
    size_t n_tenants;
    uint64_t *other_bytes; /* per tenant: what is not in chunks (budget_add_other) */
    uint64_t store_bytes, rule_bytes[BUDGET_RULES_MAX];
};

/* 0 or -ENOMEM. */
int budget_add(struct budget *b, const struct budget_item *item);
/* Bytes that count for the store and the tenant, and go by themselves when chunks do. A tenant without items has none. */
void budget_add_other(struct budget *b, uint32_t tenant, uint64_t bytes);
/* Sorts the items, the oldest first, and sets their causes. The sums become those of what stays. */
void budget_decide(struct budget *b);
void budget_done(struct budget *b);
