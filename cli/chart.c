#include "chart.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "output.h"
#include "pages.h"
#include "units.h"
#include "utf8.h"

enum {
    FORM_MAX = 1 << 20,
    QUERY_MAX = 256 << 10,
    WIDTH_DEFAULT = 80,
    WIDTH_MIN = 40,
    ROWS_WANTED = 24,
    ROWS_MAX = 500,
    TOP_DEFAULT = 10,
    SPARK_POINTS = 60,
};

/* ---- the terminal */

static int width_of_terminal(void) {
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    int64_t wanted = 0;
    if (columns && i64_parse(str_from(columns), &wanted) == 0 && wanted >= WIDTH_MIN &&
        wanted < 1000)
        return (int)wanted;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_MIN)
        return size.ws_col;
    return WIDTH_DEFAULT;
}

static bool has_blocks(void) {
    (void)setlocale(LC_CTYPE, "");
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    (void)setlocale(LC_CTYPE, "C");
    return utf8;
}

/* ---- asking */

static int ask(struct session *s, const char *path, const struct buf *form, json_t **ret_root,
               json_t **ret_result, struct err *reterr) {
    struct str body;
    json_t *data;
    int r = source_ask(s->source, path, form, &body, reterr);
    if (r == 0)
        r = answer_parse(body, s->options->quiet, ret_root, &data, reterr);
    if (r == 0)
        *ret_result = json_object_get(data, "result");
    return r;
}

static int ask_range(struct session *s, struct str query, int64_t start_ns, int64_t end_ns,
                     int64_t step_s, json_t **ret_root, json_t **ret_result, struct err *reterr) {
    struct buf form = buf_make(FORM_MAX);
    param_add(&form, "query", query);
    param_add_i64(&form, "start", start_ns);
    param_add_i64(&form, "end", end_ns);
    param_add_i64(&form, "step", step_s);
    int r = ask(s, "/loki/api/v1/query_range", &form, ret_root, ret_result, reterr);
    buf_done(&form);
    return r;
}

static double value_of(json_t *sample) {
    const char *text = json_string_value(json_array_get(sample, 1));
    return text ? strtod(text, NULL) : 0;
}

/* ---- histogram */

static const struct level {
    const char *name, *color;
    char letter;
} levels[] = {
    {"fatal", "\033[95m", 'F'}, {"critical", "\033[95m", 'C'}, {"error", "\033[31m", 'E'},
    {"warn", "\033[33m", 'W'},  {"info", "\033[32m", 'I'},     {"debug", "\033[34m", 'D'},
    {"trace", "\033[36m", 'T'}, {"unknown", "\033[37m", '#'},
};
enum { LEVELS = sizeof(levels) / sizeof(levels[0]) };

struct histogram {
    int64_t first_s, step_s;
    size_t n_rows;
    double counts[ROWS_MAX][LEVELS];
    double totals[LEVELS], most;
};

/* A step that people read easily. */
static int64_t nice_step(int64_t range_s) {
    static const int64_t steps[] = {1,     2,     5,     10,    15,     30,     60,
                                    120,   300,   600,   900,   1800,   3600,   7200,
                                    10800, 21600, 43200, 86400, 172800, 604800, 2592000};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (range_s / steps[i] <= ROWS_WANTED)
            return steps[i];
    return range_s / ROWS_WANTED + 1;
}

static size_t level_index(json_t *metric) {
    const char *name = json_string_value(json_object_get(metric, "detected_level"));
    for (size_t i = 0; i < LEVELS && name; i++)
        if (strcmp(levels[i].name, name) == 0)
            return i;
    return LEVELS - 1;
}

static void take_series(struct histogram *h, json_t *result) {
    for (size_t i = 0; i < json_array_size(result); i++) {
        json_t *series = json_array_get(result, i), *values = json_object_get(series, "values");
        size_t level = level_index(json_object_get(series, "metric"));
        for (size_t k = 0; k < json_array_size(values); k++) {
            json_t *sample = json_array_get(values, k);
            /* A sample at t counts what lies in (t - step, t]. */
            double row = (json_number_value(json_array_get(sample, 0)) - (double)h->first_s) /
                             (double)h->step_s -
                         1;
            if (row < 0 || row >= (double)h->n_rows)
                continue;
            h->counts[(size_t)row][level] += value_of(sample);
            h->totals[level] += value_of(sample);
        }
    }
    for (size_t i = 0; i < h->n_rows; i++) {
        double sum = 0;
        for (size_t k = 0; k < LEVELS; k++)
            sum += h->counts[i][k];
        h->most = sum > h->most ? sum : h->most;
    }
}

