/* http_parse: the bytes of HTTP/1.x requests: the head, and chunked bodies. Strict where two
 * parties could read a request differently (RFC 9112 section 11.2): such requests are refused
 * and their connection closed. Pure functions, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "http.h"
#include "str.h"

enum {
    HTTP_FIELDS_MAX = 100,     /* header lines; proxies add some ten, browsers twenty */
    HTTP_CHUNK_LINE_MAX = 256, /* a chunk's size line with extensions */
    HTTP_TRAILER_BYTES_MAX = 8192,
};

struct http_field {
    struct str name, value;
};

struct http_head {
    enum http_method method;
    struct str target; /* as sent, origin form: starts with '/'; or "*" */
    unsigned minor;    /* 0 or 1 */
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t n_fields;
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    uint64_t content_length; /* 0 when absent */
};

/* Offset behind the blank line that ends the head, or 0 while it is not there. `*scanned` keeps
 * what has been looked at between calls on growing input. */
size_t http_head_end(struct str bytes, size_t *scanned);

/* Parses a head, blank line included; the result borrows `bytes`. 0, or the HTTP status to
 * refuse with (400, 417, 501, 505) and the reason in reterr. */
int http_head_parse(struct str bytes, struct http_head *ret, struct err *reterr);

/* Value of the first field of that name (any case); .data NULL when absent. */
struct str http_head_field(const struct http_head *head, const char *name);

/* Is `token` in the comma-separated list? Any case. */
bool http_list_has(struct str list, struct str token);

/* Does an Accept-Encoding value allow gzip (by name or *, and not with q=0)? */
bool http_accepts_gzip(struct str value);

/* Decoder of a chunked body, fed piece by piece. Zero-initialise. */
struct http_chunked {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } state;
    uint64_t left;
    size_t trailer_bytes;
};

/* Takes from `in`, appends content to `body`; *ret_used = bytes consumed. 0 also when more input
 * is needed (state != CHUNK_DONE); -ESYNTAX; -E2BIG when body->max is exceeded; -ENOMEM. */
int http_chunked_feed(struct http_chunked *c, struct str in, struct buf *body, size_t *ret_used);

/* Appends the percent-decoded text; a bad escape stays as it is. `plus`: '+' is a blank (forms). */
void http_unescape(struct buf *out, struct str text, bool plus);
