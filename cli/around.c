#include "around.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pages.h"
#include "units.h"

enum {
    FORM_MAX = 1 << 20,
    PAGE_MATCHES = 1000,
    STREAMS_MAX = 100000, /* whose last group waits for the next page */
};

/* The last group of a stream: the next page may go on with it. */
struct waiting {
    json_t *stream, *lines;
    char *key;
};

struct join {
    struct session *session;
    const struct around *around;
    struct waiting *waiting;
    size_t count;
    uint64_t matches;
    bool any_printed;
};

bool around_wanted(const struct options *o) {
    return o->before > 0 || o->after > 0 || o->context > 0;
}

static int64_t count_of(int64_t own, int64_t both) {
    return own >= 0 ? own : both >= 0 ? both : 0;
}

/* ---- groups */

static bool same_line(json_t *a, json_t *b) {
    return json_equal(json_array_get(a, 0), json_array_get(b, 0)) &&
           json_equal(json_array_get(a, 1), json_array_get(b, 1));
}

/* Appends what `group` has behind the lines that `lines` ends with; false when they have none in common. */
static bool merge(json_t *lines, json_t *group) {
    size_t n = json_array_size(lines), at = n;
    json_t *first = json_array_get(group, 0);
    while (at > 0 && !same_line(json_array_get(lines, at - 1), first))
        at--;
    if (at == 0)
        return false;
    for (size_t i = 0; i < json_array_size(group); i++) {
        json_t *line = json_array_get(group, i), *known = json_array_get(lines, at - 1 + i);
        if (!known)
            (void)json_array_append(lines, line);
        else if (json_is_true(json_array_get(line, 2)))
            (void)json_array_set(known, 2, json_true());
    }
    return true;
}

static int print_group(struct join *j, const struct waiting *w) {
    const struct options *o = j->session->options;
    size_t n = json_array_size(w->lines);
    struct page_line *lines = calloc(n + 1, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        json_t *line = json_array_get(w->lines, i), *text = json_array_get(line, 1);
        bool match = json_is_true(json_array_get(line, 2));
        const char *time = json_string_value(json_array_get(line, 0));
        lines[i] = (struct page_line){
            .text = str_make(json_string_value(text), json_string_length(text)),
            .order = (uint32_t)i,
            .is_context = !match,
        };
        if (!time || i64_parse(str_from(time), &lines[i].ns) < 0 || !lines[i].text.data) {
            free(lines);
            return -EPROTO;
        }
        j->matches += match;
    }
    bool json = o->output && strncmp(o->output, "json", 4) == 0;
    if (j->any_printed && !json)
        (void)fputs(output_use_color(o) ? "\033[36m--\033[0m\n" : "--\n", stdout);
    j->any_printed = true;
    const struct page_stream stream = {.labels = w->stream};
    const struct page page = {.lines = lines, .n_lines = n, .streams = &stream, .n_streams = 1};
    int r = printer_page(&page, j->around->printer);
    free(lines);
    return r < 0 ? r : 0;
}

static void waiting_done(struct waiting *w) {
    json_decref(w->stream);
    json_decref(w->lines);
    free(w->key);
}

static int take_group(struct join *j, json_t *group) {
    json_t *stream = json_object_get(group, "stream"), *lines = json_object_get(group, "lines");
    char *key = json_dumps(stream, JSON_COMPACT | JSON_SORT_KEYS);
    if (!key || !json_is_array(lines)) {
        free(key);
        return -EPROTO;
    }
    size_t i = 0;
    while (i < j->count && strcmp(j->waiting[i].key, key) != 0)
        i++;
    if (i < j->count && merge(j->waiting[i].lines, lines)) {
        free(key);
        return 0;
    }
    int r = 0;
    if (i < j->count) {
        r = print_group(j, &j->waiting[i]);
        waiting_done(&j->waiting[i]);
        memmove(&j->waiting[i], &j->waiting[i + 1], (j->count - i - 1) * sizeof(*j->waiting));
        j->count--;
    }
    struct waiting *more =
        j->count < STREAMS_MAX ? realloc(j->waiting, (j->count + 1) * sizeof(*more)) : NULL;
    if (!more) {
        free(key);
        return -ENOMEM;
    }
    j->waiting = more;
    more[j->count++] = (struct waiting){json_incref(stream), json_deep_copy(lines), key};
    return r;
}

