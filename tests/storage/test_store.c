/* The store against a slow, obvious model: a list of entries. Random pushes (late, equal, repeated), flushes, reopenings,
 * kills and index rebuilds in between; what a snapshot shows must be exactly the set of what was appended. */
#include "store.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "io.h"
#include "store_world.h"
#include "test_random.h"
#include "units.h"

enum { STREAMS = 7, MODEL_MAX = 40000 };

static struct store_world world;

/* ---- the model */

struct model_entry {
    uint32_t stream;
    int64_t ts_ns;
    char line[40];
    uint32_t meta; /* 0 = none, else value number of "k" */
};

static struct model_entry model[MODEL_MAX];
static size_t model_count;

static int compare_model(const void *a, const void *b) {
    const struct model_entry *x = a, *y = b;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    int c = strcmp(x->line, y->line);
    if (c != 0)
        return c;
    return (x->meta > y->meta) - (x->meta < y->meta);
}

static size_t sort_unique(struct model_entry *list, size_t n) {
    if (n == 0)
        return 0;
    qsort(list, n, sizeof(*list), compare_model);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (compare_model(&list[kept - 1], &list[i]) != 0)
            list[kept++] = list[i];
    return kept;
}

/* ---- appending */

static struct stream *get_stream(struct store *s, uint32_t number) {
    char text[32], value[16];
    (void)snprintf(text, sizeof(text), "{n=\"%u\"}", number);
    (void)snprintf(value, sizeof(value), "%u", number);
    struct stream *stream = store_stream_by_text(s, STR("t"), str_from(text));
    if (stream)
        return stream;
    struct label items[] = {{STR("app"), STR("test")}, {STR("n"), str_from(value)}};
    struct labels labels = {.items = items, .count = 2};
    if (store_stream(s, STR("t"), labels, str_from(text), &stream, NULL) < 0)
        abort();
    return stream;
}

static const struct label meta_values[4] = {{{"k", 1}, {"one", 3}},
                                            {{"k", 1}, {"two", 3}},
                                            {{"k", 1}, {"three", 5}},
                                            {{"k", 1}, {"four", 4}}};

static int append_model(struct store *s, const struct model_entry *list, size_t n) {
    struct entry entries[256];
    struct stream *stream = get_stream(s, list[0].stream);
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct entry){
            .ts_ns = list[i].ts_ns,
            .line = str_from(list[i].line),
            .meta = list[i].meta ? &meta_values[list[i].meta - 1] : NULL,
            .meta_count = list[i].meta ? 1 : 0,
        };
    int r = world_append_pinned(s, STR("t"), stream, entries, n);
    store_unpin(s, stream);
    return r;
}

#define BASE_NS (INT64_C(1790000000) * NS_PER_S)

/* A random push of one stream: mostly in order, at times late, equal, or a repetition of an earlier one; the
 * times cross midnight. */
static size_t random_push(struct model_entry *out) {
    if (model_count > 100 && random_below(5) == 0) {
        size_t from = random_below(model_count - 60);
        size_t n = 0;
        while (n < 50 && model[from + n].stream == model[from].stream)
            n++;
        memcpy(out, &model[from], n * sizeof(*out));
        return n;
    }
    size_t n = 1 + random_below(60);
    uint32_t stream = (uint32_t)random_below(STREAMS);
    int64_t at = BASE_NS + (int64_t)model_count * NS_PER_S * 5;
    for (size_t i = 0; i < n; i++) {
        if (random_below(4) == 0)
            at -= (int64_t)random_below(600) * NS_PER_S;
        else if (random_below(3) != 0)
            at += (int64_t)random_below(5) * NS_PER_S / 2;
        out[i] =
            (struct model_entry){.stream = stream, .ts_ns = at, .meta = (uint32_t)random_below(5)};
        (void)snprintf(out[i].line, sizeof(out[i].line), "line %llu of %u",
                       (unsigned long long)random_below(20), stream);
    }
    return n;
}

static void remember(const struct model_entry *list, size_t n) {
    for (size_t i = 0; i < n && model_count < MODEL_MAX; i++)
        model[model_count++] = list[i];
}

/* ---- reading everything back */

static uint32_t stream_number(struct labels labels) {
    struct str value = labels_get(labels, STR("n"));
    uint64_t n = 0;
    (void)u64_parse(value, &n);
    return (uint32_t)n;
}

