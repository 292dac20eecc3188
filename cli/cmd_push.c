/* logq push: lines of files or standard input to a server, in batches of about a MiB or a
 * second, each acknowledged before the next one is sent. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "cli.h"
#include "client.h"
#include "clock.h"
#include "logql.h"
#include "session.h"
#include "reader.h"
#include "units.h"

enum {
    BATCH_BYTES = 1 << 20,
    BATCH_LINES_MAX = 50000, /* a MiB of empty lines would be a large message */
    BATCH_AGE_MS = 1000,
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 10000,
    TRIES_DEFAULT = 8, /* about half a minute */
    PROGRESS_MS = 200,
    LABELS_MAX = 64 << 10,
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

struct push {
    const struct options *options;
    struct client *client;
    uint64_t lines, bytes, refused, cut;
    char first_refusal[ERR_TEXT_MAX];
    int64_t started_ns, shown_ns;
    bool shows_progress, progress_shown;
};

struct feed {
    const char *path;
    struct reader *reader;
    struct batch batch;
    struct buf labels;
    int64_t oldest_ns; /* monotonic: when the first line entered the batch */
};

/* ---- telling people */

static void clear_progress(struct push *p) {
    if (p->progress_shown)
        (void)fputs("\r\033[K", stderr);
    p->progress_shown = false;
}

static void add_amount(struct buf *out, const struct push *p) {
    buf_addf(out, "%llu lines, ", (unsigned long long)p->lines);
    bytes_format(out, p->bytes);
}

