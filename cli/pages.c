#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "linestream.h"
#include "pages.h"
#include "units.h"

enum { FORM_MAX = 1 << 20, WINDOW_MIN_S = 60 };

/* Which lines of the last timestamp have been given out: the next page begins with that
 * timestamp again. */
struct seam {
    bool set;
    int64_t ns;
    struct hash128 *seen;
    size_t count, capacity;
};

struct fetch {
    struct source *source;
    const struct page_request *request;
    size_t lines_max;
    int64_t window_ns;
    uint64_t given;
    struct seam seam;
    /* of the present page, memory kept */
    json_t *root;
    struct page_line *lines;
    size_t n_lines, lines_capacity;
    struct page_stream *streams;
    uint64_t *stream_hashes;
    size_t n_streams, streams_capacity;
};

/* ---- one answer */

static struct { double bytes, lines, seconds, queue_seconds, entries; } sums; /* of all answers */

static void add_stats(json_t *data) {
    json_t *summary = json_object_get(json_object_get(data, "stats"), "summary");
    sums.bytes += json_number_value(json_object_get(summary, "totalBytesProcessed"));
    sums.lines += json_number_value(json_object_get(summary, "totalLinesProcessed"));
    sums.entries += json_number_value(json_object_get(summary, "totalEntriesReturned"));
    sums.seconds += json_number_value(json_object_get(summary, "execTime"));
    sums.queue_seconds += json_number_value(json_object_get(summary, "queueTime"));
}

