/* The same entries in stores that keep them in different ways must answer random queries alike, and log queries as the
 * pipeline does that is run over each line by itself: whatever answers from parts of tables, from rollups or with less than
 * all lines is held against what reads all.
 *
 * usage: test_answers [ROUNDS [QUERIES [SEED]]]; what differs is printed with the seed of its round. */
#include <errno.h>
#include <stdlib.h>

#include "ast.h"
#include "compactor.h"
#include "engine.h"
#include "lines.h"
#include "parser.h"
#include "pipeline.h"
#include "queries.h"
#include "same_answers.h"
#include "store_world.h"
#include "units.h"

enum { STREAMS = 8, BATCHES = 14, BATCH = 260, ENTRIES = BATCHES * BATCH, META_MAX = 3 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)
#define STEP_NS (INT64_C(180) * NS_PER_MS)
#define END_NS (BASE_NS + (ENTRIES + 10) * STEP_NS)

/* ---- the entries */

struct sample_entry {
    struct buf line;
    struct buf values[META_MAX];
    struct label meta[META_MAX];
    struct entry entry;
    unsigned stream;
};
static struct sample_entry *all; /* in order of time; of equal times, of arrival */
static struct str *all_lines;

static struct labels labels_of(unsigned stream, struct label *items, char *name, size_t size) {
    struct labels l = {.items = items};
    (void)snprintf(name, size, "s%u", stream);
    items[l.count++] = (struct label){STR("app"), str_from(name)};
    items[l.count++] = (struct label){STR("env"), stream % 2 ? STR("prod") : STR("dev")};
    if (stream == 4)
        items[l.count++] = (struct label){STR("level"), STR("info")};
    if (stream == 2 || stream == 5)
        items[l.count++] = (struct label){STR("status"), STR("503")};
    if (stream == 6)
        items[l.count++] = (struct label){STR("x"), STR("label")};
    if (stream == 7)
        items[l.count++] = (struct label){STR("x_extracted"), STR("label")};
    return l;
}

/* Two streams are of one make each; the others have two in turn, or all. */
static enum line_make make_of(unsigned stream) {
    static const enum line_make makes[STREAMS][3] = {
        {LINE_JSON, LINE_JSON, LINE_JSON},
        {LINE_LOGFMT, LINE_LOGFMT, LINE_LOGFMT},
        {LINE_JSON, LINE_JSON, LINE_JSON_NESTED},
        {LINE_LOGFMT, LINE_LOGFMT_ODD, LINE_LOGFMT},
        {LINE_JSON_NESTED, LINE_JSON_BROKEN, LINE_JSON},
        {LINE_ACCESS, LINE_TEXT, LINE_LOGFMT_ODD},
        {LINE_MAKES, LINE_MAKES, LINE_MAKES},
        {LINE_PACKED, LINE_LOGFMT, LINE_JSON}};
    enum line_make m = makes[stream][below(3)];
    return m == LINE_MAKES ? below(LINE_MAKES) : m;
}

static void make_meta(struct sample_entry *e) {
    static const char *const names[] = {"env",   "level", "status",     "took",
                                        "trace", "x",     "x_extracted"};
    size_t count = once_in(2) ? 0 : 1 + below(META_MAX), at = below(3);
    for (size_t i = 0; i < count; i++, at += 1 + below(2)) { /* sorted */
        e->values[i] = buf_make(BUF_NO_MAX);
        random_value(&e->values[i]);
        if (buf_str(&e->values[i]).size == 0)
            buf_add_char(&e->values[i], 'm');
        e->meta[i] = (struct label){str_from(names[at % 7]), buf_str(&e->values[i])};
        if (at >= 7)
            break;
        e->entry.meta_count = (uint32_t)(i + 1);
    }
    e->entry.meta = e->meta;
}

