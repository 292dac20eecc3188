/* Whole queries over a real store against a slow, obvious model: an array of entries, strstr, and one loop per
 * window. The store is filled at random, with late, equal and repeated entries, and asked while everything is in
 * heads, after a flush, and half and half. */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <strings.h>
#include <xxhash.h>

#include "budget.h"
#include "clock.h"
#include "store_world.h"
#include "test_random.h"
#include "units.h"

enum { STREAMS = 6, ENTRIES_MAX = 30000, LEVELS = 4, TRACES = 4, KEYS_MAX = 400, STEPS_MAX = 64 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)
#define SPAN_NS (3600 * NS_PER_S)

static uint64_t spread_s = SPAN_NS / NS_PER_S; /* entries are within so many seconds of BASE_NS */

/* ---- the model's data */

static const char *const apps[] = {"api", "web", "db"};
static const char *const hosts[] = {"h1", "h2"};
static const char *const levels[LEVELS] = {"", "info", "warn", "error"};
static const char *const traces[TRACES] = {"", "", "t1", "t2"};

struct m_entry {
    int stream, level, trace;
    int64_t ts_ns;
    char line[100];
};
static struct m_entry entries[ENTRIES_MAX]; /* in order of arrival, no duplicates */
static size_t n_entries;

static struct labels stream_set(int stream, struct label *items) {
    items[0] = (struct label){STR("app"), str_from(apps[stream / 2])};
    items[1] = (struct label){STR("host"), str_from(hosts[stream % 2])};
    return (struct labels){.items = items, .count = 2};
}

static size_t meta_set(const struct m_entry *e, struct label *items) {
    size_t n = 0;
    if (levels[e->level][0])
        items[n++] = (struct label){STR("detected_level"), str_from(levels[e->level])};
    if (traces[e->trace][0])
        items[n++] = (struct label){STR("trace_id"), str_from(traces[e->trace])};
    return n;
}

static struct labels full_set(const struct m_entry *e, struct label *items) {
    (void)stream_set(e->stream, items);
    size_t count = 2 + meta_set(e, items + 2);
    return (struct labels){.items = items, .count = labels_normalize(items, count)};
}

static bool same_entry(const struct m_entry *a, const struct m_entry *b) {
    return a->stream == b->stream && a->ts_ns == b->ts_ns && a->level == b->level &&
           strcmp(traces[a->trace], traces[b->trace]) == 0 && strcmp(a->line, b->line) == 0;
}

static void remember(const struct m_entry *e) {
    for (size_t i = 0; i < n_entries; i++)
        if (same_entry(&entries[i], e))
            return;
    if (n_entries < ENTRIES_MAX)
        entries[n_entries++] = *e;
}

static struct m_entry random_entry(void) {
    static const char *const words[] = {"timeout", "Timeout", "TIMEOUT",  "connected", "refused",
                                        "GET",     "POST",    "/v1/push", "disk",      "\n"};
    struct m_entry e = {
        .stream = (int)random_below(STREAMS),
        .level = (int)random_below(LEVELS),
        .trace = (int)random_below(TRACES),
        .ts_ns = BASE_NS + (int64_t)random_below(spread_s) * NS_PER_S +
                 (random_below(4) ? (int64_t)random_below(1000) * NS_PER_MS : 0),
    };
    size_t at = 0;
    for (uint64_t n = random_below(5); n > 0; n--)
        at += (size_t)snprintf(e.line + at, sizeof(e.line) - at, "%s ",
                               words[random_below(sizeof(words) / sizeof(*words))]);
    if (random_below(8) != 0)
        (void)snprintf(e.line + at, sizeof(e.line) - at, "request %llu",
                       (unsigned long long)random_below(500));
    return e;
}

/* ---- the store */

static struct store_world world;
static struct engine *engine;
static enum block_effort effort = EFFORT_FAST;

static void open_all(void) {
    world_begin(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}, .effort = effort});
    engine = engine_new(world.store, &(struct engine_options){.threads = 3});
    n_entries = 0;
}

static void close_all(void) {
    engine_free(engine);
    world_end(&world);
}

static void append(const struct m_entry *e) {
    struct label set[2], meta[2];
    struct entry entry = {
        .ts_ns = e->ts_ns,
        .line = str_from(e->line),
        .meta = meta,
        .meta_count = (uint32_t)meta_set(e, meta),
    };
    CHECK_INT(world_append(world.store, STR("t"), stream_set(e->stream, set), &entry, 1), 0);
}

static void fill(size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct m_entry e = n_entries > 10 && random_below(10) == 0
                               ? entries[random_below(n_entries)]
                               : random_entry();
        append(&e);
        remember(&e);
    }
}

