/* index: rows, postings, selection against a plain model, deletion, failed commits, readers in other processes. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "bytes.h"
#include "index_internal.h"
#include "io.h"
#include "test.h"
#include "test_folder.h"
#include "test_random.h"

static char dir[TEST_FOLDER_MAX];
static const char *self_path;

static struct index *open_index(bool read_only) {
    struct index *ix = NULL;
    struct err err = {0};
    struct index_options o = {.read_only = read_only};
    int r = index_open(dir, &o, &ix, &err);
    CHECK_INT(r, 0);
    if (r < 0) {
        printf("  %s\n", err.text);
        exit(1);
    }
    return ix;
}

static struct index_txn *begin(struct index *ix) {
    struct index_txn *t = NULL;
    struct err err = {0};
    if (index_begin(ix, &t, &err) < 0) {
        printf("  %s\n", err.text);
        exit(1);
    }
    return t;
}

static void commit(struct index_txn *t) {
    struct err err = {0};
    CHECK_INT(index_commit(t, &err), 0);
}

static struct label pair(const char *name, const char *value) {
    return (struct label){.name = str_from(name), .value = str_from(value)};
}

static struct index_stream stream_make(uint64_t id, const char *tenant, const struct label *items,
                                       size_t count, int64_t first_ns, int64_t last_ns) {
    return (struct index_stream){.id = id,
                                 .tenant = str_from(tenant),
                                 .labels = {.items = items, .count = count},
                                 .first_ns = first_ns,
                                 .last_ns = last_ns,
                                 .flushed_lsn = id * 1000,
                                 .flushed_index = (uint32_t)id + 7};
}

static void put_stream(struct index *ix, const struct index_stream *s) {
    struct index_txn *t = begin(ix);
    struct err err = {0};
    CHECK_INT(index_put_stream(t, s, &err), 0);
    commit(t);
}

static size_t select_count(struct index *ix, const char *tenant, const struct matcher *m,
                           size_t n) {
    struct arena arena = arena_make(64 << 20);
    struct index_stream *streams;
    size_t count = 0;
    struct err err = {0};
    CHECK_INT(index_select(ix, str_from(tenant), m, n, INT64_MIN, INT64_MAX, &arena, &streams,
                           &count, &err),
              0);
    arena_done(&arena);
    return count;
}

static struct matcher equal(const char *name, struct str value) {
    return (struct matcher){.op = MATCH_EQ, .name = str_from(name), .value = value};
}

/* ---- rows */

static void streams_and_counters(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct label items[] = {pair("app", "web"), pair("host", "a")};
    struct index_stream s = stream_make(42, "t1", items, 2, -5, 10);
    put_stream(ix, &s);

    struct arena arena = arena_make(1 << 20);
    struct index_stream got;
    CHECK_INT(index_find_stream(ix, STR("t1"), s.labels, &arena, &got), 0);
    CHECK_INT(got.id, 42);
    CHECK_STR(got.tenant, STR("t1"));
    CHECK(labels_eq(got.labels, s.labels));
    CHECK_INT(got.first_ns, -5);
    CHECK_INT(got.last_ns, 10);
    CHECK_INT(got.flushed_lsn, 42000);
    CHECK_INT(got.flushed_index, 49);
    CHECK_INT(index_find_stream(ix, STR("t2"), s.labels, &arena, &got), -ENOENT);
    CHECK_INT(
        index_find_stream(ix, STR("t1"), (struct labels){.items = items, .count = 1}, &arena, &got),
        -ENOENT);

    /* The same id with other labels replaces all that belonged to the old row. */
    struct label other[] = {pair("app", "db")};
    struct index_stream changed = stream_make(42, "t1", other, 1, 1, 2);
    put_stream(ix, &changed);
    CHECK_INT(index_find_stream(ix, STR("t1"), s.labels, &arena, &got), -ENOENT);
    CHECK_INT(index_find_stream(ix, STR("t1"), changed.labels, &arena, &got), 0);
    struct matcher web = equal("app", STR("web")), db = equal("app", STR("db"));
    CHECK_INT(select_count(ix, "t1", &web, 1), 0);
    CHECK_INT(select_count(ix, "t1", &db, 1), 1);

    uint64_t value = 1;
    CHECK_INT(index_counter(ix, STR("next_stream"), &value), 0);
    CHECK_INT(value, 0);
    struct err err = {0};
    struct index_txn *t = begin(ix);
    CHECK_INT(index_put_counter(t, STR("next_stream"), 77, &err), 0);
    CHECK_INT(index_txn_stream(t, 42, &arena, &got, &err), 0);
    CHECK_STR(got.tenant, STR("t1"));
    CHECK_INT(index_txn_stream(t, 43, &arena, &got, &err), -ENOENT);
    commit(t);
    CHECK_INT(index_counter(ix, STR("next_stream"), &value), 0);
    CHECK_INT(value, 77);

    /* Deletion takes the postings too; deleting again is nothing. */
    t = begin(ix);
    CHECK_INT(index_del_stream(t, 42, &err), 0);
    CHECK_INT(index_del_stream(t, 42, &err), 0);
    commit(t);
    CHECK_INT(select_count(ix, "t1", NULL, 0), 0);
    CHECK_INT(select_count(ix, "t1", &db, 1), 0);
    arena_done(&arena);
    index_close(ix);
    folder_remove(dir);
}