static void show_progress(struct push *p) {
    int64_t now_ns = clock_mono_ns();
    if (!p->shows_progress || now_ns - p->shown_ns < PROGRESS_MS * NS_PER_MS)
        return;
    struct buf text = buf_make(256);
    add_amount(&text, p);
    int64_t elapsed_ms = (now_ns - p->started_ns) / NS_PER_MS;
    buf_add_str(&text, STR(", "));
    bytes_format(&text, elapsed_ms > 0 ? p->bytes * 1000 / (uint64_t)elapsed_ms : 0);
    (void)fprintf(stderr, "\r\033[K%.*s/s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    p->shown_ns = now_ns;
    p->progress_shown = true;
}

static void report(struct push *p) {
    struct buf text = buf_make(256);
    int64_t elapsed_ms = (clock_mono_ns() - p->started_ns) / NS_PER_MS;
    clear_progress(p);
    if (!p->options->quiet) {
        add_amount(&text, p);
        (void)fprintf(stderr, "pushed %.*s in %lld.%lld s\n", STR_ARG(buf_str(&text)),
                      (long long)(elapsed_ms / 1000), (long long)(elapsed_ms % 1000 / 100));
        if (p->cut > 0)
            (void)fprintf(stderr, "logq: %llu lines longer than %d bytes were cut into pieces\n",
                          (unsigned long long)p->cut, READER_LINE_MAX);
    }
    if (p->refused > 0) {
        (void)fprintf(stderr, "logq: the server refused %llu lines (the others are stored): %s\n",
                      (unsigned long long)p->refused, p->first_refusal);
        if (strstr(p->first_refusal, "timestamp too old"))
            (void)fprintf(stderr, "logq: old lines: start logqd with --set "
                                  "limits_config.reject_old_samples=false, or push with "
                                  "--timestamp now\n");
    }
    buf_done(&text);
}

/* ---- sending */

/* Refusals that concern the stream: no line of it is stored, and none of the next batch would
 * be. */
static bool concerns_stream(struct str message) {
    static const struct str signs[] = {
        STR_INIT("couldn't parse labels"), STR_INIT("label names; limit"),
        STR_INIT("label name too long"),   STR_INIT("label value too long"),
        STR_INIT("duplicate label name"),
    };
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (str_find(message, signs[i]))
            return true;
    return false;
}

/* "2 errors like: ...; 1 errors like: ..." are three lines, any other message is about one. */
static uint64_t refused_lines(struct str message) {
    static const struct str sign = STR_INIT(" errors like: ");
    uint64_t total = 0;
    const char *p = message.data;
    for (;;) {
        struct str rest = str_make(p, (size_t)(message.data + message.size - p));
        const char *found = str_find(rest, sign);
        if (!found)
            return total > 0 ? total : 1;
        const char *digits = found;
        while (digits > message.data && digits[-1] >= '0' && digits[-1] <= '9')
            digits--;
        uint64_t count = 0;
        if (u64_parse(str_make(digits, (size_t)(found - digits)), &count) == 0)
            total += count;
        p = found + sign.size;
    }
}

static int note_refusal(struct push *p, const struct batch *b, const struct client_answer *answer,
                        struct err *reterr) {
    struct str message = str_trim(answer->body);
    if (concerns_stream(message))
        return client_status_error(p->client, answer, reterr);
    uint64_t refused = refused_lines(message);
    refused = refused < b->n_lines ? refused : b->n_lines;
    if (p->refused == 0)
        (void)snprintf(p->first_refusal, sizeof(p->first_refusal), "%.*s",
                       (int)(message.size < 600 ? message.size : 600), message.data);
    p->refused += refused;
    p->lines += b->n_lines - refused;
    p->bytes += b->line_bytes;
    return 0;
}

static void wait_before_retry(struct push *p, const struct err *why, int64_t wait_ms) {
    clear_progress(p);
    if (!p->options->quiet)
        (void)fprintf(stderr, "logq: %s; trying again in %lld.%lld s\n", why->text,
                      (long long)(wait_ms / 1000), (long long)(wait_ms % 1000 / 100));
    (void)poll(NULL, 0, (int)wait_ms);
}

static int64_t tries_allowed(const struct options *o) {
    if (o->retries != OPTION_COUNT_UNSET)
        return o->retries + 1;
    return o->follow ? INT64_MAX : TRIES_DEFAULT;
}

/* 1 = try again. */
static int send_once(struct push *p, const struct batch *b, struct str body, struct err *reterr) {
    struct client_answer answer;
    int r = client_post(p->client, "/loki/api/v1/push", "application/x-protobuf", body, &answer,
                        reterr);
    if (r < 0)
        return r == -ENOMEM || r == -EINVAL ? r : 1;
    if (answer.status / 100 == 2) {
        p->lines += b->n_lines;
        p->bytes += b->line_bytes;
        return 0;
    }
    if (answer.status == 400)
        return note_refusal(p, b, &answer, reterr);
    r = client_status_error(p->client, &answer, reterr);
    return answer.status == 429 || answer.status >= 500 ? 1 : r;
}

static int send_batch(struct push *p, struct feed *f, struct err *reterr) {
    const struct options *o = p->options;
    struct str body;
    if (f->batch.n_lines == 0)
        return 0;
    if (batch_encode(&f->batch, buf_str(&f->labels), &body) < 0)
        return err_set(reterr, -ENOMEM, "out of memory");
    int64_t wait_ms = o->min_backoff_s > 0 ? o->min_backoff_s * 1000 : BACKOFF_MIN_MS;
    int64_t wait_max_ms = o->max_backoff_s > 0 ? o->max_backoff_s * 1000 : BACKOFF_MAX_MS;
    int64_t tries = tries_allowed(o);
    for (int64_t attempt = 1;; attempt++) {
        int r = send_once(p, &f->batch, body, reterr);
        if (r <= 0) {
            batch_clear(&f->batch);
            show_progress(p);
            return r;
        }
        if (attempt >= tries || interrupted)
            return -EIO;
        wait_before_retry(p, reterr, wait_ms < wait_max_ms ? wait_ms : wait_max_ms);
        wait_ms = wait_ms < wait_max_ms ? wait_ms * 2 : wait_max_ms;
    }
}

/* ---- reading */

/* All lines that have been read, into batches; 1 at the end of the source. */
static int take_lines(struct push *p, struct feed *f, struct err *reterr) {
    struct str line;
    int64_t ns;
    for (;;) {
        enum reader_state state = reader_next(f->reader, &line, &ns);
        if (state != READER_LINE)
            return state == READER_END;
        if (f->batch.n_lines == 0)
            f->oldest_ns = clock_mono_ns();
        batch_add(&f->batch, ns, line);
        if (f->batch.line_bytes >= BATCH_BYTES || f->batch.n_lines >= BATCH_LINES_MAX) {
            int r = send_batch(p, f, reterr);
            if (r < 0)
                return r;
        }
    }
}

static int time_left_ms(const struct feed *f) {
    if (f->batch.n_lines == 0)
        return BATCH_AGE_MS;
    int64_t left_ms = BATCH_AGE_MS - (clock_mono_ns() - f->oldest_ns) / NS_PER_MS;
    return left_ms > 0 ? (int)left_ms : 0;
}

/* One step: read what is there or comes within `wait_ms`, send what is due. 1 at the end of the
 * source. */
static int pump(struct push *p, struct feed *f, int wait_ms, struct err *reterr) {
    int left_ms = time_left_ms(f);
    int r = reader_fill(f->reader, wait_ms < left_ms ? wait_ms : left_ms, reterr);
    if (r < 0)
        return r;
    int ended = take_lines(p, f, reterr);
    if (ended < 0)
        return ended;
    if (ended || (f->batch.n_lines > 0 && time_left_ms(f) == 0)) {
        r = send_batch(p, f, reterr);
        if (r < 0)
            return r;
    }
    return ended;
}

static int open_feed(struct push *p, struct feed *f, struct err *reterr) {
    const struct options *o = p->options;
    bool forced_now = o->timestamp && strcmp(o->timestamp, "now") == 0;
    return reader_open(f->path, o->follow, forced_now, &f->reader, reterr);
}

static void close_feed(struct push *p, struct feed *f) {
    if (f->reader)
        p->cut += reader_cut_lines(f->reader);
    reader_close(f->reader);
    f->reader = NULL;
}

/* File after file. */
static int push_all(struct push *p, struct feed *feeds, size_t n_feeds, struct err *reterr) {
    for (size_t i = 0; i < n_feeds; i++) {
        int r = open_feed(p, &feeds[i], reterr);
        while (r == 0 && !interrupted)
            r = pump(p, &feeds[i], BATCH_AGE_MS, reterr);
        if (r >= 0 && interrupted)
            r = send_batch(p, &feeds[i], reterr);
        close_feed(p, &feeds[i]);
        if (r < 0)
            return r;
        if (interrupted && feeds[i].path[0] != '-')
            return err_set(reterr, -EINTR, "interrupted");
    }
    return 0;
}

/* All files at once, until a signal comes. */
static int follow_all(struct push *p, struct feed *feeds, size_t n_feeds, struct err *reterr) {
    size_t open = n_feeds;
    int r = 0;
    for (size_t i = 0; i < n_feeds && r == 0; i++)
        r = open_feed(p, &feeds[i], reterr);
    int wait_ms = n_feeds > 0 ? (int)(BATCH_AGE_MS / (5 * n_feeds)) : 0;
    while (r >= 0 && open > 0 && !interrupted) {
        for (size_t i = 0; i < n_feeds && r >= 0; i++) {
            if (!feeds[i].reader)
                continue;
            r = pump(p, &feeds[i], open > 1 ? wait_ms + 1 : BATCH_AGE_MS, reterr);
            if (r == 1) {
                close_feed(p, &feeds[i]);
                open--;
            }
        }
    }
    for (size_t i = 0; i < n_feeds && r >= 0; i++)
        r = send_batch(p, &feeds[i], reterr);
    for (size_t i = 0; i < n_feeds; i++)
        close_feed(p, &feeds[i]);
    return r < 0 ? r : 0;
}

/* ---- labels */

static void add_label(struct buf *out, struct str name, struct str value) {
    buf_add_str(out, out->size > 1 ? STR(", ") : STR(""));
    buf_add_str(out, name);
    buf_add_char(out, '=');
    logql_quote_go(out, value);
}

/* Without -l the job is "logq"; a file's name is a label when nothing else tells the files
 * apart. */
static int make_labels(const struct options *o, struct feed *f, struct err *reterr) {
    bool has_filename = false;
    f->labels = buf_make(LABELS_MAX);
    buf_add_char(&f->labels, '{');
    for (size_t i = 0; i < o->labels.count; i++) {
        const char *text = o->labels.items[i];
        const char *equals = strchr(text, '=');
        if (!equals || equals == text || equals[-1] == '!' || equals[1] == '~')
            return err_set(reterr, -ESYNTAX, "-l wants NAME=VALUE, not \"%s\"", text);
        struct str name = str_make(text, (size_t)(equals - text));
        has_filename = has_filename || str_eq(name, STR("filename"));
        add_label(&f->labels, name, str_from(equals + 1));
    }
    if (o->labels.count == 0)
        add_label(&f->labels, STR("job"), STR("logq"));
    bool ambiguous = o->labels.count == 0 || o->arguments.count > 1;
    if (ambiguous && !has_filename && strcmp(f->path, "-") != 0) {
        char *full = realpath(f->path, NULL);
        add_label(&f->labels, STR("filename"), str_from(full ? full : f->path));
        free(full);
    }
    buf_add_char(&f->labels, '}');
    return f->labels.failed
               ? err_set(reterr, -ESYNTAX, "the labels are longer than %d bytes", LABELS_MAX)
               : 0;
}

static int check_arguments(const struct options *o, struct err *reterr) {
    if (o->timestamp && strcmp(o->timestamp, "now") != 0 && strcmp(o->timestamp, "auto") != 0)
        return err_set(reterr, -ESYNTAX, "--timestamp is auto or now, not \"%s\"", o->timestamp);
    if (o->arguments.count == 0 && isatty(STDIN_FILENO))
        return err_set(reterr, -ESYNTAX,
                       "what to push? logq push -l job=NAME FILE..., or - for standard input");
    return 0;
}

static int run_push(struct push *p, struct session *s, struct feed *feeds, size_t n_feeds,
                    struct err *reterr) {
    const struct options *o = p->options;
    int r = check_arguments(o, reterr);
    for (size_t i = 0; i < n_feeds && r == 0; i++) {
        feeds[i].path = o->arguments.count > 0 ? o->arguments.items[i] : "-";
        feeds[i].batch = batch_make();
        r = make_labels(o, &feeds[i], reterr);
    }
    if (r == 0)
        r = session_open(s, o, reterr);
    if (r == 0)
        r = client_open(o, &p->client, reterr);
    if (r < 0)
        return r;
    r = o->follow ? follow_all(p, feeds, n_feeds, reterr) : push_all(p, feeds, n_feeds, reterr);
    if (r == 0 || p->lines > 0 || p->refused > 0)
        report(p);
    return r;
}

int cmd_push(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct push p = {
        .options = o,
        .started_ns = clock_mono_ns(),
        .shows_progress = !o->quiet && isatty(STDERR_FILENO),
    };
    size_t n_feeds = o->arguments.count > 0 ? o->arguments.count : 1;
    struct feed *feeds = calloc(n_feeds, sizeof(*feeds));
    if (!feeds) {
        (void)err_set(&err, -ENOMEM, "out of memory");
        return session_trouble(&err);
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    int r = run_push(&p, &s, feeds, n_feeds, &err);
    for (size_t i = 0; i < n_feeds; i++) {
        batch_done(&feeds[i].batch);
        buf_done(&feeds[i].labels);
    }
    free(feeds);
    client_close(p.client);
    session_close(&s);
    if (r < 0)
        return session_trouble(&err);
    return p.refused > 0 ? CLI_NOTHING : CLI_FOUND;
}
