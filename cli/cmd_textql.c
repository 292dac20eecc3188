/* logq --stdin LOGQL [FILE]...: a LogQL pipeline over text. The selector may be left out; there is one stream, whose
 * label filename says where its lines come from. Lines have the time at their start, or the present one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "clock.h"
#include "finder.h"
#include "infile.h"
#include "logql.h"
#include "output.h"
#include "parser.h"
#include "session.h"
#include "stamp.h"
#include "tail_query.h"

enum {
    BLOCK_SIZE = 1 << 20,
    LINE_LIMIT = 256 << 20,
    PAGE_LINES = 1000,
    QUERY_MAX = 128 << 10,
    NEEDLES_MAX = 8, /* |= filters that are searched for in whole blocks */
};

struct textql {
    const struct options *options;
    struct tail_query *query;
    struct finder needles[NEEDLES_MAX];
    size_t n_needles;
    struct parsed_query *parsed; /* the needles' texts */
    struct printer *printer;
    char *block;
    size_t filled, capacity;
    int64_t now_ns;
    uint64_t matches, limit;
    /* the page that gathers */
    struct page_line lines[PAGE_LINES];
    size_t n_lines;
    struct page_stream *streams;
    const struct line_labels **sets;
    size_t n_streams, streams_capacity;
    struct buf texts; /* of the lines: offsets until the page is printed */
    size_t text_starts[PAGE_LINES];
};

/* ---- the query */

/* Behind the selector, if there is one: its braces may stand in quoted values, too. */
static struct str skip_selector(struct str text) {
    char quote = 0;
    if (text.size == 0 || text.data[0] != '{')
        return text;
    for (size_t i = 1; i < text.size; i++) {
        char c = text.data[i];
        if (quote) {
            i += c == '\\' && quote == '"';
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '`') {
            quote = c;
        } else if (c == '}') {
            return str_from_offset(text, i + 1);
        }
    }
    return text;
}

static int make_query(struct textql *t, struct str text, struct err *reterr) {
    struct buf query = buf_make(QUERY_MAX);
    buf_add_str(&query, STR("{filename=~\".+\"} "));
    buf_add_str(&query, skip_selector(str_trim(text)));
    int r = query.failed ? err_set(reterr, -ESYNTAX, "the query is longer than %d bytes", QUERY_MAX)
                         : 0;
    if (r == 0)
        r = query_parse(buf_str(&query), &t->parsed, reterr);
    if (r == 0)
        r = tail_query_new(buf_str(&query), &t->query, reterr);
    buf_done(&query);
    return r;
}

/* The leading filters that demand a text. */
static void take_needles(struct textql *t) {
    const struct stage *s = parsed_query_expr(t->parsed)->log.stages;
    for (; s && s->kind == STAGE_LINE_FILTER && t->n_needles < NEEDLES_MAX; s = s->next) {
        const struct line_operand *o = s->line_filter.operands;
        if (s->line_filter.op == LINE_CONTAINS && o && !o->next && !o->ip && o->text.size > 0)
            t->needles[t->n_needles++] = finder_make(o->text, false);
    }
}

/* ---- printing */

static int flush_page(struct textql *t) {
    for (size_t i = 0; i < t->n_lines; i++)
        t->lines[i].text.data = t->texts.data + t->text_starts[i];
    struct page page = {t->lines, t->n_lines, t->streams, t->n_streams};
    int r = t->texts.failed ? -ENOMEM : t->n_lines > 0 ? printer_page(&page, t->printer) : 0;
    t->n_lines = 0;
    buf_clear(&t->texts);
    if (tail_query_is_full(t->query) || t->n_streams > PAGE_LINES) {
        for (size_t i = 0; i < t->n_streams; i++)
            json_decref(t->streams[i].labels);
        t->n_streams = 0;
        if (r == 0)
            r = tail_query_forget(t->query);
        return r < 0 ? r : 1;
    }
    return r < 0 ? r : 0;
}

