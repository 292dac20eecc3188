/* Patterns of a real store, in memory and in chunk files, and the promise that their texts find their lines. */
#include "pattern_query.h"

#include <errno.h>

#include "block.h"
#include "bytes.h"
#include "clock.h"
#include "pattern.h"
#include "store_world.h"
#include "test_random.h"
#include "units.h"

enum { LINES_MAX = 8000 };
#define BASE_NS (INT64_C(1789999200) * NS_PER_S)

/* ---- the store */

static struct store_world world;
static struct arena texts;
static struct str all_lines[LINES_MAX];
static size_t n_lines;

static void open_store(void) {
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
}

static void open_all(void) {
    world_begin(&world);
    open_store();
    texts = arena_make(64 << 20);
    n_lines = 0;
}

static void close_all(void) {
    world_end(&world);
    arena_done(&texts);
}

static void append(const char *app, int64_t ts_ns, struct str line, const char *level) {
    struct label meta = {STR("detected_level"), str_from(level)};
    struct entry entry = {.ts_ns = ts_ns, .line = line, .meta = &meta, .meta_count = *level != 0};
    CHECK_INT(world_append_app(world.store, STR("t"), app, &entry, 1), 0);
    if (n_lines < LINES_MAX)
        all_lines[n_lines++] = arena_copy(&texts, line);
}

static void appendf(const char *app, int64_t at_s, const char *level, const char *format,
                    unsigned number) {
    char line[256];
    int n = snprintf(line, sizeof(line), format, number);
    append(app, BASE_NS + at_s * NS_PER_S, str_make(line, (size_t)n), level);
}

static struct pattern_result *ask_range(int64_t from_s, int64_t to_s, int64_t step_s) {
    struct pattern_query q = {.tenant = STR("t"),
                              .start_ns = BASE_NS + from_s * NS_PER_S,
                              .end_ns = BASE_NS + to_s * NS_PER_S,
                              .step_ns = step_s * NS_PER_S};
    struct pattern_result *result = NULL;
    struct err err = {0};
    CHECK_INT(pattern_query(world.store, &q, &result, &err), 0);
    if (!result)
        abort();
    return result;
}

static const struct pattern_series *find(const struct pattern_result *r, const char *text) {
    static const struct pattern_series none;
    for (size_t i = 0; i < r->n_series; i++)
        if (str_eq(r->series[i].text, str_from(text)))
            return &r->series[i];
    printf("  no pattern %s among %zu\n", text, r->n_series);
    test_case_failures++;
    return &none;
}

/* Runs `fn` on memory, on encoded blocks, and on chunk files after another start. */
static void everywhere(void (*fn)(void)) {
    fn();
    CHECK_INT(store_flush(world.store, NULL), 0);
    fn();
    world_close(&world);
    open_store();
    fn();
}

/* ---- cases */

static void check_two_streams(void) {
    struct pattern_result *r = ask_range(0, 1000, 10);
    CHECK_INT(r->n_series, 3);
    const struct pattern_series *s = find(r, "user <_> logged in");
    CHECK_INT(s->total, 100);
    CHECK_INT(s->level, PATTERN_INFO);
    CHECK_INT(s->n_samples, 10);
    for (size_t i = 0; i < s->n_samples; i++) {
        CHECK_INT(s->samples[i].ts_ns, BASE_NS + (int64_t)i * 10 * NS_PER_S);
        CHECK_INT(s->samples[i].count, 10);
    }
    CHECK(r->series == s); /* most lines first */
    s = find(r, "<_>disk <_> is full<_>");
    CHECK_INT(s->total, 10);
    CHECK(s->level == PATTERN_WARN || s->level == PATTERN_ERROR);
    /* Equal texts of levels of their own. */
    CHECK_STR(r->series[1].text, r->series[2].text);
    CHECK(r->series[1].level != r->series[2].level);
    pattern_result_free(r);
    /* Part of the range, wider steps. */
    r = ask_range(10, 70, 30);
    s = find(r, "user <_> logged in");
    CHECK_INT(s->total, 60);
    CHECK_INT(s->n_samples, 3);
    CHECK_INT(s->samples[0].ts_ns, BASE_NS);
    CHECK_INT(s->samples[0].count, 20);
    CHECK_INT(s->samples[1].count, 30);
    CHECK_INT(s->samples[2].count, 10);
    pattern_result_free(r);
    r = ask_range(2000, 3000, 30);
    CHECK_INT(r->n_series, 0);
    pattern_result_free(r);
    r = ask_range(100, 0, 30);
    CHECK_INT(r->n_series, 0);
    pattern_result_free(r);
}

static void counts_in_time(void) {
    open_all();
    for (unsigned i = 0; i < 100; i++)
        appendf(i % 2 ? "a" : "b", i, "info", "user %u logged in", i);
    for (unsigned i = 0; i < 20; i++)
        appendf("c", i * 5, i % 2 ? "error" : "warn", "{\"msg\":\"disk %u is full\"}", i);
    appendf("c", 3, "info", "seen but once: %u", 1);
    everywhere(check_two_streams);
    close_all();
}