static void make_entries(void) {
    all = calloc(ENTRIES, sizeof(*all));
    all_lines = calloc(ENTRIES, sizeof(*all_lines));
    if (!all || !all_lines)
        abort();
    for (size_t i = 0; i < ENTRIES; i++) {
        struct sample_entry *e = &all[i];
        bool again = i > 0 && once_in(40); /* the same time in the same stream */
        e->stream = again ? all[i - 1].stream : below(STREAMS);
        e->line = buf_make(BUF_NO_MAX);
        random_line(&e->line, make_of(e->stream));
        if (again)
            buf_addf(&e->line, " %zu", i);
        make_meta(e);
        e->entry.ts_ns = again ? all[i - 1].entry.ts_ns : BASE_NS + (int64_t)i * STEP_NS;
        e->entry.line = all_lines[i] = buf_str(&e->line);
    }
}

static void free_entries(void) {
    for (size_t i = 0; i < ENTRIES; i++) {
        buf_done(&all[i].line);
        for (size_t k = 0; k < META_MAX; k++)
            buf_done(&all[i].values[k]);
    }
    free(all);
    free(all_lines);
}

/* ---- the stores */

enum { HEAD, LZ4, ZSTD, TABLES, PARTS, MERGED, STORES };
static const char *const world_names[STORES] = {"head", "lz4", "zstd", "tables", "parts", "merged"};
static const enum block_effort efforts[STORES] = {EFFORT_FAST,  EFFORT_FAST,  EFFORT_ZSTD_FAST,
                                                  EFFORT_TABLE, EFFORT_TABLE, EFFORT_FAST};
static struct store_world worlds[STORES];
static struct engine *engines[STORES];

static void append_batch(int which, size_t batch, unsigned stream) {
    static struct entry entries[BATCH];
    size_t count = 0;
    for (size_t i = batch * BATCH; i < (batch + 1) * BATCH; i++)
        if (all[i].stream == stream)
            entries[count++] = all[i].entry;
    if (count == 0)
        return;
    struct label items[8];
    char name[16];
    CHECK_INT(world_append(worlds[which].store, STR("t"),
                           labels_of(stream, items, name, sizeof(name)), entries, (uint32_t)count),
              0);
}

static void merge_all(struct store *s) {
    struct compactor *c = NULL;
    struct err err;
    struct compactor_options co = {.merge_policy = {.settle_ns = 1}};
    struct merge_result got;
    CHECK_INT(compactor_start(s, NULL, &co, &c, &err), 0);
    CHECK_INT(compactor_merge_once(c, true, &got, &err), 0);
    compactor_stop(c);
}

/* Into all stores the same batches; some come late or twice. */
static void fill(int which) {
    for (size_t batch = 0; batch < BATCHES; batch++)
        for (unsigned stream = 0; stream < STREAMS; stream++) {
            append_batch(which, batch, stream);
            if (batch % 5 == 2 && stream % 3 == 0)
                append_batch(which, batch, stream);
            if (which >= PARTS && stream == 7 && batch % 4 == 1)
                CHECK_INT(store_flush(worlds[which].store, NULL), 0);
        }
    if (which != HEAD && which != PARTS)
        CHECK_INT(store_flush(worlds[which].store, NULL), 0);
    if (which == MERGED)
        merge_all(worlds[which].store);
}

static void open_stores(void) {
    for (int i = 0; i < STORES; i++) {
        world_begin_in_memory(&worlds[i]);
        world_open(&worlds[i],
                   (struct store_options){.wal = {.sync = WAL_SYNC_OFF}, .effort = efforts[i]});
        engines[i] = engine_new(worlds[i].store, &(struct engine_options){.threads = 2});
        fill(i);
    }
}

static void close_stores(void) {
    for (int i = 0; i < STORES; i++) {
        engine_free(engines[i]);
        world_end(&worlds[i]);
    }
}

/* ---- comparing */

static unsigned n_asked, n_refused, n_empty;

