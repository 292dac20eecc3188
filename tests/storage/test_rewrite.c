/* rewrite: whatever is pushed in whatever order, flushed into however many chunks and rewritten in whatever groups, a
 * query sees each entry once, in order; erased ones are gone; failed calls leave the store as it was; an index rebuilt
 * from what a crash leaves between the steps shows the same. */
#include "rewrite.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "io.h"
#include "snapshot.h"
#include "store_world.h"
#include "units.h"

#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

enum { MODEL_MAX = 40000, LINE_MAX = 400 };

static struct store_world world;

static struct store *open_store(void) {
    return world_open(&world, (struct store_options){.wal = {.segment_bytes = 1 << 20}});
}

/* ---- a stream's entries: what the store should show */

struct model_entry {
    int64_t ts_ns;
    uint32_t number; /* of the line; metadata follows from it, too */
};

static struct model_entry model[MODEL_MAX];
static size_t n_model;
static uint64_t random_state;

static uint32_t random_below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static int compare_model(const void *a, const void *b) {
    const struct model_entry *x = a, *y = b;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static void model_sort_unique(void) {
    if (n_model > 0)
        qsort(model, n_model, sizeof(model[0]), compare_model);
    size_t n = 0;
    for (size_t i = 0; i < n_model; i++)
        if (n == 0 || compare_model(&model[n - 1], &model[i]) != 0)
            model[n++] = model[i];
    n_model = n;
}

static size_t make_line(char out[static LINE_MAX], uint32_t number) {
    size_t size = (size_t)snprintf(out, LINE_MAX, "%u line ", number);
    uint64_t x = number * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t extra = number % 300; extra > 0 && size < LINE_MAX; extra--) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        out[size++] = (char)('a' + (x >> 33) % 26);
    }
    return size;
}

/* ---- pushing */

enum { PUSH_MAX = 500 };

static void push(struct store *s, const struct model_entry *list, size_t n) {
    static char lines[PUSH_MAX][LINE_MAX], values[PUSH_MAX][16];
    struct entry entries[PUSH_MAX];
    struct label meta[PUSH_MAX][2];
    for (size_t i = 0; i < n; i++) {
        uint32_t number = list[i].number;
        (void)snprintf(values[i], sizeof(values[i]), "v%u", number % 7);
        meta[i][0] = (struct label){STR("a"), str_from(values[i])};
        meta[i][1] = (struct label){STR("b"), STR("same")};
        entries[i] = (struct entry){.ts_ns = list[i].ts_ns,
                                    .line = str_make(lines[i], make_line(lines[i], number)),
                                    .meta = meta[i],
                                    .meta_count = number % 3};
    }
    CHECK_INT(world_append_app(s, STR("t"), "test", entries, n), 0);
}

/* ---- reading */

static struct model_entry seen[2 * MODEL_MAX];
static size_t n_seen;

static void see(const struct snap_stream *stream, const struct entry *e, void *ctx) {
    (void)stream, (void)ctx;
    char wanted[LINE_MAX], value[16];
    uint32_t number = (uint32_t)strtoul(e->line.data, NULL, 10);
    CHECK_STR(e->line, str_make(wanted, make_line(wanted, number)));
    (void)snprintf(value, sizeof(value), "v%u", number % 7);
    for (uint32_t m = 0; m < e->meta_count; m++)
        CHECK_STR(e->meta[m].value, m == 0 ? str_from(value) : STR("same"));
    CHECK_INT(e->meta_count, number % 3);
    if (n_seen < 2 * MODEL_MAX)
        seen[n_seen++] = (struct model_entry){e->ts_ns, number};
}

static void read_all(struct store *s) {
    n_seen = 0;
    world_walk_tenant(s, STR("t"), see, NULL);
}

