/* logq fmt: LogQL in its canonical form; needs no server. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli.h"
#include "parser.h"
#include "session.h"

enum { QUERY_MAX = 1 << 20 };

static int read_stdin(struct buf *text, struct err *reterr) {
    char part[64 << 10];
    size_t n;
    while ((n = fread(part, 1, sizeof(part), stdin)) > 0)
        buf_add(text, part, n);
    return text->failed ? err_set(reterr, -ESYNTAX, "the query is longer than %d bytes", QUERY_MAX)
                        : 0;
}

int cmd_fmt(const struct options *o) {
    struct err err = {0};
    struct parsed_query *query = NULL;
    struct buf text = buf_make(QUERY_MAX), pretty = buf_make(BUF_NO_MAX);
    int r = 0;
    if (o->arguments.count > 0)
        buf_add_str(&text, str_from(o->arguments.items[0]));
    else if (isatty(STDIN_FILENO))
        r = err_set(&err, -ESYNTAX, "which query? logq fmt <FILE, or logq fmt 'QUERY'");
    else
        r = read_stdin(&text, &err);
    if (r == 0)
        r = query_parse_unchecked(str_trim(buf_str(&text)), &query, &err);
    if (r == 0) {
        expr_pretty(&pretty, parsed_query_expr(query));
        (void)fwrite(pretty.data, 1, pretty.size, stdout);
        (void)putchar('\n');
    }
    parsed_query_free(query);
    buf_done(&text);
    buf_done(&pretty);
    /* 1, as logcli: there is no "nothing found" here. */
    return r < 0 ? (session_trouble(&err), 1) : 0;
}
