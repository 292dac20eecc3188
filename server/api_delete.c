/* api_delete: Loki's delete API. Texts and status codes are Loki's; beside each request that is being processed, or has
 * been, stands what was done for it: "receipt". */
#include <errno.h>
#include <inttypes.h>

#include "api.h"
#include "clock.h"
#include "erase_query.h"
#include "json.h"
#include "units.h"

enum { SECONDS_DIGITS = 10 };
#define MAX_INTERVAL_NS (24 * NS_PER_HOUR) /* Loki's compactor.delete_max_interval */

/* ---- LogQL for the compactor */

static int language_compile(struct str query, void **ret, struct err *reterr) {
    struct erase_query *q;
    int r = erase_query_new(query, &q, reterr);
    if (r == 0)
        *ret = q;
    return r;
}

static void language_release(void *compiled) {
    erase_query_free(compiled);
}

static bool language_has_filter(const void *compiled) {
    return erase_query_has_filter(compiled);
}

static bool language_accepts(const void *compiled, struct labels labels) {
    return erase_query_accepts(compiled, labels);
}

static int language_mark(const void *compiled, struct labels labels, int64_t start_ns,
                         int64_t end_ns, struct block_reader *r, const struct block_ref_info *info,
                         uint64_t *bits, struct err *reterr) {
    return erase_query_mark(compiled, labels, start_ns, end_ns, r, info, bits, reterr);
}

const struct delete_language *api_delete_language(void) {
    static const struct delete_language language = {.compile = language_compile,
                                                    .release = language_release,
                                                    .has_filter = language_has_filter,
                                                    .accepts = language_accepts,
                                                    .mark = language_mark};
    return &language;
}

/* ---- parameters */

static void refuse(struct http_request *r, int status, const char *text) {
    struct buf body = buf_make(ERR_TEXT_MAX + 2);
    buf_addf(&body, "%s\n", text);
    http_reply_error(r, status, buf_str(&body));
    buf_done(&body);
}

/* Whole seconds in ten digits, or RFC 3339; cut to milliseconds, as Loki keeps them. */
static int parse_time(struct str text, int64_t *ret_ns) {
    if (time_parse_rfc3339(text, ret_ns) == 0) {
        int64_t rest = *ret_ns % NS_PER_MS;
        *ret_ns -= rest < 0 ? rest + NS_PER_MS : rest;
        return 0;
    }
    int64_t seconds;
    if (text.size != SECONDS_DIGITS || i64_parse(text, &seconds) < 0)
        return -ESYNTAX;
    *ret_ns = ns_of_seconds(seconds);
    return 0;
}

static int check_range(struct http_request *r, int64_t now_ns, int64_t *ret_start_ns,
                       int64_t *ret_end_ns, struct err *reterr) {
    struct str start = http_param(r, "start"), end = http_param(r, "end");
    if (start.size == 0)
        return err_set(reterr, -ESYNTAX, "start time not set");
    if (parse_time(start, ret_start_ns) < 0)
        return err_set(reterr, -ESYNTAX,
                       "invalid start time: require unix seconds or RFC3339 format");
    *ret_end_ns = now_ns / NS_PER_MS * NS_PER_MS;
    if (end.size > 0 && parse_time(end, ret_end_ns) < 0)
        return err_set(reterr, -ESYNTAX,
                       "invalid end time: require unix seconds or RFC3339 format");
    if (*ret_end_ns > now_ns)
        return err_set(reterr, -ESYNTAX, "deletes in the future are not allowed");
    if (*ret_start_ns > *ret_end_ns)
        return err_set(reterr, -ESYNTAX, "start time can't be greater than end time");
    return 0;
}

static int refuse_interval(struct err *reterr, const char *what, int64_t limit_ns,
                           const char *behind) {
    struct buf text = buf_make(64);
    duration_format_go(&text, limit_ns);
    int r = err_set(reterr, -ESYNTAX, "%s%.*s%s", what, (int)text.size, text.data, behind);
    buf_done(&text);
    return r;
}

/* Loki splits a request with filters by it; one piece is enough here. */
static int check_interval(struct http_request *r, int64_t start_ns, int64_t end_ns,
                          struct err *reterr) {
    struct str text = http_param(r, "max_interval");
    int64_t interval_ns, span_ns;
    if (__builtin_sub_overflow(end_ns, start_ns, &span_ns))
        span_ns = INT64_MAX;
    if (text.size == 0)
        return span_ns >= NS_PER_S
                   ? 0
                   : err_set(reterr, -ESYNTAX,
                             "difference between start time and end time must be at least one "
                             "second");
    if (duration_parse_go(text, &interval_ns) < 0 || interval_ns < NS_PER_S)
        return err_set(reterr, -ESYNTAX,
                       "invalid max_interval: valid time units are 's', 'm', 'h'");
    if (interval_ns > MAX_INTERVAL_NS)
        return refuse_interval(reterr, "max_interval can't be greater than ", MAX_INTERVAL_NS, "");
    if (interval_ns > span_ns)
        return refuse_interval(reterr,
                               "max_interval can't be greater than the interval to be deleted (",
                               span_ns, ")");
    return 0;
}

static int check_query(struct http_request *r, struct str *ret, bool *ret_filter,
                       struct err *reterr) {
    struct str query = http_param(r, "query");
    struct erase_query *compiled;
    if (query.size == 0)
        return err_set(reterr, -ESYNTAX, "query not set");
    int e = erase_query_new(query, &compiled, NULL);
    if (e < 0)
        return e == -ESYNTAX ? err_set(reterr, e, "invalid query expression")
                             : err_set(reterr, e, "%s", err_name(e));
    *ret = query;
    *ret_filter = erase_query_has_filter(compiled);
    erase_query_free(compiled);
    return 0;
}