/* `unsorted`: blocks may overlap, so that only the set counts. */
static void check_store(struct store *s) {
    read_all(s);
    if (n_seen > 0)
        qsort(seen, n_seen, sizeof(seen[0]), compare_model);
    CHECK_INT(n_seen, n_model);
    for (size_t i = 0; i < n_seen && i < n_model; i++)
        if (compare_model(&seen[i], &model[i]) != 0) {
            CHECK_INT(seen[i].number, model[i].number);
            CHECK_INT(seen[i].ts_ns, model[i].ts_ns);
            return;
        }
}

/* ---- rows and files */

enum { ROWS_MAX = 2000 };
static struct index_chunk rows[ROWS_MAX];
static size_t n_rows;

static int note_row(const struct index_chunk *c, void *ctx) {
    (void)ctx;
    if (n_rows < ROWS_MAX)
        rows[n_rows++] = *c;
    return 0;
}

static void list_rows(struct store *s) {
    struct err err = {0};
    n_rows = 0;
    CHECK(index_walk_chunks(store_index(s), STR("t"), note_row, NULL, &err) == 0);
}

static int rewrite(struct store *s, size_t from, size_t n, uint8_t reencode_below,
                   uint64_t target_bytes, struct rewrite_result *ret) {
    struct err err = {0};
    struct rewrite w = {.tenant = STR("t"),
                        .sources = rows + from,
                        .n_sources = n,
                        .effort = EFFORT_ZSTD,
                        .grade = reencode_below,
                        .reencode_below = reencode_below,
                        .target_bytes = target_bytes};
    int r = store_rewrite(s, &w, ret, NULL, &err);
    if (r < 0 && r != -EIO)
        printf("  rewrite: %s\n", err.text);
    return r;
}

/* Entries in `rounds` flushes; times wander, equal times and retries of earlier batches come, too. */
static void fill(struct store *s, int rounds, uint32_t spread_ms, unsigned batches) {
    struct err err = {0};
    uint32_t number = (uint32_t)n_model;
    for (int round = 0; round < rounds; round++) {
        for (unsigned b = 0; b < batches; b++) {
            struct model_entry list[PUSH_MAX];
            size_t n = 1 + random_below(PUSH_MAX);
            if (n_model + n > MODEL_MAX)
                n = MODEL_MAX - n_model;
            if (n == 0)
                break;
            for (size_t i = 0; i < n; i++) {
                int64_t ms = (int64_t)round * 60000 + random_below(spread_ms);
                list[i] = (struct model_entry){BASE_NS + ms * NS_PER_MS, number++};
                if (i > 0 && random_below(10) == 0)
                    list[i].ts_ns = list[i - 1].ts_ns;
                if (n_model > 0 && random_below(20) == 0)
                    list[i] = model[random_below((uint32_t)n_model)];
                model[n_model + i] = list[i];
            }
            n_model += n;
            push(s, list, n);
        }
        CHECK(store_flush(s, &err) == 0);
    }
    model_sort_unique();
}

static void begin(uint64_t seed) {
    random_state = seed;
    n_model = 0;
    world_begin_in_memory(&world);
}

/* ---- tests */

static void merges_to_one(void) {
    begin(1);
    struct store *s = open_store();
    fill(s, 12, 50000, 3);
    check_store(s);
    list_rows(s);
    CHECK_INT(n_rows, 12);
    struct rewrite_result result = {0};
    CHECK_INT(rewrite(s, 0, n_rows, 1, 32 << 20, &result), 0);
    CHECK_INT(result.sources, 12);
    CHECK_INT(result.outputs, 1);
    CHECK_INT(result.entries, n_model);
    CHECK(result.output_bytes > 0 && result.output_bytes < result.source_bytes);
    (void)store_reap(s);
    CHECK_INT(world_chunk_files(&world), 1);
    check_store(s);
    /* What is there now stands in order and in full blocks. */
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    const struct snap_stream *streams;
    CHECK_INT(snapshot_streams(snap, &streams), 1);
    for (size_t i = 0; i < streams[0].n_blocks; i++) {
        struct block_ref_info info;
        block_ref_get(streams[0].blocks[i], &info);
        CHECK(!info.may_overlap);
        if (i + 1 < streams[0].n_blocks)
            CHECK(info.line_bytes >= BLOCK_RAW_TARGET);
    }
    store_snapshot_free(snap);
    world_close(&world);
    s = open_store();
    check_store(s);
    list_rows(s);
    CHECK_INT(n_rows, 1);
    CHECK_INT(rows[0].grade, 1);
    world_end(&world);
}

