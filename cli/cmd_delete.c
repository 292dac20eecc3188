/* logq delete create|list|cancel: requests to delete lines, kept by the server. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "session.h"
#include "units.h"

enum { FORM_MAX = 1 << 20 };

static int send(struct session *s, const char *method, const struct buf *form,
                struct client_answer *ret, struct err *reterr) {
    struct client *client = NULL;
    (void)s;
    int r = client_open(s->options, &client, reterr);
    if (r == 0)
        r = client_send(client, method, "/loki/api/v1/delete", form, ret, reterr);
    if (r == 0 && ret->status / 100 != 2)
        r = client_status_error(client, ret, reterr);
    if (r == 0 && ret->body.size > 0) {
        (void)fwrite(ret->body.data, 1, ret->body.size, stdout);
        if (ret->body.data[ret->body.size - 1] != '\n')
            (void)putchar('\n');
    }
    client_close(client);
    return r;
}

static int create(struct session *s, struct err *reterr) {
    const struct options *o = s->options;
    struct buf form = buf_make(FORM_MAX);
    struct client_answer answer;
    if (o->arguments.count != 2)
        return err_set(reterr, -ESYNTAX,
                       "logq delete create '{app=\"api\"} |= \"secret\"' --from TIME");
    param_add(&form, "query", str_from(o->arguments.items[1]));
    param_add_i64(&form, "start", s->range.start_ns / NS_PER_S);
    param_add_i64(&form, "end", s->range.end_ns / NS_PER_S);
    if (o->max_interval)
        param_add(&form, "max_interval", str_from(o->max_interval));
    int r = send(s, "POST", &form, &answer, reterr);
    buf_done(&form);
    if (r == 0 && !o->quiet)
        (void)puts("Delete request created successfully");
    return r;
}

static int cancel(struct session *s, struct err *reterr) {
    const struct options *o = s->options;
    struct buf form = buf_make(FORM_MAX);
    struct client_answer answer;
    const char *id = o->request_id            ? o->request_id
                     : o->arguments.count > 1 ? o->arguments.items[1]
                                              : NULL;
    if (!id)
        return err_set(reterr, -ESYNTAX,
                       "which one? logq delete cancel --request-id ID; see logq delete list");
    param_add(&form, "request_id", str_from(id));
    if (o->force)
        param_add(&form, "force", STR("true"));
    int r = send(s, "DELETE", &form, &answer, reterr);
    buf_done(&form);
    if (r == 0 && !o->quiet)
        (void)puts("Delete request cancelled successfully");
    return r;
}

static int list(struct session *s, struct err *reterr) {
    struct buf form = buf_make(FORM_MAX);
    struct client_answer answer;
    int r = send(s, "GET", &form, &answer, reterr);
    buf_done(&form);
    return r;
}

int cmd_delete(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    const char *what = o->arguments.count > 0 ? o->arguments.items[0] : "";
    int r = session_open(&s, o, &err);
    if (r == 0 && o->data_dir && *what)
        r = err_set(&err, -ESYNTAX,
                    "delete requests are the server's: use --addr instead of --data-dir");
    if (r == 0 && strcmp(what, "create") == 0)
        r = create(&s, &err);
    else if (r == 0 && strcmp(what, "list") == 0)
        r = list(&s, &err);
    else if (r == 0 && strcmp(what, "cancel") == 0)
        r = cancel(&s, &err);
    else if (r == 0)
        r = err_set(&err, -ESYNTAX,
                    "logq delete create QUERY, logq delete list or logq delete cancel "
                    "--request-id ID; see logq help delete");
    session_close(&s);
    return r < 0 ? session_trouble(&err) : CLI_FOUND;
}
