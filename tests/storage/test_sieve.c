/* Sieves: what they let pass against the filters themselves, chunks that go and come, damage at every place, and a store
 * that is asked with and without one. */
#include "sieve.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "sieve_days.h"
#include "sieve_format.h"
#include "store_private.h"
#include "store_world.h"
#include "units.h"
#include "verify.h"

enum { STREAMS = 40, LINES = 60, LONG_LINES = 9000, DAY = 20718, ROWS_MAX = 1000 };
#define BASE_NS ((int64_t)DAY * NS_PER_DAY)

static struct store_world world;
static struct index_chunk rows[ROWS_MAX];
static size_t n_rows;
static char path[CHUNK_PATH_MAX];

static struct store *open_store(void) {
    return world_open(&world, (struct store_options){.pack_from = 8});
}

/* What one stream alone has. */
static void name_key(unsigned stream, unsigned round, char out[static 40]) {
    uint64_t x = (stream + 1) * 0x9e3779b97f4a7c15u ^ (round + 1) * 0xc2b2ae3d27d4eb4fu;
    (void)snprintf(out, 40, "%016llx%016llx", (unsigned long long)x,
                   (unsigned long long)(x * 0xff51afd7ed558ccdu));
}

/* Streams of many sizes: the first three have several blocks of the full size, the others little. */
static void push_stream(struct store *s, unsigned stream, unsigned round) {
    static struct entry entries[LONG_LINES];
    static char text[LONG_LINES][120];
    unsigned n = stream < 3 ? LONG_LINES : 1 + LINES * (stream % 7);
    char app[16], key[40];
    (void)snprintf(app, sizeof(app), "app-%u", stream);
    name_key(stream, round, key);
    for (unsigned i = 0; i < n; i++) {
        uint64_t x = (uint64_t)(stream * LONG_LINES + i + 7 * round) * 0x9e3779b97f4a7c15u;
        int size = snprintf(text[i], sizeof(text[i]), "line %u of %s: %016llx %s", i, app,
                            (unsigned long long)x, i == n / 2 ? key : "nothing");
        entries[i] = (struct entry){.ts_ns = BASE_NS + round * NS_PER_HOUR + i * NS_PER_MS,
                                    .line = str_make(text[i], (size_t)size)};
    }
    CHECK_INT(world_append_app(s, STR("fake"), app, entries, n), 0);
}

static void push_all(struct store *s, unsigned round) {
    for (unsigned i = 0; i < STREAMS; i++)
        push_stream(s, i, round);
    CHECK_INT(store_flush(s, NULL), 0);
}

static int note_row(const struct index_chunk *c, void *ctx) {
    (void)ctx;
    if (n_rows < ROWS_MAX)
        rows[n_rows++] = *c;
    return 0;
}

static void read_rows(struct store *s) {
    n_rows = 0;
    CHECK_INT(index_walk_chunks(store_index(s), STR("fake"), note_row, NULL, NULL), 0);
    CHECK(n_rows >= STREAMS);
}

static struct sieve_written write_sieve(struct store *s) {
    struct sieve_written written = {0};
    struct err err = {0};
    read_rows(s);
    struct sieve_order o = {
        .tenant = STR("fake"), .day = DAY, .rows = rows, .n_rows = n_rows, .rows_sum = 77};
    CHECK_INT(store_write_sieve(s, &o, &written, &err), 0);
    CHECK_STR(str_from(err.text), STR(""));
    return written;
}

static void begin(void) {
    world_begin_in_memory(&world);
    CHECK_INT(sieve_path(path, STR("fake"), DAY), 0);
}

/* ---- asking the store */

struct hits {
    struct str needle;
    uint64_t n;
};

static void count_hit(const struct snap_stream *stream, const struct entry *e, void *ctx) {
    struct hits *h = ctx;
    (void)stream;
    h->n += str_find(e->line, h->needle) != NULL;
}

/* Blocks that are left for the needle; *ret_hits: entries among them that have it. */
static uint64_t select_needle(struct store *s, struct str needle, uint64_t *ret_hits) {
    struct gram_query q;
    struct snapshot *snap = NULL;
    gram_query_init(&q, needle, false);
    struct select sel = {
        .tenant = STR("fake"), .start_ns = INT64_MIN, .end_ns = INT64_MAX, .grams = &q};
    CHECK_INT(store_select(s, &sel, &snap, NULL), 0);
    struct hits h = {.needle = needle};
    world_walk(snap, count_hit, &h);
    const struct snap_stream *streams;
    size_t n = snapshot_streams(snap, &streams);
    uint64_t blocks = 0;
    for (size_t i = 0; i < n; i++)
        blocks += streams[i].n_blocks;
    store_snapshot_free(snap);
    *ret_hits = h.n;
    return blocks;
}

