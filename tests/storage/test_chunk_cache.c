#include "chunk_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "budget.h"
#include "test.h"
#include "test_folder.h"

enum { CHUNKS = 24, LINES = 50, FILES = 8 };

static char folder[TEST_FOLDER_MAX];
static int dir_fd;

static struct chunk_id id_of(uint64_t seq) {
    return (struct chunk_id){.tenant = STR("t"), .day = 20778, .stream_id = 7, .chunk_seq = seq};
}

static void write_chunk(struct block_encoder *e, uint64_t seq) {
    int64_t times[LINES];
    struct str lines[LINES];
    char text[LINES][40], path[CHUNK_PATH_MAX];
    for (unsigned i = 0; i < LINES; i++) {
        times[i] = (int64_t)i;
        lines[i].data = text[i];
        lines[i].size =
            (size_t)snprintf(text[i], sizeof(text[i]), "line %u of %u", i, (unsigned)seq);
    }
    struct block_input in = {.count = LINES, .times = times, .lines = lines};
    struct buf encoded = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
    CHECK_INT(block_encode(e, &in, EFFORT_FAST, &encoded, &filter), 0);
    struct chunk_id id = id_of(seq);
    const struct chunk_head head = {
        .tenant = id.tenant, .stream_id = id.stream_id, .chunk_seq = seq, .day = id.day};
    const struct chunk_block block = {buf_str(&encoded), buf_str(&filter)};
    struct chunk_sums sums;
    struct err err = {0};
    int fd = -1;
    CHECK_INT(chunk_id_path(&id, path), 0);
    CHECK_INT(chunk_write(dir_fd, path, &head, &block, 1, &fd, &sums, &err), 0);
    (void)close(fd);
    buf_done(&encoded);
    buf_done(&filter);
}

static void make_chunks(void) {
    folder_make_in_memory(folder);
    dir_fd = open(folder, O_RDONLY | O_DIRECTORY);
    CHECK(dir_fd >= 0);
    CHECK_INT(mkdirat(dir_fd, "chunks", 0700), 0);
    CHECK_INT(mkdirat(dir_fd, "chunks/t", 0700), 0);
    char path[CHUNK_PATH_MAX];
    struct chunk_id id = id_of(1);
    CHECK_INT(chunk_id_path(&id, path), 0);
    *strrchr(path, '/') = '\0';
    CHECK_INT(mkdirat(dir_fd, path, 0700), 0);
    struct block_encoder *e = block_encoder_new();
    CHECK(e != NULL);
    for (uint64_t seq = 1; seq <= CHUNKS; seq++)
        write_chunk(e, seq);
    block_encoder_free(e);
}

