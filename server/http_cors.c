/* http_cors: may pages of other origins read our answers? Only those of a configured list; without
 * one nothing here changes a reply. Browsers ask with a preflight before requests that are not
 * simple; it carries no credentials and so needs none. */
#include <stdio.h>

#include "http_internal.h"

static const char max_age_s[] = "600"; /* as long as any browser keeps it without doubt */

static const struct str *allowed_by(const struct http_options *o, struct str origin) {
    for (size_t i = 0; i < o->n_cors_origins && origin.size > 0; i++)
        if (str_eq(o->cors_origins[i], STR("*")) || str_eq_nocase(o->cors_origins[i], origin))
            return &o->cors_origins[i];
    return NULL;
}

void http_cors_add_headers(struct http_request *r, struct buf *head) {
    const struct http_options *o = &r->loop->server->options;
    if (o->n_cors_origins == 0)
        return;
    buf_add_str(head, STR("Vary: Origin\r\n"));
    struct str origin = http_request_header(r, "Origin");
    const struct str *by = allowed_by(o, origin);
    if (!by)
        return;
    bool any = str_eq(*by, STR("*")); /* then without cookies and logins of the browser's */
    buf_addf(head, "Access-Control-Allow-Origin: %.*s\r\n", STR_ARG(any ? *by : origin));
    if (!any)
        buf_add_str(head, STR("Access-Control-Allow-Credentials: true\r\n"));
    buf_add_str(head, STR("Access-Control-Expose-Headers: X-Delete-Request-ID\r\n"));
}

bool http_cors_is_preflight(const struct http_request *r) {
    const struct http_options *o = &r->loop->server->options;
    return r->head.method == HTTP_OPTIONS &&
           allowed_by(o, http_request_header(r, "Origin")) != NULL &&
           http_request_header(r, "Access-Control-Request-Method").data != NULL;
}

void http_cors_answer(struct http_request *r) {
    struct str wanted = http_request_header(r, "Access-Control-Request-Headers");
    char headers[1024]; /* longer lists than any client of ours sends are cut, and so refused */
    (void)snprintf(headers, sizeof(headers), "%.*s", STR_ARG(wanted));
    const struct http_header extra[] = {
        {"Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE"},
        {"Access-Control-Max-Age", max_age_s},
        {"Access-Control-Allow-Headers", headers},
    };
    http_reply_headers(r, 204, NULL, extra, wanted.size > 0 ? 3 : 2, NULL);
}
