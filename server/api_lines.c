/* api_lines: GET /loki/api/v1/lines: all lines of a log query, however many, in one answer that is made page by page as
 * the client takes it: memory does not grow with it on either side. An opaque cursor behind every page lets a client
 * that lost its connection go on without loss or repeat. See docs/extras.md.
 *
 * The engine's order of entries is total, so a place in it is a time, the hash of the last entry given, and how many
 * were given at that time: a page begins with that time, and what lies before the place is left out. That is the cursor,
 * too; nothing is kept here between requests. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "params.h"
#include "parser.h"
#include "query_limits.h"
#include "render.h"
#include "units.h"

enum {
    PAGE_ENTRIES_FIRST = 1000, /* the first lines come soon */
    PAGE_ENTRIES_MIN = 20,
    PAGE_ENTRIES_MAX = 50000,
    PAGE_BYTES = 4 << 20, /* how large pages are meant to be */
    GIVEN_MAX = 1 << 22,  /* entries at one time */
    CURSOR_BYTES_MAX = 128,
};

enum lines_form { LINES_JSON, LINES_RAW, LINES_COMPACT };

struct lines {
    struct engine *engine;
    char *text, *tenant;
    int64_t start_ns, end_ns, timeout_ns;
    uint64_t max_bytes_read;
    bool backward, limited, ended;
    uint64_t left; /* with `limited` */
    enum lines_form form;
    size_t page;
    bool placed; /* where the last page ended: */
    int64_t at_ns;
    uint64_t at_hash;  /* of the last entry */
    uint64_t at_given; /* entries at that time */
    struct buf first;  /* the first page, made before the reply's status */
    bool first_taken;
};

static void lines_free(void *ctx) {
    struct lines *l = ctx;
    if (!l)
        return;
    buf_done(&l->first);
    free(l->text);
    free(l->tenant);
    free(l);
}

/* ---- cursors: "1.f.<ns>.<entries at that time>.<hash>.<left>" */

static void write_cursor(struct buf *out, const struct lines *l) {
    buf_addf(out, "1.%c.%" PRId64 ".%" PRIu64 ".%" PRIx64 ".%" PRIu64, l->backward ? 'b' : 'f',
             l->at_ns, l->at_given, l->at_hash, l->limited ? l->left : 0);
}

static int read_cursor(struct lines *l, struct str text, struct err *reterr) {
    char copy[CURSOR_BYTES_MAX];
    uint64_t left;
    char direction;
    int used = 0;
    if (text.size < sizeof(copy)) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
        (void)sscanf(copy, "1.%c.%" SCNd64 ".%" SCNu64 ".%" SCNx64 ".%" SCNu64 "%n", &direction,
                     &l->at_ns, &l->at_given, &l->at_hash, &left, &used);
    }
    if (used == 0 || (size_t)used != text.size || l->at_given > GIVEN_MAX ||
        direction != (l->backward ? 'b' : 'f'))
        return err_set(reterr, -ESYNTAX,
                       "cursor is none that this server has given for this direction");
    l->placed = true;
    if (l->limited)
        l->left = left;
    return 0;
}

/* ---- pages */

static uint64_t identity(const struct query_result *page, const struct result_entry *e) {
    return hash_mix(hash_str(e->line), page->sets[e->set].hash);
}

/* How many entries of the page lie before the place. When the last one has gone, it is their number that counts. */
static size_t entries_to_skip(const struct lines *l, const struct query_result *page) {
    size_t at_time = 0;
    if (!l->placed)
        return 0;
    while (at_time < page->n_entries && page->entries[at_time].ts_ns == l->at_ns)
        at_time++;
    for (size_t i = 0; i < at_time; i++)
        if (identity(page, &page->entries[i]) == l->at_hash)
            return i + 1;
    return at_time < l->at_given ? at_time : (size_t)l->at_given;
}

static void write_entry(struct buf *out, const struct lines *l, const struct query_result *page,
                        const struct result_entry *e) {
    switch (l->form) {
    case LINES_RAW:
        buf_add_str(out, e->line);
        buf_add_char(out, '\n');
        break;
    case LINES_JSON:
        buf_add_str(out, STR("{\"labels\":"));
        render_labels(out, page->sets[e->set].merged);
        buf_add_str(out, STR(",\"line\":"));
        json_write_string(out, e->line);
        buf_add_str(out, STR(",\"timestamp\":\""));
        time_format_rfc3339(out, e->ts_ns, false);
        buf_add_str(out, STR("\"}\n"));
        break;
    case LINES_COMPACT:
        buf_add_char(out, 'L');
        buf_add_u64(out, e->set);
        buf_add_char(out, ' ');
        buf_add_i64(out, e->ts_ns);
        buf_add_char(out, ' ');
        buf_add_u64(out, e->line.size);
        buf_add_char(out, '\n');
        buf_add_str(out, e->line);
        buf_add_char(out, '\n');
        break;
    }
}

