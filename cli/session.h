/* session: what every command does first and last: zone, range, connection; and how trouble is
 * said. */
#pragma once

#include "cli.h"
#include "err.h"
#include "options.h"
#include "source.h"
#include "when.h"

struct session {
    const struct options *options;
    struct source *source;
    int64_t now_ns;
    struct range range;
};

/* Checks --timezone, --output-timestamp-format, the range, and opens the source (not for push and delete). */
int session_open(struct session *s, const struct options *o, struct err *reterr);
void session_close(struct session *s);

/* "logq: TEXT" on stderr; CLI_TROUBLE. */
int session_trouble(const struct err *err);

/* After session_close: CLI_FOUND or CLI_NOTHING, as --logcli-exit has it; CLI_TROUBLE when a part
 * of the data could not be read. */
int session_status(const struct options *o, bool found);

/* Runs fn for window after window of the range, oldest first;
 * -EREFUSED for too long a range makes the windows shorter, so fn must have had no effect
 * then. */
typedef int window_fn(struct session *s, struct range window, void *ctx, struct err *reterr);
int session_each_window(struct session *s, struct range range, window_fn *fn, void *ctx,
                        struct err *reterr);
