/* logq PATTERN: grep over streams. The server filters; here are counted, marked and printed what
 * it finds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "around.h"
#include "chart.h"
#include "cli.h"
#include "follow.h"
#include "logql.h"
#include "output.h"
#include "pages.h"
#include "patterns.h"
#include "session.h"
#include "units.h"

enum {
    FORM_MAX = 1 << 20,
    QUERY_MAX = 128 << 10,
    FOLLOW_LAST_DEFAULT = 10, /* as tail -f */
};

struct grep {
    const struct options *options;
    struct patterns patterns;
    struct buf selector, filter, regex, query;
    enum output_form form;
};

/* The pattern is the first argument unless -e or -f give patterns; a selector may follow. */
static int read_arguments(struct grep *g, struct err *reterr) {
    const struct options *o = g->options;
    int r = patterns_collect(o, &g->patterns, reterr);
    if (r < 0)
        return r;
    size_t used = g->patterns.used_argument;
    const char *selector = NULL;
    if (used < o->arguments.count)
        selector = o->arguments.items[used++];
    if (used < o->arguments.count)
        return err_set(reterr, -ESYNTAX,
                       "\"%s\" is one word too many: a pattern with blanks needs quotes, streams "
                       "are chosen with -l, files are searched with --stdin",
                       o->arguments.items[used]);
    r = output_form_parse(o->output ? o->output : "raw", &g->form, reterr);
    if (r == 0)
        r = logql_selector(&o->labels, selector, &g->selector, reterr);
    if (r == 0)
        r = logql_filter(o, g->patterns.items, g->patterns.count, &g->filter, &g->regex, reterr);
    if (r < 0)
        return r;
    buf_add_str(&g->query, buf_str(&g->selector));
    buf_add_str(&g->query, buf_str(&g->filter));
    return g->query.failed
               ? err_set(reterr, -ESYNTAX, "the query is longer than %d bytes", QUERY_MAX)
               : 0;
}

/* ---- counting: a metric query per window, so that lines never travel */

struct tally {
    struct grep *grep;
    json_t *counts; /* value of --by -> count; "" alone without it */
};

static void add_count(struct tally *t, const char *name, double count) {
    count += (double)json_integer_value(json_object_get(t->counts, name));
    json_object_set_new(t->counts, name, json_integer((json_int_t)count));
}

/* The lines of a range of whole milliseconds, which is as fine as LogQL's durations are. */
static int count_by_query(struct session *s, struct tally *t, struct range range,
                          struct err *reterr) {
    const char *by = s->options->by;
    struct buf form = buf_make(FORM_MAX), query = buf_make(QUERY_MAX);
    struct str body;
    json_t *root, *data;
    buf_add_str(&query, STR("sum"));
    if (by)
        buf_addf(&query, " by (%s) ", by);
    buf_addf(&query, "(count_over_time(%.*s [%lldms]))", STR_ARG(buf_str(&t->grep->query)),
             (long long)((range.end_ns - range.start_ns) / NS_PER_MS));
    param_add(&form, "query", buf_str(&query));
    /* Samples count in (time - range, time]; lines in [start, end). */
    param_add_i64(&form, "time", range.end_ns - 1);
    int r = source_ask(s->source, "/loki/api/v1/query", &form, &body, reterr);
    if (r == 0)
        r = answer_parse(body, s->options->quiet, &root, &data, reterr);
    if (r == 0) {
        json_t *result = json_object_get(data, "result");
        for (size_t i = 0; i < json_array_size(result); i++) {
            json_t *sample = json_array_get(result, i);
            json_t *label = by ? json_object_get(json_object_get(sample, "metric"), by) : NULL;
            json_t *value = json_array_get(json_object_get(sample, "value"), 1);
            const char *text = json_string_value(value);
            add_count(t, label ? json_string_value(label) : "", text ? strtod(text, NULL) : 0);
        }
        json_decref(root);
    }
    buf_done(&query);
    buf_done(&form);
    return r;
}

static int count_page(const struct page *page, void *ctx) {
    struct tally *t = ctx;
    const char *by = t->grep->options->by;
    for (size_t i = 0; i < page->n_lines; i++) {
        json_t *labels = page->streams[page->lines[i].stream].labels;
        json_t *label = by ? json_object_get(labels, by) : NULL;
        add_count(t, label ? json_string_value(label) : "", 1);
    }
    return 0;
}

/* What is left of a range below a millisecond is fetched and counted here. */
static int count_by_fetching(struct session *s, struct tally *t, struct range range,
                             struct err *reterr) {
    uint64_t lines;
    struct page_request request = {
        .query = buf_str(&t->grep->query),
        .range = range,
        .forward = true,
        .quiet = s->options->quiet,
        .fn = count_page,
        .ctx = t,
    };
    return pages_fetch(s->source, &request, &lines, reterr);
}