static void add_bar(struct buf *out, const double *counts, double scale, bool color, bool blocks) {
    double reached = 0;
    int drawn = 0;
    for (size_t k = 0; k < LEVELS; k++) {
        reached += counts[k] * scale;
        int until = (int)(reached + 0.5);
        /* What is there is seen, however little it is. */
        if (counts[k] > 0 && until == drawn)
            until++;
        if (until > drawn && color)
            buf_add_str(out, str_from(levels[k].color));
        for (; drawn < until; drawn++) {
            if (blocks && color)
                buf_add_str(out, STR("\u2588"));
            else
                buf_add_char(out, levels[k].letter);
        }
        if (color && counts[k] > 0)
            buf_add_str(out, STR("\033[0m"));
    }
}

static void add_row_time(struct buf *out, const struct histogram *h, size_t row) {
    time_t t = (time_t)(h->first_s + (int64_t)row * h->step_s);
    struct tm tm;
    char text[32] = "";
    bool days = h->step_s * (int64_t)h->n_rows > 86400;
    if (localtime_r(&t, &tm))
        (void)strftime(text, sizeof(text),
                       h->step_s >= 86400 ? "%Y-%m-%d"
                       : days             ? "%m-%d %H:%M"
                       : h->step_s >= 60  ? "%H:%M"
                                          : "%H:%M:%S",
                       &tm);
    buf_add_str(out, str_from(text));
}

static void print_histogram(const struct session *s, const struct histogram *h) {
    bool color = output_use_color(s->options), blocks = has_blocks();
    int count_width = snprintf(NULL, 0, "%.0f", h->most);
    struct buf out = buf_make(BUF_NO_MAX), time = buf_make(64);
    add_row_time(&time, h, 0);
    int room = width_of_terminal() - (int)time.size - count_width - 4 - (int)LEVELS;
    double scale = h->most > 0 ? room / h->most : 0;
    for (size_t i = 0; i < h->n_rows; i++) {
        double sum = 0;
        for (size_t k = 0; k < LEVELS; k++)
            sum += h->counts[i][k];
        add_row_time(&out, h, i);
        buf_addf(&out, "  %*.0f  ", count_width, sum);
        add_bar(&out, h->counts[i], scale, color, blocks);
        buf_add_char(&out, '\n');
    }
    const char *gap = "";
    for (size_t k = 0; k < LEVELS; k++) {
        if (h->totals[k] == 0)
            continue;
        buf_addf(&out, "%s%s%s%s %s %.0f", gap, color ? levels[k].color : "",
                 blocks && color ? "\u2588" : (char[]){levels[k].letter, 0}, color ? "\033[0m" : "",
                 levels[k].name, h->totals[k]);
        gap = "   ";
    }
    buf_add_char(&out, '\n');
    (void)fwrite(out.data, 1, out.size, stdout);
    buf_done(&out);
    buf_done(&time);
}

int chart_histogram(struct session *s, struct str query, bool *ret_found, struct err *reterr) {
    static struct histogram h;
    struct buf text = buf_make(QUERY_MAX);
    json_t *root = NULL, *result = NULL;
    int64_t from_s = s->range.start_ns / NS_PER_S,
            to_s = (s->range.end_ns + NS_PER_S - 1) / NS_PER_S;
    h = (struct histogram){.step_s = nice_step(to_s - from_s)};
    int64_t step_ns = 0;
    int r = s->options->step ? when_parse_duration(s->options->step, &step_ns, reterr) : 0;
    if (r == 0 && step_ns >= NS_PER_S)
        h.step_s = step_ns / NS_PER_S;
    h.first_s = from_s - from_s % h.step_s;
    h.n_rows = (size_t)((to_s - h.first_s + h.step_s - 1) / h.step_s);
    if (r == 0 && h.n_rows > ROWS_MAX)
        r = err_set(reterr, -ESYNTAX, "--step makes more than %d rows of the range", ROWS_MAX);
    buf_addf(&text, "sum by (detected_level) (count_over_time(%.*s [%llds]))", STR_ARG(query),
             (long long)h.step_s);
    if (r == 0)
        r = ask_range(s, buf_str(&text), (h.first_s + h.step_s) * NS_PER_S,
                      (h.first_s + (int64_t)h.n_rows * h.step_s) * NS_PER_S, h.step_s, &root,
                      &result, reterr);
    if (r == 0) {
        take_series(&h, result);
        *ret_found = h.most > 0;
        if (*ret_found)
            print_histogram(s, &h);
    }
    json_decref(root);
    buf_done(&text);
    return r;
}