static void tenants_are_apart(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct label items[] = {pair("app", "web")};
    for (uint64_t i = 0; i < 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "tenant-%02u", (unsigned)(i % 10));
        struct index_stream s = stream_make(i + 1, name, items, i < 10 ? 1 : 0, 0, 1);
        put_stream(ix, &s);
    }
    struct arena arena = arena_make(1 << 20);
    struct str *names;
    size_t count;
    CHECK_INT(index_tenants(ix, &arena, &names, &count), 0);
    CHECK_INT(count, 10);
    CHECK_STR(names[3], STR("tenant-03"));
    struct matcher web = equal("app", STR("web"));
    CHECK_INT(select_count(ix, "tenant-04", &web, 1), 1);
    CHECK_INT(select_count(ix, "tenant-04", NULL, 0), 2);
    CHECK_INT(select_count(ix, "nobody", NULL, 0), 0);

    struct err err = {0};
    char long_name[600];
    memset(long_name, 'x', sizeof(long_name));
    struct index_stream bad = stream_make(99, "", items, 1, 0, 1);
    struct index_txn *t = begin(ix);
    CHECK_INT(index_put_stream(t, &bad, &err), -EINVAL);
    bad.tenant = str_make(long_name, sizeof(long_name));
    CHECK_INT(index_put_stream(t, &bad, &err), -EINVAL);
    index_abort(t);
    arena_done(&arena);
    index_close(ix);
    folder_remove(dir);
}

/* Values and names around LMDB's limit of 511 bytes, with common prefixes. */
static void long_values(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    static char bytes[40][2048];
    enum { COUNT = 40 };
    struct str values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i < 20 ? 495 + i : 1500;
        memset(bytes[i], 'v', size);
        (void)snprintf(bytes[i] + size - 4, 5, "%04u", (unsigned)i);
        values[i] = str_make(bytes[i], size);
        struct label items[] = {{.name = STR("path"), .value = values[i]}};
        struct index_stream s = stream_make(i + 1, "t", items, 1, 0, 1);
        put_stream(ix, &s);
    }
    for (size_t i = 0; i < COUNT; i++) {
        struct matcher m = equal("path", values[i]);
        CHECK_INT(select_count(ix, "t", &m, 1), 1);
    }
    char name[1024];
    memset(name, 'n', sizeof(name));
    struct label items[] = {{.name = str_make(name, sizeof(name)), .value = values[0]}};
    struct index_stream s = stream_make(1000, "t", items, 1, 0, 1);
    put_stream(ix, &s);
    struct matcher m = {.op = MATCH_EQ, .name = items[0].name, .value = values[0]};
    CHECK_INT(select_count(ix, "t", &m, 1), 1);
    m.value = values[1];
    CHECK_INT(select_count(ix, "t", &m, 1), 0);
    struct err err = {0};
    struct index_txn *t = begin(ix);
    for (uint64_t id = 1; id <= COUNT; id++)
        CHECK_INT(index_del_stream(t, id, &err), 0);
    CHECK_INT(index_del_stream(t, 1000, &err), 0);
    commit(t);
    CHECK_INT(select_count(ix, "t", NULL, 0), 0);
    m = equal("path", values[30]);
    CHECK_INT(select_count(ix, "t", &m, 1), 0);
    index_close(ix);
    folder_remove(dir);
}

/* ---- selection against a model */