/* ---- what is asked */

enum filter {
    F_NONE,
    F_CONTAINS,
    F_EXCLUDES,
    F_FOLD,
    F_TWO,
    F_LEVEL,
    F_NEWLINE,
    F_OR,
    F_ALTERNATION,
    F_COUNT
};
static const char *const filters[F_COUNT] = {
    "",
    " |= \"timeout\"",
    " != \"timeout\"",
    " |~ \"(?i)timeout\"",
    " |= \"request 1\" |= \"GET\"",
    " | detected_level=\"error\"",
    " |= \"disk \\n\"",
    " |= \"refused\" or \"request 44\"",
    " |~ \"refused|request 44\"",
};

static bool passes(const struct m_entry *e, enum filter f) {
    switch (f) {
    case F_NONE:
    case F_COUNT:
        break;
    case F_CONTAINS:
        return strstr(e->line, "timeout") != NULL;
    case F_EXCLUDES:
        return strstr(e->line, "timeout") == NULL;
    case F_FOLD:
        return strcasestr(e->line, "timeout") != NULL;
    case F_TWO:
        return strstr(e->line, "request 1") && strstr(e->line, "GET");
    case F_LEVEL:
        return strcmp(levels[e->level], "error") == 0;
    case F_NEWLINE:
        return strstr(e->line, "disk \n") != NULL;
    case F_OR:
    case F_ALTERNATION:
        return strstr(e->line, "refused") || strstr(e->line, "request 44");
    }
    return true;
}

static const char *const selectors[] = {"{app=~\".+\"}", "{app=\"api\"}",
                                        "{app=\"web\",host=\"h2\"}"};
enum { SELECTORS = 3 };

static bool selected(const struct m_entry *e, int selector) {
    return selector == 0 || (selector == 1 && e->stream / 2 == 0) ||
           (selector == 2 && e->stream == 3);
}

static int run_query(struct query *q, struct query_result **ret) {
    struct err err = {0};
    q->tenant = STR("t");
    int r = engine_query(engine, q, ret, &err);
    if (r < 0)
        printf("  %.*s: %d %s\n", STR_ARG(q->text), r, err.text);
    return r;
}

/* ---- log queries */

static bool model_backward;

/* Entries at the same time stand in the order of their label sets' hashes, as Loki has it. */
static uint64_t tie_hash(const struct m_entry *e) {
    struct label items[4];
    struct labels set = full_set(e, items);
    struct buf text = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < set.count; i++) {
        buf_add_str(&text, set.items[i].name);
        buf_add_char(&text, '\xff');
        buf_add_str(&text, set.items[i].value);
        buf_add_char(&text, '\xff');
    }
    uint64_t hash = XXH64(text.data, text.size, 0);
    buf_done(&text);
    return hash;
}

static int compare_log(const void *a, const void *b) {
    const struct m_entry *x = *(const struct m_entry *const *)a,
                         *y = *(const struct m_entry *const *)b;
    int turn = model_backward ? -1 : 1;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -turn : turn;
    uint64_t xt = tie_hash(x), yt = tie_hash(y);
    if (xt != yt)
        return xt < yt ? -1 : 1;
    return x < y ? -turn : turn;
}

static void check_set(struct labels got, const struct m_entry *want, const char *text) {
    struct label items[4];
    if (!labels_eq(got, full_set(want, items))) {
        printf("  %s: labels differ\n", text);
        CHECK(false);
    }
}

static void check_log(int selector, enum filter f, int64_t start, int64_t end, uint32_t limit,
                      bool backward) {
    static const struct m_entry *want[ENTRIES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_entries; i++)
        if (selected(&entries[i], selector) && passes(&entries[i], f) &&
            entries[i].ts_ns >= start && entries[i].ts_ns < end)
            want[n++] = &entries[i];
    model_backward = backward;
    qsort(want, n, sizeof(*want), compare_log);
    if (n > limit)
        n = limit;
    char text[200];
    (void)snprintf(text, sizeof(text), "%s%s", selectors[selector], filters[f]);
    struct query q = {
        .text = str_from(text),
        .start_ns = start,
        .end_ns = end,
        .limit = limit,
        .direction = backward ? DIR_BACKWARD : DIR_FORWARD,
    };
    struct query_result *result = NULL;
    CHECK_INT(run_query(&q, &result), 0);
    if (!result)
        return;
    CHECK_INT(result->type, RESULT_STREAMS);
    CHECK_INT(result->n_entries, n);
    CHECK_INT(result->stats.entries_returned, n);
    for (size_t i = 0; i < n && i < result->n_entries; i++) {
        const struct result_entry *e = &result->entries[i];
        if (e->ts_ns != want[i]->ts_ns || !str_eq(e->line, str_from(want[i]->line))) {
            printf("  %s limit %u %s: entry %zu of %zu differs\n", text, limit,
                   backward ? "backward" : "forward", i, n);
            CHECK(false);
            break;
        }
        check_set(result->sets[e->set].merged, want[i], text);
    }
    query_result_free(result);
}