static void cuts_files_at_the_target(void) {
    begin(2);
    struct store *s = open_store();
    fill(s, 20, 50000, 6);
    list_rows(s);
    struct rewrite_result result = {0};
    CHECK_INT(rewrite(s, 0, n_rows, 1, 300 << 10, &result), 0);
    CHECK(result.outputs > 3);
    check_store(s);
    list_rows(s);
    CHECK_INT(n_rows, result.outputs);
    for (size_t i = 0; i < n_rows; i++) {
        CHECK(rows[i].sums.file_bytes < 600 << 10);
        CHECK(i == 0 || rows[i].sums.first_ns >= rows[i - 1].sums.last_ns);
    }
    world_end(&world);
}

/* Many seeds: groups of any size again and again, copied or encoded anew, until all is one. */
static void any_groups(void) {
    for (uint64_t seed = 10; seed < 22; seed++) {
        begin(seed);
        struct store *s = open_store();
        fill(s, 10, seed % 2 ? 59000 : 600000, 1 + (unsigned)seed % 4);
        for (int round = 0; round < 6; round++) {
            list_rows(s);
            size_t from = random_below((uint32_t)n_rows);
            size_t n = 1 + random_below((uint32_t)(n_rows - from));
            struct rewrite_result result = {0};
            CHECK_INT(rewrite(s, from, n, (uint8_t)random_below(2),
                              random_below(2) ? 200 << 10 : 32 << 20, &result),
                      0);
            check_store(s);
        }
        list_rows(s);
        struct rewrite_result result = {0};
        CHECK_INT(rewrite(s, 0, n_rows, 0, 32 << 20, &result), 0);
        CHECK_INT(result.entries, n_model);
        check_store(s);
        if (test_case_failures > 0)
            printf("  seed %llu\n", (unsigned long long)seed);
        world_end(&world);
    }
}

static int erase_some(void *ctx, struct labels labels, struct block_reader *r,
                      const struct block_ref_info *info, uint64_t *bits, struct err *reterr) {
    const uint32_t *offsets;
    struct str lines;
    (void)labels;
    int status = block_reader_offsets(r, &offsets, reterr);
    if (status == 0)
        status = block_reader_lines(r, &lines, reterr);
    for (uint32_t i = 0; i < info->count && status == 0; i++)
        if (strtoul(lines.data + offsets[i], NULL, 10) % *(uint32_t *)ctx == 0)
            bits[i >> 6] |= UINT64_C(1) << (i & 63);
    return status;
}

static void model_erase(uint32_t modulus) {
    size_t n = 0;
    for (size_t i = 0; i < n_model; i++)
        if (model[i].number % modulus != 0)
            model[n++] = model[i];
    n_model = n;
}