/* A stand-in for a regular expression: the value has the given first byte; "" matches when it is '~'. */
static bool first_byte_is(const void *regex, struct str value) {
    char c = *(const char *)regex;
    return value.size == 0 ? c == '~' : value.data[0] == c;
}

static bool always(const void *regex, struct str value) {
    (void)regex, (void)value;
    return true;
}

/* What a|b|c as a set of values accepts. */
static bool in_set(const void *regex, struct str value) {
    const struct matcher *m = regex;
    for (size_t i = 0; i < m->set_count; i++)
        if (str_eq(m->set[i], value))
            return true;
    return false;
}

enum { MODEL_STREAMS = 3000 };
static struct label model_labels[MODEL_STREAMS][4];
static char model_unique[MODEL_STREAMS][16];
static struct index_stream model[MODEL_STREAMS];

static void model_fill(struct index *ix) {
    static const char *apps[] = {"api", "auth", "web", "batch", "cron"};
    static const char *hosts[] = {"h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"};
    struct index_txn *t = begin(ix);
    struct err err = {0};
    for (size_t i = 0; i < MODEL_STREAMS; i++) {
        size_t n = 0;
        if (random_below(10) > 0)
            model_labels[i][n++] = pair("app", apps[random_below(5)]);
        if (random_below(3) > 0)
            model_labels[i][n++] = pair("host", hosts[random_below(8)]);
        if (random_below(50) == 0)
            model_labels[i][n++] = pair("rare", "yes");
        (void)snprintf(model_unique[i], sizeof(model_unique[i]), "u%u", (unsigned)i);
        model_labels[i][n++] = pair("unique", model_unique[i]);
        int64_t first_ns = (int64_t)random_below(1000);
        model[i] = stream_make(i * 3 + 1, i % 2 ? "odd" : "even", model_labels[i], n, first_ns,
                               first_ns + (int64_t)random_below(300));
        CHECK_INT(index_put_stream(t, &model[i], &err), 0);
    }
    commit(t);
}

static struct matcher random_matcher(struct matcher *self) {
    static const char *names[] = {"app", "host", "rare", "unique", "absent"};
    static const struct str values[] = {{"api", 3}, {"web", 3}, {"h1", 2},  {"h7", 2},
                                        {"yes", 3}, {"", 0},    {"u17", 3}, {"none", 4}};
    static const char firsts[] = "awhuy~";
    static const struct str sets[][3] = {{{"api", 3}, {"web", 3}, {"h1", 2}},
                                         {{"h2", 2}, {"h3", 2}, {"h2", 2}},
                                         {{"web", 3}, {"", 0}, {"u5", 2}},
                                         {{"u1", 2}, {"u2", 2}, {"yes", 3}}};
    struct matcher m = {.op = (enum match_op)random_below(4),
                        .name = str_from(names[random_below(5)]),
                        .value = values[random_below(8)]};
    if (m.op == MATCH_RE || m.op == MATCH_NRE) {
        switch (random_below(3)) {
        case 0:
            m.regex = &firsts[random_below(6)];
            m.matches = first_byte_is;
            break;
        case 1:
            m.matches = always;
            break;
        default:
            m.set = sets[random_below(4)];
            m.set_count = 3;
            m.regex = self;
            m.matches = in_set;
            break;
        }
    }
    return m;
}

static void select_equals_model(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    model_fill(ix);
    for (int round = 0; round < 3000 && test_case_failures == 0; round++) {
        struct matcher m[4];
        size_t n = random_below(5);
        for (size_t i = 0; i < n; i++)
            m[i] = random_matcher(&m[i]);
        const char *tenant = random_below(2) ? "odd" : "even";
        int64_t start_ns = (int64_t)random_below(1400),
                end_ns = start_ns + (int64_t)random_below(200);
        if (random_below(3) == 0) {
            start_ns = INT64_MIN;
            end_ns = INT64_MAX;
        }
        struct arena arena = arena_make(64 << 20);
        struct index_stream *got;
        size_t count, at = 0;
        struct err err = {0};
        CHECK_INT(
            index_select(ix, str_from(tenant), m, n, start_ns, end_ns, &arena, &got, &count, &err),
            0);
        for (size_t i = 0; i < MODEL_STREAMS; i++) {
            const struct index_stream *s = &model[i];
            if (!str_eq(s->tenant, str_from(tenant)) || s->first_ns > end_ns ||
                s->last_ns < start_ns || !matchers_accept(m, n, s->labels))
                continue;
            CHECK(at < count && got[at].id == s->id && labels_eq(got[at].labels, s->labels));
            at++;
        }
        CHECK_INT(count, at);
        arena_done(&arena);
    }
    index_close(ix);
    folder_remove(dir);
}