static void check_logs(void) {
    static const uint32_t limits[] = {1, 7, 100, 5000};
    for (int selector = 0; selector < SELECTORS; selector++)
        for (enum filter f = 0; f < F_COUNT; f++)
            for (size_t l = 0; l < sizeof(limits) / sizeof(*limits); l++)
                for (int backward = 0; backward < 2; backward++) {
                    check_log(selector, f, BASE_NS, BASE_NS + SPAN_NS, limits[l], backward);
                    int64_t start = BASE_NS + (int64_t)random_below(3000) * NS_PER_S;
                    int64_t end = start + (int64_t)random_below(900) * NS_PER_S;
                    check_log(selector, f, start, end, limits[l], backward);
                }
}

/* ---- metric queries */

struct m_table {
    char keys[KEYS_MAX][160];
    double values[KEYS_MAX][STEPS_MAX];
    unsigned counts[KEYS_MAX][STEPS_MAX];
    struct label items[KEYS_MAX][4];
    struct labels sets[KEYS_MAX];
    size_t count;
};

static size_t key_of(struct m_table *t, struct labels set) {
    struct buf text = buf_make(160);
    labels_format(&text, set);
    buf_add_char(&text, '\0');
    size_t i = 0;
    while (i < t->count && strcmp(t->keys[i], text.data) != 0)
        i++;
    if (i == t->count) {
        if (t->count == KEYS_MAX)
            abort();
        memcpy(t->keys[i], text.data, text.size);
        memcpy(t->items[i], set.items, set.count * sizeof(struct label));
        t->sets[i] = (struct labels){.items = t->items[i], .count = set.count};
        t->count++;
    }
    buf_done(&text);
    return i;
}

enum outer {
    O_NONE,
    O_SUM,
    O_SUM_APP,
    O_SUM_LEVEL,
    O_SUM_WITHOUT,
    O_MAX_APP,
    O_AVG_LEVEL,
    O_COUNT
};
static const char *const outers[O_COUNT] = {
    "",
    "sum",
    "sum by (app)",
    "sum by (detected_level, nosuch)",
    "sum without (host, trace_id)",
    "max by (app)",
    "avg by (detected_level)",
};
static const char *const ranges[] = {"count_over_time", "rate", "bytes_over_time", "bytes_rate"};

static bool keeps(enum outer o, struct str name) {
    switch (o) {
    case O_NONE:
    case O_COUNT:
        return true;
    case O_SUM:
        return false;
    case O_SUM_APP:
    case O_MAX_APP:
        return str_eq(name, STR("app"));
    case O_SUM_LEVEL:
    case O_AVG_LEVEL:
        return str_eq(name, STR("detected_level"));
    case O_SUM_WITHOUT:
        break;
    }
    return !str_eq(name, STR("host")) && !str_eq(name, STR("trace_id"));
}

static void model_outer(const struct m_table *in, enum outer o, size_t steps, struct m_table *out) {
    for (size_t i = 0; i < in->count; i++) {
        struct label items[4];
        size_t n = 0;
        for (size_t j = 0; j < in->sets[i].count; j++)
            if (keeps(o, in->sets[i].items[j].name))
                items[n++] = in->sets[i].items[j];
        size_t key = key_of(out, (struct labels){.items = items, .count = n});
        for (size_t s = 0; s < steps; s++) {
            if (in->counts[i][s] == 0)
                continue;
            double v = in->values[i][s];
            if (o == O_MAX_APP)
                out->values[key][s] =
                    out->counts[key][s] == 0 || v > out->values[key][s] ? v : out->values[key][s];
            else
                out->values[key][s] += v;
            out->counts[key][s]++;
        }
    }
    for (size_t i = 0; o == O_AVG_LEVEL && i < out->count; i++)
        for (size_t s = 0; s < steps; s++)
            if (out->counts[i][s] > 0)
                out->values[i][s] /= out->counts[i][s];
}

struct metric_case {
    int selector;
    enum filter filter;
    int range_op;
    enum outer outer;
    int64_t range_s, step_s, start_s, end_s, offset_s;
    bool instant;
};

