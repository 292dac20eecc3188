#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "around.h"
#include "jsontext.h"
#include "logql.h"
#include "output.h"
#include "regex.h"
#include "utf8.h"
#include "units.h"
#include "when.h"

enum {
    LABEL_WIDTH_MAX = 120, /* one long label set does not push all lines off the screen */
    OUT_FLUSH_SIZE = 64 << 10,
};

static const char color_match[] = "\033[1;31m";
static const char color_time[] = "\033[34m";
static const char color_labels[] = "\033[36m";
static const char color_off[] = "\033[0m";

int output_form_parse(const char *text, enum output_form *ret, struct err *reterr) {
    static const char *const names[] = {"default", "raw", "jsonl", "json", "table"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum output_form)i;
            return 0;
        }
    }
    return err_set(reterr, -ESYNTAX, "--output is default, raw, jsonl, json or table, not \"%s\"",
                   text);
}

bool output_use_color(const struct options *o) {
    const char *no_color = getenv("NO_COLOR");
    if (o->color && strcmp(o->color, "auto") != 0)
        return strcmp(o->color, "always") == 0;
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
}

/* ---- labels */

static bool is_listed(const struct option_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], name) == 0)
            return true;
    return false;
}

static bool is_shown(const struct options *o, const char *name, json_t *value, json_t *skip) {
    if (is_listed(&o->exclude_labels, name))
        return false;
    if (is_listed(&o->include_labels, name))
        return true;
    if (o->include_labels.count > 0)
        return false;
    json_t *common = skip ? json_object_get(skip, name) : NULL;
    return !common || !json_equal(common, value);
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the labels that are shown, in order; free the array. NULL, and none, without memory. */
static const char **shown_names(json_t *labels, json_t *skip, const struct options *o,
                                size_t *ret_count) {
    const char **names = calloc(json_object_size(labels) + 1, sizeof(*names));
    const char *name;
    json_t *value;
    size_t count = 0;
    *ret_count = 0;
    if (!names)
        return NULL;
    json_object_foreach(labels, name, value) {
        if (is_shown(o, name, value, skip))
            names[count++] = name;
    }
    qsort(names, count, sizeof(*names), compare_keys);
    *ret_count = count;
    return names;
}

static struct str text_of(json_t *value) {
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value))
                                 : STR("");
}

void output_labels(struct buf *out, json_t *labels, json_t *skip, const struct options *o) {
    size_t count;
    const char **names = shown_names(labels, skip, o, &count);
    buf_add_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, i > 0 ? STR(", ") : STR(""));
        buf_add_str(out, str_from(names[i]));
        buf_add_char(out, '=');
        logql_quote_go(out, text_of(json_object_get(labels, names[i])));
    }
    buf_add_char(out, '}');
    free(names);
}

static void json_labels(struct buf *out, json_t *labels, json_t *skip, const struct options *o) {
    size_t count;
    const char **names = shown_names(labels, skip, o, &count);
    buf_add_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, i > 0 ? STR(",") : STR(""));
        json_text(out, str_from(names[i]));
        buf_add_char(out, ':');
        json_text(out, text_of(json_object_get(labels, names[i])));
    }
    buf_add_char(out, '}');
    free(names);
}

/* ---- the printer of lines */

struct printer {
    const struct options *options;
    enum output_form form;
    bool color, grep;
    struct regex *regex; /* NULL = nothing to mark */
    json_t *common; /* labels with the same value in all streams of the first page; not shown */
    bool common_known;
    struct buf labels; /* texts of the page's streams, one behind the other */
    size_t *label_ends;
    size_t label_capacity;
    size_t label_width;
    uint64_t n_lines; /* printed, with the present one: -n */
    struct buf out;
};

int printer_new(const struct options *o, enum output_form form, struct str regex,
                struct printer **ret, struct err *reterr) {
    struct printer *p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(reterr, -ENOMEM, "out of memory");
    p->options = o;
    p->form = form;
    p->color = output_use_color(o) && form != OUTPUT_JSONL && form != OUTPUT_JSON;
    p->grep = o->command == COMMAND_GREP;
    p->labels = buf_make(BUF_NO_MAX);
    p->out = buf_make(BUF_NO_MAX);
    if (regex.size > 0 && (p->color || o->only_matching)) {
        int r = regex_compile(regex, false, &p->regex, reterr);
        if (r < 0) {
            printer_free(p);
            return r;
        }
    }
    *ret = p;
    return 0;
}

void printer_free(struct printer *p) {
    if (!p)
        return;
    regex_free(p->regex);
    json_decref(p->common);
    buf_done(&p->labels);
    buf_done(&p->out);
    free(p->label_ends);
    free(p);
}