/* Compact: the label sets of the page, numbered. */
static void write_sets(struct buf *out, const struct query_result *page) {
    for (size_t i = 0; i < page->n_sets; i++) {
        buf_add_char(out, 'S');
        buf_add_u64(out, i);
        buf_add_char(out, ' ');
        render_labels(out, page->sets[i].merged);
        buf_add_char(out, '\n');
    }
}

static void write_mark(struct buf *out, const struct lines *l) {
    if (l->form == LINES_RAW)
        return;
    bool json = l->form == LINES_JSON;
    if (l->placed) {
        buf_add_str(out, json ? STR("{\"cursor\":\"") : STR("C "));
        write_cursor(out, l);
        buf_add_str(out, !json ? STR("\n") : l->ended ? STR("\",\"end\":true}\n") : STR("\"}\n"));
    } else if (json && l->ended) {
        buf_add_str(out, STR("{\"end\":true}\n"));
    }
    if (!json && l->ended)
        buf_add_str(out, STR("E\n"));
}

/* Notes where the page ends. */
static void remember(struct lines *l, const struct query_result *page, size_t until) {
    const struct result_entry *last = &page->entries[until - 1];
    l->placed = true;
    l->at_ns = last->ts_ns;
    l->at_hash = identity(page, last);
    l->at_given = 0;
    for (size_t i = until; i > 0 && page->entries[i - 1].ts_ns == last->ts_ns; i--)
        l->at_given++;
}

static int make_page(struct lines *l, const atomic_bool *cancel, struct buf *out,
                     struct err *reterr) {
    size_t wanted = l->limited && l->left < l->page ? (size_t)l->left : l->page;
    const struct query q = {
        .text = str_from(l->text),
        .tenant = str_from(l->tenant),
        .start_ns = l->placed && !l->backward ? l->at_ns : l->start_ns,
        .end_ns = l->placed && l->backward ? l->at_ns + 1 : l->end_ns,
        .limit = (uint32_t)(wanted + (l->placed ? l->at_given : 0)),
        .direction = l->backward ? DIR_BACKWARD : DIR_FORWARD,
        .max_bytes_read = l->max_bytes_read,
        .deadline_mono_ns = l->timeout_ns > 0 ? clock_mono_ns() + l->timeout_ns : 0,
        .cancel = cancel,
    };
    struct query_result *page = NULL;
    int r = engine_query(l->engine, &q, &page, reterr);
    if (r == -ENOMEM && l->page / 8 >= PAGE_ENTRIES_MIN) { /* lines of 256 KiB, perhaps */
        l->page /= 8;
        return make_page(l, cancel, out, reterr);
    }
    if (r < 0)
        return r;
    size_t size_before = out->size;
    if (l->form == LINES_COMPACT)
        write_sets(out, page);
    size_t at = entries_to_skip(l, page), written = 0;
    for (; at < page->n_entries && written < wanted; at++, written++)
        write_entry(out, l, page, &page->entries[at]);
    l->ended = page->n_entries < q.limit;
    if (written > 0)
        remember(l, page, at);
    query_result_free(page);
    if (l->placed && l->at_given > GIVEN_MAX)
        return err_set(reterr, -EREFUSED, "more than %d lines have the same time", GIVEN_MAX);
    if (l->limited) {
        l->left -= written;
        l->ended = l->ended || l->left == 0;
    }
    size_t each = written > 0 ? (out->size - size_before) / written + 1 : PAGE_BYTES;
    l->page = PAGE_BYTES / each < PAGE_ENTRIES_MIN   ? PAGE_ENTRIES_MIN
              : PAGE_BYTES / each > PAGE_ENTRIES_MAX ? PAGE_ENTRIES_MAX
                                                     : PAGE_BYTES / each;
    write_mark(out, l);
    return 0;
}

/* An error behind the first page can only be told in the body; the raw form has no place for it and is cut off. */
static void write_error(struct buf *out, const struct lines *l, const struct err *err) {
    if (l->form == LINES_JSON) {
        buf_add_str(out, STR("{\"error\":"));
        json_write_string(out, str_from(err->text));
        buf_add_str(out, STR("}\n"));
    } else if (l->form == LINES_COMPACT) {
        buf_addf(out, "X %s\n", err->text);
    } else {
        out->failed = true;
    }
}

