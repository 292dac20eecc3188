#include "sender.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "options.h"
#include "units.h"

enum {
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 10000,
    TRIES_DEFAULT = 8, /* about half a minute */
    PROGRESS_MS = 200,
};

struct sender sender_make(const struct options *o, const volatile sig_atomic_t *interrupted) {
    return (struct sender){
        .options = o,
        .interrupted = interrupted,
        .started_ns = clock_mono_ns(),
        .shows_progress = !o->quiet && isatty(STDERR_FILENO),
    };
}

int sender_open(struct sender *s, struct err *reterr) {
    return client_open(s->options, &s->client, reterr);
}

void sender_close(struct sender *s) {
    client_close(s->client);
}

/* ---- telling people */

static void clear_progress(struct sender *s) {
    if (s->progress_shown)
        (void)fputs("\r\033[K", stderr);
    s->progress_shown = false;
}

static void add_amount(struct buf *out, const struct sender *s) {
    buf_addf(out, "%llu lines, ", (unsigned long long)s->lines);
    bytes_format(out, s->bytes);
}

static void show_progress(struct sender *s) {
    int64_t now_ns = clock_mono_ns();
    if (!s->shows_progress || now_ns - s->shown_ns < PROGRESS_MS * NS_PER_MS)
        return;
    struct buf text = buf_make(256);
    add_amount(&text, s);
    int64_t elapsed_ms = (now_ns - s->started_ns) / NS_PER_MS;
    buf_add_str(&text, STR(", "));
    bytes_format(&text, elapsed_ms > 0 ? s->bytes * 1000 / (uint64_t)elapsed_ms : 0);
    (void)fprintf(stderr, "\r\033[K%.*s/s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    s->shown_ns = now_ns;
    s->progress_shown = true;
}

void sender_report(struct sender *s) {
    struct buf text = buf_make(256);
    int64_t elapsed_ms = (clock_mono_ns() - s->started_ns) / NS_PER_MS;
    clear_progress(s);
    if (!s->options->quiet) {
        add_amount(&text, s);
        (void)fprintf(stderr, "pushed %.*s in %lld.%lld s\n", STR_ARG(buf_str(&text)),
                      (long long)(elapsed_ms / 1000), (long long)(elapsed_ms % 1000 / 100));
    }
    if (s->refused > 0) {
        (void)fprintf(stderr, "logq: the server refused %llu lines%s: %s\n",
                      (unsigned long long)s->refused,
                      s->lines > 0 ? " (the others are stored)" : "", s->first_refusal);
        if (strstr(s->first_refusal, "timestamp too old"))
            (void)fprintf(stderr, "logq: old lines: start logqd with --set "
                                  "limits_config.reject_old_samples=false, or push with "
                                  "--timestamp now\n");
        else if (strstr(s->first_refusal, "timestamp too new"))
            (void)fprintf(stderr, "logq: lines of the future: is a clock wrong, or their zone "
                                  "(--timezone)? limits_config.creation_grace_period is how far "
                                  "ahead is taken\n");
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

static const struct str errors_like = STR_INIT(" errors like: ");

/* The sum of the numbers before each `sign`. */
static uint64_t counted_before(struct str message, struct str sign) {
    uint64_t total = 0;
    struct str rest = message;
    for (const char *found; (found = str_find(rest, sign));) {
        const char *digits = found;
        while (digits > rest.data && digits[-1] >= '0' && digits[-1] <= '9')
            digits--;
        uint64_t count = 0;
        if (u64_parse(str_make(digits, (size_t)(found - digits)), &count) == 0)
            total += count;
        rest = str_from_offset(rest, (size_t)(found - rest.data) + sign.size);
    }
    return total;
}

/* "2 errors like: ...; 1 errors like: ...; 5 more errors" are eight lines, any other message is about one. */
static uint64_t refused_lines(struct str message) {
    uint64_t total = counted_before(message, errors_like);
    return total > 0 ? total + counted_before(message, STR(" more errors")) : 1;
}

/* The first of several causes. */
static struct str first_cause(struct str message) {
    const char *like = str_find(message, errors_like);
    if (!like)
        return message;
    struct str rest = str_from_offset(message, (size_t)(like - message.data) + errors_like.size);
    const char *next = str_find(rest, errors_like);
    if (!next)
        return rest;
    while (next > rest.data && *next != ';')
        next--;
    return str_make(rest.data, (size_t)(next - rest.data));
}

static int note_refusal(struct sender *s, const struct batch *b, const struct client_answer *answer,
                        struct err *reterr) {
    struct str message = str_trim(answer->body);
    if (concerns_stream(message))
        return client_status_error(s->client, answer, reterr);
    uint64_t refused = refused_lines(message);
    refused = refused < b->n_lines ? refused : b->n_lines;
    if (s->refused == 0) {
        struct str cause = first_cause(message);
        (void)snprintf(s->first_refusal, sizeof(s->first_refusal), "%.*s",
                       (int)(cause.size < 600 ? cause.size : 600), cause.data);
    }
    s->refused += refused;
    s->lines += b->n_lines - refused;
    s->bytes += refused < b->n_lines ? b->line_bytes : 0;
    return 0;
}

static void wait_before_retry(struct sender *s, const struct err *why, int64_t wait_ms) {
    clear_progress(s);
    if (!s->options->quiet)
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
static int send_once(struct sender *s, const struct batch *b, struct str body, struct err *reterr) {
    struct client_answer answer;
    int r = client_post(s->client, "/loki/api/v1/push", "application/x-protobuf", body, &answer,
                        reterr);
    if (r < 0)
        return r == -ENOMEM || r == -EINVAL ? r : 1;
    if (answer.status / 100 == 2) {
        s->lines += b->n_lines;
        s->bytes += b->line_bytes;
        return 0;
    }
    if (answer.status == 400)
        return note_refusal(s, b, &answer, reterr);
    r = client_status_error(s->client, &answer, reterr);
    return answer.status == 429 || answer.status >= 500 ? 1 : r;
}

/* 1: not taken, by `tries` or until interrupted. */
static int send_until(struct sender *s, const struct batch *b, struct str body, int64_t tries,
                      struct err *reterr) {
    const struct options *o = s->options;
    int64_t wait_ms = o->min_backoff_s > 0 ? o->min_backoff_s * 1000 : BACKOFF_MIN_MS;
    int64_t wait_max_ms = o->max_backoff_s > 0 ? o->max_backoff_s * 1000 : BACKOFF_MAX_MS;
    for (int64_t attempt = 1;; attempt++) {
        int r = send_once(s, b, body, reterr);
        if (r <= 0)
            show_progress(s);
        if (r <= 0 || attempt >= tries || *s->interrupted)
            return r;
        wait_before_retry(s, reterr, wait_ms < wait_max_ms ? wait_ms : wait_max_ms);
        wait_ms = wait_ms < wait_max_ms ? wait_ms * 2 : wait_max_ms;
    }
}

int sender_send(struct sender *s, const struct batch *b, struct str body, struct err *reterr) {
    int r = send_until(s, b, body, tries_allowed(s->options), reterr);
    return r == 1 ? -EIO : r;
}

int sender_resend(struct sender *s, struct str body, struct err *reterr) {
    const struct batch uncounted = {0};
    int r = send_until(s, &uncounted, body, INT64_MAX, reterr);
    return r == 1 ? err_set(reterr, -EINTR, "interrupted") : r;
}
