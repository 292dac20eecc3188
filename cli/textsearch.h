/* textsearch: finds the lines of a text that patterns select, as grep has it. It searches the whole text for what a
 * matching line must contain and looks at single lines only where that stands: with a literal it runs at the speed of
 * finder.h. Immutable once made but for a cache of places: one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "options.h"
#include "str.h"

struct textsearch;

int textsearch_new(const struct options *o, const char *const *patterns, size_t count,
                   struct textsearch **ret, struct err *reterr);
void textsearch_free(struct textsearch *t);

/* The next selected line that begins at or behind `from`, a place where a line begins. `*ret_line` comes without its
 * line break, `*ret_next` is the place behind that. False when there is none. Call textsearch_begin for each text. */
void textsearch_begin(struct textsearch *t, struct str text);
bool textsearch_next(struct textsearch *t, size_t from, struct str *ret_line, size_t *ret_next);

/* Selected lines in all of the text. */
uint64_t textsearch_count(struct textsearch *t, struct str text);

/* The next match in a line at or behind `from`, for -o and colours; false when there is none or everything fits. */
bool textsearch_match(const struct textsearch *t, struct str line, size_t from, struct str *ret);

uint64_t count_line_breaks(struct str text);
