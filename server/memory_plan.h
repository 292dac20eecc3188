/* memory_plan: how memory.limit is divided among what has a size of its own. */
#pragma once

#include "config.h"

struct memory_plan {
    uint64_t limit; /* of the budget (budget.h) */
    uint64_t head_budget, push_body_max, bodies_max, wal_buffer, chunk_cache;
    unsigned workers; /* 0 = as many as usual */
};

/* Memory of the machine, or of the control group that this process is in when that has less. */
uint64_t memory_of_machine(void);

struct memory_plan memory_plan_make(const struct config *c, uint64_t machine_bytes);

/* Sets the budget's limit and makes malloc give memory back soon enough for it. Before threads
 * start. */
void memory_plan_apply(const struct memory_plan *p);
