/* textstore: a data directory made of text, for questions that need a store. Each file is a stream whose label filename
 * says its path; lines get the times that `logq push` would give them (stamper.h). One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct textstore;

/* Makes the store in an empty folder. */
int textstore_open(const char *dir, struct textstore **ret, struct err *reterr);
/* `path` "-" is standard input; compressed text is decompressed. */
int textstore_add(struct textstore *t, const char *path, struct err *reterr);
/* Times of the earliest and of the latest line; false when there is none. */
bool textstore_times(const struct textstore *t, int64_t *ret_first_ns, int64_t *ret_last_ns);
/* Everything is in the folder then, for readers. Frees in any case; -EIO or -ENOSPC when something is missing. */
int textstore_close(struct textstore *t, struct err *reterr);
