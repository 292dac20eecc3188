#include "linestream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "units.h"

enum {
    FORM_MAX = 1 << 20,
    CURSOR_MAX = 8 << 10,
    HELD_MAX = 1 << 30, /* of a page that waits for its cursor */
    TRIES = 6,
    WAIT_FIRST_MS = 500,
};

struct linestream {
    const struct page_request *request;
    struct buf in; /* what has come: [0, parsed) belongs to the page, the rest is not parsed */
    size_t parsed;
    struct page_line *lines; /* text.data is an offset into `in` until the page is given out */
    size_t n_lines, lines_capacity;
    struct page_stream *streams;
    size_t n_streams, streams_capacity, first_stream; /* of the set numbers that come now */
    char cursor[CURSOR_MAX];
    uint64_t given;
    bool ended;  /* the server has said that this is all */
    bool begun;  /* the callback has been given lines */
    bool enough; /* it wants no more */
    int failed;
    bool pipe_closed; /* nobody reads the output any more */
    struct err *reterr;
};

static int grow(void **array, size_t *capacity, size_t needed, size_t item_size) {
    if (needed <= *capacity)
        return 0;
    size_t larger = *capacity ? *capacity * 2 : 1024;
    void *p = realloc(*array, larger * item_size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *capacity = larger;
    return 0;
}

static void drop_streams(struct linestream *l) {
    for (size_t i = 0; i < l->n_streams; i++)
        json_decref(l->streams[i].labels);
    l->n_streams = l->first_stream = 0;
}

/* ---- records: "S<set> {labels}", "L<set> <ns> <size>" and the line, "C <cursor>", "E", "X <text>" */

static int take_set(struct linestream *l, struct str rest, uint64_t number) {
    if (grow((void **)&l->streams, &l->streams_capacity, l->n_streams + 1, sizeof(*l->streams)) < 0)
        return -ENOMEM;
    if (number == 0)
        l->first_stream = l->n_streams; /* a page that has come without a cursor goes before */
    if (number != l->n_streams - l->first_stream)
        return -EPROTO;
    json_t *labels = json_loadb(rest.data, rest.size, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(labels)) {
        json_decref(labels);
        return -EPROTO;
    }
    l->streams[l->n_streams++].labels = labels;
    return 0;
}

static int take_line(struct linestream *l, uint64_t number, int64_t ns, size_t offset,
                     size_t size) {
    if (number >= l->n_streams - l->first_stream)
        return -EPROTO;
    if (grow((void **)&l->lines, &l->lines_capacity, l->n_lines + 1, sizeof(*l->lines)) < 0)
        return -ENOMEM;
    l->lines[l->n_lines] = (struct page_line){
        .ns = ns,
        .text = {.data = (const char *)(uintptr_t)offset, .size = size},
        .stream = (uint32_t)(l->first_stream + number),
        .order = (uint32_t)l->n_lines,
    };
    l->n_lines++;
    return 0;
}

/* Gives the page out. */
static int end_page(struct linestream *l) {
    for (size_t i = 0; i < l->n_lines; i++)
        l->lines[i].text.data = l->in.data + (uintptr_t)l->lines[i].text.data;
    const struct page page = {l->lines, l->n_lines, l->streams, l->n_streams};
    l->begun = l->begun || l->n_lines > 0;
    int r = l->n_lines > 0 ? l->request->fn(&page, l->request->ctx) : 0;
    l->pipe_closed = r < 0 && errno == EPIPE;
    l->given += l->n_lines;
    l->n_lines = 0;
    drop_streams(l);
    memmove(l->in.data, l->in.data + l->parsed, l->in.size - l->parsed);
    l->in.size -= l->parsed;
    l->parsed = 0;
    l->enough = r == 1;
    return r < 0 ? r : 0;
}

static int read_number(struct str *text, uint64_t *ret) {
    size_t n = 0;
    while (n < text->size && text->data[n] != ' ')
        n++;
    int r = u64_parse(str_make(text->data, n), ret);
    *text = str_from_offset(*text, n + (n < text->size));
    return r < 0 ? -EPROTO : 0;
}

/* One record from the start of what is not parsed: 1 = taken, 0 = more bytes are needed. */
static int take_record(struct linestream *l) {
    const char *at = l->in.data + l->parsed;
    size_t left = l->in.size - l->parsed;
    const char *end = left > 0 ? memchr(at, '\n', left) : NULL;
    if (!end)
        return 0;
    struct str rest = str_make(at + 1, (size_t)(end - at) - 1);
    size_t used = (size_t)(end - at) + 1;
    uint64_t number = 0, size = 0;
    int64_t ns;
    int r = 0;
    if (*at == 'S') {
        r = read_number(&rest, &number);
        r = r < 0 ? r : take_set(l, rest, number);
    } else if (*at == 'L') {
        const char *blank = memrchr(rest.data, ' ', rest.size);
        r = read_number(&rest, &number);
        if (r < 0 || !blank || blank < rest.data ||
            i64_parse(str_make(rest.data, (size_t)(blank - rest.data)), &ns) < 0 ||
            u64_parse(str_make(blank + 1, (size_t)(end - blank) - 1), &size) < 0 || size > HELD_MAX)
            return -EPROTO;
        if (left < used + size + 1)
            return 0;
        r = take_line(l, number, ns, l->parsed + used, size);
        used += size + 1;
    } else if (*at == 'C') {
        rest = str_trim(rest);
        if (rest.size >= CURSOR_MAX)
            return -EPROTO;
        l->parsed += used;
        memcpy(l->cursor, rest.data, rest.size);
        l->cursor[rest.size] = '\0';
        r = end_page(l);
        return r < 0 ? r : 1;
    } else if (*at == 'E') {
        l->ended = true;
        l->parsed += used;
        r = end_page(l);
        return r < 0 ? r : 1;
    } else if (*at == 'X') {
        return err_set(l->reterr, -EREFUSED, "%.*s", STR_ARG(str_trim(rest)));
    } else {
        return -EPROTO;
    }
    l->parsed += used;
    return r < 0 ? r : 1;
}

/* False when no more is wanted. */
static bool take_bytes(struct str piece, void *ctx) {
    struct linestream *l = ctx;
    buf_add_str(&l->in, piece);
    int r = l->in.failed ? -ENOMEM : 1;
    while (r == 1 && !l->enough)
        r = take_record(l);
    if (r < 0)
        l->failed = r;
    return r >= 0 && !l->enough;
}

static void linestream_done(struct linestream *l) {
    drop_streams(l);
    free(l->streams);
    free(l->lines);
    buf_done(&l->in);
}

int linestream_read(const struct page_request *q, struct str bytes, size_t piece_size,
                    struct err *reterr) {
    struct linestream l = {.request = q, .in = buf_make(HELD_MAX), .reterr = reterr};
    bool more = true;
    for (size_t at = 0; at < bytes.size && more; at += piece_size) {
        struct str rest = str_from_offset(bytes, at);
        more = take_bytes(str_make(rest.data, rest.size < piece_size ? rest.size : piece_size), &l);
    }
    linestream_done(&l);
    return l.failed;
}

/* ---- asking */

static int ask(struct source *s, struct linestream *l, struct err *reterr) {
    const struct page_request *q = l->request;
    struct buf form = buf_make(FORM_MAX);
    param_add(&form, "query", q->query);
    param_add_i64(&form, "start", q->range.start_ns);
    param_add_i64(&form, "end", q->range.end_ns);
    param_add(&form, "direction", q->forward ? STR("forward") : STR("backward"));
    param_add(&form, "format", STR("compact"));
    if (q->limit > 0)
        param_add_i64(&form, "limit", (int64_t)q->limit);
    if (l->cursor[0])
        param_add(&form, "cursor", str_from(l->cursor));
    /* What has come of a page without its cursor comes again. */
    buf_clear(&l->in);
    l->parsed = l->n_lines = 0;
    drop_streams(l);
    int r = source_stream(s, "/loki/api/v1/lines", &form, take_bytes, l, reterr);
    buf_done(&form);
    /* libcurl keeps SIGPIPE away while it works; a closed pipe ends logq in silence all the same. */
    if (l->pipe_closed)
        (void)raise(SIGPIPE);
    if (l->failed == -EIO && l->begun) {
        reterr->text[0] = '\0'; /* the output's trouble, not the server's */
        return l->failed;
    }
    if (l->failed < 0)
        return reterr->text[0] && l->failed == -EREFUSED
                   ? l->failed
                   : err_set(reterr, l->failed, "the answer cannot be read: %s",
                             err_name(l->failed));
    if (l->enough || l->ended)
        return 0;
    return r < 0 ? r : err_set(reterr, -EIO, "the answer has been cut off");
}

static bool may_pass(int r) {
    return r == -EIO || r == -ECONNREFUSED || r == -EHOSTUNREACH || r == -ETIMEDOUT ||
           r == -EBUSYNOW;
}

int linestream_fetch(struct source *s, const struct page_request *q, uint64_t *ret_lines,
                     struct err *reterr) {
    struct linestream l = {.request = q, .in = buf_make(HELD_MAX + (64 << 20)), .reterr = reterr};
    int64_t wait_ms = WAIT_FIRST_MS;
    int r = ask(s, &l, reterr);
    if (r < 0 && !l.begun && !l.cursor[0])
        r = -ENOENT; /* not even a beginning: the way by pages says what is wrong */
    for (int tries = 1; may_pass(r) && l.cursor[0] && l.failed == 0 && tries < TRIES; tries++) {
        uint64_t before = l.given;
        if (!q->quiet)
            (void)fprintf(stderr, "logq: %s; going on where it stopped\n", reterr->text);
        struct timespec pause = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * NS_PER_MS};
        (void)nanosleep(&pause, NULL);
        wait_ms *= 2;
        r = ask(s, &l, reterr);
        if (l.given > before) {
            tries = 1;
            wait_ms = WAIT_FIRST_MS;
        }
    }
    *ret_lines = l.given;
    linestream_done(&l);
    return r;
}
