#include "chunk_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "gram.h"
#include "io.h"
#include "test.h"
#include "test_folder.h"

/* Several windows; each file has one block that no other has, among some that all have. */
enum { FILES = 3 * AHEAD_WINDOW + 5, BLOCKS = 30, LINES = 300, DAY = 20778 };

static char folder[TEST_FOLDER_MAX];
static int dir_fd;
static struct chunk_cache *cache;
static struct index_chunk rows[FILES];
static const struct index_chunk *row_pointers[FILES];

/* What the lines of a block and no others have. */
static void name_key(unsigned number, char out[static 24]) {
    (void)snprintf(out, 24, "key%016llx", (number + 1) * 0x9e3779b97f4a7c15ull);
}

static void encode(struct block_encoder *e, unsigned file, unsigned number, struct buf *encoded,
                   struct buf *filter) {
    int64_t times[LINES];
    struct str lines[LINES];
    static char text[LINES][80];
    char key[24];
    name_key(file, key);
    for (unsigned i = 0; i < LINES; i++) {
        times[i] = (int64_t)(number * LINES + i) * 1000000;
        lines[i].data = text[i];
        lines[i].size =
            (size_t)snprintf(text[i], sizeof(text[i]), "%s of id %08x%08x", key,
                             (i + 7 * number) * 2246822519u, (i + 9 * number) * 2654435761u);
    }
    struct block_input in = {.count = LINES, .times = times, .lines = lines};
    *encoded = buf_make(BUF_NO_MAX);
    *filter = buf_make(BUF_NO_MAX);
    CHECK_INT(block_encode(e, &in, EFFORT_FAST, encoded, filter), 0);
}

static void write_file(struct block_encoder *e, unsigned file, struct chunk_block *blocks) {
    struct chunk_head head = {
        .tenant = STR("fake"), .stream_id = file + 1, .chunk_seq = file + 1, .day = DAY};
    char path[CHUNK_PATH_MAX], parent[CHUNK_PATH_MAX];
    struct buf encoded, filter;
    struct err err = {0};
    int fd = -1;
    encode(e, file + 1000, 0, &encoded, &filter);
    blocks[0] = (struct chunk_block){buf_str(&encoded), buf_str(&filter)};
    CHECK_INT(chunk_path(path, head.tenant, DAY, head.stream_id, head.chunk_seq), 0);
    memcpy(parent, path, sizeof(path));
    *strrchr(parent, '/') = '\0';
    CHECK_INT(io_mkdirs(dir_fd, parent, 0700), 0);
    rows[file] = (struct index_chunk){.stream_id = file + 1, .chunk_seq = file + 1, .day = DAY};
    row_pointers[file] = &rows[file];
    CHECK_INT(chunk_write(dir_fd, path, &head, blocks, BLOCKS, &fd, &rows[file].sums, &err), 0);
    (void)fsync(fd);
    (void)close(fd);
    buf_done(&encoded);
    buf_done(&filter);
}

static void write_files(void) {
    struct block_encoder *e = block_encoder_new();
    struct chunk_block blocks[BLOCKS];
    struct buf encoded[BLOCKS], filters[BLOCKS];
    for (unsigned i = 1; i < BLOCKS; i++) {
        encode(e, 1, i, &encoded[i], &filters[i]);
        blocks[i] = (struct chunk_block){buf_str(&encoded[i]), buf_str(&filters[i])};
    }
    for (unsigned file = 0; file < FILES; file++)
        write_file(e, file, blocks);
    for (unsigned i = 1; i < BLOCKS; i++) {
        buf_done(&encoded[i]);
        buf_done(&filters[i]);
    }
    block_encoder_free(e);
}

/* So that the disk has to be asked, where there is one. */
static void drop_pages(void) {
    for (unsigned file = 0; file < FILES; file++) {
        char path[CHUNK_PATH_MAX];
        CHECK_INT(chunk_path(path, STR("fake"), DAY, file + 1, file + 1), 0);
        int fd = openat(dir_fd, path, O_RDONLY);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        (void)close(fd);
    }
}

/* Two threads, a half each. */
struct half {
    share_fn *fn;
    void *ctx;
    size_t from, to;
};

static void *run_half(void *arg) {
    struct half *h = arg;
    h->fn(h->ctx, h->from, h->to);
    return NULL;
}

static void share_halves(void *threads, size_t n, share_fn *fn, void *ctx) {
    (void)threads;
    struct half first = {fn, ctx, 0, n / 2}, second = {fn, ctx, n / 2, n};
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, run_half, &first), 0);
    (void)run_half(&second);
    (void)pthread_join(thread, NULL);
}

