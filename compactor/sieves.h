/* sieves: when a day's sieve (storage/sieve.h) is written. Too early costs work that the next chunks undo, too late costs
 * each needle the opening of chunks: so a day that is being written gets a new one when it has twice the blocks, which
 * is to write each filter twice in all; a day that is over when an eighth is missing. A sieve most of whose chunks have
 * gone is written anew, one whose day has gone is removed. */
#pragma once

#include "merge.h"
#include "store.h"

enum { SIEVES_CHUNKS_MIN = 16 }; /* a day with fewer has none: opening them takes 100 us */

struct sieves_result {
    uint64_t written, removed, failures;
    uint64_t written_bytes;
    uint64_t file_bytes; /* of all that there are */
};

/* One round over all tenants and days. Hooks and policy as those of a merge. -ECANCELED when stopped; a sieve that cannot be
 * written is logged and counted. */
int sieves_run(struct store *s, const struct merge_policy *p, const struct merge_hooks *hooks,
               int64_t now_ns, struct sieves_result *ret, struct err *reterr);

/* Bytes of a tenant's sieves. */
uint64_t sieves_bytes(struct store *s, struct str tenant);