static struct cached_chunk *hold(struct chunk_cache *c, uint64_t seq) {
    struct chunk_id id = id_of(seq);
    struct cached_chunk *held = NULL;
    struct err err = {0};
    CHECK_INT(chunk_cache_get(c, &id, &held, &err), 0);
    return held;
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

/* Opens the chunk's file and has the cache keep the descriptor; what could not be kept is closed. */
static bool keep(struct cached_chunk *held) {
    int fd = openat(dir_fd, cached_chunk_path(held), O_RDONLY);
    CHECK(fd >= 0);
    bool kept = cached_chunk_keep_fd(held, fd);
    if (!kept)
        (void)close(fd);
    CHECK_INT(cached_chunk_fd(held), kept ? fd : -1);
    return kept;
}

static struct rlimit allow(rlim_t files) {
    struct rlimit before, few;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = files;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    return before;
}

/* An eighth of the descriptors; the file that was opened first gives way, unless somebody holds it. */
static void test_files_are_kept_within_limits(void) {
    struct chunk_cache *c = chunk_cache_new(dir_fd, 1 << 20);
    struct cached_chunk *held[CHUNKS + 1];
    struct rlimit before = allow(FILES * (rlim_t)8);
    for (uint64_t i = 1; i <= CHUNKS; i++)
        held[i] = hold(c, i);
    for (uint64_t i = 1; i <= CHUNKS; i++)
        CHECK_INT(keep(held[i]), i <= FILES); /* all are held */
    int first = cached_chunk_fd(held[1]), second = cached_chunk_fd(held[2]);
    chunk_cache_put(c, held[2]);
    CHECK(keep(held[FILES + 1]));
    CHECK(cached_chunk_fd(held[1]) == first && is_open(first));
    held[2] = hold(c, 2);
    CHECK_INT(cached_chunk_fd(held[2]), -1);
    CHECK(!is_open(second));
    CHECK(!keep(held[2]));
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(keep(held[2]));
    for (uint64_t i = 1; i <= CHUNKS; i++)
        chunk_cache_put(c, held[i]);
    CHECK(is_open(first));
    chunk_cache_free(c);
    CHECK(!is_open(first));
}

/* The space of a deleted file is not free before its last descriptor is closed. */
static void test_a_forgotten_chunk_closes_its_file(void) {
    struct chunk_cache *c = chunk_cache_new(dir_fd, 1 << 20);
    struct cached_chunk *one = hold(c, 1), *two = hold(c, 2);
    CHECK(keep(one) && keep(two));
    int fds[] = {cached_chunk_fd(one), cached_chunk_fd(two)};
    chunk_cache_put(c, one);
    chunk_cache_forget(c, 7, 1);
    CHECK(!is_open(fds[0]));
    chunk_cache_forget(c, 7, 2);
    CHECK(is_open(fds[1])); /* held */
    struct cached_chunk *again = hold(c, 2);
    CHECK(again != two && cached_chunk_fd(again) == -1);
    chunk_cache_put(c, two);
    CHECK(!is_open(fds[1]));
    chunk_cache_put(c, again);
    chunk_cache_free(c);
}

/* A chunk that is beyond the budget goes, with its file, as soon as nobody holds it. */
static void test_an_evicted_chunk_closes_its_file(void) {
    struct chunk_cache *c = chunk_cache_new(dir_fd, 1);
    struct cached_chunk *one = hold(c, 1);
    CHECK(keep(one));
    int fd = cached_chunk_fd(one);
    CHECK(is_open(fd));
    chunk_cache_put(c, one);
    CHECK(!is_open(fd));
    chunk_cache_free(c);
}

static uint64_t cache_bytes(struct chunk_cache *c, uint64_t *ret_count) {
    uint64_t bytes = 0;
    chunk_cache_stats(c, &bytes, ret_count);
    return bytes;
}

/* The least recently used go first, and only those that nobody holds. */
static void test_what_is_beyond_the_budget_is_closed(void) {
    struct chunk_cache *c = chunk_cache_new(dir_fd, SIZE_MAX);
    uint64_t count = 0;
    chunk_cache_put(c, hold(c, 1));
    uint64_t each = cache_bytes(c, &count);
    chunk_cache_free(c);
    c = chunk_cache_new(dir_fd, 3 * each + each / 2);
    struct cached_chunk *first = hold(c, 1), *second = hold(c, 2);
    for (uint64_t i = 3; i <= CHUNKS; i++)
        chunk_cache_put(c, hold(c, i));
    CHECK(cache_bytes(c, &count) <= 3 * each + each / 2);
    CHECK_INT(count, 3);
    struct cached_chunk *again = hold(c, 1);
    CHECK(again == first);
    chunk_cache_put(c, again);
    chunk_cache_put(c, first);
    chunk_cache_put(c, second); /* last used: 1, 2 */
    chunk_cache_put(c, hold(c, 3));
    chunk_cache_put(c, hold(c, 4));
    CHECK_INT(budget_used(BUDGET_QUERIES), 0);
    CHECK(cache_bytes(c, &count) <= 3 * each + each / 2);
    CHECK_INT(count, 3);
    chunk_cache_free(c);
}

/* Held chunks stay whatever the budget; they are the queries' memory, which has an end. */
static void test_what_is_held_beyond_the_budget_is_charged(void) {
    struct chunk_cache *c = chunk_cache_new(dir_fd, 1);
    struct cached_chunk *held[CHUNKS + 1] = {NULL};
    struct err err = {0};
    uint64_t count = 0, n = 0, bytes;
    held[1] = hold(c, 1);
    uint64_t each = cache_bytes(c, &count);
    CHECK_INT(budget_used(BUDGET_QUERIES), each - 1);
    budget_set_limit(each * CHUNKS); /* queries get half of it */
    int r = 0;
    for (n = 2; n <= CHUNKS && r == 0; n++) {
        struct chunk_id id = id_of(n);
        r = chunk_cache_get(c, &id, &held[n], &err);
    }
    CHECK_INT(r, -ENOMEM);
    CHECK(n - 2 >= CHUNKS / 2 - 1 && n < CHUNKS);
    bytes = cache_bytes(c, &count);
    CHECK_INT(count, n - 2);
    CHECK_INT(budget_used(BUDGET_QUERIES), bytes - 1);
    for (uint64_t i = 1; i <= CHUNKS; i++)
        chunk_cache_put(c, held[i]);
    CHECK_INT(budget_used(BUDGET_QUERIES), 0);
    CHECK_INT(cache_bytes(c, &count), 0);
    chunk_cache_put(c, hold(c, CHUNKS)); /* there is room again */
    budget_set_limit(0);
    chunk_cache_free(c);
    CHECK_INT(budget_used(BUDGET_QUERIES), 0);
}

int main(void) {
    make_chunks();
    RUN(test_what_is_beyond_the_budget_is_closed);
    RUN(test_what_is_held_beyond_the_budget_is_charged);
    RUN(test_files_are_kept_within_limits);
    RUN(test_a_forgotten_chunk_closes_its_file);
    RUN(test_an_evicted_chunk_closes_its_file);
    (void)close(dir_fd);
    folder_remove(folder);
    return test_done();
}