/* ---- top */

/* Names that are neither labels nor metadata are fields of the lines. */
static int is_label(struct session *s, const char *name, bool *ret, struct err *reterr) {
    struct buf form = buf_make(FORM_MAX);
    struct str body;
    json_t *root = NULL, *data;
    param_add_i64(&form, "start", s->range.start_ns);
    param_add_i64(&form, "end", s->range.end_ns);
    int r = source_ask(s->source, "/loki/api/v1/labels", &form, &body, reterr);
    if (r == 0)
        r = answer_parse(body, true, &root, &data, reterr);
    *ret = strcmp(name, "detected_level") == 0;
    for (size_t i = 0; r == 0 && i < json_array_size(data); i++) {
        const char *label = json_string_value(json_array_get(data, i));
        *ret = *ret || (label && strcmp(label, name) == 0);
    }
    json_decref(root);
    buf_done(&form);
    return r;
}

static int most_first(const void *a, const void *b) {
    double x = value_of(json_object_get(*(json_t *const *)a, "value"));
    double y = value_of(json_object_get(*(json_t *const *)b, "value"));
    return (x < y) - (x > y);
}

static void print_top(const struct session *s, json_t *result, const char *name) {
    size_t count = json_array_size(result);
    int64_t limit = s->options->limit > 0 ? s->options->limit : TOP_DEFAULT;
    json_t **rows = calloc(count + 1, sizeof(*rows));
    double total = 0, most = 0;
    for (size_t i = 0; rows && i < count; i++) {
        rows[i] = json_array_get(result, i);
        double n = value_of(json_object_get(rows[i], "value"));
        total += n;
        most = n > most ? n : most;
    }
    if (rows && count > 1)
        qsort(rows, count, sizeof(*rows), most_first);
    bool blocks = has_blocks();
    int width = snprintf(NULL, 0, "%.0f", most), bar_room = width_of_terminal() / 4;
    for (size_t i = 0; rows && i < count && (int64_t)i < limit; i++) {
        const char *value =
            json_string_value(json_object_get(json_object_get(rows[i], "metric"), name));
        double n = value_of(json_object_get(rows[i], "value"));
        int bar = (int)(n / most * bar_room + 0.5);
        (void)printf("%*.0f  %5.1f%%  ", width, n, n * 100 / total);
        for (int k = 0; k < bar_room; k++)
            (void)fputs(k >= bar ? " " : blocks ? "\u2588" : "#", stdout);
        (void)printf("  %s\n", value && *value ? value : "(none)");
    }
    if ((int64_t)count > limit && !s->options->quiet)
        (void)fprintf(stderr, "logq: the first %lld of %zu values; -m N shows N\n",
                      (long long)limit, count);
    free(rows);
}

int chart_top(struct session *s, struct str query, const char *name, bool *ret_found,
              struct err *reterr) {
    struct buf text = buf_make(QUERY_MAX), form = buf_make(FORM_MAX);
    json_t *root = NULL, *result = NULL;
    bool label = false;
    int r = is_label(s, name, &label, reterr);
    bool parsed = memchr(query.data, '|', query.size) &&
                  (str_find(query, STR("json")) || str_find(query, STR("logfmt")) ||
                   str_find(query, STR("regexp")) || str_find(query, STR("pattern")));
    buf_addf(&text, "sum by (%s) (count_over_time(%.*s%s [%lldms]))", name, STR_ARG(query),
             label || parsed ? "" : " | json | logfmt | drop __error__, __error_details__",
             (long long)((s->range.end_ns - s->range.start_ns) / NS_PER_MS));
    param_add(&form, "query", buf_str(&text));
    param_add_i64(&form, "time", s->range.end_ns - 1);
    if (r == 0)
        r = ask(s, "/loki/api/v1/query", &form, &root, &result, reterr);
    if (r == 0) {
        *ret_found = json_array_size(result) > 0;
        print_top(s, result, name);
    }
    json_decref(root);
    buf_done(&form);
    buf_done(&text);
    return r;
}

