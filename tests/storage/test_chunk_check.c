/* Each bit of a small chunk file flipped in turn: every read ends with an error or with what was written, the check
 * notices each flip that a read could meet, and what is saved of the file is sound and holds all blocks but the
 * damaged one. usage: test_chunk_check [all]: all bits instead of some. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "chunk_check.h"
#include "gram.h"
#include "hash.h"
#include "test.h"
#include "test_folder.h"

/* Filters of BLOCKS are read into memory, those of BLOCKS_MAX mapped. */
enum { BLOCKS = 4, BLOCKS_MAX = 160, ENTRIES = 40, LINE_SIZE = 30, NAME_PATH = 400 };

static char dir[TEST_FOLDER_MAX];
static int dir_fd;
static unsigned bit_step = 37;
static uint64_t block_hashes[BLOCKS_MAX];
/* As the index would know it. */
static const struct chunk_head other_head = {.tenant = {"t", 1}, .stream_id = 77, .chunk_seq = 7};

static void dir_make(void) {
    folder_make_in_memory(dir);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
}

static void dir_remove(void) {
    (void)close(dir_fd);
    folder_remove(dir);
}

/* ---- a chunk of some blocks with all columns */

static void make_block(struct block_encoder *e, unsigned n, struct buf *out, struct buf *filter) {
    static char lines[ENTRIES][LINE_SIZE];
    struct str texts[ENTRIES];
    int64_t times[ENTRIES];
    uint32_t ids[ENTRIES];
    struct label info[] = {{STR("level"), STR("info")}}, warn[] = {{STR("level"), STR("warn")}};
    struct labels sets[] = {{0}, {.items = info, .count = 1}, {.items = warn, .count = 1}};
    for (unsigned i = 0; i < ENTRIES; i++) {
        int size = snprintf(lines[i], LINE_SIZE, "block %u line %u %x", n, i, i * 2654435761u);
        texts[i] = str_make(lines[i], (size_t)size);
        times[i] = (int64_t)n * 1000000000 + i * 7;
        ids[i] = i % 3;
    }
    struct block_input in = {.count = ENTRIES,
                             .times = times,
                             .lines = texts,
                             .meta_ids = ids,
                             .meta_sets = sets,
                             .n_meta_sets = 3};
    CHECK_INT(block_encode(e, &in, EFFORT_ZSTD_FAST, out, filter), 0);
}

static void write_blocks(unsigned n_blocks) {
    struct label items[] = {{STR("app"), STR("x")}};
    struct chunk_head head = {.tenant = STR("t"),
                              .labels = {.items = items, .count = 1},
                              .stream_id = 5,
                              .chunk_seq = 7,
                              .wal_lsn = 9};
    struct buf blocks[BLOCKS_MAX], filters[BLOCKS_MAX];
    struct chunk_block parts[BLOCKS_MAX];
    struct block_encoder *e = block_encoder_new();
    for (unsigned i = 0; i < n_blocks; i++) {
        blocks[i] = buf_make(BUF_NO_MAX);
        filters[i] = buf_make(BUF_NO_MAX);
        make_block(e, i, &blocks[i], &filters[i]);
        parts[i] =
            (struct chunk_block){.encoded = buf_str(&blocks[i]), .filter = buf_str(&filters[i])};
        block_hashes[i] = hash_str(parts[i].encoded);
    }
    int fd = -1;
    struct chunk_sums sums;
    struct err err = {0};
    CHECK_INT(chunk_write(dir_fd, "c", &head, parts, n_blocks, &fd, &sums, &err), 0);
    (void)close(fd);
    for (unsigned i = 0; i < n_blocks; i++) {
        buf_done(&blocks[i]);
        buf_done(&filters[i]);
    }
    block_encoder_free(e);
}

static void write_chunk(void) {
    write_blocks(BLOCKS);
}

/* ---- */

/* The blocks of a file that passes the check, byte for byte ones that were written; returns their number. */
static unsigned count_written_blocks(const char *name) {
    static char bytes[1 << 16];
    struct chunk *c = NULL;
    struct err err = {0};
    unsigned n = 0;
    CHECK_INT(chunk_open(dir_fd, name, &c, &err), 0);
    if (!c)
        return 0;
    int fd = openat(dir_fd, name, O_RDONLY);
    for (uint32_t i = 0; i < chunk_block_count(c); i++) {
        uint32_t size = chunk_block_info(c, i)->stored_size;
        bool known = false;
        CHECK(size <= sizeof(bytes));
        CHECK_INT(pread(fd, bytes, size, (off_t)chunk_block_offset(c, i)), size);
        for (unsigned k = 0; k < BLOCKS; k++)
            known |= hash64(bytes, size) == block_hashes[k];
        CHECK(known);
        n += known;
    }
    (void)close(fd);
    chunk_close(c);
    return n;
}

struct totals {
    unsigned flips, unusable, noticed, harmless;
};

/* Does a filter hide a line that is there? */
static void check_filters(const struct chunk *c) {
    struct gram_query q;
    gram_query_init(&q, STR("block"), false);
    for (uint32_t i = 0; i < chunk_block_count(c); i++) {
        CHECK(filters_may_contain(chunk_filters(c), i, &q));
    }
}

