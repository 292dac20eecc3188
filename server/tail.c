#include "tail.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "arena.h"
#include "clock.h"
#include "mapguard.h"
#include "tail_query.h"
#include "tap.h"
#include "units.h"

enum {
    FRAME_BYTES = 256 << 10, /* a message ends when its lines reach this */
    OPTION_BYTES_MAX = 1 << 20,
    SHORT_ROUND_MS = 5, /* while something waits for a client that is taking its share */
};

/* An entry that passed and waits for its time. */
struct held {
    int64_t ts_ns;
    int64_t due_ns;  /* wall clock */
    uint64_t number; /* arrival order */
    size_t offset;   /* of the line in `lines` */
    size_t size;
    const struct line_labels *labels;
};

struct tail {
    struct tails *owner;
    struct tail *next; /* owner->lock */
    bool live;         /* owner->lock: the tail thread's from now on */
    bool refused;      /* counts for nobody; constant once in the list */
    struct arena arena;
    struct tail_options options; /* texts in the arena */
    struct tail_query *query;
    struct ws_session *ws;
    struct tap *tap;
    int64_t end_mono_ns;
    struct query_result *history;
    size_t history_left;
    struct held *held;
    size_t n_held, held_capacity;
    size_t bytes_max; /* of the tap and of `lines`, see tail.h */
    struct buf lines;
    uint64_t arrived;
    struct tail_drops drops;
};

struct tails {
    struct store *store;
    struct engine *engine;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards: list, their next and live, stop, woken */
    pthread_cond_t wake;
    struct tail *list;
    bool stop, woken;
    bool pressed; /* the thread's own: something is due and waits for room */
};

/* ---- one tail */

static size_t share_of(size_t n_tails) {
    size_t share = TAILS_BYTES / n_tails;
    if (share > TAIL_BYTES_MAX)
        share = TAIL_BYTES_MAX;
    return share > TAIL_BYTES_MIN ? share : TAIL_BYTES_MIN;
}

struct tail *tail_new(struct tails *owner, struct tail_query *query, const struct tail_options *o) {
    struct tail *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->owner = owner;
    t->arena = arena_make(OPTION_BYTES_MAX);
    t->options = *o;
    t->options.tenant = arena_copy(&t->arena, o->tenant);
    t->options.text = arena_copy(&t->arena, o->text);
    t->options.format.encoding_flags = arena_copy(&t->arena, o->format.encoding_flags);
    t->bytes_max = share_of(tails_count(owner) + 1);
    t->lines = buf_make(t->bytes_max);
    t->drops.json = buf_make(TAIL_DROPS_BYTES_MAX);
    if (!t->options.tenant.data || !t->options.text.data ||
        !t->options.format.encoding_flags.data) {
        tail_free(t);
        return NULL;
    }
    t->query = query;
    return t;
}

void tail_free(struct tail *t) {
    if (!t)
        return;
    tap_close(t->tap); /* before the query, whose matchers it borrows */
    tail_query_free(t->query);
    query_result_free(t->history);
    ws_free(t->ws);
    free(t->held);
    buf_done(&t->lines);
    buf_done(&t->drops.json);
    arena_done(&t->arena);
    free(t);
}

static bool has_room(const struct tail *t) {
    return ws_queued(t->ws) < TAIL_QUEUE_BYTES;
}

static void note_drop(struct tail *t, int64_t ts_ns, struct labels stream) {
    tail_drops_add(&t->drops, &t->options.format, ts_ns, stream);
}

/* One message with these entries and the drops so far. */
static void send_frame(struct tail *t, const struct tail_item *items, size_t count) {
    struct buf text = buf_make(BUF_NO_MAX);
    tail_frame_write(&text, &t->options.format, items, count, &t->drops);
    tail_drops_clear(&t->drops);
    ws_send(t->ws, &text);
}

/* ---- history */

/* Entries come newest first and leave oldest first. */
static void send_history(struct tail *t) {
    const struct query_result *r = t->history;
    while (t->history_left > 0 && has_room(t)) {
        struct tail_item items[TAIL_FRAME_ENTRIES_MAX];
        size_t n = 0, bytes = 0;
        while (t->history_left > 0 && n < TAIL_FRAME_ENTRIES_MAX && bytes < FRAME_BYTES) {
            const struct result_entry *e = &r->entries[--t->history_left];
            const struct result_set *set = &r->sets[e->set];
            items[n++] = (struct tail_item){.ts_ns = e->ts_ns,
                                            .line = e->line,
                                            .merged = set->merged,
                                            .stream = set->stream,
                                            .metadata = set->metadata,
                                            .parsed = set->parsed};
            bytes += e->line.size;
        }
        send_frame(t, items, n);
    }
    if (t->history_left > 0)
        return;
    query_result_free(t->history);
    t->history = NULL;
}