static void erases(void) {
    begin(3);
    struct store *s = open_store();
    fill(s, 5, 300000, 2);
    list_rows(s);
    uint32_t modulus = MODEL_MAX * 2;
    struct rewrite w = {.tenant = STR("t"),
                        .n_sources = 1,
                        .effort = EFFORT_FAST,
                        .target_bytes = 32 << 20,
                        .erase = erase_some,
                        .erase_ctx = &modulus};
    struct err err = {0};
    struct rewrite_result result = {0};
    for (size_t i = 1; i < n_rows; i++) { /* number 0 stands in the first chunk */
        w.sources = &rows[i];
        CHECK_INT(store_rewrite(s, &w, &result, NULL, &err), 0);
        CHECK_INT(result.sources, 0);
        CHECK_INT(result.erased_entries, 0);
    }
    CHECK_INT(world_chunk_files(&world), 5);
    modulus = 5;
    for (size_t i = 0; i < n_rows; i++) {
        w.sources = &rows[i];
        CHECK_INT(store_rewrite(s, &w, &result, NULL, &err), 0);
        CHECK(result.erased_entries > 0);
        CHECK_INT(result.sources, 1);
        CHECK_INT(result.outputs, 1);
    }
    model_erase(5);
    check_store(s);
    modulus = 1; /* all */
    list_rows(s);
    for (size_t i = 0; i < n_rows; i++) {
        w.sources = &rows[i];
        CHECK_INT(store_rewrite(s, &w, &result, NULL, &err), 0);
        CHECK_INT(result.outputs, 0);
    }
    n_model = 0;
    check_store(s);
    (void)store_reap(s);
    CHECK_INT(world_chunk_files(&world), 0);
    world_end(&world);
}

static void a_source_that_went_is_stale(void) {
    begin(4);
    struct store *s = open_store();
    fill(s, 3, 50000, 1);
    list_rows(s);
    struct index_chunk before[3];
    memcpy(before, rows, sizeof(before));
    struct rewrite_result result = {0};
    CHECK_INT(rewrite(s, 0, 2, 1, 32 << 20, &result), 0);
    memcpy(rows, before, sizeof(before));
    CHECK_INT(rewrite(s, 1, 2, 1, 32 << 20, &result), -ESTALE);
    check_store(s);
    (void)store_reap(s);
    CHECK(world_chunk_files(&world) == 2);
    world_end(&world);
}

/* The sweep of a start looks at all numbers that the process has found, here at all. */
static int64_t sweep_as_after_a_start(struct store *s) {
    struct err err = {0};
    uint64_t first_seq = s->first_chunk_seq;
    s->first_chunk_seq = UINT64_MAX;
    int64_t removed = store_sweep_orphans(s, &err);
    s->first_chunk_seq = first_seq;
    return removed;
}

/* A snapshot that began before sees its files until it ends. */
static void snapshots_keep_their_files(void) {
    begin(5);
    struct store *s = open_store();
    fill(s, 6, 50000, 2);
    list_rows(s);
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    struct rewrite_result result = {0};
    CHECK_INT(rewrite(s, 0, n_rows, 1, 32 << 20, &result), 0);
    CHECK_INT(store_reap(s), 6);
    CHECK_INT(sweep_as_after_a_start(s), 0);
    check_store(s);
    n_seen = 0;
    world_walk(snap, see, NULL);
    CHECK_INT(n_seen, n_model);
    store_snapshot_free(snap);
    CHECK_INT(store_reap(s), 0);
    CHECK_INT(world_chunk_files(&world), 1);
    world_end(&world);
}

/* ---- failing calls and lost indexes */

static atomic_int calls;
static int fail_at;
static bool sticky;

static int on_io(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    if (op == IO_CLOSE)
        return 0;
    int call = atomic_fetch_add(&calls, 1) + 1;
    return fail_at > 0 && (call == fail_at || (sticky && call > fail_at)) ? -EIO : 0;
}

static void lose_index(void) {
    struct err err = {0};
    struct store_rebuild found;
    CHECK_INT(store_rebuild_index(world.dir, &found, &err), 0);
}

/* In run n the n-th call into the file system fails while three chunks become several; then the store goes on, is
 * closed, opened, swept, rebuilt: each time all entries are there once. */