static size_t model_inner(const struct metric_case *c, int64_t *ret_first, struct m_table *t) {
    int64_t first = c->instant ? BASE_NS / NS_PER_S + c->end_s
                               : (BASE_NS / NS_PER_S + c->start_s) / c->step_s * c->step_s;
    int64_t last = c->instant
                       ? first
                       : (BASE_NS / NS_PER_S + c->end_s + c->step_s - 1) / c->step_s * c->step_s;
    size_t steps = c->instant ? 1 : (size_t)((last - first) / c->step_s) + 1;
    if (steps > STEPS_MAX)
        abort();
    for (size_t i = 0; i < n_entries; i++) {
        const struct m_entry *e = &entries[i];
        if (!selected(e, c->selector) || !passes(e, c->filter))
            continue;
        struct label items[4];
        size_t key = key_of(t, full_set(e, items));
        for (size_t s = 0; s < steps; s++) {
            int64_t to = (first + (int64_t)s * c->step_s - c->offset_s) * NS_PER_S;
            if (e->ts_ns > to || e->ts_ns <= to - c->range_s * NS_PER_S)
                continue;
            double v = c->range_op < 2 ? 1 : (double)strlen(e->line);
            t->values[key][s] += c->range_op % 2 ? v / (double)c->range_s : v;
            t->counts[key][s]++;
        }
    }
    *ret_first = first * NS_PER_S;
    return steps;
}

static void compare_series(const char *text, const struct m_table *t, size_t key, size_t steps,
                           int64_t first_ns, int64_t step_ns, const struct result_series *got) {
    size_t n = 0;
    for (size_t s = 0; s < steps; s++) {
        if (t->counts[key][s] == 0)
            continue;
        if (n >= got->n_points) {
            n++;
            continue;
        }
        double want = t->values[key][s], value = got->points[n].value;
        if (got->points[n].ts_ns != first_ns + (int64_t)s * step_ns ||
            fabs(value - want) > 1e-9 * (1 + fabs(want))) {
            printf("  %s: %s at step %zu is %g, want %g\n", text, t->keys[key], s, value, want);
            CHECK(false);
        }
        n++;
    }
    CHECK_INT(got->n_points, n);
}

static void check_metric(const struct metric_case *c) {
    static struct m_table inner, outer;
    memset(&inner, 0, sizeof(inner));
    memset(&outer, 0, sizeof(outer));
    int64_t first_ns;
    size_t steps = model_inner(c, &first_ns, &inner);
    model_outer(&inner, c->outer, steps, &outer);
    char text[300], offset[32] = "";
    if (c->offset_s)
        (void)snprintf(offset, sizeof(offset), " offset %llds", (long long)c->offset_s);
    (void)snprintf(text, sizeof(text), "%s%s%s(%s%s[%llds]%s)%s", outers[c->outer],
                   c->outer ? "(" : "", ranges[c->range_op], selectors[c->selector],
                   filters[c->filter], (long long)c->range_s, offset, c->outer ? ")" : "");
    struct query q = {
        .text = str_from(text),
        .instant = c->instant,
        .start_ns = BASE_NS + c->start_s * NS_PER_S,
        .end_ns = BASE_NS + c->end_s * NS_PER_S,
        .step_ns = c->step_s * NS_PER_S,
    };
    struct query_result *result = NULL;
    CHECK_INT(run_query(&q, &result), 0);
    if (!result)
        return;
    CHECK_INT(result->type, c->instant ? RESULT_VECTOR : RESULT_MATRIX);
    size_t wanted = 0;
    for (size_t i = 0; i < outer.count; i++) {
        bool any = false;
        for (size_t s = 0; s < steps; s++)
            any = any || outer.counts[i][s] > 0;
        if (!any)
            continue;
        wanted++;
        size_t j = 0;
        while (j < result->n_series && !labels_eq(result->series[j].labels, outer.sets[i]))
            j++;
        if (j == result->n_series) {
            printf("  %s: no series %s\n", text, outer.keys[i]);
            CHECK(false);
            continue;
        }
        compare_series(text, &outer, i, steps, first_ns, q.step_ns, &result->series[j]);
    }
    if (result->n_series != wanted)
        printf("  %s: %zu series, want %zu\n", text, result->n_series, wanted);
    CHECK_INT(result->n_series, wanted);
    query_result_free(result);
}