/* Keeps in `common` only what `labels` has with the same value. */
static void intersect(json_t *common, json_t *labels) {
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(common, next, key, value) {
        json_t *other = json_object_get(labels, key);
        if (!other || !json_equal(other, value))
            json_object_del(common, key);
    }
}

static void find_common(struct printer *p, const struct page *page) {
    const struct options *o = p->options;
    p->common_known = true;
    bool hides = p->form == OUTPUT_DEFAULT || p->form == OUTPUT_JSONL;
    if (o->include_common_labels || !hides || around_wanted(o) || p->grep || page->n_streams == 0)
        return;
    p->common = json_copy(page->streams[0].labels);
    for (size_t i = 1; i < page->n_streams && p->common; i++)
        intersect(p->common, page->streams[i].labels);
    if (o->quiet || o->no_labels || !p->common || json_object_size(p->common) == 0)
        return;
    struct buf text = buf_make(BUF_NO_MAX);
    static const struct options plain;
    output_labels(&text, p->common, NULL, &plain);
    (void)fprintf(stderr, "Common labels: %.*s\n", STR_ARG(buf_str(&text)));
    buf_done(&text);
}

static bool shows_labels(const struct printer *p) {
    if (p->form == OUTPUT_JSONL || p->form == OUTPUT_JSON)
        return true;
    if (p->form == OUTPUT_RAW)
        return p->grep && p->options->with_labels && !p->options->no_labels;
    return !p->options->no_labels;
}

static int format_labels(struct printer *p, const struct page *page) {
    if (page->n_streams > p->label_capacity) {
        size_t *ends = realloc(p->label_ends, page->n_streams * sizeof(*ends));
        if (!ends)
            return -ENOMEM;
        p->label_ends = ends;
        p->label_capacity = page->n_streams;
    }
    buf_clear(&p->labels);
    p->label_width = 0;
    for (size_t i = 0; i < page->n_streams; i++) {
        size_t start = p->labels.size;
        if (p->form == OUTPUT_JSONL || p->form == OUTPUT_JSON)
            json_labels(&p->labels, page->streams[i].labels, p->common, p->options);
        else
            output_labels(&p->labels, page->streams[i].labels, p->common, p->options);
        p->label_ends[i] = p->labels.size;
        size_t width = utf8_count(str_make(p->labels.data + start, p->labels.size - start));
        if (width > p->label_width && width <= LABEL_WIDTH_MAX)
            p->label_width = width;
    }
    if (p->options->labels_length > 0 && p->form == OUTPUT_DEFAULT)
        p->label_width = (size_t)p->options->labels_length;
    return p->labels.failed ? -ENOMEM : 0;
}

static struct str labels_of(const struct printer *p, uint32_t stream) {
    size_t start = stream > 0 ? p->label_ends[stream - 1] : 0;
    return str_make(p->labels.data + start, p->label_ends[stream] - start);
}

static void add_colored(struct printer *p, const char *color, struct str text) {
    if (p->color)
        buf_add_str(&p->out, str_from(color));
    buf_add_str(&p->out, text);
    if (p->color)
        buf_add_str(&p->out, str_from(color_off));
}

/* --colored-output: one of ten by logcli's hash of the text (FNV-1). */
static const char *color_of(const struct printer *p, struct str labels) {
    static const char *const colors[] = {"\033[96m", "\033[36m", "\033[92m", "\033[32m",
                                         "\033[95m", "\033[35m", "\033[93m", "\033[33m",
                                         "\033[91m", "\033[31m"};
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < labels.size; i++)
        hash = hash * 16777619 ^ (uint8_t)labels.data[i];
    return p->options->colored_output ? colors[hash % 10] : color_labels;
}

static void add_prefix(struct printer *p, const struct page_line *line, bool with_time,
                       bool with_labels) {
    if (p->grep && p->options->line_numbers)
        buf_addf(&p->out, "%llu%c", (unsigned long long)p->n_lines, line->is_context ? '-' : ':');
    if (with_time) {
        if (p->color)
            buf_add_str(&p->out, str_from(color_time));
        when_format(&p->out, line->ns, p->options->timestamp_format);
        if (p->color)
            buf_add_str(&p->out, str_from(color_off));
        buf_add_char(&p->out, ' ');
    }
    if (with_labels) {
        struct str labels = labels_of(p, line->stream);
        add_colored(p, color_of(p, labels), labels);
        for (size_t i = utf8_count(labels); i < p->label_width; i++)
            buf_add_char(&p->out, ' ');
        buf_add_char(&p->out, ' ');
    }
}