static void failures_at_each_call(void) {
    bool untouched = false;
    for (int n = 1; !untouched && n < 500; n++) {
        begin(6);
        struct store *s = open_store();
        fill(s, 3, 50000, 4);
        list_rows(s);
        struct rewrite_result result = {0};
        atomic_store(&calls, 0);
        fail_at = n;
        sticky = n % 2 == 0;
        io_set_hook(on_io, NULL);
        int r = rewrite(s, 0, n_rows, 1, 100 << 10, &result);
        io_set_hook(NULL, NULL);
        untouched = atomic_load(&calls) < n;
        CHECK(r == 0 || !untouched);
        check_store(s);
        world_close(&world);
        if (n % 3 == 0)
            lose_index();
        s = open_store();
        check_store(s);
        struct err err = {0};
        CHECK(store_sweep_orphans(s, &err) >= 0);
        check_store(s);
        list_rows(s);
        CHECK_INT(world_chunk_files(&world), n_rows);
        world_close(&world);
        lose_index();
        s = open_store();
        check_store(s);
        world_end(&world);
        if (test_case_failures > 0) {
            printf("  call %d\n", n);
            return;
        }
    }
    CHECK(untouched);
}

static void copy_chunks(const char *command) {
    char text[1024];
    (void)snprintf(text, sizeof(text), command, world.dir, world.dir);
    CHECK(system(text) == 0);
}

/* The replaced files have not been removed when the index is lost: those of this rewrite and of one before. */
static void replaced_files_stay_out(void) {
    begin(7);
    struct store *s = open_store();
    fill(s, 6, 50000, 2);
    copy_chunks("cp -a '%s/chunks' '%s/kept'");
    list_rows(s);
    struct rewrite_result result = {0};
    uint32_t modulus = 3;
    struct err err = {0};
    struct rewrite w = {.tenant = STR("t"),
                        .sources = rows,
                        .n_sources = 4,
                        .effort = EFFORT_FAST,
                        .target_bytes = 32 << 20,
                        .erase = erase_some,
                        .erase_ctx = &modulus};
    CHECK_INT(store_rewrite(s, &w, &result, NULL, &err), 0);
    list_rows(s);
    CHECK_INT(n_rows, 3);
    w.sources = rows;
    w.n_sources = 3;
    CHECK_INT(store_rewrite(s, &w, &result, NULL, &err), 0);
    CHECK_INT(result.outputs, 1);
    model_erase(3);
    check_store(s);
    world_close(&world);
    copy_chunks("cp -an '%s/kept/.' '%s/chunks'");
    lose_index();
    s = open_store();
    check_store(s);
    CHECK_INT(store_sweep_orphans(s, &err), 6);
    list_rows(s);
    CHECK_INT(n_rows, 1);
    check_store(s);
    world_end(&world);
}

static void damaged_sources_are_named(void) {
    begin(8);
    struct store *s = open_store();
    fill(s, 3, 50000, 2);
    list_rows(s);
    world_close(&world);
    char path[CHUNK_PATH_MAX], command[2 * CHUNK_PATH_MAX];
    CHECK(chunk_path(path, STR("t"), rows[1].day, rows[1].stream_id, rows[1].chunk_seq) == 0);
    (void)snprintf(command, sizeof(command),
                   "printf xxxxxxxx | dd of='%s/%s' bs=1 seek=3000 conv=notrunc 2>/dev/null",
                   world.dir, path);
    CHECK(system(command) == 0);
    s = open_store();
    struct err err = {0};
    struct rewrite_result result = {0};
    struct rewrite w = {.tenant = STR("t"),
                        .sources = rows,
                        .n_sources = 3,
                        .effort = EFFORT_FAST,
                        .reencode_below = 1,
                        .target_bytes = 32 << 20};
    size_t bad = 77;
    CHECK_INT(store_rewrite(s, &w, &result, &bad, &err), -ECORRUPT);
    CHECK_INT(bad, 1);
    (void)store_reap(s);
    CHECK_INT(world_chunk_files(&world), 3);
    world_end(&world);
}

int main(void) {
    RUN(merges_to_one);
    RUN(cuts_files_at_the_target);
    RUN(any_groups);
    RUN(erases);
    RUN(a_source_that_went_is_stale);
    RUN(snapshots_keep_their_files);
    RUN(failures_at_each_call);
    RUN(replaced_files_stay_out);
    RUN(damaged_sources_are_named);
    return test_done();
}