/* What one block has not seen change, another one has. */
static void check_joined(void) {
    struct pattern_result *r = ask_range(0, 10000, 60);
    CHECK_INT(r->n_series, 2);
    CHECK_INT(find(r, "job <_> of host <_> done")->total, 6);
    CHECK_INT(find(r, "rare thing at <_> by <_>")->total, 3);
    pattern_result_free(r);
}

static void blocks_are_joined(void) {
    open_all();
    for (unsigned block = 0; block < 3; block++) {
        appendf("a", block * 100, "info", block ? "job %u of host 7 done" : "job %u of host 8 done",
                1);
        appendf("a", block * 100 + 1, "info",
                block ? "job %u of host 7 done" : "job %u of host 8 done", 2);
        appendf("a", block * 100 + 2, "info", "rare thing at 10:00:%02u by 4711", block);
        CHECK_INT(store_flush(world.store, NULL), 0);
    }
    everywhere(check_joined);
    close_all();
}

/* A value that never changes in a stream, but among streams; and a name that does. */
static void check_streams(void) {
    struct pattern_result *r = ask_range(0, 10000, 60);
    CHECK_INT(r->n_series, 3);
    CHECK_INT(find(r, "job <_> of pod <_> done in zone 7")->total, 12);
    CHECK_INT(find(r, "hello from alice, number <_>")->total, 4);
    CHECK_INT(find(r, "hello from bob, number <_>")->total, 4);
    pattern_result_free(r);
}

static void streams_are_joined(void) {
    open_all();
    for (unsigned i = 0; i < 4; i++) {
        appendf("a", i, "info", "job %u of pod 1 done in zone 7", i);
        appendf("b", i, "info", "job %u of pod 2 done in zone 7", i);
        appendf("c", i, "info", "job %u of pod 3 done in zone 7", i);
        appendf("a", i, "info", "hello from alice, number %u", i);
        appendf("b", i, "info", "hello from bob, number %u", i);
    }
    everywhere(check_streams);
    close_all();
}

/* Buckets wider than the steps are spread, and nothing is lost. */
static void check_spread(void) {
    struct pattern_result *r = ask_range(0, 90000, 60);
    const struct pattern_series *s = find(r, "tick <_> of clock");
    CHECK_INT(s->total, 100);
    CHECK(s->n_samples > 90);
    for (size_t i = 1; i < s->n_samples; i++)
        CHECK(s->samples[i].ts_ns > s->samples[i - 1].ts_ns && s->samples[i].count <= 2);
    pattern_result_free(r);
}

static void wide_buckets(void) {
    open_all();
    for (unsigned i = 0; i < 100; i++)
        appendf("a", i * 60, "info", "tick %u of clock", i);
    everywhere(check_spread);
    close_all();
}

static void stops(void) {
    open_all();
    for (unsigned i = 0; i < 10; i++)
        appendf("a", i, "info", "tick %u of clock", i);
    atomic_bool cancel = true;
    struct pattern_query q = {.tenant = STR("t"),
                              .start_ns = BASE_NS,
                              .end_ns = BASE_NS + 100 * NS_PER_S,
                              .step_ns = 10 * NS_PER_S,
                              .cancel = &cancel};
    struct pattern_result *result = NULL;
    struct err err = {0};
    CHECK_INT(pattern_query(world.store, &q, &result, &err), -ECANCELED);
    q.cancel = NULL;
    q.deadline_mono_ns = 1;
    CHECK_INT(pattern_query(world.store, &q, &result, &err), -EEXPIRED);
    q.deadline_mono_ns = 0;
    q.tenant = STR("other");
    CHECK_INT(pattern_query(world.store, &q, &result, &err), 0);
    CHECK_INT(result->n_series, 0);
    pattern_result_free(result);
    close_all();
}

static void answer_is_limited(void) {
    open_all();
    for (unsigned i = 0; i < 2 * 26 * 26; i++) {
        char line[] = "?? is another word than others";
        line[0] = (char)('a' + i / 2 % 26);
        line[1] = (char)('a' + i / 52);
        char app[8];
        (void)snprintf(app, sizeof(app), "s%u", i / 26);
        append(app, BASE_NS + i * NS_PER_S, str_from(line), "");
    }
    struct pattern_result *r = ask_range(0, 10000, 10);
    CHECK_INT(r->n_series, PATTERN_SERIES_MAX);
    pattern_result_free(r);
    close_all();
}

