/* rate_limit: a token bucket of bytes per tenant, one table for the process. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "str.h"

/* Tenants that are remembered at once; buckets that have filled up again are forgotten first. When all are in use, a
 * further tenant is not limited: refusing a stranger's logs for others' load would be worse. */
enum { RATE_TENANTS_MAX = 10000 };

struct rate {
    double bytes_per_second;
    double burst_bytes;
};

/* True, and the bytes are taken, when the tenant's bucket holds them; a rate that is not positive allows
 * everything. `now_ns` must come from one clock. */
bool rate_limit_take(struct str tenant, struct rate rate, uint64_t bytes, int64_t now_ns);

/* Forgets all tenants. */
void rate_limit_reset(void);
