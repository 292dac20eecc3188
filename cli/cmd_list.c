/* logq labels, series and stats: what streams there are. Long ranges are asked window by window
 * and joined. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "output.h"
#include "pages.h"
#include "session.h"
#include "units.h"

enum { FORM_MAX = 1 << 20, NAME_MAX_BYTES = 4096 };

static const char all_streams[] = "{service_name=~\".+\"}";

struct list {
    const char *path;
    const char *selector; /* NULL = all */
    const char *param;    /* the selector's name */
    json_t *found;        /* keys of an object: seen once */
};

static void start_form(struct buf *form, struct range window) {
    *form = buf_make(FORM_MAX);
    param_add_i64(form, "start", window.start_ns);
    param_add_i64(form, "end", window.end_ns);
}

/* A label set is kept as its text, which is also what is printed. */
static int add_found(struct list *list, json_t *item) {
    static const struct options plain;
    struct buf text = buf_make(FORM_MAX);
    if (json_is_object(item))
        output_labels(&text, item, NULL, &plain);
    else
        buf_add_str(&text, str_make(json_string_value(item), json_string_length(item)));
    buf_add_char(&text, '\0');
    int r =
        text.failed ? -ENOMEM : json_object_set_new_nocheck(list->found, text.data, json_true());
    buf_done(&text);
    return r < 0 ? -ENOMEM : 0;
}