static uint64_t skipped(struct store *s) {
    struct store_stats stats;
    store_get_stats(s, &stats);
    return stats.sieve_chunks_skipped;
}

static uint64_t damaged(struct store *s) {
    struct store_stats stats;
    store_get_stats(s, &stats);
    return stats.sieves_damaged;
}

/* Each stream's key is found in one block, by however many rounds have been pushed. */
static void check_needles(struct store *s, unsigned rounds) {
    for (unsigned stream = 0; stream < STREAMS; stream += 3)
        for (unsigned round = 0; round < rounds; round++) {
            char key[40];
            uint64_t hits = 0;
            name_key(stream, round, key);
            CHECK_INT(select_needle(s, str_from(key), &hits), 1);
            CHECK_INT(hits, 1);
        }
}

/* ---- cases */

/* Whatever a filter lets pass, the sieve does, too; of what no filter does it lets little pass. */
static void agrees_with_filters(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    struct sieve_written written = write_sieve(s);
    CHECK_INT(written.chunks, n_rows);
    struct sieve *sieve = NULL;
    CHECK_INT(sieve_open(store_dir_fd(s), path, &sieve, NULL), 0);
    CHECK_INT(sieve_check(sieve, NULL), 0);
    CHECK_INT(sieve_rows_sum(sieve), 77);
    CHECK_INT(sieve_file_bytes(sieve), written.file_bytes);
    uint64_t sum = 0;
    CHECK_INT(sieve_peek(store_dir_fd(s), path, &sum), 0);
    CHECK_INT(sum, 77);
    uint64_t *alive = calloc(sieve_words(sieve), sizeof(*alive));
    struct buf scratch = buf_make(BUF_NO_MAX);
    unsigned both = 0, sieve_only = 0, neither = 0;
    for (unsigned turn = 0; turn < 300; turn++) {
        struct gram_query q = {.count = 1 + turn % 5};
        bool bad = false;
        for (uint32_t k = 0; k < q.count; k++)
            q.hashes[k] = (uint32_t)(hash64(&(uint32_t){turn * 8 + k}, 4) >> 44);
        sieve_begin(sieve, alive);
        CHECK_INT(sieve_ask(sieve, &q, true, &scratch, alive, &bad), 0);
        CHECK(!bad);
        for (size_t i = 0; i < n_rows; i++) {
            struct chunk_id id = chunk_id_of(STR("fake"), &rows[i]);
            struct cached_chunk *c = NULL;
            CHECK_INT(chunk_cache_get(s->cache, &id, &c, NULL), 0);
            const struct filters *f = chunk_filters(cached_chunk_get(c));
            bool filter = false;
            for (uint32_t b = 0; b < rows[i].sums.blocks; b++)
                filter = filter || filters_may_contain(f, b, &q);
            int64_t number = sieve_find(sieve, sieve_fingerprint(&rows[i]));
            CHECK(number >= 0);
            CHECK_INT(sieve_chunk_blocks(sieve, number), rows[i].sums.blocks);
            bool passes = sieve_may_contain(sieve, number, alive);
            CHECK(passes || !filter);
            both += passes && filter;
            sieve_only += passes && !filter;
            neither += !passes;
            chunk_cache_put(s->cache, c);
        }
    }
    CHECK(both > 100 && neither > 4 * sieve_only);
    struct index_chunk other = rows[0];
    other.sums.entries++;
    CHECK_INT(sieve_find(sieve, sieve_fingerprint(&other)), -1);
    buf_done(&scratch);
    free(alive);
    sieve_close(sieve);
    world_end(&world);
}

static void store_asks_it(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    check_needles(s, 1);
    CHECK_INT(skipped(s), 0);
    (void)write_sieve(s);
    check_needles(s, 1);
    uint64_t now = skipped(s);
    CHECK(now >= STREAMS / 3 * (STREAMS - 2));
    push_all(s, 1); /* chunks that it does not know */
    check_needles(s, 2);
    CHECK(skipped(s) > now);
    world_close(&world);
    s = world_open(&world, (struct store_options){.read_only = true});
    check_needles(s, 2);
    CHECK(skipped(s) > 0);
    world_end(&world);
}

static int drop_rows(struct index_txn *t, void *ctx, struct err *reterr) {
    int r = 0;
    (void)ctx;
    for (size_t i = 0; i < n_rows && r == 0; i += 2)
        r = index_del_chunk(t, STR("fake"), &rows[i], reterr);
    return r;
}

