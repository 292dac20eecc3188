/* linestream: all lines of a log query in one answer without an end (/loki/api/v1/lines), given out page by page as
 * they come: memory does not grow with the answer. A page is given out when the cursor behind it has come; a connection
 * that is lost is taken up at the last cursor, so that no line is missing or comes twice. */
#pragma once

#include "err.h"
#include "pages.h"
#include "source.h"
#include "str.h"

/* As pages_fetch, for requests without interval. -ENOENT: nothing has come, for example from a
 * server that does not know the endpoint: ask by pages. */
int linestream_fetch(struct source *s, const struct page_request *q, uint64_t *ret_lines,
                     struct err *reterr);

/* The reading of an answer alone, from bytes that come in pieces of this size. 0, or why it cannot be read. */
int linestream_read(const struct page_request *q, struct str bytes, size_t piece_size,
                    struct err *reterr);