static const struct share halves = {.run = share_halves};
static const struct share *share;

static struct chunk_ahead ahead_make(const struct gram_query *grams) {
    return (struct chunk_ahead){.cache = cache,
                                .tenant = STR("fake"),
                                .start_ns = 0,
                                .end_ns = INT64_MAX,
                                .grams = grams,
                                .share = share,
                                .rows = row_pointers,
                                .n = FILES};
}

/* All files in order; of each the blocks that may hold the needle: the first of one file, and none else. */
static void expect_needle(unsigned owner, unsigned missing) {
    char needle[24];
    struct gram_query q;
    struct err err;
    name_key(owner + 1000, needle);
    gram_query_init(&q, str_from(needle), false);
    struct chunk_ahead a = ahead_make(&q);
    for (unsigned file = 0; file < FILES; file++) {
        struct ahead_chunk c;
        int r = chunk_ahead_next(&a, &c, &err);
        CHECK_INT(r, file == missing ? -ENOENT : 0);
        if (r < 0)
            continue;
        CHECK_INT(chunk_get_head(cached_chunk_get(c.cached))->chunk_seq, file + 1);
        CHECK_INT(c.in_range, BLOCKS);
        CHECK_INT(c.wanted[0], file == owner);
        chunk_cache_put(cache, c.cached);
    }
    chunk_ahead_done(&a);
}

static void cold_and_warm(void) {
    drop_pages();
    expect_needle(3, FILES);                /* nothing is there */
    expect_needle(3, FILES);                /* all are open; their filters get mapped */
    expect_needle(2 * AHEAD_WINDOW, FILES); /* and asked for something else */
    expect_needle(2 * AHEAD_WINDOW, FILES);
    chunk_cache_free(cache);
    cache = chunk_cache_new(dir_fd, 1 << 30);
    expect_needle(FILES - 1, FILES); /* all are in memory, none is open */
}

static void shared(void) {
    chunk_cache_free(cache);
    cache = chunk_cache_new(dir_fd, 1 << 30);
    share = &halves;
    cold_and_warm();
    share = NULL;
}

static void only_the_range(void) {
    struct chunk_ahead a = ahead_make(NULL);
    struct ahead_chunk c;
    struct err err;
    a.start_ns = (int64_t)LINES * 1000000;         /* of the second block's first entry, */
    a.end_ns = (int64_t)(3 * LINES) * 1000000 - 1; /* and behind the third's last */
    CHECK_INT(chunk_ahead_next(&a, &c, &err), 0);
    CHECK_INT(c.in_range, 2);
    CHECK_INT(c.wanted[0], 6);
    chunk_cache_put(cache, c.cached);
    chunk_ahead_done(&a); /* with many that have not been used */
}

static void lost_file(void) {
    char path[CHUNK_PATH_MAX];
    chunk_cache_free(cache);
    cache = chunk_cache_new(dir_fd, 1 << 30);
    CHECK_INT(chunk_path(path, STR("fake"), DAY, 78, 78), 0);
    CHECK_INT(unlinkat(dir_fd, path, 0), 0);
    expect_needle(5, 77);
}

/* Filters that cannot be mapped any more let all blocks pass. */
static void removed_file_passes(void) {
    char path[CHUNK_PATH_MAX];
    struct err err;
    struct gram_query q;
    gram_query_init(&q, STR("nowhere to be found"), false);
    struct chunk *c = NULL;
    uint64_t alive = (UINT64_C(1) << BLOCKS) - 1;
    CHECK_INT(chunk_path(path, STR("fake"), DAY, 9, 9), 0);
    CHECK_INT(chunk_open(dir_fd, path, &c, &err), 0);
    CHECK(filters_cost_bytes(chunk_filters(c)) < 8 << 10); /* they have not been copied */
    CHECK_INT(unlinkat(dir_fd, path, 0), 0);
    CHECK(filters_narrow(chunk_filters(c), &q, &alive));
    CHECK_INT(alive, (UINT64_C(1) << BLOCKS) - 1);
    CHECK(!filters_has(chunk_filters(c), 0));
    chunk_close(c);
}

int main(void) {
    folder_make(folder);
    dir_fd = open(folder, O_RDONLY | O_DIRECTORY);
    cache = chunk_cache_new(dir_fd, 1 << 30);
    write_files();
    RUN(cold_and_warm);
    RUN(shared);
    RUN(only_the_range);
    RUN(lost_file);
    RUN(removed_file_passes);
    chunk_cache_free(cache);
    (void)close(dir_fd);
    folder_remove(folder);
    return test_done();
}
