/* Volume against a slow, obvious model over a real store: late and repeated entries, in heads
 * and in chunk files. */
#include "volume.h"

#include <errno.h>

#include "clock.h"
#include "store_world.h"
#include "test_random.h"
#include "units.h"

enum { STREAMS = 6, ENTRIES_MAX = 4000 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)
#define SPAN_NS (3600 * NS_PER_S)

/* ---- the model */

struct m_entry {
    int stream;
    int64_t ts_ns;
    size_t size; /* the line is that many times the letter of the stream */
};
static struct m_entry entries[ENTRIES_MAX];
static size_t n_entries;

/* Streams 0 to 3 have a host, 4 and 5 do not. */
static struct labels stream_set(int stream, struct label *items) {
    static const char *const apps[STREAMS] = {"api", "api", "web", "web", "db", "db"};
    static const char *const hosts[STREAMS] = {"h1", "h2", "h1", "h2", "", ""};
    static const char *const sides[STREAMS] = {"a", "a", "a", "a", "a", "b"};
    size_t n = 0;
    items[n++] = (struct label){STR("app"), str_from(apps[stream])};
    items[n++] = (struct label){STR("host"), str_from(hosts[stream])};
    items[n++] = (struct label){STR("side"), str_from(sides[stream])};
    return (struct labels){.items = items, .count = labels_normalize(items, n)};
}

static void remember(const struct m_entry *e) {
    for (size_t i = 0; i < n_entries; i++)
        if (entries[i].stream == e->stream && entries[i].ts_ns == e->ts_ns &&
            entries[i].size == e->size)
            return;
    if (n_entries < ENTRIES_MAX)
        entries[n_entries++] = *e;
}

/* ---- the store */

static struct store_world world;

static void open_all(void) {
    world_begin(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
    n_entries = 0;
}

static void append(int stream_index, int64_t ts_ns, struct str line, struct labels meta) {
    struct label set[3];
    struct entry entry = {
        .ts_ns = ts_ns, .line = line, .meta = meta.items, .meta_count = (uint32_t)meta.count};
    CHECK_INT(world_append(world.store, STR("t"), stream_set(stream_index, set), &entry, 1), 0);
}

static void append_model(const struct m_entry *e) {
    char line[100];
    memset(line, 'a' + e->stream, sizeof(line));
    append(e->stream, e->ts_ns, str_make(line, e->size), (struct labels){0});
    remember(e);
}

static void fill(size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct m_entry e = {
            .stream = (int)random_below(STREAMS),
            .ts_ns = BASE_NS + (int64_t)random_below(SPAN_NS / NS_PER_S) * NS_PER_S,
            .size = 1 + random_below(90),
        };
        if (n_entries > 10 && random_below(5) == 0)
            e = entries[random_below(n_entries)];
        append_model(&e);
    }
}

/* ---- checks */

static struct query_result *ask(const struct volume_query *q) {
    struct query_result *r = NULL;
    struct err err = {0};
    if (volume_query(world.store, q, &r, &err) < 0) {
        printf("  volume: %s\n", err.text);
        CHECK(false);
    }
    return r;
}

/* Sum of the model's entries of an app in [from, to). NULL = all apps. */
static double model_bytes(const char *app, int64_t from_ns, int64_t to_ns) {
    double bytes = 0;
    for (size_t i = 0; i < n_entries; i++) {
        struct label set[3];
        struct labels labels = stream_set(entries[i].stream, set);
        if (app && !str_eq(labels_get(labels, STR("app")), str_from(app)))
            continue;
        if (entries[i].ts_ns >= from_ns && entries[i].ts_ns < to_ns)
            bytes += (double)entries[i].size;
    }
    return bytes;
}