/* Chunks that the sieve knows and the index does not: they are not asked for. */
static void chunks_go(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    (void)write_sieve(s);
    CHECK_INT(store_index_update(s, drop_rows, NULL, NULL), 0);
    for (size_t i = 0; i < n_rows; i += 2)
        store_delete_chunk(s, STR("fake"), &rows[i]);
    (void)store_reap(s);
    uint64_t found = 0;
    for (unsigned stream = 0; stream < STREAMS; stream++) {
        char key[40];
        uint64_t hits = 0;
        name_key(stream, 0, key);
        (void)select_needle(s, str_from(key), &hits);
        found += hits;
    }
    CHECK_INT(found, STREAMS - (n_rows + 1) / 2);
    CHECK_INT(store_remove_sieve(s, STR("fake"), DAY), 0);
    CHECK_INT(store_remove_sieve(s, STR("fake"), DAY), 0);
    world_end(&world);
}

static void check_open(int dir_fd, const struct buf *file, size_t at, bool sound) {
    struct sieve *sieve = NULL;
    CHECK_INT(io_write_file_durable(dir_fd, "damaged", buf_str(file)), 0);
    int r = sieve_open(dir_fd, "damaged", &sieve, NULL);
    if (r == 0)
        r = sieve_check(sieve, NULL);
    sieve_close(sieve);
    if ((r == 0) != sound || (r < 0 && r != -ECORRUPT && r != -EFORMAT)) {
        printf("  byte %zu of %zu: %d\n", at, file->size, r);
        test_case_failures++;
    }
}

/* Whichever byte flips, wherever it is cut off: it is found. */
static void damage_is_found(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    (void)write_sieve(s);
    int dir_fd = store_dir_fd(s);
    struct buf file = buf_make(BUF_NO_MAX);
    CHECK_INT(io_read_file(dir_fd, path, &file), 0);
    check_open(dir_fd, &file, 0, true);
    for (size_t at = 0; at < file.size && test_case_failures == 0; at += at < 160 ? 1 : 4093) {
        file.data[at] = (char)(file.data[at] ^ 0x41);
        check_open(dir_fd, &file, at, false);
        file.data[at] = (char)(file.data[at] ^ 0x41);
    }
    size_t whole = file.size;
    for (size_t at = 0; at < whole && test_case_failures == 0; at += at < 160 ? 1 : 8111) {
        file.size = at;
        check_open(dir_fd, &file, at, false);
    }
    file.size = whole;
    put_le32(file.data + SIEVE_AT_INCOMPAT, 1);
    put_le32(
        file.data + SIEVE_AT_CHECKSUM,
        (uint32_t)hash64(file.data + SIEVE_AT_HEAD_SIZE, SIEVE_HEADER_SIZE - SIEVE_AT_HEAD_SIZE));
    struct sieve *sieve = NULL;
    CHECK_INT(io_write_file_durable(dir_fd, "damaged", buf_str(&file)), 0);
    CHECK_INT(sieve_open(dir_fd, "damaged", &sieve, NULL), -EFORMAT);
    CHECK_INT(sieve_open(dir_fd, "none", &sieve, NULL), -ENOENT);
    buf_done(&file);
    world_end(&world);
}

static void flip(int dir_fd, uint64_t at) {
    char byte;
    int fd = openat(dir_fd, path, O_RDWR | O_CLOEXEC);
    CHECK_INT(pread(fd, &byte, 1, (off_t)at), 1);
    byte = (char)(byte ^ 1);
    CHECK_INT(pwrite(fd, &byte, 1, (off_t)at), 1);
    (void)close(fd);
}

static bool is_there(int dir_fd) {
    return faccessat(dir_fd, path, F_OK, 0) == 0;
}

static uint64_t verify(bool repair) {
    struct verify_options o = {.data_dir = world.dir, .repair = repair};
    struct verify_result result;
    CHECK_INT(store_verify(&o, &result, NULL), 0);
    return result.damages;
}

/* A store goes on without it and takes it away; verify names it, and puts it aside. */
static void store_goes_on_without(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    for (int part = 0; part < 2; part++) { /* tables, then all stripes */
        struct sieve_written written = write_sieve(s);
        CHECK(is_there(store_dir_fd(s)));
        if (part == 0)
            flip(store_dir_fd(s), SIEVE_HEADER_SIZE + 20);
        for (uint64_t at = 32 << 10; part == 1 && at < written.file_bytes; at += 256)
            flip(store_dir_fd(s), at);
        check_needles(s, 1);
        CHECK_INT(damaged(s), part + 1);
        CHECK(!is_there(store_dir_fd(s)));
        uint64_t before = skipped(s);
        store_forget_sieve(s, STR("fake"), DAY);
        check_needles(s, 1);
        CHECK_INT(skipped(s), before);
    }
    (void)write_sieve(s);
    world_close(&world);
    CHECK_INT(verify(false), 0);
    int dir_fd = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    flip(dir_fd, SIEVE_HEADER_SIZE + 20);
    CHECK_INT(verify(false), 1);
    CHECK_INT(verify(true), 1);
    CHECK(!is_there(dir_fd));
    CHECK_INT(verify(false), 0);
    (void)close(dir_fd);
    s = open_store();
    check_needles(s, 1);
    world_end(&world);
}