static int count_stream(const struct index_stream *s, void *ctx) {
    size_t *count = ctx;
    size_t i = (size_t)(s->id / 3);
    CHECK(labels_eq(s->labels, model[i].labels));
    CHECK(s->id == model[i].id && i % 2 == 1);
    (*count)++;
    return 0;
}

static int stop_at_once(const struct index_stream *s, void *ctx) {
    (void)s, (void)ctx;
    return 17;
}

static void walk_streams(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    model_fill(ix);
    size_t count = 0;
    struct err err = {0};
    CHECK_INT(index_walk_streams(ix, STR("odd"), count_stream, &count, &err), 0);
    CHECK_INT(count, MODEL_STREAMS / 2);
    CHECK_INT(index_walk_streams(ix, STR("odd"), stop_at_once, NULL, &err), 17);
    CHECK_INT(index_walk_streams(ix, STR("nobody"), stop_at_once, NULL, &err), 0);
    struct index_stats stats;
    CHECK_INT(index_get_stats(ix, &stats), 0);
    CHECK_INT(stats.streams, MODEL_STREAMS);
    CHECK(stats.file_bytes > 100000 && stats.map_bytes >= stats.file_bytes);
    index_close(ix);
    folder_remove(dir);
}

/* ---- chunks */

#define DAY INT64_C(86400000000000)

static struct index_chunk chunk_make(uint64_t stream, uint64_t seq, int64_t first_ns,
                                     int64_t last_ns) {
    return (struct index_chunk){.stream_id = stream,
                                .chunk_seq = seq,
                                .day = (int32_t)(first_ns / DAY - (first_ns % DAY < 0)),
                                .sums = {.first_ns = first_ns,
                                         .last_ns = last_ns,
                                         .file_bytes = seq * 10,
                                         .line_bytes = seq * 100,
                                         .meta_bytes = seq,
                                         .entries = (uint32_t)seq,
                                         .blocks = 1}};
}

struct walk {
    struct index *ix;
    size_t count;
    uint64_t last_seq;
    bool delete;
};

static int walk_chunk(const struct index_chunk *c, void *ctx) {
    struct walk *w = ctx;
    w->count++;
    CHECK_INT(c->sums.file_bytes, c->chunk_seq * 10);
    if (w->delete) { /* a walk holds no transaction open */
        struct err err = {0};
        struct index_txn *t = begin(w->ix);
        CHECK_INT(index_del_chunk(t, STR("t"), c, &err), 0);
        commit(t);
    }
    return 0;
}