static json_t *make_labels(const struct line_labels *labels) {
    json_t *object = json_object();
    for (size_t i = 0; i < labels->merged.count; i++) {
        const struct label *l = &labels->merged.items[i];
        char name[256];
        if (l->name.size >= sizeof(name))
            continue;
        memcpy(name, l->name.data, l->name.size);
        name[l->name.size] = '\0';
        json_t *value = json_stringn(l->value.data, l->value.size);
        (void)json_object_set_new(object, name, value ? value : json_string(""));
    }
    return object;
}

static int stream_of(struct textql *t, const struct line_labels *labels, uint32_t *ret) {
    for (size_t i = t->n_streams; i > 0; i--) {
        if (t->sets[i - 1] == labels) {
            *ret = (uint32_t)(i - 1);
            return 0;
        }
    }
    if (t->n_streams == t->streams_capacity) {
        size_t capacity = t->streams_capacity ? t->streams_capacity * 2 : 64;
        struct page_stream *streams = realloc(t->streams, capacity * sizeof(*streams));
        if (streams)
            t->streams = streams;
        const struct line_labels **sets = realloc(t->sets, capacity * sizeof(*sets));
        if (sets)
            t->sets = sets;
        if (!streams || !sets)
            return -ENOMEM;
        t->streams_capacity = capacity;
    }
    t->sets[t->n_streams] = labels;
    t->streams[t->n_streams].labels = make_labels(labels);
    *ret = (uint32_t)t->n_streams++;
    return 0;
}

static int keep_line(struct textql *t, const struct tail_line *line, int64_t ns) {
    uint32_t stream;
    int r = stream_of(t, line->labels, &stream);
    if (r < 0)
        return r;
    t->text_starts[t->n_lines] = t->texts.size;
    t->lines[t->n_lines] = (struct page_line){.ns = ns,
                                              .text = str_make(NULL, line->line.size),
                                              .stream = stream,
                                              .order = (uint32_t)t->n_lines};
    buf_add_str(&t->texts, line->line);
    t->n_lines++;
    return t->n_lines == PAGE_LINES ? flush_page(t) : 0;
}

/* ---- lines */

static bool has_enough(const struct textql *t) {
    const struct options *o = t->options;
    return (t->limit > 0 && t->matches >= t->limit) ||
           (o->quiet && t->matches > 0 && o->command == COMMAND_GREP);
}

static int take_line(struct textql *t, struct str line, struct labels labels) {
    int64_t ns = t->now_ns;
    if (!t->options->count)
        (void)stamp_parse(line, t->now_ns, &ns);
    const struct entry e = {.ts_ns = ns, .line = line};
    struct tail_line passed;
    int r = tail_query_entry(t->query, &e, &passed);
    if (r != 1)
        return r;
    t->matches++;
    if (t->options->count || (t->options->quiet && t->options->command == COMMAND_GREP))
        return 0;
    r = keep_line(t, &passed, ns);
    return r == 1 ? tail_query_stream(t->query, labels) : r;
}

/* The place of the next line that may pass, or text.size. */
static size_t next_candidate(const struct textql *t, struct str text, size_t from) {
    for (size_t i = 0; i < t->n_needles && from < text.size; i++) {
        const char *hit = finder_find(&t->needles[i], str_from_offset(text, from));
        if (!hit)
            return text.size;
        const char *before = memrchr(text.data + from, '\n', (size_t)(hit - text.data) - from);
        from = before ? (size_t)(before - text.data) + 1 : from;
    }
    return from;
}

static int take_lines(struct textql *t, struct str text, struct labels labels) {
    int r = 0;
    for (size_t at = 0; r == 0 && at < text.size && !has_enough(t);) {
        at = next_candidate(t, text, at);
        if (at >= text.size)
            break;
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        r = take_line(t, str_make(text.data + at, size), labels);
        at += size + 1;
    }
    return r;
}

static int grow(struct textql *t, struct err *reterr) {
    size_t capacity = t->capacity ? t->capacity * 2 : 2 * BLOCK_SIZE;
    char *block = realloc(t->block, capacity);
    if (!block)
        return err_set(reterr, -ENOMEM, "out of memory");
    t->block = block;
    t->capacity = capacity;
    return 0;
}

