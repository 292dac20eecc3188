/* api_rules: what a server without a ruler says to those who look for rule groups. Grafana shows
 * an empty, read-only list: the Prometheus-shaped probes (api_status.c) answer empty lists, the
 * group files answer as below, and single groups are not routed at all, so that their "404 page
 * not found" tells Grafana that nothing can be edited. */
#include "api.h"

void api_rule_groups(struct http_request *r, void *ctx) {
    (void)ctx;
    http_reply_error(r, 404, STR("no rule groups found\n"));
}
