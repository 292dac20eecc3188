/* api_format: format_query. The only query endpoint whose errors are JSON; needs no tenant. */
#include "api.h"
#include "json.h"
#include "parser.h"

enum { PRETTY_MAX = 16 << 20 }; /* escapes and indentation of a query of at most 128 KiB */

static const char json_type[] = "application/json; charset=UTF-8";

void api_format_query(struct http_request *r, void *ctx) {
    (void)ctx;
    struct err err = {0};
    struct parsed_query *query = NULL;
    struct str text = http_param(r, "query");
    struct buf body = buf_make(BUF_NO_MAX), pretty = buf_make(PRETTY_MAX);
    int status = 200;
    if (query_parse_unchecked(text.data ? text : STR(""), &query, &err) < 0) {
        status = 400;
        buf_add_str(&body, STR("{\"status\":\"invalid-query\",\"error\":"));
        json_write_string(&body, str_from(err.text));
    } else {
        expr_pretty(&pretty, parsed_query_expr(query));
        buf_add_str(&body, STR("{\"status\":\"success\",\"data\":"));
        json_write_string(&body, buf_str(&pretty));
    }
    buf_add_str(&body, STR("}\n"));
    if (pretty.failed)
        http_reply_error(r, 500, STR("the formatted query is too large"));
    else
        http_reply(r, status, json_type, &body);
    parsed_query_free(query);
    buf_done(&pretty);
    buf_done(&body);
}