/* Every point is the model's sum of its bucket, and no bucket with bytes is missing. */
static void check_steps(int64_t start_ns, int64_t end_ns, int64_t step_ns) {
    struct volume_query q = {
        .tenant = STR("t"),
        .selector = STR("{app=~\".+\"}"),
        .start_ns = start_ns,
        .end_ns = end_ns,
        .step_ns = step_ns,
        .limit = 100,
    };
    struct query_result *r = ask(&q);
    if (!r)
        return;
    for (size_t s = 0; s < r->n_series; s++) {
        const struct result_series *series = &r->series[s];
        CHECK_INT(series->labels.count, 1);
        char app[10] = "";
        memcpy(app, series->labels.items[0].value.data, series->labels.items[0].value.size);
        size_t n = 0;
        int64_t bucket_ns = step_ns ? start_ns - start_ns % step_ns : start_ns;
        for (; bucket_ns < end_ns; bucket_ns += step_ns ? step_ns : end_ns - start_ns) {
            int64_t next_ns = step_ns ? bucket_ns + step_ns : end_ns;
            int64_t stamp_ns = next_ns >= end_ns ? end_ns : next_ns - NS_PER_MS;
            double want = model_bytes(app, bucket_ns < start_ns ? start_ns : bucket_ns,
                                      next_ns < end_ns ? next_ns : end_ns);
            if (want == 0)
                continue;
            CHECK(n < series->n_points);
            if (n >= series->n_points)
                break;
            CHECK_INT(series->points[n].ts_ns, stamp_ns);
            CHECK(series->points[n].value == want);
            n++;
        }
        CHECK_INT(series->n_points, n);
        CHECK(s == 0 || step_ns || r->series[s - 1].points[0].value >= series->points[0].value);
    }
    query_result_free(r);
}

static void check_all(void) {
    static const int64_t steps[] = {0, 7 * NS_PER_S, 60 * NS_PER_S, 600 * NS_PER_S, SPAN_NS};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        check_steps(BASE_NS, BASE_NS + SPAN_NS, steps[i]);
        check_steps(BASE_NS + 1001, BASE_NS + SPAN_NS / 3, steps[i]);
        check_steps(BASE_NS + 600 * NS_PER_S, BASE_NS + 600 * NS_PER_S + 1, steps[i]);
    }
}

static void against_the_model(void) {
    open_all();
    fill(700);
    check_all();
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_all();
    fill(500); /* repeats some of what is in the files */
    check_all();
    CHECK_INT(store_flush(world.store, NULL), 0);
    check_all();
    world_end(&world);
}

/* ---- rows: how streams come together */

static struct str row_text(const struct query_result *r, struct buf *out) {
    for (size_t i = 0; i < r->n_series; i++) {
        labels_format(out, r->series[i].labels);
        buf_addf(out, "=%.0f ", r->series[i].points[0].value);
    }
    return str_trim(buf_str(out));
}

static void rows(void) {
    static const struct {
        const char *selector, *targets[3];
        enum volume_by by;
        uint32_t limit;
        const char *want;
    } cases[] = {
        {"{app=\"api\"}", {0}, VOLUME_BY_SERIES, 100, "{app=\"api\"}=3"},
        {"{}", {0}, VOLUME_BY_SERIES, 2, "{app=\"db\", side=\"b\"}=6 {app=\"db\", side=\"a\"}=5"},
        {"{side=~\".+\"}", {"host"}, VOLUME_BY_SERIES, 100, "{host=\"h2\"}=6 {host=\"h1\"}=4"},
        {"{}", {"host"}, VOLUME_BY_LABELS, 100, "{host=\"\"}=10"},
        {"{app=\"db\"}", {0}, VOLUME_BY_LABELS, 100, "{app=\"\"}=11 {side=\"\"}=11"},
        {"{}", {"nosuch"}, VOLUME_BY_SERIES, 100, ""},
        {"{app=\"db\", host!=\"x\"}", {"host"}, VOLUME_BY_SERIES, 100, "{}=11"},
        {"{app=\"db\"}", {"app", "side"}, VOLUME_BY_SERIES, 1, "{app=\"db\", side=\"b\"}=6"},
        {"{app=\"none\"}", {0}, VOLUME_BY_SERIES, 100, ""},
    };
    open_all();
    for (int i = 0; i < STREAMS; i++)
        append_model(&(struct m_entry){.stream = i, .ts_ns = BASE_NS, .size = (size_t)i + 1});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str targets[3];
        size_t n_targets = 0;
        for (; n_targets < 3 && cases[i].targets[n_targets]; n_targets++)
            targets[n_targets] = str_from(cases[i].targets[n_targets]);
        struct volume_query q = {
            .tenant = STR("t"),
            .selector = str_from(cases[i].selector),
            .start_ns = BASE_NS,
            .end_ns = BASE_NS + 1,
            .targets = targets,
            .n_targets = n_targets,
            .by = cases[i].by,
            .limit = cases[i].limit,
        };
        struct query_result *r = ask(&q);
        struct buf text = buf_make(4096);
        if (r) {
            CHECK_STR(row_text(r, &text), str_from(cases[i].want));
            CHECK_INT(r->type, RESULT_VECTOR);
        }
        buf_done(&text);
        query_result_free(r);
    }
    world_end(&world);
}