static int count_window(struct session *s, struct range window, void *ctx, struct err *reterr) {
    int64_t split_ns = window.start_ns + (window.end_ns - window.start_ns) % NS_PER_MS;
    int r = 0;
    if (split_ns < window.end_ns)
        r = count_by_query(s, ctx, (struct range){split_ns, window.end_ns}, reterr);
    if (r == 0 && split_ns > window.start_ns)
        r = count_by_fetching(s, ctx, (struct range){window.start_ns, split_ns}, reterr);
    return r;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static uint64_t print_counts(const struct options *o, json_t *counts) {
    uint64_t total = 0;
    const char *name;
    json_t *value;
    const char **names = calloc(json_object_size(counts) + 1, sizeof(*names));
    size_t n_names = 0;
    json_object_foreach(counts, name, value) {
        total += (uint64_t)json_integer_value(value);
        if (names)
            names[n_names++] = name;
    }
    if (!o->by) {
        uint64_t limit = o->limit > 0 ? (uint64_t)o->limit : UINT64_MAX;
        if (!o->quiet)
            (void)printf("%llu\n", (unsigned long long)(total < limit ? total : limit));
    } else if (names && !o->quiet) {
        qsort(names, n_names, sizeof(*names), compare_keys);
        for (size_t i = 0; i < n_names; i++)
            (void)printf("%s:%lld\n", names[i],
                         (long long)json_integer_value(json_object_get(counts, names[i])));
    }
    free(names);
    return total;
}

static int count_lines(struct grep *g, struct session *s, bool *ret_found, struct err *reterr) {
    struct tally tally = {.grep = g, .counts = json_object()};
    int r = session_each_window(s, s->range, count_window, &tally, reterr);
    if (r == 0)
        *ret_found = print_counts(g->options, tally.counts) > 0;
    json_decref(tally.counts);
    return r;
}

/* ---- streams: the label sets alone */

static int print_streams(struct grep *g, struct session *s, bool *ret_found, struct err *reterr) {
    const struct options *o = s->options;
    struct buf form = buf_make(FORM_MAX), query = buf_make(QUERY_MAX + 64),
               text = buf_make(BUF_NO_MAX);
    struct str body;
    json_t *root = NULL, *data;
    buf_addf(&query, "count_over_time(%.*s [%lldms])", STR_ARG(buf_str(&g->query)),
             (long long)((s->range.end_ns - s->range.start_ns) / NS_PER_MS));
    param_add(&form, "query", buf_str(&query));
    param_add_i64(&form, "time", s->range.end_ns - 1);
    int r = source_ask(s->source, "/loki/api/v1/query", &form, &body, reterr);
    if (r == 0)
        r = answer_parse(body, o->quiet, &root, &data, reterr);
    json_t *result = r == 0 ? json_object_get(data, "result") : NULL;
    for (size_t i = 0; i < json_array_size(result) && !o->quiet; i++) {
        output_labels(&text, json_object_get(json_array_get(result, i), "metric"), NULL, o);
        buf_add_char(&text, o->null_names ? '\0' : '\n');
    }
    (void)fwrite(text.data, 1, text.size, stdout);
    *ret_found = json_array_size(result) > 0;
    json_decref(root);
    buf_done(&text);
    buf_done(&query);
    buf_done(&form);
    return r;
}

/* ---- lines */

static int found_one(const struct page *page, void *ctx) {
    (void)page;
    (void)ctx;
    return 1;
}

static int print_lines(struct grep *g, struct session *s, bool *ret_found, struct err *reterr) {
    const struct options *o = g->options;
    bool by_default = o->limit == OPTION_COUNT_UNSET && isatty(STDOUT_FILENO);
    uint64_t limit = o->limit > 0 ? (uint64_t)o->limit : by_default ? QUERY_LIMIT_DEFAULT : 0;
    struct printer *printer = NULL;
    int r = printer_new(o, g->form, buf_str(&g->regex), &printer, reterr);
    if (r < 0)
        return r;
    uint64_t lines = 0;
    if (o->follow) {
        bool ranged = o->since || o->from;
        uint64_t last = o->limit > 0 ? (uint64_t)o->limit : ranged ? 0 : FOLLOW_LAST_DEFAULT;
        r = follow_run(s, buf_str(&g->query), last, o->quiet ? found_one : printer_page, printer,
                       &lines, reterr);
        printer_free(printer);
        *ret_found = lines > 0;
        return r;
    }
    if (around_wanted(o) && !o->quiet) {
        const struct around around = {.query = buf_str(&g->query),
                                      .limit = limit,
                                      .forward = !o->reverse,
                                      .printer = printer};
        r = around_run(s, &around, &lines, reterr);
        printer_free(printer);
        *ret_found = lines > 0;
        return r;
    }
    struct page_request request = {
        .query = buf_str(&g->query),
        .range = s->range,
        .forward = !o->reverse,
        .limit = o->quiet ? 1 : limit,
        .lines_max = o->batch > 0 ? (size_t)o->batch : 0,
        .quiet = o->quiet,
        .fn = o->quiet ? found_one : printer_page,
        .ctx = printer,
    };
    r = pages_fetch(s->source, &request, &lines, reterr);
    printer_free(printer);
    if (r < 0)
        return r;
    if (by_default && lines == limit && !o->quiet)
        (void)fprintf(stderr, "logq: the first %d lines; -m N shows N, -m 0 all\n",
                      QUERY_LIMIT_DEFAULT);
    *ret_found = lines > 0;
    return 0;
}

int cmd_grep(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    bool found = false;
    struct grep g = {
        .options = o,
        .selector = buf_make(QUERY_MAX),
        .filter = buf_make(QUERY_MAX),
        .regex = buf_make(QUERY_MAX),
        .query = buf_make(QUERY_MAX),
    };
    int r = read_arguments(&g, &err);
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = o->histogram                  ? chart_histogram(&s, buf_str(&g.query), &found, &err)
            : o->top                      ? chart_top(&s, buf_str(&g.query), o->top, &found, &err)
            : o->streams || o->names_only ? print_streams(&g, &s, &found, &err)
            : o->count || o->by           ? count_lines(&g, &s, &found, &err)
                                          : print_lines(&g, &s, &found, &err);
    session_close(&s);
    patterns_done(&g.patterns);
    buf_done(&g.selector);
    buf_done(&g.filter);
    buf_done(&g.regex);
    buf_done(&g.query);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}