static int read_file(struct textql *t, struct infile *in, struct labels labels,
                     struct err *reterr) {
    t->filled = 0;
    for (;;) {
        if (t->capacity - t->filled < BLOCK_SIZE && t->filled <= LINE_LIMIT) {
            int r = grow(t, reterr);
            if (r < 0)
                return r;
        }
        size_t room = t->capacity - t->filled;
        ssize_t n =
            infile_read(in, t->block + t->filled, room < BLOCK_SIZE ? room : BLOCK_SIZE, reterr);
        if (n < 0)
            return (int)n;
        const char *last = n > 0 ? memrchr(t->block + t->filled, '\n', (size_t)n) : NULL;
        t->filled += (size_t)n;
        size_t end = last ? (size_t)(last - t->block) + 1 : 0;
        if (n == 0 || (!last && t->filled > LINE_LIMIT))
            end = t->filled;
        int r = take_lines(t, str_make(t->block, end), labels);
        if (r < 0)
            return err_set(reterr, r, "cannot go on: %s", err_name(r));
        if (n == 0 || has_enough(t))
            return 0;
        memmove(t->block, t->block + end, t->filled - end);
        t->filled -= end;
    }
}

static int run_file(struct textql *t, const char *path, struct err *reterr) {
    struct infile *in = NULL;
    const struct label label = {STR("filename"), str_from(strcmp(path, "-") == 0 ? "stdin" : path)};
    const struct labels labels = {.items = &label, .count = 1};
    int r = infile_open(path, &in, reterr);
    if (r == 0)
        r = tail_query_stream(t->query, labels);
    if (r == 0)
        r = read_file(t, in, labels, reterr);
    int flushed = flush_page(t);
    infile_close(in);
    return r < 0 ? r : flushed < 0 ? flushed : 0;
}

static int start(struct textql *t, struct err *reterr) {
    const struct options *o = t->options;
    enum output_form form;
    struct buf regex = buf_make(QUERY_MAX);
    const char *usual = o->command == COMMAND_GREP ? "raw" : "default";
    int r = o->arguments.count > 0
                ? make_query(t, str_from(o->arguments.items[0]), reterr)
                : err_set(reterr, -ESYNTAX, "which query? logq query --stdin '|= \"text\"' <FILE");
    if (r == 0)
        r = when_use_zone(o->timezone, reterr);
    if (r == 0)
        r = output_form_parse(o->output ? o->output : usual, &form, reterr);
    if (r == 0) {
        take_needles(t);
        for (size_t i = 0; i < t->n_needles; i++) {
            buf_add_str(&regex, i > 0 ? STR("|") : STR(""));
            logql_literal(&regex, t->needles[i].needle);
        }
        r = printer_new(o, form, buf_str(&regex), &t->printer, reterr);
    }
    buf_done(&regex);
    return r;
}

int cmd_textql(const struct options *o) {
    struct err err = {0};
    struct textql *t = calloc(1, sizeof(*t));
    if (!t)
        return CLI_TROUBLE;
    t->options = o;
    t->now_ns = clock_now_ns();
    t->texts = buf_make(BUF_NO_MAX);
    t->limit =
        o->limit > 0 ? (uint64_t)o->limit : 0; /* a file is read whole unless told otherwise */
    int r = start(t, &err);
    size_t n_files = o->arguments.count > 0 ? o->arguments.count - 1 : 0;
    for (size_t i = 0; r == 0 && i < (n_files ? n_files : 1) && !has_enough(t); i++)
        r = run_file(t, n_files ? o->arguments.items[1 + i] : "-", &err);
    bool found = t->matches > 0;
    if (r == 0 && o->count && !o->quiet)
        (void)printf("%llu\n", (unsigned long long)t->matches);
    printer_free(t->printer);
    tail_query_free(t->query);
    parsed_query_free(t->parsed);
    for (size_t i = 0; i < t->n_streams; i++)
        json_decref(t->streams[i].labels);
    free(t->streams);
    free(t->sets);
    free(t->block);
    buf_done(&t->texts);
    free(t);
    return r < 0 ? session_trouble(&err) : session_status(o, found);
}
