/* snapshot_sieve (private to storage): which chunks of a query with a needle need not be opened, by the sieves of their
 * days (sieve.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "store_private.h"

/* Says in ret[i] whether rows[i] may hold what select.grams asks for; rows that no sieve knows may. 0 or -ENOMEM; memory of
 * the arena is used. */
int snapshot_sieve(struct store *s, const struct select *sel, const struct index_chunk *const *rows,
                   size_t n, struct arena *arena, bool *ret);
