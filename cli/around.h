/* around: matches with lines of context (-A, -B, -C), as groups of lines that follow each other in one stream. The API
 * finds them (context_before, context_after of query_range); here the pages of a long answer are joined: a group that
 * goes on in the next page stays one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "output.h"
#include "session.h"

struct around {
    struct str query;
    uint64_t limit; /* matches; 0 = all */
    bool
        forward; /* which matches a limit keeps: the oldest or the newest; groups come oldest first */
    struct printer *printer;
};

bool around_wanted(const struct options *o);
int around_run(struct session *s, const struct around *a, uint64_t *ret_matches,
               struct err *reterr);
