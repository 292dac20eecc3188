/* source: where answers come from: a server over HTTP, or a data directory (--data-dir). Commands ask the API's read
 * endpoints and do not know which of the two answers. One thread. */
#pragma once

#include <stdbool.h>

#include "buf.h"
#include "err.h"
#include "options.h"
#include "str.h"

struct source;

/* `o` must outlive the source. */
int source_open(const struct options *o, struct source **ret, struct err *reterr);
/* NULL is fine. True when something could not be read, which has been said on stderr. */
bool source_close(struct source *s);

/* Appends name=value to a form, escaped. */
void param_add(struct buf *form, const char *name, struct str value);
void param_add_i64(struct buf *form, const char *name, int64_t value);

/* Asks for `path` with the form's parameters and gives the body of a 2xx answer; it is NUL-terminated behind its size
 * and lives until the next call. -EREFUSED: another answer, the text is its own words. Other errnos: no answer. */
int source_ask(struct source *s, const char *path, const struct buf *form, struct str *ret_body,
               struct err *reterr);

/* The same for an answer of any length, given to `take` as it comes (false = enough). -ENOENT: no such endpoint there;
 * -EIO and others when it breaks off. */
typedef bool source_take_fn(struct str piece, void *ctx);
int source_stream(struct source *s, const char *path, const struct buf *form, source_take_fn *take,
                  void *ctx, struct err *reterr);

/* Makes the following answers see what has come in since: a directory is opened anew. */
int source_refresh(struct source *s, struct err *reterr);

/* True when the message says that a longer range or more lines were asked for than the API allows. */
bool source_refused_range(const struct err *err);
bool source_refused_limit(const struct err *err);

/* ---- the two kinds; each sets ops and state */
struct source_ops {
    int (*ask)(void *state, const char *path, const struct buf *form, struct str *ret_body,
               struct err *reterr);
    int (*stream)(void *state, const char *path, const struct buf *form, source_take_fn *take,
                  void *ctx, struct err *reterr);
    int (*refresh)(void *state, struct err *reterr); /* NULL = nothing to do */
    bool (*close)(void *state);
};
int source_http_open(const struct options *o, const struct source_ops **ret_ops, void **ret_state,
                     struct err *reterr);
int source_dir_open(const struct options *o, const struct source_ops **ret_ops, void **ret_state,
                    struct err *reterr);