static uint32_t meta_number(const struct meta_column *c, uint32_t i) {
    if (!c || c->ids[i] == 0)
        return 0;
    for (uint32_t k = 0; k < 4; k++)
        if (str_eq(meta_values[k].value, c->values[c->ids[i] - 1]))
            return k + 1;
    return 99;
}

struct found {
    struct model_entry *entries;
    size_t n;
};

/* Asks for the metadata's column by its name, as a query does. */
static void read_block(struct block_reader *r, const struct snap_stream *stream,
                       const struct block_ref *b, void *ctx) {
    struct found *found = ctx;
    struct err err = {0};
    const int64_t *times;
    const uint32_t *offsets;
    struct str lines;
    const struct meta_column *column;
    struct block_ref_info info;
    block_ref_get(b, &info);
    if (block_reader_open(r, b, &err) < 0 || block_reader_times(r, &times, &err) < 0 ||
        block_reader_offsets(r, &offsets, &err) < 0 || block_reader_lines(r, &lines, &err) < 0 ||
        block_reader_meta_column(r, STR("k"), &column, &err) < 0) {
        CHECK_STR(str_from(err.text), STR("")); /* what kept the block from being read */
        return;
    }
    for (uint32_t i = 0; i < info.count; i++) {
        CHECK(i == 0 || times[i - 1] <= times[i]);
        if (dead_test(block_reader_dead(r), i))
            continue;
        struct model_entry *e = &found->entries[found->n++];
        *e = (struct model_entry){.stream = stream_number(stream->labels),
                                  .ts_ns = times[i],
                                  .meta = meta_number(column, i)};
        (void)snprintf(e->line, sizeof(e->line), "%.*s", (int)(offsets[i + 1] - 1 - offsets[i]),
                       lines.data + offsets[i]);
    }
}

static size_t read_all(struct store *s, struct model_entry *out) {
    struct found found = {.entries = out};
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    world_walk_blocks(snap, read_block, &found);
    store_snapshot_free(snap);
    return found.n;
}

static void check_model(struct store *s, const char *when) {
    static struct model_entry got[2 * MODEL_MAX], want[MODEL_MAX];
    memcpy(want, model, model_count * sizeof(*want));
    size_t n_want = sort_unique(want, model_count);
    size_t n_got = read_all(s, got);
    qsort(got, n_got, sizeof(*got), compare_model);
    if (n_got != n_want)
        printf("  %s: %zu entries, want %zu\n", when, n_got, n_want);
    CHECK_INT(n_got, n_want);
    for (size_t i = 0; i < n_got && i < n_want; i++)
        if (compare_model(&got[i], &want[i]) != 0) {
            printf("  %s: entry %zu is %u %lld %s %u, want %u %lld %s %u\n", when, i, got[i].stream,
                   (long long)got[i].ts_ns, got[i].line, got[i].meta, want[i].stream,
                   (long long)want[i].ts_ns, want[i].line, want[i].meta);
            CHECK(false);
            break;
        }
}

static struct store *open_store(void) {
    return world_open(
        &world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF, .segment_bytes = 1 << 20},
                                       .pack_from = 2});
}

static void test_random_against_model(void) {
    world_begin(&world);
    random_state = 88172645463325252u;
    model_count = 0;
    struct store *s = open_store();
    struct model_entry push[64];
    for (unsigned round = 0; round < 400; round++) {
        size_t n = random_push(push);
        CHECK_INT(append_model(s, push, n), 0);
        remember(push, n);
        if (round % 40 == 17)
            CHECK_INT(store_flush(s, NULL), 0);
        if (round % 50 == 49)
            check_model(s, "while open");
        if (round % 100 == 99) {
            world_close(&world);
            s = open_store();
            check_model(s, "after reopening");
        }
    }
    world_end(&world);
}

/* A child appends and is killed at a random moment; what it had acknowledged (told through a pipe after each push) must
 * be there, and nothing that was never pushed. */
static void child_pushes(int fd, uint64_t seed) {
    random_state = seed;
    struct store *s = open_store();
    struct model_entry push[64];
    for (unsigned round = 0;; round++) {
        size_t n = random_push(push);
        if (append_model(s, push, n) == 0) {
            uint32_t count = (uint32_t)n;
            if (write(fd, &count, sizeof(count)) < 0 || write(fd, push, n * sizeof(*push)) < 0)
                _exit(1);
            remember(push, n);
        }
        if (random_below(20) == 0)
            (void)store_flush(s, NULL);
    }
}

