#include "follow.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "hash.h"
#include "units.h"

enum {
    AHEAD_MIN = 10,      /* servers take lines up to so far in the future */
    WAIT_MAX_MS = 10000, /* between attempts to reach a server */
    SEEN_FIRST = 1 << 12,
};

struct seen_slot {
    uint64_t hash; /* 0 = free */
    int64_t ns;
};

struct follow {
    page_fn *fn;
    void *ctx;
    struct seen_slot *slots;
    size_t n_slots, count;
    int64_t horizon_ns; /* older lines need not be remembered */
    uint64_t shown;
    bool enough;             /* the callback has said so */
    bool silent;             /* lines are remembered and not shown */
    struct page_line *fresh; /* of one page */
    size_t fresh_capacity;
    uint64_t *stream_hashes;
    size_t streams_capacity;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    interrupted = number;
}

/* ---- what has been shown */

static bool seen_put(struct seen_slot *slots, size_t n_slots, uint64_t hash, int64_t ns) {
    size_t i = hash & (n_slots - 1);
    while (slots[i].hash != 0 && slots[i].hash != hash)
        i = (i + 1) & (n_slots - 1);
    bool fresh = slots[i].hash == 0;
    slots[i] = (struct seen_slot){hash, ns};
    return fresh;
}

/* Forgets what is behind the horizon; grows when that does not make room. */
static int seen_renew(struct follow *f) {
    size_t living = 0;
    for (size_t i = 0; i < f->n_slots; i++)
        living += f->slots[i].hash != 0 && f->slots[i].ns >= f->horizon_ns;
    size_t n_slots = SEEN_FIRST;
    while (n_slots < living * 4)
        n_slots *= 2;
    struct seen_slot *slots = calloc(n_slots, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < f->n_slots; i++)
        if (f->slots[i].hash != 0 && f->slots[i].ns >= f->horizon_ns)
            (void)seen_put(slots, n_slots, f->slots[i].hash, f->slots[i].ns);
    free(f->slots);
    f->slots = slots;
    f->n_slots = n_slots;
    f->count = living;
    return 0;
}

static int hash_streams(struct follow *f, const struct page *page) {
    if (page->n_streams > f->streams_capacity) {
        uint64_t *hashes = realloc(f->stream_hashes, page->n_streams * sizeof(*hashes));
        if (!hashes)
            return -ENOMEM;
        f->stream_hashes = hashes;
        f->streams_capacity = page->n_streams;
    }
    for (size_t i = 0; i < page->n_streams; i++) {
        char *text = json_dumps(page->streams[i].labels, JSON_COMPACT | JSON_SORT_KEYS);
        if (!text)
            return -ENOMEM;
        f->stream_hashes[i] = hash_str(str_from(text));
        free(text);
    }
    return 0;
}

/* Passes on what has not been shown. */
static int take_page(const struct page *page, void *ctx) {
    struct follow *f = ctx;
    size_t n = 0;
    int r = hash_streams(f, page);
    if (r == 0 && page->n_lines > f->fresh_capacity) {
        struct page_line *fresh = realloc(f->fresh, page->n_lines * sizeof(*fresh));
        if (!fresh)
            return -ENOMEM;
        f->fresh = fresh;
        f->fresh_capacity = page->n_lines;
    }
    for (size_t i = 0; i < page->n_lines && r == 0; i++) {
        const struct page_line *line = &page->lines[i];
        uint64_t hash = hash_mix(hash_str(line->text), f->stream_hashes[line->stream]);
        hash = hash_mix(hash, (uint64_t)line->ns) | 1;
        if (f->count * 2 >= f->n_slots)
            r = seen_renew(f);
        if (r == 0 && seen_put(f->slots, f->n_slots, hash, line->ns)) {
            f->count++;
            f->fresh[n++] = *line;
        }
    }
    if (r < 0 || n == 0 || f->silent)
        return interrupted ? 1 : r;
    struct page fresh = *page;
    fresh.lines = f->fresh;
    fresh.n_lines = n;
    f->shown += n;
    r = f->fn(&fresh, f->ctx);
    f->enough = r == 1;
    return r != 0 ? r : interrupted != 0;
}

/* ---- looking again and again */

static void wait_ms(int64_t ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * NS_PER_MS};
    if (!interrupted)
        (void)nanosleep(&pause, NULL);
}

static bool may_pass(int r) {
    return r == -ECONNREFUSED || r == -EHOSTUNREACH || r == -ETIMEDOUT || r == -EIO ||
           r == -EBUSYNOW || r == -EPROTO;
}