static void check_metrics(void) {
    static const struct {
        int64_t range, step, start, end, offset;
        bool instant;
    } times[] = {
        {300, 300, 0, 3600, 0, false},      /* tumbling */
        {700, 100, 50, 3333, 0, false},     /* overlapping, not aligned */
        {60, 240, 0, 3600, 0, false},       /* gaps */
        {1000, 0, 0, 3000, 0, true},        /* instant */
        {900, 450, 1000, 3000, 600, false}, /* offset */
        {7200, 0, 0, 3600, 0, true},        /* everything in one window */
    };
    for (int selector = 0; selector < SELECTORS; selector++)
        for (enum filter f = 0; f < F_COUNT; f++)
            for (enum outer o = 0; o < O_COUNT; o++)
                for (size_t t = 0; t < sizeof(times) / sizeof(*times); t++) {
                    struct metric_case c = {
                        .selector = selector,
                        .filter = f,
                        .range_op = (int)random_below(4),
                        .outer = o,
                        .range_s = times[t].range,
                        .step_s = times[t].step,
                        .start_s = times[t].start,
                        .end_s = times[t].end,
                        .offset_s = times[t].offset,
                        .instant = times[t].instant,
                    };
                    check_metric(&c);
                }
}

/* ---- tests */

static void against_the_model(void) {
    open_all();
    fill(1500);
    check_logs();
    check_metrics();
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_logs();
    check_metrics();
    fill(800); /* late and repeated entries in heads over blocks on disk */
    check_logs();
    check_metrics();
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_logs();
    check_metrics();
    close_all();
}

/* Blocks with so many entries a minute that they have rollups. */
static void dense_against_the_model(void) {
    spread_s = 300;
    open_all();
    fill(3000);
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_metrics();
    fill(300); /* overlaps: duplicates are told from the columns */
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_metrics();
    close_all();
    spread_s = SPAN_NS / NS_PER_S;
}

/* What was asked until now has used blocks that are put aside between queries: of them all that can be there are there, and
 * go with their chunks. */
static void check_shelf(void) {
    struct store_stats stats;
    store_get_stats(world.store, &stats);
    CHECK_INT(stats.shelved_blocks, stats.flushed_chunks);
    CHECK(stats.shelved_bytes > stats.shelved_blocks * 1000);
    CHECK_INT(budget_used(BUDGET_QUERIES), stats.shelved_bytes);
}

/* Blocks whose lines are tables are searched by their parts. */
static void tables_against_the_model(void) {
    effort = EFFORT_TABLE;
    spread_s = 300;
    open_all();
    fill(3000);
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_logs();
    check_metrics();
    check_shelf();
    close_all();
    spread_s = SPAN_NS / NS_PER_S;
    against_the_model();
    effort = EFFORT_FAST;
}