static int print_all(struct join *j) {
    int r = 0;
    for (size_t i = 0; i < j->count; i++) {
        if (r == 0)
            r = print_group(j, &j->waiting[i]);
        waiting_done(&j->waiting[i]);
    }
    j->count = 0;
    return r;
}

/* ---- asking */

/* The number of matches, and the time of the last one in the order asked for. */
static size_t look_at_matches(json_t *result, bool forward, int64_t *ret_last_ns) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(result); i++) {
        json_t *values = json_object_get(json_array_get(result, i), "values");
        for (size_t k = 0; k < json_array_size(values); k++) {
            const char *time = json_string_value(json_array_get(json_array_get(values, k), 0));
            int64_t ns;
            if (!time || i64_parse(str_from(time), &ns) < 0)
                continue;
            if (n == 0 || (forward ? ns > *ret_last_ns : ns < *ret_last_ns))
                *ret_last_ns = ns;
            n++;
        }
    }
    return n;
}

static int ask(struct join *j, struct range range, uint64_t limit, size_t *ret_matches,
               int64_t *ret_last_ns, struct err *reterr) {
    const struct options *o = j->session->options;
    struct buf form = buf_make(FORM_MAX);
    struct str body;
    json_t *root = NULL, *data;
    param_add(&form, "query", j->around->query);
    param_add_i64(&form, "start", range.start_ns);
    param_add_i64(&form, "end", range.end_ns);
    param_add_i64(&form, "limit", (int64_t)limit);
    param_add(&form, "direction", j->around->forward ? STR("forward") : STR("backward"));
    param_add_i64(&form, "context_before", count_of(o->before, o->context));
    param_add_i64(&form, "context_after", count_of(o->after, o->context));
    int r = source_ask(j->session->source, "/loki/api/v1/query_range", &form, &body, reterr);
    buf_done(&form);
    if (r == 0)
        r = answer_parse(body, o->quiet, &root, &data, reterr);
    if (r < 0)
        return r;
    json_t *context = json_object_get(data, "context");
    *ret_matches =
        look_at_matches(json_object_get(data, "result"), j->around->forward, ret_last_ns);
    if (!context)
        r = err_set(reterr, -EPROTO, "this server does not know context: -A, -B and -C need logqd");
    for (size_t i = 0; i < json_array_size(context) && r == 0; i++) {
        r = take_group(j, json_array_get(context, i));
        if (r < 0)
            (void)err_set(reterr, r, "the context cannot be read: %s", err_name(r));
    }
    json_decref(root);
    return r;
}

/* All pages of one window, each beginning with the last time of the one before. */
static int ask_window(struct join *j, struct range window, struct err *reterr) {
    const struct around *a = j->around;
    for (uint64_t limit = a->limit ? a->limit : PAGE_MATCHES;;) {
        size_t matches;
        int64_t last_ns = 0;
        int r = ask(j, window, limit, &matches, &last_ns, reterr);
        if (r < 0 || a->limit > 0 || matches < limit)
            return r;
        bool forward = a->forward;
        if (forward ? last_ns == window.start_ns : last_ns + 1 == window.end_ns)
            limit *= 2;
        if (forward)
            window.start_ns = last_ns;
        else
            window.end_ns = last_ns + 1;
    }
}

int around_run(struct session *s, const struct around *a, uint64_t *ret_matches,
               struct err *reterr) {
    /* A limit keeps the newest; all of them come oldest first. */
    struct around one = *a;
    one.forward = a->forward || a->limit == 0;
    struct join j = {.session = s, .around = &one};
    struct range rest = s->range, window;
    int r = 0;
    while (r == 0 && when_next_window(&rest, one.forward, WINDOW_MAX_NS, &window))
        r = a->limit > 0 && j.matches >= a->limit ? 0 : ask_window(&j, window, reterr);
    int printed = print_all(&j);
    free(j.waiting);
    *ret_matches = j.matches;
    if (r == 0 && printed < 0)
        r = printed == -EIO ? printed
                            : err_set(reterr, printed, "cannot go on: %s", err_name(printed));
    return r;
}