static int look(struct session *s, struct follow *f, struct str query, int64_t from_ns,
                int64_t until_ns, struct err *reterr) {
    uint64_t lines;
    struct page_request request = {
        .query = query,
        .range = {from_ns, until_ns},
        .forward = true,
        .lines_max = s->options->batch > 0 ? (size_t)s->options->batch : 0,
        .quiet = true,
        .fn = take_page,
        .ctx = f,
    };
    int r = source_refresh(s->source, reterr);
    return r < 0 ? r : pages_fetch(s->source, &request, &lines, reterr);
}

static int follow_on(struct session *s, struct follow *f, struct str query, int64_t from_ns,
                     struct err *reterr) {
    int64_t delay_ns = s->options->delay_for_s > 0 ? s->options->delay_for_s * NS_PER_S : 0;
    int64_t looked_ns = from_ns + FOLLOW_OVERLAP_S * NS_PER_S + delay_ns, pause_ms = FOLLOW_POLL_MS;
    int64_t ahead_ns = delay_ns > 0 ? -delay_ns : AHEAD_MIN * 60 * NS_PER_S;
    bool told = false;
    while (!interrupted && !f->enough) {
        int64_t now_ns = clock_now_ns(), begun_ns = clock_mono_ns();
        int64_t start_ns = looked_ns - FOLLOW_OVERLAP_S * NS_PER_S - delay_ns;
        f->horizon_ns = start_ns = start_ns > from_ns ? start_ns : from_ns;
        int r = start_ns < now_ns + ahead_ns
                    ? look(s, f, query, start_ns, now_ns + ahead_ns, reterr)
                    : 0;
        if (r < 0 && !may_pass(r))
            return r;
        if (r < 0 && !told && !s->options->quiet)
            (void)fprintf(stderr, "logq: %s; trying again\n", reterr->text);
        if (r == 0 && told && !s->options->quiet)
            (void)fprintf(stderr, "logq: goes on\n");
        told = r < 0;
        if (r == 0)
            looked_ns = now_ns;
        /* A look that costs much (a directory with a long WAL) is not repeated all the time. */
        int64_t took_ms = (clock_mono_ns() - begun_ns) / NS_PER_MS;
        pause_ms = r < 0 ? (pause_ms * 2 < WAIT_MAX_MS ? pause_ms * 2 : WAIT_MAX_MS)
                         : FOLLOW_POLL_MS + 4 * (took_ms < WAIT_MAX_MS ? took_ms : WAIT_MAX_MS) / 2;
        wait_ms(pause_ms);
    }
    return 0;
}

/* The last lines, which come newest first, turned round. */
static int turn_page(const struct page *page, void *ctx) {
    struct page_line *lines = malloc(page->n_lines * sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    for (size_t i = 0; i < page->n_lines; i++)
        lines[i] = page->lines[page->n_lines - 1 - i];
    struct page turned = *page;
    turned.lines = lines;
    int r = take_page(&turned, ctx);
    free(lines);
    return r;
}

static int show_last(struct session *s, struct follow *f, struct str query, struct range range,
                     uint64_t last, struct err *reterr) {
    uint64_t lines;
    struct page_request request = {
        .query = query,
        .range = range,
        .limit = last,
        .quiet = s->options->quiet,
        .fn = turn_page,
        .ctx = f,
    };
    return pages_fetch(s->source, &request, &lines, reterr);
}

int follow_run(struct session *s, struct str query, uint64_t last, page_fn *fn, void *ctx,
               uint64_t *ret_lines, struct err *reterr) {
    struct follow f = {.fn = fn, .ctx = ctx, .horizon_ns = INT64_MIN};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    int64_t from_ns = s->range.start_ns;
    int r = seen_renew(&f);
    if (r == 0 && last > 0) {
        r = show_last(s, &f, query, s->range, last, reterr);
        /* The older lines that `last` leaves out stay out; what is yet to come for that time does not. */
        from_ns = s->range.end_ns - FOLLOW_OVERLAP_S * NS_PER_S;
        f.silent = true;
        if (r == 0)
            r = look(s, &f, query, from_ns, s->range.end_ns, reterr);
        f.silent = false;
    }
    if (r == 0)
        r = follow_on(s, &f, query, from_ns, reterr);
    free(f.slots);
    free(f.fresh);
    free(f.stream_hashes);
    *ret_lines = f.shown;
    return r;
}