static void chunks(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct err err = {0};
    static struct index_chunk rows[3000];
    struct index_txn *t = begin(ix);
    for (size_t i = 0; i < 3000; i++) {
        int64_t day = (int64_t)random_below(40) - 20;
        int64_t first_ns = day * DAY + (int64_t)random_below((size_t)DAY / 2);
        int64_t last_ns = first_ns + (int64_t)random_below((size_t)DAY / 2);
        rows[i] = chunk_make(1 + random_below(3), i + 1, first_ns, last_ns);
        CHECK_INT(index_put_chunk(t, STR("t"), &rows[i], &err), 0);
    }
    struct index_chunk wrong = chunk_make(1, 9999, 5, DAY + 1);
    CHECK_INT(index_put_chunk(t, STR("t"), &wrong, &err), -EINVAL);
    commit(t);
    struct index_reader *reader;
    CHECK_INT(index_reader_begin(ix, &reader, &err), 0);
    for (int round = 0; round < 500 && test_case_failures == 0; round++) {
        uint64_t stream = 1 + random_below(4);
        int64_t start_ns =
            ((int64_t)random_below(50) - 25) * DAY + (int64_t)random_below((size_t)DAY);
        int64_t end_ns = start_ns + (int64_t)random_below((size_t)DAY * 2);
        if (round == 0) {
            start_ns = INT64_MIN;
            end_ns = INT64_MAX;
        }
        struct arena arena = arena_make(16 << 20);
        struct index_chunk *got;
        size_t count, want = 0;
        CHECK_INT(index_reader_chunks(reader, STR("t"), stream, start_ns, end_ns, &arena, &got,
                                      &count, &err),
                  0);
        for (size_t i = 0; i < 3000; i++)
            want += rows[i].stream_id == stream && rows[i].sums.first_ns <= end_ns &&
                    rows[i].sums.last_ns >= start_ns;
        CHECK_INT(count, want);
        for (size_t i = 0; i < count; i++) {
            const struct index_chunk *row = &rows[got[i].chunk_seq - 1];
            CHECK(memcmp(&got[i].sums, &row->sums, sizeof(row->sums)) == 0);
            CHECK_INT(got[i].day, row->day);
            CHECK(i == 0 || got[i - 1].sums.first_ns <= got[i].sums.first_ns);
        }
        arena_done(&arena);
    }
    index_reader_end(reader);

    struct walk w = {.ix = ix};
    CHECK_INT(index_walk_chunks(ix, STR("t"), walk_chunk, &w, &err), 0);
    CHECK_INT(w.count, 3000);
    w = (struct walk){.ix = ix};
    CHECK_INT(index_walk_chunks(ix, STR("nobody"), walk_chunk, &w, &err), 0);
    CHECK_INT(w.count, 0);
    struct index_chunk *first = &rows[0];
    t = begin(ix);
    CHECK_INT(index_del_chunk(t, STR("t"), first, &err), 0);
    CHECK_INT(index_del_chunk(t, STR("t"), first, &err), 0);
    CHECK_INT(index_del_chunk(t, STR("nobody"), first, &err), 0);
    commit(t);
    w = (struct walk){.ix = ix};
    CHECK_INT(index_walk_chunks(ix, STR("t"), walk_chunk, &w, &err), 0);
    CHECK_INT(w.count, 2999);
    index_close(ix);
    folder_remove(dir);
}

static void delete_while_walking(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct err err = {0};
    struct index_txn *t = begin(ix);
    for (uint64_t i = 0; i < 50; i++) {
        struct index_chunk c = chunk_make(1, i + 1, (int64_t)i, (int64_t)i + 5);
        CHECK_INT(index_put_chunk(t, STR("t"), &c, &err), 0);
    }
    commit(t);
    struct walk w = {.ix = ix, .delete = true};
    CHECK_INT(index_walk_chunks(ix, STR("t"), walk_chunk, &w, &err), 0);
    CHECK_INT(w.count, 50);
    struct index_stats stats;
    CHECK_INT(index_get_stats(ix, &stats), 0);
    CHECK_INT(stats.chunks, 0);
    index_close(ix);
    folder_remove(dir);
}

/* ---- failures and other processes */

static int commit_answer;
static int refuse_commit(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    return op == IO_COMMIT ? commit_answer : 0;
}

static void failed_commit_changes_nothing(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct label items[] = {pair("app", "web")};
    struct index_stream s = stream_make(1, "t", items, 1, 0, 1);
    put_stream(ix, &s);
    struct index_stream second = stream_make(2, "t", items, 0, 0, 1);
    struct err err = {0};
    commit_answer = -EIO;
    io_set_hook(refuse_commit, NULL);
    struct index_txn *t = begin(ix);
    CHECK_INT(index_put_stream(t, &second, &err), 0);
    CHECK_INT(index_commit(t, &err), -EIO);
    io_set_hook(NULL, NULL);
    CHECK_INT(select_count(ix, "t", NULL, 0), 1);
    put_stream(ix, &second);
    CHECK_INT(select_count(ix, "t", NULL, 0), 2);
    index_close(ix);
    ix = open_index(false);
    CHECK_INT(select_count(ix, "t", NULL, 0), 2);
    t = begin(ix);
    CHECK_INT(index_del_stream(t, 1, &err), 0);
    index_abort(t);
    CHECK_INT(select_count(ix, "t", NULL, 0), 2);
    index_close(ix);

    /* An index whose first commit failed is made anew on the next open. */
    folder_remove(dir);
    folder_make(dir);
    io_set_hook(refuse_commit, NULL);
    struct index_options o = {.read_only = false};
    CHECK_INT(index_open(dir, &o, &ix, &err), -EIO);
    io_set_hook(NULL, NULL);
    o.read_only = true;
    CHECK_INT(index_open(dir, &o, &ix, &err), -ENOENT);
    ix = open_index(false);
    index_close(ix);
    folder_remove(dir);
}