static void numbers(void) {
    open_all();
    const struct {
        const char *text;
        enum result_type type;
        double value;
    } cases[] = {
        {"1 + 2 * 3", RESULT_SCALAR, 7},
        {"2 ^ 3 ^ 2", RESULT_SCALAR, 512},
        {"3 > bool 2", RESULT_SCALAR, 1},
        {"2 >= 2", RESULT_SCALAR, 1},
        {"2 < 2", RESULT_SCALAR, 0},
        {"vector(1)+vector(1)", RESULT_VECTOR, 2},
        {"vector(7) % 4", RESULT_VECTOR, 3},
        {"10 - vector(4)", RESULT_VECTOR, 6},
        {"vector(3) > 2", RESULT_VECTOR, 3},
        {"2 < vector(3)", RESULT_VECTOR, 3},
        {"vector(3) > bool 4", RESULT_VECTOR, 0},
        {"sum(vector(3))", RESULT_VECTOR, 3},
        {"vector(1) / 0", RESULT_VECTOR, NAN},
        {"absent_over_time({app=\"none\"}[1m])", RESULT_VECTOR, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct query q = {.text = str_from(cases[i].text), .instant = true, .end_ns = 4 * NS_PER_S};
        struct query_result *r = NULL;
        CHECK_INT(run_query(&q, &r), 0);
        if (!r)
            continue;
        CHECK_INT(r->type, cases[i].type);
        double got = NAN;
        if (r->type == RESULT_SCALAR) {
            got = r->scalar.value;
            CHECK_INT(r->scalar.ts_ns, 4 * NS_PER_S);
        } else {
            CHECK_INT(r->n_series, 1);
            if (r->n_series == 1)
                got = r->series[0].points[0].value;
        }
        bool same = isnan(cases[i].value) ? isnan(got) : got == cases[i].value;
        if (!same)
            printf("  %s is %g\n", cases[i].text, got);
        CHECK(same);
        query_result_free(r);
        /* As a range: one series, a point at each step. */
        q.instant = false;
        q.start_ns = 5 * NS_PER_S;
        q.end_ns = 21 * NS_PER_S;
        q.step_ns = 10 * NS_PER_S;
        r = NULL;
        CHECK_INT(run_query(&q, &r), 0);
        if (!r)
            continue;
        CHECK_INT(r->type, RESULT_MATRIX);
        CHECK_INT(r->n_series, 1);
        if (r->n_series == 1) {
            CHECK_INT(r->series[0].n_points, 4);
            CHECK_INT(r->series[0].points[0].ts_ns, 0);
        }
        query_result_free(r);
    }
    close_all();
}

/* The sum over all series at the end of the data, NAN for no answer. */
static double total_of(const char *text, size_t *ret_series) {
    struct query q = {.text = str_from(text), .instant = true, .end_ns = BASE_NS + SPAN_NS};
    struct query_result *r = NULL;
    *ret_series = 0;
    CHECK_INT(run_query(&q, &r), 0);
    if (!r)
        return NAN;
    double total = 0;
    for (size_t i = 0; i < r->n_series; i++)
        total += r->series[i].points[0].value;
    *ret_series = r->n_series;
    query_result_free(r);
    return total;
}

/* Stages that do not look at the line leave it undecoded, unless it is asked for in another way. */
static void lines_that_are_not_decoded(void) {
    open_all();
    fill(200);
    const char *const ways[] = {
        "bytes_over_time({app=~\".+\"}[2h])",
        "sum(bytes_over_time({app=~\".+\"}[2h]))",
        "bytes_over_time({app=~\".+\"} |= \"\" [2h])",
        "bytes_over_time({app=~\".+\"} | label_format a=`{{.host}}` [2h])",
        "sum by (a) (bytes_over_time({app=~\".+\"} | label_format a=`{{.host}}` [2h]))",
        "sum by (a) (bytes_over_time({app=~\".+\"} | label_format a=`{{__line__}}` [2h]))",
        "bytes_over_time({app=~\".+\"} | line_format `{{__line__}}` [2h])",
    };
    size_t n_series, n_lines;
    double want = total_of(ways[0], &n_series);
    CHECK(want > 0);
    for (size_t i = 1; i < sizeof(ways) / sizeof(ways[0]); i++) {
        double got = total_of(ways[i], &n_series);
        CHECK(got == want);
        if (got != want)
            printf("  %s is %g, want %g\n", ways[i], got, want);
    }
    (void)total_of("sum by (a) (count_over_time({app=~\".+\"} | regexp `(?s)(?P<a>.*)` [2h]))",
                   &n_lines);
    (void)total_of(
        "sum by (a) (count_over_time({app=~\".+\"} | label_format a=`{{__line__}}` [2h]))",
        &n_series);
    CHECK(n_lines > 1);
    CHECK_INT(n_series, n_lines);
    close_all();
}

/* Of samples with the same time in several streams that of the smallest hash is the first, of the largest the last,
 * whichever worker met which when. */
static void ends_of_equal_times(void) {
    open_all();
    int first = 0, last = 0;
    struct m_entry e[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        struct label set[2], n = {STR("n"), STR("")};
        char value[8];
        (void)snprintf(value, sizeof(value), "%d", i);
        n.value = str_from(value);
        e[i] = (struct m_entry){.stream = i};
        const struct entry entry = {
            .ts_ns = BASE_NS, .line = STR("x"), .meta = &n, .meta_count = 1};
        CHECK_INT(world_append(world.store, STR("t"), stream_set(i, set), &entry, 1), 0);
        first = tie_hash(&e[i]) < tie_hash(&e[first]) ? i : first;
        last = tie_hash(&e[i]) > tie_hash(&e[last]) ? i : last;
    }
    for (int round = 0; round < 20; round++) {
        size_t n_series;
        CHECK_INT(total_of("first_over_time({app=~\".+\"} | unwrap n [2h]) by ()", &n_series),
                  first);
        CHECK_INT(total_of("last_over_time({app=~\".+\"} | unwrap n [2h]) by ()", &n_series), last);
        struct err err;
        if (round == 10)
            CHECK_INT(store_flush(world.store, &err), 0);
    }
    close_all();
}

/* What sort decided stays through operations that give a series for a series. */
static void keeps_the_order_of_sort(void) {
#define SERIES(number, letter)                                                                     \
    "label_replace(vector(" #number "), \"a\", \"" letter "\", \"\", \"\")"
#define THREE "(" SERIES(1, "z") " or " SERIES(3, "y") " or " SERIES(2, "x") ")"
    static const struct {
        const char *text, *letters;
    } cases[] = {
        {THREE, "xyz"},
        {"sort" THREE, "zxy"},
        {"sort_desc" THREE, "yxz"},
        {"sort" THREE " + 1", "zxy"},
        {"(10 - sort_desc" THREE ") * 2", "yxz"},
        {"1 < sort_desc" THREE, "yx"},
        {"label_replace(sort_desc" THREE ", \"b\", \"c\", \"\", \"\")", "yxz"},
        {"sort_desc" THREE " / on (a) " THREE, "yxz"},
        {THREE " / on (a) group_right sort_desc" THREE, "yxz"},
        {"sort_desc" THREE " and on () vector(1)", "yxz"},
        {"sort_desc" THREE " or vector(7)", "yxz-"},
        {"sort_desc" THREE " unless " SERIES(0, "x"), "yz"},
        {"sum by (a) (sort_desc" THREE ")", "xyz"},
    };
#undef THREE
#undef SERIES
    open_all();
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct query q = {.text = str_from(cases[i].text), .instant = true, .end_ns = 4 * NS_PER_S};
        struct query_result *r = NULL;
        CHECK_INT(run_query(&q, &r), 0);
        if (!r)
            continue;
        char letters[8] = "";
        for (size_t k = 0; k < r->n_series && k < sizeof(letters) - 1; k++) {
            struct str a = labels_get(r->series[k].labels, STR("a"));
            letters[k] = a.size > 0 ? a.data[0] : '-';
        }
        CHECK_STR(str_from(letters), str_from(cases[i].letters));
        query_result_free(r);
    }
    close_all();
}

