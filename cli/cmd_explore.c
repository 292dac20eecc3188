/* logq volume, volume-range, detected-fields and patterns: what lines there are, without reading them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "output.h"
#include "pages.h"
#include "session.h"

enum {
    FORM_MAX = 1 << 20,
    PATH_MAX_BYTES = 4096,
    VOLUME_LIMIT_DEFAULT = 30, /* logcli's defaults */
    FIELDS_LIMIT_DEFAULT = 100,
    FIELDS_LINES_DEFAULT = 1000,
};

static const char all_streams[] = "{service_name=~\".+\"}";

static void add_common(struct buf *form, const struct session *s, const char *query) {
    param_add(form, "query", str_from(query));
    param_add_i64(form, "start", s->range.start_ns);
    param_add_i64(form, "end", s->range.end_ns);
}

static const char *argument(const struct options *o, size_t index, const char *fallback) {
    return o->arguments.count > index ? o->arguments.items[index] : fallback;
}

static int check_count(const struct options *o, size_t most, const char *usage,
                       struct err *reterr) {
    return o->arguments.count <= most ? 0
                                      : err_set(reterr, -ESYNTAX, "\"%s\" is one word too many: %s",
                                                o->arguments.items[most], usage);
}

/* Asks one endpoint; the caller releases *ret_root. */
static int ask(struct session *s, const char *path, const struct buf *form, json_t **ret_root,
               struct err *reterr) {
    struct str body;
    json_error_t error;
    int r = source_ask(s->source, path, form, &body, reterr);
    if (r < 0)
        return r;
    *ret_root = json_loadb(body.data, body.size, JSON_ALLOW_NUL, &error);
    return *ret_root ? 0
                     : err_set(reterr, -EPROTO,
                               "the answer is not JSON (%s); is --addr logqd or "
                               "Loki?",
                               error.text);
}

/* ---- volume */

static int ask_volume(struct session *s, bool *ret_found, struct err *reterr) {
    const struct options *o = s->options;
    bool range = o->command == COMMAND_VOLUME_RANGE;
    struct buf form = buf_make(FORM_MAX);
    json_t *root = NULL;
    add_common(&form, s, argument(o, 0, all_streams));
    param_add_i64(&form, "limit", o->limit >= 0 ? o->limit : VOLUME_LIMIT_DEFAULT);
    if (range)
        param_add(&form, "step", str_from(o->step ? o->step : "1h"));
    if (o->target_labels)
        param_add(&form, "targetLabels", str_from(o->target_labels));
    if (o->aggregate_by_labels)
        param_add(&form, "aggregateBy", STR("labels"));
    int r = ask(s, range ? "/loki/api/v1/index/volume_range" : "/loki/api/v1/index/volume", &form,
                &root, reterr);
    buf_done(&form);
    if (r < 0)
        return r;
    json_t *data = json_object_get(root, "data"), *result = json_object_get(data, "result");
    /* A range of one step comes as a vector. */
    const char *type = json_string_value(json_object_get(data, "resultType"));
    enum output_form shape = OUTPUT_JSON; /* as logcli, unless told otherwise */
    if (o->output)
        r = output_form_parse(o->output, &shape, reterr);
    if (r == 0)
        *ret_found = output_metric(o, shape, type ? type : "", result) > 0;
    json_decref(root);
    return r;
}

int cmd_volume(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    bool found = false;
    int r = check_count(o, 1, "logq volume ['{app=\"api\"}']", &err);
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = ask_volume(&s, &found, &err);
    session_close(&s);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}

/* ---- detected fields */