/* ---- sparklines */

static void add_spark(struct buf *out, json_t *values, int64_t first_s, int64_t step_s,
                      size_t points, double low, double high, bool blocks) {
    static const char *const bars[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                       "\u2585", "\u2586", "\u2587", "\u2588"};
    static const char letters[] = "_.-=+*#@";
    size_t next = 0;
    for (size_t i = 0; i < points; i++) {
        json_t *sample = json_array_get(values, next);
        double t = json_number_value(json_array_get(sample, 0));
        bool here = sample && t < (double)(first_s + (int64_t)(i + 1) * step_s) - 0.5;
        if (!here) {
            buf_add_char(out, ' ');
            continue;
        }
        next++;
        double part = high > low ? (value_of(sample) - low) / (high - low) : 0;
        int bar = part >= 1 ? 7 : part > 0 ? (int)(part * 8) : 0;
        if (blocks)
            buf_add_str(out, str_from(bars[bar]));
        else
            buf_add_char(out, letters[bar]);
    }
}

static void number_text(char out[static 32], double value) {
    (void)snprintf(
        out, 32, fabs(value) >= 1e6 || (value != 0 && fabs(value) < 1e-3) ? "%.3g" : "%.6g", value);
}

static void print_spark_row(struct session *s, json_t *series, int64_t first_s, int64_t step_s,
                            size_t points, size_t label_width) {
    json_t *values = json_object_get(series, "values");
    double low = INFINITY, high = -INFINITY, last = 0;
    for (size_t i = 0; i < json_array_size(values); i++) {
        last = value_of(json_array_get(values, i));
        low = last < low ? last : low;
        high = last > high ? last : high;
    }
    char texts[3][32];
    number_text(texts[0], low);
    number_text(texts[1], high);
    number_text(texts[2], last);
    struct buf out = buf_make(BUF_NO_MAX);
    output_labels(&out, json_object_get(series, "metric"), NULL, s->options);
    for (size_t w = utf8_count(buf_str(&out)); w < label_width; w++)
        buf_add_char(&out, ' ');
    buf_add_str(&out, STR("  "));
    add_spark(&out, values, first_s, step_s, points, low < 0 ? low : 0, high, has_blocks());
    buf_addf(&out, "  %9s %9s %9s\n", texts[0], texts[1], texts[2]);
    (void)fwrite(out.data, 1, out.size, stdout);
    buf_done(&out);
}

int chart_sparklines(struct session *s, struct str query, bool *ret_found, struct err *reterr) {
    json_t *root = NULL, *result = NULL;
    int64_t from_s = s->range.start_ns / NS_PER_S, to_s = s->range.end_ns / NS_PER_S;
    int64_t step_s = (to_s - from_s) / SPARK_POINTS, step_ns = 0;
    int r = s->options->step ? when_parse_duration(s->options->step, &step_ns, reterr) : 0;
    step_s = step_ns >= NS_PER_S ? step_ns / NS_PER_S : step_s > 0 ? step_s : 1;
    from_s -= from_s % step_s;
    if (r == 0)
        r = ask_range(s, query, from_s * NS_PER_S, to_s * NS_PER_S, step_s, &root, &result, reterr);
    if (r < 0)
        return r;
    /* The server rounds the range out to whole steps. */
    size_t points = (size_t)((to_s - from_s + step_s - 1) / step_s) + 1, label_width = 6;
    bool matrix = json_is_object(json_array_get(result, 0));
    for (size_t i = 0; i < json_array_size(result) && matrix; i++) {
        struct buf text = buf_make(BUF_NO_MAX);
        output_labels(&text, json_object_get(json_array_get(result, i), "metric"), NULL,
                      s->options);
        size_t width = utf8_count(buf_str(&text));
        label_width = width > label_width ? width : label_width;
        buf_done(&text);
    }
    if (matrix)
        (void)printf("%-*s  %-*s  %9s %9s %9s\n", (int)label_width, "series", (int)points, "values",
                     "least", "most", "last");
    for (size_t i = 0; i < json_array_size(result) && matrix; i++)
        print_spark_row(s, json_array_get(result, i), from_s, step_s, points, label_width);
    *ret_found = matrix;
    json_decref(root);
    return 0;
}
