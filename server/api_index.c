/* api_index: labels, label values, series and index/stats: answers that need label sets or block
 * heads, no lines. */
#include <errno.h>
#include <stdlib.h>

#include "api.h"
#include "clock.h"
#include "json.h"
#include "map.h"
#include "params.h"
#include "parser.h"
#include "render.h"

enum {
    NAMES_MEMORY_MAX = 256 << 20, /* of one answer */
    SELECTORS_MAX = 100,          /* match[] parameters */
};

static const char json_type[] = "application/json; charset=UTF-8";

/* ---- what the four share */

struct read {
    struct api *api;
    struct str tenant;
    int64_t start_ns, end_ns;
};

/* False when the request has been answered with an error. */
static bool begin_read(struct http_request *r, struct api *api, struct read *ret) {
    struct err err = {0};
    int64_t now_ns = clock_now_ns();
    *ret = (struct read){.api = api};
    if (!api_tenants(api, r, &ret->tenant))
        return false;
    const struct limits *limits = api_limits_of(r);
    int e = params_range(r, now_ns, &ret->start_ns, &ret->end_ns, &err);
    if (e == 0 && ret->end_ns < ret->start_ns)
        e = err_set(&err, -EREFUSED,
                    "this data is no longer available, it is past now - max_query_lookback (0s)");
    if (e == 0)
        e = api_check_length(limits, ret->start_ns, ret->end_ns, &err);
    if (e < 0) {
        api_fail(r, e, &err);
        return false;
    }
    api_clamp_lookback(limits, now_ns, &ret->start_ns, &ret->end_ns);
    return true;
}

static struct select select_of(const struct read *read, const struct parsed_query *query) {
    struct select sel = {
        .tenant = read->tenant,
        .start_ns = read->start_ns,
        .end_ns = read->end_ns,
    };
    if (query) {
        sel.matchers = parsed_query_expr(query)->log.matchers;
        sel.n_matchers = parsed_query_expr(query)->log.n_matchers;
    }
    return sel;
}

/* Runs fn over the label sets that `selector` (may be empty: all) selects. */
static int for_each_series(const struct read *read, struct str selector, store_series_fn *fn,
                           void *ctx, struct err *reterr) {
    struct parsed_query *query = NULL;
    int r = selector.size > 0 ? selector_parse(selector, true, &query, reterr) : 0;
    if (r < 0)
        return r;
    struct select sel = select_of(read, query);
    r = store_series(read->api->store, &sel, fn, ctx, reterr);
    parsed_query_free(query);
    return r;
}

/* ---- labels and values */

/* Labels that Loki adds for itself and does not show. */
static bool is_internal(struct str name) {
    return str_eq(name, STR("__aggregated_metric__")) || str_eq(name, STR("__pattern__"));
}

static int find_names(const struct read *read, struct str selector, struct str label,
                      struct name_set *names, struct err *reterr) {
    struct parsed_query *query = NULL;
    int r = selector.size > 0 ? selector_parse(selector, true, &query, reterr) : 0;
    if (r < 0)
        return r;
    struct select sel = select_of(read, query);
    r = store_names(read->api->store, &sel, label, names, reterr);
    parsed_query_free(query);
    return r;
}

/* Of a read of several tenants: the name of the label that tells them apart, or their names. */
static int add_tenants(struct name_set *n, struct str label, struct str tenants) {
    const struct str tenant_label = STR(STORE_TENANT_LABEL);
    if (!memchr(tenants.data, '|', tenants.size))
        return 0;
    if (!label.data)
        return name_set_add(n, tenant_label);
    struct str tenant;
    int r = 0;
    while (str_eq(label, tenant_label) && r >= 0 && api_next_tenant(&tenants, &tenant))
        r = name_set_add(n, tenant);
    return r;
}

static void answer_names(struct http_request *r, struct api *api, struct str label) {
    struct read read;
    if (!begin_read(r, api, &read))
        return;
    struct err err = {0};
    struct name_set names;
    name_set_init(&names, BUDGET_QUERIES, NAMES_MEMORY_MAX);
    int e = add_tenants(&names, label, read.tenant);
    if (e >= 0)
        e = find_names(&read, http_param(r, "query"), label, &names, &err);
    if (e < 0) {
        api_fail(r, e, &err);
        name_set_done(&names);
        return;
    }
    name_set_sort(&names);
    struct buf body = buf_make(BUF_NO_MAX);
    buf_add_str(&body, STR("{\"status\":\"success\",\"data\":["));
    bool any = false;
    for (size_t i = 0; i < names.count; i++) {
        if (!label.data && is_internal(names.items[i]))
            continue;
        if (any)
            buf_add_char(&body, ',');
        any = true;
        json_write_string(&body, names.items[i]);
    }
    buf_add_str(&body, STR("]}\n"));
    name_set_done(&names);
    http_reply_long(r, 200, json_type, &body);
    buf_done(&body);
}

void api_labels(struct http_request *r, void *api) {
    answer_names(r, api, (struct str){0});
}

void api_label_values(struct http_request *r, void *api) {
    struct str label = http_request_segment(r);
    answer_names(r, api, is_internal(label) ? STR("") : label);
}

/* ---- series */

struct series {
    struct arena arena;
    struct map seen; /* by encoded label set: selectors may overlap */
    struct buf body, key;
    bool any;
};

