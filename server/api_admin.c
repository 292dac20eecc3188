/* api_admin: what the keeper of the store may ask for. No tenant: these are about the whole store. */
#include <errno.h>
#include <inttypes.h>

#include "api.h"

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