static bool lines_next(void *ctx, struct buf *out) {
    struct lines *l = ctx;
    struct err err = {0};
    if (!l->first_taken) {
        l->first_taken = true;
        buf_add_str(out, buf_str(&l->first));
        buf_done(&l->first);
        return !l->ended;
    }
    if (make_page(l, NULL, out, &err) == 0)
        return !l->ended;
    write_error(out, l, &err);
    return false;
}

/* ---- the request */

static int read_form(struct str text, enum lines_form *ret, struct err *reterr) {
    static const struct str names[] = {STR_INIT("json"), STR_INIT("raw"), STR_INIT("compact")};
    *ret = LINES_JSON;
    for (size_t i = 0; i < 3 && text.size > 0; i++) {
        if (str_eq(text, names[i])) {
            *ret = (enum lines_form)i;
            return 0;
        }
    }
    return text.size == 0 ? 0
                          : err_set(reterr, -ESYNTAX,
                                    "format is json, raw or compact, not \"%.*s\"", STR_ARG(text));
}

static int check_query(const struct limits *limits, struct str text, struct err *reterr) {
    struct parsed_query *parsed = NULL;
    int r = query_parse(text, &parsed, reterr);
    if (r < 0)
        return r;
    const struct expr *e = parsed_query_expr(parsed);
    r = e->kind == EXPR_LOG ? query_limits_check(limits, e, reterr)
                            : err_set(reterr, -ESYNTAX, "lines are for log queries");
    parsed_query_free(parsed);
    return r;
}

static int read_params(struct http_request *r, struct lines *l, struct err *reterr) {
    const struct limits *limits = api_limits_of(r);
    int64_t now_ns = clock_now_ns(), limit = 0;
    enum query_direction direction = DIR_FORWARD;
    struct str query = http_param(r, "query"), cursor = http_param(r, "cursor");
    int e = params_range(r, now_ns, &l->start_ns, &l->end_ns, reterr);
    if (e == 0 && l->end_ns < l->start_ns)
        e = err_set(reterr, -ESYNTAX, "end timestamp must not be before or equal to start time");
    if (e == 0 && http_param(r, "direction").size > 0)
        e = params_direction(r, &direction, reterr);
    if (e == 0)
        e = params_int(r, "limit", 0, &limit, reterr);
    if (e == 0 && limit < 0)
        e = err_set(reterr, -ESYNTAX, "limit must not be negative; 0 is all");
    if (e == 0)
        e = read_form(http_param(r, "format"), &l->form, reterr);
    l->backward = direction == DIR_BACKWARD;
    l->limited = limit > 0;
    l->left = (uint64_t)limit;
    if (e == 0 && cursor.size > 0)
        e = read_cursor(l, cursor, reterr);
    if (e == 0)
        e = check_query(limits, query.data ? query : STR(""), reterr);
    if (e < 0)
        return e;
    api_clamp_lookback(limits, now_ns, &l->start_ns, &l->end_ns);
    l->timeout_ns = limits->query_timeout_ns;
    l->max_bytes_read = limits->max_query_bytes_read;
    l->text = strndup(query.data, query.size);
    return l->text ? 0 : err_set(reterr, -ENOMEM, "out of memory");
}

void api_lines(struct http_request *r, void *ctx) {
    static const char *const types[] = {"application/x-ndjson; charset=UTF-8",
                                        "text/plain; charset=UTF-8", "application/x-logq-lines"};
    struct api *api = ctx;
    struct err err = {0};
    struct str tenant;
    if (!api_tenants(api, r, &tenant))
        return;
    struct lines *l = calloc(1, sizeof(*l));
    int e = -ENOMEM;
    if (l) {
        l->engine = api->engine;
        l->page = PAGE_ENTRIES_FIRST;
        l->first = buf_make(BUF_NO_MAX);
        l->tenant = strndup(tenant.data, tenant.size);
        e = l->tenant ? read_params(r, l, &err) : -ENOMEM;
    }
    if (e == 0)
        e = l->limited && l->left == 0 ? 0 : make_page(l, http_request_cancel(r), &l->first, &err);
    if (e < 0) {
        lines_free(l);
        api_fail(r, e, &err);
        return;
    }
    l->ended = l->ended || (l->limited && l->left == 0);
    const struct http_body body = {lines_next, lines_free, l};
    http_reply_body(r, 200, types[l->form], &body);
}
