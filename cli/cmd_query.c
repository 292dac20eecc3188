/* logq query and logq instant-query: LogQL as logcli has it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "around.h"
#include "chart.h"
#include "cli.h"
#include "clock.h"
#include "follow.h"
#include "logql.h"
#include "output.h"
#include "pages.h"
#include "parallel.h"
#include "parser.h"
#include "session.h"
#include "units.h"

enum {
    FORM_MAX = 1 << 20,
    REGEX_TEXT_MAX = 128 << 10,
    STEPS_DEFAULT = 250, /* a range is shown in about that many points when no --step is given */
    POINTS_MAX = 10000,  /* servers refuse more than 11 000 points per series and request */
};

static int one_argument(const struct options *o, const char *what, struct str *ret,
                        struct err *reterr) {
    if (o->arguments.count != 1)
        return err_set(reterr, -ESYNTAX, "%s, not %zu arguments (quote the query: '...')", what,
                       o->arguments.count);
    *ret = str_from(o->arguments.items[0]);
    return 0;
}

/* A query that does not parse is sent as a log query: the server says what is wrong with it. */
static bool is_metric(struct str query) {
    struct parsed_query *parsed = NULL;
    struct err ignored;
    if (query_parse_unchecked(query, &parsed, &ignored) < 0)
        return false;
    bool metric = parsed_query_expr(parsed)->kind != EXPR_LOG;
    parsed_query_free(parsed);
    return metric;
}

/* ---- log queries */

static int print_log(struct session *s, struct str query, enum output_form form, bool *ret_found,
                     struct err *reterr) {
    const struct options *o = s->options;
    struct buf regex = buf_make(REGEX_TEXT_MAX);
    struct printer *printer = NULL;
    uint64_t lines = 0;
    if (output_use_color(o))
        logql_highlight(query, &regex);
    int r = printer_new(o, form, regex.failed ? STR("") : buf_str(&regex), &printer, reterr);
    buf_done(&regex);
    if (r < 0)
        return r;
    if (o->follow) {
        uint64_t last = o->limit == OPTION_COUNT_UNSET ? QUERY_LIMIT_DEFAULT : (uint64_t)o->limit;
        r = follow_run(s, query, last, printer_page, printer, &lines, reterr);
        printer_free(printer);
        *ret_found = true; /* to be interrupted is how it ends */
        return r;
    }
    if (around_wanted(o)) {
        const struct around around = {
            .query = query,
            .limit = o->limit == OPTION_COUNT_UNSET ? QUERY_LIMIT_DEFAULT : (uint64_t)o->limit,
            .forward = o->forward,
            .printer = printer,
        };
        r = around_run(s, &around, &lines, reterr);
        printer_free(printer);
        *ret_found = lines > 0;
        return r;
    }
    struct page_request request = {
        .query = query,
        .range = s->range,
        .forward = o->forward,
        .limit = o->limit == OPTION_COUNT_UNSET ? QUERY_LIMIT_DEFAULT : (uint64_t)o->limit,
        .lines_max = o->batch > 0 ? (size_t)o->batch : 0,
        .interval = o->interval,
        .quiet = o->quiet,
        .fn = printer_page,
        .ctx = printer,
    };
    r = pages_fetch(s->source, &request, &lines, reterr);
    printer_free(printer);
    *ret_found = lines > 0;
    return r;
}

/* ---- metric queries over a range: windows of whole steps, series joined by their labels */

struct metric {
    struct session *session;
    struct str query;
    json_t *by_labels; /* text of labels -> index into series */
    json_t *series;
    char *type;
};

static int add_series(struct metric *m, json_t *one) {
    json_t *values = json_object_get(one, "values");
    char *key = json_dumps(json_object_get(one, "metric"), JSON_COMPACT | JSON_SORT_KEYS);
    if (!key)
        return -EPROTO;
    json_t *index = json_object_get(m->by_labels, key);
    int r = 0;
    if (index && values) {
        json_t *known = json_array_get(m->series, (size_t)json_integer_value(index));
        r = json_array_extend(json_object_get(known, "values"), values);
    } else {
        r = json_object_set_new(m->by_labels, key,
                                json_integer((json_int_t)json_array_size(m->series)));
        if (r == 0)
            r = json_array_append(m->series, one);
    }
    free(key);
    return r < 0 ? -ENOMEM : 0;
}