static void look_at_flip(struct chunk_checker *k, struct totals *t) {
    struct chunk *c = NULL;
    struct err err = {0};
    struct chunk_health health;
    struct chunk_sums sums;
    t->flips++;
    int r = chunk_open(dir_fd, "c", &c, &err);
    if (r < 0) {
        CHECK(r == -ECORRUPT || r == -EFORMAT);
        t->unusable++;
        return;
    }
    check_filters(c);
    CHECK_INT(chunk_check(k, dir_fd, "c", c, NULL, NULL, &health, &err), 0);
    if (health.faults == 0) {
        t->harmless++;
        CHECK_INT(count_written_blocks("c"), BLOCKS);
    } else {
        t->noticed++;
        CHECK_INT(chunk_salvage(k, dir_fd, "c", c, &other_head, "saved", &sums, &err), 0);
        CHECK(sums.blocks >= BLOCKS - 1);
        CHECK_INT(count_written_blocks("saved"), sums.blocks);
        struct chunk *saved = NULL;
        CHECK_INT(chunk_open(dir_fd, "saved", &saved, &err), 0);
        CHECK_INT(chunk_check(k, dir_fd, "saved", saved, NULL, NULL, &health, &err), 0);
        CHECK_INT(health.faults, 0);
        bool whole = sums.blocks == BLOCKS && !chunk_is_damaged(c);
        CHECK(chunk_get_head(saved)->wal_lsn == (whole ? 9 : 0));
        CHECK_INT(chunk_get_head(saved)->stream_id, chunk_has_head(c) ? 5 : 77);
        chunk_close(saved);
    }
    chunk_close(c);
}

static void test_flipped_bits(void) {
    dir_make();
    write_chunk();
    struct chunk_checker *k = chunk_checker_new();
    int fd = openat(dir_fd, "c", O_RDWR);
    uint64_t bits = (uint64_t)lseek(fd, 0, SEEK_END) * 8;
    struct totals t = {0};
    for (uint64_t bit = 0; bit < bits && test_case_failures == 0; bit += bit_step) {
        uint8_t byte, flipped;
        CHECK_INT(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
        flipped = (uint8_t)(byte ^ 1u << bit % 8);
        CHECK_INT(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        look_at_flip(k, &t);
        if (test_case_failures > 0)
            printf("  bit %llu of byte %llu\n", (unsigned long long)bit % 8,
                   (unsigned long long)bit / 8);
        CHECK_INT(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    }
    printf("  %u of %llu bits flipped: %u make the file unusable, %u are noticed, %u harmless\n",
           t.flips, (unsigned long long)bits, t.unusable, t.noticed, t.harmless);
    (void)close(fd);
    chunk_checker_free(k);
    dir_remove();
}

/* The file becomes shorter under a reader that has its filters mapped: they let everything pass, whether or not they
 * were looked at before. */
static void test_cut_off_under_reader(void) {
    for (int looked_before = 0; looked_before < 2; looked_before++) {
        dir_make();
        write_blocks(BLOCKS_MAX);
        struct chunk *c = NULL;
        struct err err = {0};
        struct gram_query q;
        gram_query_init(&q, STR("this is in no line"), false);
        CHECK_INT(chunk_open(dir_fd, "c", &c, &err), 0);
        if (looked_before) {
            CHECK(!filters_may_contain(chunk_filters(c), 0, &q));
        }
        int fd = openat(dir_fd, "c", O_RDWR);
        CHECK_INT(ftruncate(fd, 0), 0);
        (void)close(fd);
        for (uint32_t i = 0; i < chunk_block_count(c); i++) {
            CHECK(filters_may_contain(chunk_filters(c), i, &q));
        }
        chunk_close(c);
        dir_remove();
    }
}

/* No block is sound: nothing is written. */
static void test_nothing_to_save(void) {
    dir_make();
    write_chunk();
    struct chunk *c = NULL;
    struct err err = {0};
    CHECK_INT(chunk_open(dir_fd, "c", &c, &err), 0);
    int fd = openat(dir_fd, "c", O_RDWR);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint64_t at = chunk_block_offset(c, i) + chunk_block_info(c, i)->header_size;
        CHECK_INT(pwrite(fd, "xxxxxxxx", 8, (off_t)at), 8);
    }
    (void)close(fd);
    struct chunk_checker *k = chunk_checker_new();
    struct chunk_health health;
    struct chunk_sums sums;
    CHECK_INT(chunk_check(k, dir_fd, "c", c, NULL, NULL, &health, &err), 0);
    CHECK_INT(health.lost_entries, BLOCKS * ENTRIES);
    CHECK_INT(chunk_salvage(k, dir_fd, "c", c, NULL, "saved", &sums, &err), -ENODATA);
    CHECK(faccessat(dir_fd, "saved", F_OK, 0) < 0);
    chunk_checker_free(k);
    chunk_close(c);
    dir_remove();
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        bit_step = 1;
    RUN(test_flipped_bits);
    RUN(test_cut_off_under_reader);
    RUN(test_nothing_to_save);
    return test_done();
}
