/* push_figures: what each tenant sends, for metrics. Any thread. */
#pragma once

#include "push.h"

struct push_figures;

struct push_figures *push_figures_new(void);
void push_figures_free(struct push_figures *f);

/* The counters of a tenant, for as long as `f` lives. Beyond PUSH_FIGURES_TENANTS_MAX tenants all
 * further ones share the counters named "other", so that made-up tenants cost no memory. */
enum { PUSH_FIGURES_TENANTS_MAX = 1000 };
struct push_metrics *push_figures_of(struct push_figures *f, struct str tenant);

/* The n-th tenant in order of first appearance; NULL behind the last. */
struct push_metrics *push_figures_at(struct push_figures *f, size_t n, struct str *ret_tenant);