static int read_history(struct tail *t, struct err *reterr) {
    const struct tail_options *o = &t->options;
    const struct query q = {
        .text = o->text,
        .tenant = o->tenant,
        .start_ns = o->start_ns,
        .end_ns = INT64_MAX, /* ends where the tap begins, whatever the entries' own times */
        .limit = o->limit,
        .direction = DIR_BACKWARD,
        .max_bytes_read = o->max_bytes_read,
        .deadline_mono_ns = o->query_timeout_ns > 0 ? clock_mono_ns() + o->query_timeout_ns : 0,
        .cancel = ws_over(t->ws),
        .tap = t->tap,
    };
    int r = engine_query(t->owner->engine, &q, &t->history, reterr);
    if (r == 0)
        t->history_left = t->history->n_entries;
    return r;
}

/* Called by an appending thread: much has gathered before the round's time. */
static void wake_thread(void *ctx) {
    struct tails *owner = ctx;
    (void)pthread_mutex_lock(&owner->lock);
    owner->woken = true;
    (void)pthread_cond_signal(&owner->wake);
    (void)pthread_mutex_unlock(&owner->lock);
}

static int start(struct tail *t, struct err *reterr) {
    struct tap_options tap = {.tenant = t->options.tenant,
                              .queue_max = t->bytes_max,
                              .wake = wake_thread,
                              .wake_ctx = t->owner};
    tap.matchers = tail_query_matchers(t->query, &tap.n_matchers);
    int r = tap_open(t->owner->store, &tap, &t->tap, reterr);
    return r < 0 ? r : read_history(t, reterr);
}

/* ---- live */

static int hold(struct tail *t, const struct entry *e, const struct tail_line *line,
                int64_t now_ns) {
    if (line->line.size > t->bytes_max - t->lines.size) {
        note_drop(t, e->ts_ns, line->labels->stream);
        return 0;
    }
    if (t->n_held == t->held_capacity) {
        size_t capacity = t->held_capacity ? t->held_capacity * 2 : 256;
        struct held *held = realloc(t->held, capacity * sizeof(*held));
        if (!held)
            return -ENOMEM;
        t->held = held;
        t->held_capacity = capacity;
    }
    /* An entry of the future waits no longer than one of now. */
    int64_t from_ns = e->ts_ns < now_ns ? e->ts_ns : now_ns, due_ns;
    if (__builtin_add_overflow(from_ns, t->options.delay_ns, &due_ns))
        due_ns = now_ns;
    t->held[t->n_held++] = (struct held){.ts_ns = e->ts_ns,
                                         .due_ns = due_ns,
                                         .number = t->arrived++,
                                         .offset = t->lines.size,
                                         .size = line->line.size,
                                         .labels = line->labels};
    buf_add_str(&t->lines, line->line);
    return t->lines.failed ? -ENOMEM : 0;
}

static int take_live(struct tail *t, int64_t now_ns) {
    (void)tap_take(t->tap);
    struct tap_drop drop;
    while (tap_next_drop(t->tap, &drop) > 0)
        note_drop(t, drop.ts_ns, drop.labels);
    struct tap_entry e;
    uint64_t stream_id = 0;
    int r;
    while ((r = tap_next(t->tap, &e)) > 0) {
        if (e.stream_id != stream_id) {
            r = tail_query_stream(t->query, e.labels);
            if (r < 0)
                return r;
            stream_id = e.stream_id;
        }
        struct tail_line line;
        r = tail_query_entry(t->query, &e.entry, &line);
        if (r > 0)
            r = hold(t, &e.entry, &line, now_ns);
        if (r < 0)
            return r;
    }
    return r;
}