static int collect_series(struct labels labels, void *ctx) {
    struct series *s = ctx;
    buf_clear(&s->key);
    labels_encode(&s->key, labels);
    if (s->key.failed)
        return -ENOMEM;
    if (map_get(&s->seen, buf_str(&s->key)))
        return 0;
    struct str copy = arena_copy(&s->arena, buf_str(&s->key));
    if (!copy.data || map_put(&s->seen, copy, s) < 0)
        return -ENOMEM;
    if (s->any)
        buf_add_char(&s->body, ',');
    s->any = true;
    render_labels(&s->body, labels);
    return s->body.failed ? -ENOMEM : 0;
}

/* match and match[] are one list. Without any, all series. An empty selector among them is an
 * error, as in Loki. */
static int select_series(struct http_request *r, const struct read *read, struct series *s,
                         struct err *reterr) {
    const struct str *lists[2];
    size_t counts[2] = {http_params(r, "match[]", &lists[0]), http_params(r, "match", &lists[1])};
    if (counts[0] + counts[1] == 0)
        return for_each_series(read, STR(""), collect_series, s, reterr);
    if (counts[0] + counts[1] > SELECTORS_MAX)
        return err_set(reterr, -EREFUSED, "%zu selectors, limit is %d", counts[0] + counts[1],
                       SELECTORS_MAX);
    int e = 0;
    for (int i = 0; i < 2; i++) {
        for (size_t n = 0; n < counts[i] && e == 0; n++) {
            if (lists[i][n].size == 0)
                e = err_set(reterr, -ESYNTAX, "parse error : syntax error: unexpected $end");
            else
                e = for_each_series(read, lists[i][n], collect_series, s, reterr);
        }
    }
    return e;
}

void api_series(struct http_request *r, void *ctx) {
    struct read read;
    if (!begin_read(r, ctx, &read))
        return;
    struct err err = {0};
    struct series s = {
        .arena = arena_make_for(BUDGET_QUERIES, NAMES_MEMORY_MAX),
        .seen = map_make(),
        .body = buf_make(BUF_NO_MAX),
        .key = buf_make(BUF_NO_MAX),
    };
    buf_add_str(&s.body, STR("{\"status\":\"success\",\"data\":["));
    int e = select_series(r, &read, &s, &err);
    buf_add_str(&s.body, STR("]}\n"));
    if (e < 0)
        api_fail(r, e, &err);
    else
        http_reply_long(r, 200, json_type, &s.body);
    map_done(&s.seen);
    arena_done(&s.arena);
    buf_done(&s.body);
    buf_done(&s.key);
}

/* ---- index/stats */

struct sums {
    uint64_t streams, chunks, bytes, entries;
};

/* The part of `amount` that lies in the range when a block's entries are spread evenly over its
 * time. */
static uint64_t part_of(uint64_t amount, const struct block_ref_info *b, int64_t from_ns,
                        int64_t to_ns) {
    int64_t first = b->first_ns > from_ns ? b->first_ns : from_ns;
    int64_t last = b->last_ns < to_ns ? b->last_ns : to_ns;
    if (last < first)
        return 0;
    double span = (double)b->last_ns - (double)b->first_ns + 1;
    double share = ((double)last - (double)first + 1) / span;
    return share >= 1 ? amount : (uint64_t)((double)amount * share + 0.5);
}

static void add_stream(struct sums *sums, const struct snap_stream *s, const struct read *read) {
    int64_t from_ns = read->start_ns > s->visible_from_ns ? read->start_ns : s->visible_from_ns;
    uint64_t chunks = 0;
    for (size_t i = 0; i < s->n_blocks; i++) {
        struct block_ref_info b;
        block_ref_get(s->blocks[i], &b);
        if (b.last_ns < from_ns || b.first_ns > read->end_ns)
            continue;
        chunks++;
        sums->bytes += part_of(b.line_bytes + (uint64_t)b.meta_bytes, &b, from_ns, read->end_ns);
        sums->entries += part_of(b.count, &b, from_ns, read->end_ns);
    }
    sums->chunks += chunks;
    sums->streams += chunks > 0;
}

static int sum_blocks(const struct read *read, struct str selector, struct sums *ret,
                      struct err *reterr) {
    struct parsed_query *query = NULL;
    struct snapshot *snap = NULL;
    int r = selector_parse(selector, false, &query, reterr);
    if (r < 0)
        return r;
    struct select sel = select_of(read, query);
    r = store_select(read->api->store, &sel, &snap, reterr);
    parsed_query_free(query);
    if (r < 0)
        return r;
    const struct snap_stream *streams;
    size_t count = snapshot_streams(snap, &streams);
    for (size_t i = 0; i < count; i++)
        add_stream(ret, &streams[i], read);
    store_snapshot_free(snap);
    return 0;
}

void api_index_stats(struct http_request *r, void *ctx) {
    struct read read;
    if (!begin_read(r, ctx, &read))
        return;
    struct err err = {0};
    struct sums sums = {0};
    struct str selector = http_param(r, "query");
    int e = sum_blocks(&read, selector.data ? selector : STR(""), &sums, &err);
    if (e < 0) {
        api_fail(r, e, &err);
        return;
    }
    struct buf body = buf_make(256);
    buf_addf(&body, "{\"streams\":%llu,\"chunks\":%llu,\"bytes\":%llu,\"entries\":%llu}\n",
             (unsigned long long)sums.streams, (unsigned long long)sums.chunks,
             (unsigned long long)sums.bytes, (unsigned long long)sums.entries);
    http_reply(r, 200, json_type, &body);
    buf_done(&body);
}