/* What `or` takes from either side is one series where the labels are the same. */
static void merges_equal_series(void) {
    open_all();
    struct query q = {
        .text =
            STR("(vector(1) > (vector(2) or vector(3))) or vector(4) or label_replace(vector(5), "
                "\"a\", \"b\", \"\", \"\")"),
        .start_ns = 0,
        .end_ns = 20 * NS_PER_S,
        .step_ns = 10 * NS_PER_S,
    };
    struct query_result *r = NULL;
    CHECK_INT(run_query(&q, &r), 0);
    if (r) {
        CHECK_INT(r->n_series, 2);
        for (size_t i = 0; i < r->n_series; i++)
            CHECK_INT(r->series[i].n_points, 3);
        query_result_free(r);
    }
    struct buf text = buf_make(BUF_NO_MAX);
    buf_add_str(&text, STR("vector(1)"));
    for (int i = 0; i < 150; i++)
        buf_add_str(&text, STR(" + vector(1)"));
    q.text = buf_str(&text);
    r = NULL;
    CHECK_INT(run_query(&q, &r), 0);
    CHECK(r && r->n_series == 1 && r->series[0].points[0].value == 151);
    query_result_free(r);
    buf_done(&text);
    close_all();
}

static void check_refusal(struct query q, int status, const char *text) {
    struct query_result *r = NULL;
    struct err err = {0};
    q.tenant = STR("t");
    CHECK_INT(engine_query(engine, &q, &r, &err), status);
    if (!strstr(err.text, text)) {
        printf("  got \"%s\", want \"%s\"\n", err.text, text);
        CHECK(false);
    }
    query_result_free(r);
}

static void refusals(void) {
    open_all();
    fill(300);
    atomic_bool gone = true;
    struct query log = {
        .text = STR("{app=~\".+\"} |= \"e\""),
        .start_ns = BASE_NS,
        .end_ns = BASE_NS + SPAN_NS,
        .limit = 10,
    };
    struct query metric = log;
    metric.text = STR("count_over_time({app=~\".+\"}[5m])");
    metric.step_ns = 60 * NS_PER_S;
    struct query q = log;
    q.deadline_mono_ns = 1;
    check_refusal(q, -EEXPIRED, "request timed out");
    q = log;
    q.cancel = &gone;
    check_refusal(q, -ECANCELED, "");
    q = log;
    q.max_bytes_read = 1;
    check_refusal(q, -EREFUSED, "the query would read too many bytes (query: ");
    q = log;
    q.instant = true;
    check_refusal(q, -ESYNTAX, "log queries are not supported as an instant query type");
    q = metric;
    q.deadline_mono_ns = 1;
    check_refusal(q, -EEXPIRED, "request timed out");
    q = metric;
    q.max_series = 5;
    check_refusal(q, -EREFUSED,
                  "maximum number of series (5) reached for a single query; consider");
    q = metric;
    q.step_ns = SPAN_NS / 11001;
    check_refusal(q, -ESYNTAX, "exceeded maximum resolution of 11,000 points per time series.");
    q = metric;
    q.step_ns = 0;
    check_refusal(q, -ESYNTAX, "zero or negative query resolution step widths");
    q = metric;
    q.text = STR("sum by (x) (count_over_time({app=~\".+\"} | json [5m]))");
    check_refusal(q, -ESYNTAX, "pipeline error: 'JSONParserErr' for series: '{__error__=");
    q = metric;
    q.text = STR("variants(count_over_time({app=\"a\"}[1m])) of ({app=\"a\"}[1m])");
    check_refusal(q, -EREFUSED, "multi variant queries are disabled for this instance");
    q = metric;
    q.text = STR("{");
    check_refusal(q, -ESYNTAX, "parse error");
    close_all();
}

