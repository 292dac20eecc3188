/* logq api PATH: an endpoint's own answer, for scripts that want what the other commands do not show. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "session.h"

enum { FORM_MAX = 1 << 20, NAME_MAX_BYTES = 256 };

static int make_form(const struct options *o, struct buf *form, struct err *reterr) {
    for (size_t i = 1; i < o->arguments.count; i++) {
        const char *word = o->arguments.items[i], *equals = strchr(word, '=');
        char name[NAME_MAX_BYTES];
        if (!equals || equals - word >= NAME_MAX_BYTES)
            return err_set(reterr, -ESYNTAX, "logq api PATH [NAME=VALUE]..., not \"%s\"", word);
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - word), word);
        param_add(form, name, str_from(equals + 1));
    }
    return 0;
}

int cmd_api(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct buf form = buf_make(FORM_MAX);
    struct str body = {0};
    int r = o->arguments.count > 0 && o->arguments.items[0][0] == '/'
                ? make_form(o, &form, &err)
                : err_set(&err, -ESYNTAX, "which endpoint? logq api /loki/api/v1/labels");
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = source_ask(s.source, o->arguments.items[0], &form, &body, &err);
    if (r == 0) {
        (void)fwrite(body.data, 1, body.size, stdout);
        if (body.size > 0 && body.data[body.size - 1] != '\n')
            (void)putchar('\n');
    }
    session_close(&s);
    buf_done(&form);
    return r < 0 ? session_trouble(&err) : session_status(o, true);
}