static int ask_metric(struct metric *m, struct range window, struct str step, struct err *reterr) {
    struct buf form = buf_make(FORM_MAX);
    struct str body;
    json_t *root = NULL, *data;
    param_add(&form, "query", m->query);
    param_add_i64(&form, "start", window.start_ns);
    param_add_i64(&form, "end", window.end_ns);
    param_add(&form, "step", step);
    int r = source_ask(m->session->source, "/loki/api/v1/query_range", &form, &body, reterr);
    buf_done(&form);
    if (r == 0)
        r = answer_parse(body, m->session->options->quiet, &root, &data, reterr);
    if (r < 0)
        return r;
    const char *type = json_string_value(json_object_get(data, "resultType"));
    json_t *result = json_object_get(data, "result");
    free(m->type);
    m->type = strdup(type ? type : "");
    if (!m->type) {
        r = -ENOMEM;
    } else if (strcmp(m->type, "matrix") != 0) {
        json_decref(m->series); /* a scalar is the same in every window */
        m->series = json_incref(result);
    } else {
        for (size_t i = 0; i < json_array_size(result) && r == 0; i++)
            r = add_series(m, json_array_get(result, i));
    }
    json_decref(root);
    return r < 0 ? err_set(reterr, r, "the answer cannot be read") : 0;
}

/* "15s", "1h30m", or seconds; 0 when only the server can say what is wrong with it. */
static int64_t step_ns(const struct options *o, struct range range) {
    int64_t seconds = (range.end_ns - range.start_ns) / NS_PER_S / STEPS_DEFAULT, ns;
    double number;
    if (!o->step)
        return (seconds > 0 ? seconds : 1) * NS_PER_S;
    if (float_parse_go(str_from(o->step), &number) == 0)
        return number > 0 && number < 1e9 ? (int64_t)(number * 1e9) : 0;
    return duration_parse_setting(str_from(o->step), &ns) == 0 && ns > 0 ? ns : 0;
}

static int ask_all_metrics(struct metric *m, struct range range, struct err *reterr) {
    int64_t step = step_ns(m->session->options, range);
    char text[48];
    if (step == 0)
        return ask_metric(m, range, str_from(m->session->options->step), reterr);
    int n = snprintf(text, sizeof(text), "%lld.%09lld", (long long)(step / NS_PER_S),
                     (long long)(step % NS_PER_S));
    int64_t window_ns = WINDOW_MAX_NS;
    /* The server rounds the range out to multiples of the step; so do the windows, which then do
     * not overlap. */
    int64_t at = range.start_ns - range.start_ns % step;
    int64_t end_ns = range.end_ns + (step - range.end_ns % step) % step;
    while (at <= end_ns) {
        int64_t steps = window_ns / step < POINTS_MAX ? window_ns / step : POINTS_MAX;
        struct range window = {at, at + steps * step < end_ns ? at + steps * step : end_ns};
        int r = ask_metric(m, window, str_make(text, (size_t)n), reterr);
        if (r == -EREFUSED && source_refused_range(reterr) && steps > 1) {
            window_ns /= 2;
            continue;
        }
        if (r < 0)
            return r;
        at = window.end_ns + step;
    }
    return 0;
}

static int print_metric(struct session *s, struct str query, enum output_form form, bool *ret_found,
                        struct err *reterr) {
    struct metric m = {
        .session = s, .query = query, .by_labels = json_object(), .series = json_array()};
    int r = ask_all_metrics(&m, s->range, reterr);
    if (r == 0)
        *ret_found = output_metric(s->options, form, m.type, m.series) > 0;
    json_decref(m.by_labels);
    json_decref(m.series);
    free(m.type);
    return r;
}

