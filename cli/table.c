/* The metric half of output.h: one row per value; the labels' names head the columns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "utf8.h"
#include "units.h"

enum {
    COLUMNS_MAX = 12, /* more label names than that are shown as one column {a="b", ...} */
};

struct table {
    const struct options *options;
    bool has_time;
    bool one_column; /* all labels as {a="b"} */
    const char *names[COLUMNS_MAX];
    size_t n_names;
    struct buf cells; /* texts, each ending with a NUL */
    size_t n_cells;
    size_t n_columns;
    size_t widths[COLUMNS_MAX + 2];
    bool tabs;
};

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool add_name(struct table *t, const char *name) {
    for (size_t i = 0; i < t->n_names; i++)
        if (strcmp(t->names[i], name) == 0)
            return true;
    if (t->n_names == COLUMNS_MAX)
        return false;
    t->names[t->n_names++] = name;
    return true;
}

static void find_columns(struct table *t, json_t *result) {
    for (size_t i = 0; i < json_array_size(result) && !t->one_column; i++) {
        const char *name;
        json_t *value;
        json_t *metric = json_object_get(json_array_get(result, i), "metric");
        json_object_foreach(metric, name, value) {
            if (!add_name(t, name)) {
                t->one_column = true;
                t->n_names = 0;
                break;
            }
        }
    }
    qsort(t->names, t->n_names, sizeof(*t->names), compare_names);
    t->n_columns = (size_t)t->has_time + (t->one_column ? 1 : t->n_names) + 1;
}

static void end_cell(struct table *t, size_t start) {
    size_t width = utf8_count(str_make(t->cells.data + start, t->cells.size - start));
    size_t column = t->n_cells % t->n_columns;
    /* A line break or a tab in a value would break the table. */
    for (size_t i = start; i < t->cells.size; i++)
        if ((uint8_t)t->cells.data[i] < 0x20)
            t->cells.data[i] = ' ';
    buf_add_char(&t->cells, '\0');
    if (width > t->widths[column])
        t->widths[column] = width;
    t->n_cells++;
}

static void add_cell(struct table *t, struct str text) {
    size_t start = t->cells.size;
    buf_add_str(&t->cells, text);
    end_cell(t, start);
}

static void add_header(struct table *t) {
    if (t->has_time)
        add_cell(t, STR("time"));
    for (size_t i = 0; i < t->n_names; i++)
        add_cell(t, str_from(t->names[i]));
    if (t->one_column)
        add_cell(t, STR("labels"));
    add_cell(t, STR("value"));
}

static struct str cell_text(json_t *value) {
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value))
                                 : STR("");
}

/* `sample` is [seconds, "value"]. */
static void add_row(struct table *t, json_t *metric, json_t *sample) {
    size_t start = t->cells.size;
    if (t->has_time) {
        double ms = json_number_value(json_array_get(sample, 0)) * 1000;
        when_format(&t->cells, (int64_t)(ms + 0.5) * NS_PER_MS, t->options->timestamp_format);
        end_cell(t, start);
    }
    for (size_t i = 0; i < t->n_names; i++)
        add_cell(t, cell_text(json_object_get(metric, t->names[i])));
    if (t->one_column) {
        start = t->cells.size;
        output_labels(&t->cells, metric, NULL, t->options);
        end_cell(t, start);
    }
    add_cell(t, cell_text(json_array_get(sample, 1)));
}

static void print_cells(const struct table *t) {
    const char *cell = t->cells.data;
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t size = strlen(cell), column = i % t->n_columns;
        bool last = column + 1 == t->n_columns;
        size_t pad = t->widths[column] - utf8_count(str_make(cell, size));
        if (t->tabs)
            (void)printf("%s%c", cell, last ? '\n' : '\t');
        else if (last)
            (void)printf("%*s%s\n", (int)pad, "", cell); /* numbers to the right */
        else
            (void)printf("%s%*s  ", cell, (int)pad, "");
        cell += size + 1;
    }
}

static size_t print_table(const struct options *o, json_t *result, bool is_matrix, bool tabs) {
    struct table t = {
        .options = o, .has_time = is_matrix, .tabs = tabs, .cells = buf_make(BUF_NO_MAX)};
    size_t n_values = 0;
    find_columns(&t, result);
    if (t.n_columns > 1 && !tabs)
        add_header(&t);
    for (size_t i = 0; i < json_array_size(result); i++) {
        json_t *series = json_array_get(result, i);
        json_t *metric = json_object_get(series, "metric");
        json_t *values = json_object_get(series, "values");
        for (size_t k = 0; k < json_array_size(values); k++)
            add_row(&t, metric, json_array_get(values, k));
        n_values += json_array_size(values);
        if (!is_matrix) {
            add_row(&t, metric, json_object_get(series, "value"));
            n_values++;
        }
    }
    if (t.cells.failed)
        (void)fprintf(stderr, "logq: out of memory\n");
    else if (n_values > 0)
        print_cells(&t);
    buf_done(&t.cells);
    return n_values;
}

static void print_json(json_t *value, size_t flags) {
    /* Seconds with milliseconds have 13 digits; 17 would show what a double makes of them. */
    (void)json_dumpf(value, stdout, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    (void)putchar('\n');
}

size_t output_metric(const struct options *o, enum output_form form, const char *type,
                     json_t *result) {
    bool is_scalar = strcmp(type, "scalar") == 0;
    if (form == OUTPUT_DEFAULT)
        form = isatty(STDOUT_FILENO) ? OUTPUT_TABLE : OUTPUT_JSON;
    if (form == OUTPUT_JSON) {
        json_t *empty = result ? NULL : json_array();
        print_json(result ? result : empty, JSON_INDENT(2));
        json_decref(empty);
        return is_scalar ? 1 : json_array_size(result);
    }
    if (form == OUTPUT_JSONL) {
        for (size_t i = 0; i < json_array_size(result) && !is_scalar; i++)
            print_json(json_array_get(result, i), JSON_COMPACT);
        if (is_scalar)
            print_json(result, JSON_COMPACT);
        return is_scalar ? 1 : json_array_size(result);
    }
    if (is_scalar) {
        (void)printf("%.*s\n", STR_ARG(cell_text(json_array_get(result, 1))));
        return 1;
    }
    return print_table(o, result, strcmp(type, "matrix") == 0, form == OUTPUT_RAW);
}