/* limit first, interval second; start is inclusive, end is not, to the nanosecond. */
static void edges_of_log_queries(void) {
    open_all();
    for (int i = 0; i < 5; i++) {
        struct m_entry e = {.ts_ns = BASE_NS + i};
        (void)snprintf(e.line, sizeof(e.line), "line %d", i);
        append(&e);
    }
    const struct {
        int64_t start, end, interval;
        uint32_t limit;
        bool backward;
        int want[6];
    } cases[] = {
        {1, 3, 0, 10, false, {1, 2, -1}},    {1, 3, 0, 10, true, {2, 1, -1}},
        {0, 5, 2, 10, false, {0, 2, 4, -1}}, {0, 5, 2, 10, true, {4, 2, 0, -1}},
        {0, 5, 2, 2, false, {0, -1}},        {0, 5, 0, 2, true, {4, 3, -1}},
        {2, 2, 0, 10, true, {-1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct query q = {
            .text = STR("{app=\"api\"}"),
            .start_ns = BASE_NS + cases[i].start,
            .end_ns = BASE_NS + cases[i].end,
            .interval_ns = cases[i].interval,
            .limit = cases[i].limit,
            .direction = cases[i].backward ? DIR_BACKWARD : DIR_FORWARD,
        };
        struct query_result *r = NULL;
        CHECK_INT(run_query(&q, &r), 0);
        if (!r)
            continue;
        size_t n = 0;
        for (; cases[i].want[n] >= 0; n++)
            if (n < r->n_entries)
                CHECK_INT(r->entries[n].ts_ns - BASE_NS, cases[i].want[n]);
        CHECK_INT(r->n_entries, n);
        query_result_free(r);
    }
    close_all();
}

/* Queries of several threads share the workers and do not disturb each other. */
static atomic_size_t wrong_answers;

static void *ask_again_and_again(void *arg) {
    (void)arg;
    for (int i = 0; i < 30; i++) {
        struct query q = {
            .text = STR("sum(count_over_time({app=~\".+\"} |~ \"e|T|^$\" [2h]))"),
            .tenant = STR("t"),
            .instant = true,
            .end_ns = BASE_NS + SPAN_NS,
        };
        struct query log = {
            .text = STR("{app=~\".+\"}"),
            .tenant = STR("t"),
            .start_ns = BASE_NS,
            .end_ns = BASE_NS + SPAN_NS,
            .limit = 50,
        };
        struct query_result *r = NULL, *entries_found = NULL;
        struct err err;
        size_t want = 0;
        for (size_t k = 0; k < n_entries; k++)
            want +=
                strchr(entries[k].line, 'e') || strchr(entries[k].line, 'T') || !entries[k].line[0];
        if (engine_query(engine, &q, &r, &err) < 0 || r->n_series != 1 ||
            r->series[0].points[0].value != (double)want)
            atomic_fetch_add(&wrong_answers, 1);
        if (engine_query(engine, &log, &entries_found, &err) < 0 || entries_found->n_entries != 50)
            atomic_fetch_add(&wrong_answers, 1);
        query_result_free(r);
        query_result_free(entries_found);
    }
    return NULL;
}

static void many_at_once(void) {
    open_all();
    fill(400);
    CHECK_INT(store_flush(world.store, NULL), 0);
    if (effort != EFFORT_TABLE) /* else all is in blocks that the threads take from one another */
        fill(200);
    pthread_t threads[12];
    for (size_t i = 0; i < 12; i++)
        if (pthread_create(&threads[i], NULL, ask_again_and_again, NULL) != 0)
            abort();
    for (size_t i = 0; i < 12; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(atomic_load(&wrong_answers), 0);
    close_all();
}

int main(void) {
    RUN(against_the_model);
    RUN(dense_against_the_model);
    RUN(tables_against_the_model);
    RUN(many_at_once);
    effort = EFFORT_TABLE;
    RUN(many_at_once);
    effort = EFFORT_FAST;
    RUN(numbers);
    RUN(lines_that_are_not_decoded);
    RUN(ends_of_equal_times);
    RUN(keeps_the_order_of_sort);
    RUN(merges_equal_series);
    RUN(refusals);
    RUN(edges_of_log_queries);
    return test_done();
}