/* One job of a parallel download: all lines of its range. */
static int download(const struct options *o, struct range range, void *ctx) {
    struct err err = {0};
    struct session s = {0};
    struct options all = *o;
    enum output_form form = OUTPUT_DEFAULT;
    bool found = false;
    all.limit = 0;
    int r = output_form_parse(o->output ? o->output : "default", &form, &err);
    if (r == 0)
        r = session_open(&s, &all, &err);
    s.range = range;
    if (r == 0)
        r = print_log(&s, *(struct str *)ctx, form, &found, &err);
    session_close(&s);
    return r < 0 ? session_trouble(&err) : found ? CLI_FOUND : CLI_NOTHING;
}

static int query_parallel(const struct options *o, struct str query) {
    struct err err = {0};
    struct range range;
    bool found = false;
    int r = when_use_zone(o->timezone, &err);
    if (r == 0)
        r = when_range(o, clock_now_ns(), &range, &err);
    if (r == 0)
        r = parallel_run(o, range, download, &query, &found, &err);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}

/* Who knows grep alone gives LogQL a text, or a log query where a metric belongs. */
static int trouble_with(struct str query, const struct err *err) {
    int status = session_trouble(err);
    if (str_starts(str_from(err->text), STR("parse error")) && !str_find(query, STR("{")))
        (void)fprintf(stderr, "logq: LogQL begins with a selector, like {app=\"api\"}; text is "
                              "searched for without \"query\": logq TEXT\n");
    else if (str_find(str_from(err->text), STR("not supported as an instant query")))
        (void)fprintf(stderr, "logq: lines come from logq query; an instant query counts them, "
                              "like count_over_time({app=\"api\"}[5m])\n");
    return status;
}

int cmd_query(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct str query = {0};
    enum output_form form;
    bool found = false;
    int r = one_argument(o, "logq query wants one LogQL query", &query, &err);
    if (r == 0)
        r = output_form_parse(o->output ? o->output : "default", &form, &err);
    if (r == 0 && !is_metric(query) && o->parallel_workers > 1)
        return query_parallel(o, query);
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = is_metric(query) ? (o->histogram ? chart_sparklines(&s, query, &found, &err)
                                             : print_metric(&s, query, form, &found, &err))
            : o->histogram   ? chart_histogram(&s, query, &found, &err)
            : o->top         ? chart_top(&s, query, o->top, &found, &err)
                             : print_log(&s, query, form, &found, &err);
    session_close(&s);
    return r < 0 ? trouble_with(query, &err) : session_status(o, found);
}

/* ---- instant queries */

static int ask_instant(struct session *s, struct str query, int64_t at_ns, enum output_form form,
                       bool *ret_found, struct err *reterr) {
    const struct options *o = s->options;
    struct buf params = buf_make(FORM_MAX);
    struct str body;
    json_t *root, *data;
    param_add(&params, "query", query);
    param_add_i64(&params, "time", at_ns);
    if (o->limit > 0)
        param_add_i64(&params, "limit", o->limit);
    int r = source_ask(s->source, "/loki/api/v1/query", &params, &body, reterr);
    buf_done(&params);
    if (r == 0)
        r = answer_parse(body, o->quiet, &root, &data, reterr);
    if (r < 0)
        return r;
    const char *type = json_string_value(json_object_get(data, "resultType"));
    *ret_found = output_metric(o, form, type ? type : "", json_object_get(data, "result")) > 0;
    json_decref(root);
    return 0;
}

int cmd_instant(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct str query = {0};
    enum output_form form;
    bool found = false;
    int64_t at_ns = 0;
    int r = one_argument(o, "logq instant-query wants one LogQL metric query", &query, &err);
    if (r == 0)
        r = output_form_parse(o->output ? o->output : "default", &form, &err);
    if (r == 0)
        r = session_open(&s, o, &err);
    at_ns = s.now_ns;
    if (r == 0 && o->now)
        r = when_parse(o->now, s.now_ns, &at_ns, &err);
    if (r == 0)
        r = ask_instant(&s, query, at_ns, form, &found, &err);
    session_close(&s);
    return r < 0 ? trouble_with(query, &err) : session_status(o, found);
}