/* Asks all stores; *ret is the answer of the first, NULL where it is an error. */
static bool ask_all(const struct query *q, struct query_result **ret) {
    struct query_result *first = NULL;
    struct err first_err = {0};
    bool same = true;
    int first_r = 0;
    for (int i = 0; i < STORES; i++) {
        struct query_result *result = NULL;
        struct err err = {0};
        int r = engine_query(engines[i], q, &result, &err);
        if (i == 0) {
            first = result;
            first_r = r;
            first_err = err;
            continue;
        }
        /* Which of several bad lines an error names is not said. */
        bool alike = r == first_r && (r < 0 || same_answers(first, result, 1e-9));
        if (!alike)
            printf("  %s and %s differ: %d %s | %d %s (%zu and %zu entries, %zu and %zu series)\n",
                   world_names[0], world_names[i], first_r, first_err.text, r, err.text,
                   first ? first->n_entries : 0, result ? result->n_entries : 0,
                   first ? first->n_series : 0, result ? result->n_series : 0);
        same = same && alike;
        query_result_free(result);
    }
    n_asked++;
    n_refused += first_r < 0;
    n_empty += first && first->n_entries == 0 && first->n_series == 0;
    *ret = first;
    if (first_r < 0 && getenv("ANSWERS_ERRORS"))
        printf("  %.*s: %s\n", STR_ARG(q->text), first_err.text);
    return same;
}

/* ---- line by line */

struct by_line {
    struct parsed_query *parsed;
    struct pipeline *pipeline;
    struct pipeline_run *run;
};

static bool by_line_open(struct by_line *b, struct str text) {
    struct err err;
    *b = (struct by_line){0};
    if (query_parse(text, &b->parsed, &err) < 0)
        return false;
    const struct expr *e = parsed_query_expr(b->parsed);
    struct pipeline_options o = {.needs = {.all = true}};
    if (pipeline_compile(e->log.stages, &o, &b->pipeline, &err) < 0)
        return false;
    b->run = pipeline_run_new(b->pipeline);
    return b->run != NULL;
}

static void by_line_close(struct by_line *b) {
    pipeline_run_free(b->run);
    pipeline_free(b->pipeline);
    parsed_query_free(b->parsed);
}

static void print_labels(struct labels l) {
    for (size_t i = 0; i < l.count; i++)
        printf(" %.*s=%.*s", STR_ARG(l.items[i].name), STR_ARG(l.items[i].value));
    printf("\n");
}

/* The place of the answer's entry, of those from *from on, that the line makes; n_entries for none. Entries at the same time
 * are ordered by a hash of their labels (logexec.c): here in any order. */
static size_t find_entry(const struct query_result *got, const bool *used, size_t from,
                         int64_t ts_ns, struct str line, struct labels labels) {
    for (size_t i = from; i < got->n_entries && got->entries[i].ts_ns == ts_ns; i++)
        if (!used[i] && str_eq(got->entries[i].line, line) &&
            labels_eq(got->sets[got->entries[i].set].merged, labels))
            return i;
    return got->n_entries;
}

/* Goes through the answer as the entries come. */
struct checker {
    const struct query *query;
    const struct query_result *got;
    bool *used;
    size_t from, found; /* of this time, and in all */
};

/* The pipeline leaves this of an entry. False when the answer should have it and has not. */
static bool check_entry(struct checker *c, int64_t ts_ns, struct str line, struct labels labels) {
    const struct query_result *got = c->got;
    while (c->from < got->n_entries && got->entries[c->from].ts_ns != ts_ns && c->used[c->from])
        c->from++;
    size_t at = find_entry(got, c->used, c->from, ts_ns, line, labels);
    if (at < got->n_entries) {
        c->used[at] = true;
        c->found++;
        return true;
    }
    bool full = got->n_entries == c->query->limit;
    if (full && (c->found == got->n_entries || got->entries[got->n_entries - 1].ts_ns == ts_ns))
        return true;
    printf("  no %lld %.*s\n   ", (long long)ts_ns, STR_ARG(line));
    print_labels(labels);
    if (c->from < got->n_entries) {
        const struct result_entry *e = &got->entries[c->from];
        printf("  but %lld %.*s\n   ", (long long)e->ts_ns, STR_ARG(e->line));
        print_labels(got->sets[e->set].merged);
    }
    return false;
}