static void add_marked(struct printer *p, struct str text) {
    size_t from = 0;
    struct str match;
    while (from <= text.size && regex_find(p->regex, text, from, &match, 1)) {
        size_t start = (size_t)(match.data - text.data);
        buf_add(&p->out, text.data + from, start - from);
        if (match.size == 0) {
            if (start < text.size)
                buf_add_char(&p->out, text.data[start]);
            from = start + 1;
            continue;
        }
        add_colored(p, color_match, match);
        from = start + match.size;
    }
    if (from < text.size)
        buf_add(&p->out, text.data + from, text.size - from);
}

static void print_matches(struct printer *p, const struct page_line *line, bool with_time,
                          bool with_labels) {
    size_t from = 0;
    struct str match;
    while (from <= line->text.size && regex_find(p->regex, line->text, from, &match, 1)) {
        size_t start = (size_t)(match.data - line->text.data);
        from = start + (match.size > 0 ? match.size : 1);
        if (match.size == 0)
            continue;
        add_prefix(p, line, with_time, with_labels);
        add_colored(p, color_match, match);
        buf_add_char(&p->out, '\n');
    }
}

static void print_json(struct printer *p, const struct page_line *line) {
    buf_add_str(&p->out, STR("{\"labels\":"));
    buf_add_str(&p->out, labels_of(p, line->stream));
    buf_add_str(&p->out, STR(",\"line\":"));
    json_text(&p->out, line->text);
    buf_add_str(&p->out, STR(",\"timestamp\":\""));
    when_format(&p->out, line->ns, "rfc3339nano");
    buf_add_str(&p->out, line->is_context ? STR("\",\"context\":true}\n") : STR("\"}\n"));
}

/* --pretty: a JSON object over several lines, as it was written otherwise; else entries of several lines with the
 * others indented. False when the line is to be printed as it is. */
static bool add_pretty(struct printer *p, struct str text, bool indent) {
    struct str trimmed = str_trim(text);
    json_t *value = trimmed.size > 1 && trimmed.data[0] == '{'
                        ? json_loadb(trimmed.data, trimmed.size, JSON_ALLOW_NUL, NULL)
                        : NULL;
    char *dump =
        value ? json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15))
              : NULL;
    json_decref(value);
    struct str shown = dump ? str_from(dump) : text;
    bool several = memchr(shown.data, '\n', shown.size) != NULL;
    for (size_t at = 0; several && at < shown.size;) {
        const char *end = memchr(shown.data + at, '\n', shown.size - at);
        size_t size = end ? (size_t)(end - shown.data) - at : shown.size - at;
        struct str one = str_make(shown.data + at, size);
        if (at > 0 && indent)
            buf_add_str(&p->out, STR("  "));
        if (p->regex)
            add_marked(p, one);
        else
            buf_add_str(&p->out, one);
        if (end)
            buf_add_char(&p->out, '\n');
        at += size + 1;
    }
    free(dump);
    return several;
}

static struct str without_newlines(struct str text) {
    while (text.size > 0 && (text.data[text.size - 1] == '\n' || text.data[text.size - 1] == '\r'))
        text.size--;
    return text;
}

static void print_line(struct printer *p, const struct page_line *line, bool with_labels) {
    const struct options *o = p->options;
    bool with_time = p->form == OUTPUT_DEFAULT || (p->grep && o->with_time);
    struct page_line shown = *line;
    p->n_lines++;
    if (p->form == OUTPUT_JSONL || p->form == OUTPUT_JSON) {
        print_json(p, line);
        return;
    }
    shown.text = p->form == OUTPUT_DEFAULT ? str_trim(line->text) : without_newlines(line->text);
    if (o->only_matching) {
        if (p->regex && !line->is_context)
            print_matches(p, &shown, with_time, with_labels);
        return;
    }
    add_prefix(p, line, with_time, with_labels);
    if (o->pretty && add_pretty(p, shown.text, with_time || with_labels)) {
        /* done */
    } else if (p->regex && !line->is_context)
        add_marked(p, shown.text);
    else
        buf_add_str(&p->out, shown.text);
    buf_add_char(&p->out, '\n');
}

static int flush_out(struct printer *p) {
    if (p->out.failed)
        return -ENOMEM;
    size_t size = p->out.size;
    bool written = fwrite(p->out.data, 1, size, stdout) == size && fflush(stdout) == 0;
    buf_clear(&p->out);
    return written ? 0 : -EIO;
}

int printer_page(const struct page *page, void *ctx) {
    struct printer *p = ctx;
    bool with_labels = shows_labels(p);
    if (!p->common_known)
        find_common(p, page);
    int r = with_labels ? format_labels(p, page) : 0;
    for (size_t i = 0; i < page->n_lines && r == 0; i++) {
        print_line(p, &page->lines[i], with_labels);
        if (p->out.size >= OUT_FLUSH_SIZE)
            r = flush_out(p);
    }
    return r == 0 ? flush_out(p) : r;
}
