/* metadata: structured metadata on its way in: names made safe, values made valid, sorted, each
 * name once. Works in place on pairs of the request's arena. One thread at a time per arena. */
#pragma once

#include <stddef.h>

#include "arena.h"
#include "labels.h"

/* Sorts by name; of pairs with one name the last given stays. Returns the new count, or -ENOMEM. */
int64_t pairs_sort_last_wins(struct arena *arena, struct label *pairs, size_t count);

/* Names as Loki stores them: every run of characters outside [A-Za-z0-9]
 * becomes one '_', a leading digit gets "key_". Values lose U+FFFD and invalid UTF-8. Pairs
 * without a usable name or without a value are dropped. The result is sorted, each name once.
 * Returns the new count, or -ENOMEM. */
int64_t metadata_normalize(struct arena *arena, struct label *pairs, size_t count);

/* Sets one pair in a sorted set; there must be room for one more behind it. Returns the new
 * count. */
size_t metadata_set(struct label *pairs, size_t count, struct label pair);

/* Two sorted sets as one in new memory, with room for one more behind it; `over` wins where both
 * have a name. NULL without memory. */
struct label *metadata_merge(struct arena *arena, struct labels under, struct labels over,
                             size_t *ret_count);