/* ---- the three calls */

static void add(struct http_request *r, struct deletes *d, struct str tenant) {
    struct err err = {0};
    struct str query;
    bool filter = false;
    int64_t now_ns = clock_now_ns(), start_ns = 0, end_ns = 0;
    int e = check_query(r, &query, &filter, &err);
    if (e == 0)
        e = check_range(r, now_ns, &start_ns, &end_ns, &err);
    if (e == 0 && filter)
        e = check_interval(r, start_ns, end_ns, &err);
    char id[DELETE_ID_SIZE + 1];
    if (e == 0)
        e = deletes_add(d, tenant, query, start_ns, end_ns, now_ns, id, &err);
    if (e == -ESYNTAX || e == -E2BIG) {
        refuse(r, 400, err.text);
    } else if (e < 0) {
        api_fail(r, e, &err);
    } else {
        const struct http_header header = {"X-Delete-Request-ID", id};
        http_reply_headers(r, 204, NULL, &header, 1, NULL);
    }
}

static void add_seconds(struct buf *out, const char *name, int64_t ns) {
    buf_addf(out, ",\"%s\":", name);
    float_format(out, (double)(ns / NS_PER_MS) / 1000.0);
}

static void add_receipt(struct buf *out, const struct delete_receipt *t) {
    buf_addf(out, ",\"receipt\":{\"chunks_removed\":%" PRIu64 ",\"chunks_rewritten\":%" PRIu64,
             t->chunks_removed, t->chunks_rewritten);
    buf_addf(out, ",\"lines\":%" PRIu64 ",\"bytes\":%" PRIu64, t->lines, t->bytes);
    buf_addf(out, ",\"file_bytes_before\":%" PRIu64 ",\"file_bytes_after\":%" PRIu64,
             t->file_bytes_before, t->file_bytes_after);
    add_seconds(out, "begun_at", t->begun_ns);
    if (t->finished_ns > 0)
        add_seconds(out, "finished_at", t->finished_ns);
    buf_add_char(out, '}');
}

struct listing {
    struct buf body;
    struct str id; /* only this one; empty = all */
};

static int list_one(const struct delete_view *v, void *ctx) {
    struct listing *l = ctx;
    struct buf *out = &l->body;
    if (l->id.size > 0 && !str_eq(l->id, str_from(v->id)))
        return 0;
    buf_addf(out, "%s{\"request_id\":\"%s\"", out->size > 1 ? "," : "", v->id);
    add_seconds(out, "start_time", v->start_ns);
    add_seconds(out, "end_time", v->end_ns);
    buf_add_str(out, STR(",\"query\":"));
    json_write_string(out, v->query);
    if (v->state == DELETE_PROCESSED)
        buf_add_str(out, STR(",\"status\":\"processed\""));
    else if (v->state == DELETE_RUNNING && v->percent > 0)
        buf_addf(out, ",\"status\":\"%u%% Complete\"", v->percent);
    else
        buf_add_str(out, STR(",\"status\":\"received\""));
    add_seconds(out, "created_at", v->created_ns);
    buf_add_str(out, STR(",\"user_id\":\"\""));
    if (v->receipt.begun_ns > 0)
        add_receipt(out, &v->receipt);
    buf_add_char(out, '}');
    return 0;
}

static void list(struct http_request *r, struct deletes *d, struct str tenant) {
    struct listing l = {.body = buf_make(BUF_NO_MAX), .id = http_param(r, "request_id")};
    buf_add_char(&l.body, '[');
    (void)deletes_walk(d, tenant, list_one, &l);
    buf_add_str(&l.body, STR("]\n"));
    if (l.body.failed)
        api_fail(r, -ENOMEM, &(struct err){0});
    else
        http_reply(r, 200, "application/json", &l.body);
    buf_done(&l.body);
}

static void take_back(struct http_request *r, struct deletes *d, struct str tenant,
                      const struct config *config) {
    struct err err = {0};
    bool force = str_eq(http_param(r, "force"), STR("true"));
    int e = deletes_cancel(d, tenant, http_param(r, "request_id"), force, clock_now_ns(), &err);
    if (e == -ETIMEDOUT)
        (void)refuse_interval(&err, "deletion of request past the deadline of ",
                              config->delete_cancel_period_ns,
                              " since its creation is not allowed");
    if (e == 0)
        http_reply(r, 204, NULL, NULL);
    else if (e == -ENOENT)
        refuse(r, 404, err.text);
    else if (e == -EALREADY || e == -EINPROGRESS || e == -ETIMEDOUT)
        refuse(r, 400, err.text);
    else
        api_fail(r, e, &err);
}

void api_delete(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    const struct config *config = api_config_of(r);
    struct deletes *d = compactor_deletes(api->compactor);
    struct str tenant;
    if (!api_tenant(api, r, &tenant))
        return;
    enum http_method method = http_request_method(r);
    if (!config->retention_enabled)
        refuse(r, 400, "Retention is not enabled");
    else if (!api_limits_of(r)->deletion_allowed)
        refuse(r, 403, "deletion is not available for this tenant");
    else if (method == HTTP_GET)
        list(r, d, tenant);
    else if (method == HTTP_DELETE)
        take_back(r, d, tenant, config);
    else
        add(r, d, tenant);
}
