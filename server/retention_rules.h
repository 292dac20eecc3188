/* retention_rules: from settings to a retention policy: selectors are compiled once. */
#pragma once

#include "config.h"

/* Rules for every tenant, or for one; a tenant that has a source of its own has nothing else. */
struct retention_source {
    struct str tenant; /* .size 0 = every tenant */
    const struct config_retention *rules;
    size_t n_rules;
    bool has_period; /* tenant: its streams that no rule matches are kept for period_ns */
    int64_t period_ns;
};

/* Texts are borrowed for as long as the policy lives, but for the tenants' names. -ESYNTAX naming
 * the selector, -ENOMEM. */
int retention_rules_make(int64_t default_period_ns, const struct retention_source *sources,
                         size_t n_sources, const struct retention_budgets *budgets,
                         struct retention_policy **ret, struct err *reterr);