static int list_window(struct session *s, struct range window, void *ctx, struct err *reterr) {
    struct list *list = ctx;
    struct buf form;
    struct str body;
    json_t *root, *data;
    start_form(&form, window);
    if (list->selector)
        param_add(&form, list->param, str_from(list->selector));
    int r = source_ask(s->source, list->path, &form, &body, reterr);
    buf_done(&form);
    if (r == 0)
        r = answer_parse(body, s->options->quiet, &root, &data, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(data) && r == 0; i++)
        r = add_found(list, json_array_get(data, i));
    json_decref(root);
    return r < 0 ? err_set(reterr, r, "out of memory") : 0;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int print_sorted(json_t *found, struct err *reterr) {
    size_t count = 0;
    const char *key;
    json_t *value;
    const char **keys = calloc(json_object_size(found) + 1, sizeof(*keys));
    if (!keys)
        return err_set(reterr, -ENOMEM, "out of memory");
    json_object_foreach(found, key, value) {
        keys[count++] = key;
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t i = 0; i < count; i++)
        (void)puts(keys[i]);
    free(keys);
    return 0;
}

static int print_analysis(json_t *found, struct err *reterr);

static int run_list(const struct options *o, struct list *list) {
    struct err err = {0};
    struct session s = {0};
    list->found = json_object();
    size_t count = 0;
    int r = session_open(&s, o, &err);
    if (r == 0)
        r = session_each_window(&s, s.range, list_window, list, &err);
    if (r == 0) {
        count = json_object_size(list->found);
        r = o->analyze_labels ? print_analysis(list->found, &err) : print_sorted(list->found, &err);
    }
    session_close(&s);
    json_decref(list->found);
    return r < 0 ? session_trouble(&err) : session_status(o, count > 0);
}

static int too_many(const struct options *o, size_t most, const char *usage) {
    struct err err;
    if (o->arguments.count <= most)
        return 0;
    (void)err_set(&err, -ESYNTAX, "\"%s\" is one word too many: %s", o->arguments.items[most],
                  usage);
    return session_trouble(&err);
}

int cmd_labels(const struct options *o) {
    struct list list = {.path = "/loki/api/v1/labels", .param = "query"};
    struct buf path = buf_make(NAME_MAX_BYTES);
    int status = too_many(o, 1, "logq labels [NAME]");
    if (status)
        return status;
    if (o->arguments.count == 1) {
        struct buf name = buf_make(NAME_MAX_BYTES);
        param_add(&name, "", str_from(o->arguments.items[0]));
        /* param_add gives "=escaped". */
        buf_addf(&path, "/loki/api/v1/label/%.*s/values",
                 STR_ARG(str_from_offset(buf_str(&name), 1)));
        buf_add_char(&path, '\0');
        if (name.failed)
            path.failed = true;
        buf_done(&name);
        list.path = path.data;
    }
    if (path.failed) {
        struct err err;
        (void)err_set(&err, -ESYNTAX, "a label name is at most %d bytes", NAME_MAX_BYTES / 4);
        status = session_trouble(&err);
    } else {
        status = run_list(o, &list);
    }
    buf_done(&path);
    return status;
}

/* ---- series --analyze-labels */

struct label_use {
    const char *name;
    size_t streams;
    json_t *values; /* keys of an object */
};

struct label_uses {
    struct label_use *items;
    size_t count, streams;
};

/* A label set comes as the text that `series` prints: {a="b", c="d"}, values quoted as in Go. */
static int note_labels(struct label_uses *uses, const char *text) {
    const char *p = text + 1;
    uses->streams++;
    while (*p && *p != '}') {
        const char *equals = strchr(p, '=');
        if (!equals || equals[1] != '"')
            return -EPROTO;
        const char *end = equals + 2;
        while (*end && *end != '"')
            end += *end == '\\' && end[1] ? 2 : 1;
        struct str name = str_make(p, (size_t)(equals - p));
        size_t i = 0;
        while (i < uses->count && !str_eq(name, str_from(uses->items[i].name)))
            i++;
        if (i == uses->count) {
            struct label_use *items = realloc(uses->items, (i + 1) * sizeof(*items));
            if (!items)
                return -ENOMEM;
            uses->items = items;
            items[i] =
                (struct label_use){.name = strndup(name.data, name.size), .values = json_object()};
            uses->count++;
        }
        char *value = strndup(equals + 2, (size_t)(end - equals) - 2);
        int r = value ? json_object_set_new_nocheck(uses->items[i].values, value, json_true()) : -1;
        free(value);
        if (r < 0 || !uses->items[i].name)
            return -ENOMEM;
        uses->items[i].streams++;
        p = *end ? end + 1 : end;
        p += strspn(p, ", ");
    }
    return 0;
}

static int most_values_first(const void *a, const void *b) {
    const struct label_use *x = a, *y = b;
    size_t n = json_object_size(x->values), m = json_object_size(y->values);
    return n != m ? (n > m ? -1 : 1) : strcmp(x->name, y->name);
}

static void print_uses(const struct label_uses *uses) {
    size_t name_width = strlen("Label Name"), value_width = strlen("Unique Values");
    for (size_t i = 0; i < uses->count; i++)
        if (strlen(uses->items[i].name) > name_width)
            name_width = strlen(uses->items[i].name);
    (void)printf("Total Streams:  %zu\nUnique Labels:  %zu\n\n", uses->streams, uses->count);
    (void)printf("%-*s  %-*s  Found In Streams\n", (int)name_width, "Label Name", (int)value_width,
                 "Unique Values");
    for (size_t i = 0; i < uses->count; i++)
        (void)printf("%-*s  %-*zu  %zu\n", (int)name_width, uses->items[i].name, (int)value_width,
                     json_object_size(uses->items[i].values), uses->items[i].streams);
}

static int print_analysis(json_t *found, struct err *reterr) {
    struct label_uses uses = {0};
    const char *key;
    json_t *value;
    int r = 0;
    json_object_foreach(found, key, value) {
        r = r < 0 ? r : note_labels(&uses, key);
    }
    if (uses.count > 0)
        qsort(uses.items, uses.count, sizeof(*uses.items), most_values_first);
    if (r == 0)
        print_uses(&uses);
    for (size_t i = 0; i < uses.count; i++) {
        free((char *)uses.items[i].name);
        json_decref(uses.items[i].values);
    }
    free(uses.items);
    return r < 0 ? err_set(reterr, r, "the label sets cannot be read") : 0;
}

int cmd_series(const struct options *o) {
    struct list list = {.path = "/loki/api/v1/series", .param = "match", .selector = all_streams};
    int status = too_many(o, 1, "logq series ['{app=\"api\"}']");
    if (status)
        return status;
    if (o->arguments.count == 1)
        list.selector = o->arguments.items[0];
    return run_list(o, &list);
}

/* ---- stats */

struct stats {
    const char *selector;
    uint64_t bytes, chunks, entries, streams;
    uint64_t windows;
};

static int stats_window(struct session *s, struct range window, void *ctx, struct err *reterr) {
    struct stats *stats = ctx;
    struct buf form;
    struct str body;
    json_error_t error;
    start_form(&form, window);
    param_add(&form, "query", str_from(stats->selector));
    int r = source_ask(s->source, "/loki/api/v1/index/stats", &form, &body, reterr);
    buf_done(&form);
    if (r < 0)
        return r;
    json_t *root = json_loadb(body.data, body.size, 0, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(reterr, -EPROTO, "the answer is not JSON: %s", error.text);
    }
    stats->bytes += (uint64_t)json_integer_value(json_object_get(root, "bytes"));
    stats->chunks += (uint64_t)json_integer_value(json_object_get(root, "chunks"));
    stats->entries += (uint64_t)json_integer_value(json_object_get(root, "entries"));
    stats->streams += (uint64_t)json_integer_value(json_object_get(root, "streams"));
    stats->windows++;
    json_decref(root);
    return 0;
}

/* One stream may stand in several windows: then they are counted by their labels. */
static int count_streams(struct session *s, struct stats *stats, struct err *reterr) {
    struct list list = {.path = "/loki/api/v1/series",
                        .param = "match",
                        .selector = stats->selector,
                        .found = json_object()};
    int r = session_each_window(s, s->range, list_window, &list, reterr);
    stats->streams = json_object_size(list.found);
    json_decref(list.found);
    return r;
}

static void print_stats(const struct stats *stats) {
    struct buf size = buf_make(64);
    bytes_format(&size, stats->bytes);
    (void)printf("{\n  bytes: %.*s\n  chunks: %llu\n  streams: %llu\n  entries: %llu\n}\n",
                 STR_ARG(buf_str(&size)), (unsigned long long)stats->chunks,
                 (unsigned long long)stats->streams, (unsigned long long)stats->entries);
    buf_done(&size);
}

int cmd_stats(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct stats stats = {.selector = all_streams};
    int status = too_many(o, 1, "logq stats ['{app=\"api\"}']");
    if (status)
        return status;
    if (o->arguments.count == 1)
        stats.selector = o->arguments.items[0];
    int r = session_open(&s, o, &err);
    if (r == 0)
        r = session_each_window(&s, s.range, stats_window, &stats, &err);
    if (r == 0 && stats.windows > 1)
        r = count_streams(&s, &stats, &err);
    if (r == 0)
        print_stats(&stats);
    session_close(&s);
    return r < 0 ? session_trouble(&err) : session_status(o, stats.streams > 0);
}