static bool read_full(int fd, void *data, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fd, (char *)data + at, size - at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool contains(const struct model_entry *sorted, size_t n, const struct model_entry *e) {
    return bsearch(e, sorted, n, sizeof(*e), compare_model) != NULL;
}

static void kill_once(uint64_t seed) {
    static struct model_entry got[2 * MODEL_MAX];
    int fds[2];
    if (pipe(fds) < 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child_pushes(fds[1], seed);
    }
    close(fds[1]);
    (void)usleep((useconds_t)(3000 + random_below(40000)));
    kill(pid, SIGKILL);
    struct model_entry push[64];
    uint32_t n;
    while (read_full(fds[0], &n, sizeof(n)) && n <= 64 &&
           read_full(fds[0], push, n * sizeof(*push)))
        remember(push, n);
    close(fds[0]);
    (void)waitpid(pid, NULL, 0);
    struct store *s = open_store();
    size_t n_got = read_all(s, got);
    qsort(got, n_got, sizeof(*got), compare_model);
    for (size_t i = 1; i < n_got; i++)
        CHECK(compare_model(&got[i - 1], &got[i]) != 0);
    for (size_t i = 0; i < model_count; i++)
        if (!contains(got, n_got, &model[i])) {
            printf("  seed %llu: acknowledged entry lost\n", (unsigned long long)seed);
            CHECK(false);
            break;
        }
    /* What was appended but not acknowledged may be there, too: from now on it is part of the model. */
    model_count = 0;
    remember(got, n_got);
    world_close(&world);
}

static void test_kills(void) {
    world_begin(&world);
    model_count = 0;
    random_state = 4711;
    for (uint64_t i = 1; i <= 25; i++) {
        kill_once(i * 7919);
        if (model_count > MODEL_MAX / 2)
            break;
    }
    struct store *s = open_store();
    CHECK(store_sweep_orphans(s, NULL) >= 0);
    check_model(s, "after the sweep");
    world_close(&world);
    struct store_rebuild counts;
    struct err err = {0};
    CHECK_INT(store_rebuild_index(world.dir, &counts, &err), 0);
    CHECK_INT(counts.damaged, 0);
    s = open_store();
    check_model(s, "after rebuilding the index");
    world_end(&world);
}

static void test_one_server_per_directory(void) {
    world_begin(&world);
    open_store();
    struct store_options o = {.data_dir = world.dir};
    struct store *second = NULL;
    struct err err = {0};
    CHECK_INT(store_open(&o, &second, &err), -EBUSY);
    CHECK(strstr(err.text, "in use") != NULL);
    world_end(&world);
}

/* Bytes that a push of lines of one letter adds to the WAL. */
static uint64_t wal_bytes_of_push(struct store *s, int64_t first_ns) {
    enum { LINES = 100 };
    static char letters[500];
    memset(letters, 'x', sizeof(letters));
    struct entry entries[LINES];
    for (int i = 0; i < LINES; i++)
        entries[i] =
            (struct entry){.ts_ns = first_ns + i, .line = str_make(letters, sizeof(letters))};
    struct store_stats before, after;
    store_get_stats(s, &before);
    CHECK_INT(world_append_app(s, STR("t"), "packed", entries, LINES), 0);
    store_get_stats(s, &after);
    return after.wal.appended_bytes - before.wal.appended_bytes;
}

/* Records are packed when the settings say so, or when the WAL is too long; a disk that keeps up gets them as they
 * are. */
static void test_wal_packing(void) {
    for (int always = 0; always < 2; always++) {
        world_begin(&world);
        struct store *s = world_open(
            &world, (struct store_options){.wal_compress = always, .wal_max_bytes = 40000});
        CHECK((wal_bytes_of_push(s, 1000) < 10000) == always);
        CHECK(wal_bytes_of_push(s, 2000) < 10000);
        world_end(&world);
    }
}

/* More blocks than may wait for the sealing thread, in a process that ends without a flush. */
static void push_many_blocks(void) {
    enum { LINES = 600, APPS = 24 };
    static char letters[500];
    static struct entry entries[LINES];
    memset(letters, 'x', sizeof(letters));
    for (int i = 0; i < LINES; i++)
        entries[i] = (struct entry){.ts_ns = i, .line = str_make(letters, sizeof(letters))};
    struct store *s = open_store();
    for (int i = 0; i < APPS; i++) {
        char app[8];
        (void)snprintf(app, sizeof(app), "app%d", i);
        if (world_append_app(s, STR("t"), app, entries, LINES) != 0)
            _exit(1);
    }
    _exit(0);
}

static void crash_after_many_blocks(void) {
    pid_t pid = fork();
    if (pid == 0)
        push_many_blocks();
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Blocks that replay does not wait for are encoded all the same: in the end none is as large as its lines. */
static void test_replay_encodes_all(void) {
    world_begin(&world);
    crash_after_many_blocks();
    struct store *s = open_store();
    struct store_stats stats;
    for (int i = 0; i < 3000; i++) {
        store_get_stats(s, &stats);
        if (stats.sealed_bytes < 200000)
            break;
        (void)usleep(10000);
    }
    CHECK_INT(stats.replayed_entries, 24 * 600);
    CHECK_INT(stats.sealed_blocks, 24);
    CHECK(stats.sealed_bytes < 200000);
    world_end(&world);
}

/* What replay leaves to be encoded may be more than pushes may ever use of memory: none is refused for it. */
static void test_replay_leaves_room_for_pushes(void) {
    world_begin(&world);
    crash_after_many_blocks();
    static const struct store_options o = {.head_budget_bytes = 2600000,
                                           .wal = {.sync = WAL_SYNC_OFF}};
    struct store *s = world_open(&world, o);
    const struct entry entry = {.ts_ns = 1, .line = STR("x")};
    CHECK_INT(world_append_app(s, STR("t"), "other", &entry, 1), 0);
    world_close(&world);
    s = world_open(&world, o);
    struct store_stats stats;
    store_get_stats(s, &stats);
    CHECK_INT(stats.replayed_entries, 0);
    world_end(&world);
}

static void test_unknown_format_is_refused(void) {
    world_begin(&world);
    open_store();
    world_close(&world);
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/format", world.dir);
    FILE *f = fopen(path, "w");
    (void)fputs("logq 2\n", f);
    (void)fclose(f);
    struct store_options o = {.data_dir = world.dir};
    struct store *s = NULL;
    struct err err = {0};
    CHECK_INT(store_open(&o, &s, &err), -EFORMAT);
    world_end(&world);
}

/* A snapshot goes on showing a chunk whose file was deleted meanwhile. */
static void test_deletion_waits_for_snapshots(void) {
    world_begin(&world);
    model_count = 0;
    random_state = 99;
    struct store *s = open_store();
    struct model_entry push[64];
    size_t n = random_push(push);
    CHECK_INT(append_model(s, push, n), 0);
    CHECK_INT(store_flush(s, NULL), 0);
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    const struct snap_stream *streams;
    CHECK_INT(snapshot_streams(snap, &streams), 1);
    uint64_t id = streams[0].id;
    struct arena arena = arena_make(1 << 20);
    struct index_reader *reader = NULL;
    struct index_chunk *chunks;
    size_t n_chunks = 0;
    CHECK_INT(index_reader_begin(store_index(s), &reader, NULL), 0);
    CHECK_INT(
        index_reader_chunks(reader, STR("t"), id, 0, INT64_MAX, &arena, &chunks, &n_chunks, NULL),
        0);
    index_reader_end(reader);
    CHECK(n_chunks > 0);
    for (size_t i = 0; i < n_chunks; i++)
        store_delete_chunk(s, STR("t"), &chunks[i]);
    CHECK_INT(store_reap(s), n_chunks);
    CHECK_INT(world_count_in(snap), sort_unique(push, n));
    store_snapshot_free(snap);
    CHECK_INT(store_reap(s), 0);
    arena_done(&arena);
    world_end(&world);
}

int main(void) {
    RUN(test_random_against_model);
    RUN(test_kills);
    RUN(test_one_server_per_directory);
    RUN(test_wal_packing);
    RUN(test_replay_encodes_all);
    RUN(test_replay_leaves_room_for_pushes);
    RUN(test_unknown_format_is_refused);
    RUN(test_deletion_waits_for_snapshots);
    return test_done();
}
