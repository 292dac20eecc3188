/* parallel: a log query over a long range as many downloads at once (--parallel-max-workers): the range is cut into
 * jobs (--parallel-duration), each a process of its own that writes standard output or a part file
 * (--part-path-prefix): PREFIX_<start>_<end>.part, named .tmp behind it until it is complete, so that a second run
 * takes up what the first one left. --merge-parts prints the parts in order. */
#pragma once

#include <stdbool.h>

#include "err.h"
#include "options.h"
#include "when.h"

/* Runs fn for each job in a child with standard output redirected; fn opens its own connection and gives the status of
 * the program. *ret_found: some job found something. */
typedef int parallel_fn(const struct options *o, struct range range, void *ctx);
int parallel_run(const struct options *o, struct range range, parallel_fn *fn, void *ctx,
                 bool *ret_found, struct err *reterr);
