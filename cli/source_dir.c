/* The source that is a data directory: the API itself, in this process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "local.h"
#include "log.h"
#include "source.h"

enum { BODY_MAX = 1 << 30, MESSAGE_MAX = 400 };

struct source_dir {
    const struct options *options;
    struct local *local;
    struct buf body; /* the answer with the NUL behind it */
};

/* What the store could not read. Its log has no context: there is one directory per process. */
static bool quiet, trouble;

static void tell(int level, const char *msg, const char *pairs) {
    if (level >= LOG_ERROR)
        trouble = true;
    if (level >= LOG_WARN && !quiet)
        (void)fprintf(stderr, "logq: %s: %s %s\n", level >= LOG_ERROR ? "trouble" : "warning", msg,
                      pairs ? pairs : "");
}

static bool dir_close(void *state) {
    struct source_dir *d = state;
    local_close(d->local);
    buf_done(&d->body);
    free(d);
    return trouble;
}

static int judge(const struct local_answer *answer, const char *path, struct err *reterr) {
    struct str words = str_trim(answer->body);
    if (words.size > MESSAGE_MAX)
        words.size = MESSAGE_MAX;
    if (answer->status == 404 || answer->status == 405)
        return err_set(reterr, -EREFUSED, "%s needs a server: use --addr without --data-dir", path);
    return answer->status / 100 == 2 ? 0 : err_set(reterr, -EREFUSED, "%.*s", STR_ARG(words));
}

static int dir_stream(void *state, const char *path, const struct buf *form, source_take_fn *take,
                      void *ctx, struct err *reterr) {
    struct source_dir *d = state;
    struct local_answer answer;
    int r = local_stream(d->local, str_from(path), buf_str(form), take, ctx, &answer, reterr);
    return r < 0 ? r : judge(&answer, path, reterr);
}

static int dir_ask(void *state, const char *path, const struct buf *form, struct str *ret_body,
                   struct err *reterr) {
    struct source_dir *d = state;
    struct local_answer answer;
    int r = local_ask(d->local, str_from(path), buf_str(form), STR(""), &answer, reterr);
    if (r < 0)
        return r;
    r = judge(&answer, path, reterr);
    if (r < 0)
        return r;
    buf_clear(&d->body);
    buf_add_str(&d->body, answer.body);
    buf_add_char(&d->body, '\0');
    if (d->body.failed)
        return err_set(reterr, -ENOMEM, "out of memory");
    *ret_body = str_make(d->body.data, answer.body.size);
    return 0;
}

static int open_local(struct source_dir *d, struct err *reterr) {
    const struct local_options o = {
        .data_dir = d->options->data_dir,
        .tenant = d->options->org_id,
        .ignore_index = d->options->no_index,
        .log = tell,
    };
    return local_open(&o, &d->local, reterr);
}

static int dir_refresh(void *state, struct err *reterr) {
    struct source_dir *d = state;
    local_close(d->local);
    d->local = NULL;
    return open_local(d, reterr);
}

int source_dir_open(const struct options *o, const struct source_ops **ret_ops, void **ret_state,
                    struct err *reterr) {
    static const struct source_ops ops = {
        .ask = dir_ask, .stream = dir_stream, .refresh = dir_refresh, .close = dir_close};
    struct source_dir *d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(reterr, -ENOMEM, "out of memory");
    d->options = o;
    d->body = buf_make(BODY_MAX);
    quiet = o->quiet;
    int r = open_local(d, reterr);
    if (r < 0) {
        free(d);
        return r;
    }
    *ret_ops = &ops;
    *ret_state = d;
    return 0;
}
