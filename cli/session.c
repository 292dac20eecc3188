#include <errno.h>
#include <stdio.h>

#include "clock.h"
#include "pages.h"
#include "session.h"
#include "units.h"

enum { WINDOW_MIN_S = 60 };

static bool partial; /* something could not be read */

int session_open(struct session *s, const struct options *o, struct err *reterr) {
    *s = (struct session){.options = o, .now_ns = clock_now_ns()};
    int r = when_use_zone(o->timezone, reterr);
    if (r == 0 && !when_format_known(o->timestamp_format))
        r = err_set(reterr, -ESYNTAX,
                    "--output-timestamp-format is rfc3339, rfc3339nano, rfc822z, rfc1123z, "
                    "stampmilli, stampmicro, stampnano or unixdate, not \"%s\"",
                    o->timestamp_format);
    if (r == 0)
        r = when_range(o, s->now_ns, &s->range, reterr);
    bool needs_source = o->command != COMMAND_PUSH && o->command != COMMAND_DELETE;
    return r == 0 && needs_source ? source_open(o, &s->source, reterr) : r;
}

void session_close(struct session *s) {
    if (s->options && s->options->stats)
        answer_print_stats();
    partial = source_close(s->source) || partial;
    s->source = NULL;
}

int session_trouble(const struct err *err) {
    (void)fflush(stdout);
    (void)fprintf(stderr, "logq: %s\n",
                  err->text[0] ? err->text : "cannot write the output (is the disk full?)");
    return CLI_TROUBLE;
}

int session_status(const struct options *o, bool found) {
    if (partial) /* as grep has it: a match does not make good for a file that cannot be read */
        return o->quiet && found ? CLI_FOUND : CLI_TROUBLE;
    return found || o->logcli_exit ? CLI_FOUND : CLI_NOTHING;
}

int session_each_window(struct session *s, struct range range, window_fn *fn, void *ctx,
                        struct err *reterr) {
    int64_t size_ns = WINDOW_MAX_NS;
    struct range rest = range, before = range, window;
    while (when_next_window(&rest, true, size_ns, &window)) {
        int r = fn(s, window, ctx, reterr);
        if (r == -EREFUSED && source_refused_range(reterr) &&
            size_ns / 2 >= WINDOW_MIN_S * NS_PER_S) {
            size_ns /= 2;
            rest = before;
        } else if (r != 0) {
            return r < 0 ? r : 0;
        }
        before = rest;
    }
    return 0;
}
