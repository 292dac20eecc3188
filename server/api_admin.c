/* api_admin: what the keeper of the store may ask for. No tenant: these are about the whole store. */
#include <errno.h>
#include <inttypes.h>

#include "api.h"
#include "json.h"
#include "units.h"

static const char json_type[] = "application/json; charset=UTF-8";

/* One whole round of merges, now; ?all=true: the present day, too. Answers when it is done. */
void api_admin_merge(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct err err = {0};
    struct merge_result result = {0};
    struct str all = http_param(r, "all");
    int e = compactor_merge_once(api->compactor, str_eq(all, STR("true")), &result, &err);
    if (e < 0) {
        api_fail(r, e, &err);
        return;
    }
    const struct rewrite_result *s = &result.sums;
    struct buf body = buf_make(4096);
    buf_addf(&body,
             "{\"merges\":%" PRIu64 ",\"unmergeable\":%" PRIu64 ",\"files_before\":%" PRIu64
             ",\"files_after\":%" PRIu64 ",\"bytes_before\":%" PRIu64 ",\"bytes_after\":%" PRIu64
             ",\"entries\":%" PRIu64 ",\"duplicates\":%" PRIu64 "}\n",
             result.rewrites, result.failures, s->sources, s->outputs, s->source_bytes,
             s->output_bytes, s->entries, s->duplicates);
    http_reply(r, 200, json_type, &body);
    buf_done(&body);
}

/* ---- what retention would remove */

enum { PLAN_ROWS_MAX = 10000 };

struct plan_list {
    struct buf body;
    uint64_t rows, left_off;
};

static int list_item(const struct retention_item *item, void *ctx) {
    struct plan_list *l = ctx;
    struct buf *out = &l->body;
    struct buf labels = buf_make(BUF_NO_MAX);
    char day[11];
    if (l->rows == PLAN_ROWS_MAX) {
        l->left_off++;
        return 0;
    }
    day_format(day, item->day);
    labels_format(&labels, item->labels);
    buf_addf(out, "%s\n{\"tenant\":", l->rows++ > 0 ? "," : "");
    json_write_string(out, item->tenant);
    buf_add_str(out, STR(",\"stream\":"));
    json_write_string(out, buf_str(&labels));
    buf_addf(out,
             ",\"day\":\"%s\",\"cause\":\"%s\",\"chunks\":%" PRIu64 ",\"bytes\":%" PRIu64
             ",\"entries\":%" PRIu64 ",\"due\":\"",
             day, retention_cause_text(item->cause), item->chunks, item->bytes, item->entries);
    time_format_rfc3339(out, item->at_ns, true);
    buf_add_str(out, STR("\"}"));
    buf_done(&labels);
    return 0;
}

/* ?within=24h: what is due by then, too; else what the next pass removes. */
void api_admin_retention(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct err err = {0};
    struct retention_usage usage = {0};
    struct str within = http_param(r, "within");
    int64_t within_ns = 0;
    if (within.size > 0 && (duration_parse_setting(within, &within_ns) < 0 || within_ns < 0)) {
        http_reply_error(r, 400, STR("within must be a duration like 7d or 24h\n"));
        return;
    }
    struct plan_list l = {.body = buf_make(BUF_NO_MAX)};
    buf_add_str(&l.body, STR("{\"going\":["));
    int e = compactor_plan(api->compactor, within_ns, list_item, &l, &usage, &err);
    const struct retention_budgets *b = &api_config_of(r)->budgets;
    buf_addf(&l.body,
             "],\n\"left_off\":%" PRIu64 ",\"chunks\":%" PRIu64 ",\"bytes\":%" PRIu64
             ",\"going_chunks\":%" PRIu64 ",\"going_bytes\":%" PRIu64
             ",\"disk_free_bytes\":%" PRIu64,
             l.left_off, usage.chunks, usage.bytes, usage.going_chunks, usage.going_bytes,
             usage.disk_free_bytes);
    buf_addf(&l.body,
             ",\"limits\":{\"retention_bytes\":%" PRIu64 ",\"retention_bytes_per_tenant\":%" PRIu64
             ",\"keep_free\":%" PRIu64 "}}\n",
             b->store_bytes, b->tenant_bytes, b->keep_free_bytes);
    if (e < 0 || l.body.failed)
        api_fail(r, e < 0 ? e : -ENOMEM, &err);
    else
        http_reply(r, 200, json_type, &l.body);
    buf_done(&l.body);
}