static int compare_held(const void *a, const void *b) {
    const struct held *x = a, *y = b;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Sends held entries from the front, of the first `count`, while the client has room; how many
 * went. */
static size_t send_held(struct tail *t, size_t count) {
    size_t sent = 0;
    while (sent < count && has_room(t)) {
        struct tail_item items[TAIL_FRAME_ENTRIES_MAX];
        size_t n = 0, bytes = 0;
        for (; sent < count && n < TAIL_FRAME_ENTRIES_MAX && bytes < FRAME_BYTES; sent++) {
            const struct held *h = &t->held[sent];
            items[n++] = (struct tail_item){.ts_ns = h->ts_ns,
                                            .line = str_make(t->lines.data + h->offset, h->size),
                                            .merged = h->labels->merged,
                                            .stream = h->labels->stream,
                                            .metadata = h->labels->metadata,
                                            .parsed = h->labels->parsed};
            bytes += h->size;
        }
        send_frame(t, items, n);
    }
    return sent;
}

/* Keeps held[from..]: their lines move to the front. */
static int keep_held(struct tail *t, size_t from) {
    struct buf lines = buf_make(t->bytes_max);
    size_t n = 0;
    for (size_t i = from; i < t->n_held; i++) {
        struct held h = t->held[i];
        struct str line = str_make(t->lines.data + h.offset, h.size);
        h.offset = lines.size;
        buf_add_str(&lines, line);
        t->held[n++] = h;
    }
    bool failed = lines.failed;
    if (n == 0) {
        buf_clear(&t->lines); /* keeps its memory for the next round */
        buf_done(&lines);
    } else {
        buf_done(&t->lines);
        t->lines = lines;
    }
    t->n_held = n;
    return failed ? -ENOMEM : 0;
}

/* Sends what is due, in the order of the entries' times, as far as the client has room. `all`:
 * nothing waits for its time any longer. */
static int send_due(struct tail *t, int64_t now_ns, bool all) {
    if (t->n_held == 0 || !has_room(t))
        return 0;
    size_t due = 0;
    for (size_t i = 0; i < t->n_held; i++) {
        if (!all && t->held[i].due_ns > now_ns)
            continue;
        struct held swap = t->held[due];
        t->held[due++] = t->held[i];
        t->held[i] = swap;
    }
    if (due == 0)
        return 0;
    qsort(t->held, due, sizeof(*t->held), compare_held);
    size_t sent = send_held(t, due);
    if (sent < due)
        t->owner->pressed = true; /* it took some of it just now */
    return keep_held(t, sent);
}

/* What has come waits in the tap, and is dropped there when that is full, in two cases. The
 * label sets are full and must be let go of, but held entries have their labels there: those go
 * first. Or the client is far behind: then running the query on for it would only take the CPU
 * from pushes. */
static bool leaves_in_tap(const struct tail *t) {
    return tail_query_is_full(t->query) || (!has_room(t) && t->lines.size >= t->bytes_max / 2);
}

static int send_live(struct tail *t) {
    int64_t now_ns = clock_now_ns();
    int r = 0;
    if (t->n_held == 0 && tail_query_is_full(t->query))
        r = tail_query_forget(t->query);
    if (r == 0 && !leaves_in_tap(t))
        r = take_live(t, now_ns);
    if (r == 0)
        r = send_due(t, now_ns, t->options.delay_ns == 0 || tail_query_is_full(t->query));
    /* The client has caught up: it learns what it missed even when nothing follows. */
    if (r == 0 && t->drops.count > 0 && has_room(t))
        send_frame(t, NULL, 0);
    return r;
}

/* False when the tail is over. */
static bool serve(struct tail *t) {
    if (atomic_load(ws_over(t->ws)))
        return false;
    if (t->end_mono_ns != 0 && clock_mono_ns() >= t->end_mono_ns) {
        /* loki-canary knows this text by heart. */
        ws_close(t->ws, WS_INTERNAL_ERROR, STR("reached tail max duration limit"));
        return false;
    }
    if (t->history) {
        t->owner->pressed = has_room(t) || t->owner->pressed;
        send_history(t);
    }
    if (t->history)
        return true;
    if (send_live(t) == 0)
        return true;
    ws_close(t->ws, WS_INTERNAL_ERROR, STR("not enough memory for this tail"));
    return false;
}

/* ---- all tails */

static void wait_round(struct tails *t, int64_t since_mono_ns) {
    bool any = false;
    for (const struct tail *i = t->list; i && !any; i = i->next)
        any = i->live;
    if (!any) {
        while (!t->stop && !t->woken)
            (void)pthread_cond_wait(&t->wake, &t->lock);
        return;
    }
    int64_t until_ns = t->pressed ? clock_mono_ns() + SHORT_ROUND_MS * NS_PER_MS
                                  : since_mono_ns + TAIL_ROUND_MS * NS_PER_MS;
    const struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    while (!t->stop && !t->woken && clock_mono_ns() < until_ns)
        (void)pthread_cond_timedwait(&t->wake, &t->lock, &until);
}

/* Tails join at the front and only this thread takes them out, so a place in the list stays good
 * while the lock is given up. */
static void run_round(struct tails *t) {
    struct tail **link = &t->list;
    while (*link) {
        struct tail *tail = *link;
        bool live = tail->live;
        bool goes_on = true;
        if (live) {
            (void)pthread_mutex_unlock(&t->lock);
            goes_on = serve(tail);
            (void)pthread_mutex_lock(&t->lock);
        }
        if (goes_on) {
            link = &tail->next;
            continue;
        }
        /* Others may have joined before the first one. */
        while (*link != tail)
            link = &(*link)->next;
        *link = tail->next;
        (void)pthread_mutex_unlock(&t->lock);
        tail_free(tail);
        (void)pthread_mutex_lock(&t->lock);
    }
}

static void *tails_main(void *arg) {
    struct tails *t = arg;
    (void)pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        int64_t began_ns = clock_mono_ns();
        t->woken = false;
        t->pressed = false;
        run_round(t);
        wait_round(t, began_ns);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

struct tails *tails_new(struct store *store, struct engine *engine) {
    struct tails *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->store = store;
    t->engine = engine;
    (void)pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    sigset_t all, before;
    (void)sigfillset(&all);
    map_guard_leave_open(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    t->started = pthread_create(&t->thread, NULL, tails_main, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (t->started)
        return t;
    tails_free(t);
    return NULL;
}

void tails_stop(struct tails *t) {
    if (!t || !t->started)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->stop = true;
    for (struct tail *i = t->list; i; i = i->next)
        ws_leave(i->ws, WS_GOING_AWAY, STR("the server is shutting down"));
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->lock);
    (void)pthread_join(t->thread, NULL);
    t->started = false;
}

void tails_free(struct tails *t) {
    if (!t)
        return;
    tails_stop(t);
    while (t->list) {
        struct tail *next = t->list->next;
        tail_free(t->list);
        t->list = next;
    }
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* t->lock is held. NULL tenant = all. */
static size_t count_tails(const struct tails *t, const struct str *tenant) {
    size_t n = 0;
    for (const struct tail *i = t->list; i; i = i->next)
        n += !i->refused && !atomic_load(ws_over(i->ws)) &&
             (!tenant || str_eq(i->options.tenant, *tenant));
    return n;
}

size_t tails_count(struct tails *t) {
    (void)pthread_mutex_lock(&t->lock);
    size_t n = count_tails(t, NULL);
    (void)pthread_mutex_unlock(&t->lock);
    return n;
}

/* Into the list, unless there are too many: then the reason is in reterr. */
static int join(struct tail *t, struct err *reterr) {
    struct tails *owner = t->owner;
    uint32_t limit = t->options.max_per_tenant;
    int r = 0;
    (void)pthread_mutex_lock(&owner->lock);
    size_t own = count_tails(owner, &t->options.tenant) + 1;
    if (limit > 0 && own > limit)
        r = err_set(reterr, -EREFUSED,
                    "max concurrent tail requests limit exceeded, count > limit (%zu > %u)", own,
                    limit);
    else if (count_tails(owner, NULL) >= TAILS_MAX)
        r = err_set(reterr, -EREFUSED, "too many live tails on this server, limit is %d",
                    TAILS_MAX);
    else if (owner->stop)
        r = err_set(reterr, -ECANCELED, "the server is shutting down");
    t->refused = r < 0;
    t->next = owner->list;
    owner->list = t;
    (void)pthread_mutex_unlock(&owner->lock);
    return r;
}

void tail_begin(struct tail *t, struct ws_session *ws) {
    struct tails *owner = t->owner;
    struct err err = {0};
    t->ws = ws;
    if (t->options.duration_ns > 0)
        t->end_mono_ns = clock_mono_ns() + t->options.duration_ns;
    int r = join(t, &err);
    if (r == 0)
        r = start(t, &err);
    if (r < 0)
        ws_close(ws, r == -ECANCELED ? WS_GOING_AWAY : WS_INTERNAL_ERROR, str_from(err.text));
    (void)pthread_mutex_lock(&owner->lock);
    t->live = true;
    owner->woken = true;
    (void)pthread_cond_signal(&owner->wake);
    (void)pthread_mutex_unlock(&owner->lock);
}