static int compare_rows(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "label: X\t\ttype: T\t\tcardinality: N", sorted, as logcli prints them. */
static int print_fields(json_t *fields) {
    size_t count = json_array_size(fields), made = 0;
    char **rows = calloc(count + 1, sizeof(*rows));
    for (size_t i = 0; rows && i < count; i++) {
        json_t *f = json_array_get(fields, i);
        const char *name = json_string_value(json_object_get(f, "label"));
        const char *type = json_string_value(json_object_get(f, "type"));
        if (asprintf(&rows[made], "label: %s\t\ttype: %s\t\tcardinality: %lld", name ? name : "",
                     type ? type : "",
                     (long long)json_integer_value(json_object_get(f, "cardinality"))) >= 0)
            made++;
    }
    if (made > 0)
        qsort(rows, made, sizeof(*rows), compare_rows);
    for (size_t i = 0; i < made; i++) {
        (void)puts(rows[i]);
        free(rows[i]);
    }
    free(rows);
    return made == count ? 0 : -ENOMEM;
}

static void field_path(struct buf *path, const char *field) {
    struct buf name = buf_make(PATH_MAX_BYTES);
    param_add(&name, "", str_from(field)); /* gives "=escaped" */
    buf_add_str(path, STR("/loki/api/v1/detected_field/"));
    buf_add_str(path, str_from_offset(buf_str(&name), 1));
    buf_add_str(path, STR("/values"));
    buf_add_char(path, '\0');
    path->failed = path->failed || name.failed;
    buf_done(&name);
}

static int ask_fields(struct session *s, bool *ret_found, struct err *reterr) {
    const struct options *o = s->options;
    const char *field = argument(o, 1, NULL);
    struct buf form = buf_make(FORM_MAX), path = buf_make(PATH_MAX_BYTES);
    json_t *root = NULL;
    add_common(&form, s, argument(o, 0, all_streams));
    param_add_i64(&form, "limit", o->limit >= 0 ? o->limit : FIELDS_LIMIT_DEFAULT);
    param_add_i64(&form, "line_limit", o->line_limit >= 0 ? o->line_limit : FIELDS_LINES_DEFAULT);
    param_add(&form, "step", str_from(o->step ? o->step : "10s"));
    if (field)
        field_path(&path, field);
    int r = path.failed
                ? err_set(reterr, -ESYNTAX, "the name of the field is too long")
                : ask(s, field ? path.data : "/loki/api/v1/detected_fields", &form, &root, reterr);
    buf_done(&form);
    buf_done(&path);
    if (r < 0)
        return r;
    json_t *items = json_object_get(root, field ? "values" : "fields");
    *ret_found = json_array_size(items) > 0;
    if (!field)
        r = print_fields(items);
    for (size_t i = 0; field && i < json_array_size(items); i++) {
        const char *value = json_string_value(json_array_get(items, i));
        (void)puts(value ? value : "");
    }
    json_decref(root);
    return r < 0 ? err_set(reterr, r, "out of memory") : 0;
}

int cmd_detected(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    bool found = false;
    int r = check_count(o, 2, "logq detected-fields ['{app=\"api\"}' [FIELD]]", &err);
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = ask_fields(&s, &found, &err);
    session_close(&s);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}

/* ---- patterns */

struct pattern {
    const char *text, *level;
    double count;
};

static int most_first(const void *a, const void *b) {
    const struct pattern *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return strcmp(x->text, y->text);
}

static struct pattern read_pattern(json_t *item) {
    const char *text = json_string_value(json_object_get(item, "pattern"));
    const char *level = json_string_value(json_object_get(item, "level"));
    struct pattern p = {.text = text ? text : "", .level = level ? level : ""};
    json_t *samples = json_object_get(item, "samples");
    for (size_t i = 0; i < json_array_size(samples); i++)
        p.count += json_number_value(json_array_get(json_array_get(samples, i), 1));
    return p;
}

static int ask_patterns(struct session *s, bool *ret_found, struct err *reterr) {
    const struct options *o = s->options;
    struct buf form = buf_make(FORM_MAX);
    json_t *root = NULL;
    add_common(&form, s, argument(o, 0, all_streams));
    if (o->step)
        param_add(&form, "step", str_from(o->step));
    int r = ask(s, "/loki/api/v1/patterns", &form, &root, reterr);
    buf_done(&form);
    if (r < 0)
        return r;
    json_t *data = json_object_get(root, "data");
    size_t count = json_array_size(data);
    struct pattern *patterns = calloc(count + 1, sizeof(*patterns));
    for (size_t i = 0; patterns && i < count; i++)
        patterns[i] = read_pattern(json_array_get(data, i));
    if (patterns && count > 0)
        qsort(patterns, count, sizeof(*patterns), most_first);
    for (size_t i = 0; patterns && i < count && (o->limit <= 0 || i < (size_t)o->limit); i++)
        (void)printf("%9.0f  %-8s  %s\n", patterns[i].count, patterns[i].level, patterns[i].text);
    *ret_found = count > 0;
    r = patterns ? 0 : err_set(reterr, -ENOMEM, "out of memory");
    free(patterns);
    json_decref(root);
    return r;
}

int cmd_patterns(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    bool found = false;
    int r = check_count(o, 1, "logq patterns ['{app=\"api\"}']", &err);
    if (r == 0)
        r = session_open(&s, o, &err);
    if (r == 0)
        r = ask_patterns(&s, &found, &err);
    session_close(&s);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}