/* Eight bytes for a pair, and each distinct name and value once. */
static void metadata(void) {
    open_all();
    const struct label info[] = {{STR("level"), STR("info")}, {STR("trace"), STR("t1")}};
    const struct label warn[] = {{STR("level"), STR("warn")}};
    append(0, BASE_NS, STR("12345"), (struct labels){.items = info, .count = 2});
    append(0, BASE_NS + 1, STR("12345"), (struct labels){.items = warn, .count = 1});
    struct volume_query q = {
        .tenant = STR("t"),
        .selector = STR("{}"),
        .start_ns = BASE_NS,
        .end_ns = BASE_NS + NS_PER_S,
        .limit = 1,
    };
    for (int flushed = 0; flushed < 2; flushed++) {
        struct query_result *r = ask(&q);
        if (r && r->n_series == 1)
            CHECK_INT(r->series[0].points[0].value,
                      2 * 5 + 3 * 8 + sizeof("levelinfowarntracet1") - 1);
        CHECK(r && r->n_series == 1);
        query_result_free(r);
        CHECK_INT(store_flush(world.store, NULL), 0);
    }
    world_end(&world);
}

static void refusals(void) {
    open_all();
    for (int i = 0; i < STREAMS; i++)
        append_model(&(struct m_entry){.stream = i, .ts_ns = BASE_NS, .size = 1});
    atomic_bool gone = true;
    const struct volume_query good = {
        .tenant = STR("t"),
        .selector = STR("{}"),
        .start_ns = BASE_NS,
        .end_ns = BASE_NS + SPAN_NS,
        .limit = 100,
    };
    struct {
        struct volume_query q;
        int want;
    } cases[] = {
        {good, 0},         {good, -EREFUSED}, {good, -ECANCELED}, {good, -EEXPIRED},
        {good, -ESYNTAX},  {good, -ESYNTAX},  {good, -ESYNTAX},   {good, -EREFUSED},
        {good, -EREFUSED}, {good, 0},
    };
    cases[1].q.max_series = 5;
    cases[2].q.cancel = &gone;
    cases[3].q.deadline_mono_ns = 1;
    cases[4].q.selector = STR("{app=~\".*\"}");
    cases[5].q.selector = STR("");
    cases[6].q.selector = STR("{app=\"api\"} |= \"x\"");
    cases[7].q.step_ns = NS_PER_MS;     /* too many steps */
    cases[8].q.step_ns = 2 * NS_PER_MS; /* too many points over all rows */
    cases[9].q.end_ns = BASE_NS;        /* empty range */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct query_result *r = NULL;
        struct err err = {0};
        CHECK_INT(volume_query(world.store, &cases[i].q, &r, &err), cases[i].want);
        CHECK((r != NULL) == (cases[i].want == 0));
        CHECK(cases[i].want == 0 || err.text[0]);
        query_result_free(r);
    }
    world_end(&world);
}

int main(void) {
    RUN(against_the_model);
    RUN(rows);
    RUN(metadata);
    RUN(refusals);
    return test_done();
}