/* Is the answer what the pipeline leaves of all lines? */
static bool is_line_by_line(const struct query *q, unsigned streams,
                            const struct query_result *got) {
    struct by_line b;
    bool same = by_line_open(&b, q->text);
    struct checker c = {.query = q, .got = got, .used = calloc(got->n_entries + 1, 1)};
    for (size_t i = 0; same && i < ENTRIES; i++) {
        const struct sample_entry *e = &all[q->direction == DIR_FORWARD ? i : ENTRIES - 1 - i];
        if (!(streams >> e->stream & 1) || e->entry.ts_ns < q->start_ns ||
            e->entry.ts_ns >= q->end_ns)
            continue;
        struct label items[8];
        char name[16];
        pipeline_run_stream(b.run, labels_of(e->stream, items, name, sizeof(name)));
        struct pipeline_line in = {.ts_ns = e->entry.ts_ns,
                                   .line = e->entry.line,
                                   .meta = e->entry.meta,
                                   .meta_count = e->entry.meta_count};
        struct pipeline_output out;
        if (pipeline_run_line(b.run, &in, &out))
            same = check_entry(&c, in.ts_ns, out.line, pipeline_run_labels(b.run)->merged);
    }
    if (same && c.found != got->n_entries) {
        printf("  %zu entries, not %zu\n", got->n_entries, c.found);
        same = false;
    }
    free(c.used);
    by_line_close(&b);
    return same;
}

/* ---- asking */

static bool ask_log(const struct query_samples *samples, struct buf *text) {
    static const uint32_t limits[] = {1, 7, 50, 1000, 5000, 5000};
    unsigned streams;
    random_log_query(text, samples, &streams);
    struct query q = {.tenant = STR("t"),
                      .text = buf_str(text),
                      .start_ns = once_in(2) ? BASE_NS : BASE_NS + below(ENTRIES) * STEP_NS,
                      .end_ns = END_NS,
                      .limit = limits[below(6)],
                      .direction = once_in(2) ? DIR_FORWARD : DIR_BACKWARD};
    struct query_result *result;
    bool same = ask_all(&q, &result);
    same = same && (!result || is_line_by_line(&q, streams, result));
    query_result_free(result);
    return same;
}

static bool ask_metric(const struct query_samples *samples, struct buf *text) {
    random_metric_query(text, samples);
    struct query q = {.tenant = STR("t"),
                      .text = buf_str(text),
                      .instant = once_in(6),
                      .start_ns = (BASE_NS / NS_PER_MIN + below(3)) * NS_PER_MIN,
                      .end_ns = END_NS,
                      .step_ns = (once_in(3) ? 45 : 60) * NS_PER_S,
                      .limit = 100};
    struct query_result *result;
    bool same = ask_all(&q, &result);
    query_result_free(result);
    return same;
}

static void a_round(uint64_t seed, unsigned queries) {
    lines_seed(seed);
    make_entries();
    open_stores();
    struct query_samples samples = {.lines = all_lines, .count = ENTRIES};
    for (unsigned i = 0; i < queries; i++) {
        struct buf text = buf_make(BUF_NO_MAX);
        bool same = once_in(2) ? ask_log(&samples, &text) : ask_metric(&samples, &text);
        CHECK(same);
        if (!same)
            printf("  seed %llu, query %u: %.*s\n", (unsigned long long)seed, i,
                   STR_ARG(buf_str(&text)));
        buf_done(&text);
    }
    close_stores();
    free_entries();
}

static unsigned rounds = 1, queries = 300;
static uint64_t first_seed = 1;

static void answers_are_alike(void) {
    for (unsigned i = 0; i < rounds; i++)
        a_round(first_seed + i, queries);
    printf("  %u queries, %u refused, %u without an answer\n", n_asked, n_refused, n_empty);
    CHECK(n_refused < n_asked / 3);
    CHECK(n_empty < n_asked / 2);
}

int main(int argc, char **argv) {
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        queries = (unsigned)strtoul(argv[2], NULL, 10);
    if (argc > 3)
        first_seed = strtoull(argv[3], NULL, 10);
    RUN(answers_are_alike);
    return test_done();
}
