/* client: HTTP to one server through libcurl: one connection that is kept alive, gzip accepted,
 * logcli's credentials. Owns its curl handle. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "options.h"
#include "str.h"

struct client;

enum {
    CLIENT_BODY_MAX = 1 << 30
}; /* of one answer: 5000 lines of 256 KiB with room for escapes would be more, and are refused */

/* `o` must outlive the client. */
int client_open(const struct options *o, struct client **ret, struct err *reterr);
void client_close(struct client *c);

/* Asks for `path` with the form's parameters (as POST when they are too long for a URL) and
 * gives the body of a 2xx answer; retried as --retries says. The body is NUL-terminated behind
 * its size and lives until the next call. -EREFUSED (-EBUSYNOW when it may pass): the server
 * answered something else, the text is its own words. -ECONNREFUSED and other errnos: no answer. */
int client_ask(struct client *c, const char *path, const struct buf *form, struct str *ret_body,
               struct err *reterr);

/* Asks for an answer of any length and gives it to `take` as it comes (false = enough), without a limit of time.
 * -ENOENT: there is no such endpoint. Not retried. */
int client_stream(struct client *c, const char *path, const struct buf *form,
                  bool (*take)(struct str piece, void *ctx), void *ctx, struct err *reterr);

struct client_answer {
    long status;     /* 0 = none: see the error */
    struct str body; /* lives until the next call */
};

/* One POST, never retried. 0 whenever there is an answer, of any status. */
int client_post(struct client *c, const char *path, const char *content_type, struct str body,
                struct client_answer *ret, struct err *reterr);

/* One request of any method with its parameters in the address, never retried. */
int client_send(struct client *c, const char *method, const char *path, const struct buf *form,
                struct client_answer *ret, struct err *reterr);

/* "the server answered 401: ..." with what to do about it. */
int client_status_error(const struct client *c, const struct client_answer *answer,
                        struct err *reterr);