void answer_print_stats(void) {
    struct buf text = buf_make(1 << 10);
    double seconds = sums.seconds > 0 ? sums.seconds : 1e-9;
    buf_add_str(&text, STR("Summary.BytesProcessedPerSecond  : "));
    bytes_format(&text, (uint64_t)(sums.bytes / seconds));
    buf_addf(&text, "\nSummary.LinesProcessedPerSecond  : %.0f\n", sums.lines / seconds);
    buf_add_str(&text, STR("Summary.TotalBytesProcessed      : "));
    bytes_format(&text, (uint64_t)sums.bytes);
    buf_addf(&text, "\nSummary.TotalLinesProcessed      : %.0f\n", sums.lines);
    buf_addf(&text, "Summary.ExecTime                 : %.6fs\n", sums.seconds);
    buf_addf(&text, "Summary.QueueTime                : %.6fs\n", sums.queue_seconds);
    buf_addf(&text, "Summary.TotalEntriesReturned     : %.0f\n", sums.entries);
    (void)fflush(stdout);
    (void)fprintf(stderr, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
}

int answer_parse(struct str body, bool quiet, json_t **ret_root, json_t **ret_data,
                 struct err *reterr) {
    json_error_t error;
    json_t *root = json_loadb(body.data, body.size, JSON_ALLOW_NUL, &error);
    if (!root)
        return err_set(reterr, -EPROTO, "the answer is not JSON (%s); is --addr logqd or Loki?",
                       error.text);
    json_t *warnings = json_object_get(root, "warnings");
    for (size_t i = 0; i < json_array_size(warnings) && !quiet; i++) {
        const char *text = json_string_value(json_array_get(warnings, i));
        (void)fprintf(stderr, "logq: warning: %s\n", text ? text : "");
    }
    const char *status = json_string_value(json_object_get(root, "status"));
    if (!status || strcmp(status, "success") != 0) {
        const char *text = json_string_value(json_object_get(root, "error"));
        int r = err_set(reterr, -EPROTO, "the answer is not a success: %s",
                        text ? text : "no reason given");
        json_decref(root);
        return r;
    }
    *ret_root = root;
    add_stats(json_object_get(root, "data"));
    *ret_data = json_object_get(root, "data"); /* Loki leaves it out when it would be empty */
    return 0;
}

static int grow(void **array, size_t *capacity, size_t needed, size_t item_size) {
    if (needed <= *capacity)
        return 0;
    size_t larger = *capacity ? *capacity * 2 : 256;
    while (larger < needed)
        larger *= 2;
    void *p = realloc(*array, larger * item_size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *capacity = larger;
    return 0;
}

static int add_line(struct fetch *f, json_t *value, uint32_t stream) {
    json_t *time = json_array_get(value, 0);
    json_t *text = json_array_get(value, 1);
    int64_t ns;
    if (!json_is_string(time) || !json_is_string(text) ||
        i64_parse(str_make(json_string_value(time), json_string_length(time)), &ns) < 0)
        return -EPROTO;
    if (grow((void **)&f->lines, &f->lines_capacity, f->n_lines + 1, sizeof(*f->lines)) < 0)
        return -ENOMEM;
    f->lines[f->n_lines] = (struct page_line){
        .ns = ns,
        .text = str_make(json_string_value(text), json_string_length(text)),
        .stream = stream,
        .order = (uint32_t)f->n_lines,
    };
    f->n_lines++;
    return 0;
}

static int add_stream(struct fetch *f, json_t *result) {
    json_t *labels = json_object_get(result, "stream");
    json_t *values = json_object_get(result, "values");
    if (!json_is_object(labels) || !json_is_array(values))
        return -EPROTO;
    size_t capacity = f->streams_capacity;
    if (grow((void **)&f->streams, &capacity, f->n_streams + 1, sizeof(*f->streams)) < 0 ||
        grow((void **)&f->stream_hashes, &f->streams_capacity, f->n_streams + 1,
             sizeof(*f->stream_hashes)) < 0)
        return -ENOMEM;
    char *text = json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return -ENOMEM;
    f->stream_hashes[f->n_streams] = hash_str(str_from(text));
    free(text);
    f->streams[f->n_streams].labels = labels;
    uint32_t stream = (uint32_t)f->n_streams++;
    for (size_t i = 0; i < json_array_size(values); i++) {
        int r = add_line(f, json_array_get(values, i), stream);
        if (r < 0)
            return r;
    }
    return 0;
}

static int oldest_first(const void *a, const void *b) {
    const struct page_line *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns < y->ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static int newest_first(const void *a, const void *b) {
    const struct page_line *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns > y->ns ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static int parse_page(struct fetch *f, struct str body, struct err *reterr) {
    json_t *data;
    json_decref(f->root);
    f->root = NULL;
    f->n_lines = f->n_streams = 0;
    int r = answer_parse(body, f->request->quiet, &f->root, &data, reterr);
    if (r < 0)
        return r;
    const char *type = json_string_value(json_object_get(data, "resultType"));
    if (!type || strcmp(type, "streams") != 0)
        return err_set(reterr, -EPROTO, "the answer holds no lines but %s",
                       type ? type : "nothing");
    json_t *result = json_object_get(data, "result");
    for (size_t i = 0; i < json_array_size(result) && r == 0; i++)
        r = add_stream(f, json_array_get(result, i));
    if (r < 0)
        return err_set(reterr, r, "the answer cannot be read: %s", err_name(r));
    if (f->n_lines > 0)
        qsort(f->lines, f->n_lines, sizeof(*f->lines),
              f->request->forward ? oldest_first : newest_first);
    return 0;
}

/* ---- seams between pages */

static struct hash128 identity(const struct fetch *f, const struct page_line *line) {
    struct hash128 h = hash128(line->text.data, line->text.size);
    h.low = hash_mix(h.low, f->stream_hashes[line->stream]);
    return h;
}

/* Takes one occurrence away; false when it is not (any more) among the seen ones. */
static bool seam_take(struct seam *s, size_t *left, struct hash128 h) {
    for (size_t i = 0; i < *left; i++) {
        if (s->seen[i].low == h.low && s->seen[i].high == h.high) {
            (*left)--;
            struct hash128 last = s->seen[*left];
            s->seen[*left] = s->seen[i];
            s->seen[i] = last;
            return true;
        }
    }
    return false;
}

/* Leaves out the lines of the page that the page before has given out already. */
static void drop_seen(struct fetch *f) {
    struct seam *s = &f->seam;
    size_t left = s->count, kept = 0;
    for (size_t i = 0; i < f->n_lines; i++) {
        const struct page_line *line = &f->lines[i];
        if (s->set && line->ns == s->ns && seam_take(s, &left, identity(f, line)))
            continue;
        f->lines[kept++] = *line;
    }
    f->n_lines = kept;
}

/* Remembers the lines with the page's last timestamp. They add to those remembered when it is
 * still the same. */
static int remember(struct fetch *f) {
    struct seam *s = &f->seam;
    if (f->n_lines == 0)
        return 0;
    int64_t last_ns = f->lines[f->n_lines - 1].ns;
    if (!s->set || s->ns != last_ns)
        s->count = 0;
    s->set = true;
    s->ns = last_ns;
    for (size_t i = f->n_lines; i > 0 && f->lines[i - 1].ns == last_ns; i--) {
        if (grow((void **)&s->seen, &s->capacity, s->count + 1, sizeof(*s->seen)) < 0)
            return -ENOMEM;
        s->seen[s->count++] = identity(f, &f->lines[i - 1]);
    }
    return 0;
}

/* ---- asking */

static size_t lines_to_ask(const struct fetch *f) {
    uint64_t limit = f->request->limit;
    if (limit == 0)
        return f->lines_max;
    /* The lines of the seam come again and do not count. */
    uint64_t wanted = limit - f->given + (f->seam.set ? f->seam.count : 0);
    return wanted < f->lines_max ? (size_t)wanted : f->lines_max;
}

static int ask_page(struct fetch *f, struct range window, size_t lines, struct err *reterr) {
    struct buf form = buf_make(FORM_MAX);
    struct str body;
    param_add(&form, "query", f->request->query);
    param_add_i64(&form, "start", window.start_ns);
    param_add_i64(&form, "end", window.end_ns);
    param_add_i64(&form, "limit", (int64_t)lines);
    param_add(&form, "direction", f->request->forward ? STR("forward") : STR("backward"));
    if (f->request->interval)
        param_add(&form, "interval", str_from(f->request->interval));
    int r = source_ask(f->source, "/loki/api/v1/query_range", &form, &body, reterr);
    buf_done(&form);
    return r < 0 ? r : parse_page(f, body, reterr);
}

static int too_many_at_once(const struct fetch *f, struct err *reterr) {
    struct buf time = buf_make(64);
    when_format(&time, f->seam.ns, "rfc3339nano");
    int r =
        err_set(reterr, -EREFUSED,
                "more than %zu lines have the same time %.*s: ask for fewer streams with -l, or "
                "raise limits_config.max_entries_limit_per_query and --batch",
                f->lines_max, STR_ARG(buf_str(&time)));
    buf_done(&time);
    return r;
}

/* All pages of one window; 1 when the callback or the limit says enough. */
static int fetch_window(struct fetch *f, struct range window, struct err *reterr) {
    const struct page_request *q = f->request;
    f->seam.set = false;
    for (;;) {
        size_t asked = lines_to_ask(f);
        int r = ask_page(f, window, asked, reterr);
        if (r < 0)
            return r;
        bool full = f->n_lines >= asked;
        int64_t last_ns = f->n_lines > 0 ? f->lines[f->n_lines - 1].ns : 0;
        drop_seen(f);
        if (full && f->n_lines == 0 && f->seam.set && last_ns == f->seam.ns)
            return too_many_at_once(f, reterr);
        if (q->limit > 0 && f->n_lines > q->limit - f->given)
            f->n_lines = (size_t)(q->limit - f->given);
        f->given += f->n_lines;
        struct page page = {f->lines, f->n_lines, f->streams, f->n_streams};
        r = f->n_lines > 0 ? q->fn(&page, q->ctx) : 0;
        if (r != 0)
            return r;
        if (q->limit > 0 && f->given >= q->limit)
            return 1;
        if (!full)
            return 0;
        if (remember(f) < 0)
            return err_set(reterr, -ENOMEM, "out of memory");
        if (q->forward)
            window.start_ns = last_ns;
        else
            window.end_ns = last_ns + 1;
    }
}

/* Whether a refused request is worth asking again for less. Only the first request of a window
 * can be refused for these reasons, so no line has been given out twice. */
static bool ask_for_less(struct fetch *f, const struct err *err) {
    if (source_refused_limit(err) && f->lines_max / 2 >= PAGE_LINES_MIN) {
        f->lines_max /= 2;
        return true;
    }
    if (source_refused_range(err) && f->window_ns / 2 >= WINDOW_MIN_S * NS_PER_S) {
        f->window_ns /= 2;
        return true;
    }
    return false;
}

int pages_fetch(struct source *s, const struct page_request *q, uint64_t *ret_lines,
                struct err *reterr) {
    /* More than a page: in one answer, where the server can give it. */
    bool many = q->limit == 0 || q->limit > PAGE_LINES_MAX;
    if (many && q->lines_max == 0 && !q->interval) {
        int streamed = linestream_fetch(s, q, ret_lines, reterr);
        if (streamed != -ENOENT)
            return streamed;
    }
    struct fetch f = {
        .source = s,
        .request = q,
        .lines_max = q->lines_max > 0 ? q->lines_max : PAGE_LINES_MAX,
        .window_ns = WINDOW_MAX_NS,
    };
    struct range rest = q->range, window;
    struct range before = rest;
    int r = 0;
    while (r == 0 && when_next_window(&rest, q->forward, f.window_ns, &window)) {
        uint64_t given = f.given;
        r = fetch_window(&f, window, reterr);
        if (r == -EREFUSED && given == f.given && reterr && ask_for_less(&f, reterr)) {
            rest = before;
            r = 0;
        }
        before = rest;
    }
    *ret_lines = f.given;
    json_decref(f.root);
    free(f.lines);
    free(f.streams);
    free(f.stream_hashes);
    free(f.seam.seen);
    return r < 0 ? r : 0;
}