/* What a crash has left goes with the first sweep; a sieve stays. */
static void sweep_takes_what_is_unfinished(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    (void)write_sieve(s);
    char temp[CHUNK_PATH_MAX + 8];
    (void)snprintf(temp, sizeof(temp), "%s.tmp", path);
    CHECK_INT(io_write_file_durable(store_dir_fd(s), temp, STR("half of one")), 0);
    CHECK_INT(store_sweep_orphans(s, NULL), 1);
    CHECK(is_there(store_dir_fd(s)));
    world_end(&world);
}

static bool stop_at_once(void *ctx) {
    (void)ctx;
    return true;
}

static void writing_fails_clean(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    read_rows(s);
    struct sieve_written written;
    struct sieve_order o = {
        .tenant = STR("fake"), .day = DAY, .rows = rows, .n_rows = n_rows, .stopped = stop_at_once};
    size_t files = world_chunk_files(&world);
    CHECK_INT(store_write_sieve(s, &o, &written, NULL), -ECANCELED);
    o.stopped = NULL;
    o.n_rows = 0;
    CHECK_INT(store_write_sieve(s, &o, &written, NULL), -ENODATA);
    o.n_rows = n_rows;
    o.day = DAY + 1; /* a folder that is not there */
    CHECK_INT(store_write_sieve(s, &o, &written, NULL), -ENOENT);
    CHECK_INT(world_chunk_files(&world), files);
    rows[0].chunk_seq += 1000000; /* a chunk that is not there is left out */
    o.day = DAY;
    CHECK_INT(store_write_sieve(s, &o, &written, NULL), 0);
    CHECK_INT(written.chunks, n_rows - 1);
    check_needles(s, 1);
    world_end(&world);
}

/* ---- calls that fail */

static struct {
    int calls, fail_at, error;
    bool sticky, hit;
} fault;

static int on_io(enum io_op op, const char *name, void *ctx) {
    (void)name, (void)ctx;
    if (op == IO_CLOSE)
        return 0;
    int call = ++fault.calls;
    if (call < fault.fail_at || (call > fault.fail_at && !fault.sticky))
        return 0;
    fault.hit = true;
    return fault.error;
}

static void set_fault(int fail_at, int error, bool sticky) {
    fault.calls = 0;
    fault.fail_at = fail_at;
    fault.error = error;
    fault.sticky = sticky;
    fault.hit = false;
    io_set_hook(on_io, NULL);
}

/* The answer is right, or the query says that it lacks something. */
static void select_with_fault(struct store *s, int fail_at) {
    char key[40];
    struct gram_query q;
    struct snapshot *snap = NULL;
    name_key(6, 0, key);
    gram_query_init(&q, str_from(key), false);
    struct select sel = {
        .tenant = STR("fake"), .start_ns = INT64_MIN, .end_ns = INT64_MAX, .grams = &q};
    store_forget_sieve(s, STR("fake"), DAY);
    set_fault(fail_at, -EIO, false);
    int r = store_select(s, &sel, &snap, NULL);
    io_set_hook(NULL, NULL);
    struct hits h = {.needle = str_from(key)};
    if (r == 0)
        world_walk(snap, count_hit, &h);
    CHECK(r < 0 || snapshot_lost(snap) > 0 || h.n == 1);
    store_snapshot_free(snap);
}

static void any_call_fails(void) {
    begin();
    struct store *s = open_store();
    push_all(s, 0);
    read_rows(s);
    struct sieve_written written;
    struct sieve_order o = {.tenant = STR("fake"), .day = DAY, .rows = rows, .n_rows = n_rows};
    for (int kind = 0; kind < 4; kind++) {
        bool hit = true;
        for (int at = 1; hit && test_case_failures == 0; at++) {
            set_fault(at, kind & 1 ? -EIO : -ENOSPC, kind & 2);
            int r = store_write_sieve(s, &o, &written, NULL);
            hit = fault.hit;
            io_set_hook(NULL, NULL);
            CHECK(hit || r == 0);
            sieve_days_check(world.dir);
            if (at % 16 == 0)
                check_needles(s, 1);
        }
    }
    CHECK_INT(written.chunks, n_rows);
    bool hit = true;
    for (int at = 1; hit && test_case_failures == 0; at++) {
        if (!is_there(store_dir_fd(s)))
            (void)write_sieve(s);
        select_with_fault(s, at);
        hit = fault.hit;
    }
    check_needles(s, 1);
    world_end(&world);
}

int main(void) {
    RUN(agrees_with_filters);
    RUN(store_asks_it);
    RUN(chunks_go);
    RUN(damage_is_found);
    RUN(store_goes_on_without);
    RUN(sweep_takes_what_is_unfinished);
    RUN(writing_fails_clean);
    RUN(any_call_fails);
    return test_done();
}