static void full_map_grows(void) {
    folder_make(dir);
    struct index *ix = NULL;
    struct err err = {0};
    struct index_options o = {.map_bytes = 1 << 20};
    CHECK_INT(index_open(dir, &o, &ix, &err), 0);
    uint64_t id = 0;
    int full = 0;
    while (id < 20000 && full < 20) {
        struct index_txn *t = begin(ix);
        int r = 0;
        for (uint64_t i = 0; r == 0 && i < 2000; i++) {
            char text[16];
            (void)snprintf(text, sizeof(text), "v%u", (unsigned)(id + i));
            struct label items[] = {pair("unique", text)};
            struct index_stream s = stream_make(id + i + 1, "t", items, 1, 0, 1);
            r = index_put_stream(t, &s, &err);
        }
        if (r == 0)
            r = index_commit(t, &err);
        else
            index_abort(t);
        if (r == 0)
            id += 2000;
        else
            CHECK_INT(r, -ENOSPC);
        full += r < 0;
    }
    CHECK(full > 0 && full < 20);
    CHECK_INT(select_count(ix, "t", NULL, 0), 20000);
    index_close(ix);
    folder_remove(dir);
}

static void unknown_format(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct index_txn *t = NULL;
    struct err err = {0};
    uint8_t format[12] = {0};
    put_le32(format, 99);
    CHECK_INT(index_begin(ix, &t, &err), 0);
    CHECK_INT(index_row_put(t, ix->meta, index_val("format", 6), index_val(format, sizeof(format))),
              0);
    CHECK_INT(index_commit(t, &err), 0);
    index_close(ix);
    for (int read_only = 0; read_only < 2; read_only++) {
        struct index_options o = {.read_only = read_only};
        CHECK_INT(index_open(dir, &o, &ix, &err), -EFORMAT);
    }
    CHECK(strstr(err.text, "99") != NULL);
    folder_remove(dir);
    struct index_options o = {.read_only = true};
    CHECK_INT(index_open(dir, &o, &ix, &err), -ENOENT);
}

/* The other process: prints nothing, exit status 0 when it sees `want` streams and cannot write. */
static int reader_main(const char *path, const char *want) {
    (void)snprintf(dir, sizeof(dir), "%s", path);
    struct index *ix = open_index(true);
    struct index_txn *t;
    struct err err = {0};
    CHECK_INT(index_begin(ix, &t, &err), -EROFS);
    CHECK_INT(select_count(ix, "t", NULL, 0), strtol(want, NULL, 10));
    index_close(ix);
    return test_case_failures > 0;
}

static int run_reader(const char *want, bool other_user) {
    pid_t child = fork();
    if (child == 0) {
        if (other_user && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(99);
        (void)execl(self_path, self_path, "--reader", dir, want, (char *)NULL);
        _exit(98);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void second_process(void) {
    folder_make(dir);
    struct index *ix = open_index(false);
    struct label items[] = {pair("app", "web")};
    struct index_stream s = stream_make(1, "t", items, 1, 0, 1);
    put_stream(ix, &s);
    CHECK_INT(run_reader("1", false), 0);
    struct index_stream second = stream_make(2, "t", items, 0, 0, 1);
    struct index_txn *t = begin(ix);
    struct err err = {0};
    CHECK_INT(index_put_stream(t, &second, &err), 0);
    CHECK_INT(run_reader("1", false), 0); /* not committed yet */
    commit(t);
    CHECK_INT(run_reader("2", false), 0);
    index_check_readers(ix);
    if (geteuid() == 0) { /* another user may read but not write the lock file */
        char path[TEST_FOLDER_MAX + 16];
        (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
        CHECK_INT(chmod(path, 0644), 0);
        CHECK_INT(chmod(dir, 0755), 0);
        int status = run_reader("2", true);
        CHECK(status == 0 ||
              status == 98); /* 98: the test program itself is out of that user's reach */
    }
    index_close(ix);
    folder_remove(dir);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--reader") == 0)
        return reader_main(argv[2], argv[3]);
    self_path = argv[0];
    RUN(streams_and_counters);
    RUN(tenants_are_apart);
    RUN(long_values);
    RUN(select_equals_model);
    RUN(walk_streams);
    RUN(chunks);
    RUN(delete_while_walking);
    RUN(failed_commit_changes_nothing);
    RUN(full_map_grows);
    RUN(unknown_format);
    RUN(second_process);
    return test_done();
}
