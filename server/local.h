/* local: the API without a network. A data directory is opened for reading only, and its read endpoints are answered in
 * the calling thread by the handlers that serve HTTP: so what `logq --data-dir` says is what a server on the directory
 * would say. A logqd may be running on it. One thread per struct local. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "str.h"

struct local;

struct local_options {
    const char *data_dir;
    /* NULL = the only one there is, or the one of a server without auth_enabled. */
    const char *tenant;
    bool ignore_index; /* look at all chunk files instead */
    /* Levels of log.h: what could not be read, for example. May be NULL. */
    void (*log)(int level, const char *msg, const char *pairs);
};

/* -ENOENT, -EFORMAT, ...; -EREFUSED when a tenant must be named. */
int local_open(const struct local_options *o, struct local **ret, struct err *reterr);
void local_close(struct local *l);

struct local_answer {
    int status;
    struct str body; /* lives until the next call */
};

/* POSTs the form (name=value&...) to `path`; `flags` is X-Loki-Response-Encoding-Flags, may be empty. 0 whenever there
 * is an answer, of any status; -ENOMEM, -ESYNTAX for a path that is none. */
int local_ask(struct local *l, struct str path, struct str form, struct str flags,
              struct local_answer *ret, struct err *reterr);

/* The same for an answer of any length: what comes with status 200 is given to `take` piece by piece (false = enough),
 * and the answer's body is empty. */
typedef bool local_take_fn(struct str piece, void *ctx);
int local_stream(struct local *l, struct str path, struct str form, local_take_fn *take, void *ctx,
                 struct local_answer *ret, struct err *reterr);
