/* follow: lines as they come in, for as long as nobody interrupts. The source is asked again and again for what lies
 * behind the last look, with an overlap in which lines that come late are still found; what was shown is remembered by
 * its hash and not shown again. So a lost connection costs nothing but time, and a slow terminal gets all lines later:
 * they are read from the store, not from a queue. Works the same for a server and for a directory. */
#pragma once

#include "err.h"
#include "pages.h"
#include "session.h"

enum {
    FOLLOW_OVERLAP_S = 30, /* lines that come later than so long after their time are not shown */
    FOLLOW_POLL_MS = 200,
};

/* Shows the last `last` lines of the range first (0 = all of them, oldest first). Ends with 0 after SIGINT or SIGTERM.
 * Trouble that may pass (no connection, an overloaded server) is said once and waited for. */
int follow_run(struct session *s, struct str query, uint64_t last, page_fn *fn, void *ctx,
               uint64_t *ret_lines, struct err *reterr);