/* Damages the patterns of the only chunk file. */
static void damage(void) {
    char path[512], command[400];
    (void)snprintf(command, sizeof(command), "find '%s' -name '*.chunk'", world.dir);
    FILE *list = popen(command, "r");
    if (!list || !fgets(path, sizeof(path), list))
        abort();
    (void)pclose(list);
    path[strcspn(path, "\n")] = '\0';
    FILE *f = fopen(path, "r+b");
    static char bytes[1 << 16];
    size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;
    struct arena arena = arena_make(1 << 20);
    struct block_info info;
    uint32_t at = get_le32(bytes + 12); /* the size of the file's header */
    if (n < at || block_parse_header(str_make(bytes + at, n - at), &arena, &info, NULL) < 0)
        abort();
    const struct section *s = block_section(&info, SECTION_PATTERNS);
    CHECK(s != NULL);
    if (s && fseek(f, (long)(at + s->offset + s->stored_size / 2), SEEK_SET) == 0)
        (void)fputc(bytes[at + s->offset + s->stored_size / 2] ^ 1, f);
    (void)fclose(f);
    arena_done(&arena);
}

/* A block whose patterns are damaged has none; the others answer. */
static void damage_costs_the_block_alone(void) {
    open_all();
    for (unsigned i = 0; i < PATTERNS_LEAST_BYTES / 12; i++)
        appendf("a", i / 10, "info", "tick %u of clock", i);
    CHECK_INT(store_flush(world.store, NULL), 0);
    world_close(&world);
    damage();
    open_store();
    for (unsigned i = 0; i < 10; i++)
        appendf("a", i, "info", "tock %u of clock", i);
    struct pattern_result *r = ask_range(0, 1000, 10);
    CHECK_INT(r->n_series, 1);
    CHECK_INT(find(r, "tock <_> of clock")->total, 10);
    pattern_result_free(r);
    close_all();
}

/* ---- |> */

static void random_word(struct buf *out) {
    static const char *const words[] = {"alpha", "beta", "<tag>", "x-y_z", "a/b.c:d", "é",
                                        "<_>",   "\x01", "<<a>>", "t<u>v", "$+^`|~",  "end"};
    if (random_below(2))
        buf_addf(out, "%llu%s", (unsigned long long)random_below(1000),
                 random_below(2) ? "ms" : "");
    else
        buf_add_str(out, str_from(words[random_below(sizeof(words) / sizeof(words[0]))]));
}

/* A line of some shape: the separators are the shape's, the words random. */
static void random_line(unsigned shape, struct buf *out) {
    static const char *const gaps[] = {" ",  "  ", "=",  ", ", "(", ") ",
                                       "\"", "\t", ": ", "{",  "} "};
    uint64_t layout = (shape + 1) * UINT64_C(0x9e3779b97f4a7c15);
    unsigned n = 3 + shape % 7 + (shape % 5 == 0 ? 40 : 0) + (shape % 11 == 0 ? 100 : 0);
    buf_clear(out);
    if (shape % 3 == 0)
        buf_add_str(out, STR("{\"level\":\"info\",\"msg\":\""));
    for (unsigned i = 0; i < n; i++) {
        if (layout >> (i % 50) & 1)
            random_word(out);
        else
            buf_addf(out, "w%c", 'a' + (int)((layout >> (i % 40)) % 26));
        const char *gap = gaps[(layout >> (i * 3 % 50)) % (sizeof(gaps) / sizeof(gaps[0]))];
        if (shape % 3 == 0 && *gap == '"')
            gap = "\\\"";
        buf_add_str(out, str_from(gap));
    }
    if (shape % 3 == 0)
        buf_add_str(out, STR("\",\"n\":1}"));
}

/* Each pattern is valid, and |> finds at least the lines that it counts. */
static void check_filters(void) {
    struct pattern_result *r = ask_range(0, 1000000, 3600);
    CHECK(r->n_series > 20);
    for (size_t i = 0; i < r->n_series; i++) {
        struct arena arena = arena_make(4 << 20);
        struct err err = {0};
        struct stage_compiler c = {.arena = &arena, .reterr = &err};
        const struct capture_pattern *filter;
        int e = pattern_compile(&c, r->series[i].text, true, &filter);
        size_t found = 0;
        for (size_t k = 0; e == 0 && k < n_lines; k++)
            found += pattern_matches(filter, all_lines[k]);
        if (e < 0 || found < r->series[i].total)
            printf("  %zu of %llu (%s): %.*s\n", found, (unsigned long long)r->series[i].total,
                   err.text, STR_ARG(r->series[i].text));
        CHECK_INT(e, 0);
        CHECK(found >= r->series[i].total);
        arena_done(&arena);
    }
    pattern_result_free(r);
}

static void texts_find_their_lines(void) {
    struct buf line = buf_make(1 << 16);
    open_all();
    for (unsigned i = 0; i < 2000; i++) {
        char app[8];
        random_line((unsigned)random_below(60), &line);
        (void)snprintf(app, sizeof(app), "s%u", i % 20); /* blocks that are mined as a whole */
        append(app, BASE_NS + i * NS_PER_S, buf_str(&line), "");
    }
    everywhere(check_filters);
    close_all();
    buf_done(&line);
}

int main(void) {
    RUN(counts_in_time);
    RUN(blocks_are_joined);
    RUN(streams_are_joined);
    RUN(wide_buckets);
    RUN(stops);
    RUN(damage_costs_the_block_alone);
    RUN(answer_is_limited);
    RUN(texts_find_their_lines);
    return test_done();
}
