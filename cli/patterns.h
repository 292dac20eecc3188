/* patterns: what grep mode looks for: the patterns of -e and of files (-f), or the first argument. A line break in a
 * pattern separates two, as in grep. Owns the texts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "options.h"

enum { PATTERNS_MAX = 10000 }; /* a longer list is a job for a join, not for grep */

struct patterns {
    const char **items;
    size_t count;
    bool used_argument; /* the first argument was the pattern */
    char **texts;       /* owned, cut in place */
    size_t n_texts;
};

int patterns_collect(const struct options *o, struct patterns *ret, struct err *reterr);
void patterns_done(struct patterns *p);
