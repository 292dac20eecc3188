/* The check of the index file: what LMDB writes passes, whatever its shape; each flipped bit is noticed, or changes
 * nothing that can be read. usage: test_index_check [all]: all bits instead of some. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "bytes.h"
#include "hash.h"
#include "index_check.h"
#include "index_internal.h"
#include "test.h"
#include "test_folder.h"

enum { LABELS_MAX = 8, VALUE_MAX = 3000 };

static char dir[TEST_FOLDER_MAX], path[TEST_FOLDER_MAX + 16];
static unsigned bit_step = 331;

static void dir_make(void) {
    folder_make_in_memory(dir);
    (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
}

static struct index *open_index(bool read_only) {
    struct index *ix = NULL;
    struct err err = {0};
    const struct index_options o = {.read_only = read_only, .map_bytes = 64 << 20};
    int r = index_open(dir, &o, &ix, &err);
    if (r < 0)
        printf("  %s\n", err.text);
    CHECK_INT(r, 0);
    return ix;
}

/* ---- an index of every shape: long values, long lists of ids, trees of three levels, free pages */

static int put_stream(struct index_txn *t, uint64_t id, size_t extra, struct err *err) {
    static char long_value[VALUE_MAX];
    char number[20], tenant[20];
    memset(long_value, 'x', sizeof(long_value));
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)id);
    (void)snprintf(tenant, sizeof(tenant), "tenant %llu", (unsigned long long)id % 3);
    struct label items[] = {
        {STR("app"), STR("everywhere")},
        {STR("long"), str_make(long_value, extra)},
        {STR("number"), str_from(number)},
    };
    struct index_stream s = {.id = id,
                             .tenant = str_from(tenant),
                             .labels = {.items = items, .count = 3},
                             .first_ns = (int64_t)id,
                             .last_ns = (int64_t)id + 5,
                             .flushed_lsn = id};
    struct index_chunk c = {.stream_id = id, .chunk_seq = id, .sums = {.blocks = 1, .entries = 3}};
    int r = index_put_stream(t, &s, err);
    return r < 0 ? r : index_put_chunk(t, s.tenant, &c, err);
}

static void fill(struct index *ix, uint64_t from, uint64_t to, uint64_t each) {
    struct err err = {0};
    for (uint64_t id = from; id < to;) {
        struct index_txn *t = NULL;
        int r = index_begin(ix, &t, &err);
        for (uint64_t end = id + each; r == 0 && id < end && id < to; id++)
            r = put_stream(t, id, id % 50 == 7 ? VALUE_MAX : 1 + id % 40, &err);
        CHECK_INT(r, 0);
        CHECK_INT(index_commit(t, &err), 0);
    }
}

static void delete_some(struct index *ix, uint64_t from, uint64_t to) {
    struct err err = {0};
    struct index_txn *t = NULL;
    CHECK_INT(index_begin(ix, &t, &err), 0);
    for (uint64_t id = from; id < to; id += 2)
        CHECK_INT(index_del_stream(t, id, &err), 0);
    CHECK_INT(index_commit(t, &err), 0);
}

static int check(struct index_check *ret, struct err *err) {
    int fd = open(path, O_RDONLY);
    int r = index_check_file(fd, 0, ret, err);
    (void)close(fd);
    return r;
}

static void check_is_sound(const char *what) {
    struct index_check found;
    struct err err = {0};
    int r = check(&found, &err);
    if (r < 0)
        printf("  %s: %s\n", what, err.text);
    CHECK_INT(r, 0);
}

static void test_what_lmdb_writes_passes(void) {
    dir_make();
    struct index *ix = open_index(false);
    check_is_sound("new");
    for (uint64_t round = 0; round < 12; round++) {
        fill(ix, round * 400, round * 400 + 500, 1 + round * 37);
        check_is_sound("filled");
        delete_some(ix, round * 380, round * 380 + 300);
        check_is_sound("with free pages");
    }
    index_close(ix);
    index_close(open_index(false));
    index_close(open_index(true));
    folder_remove(dir);
}

/* ---- flipped bits */

/* A hash of all that can be read, without looking at the check's own row. */
static int dump(uint64_t *ret) {
    static const char *const names[] = {"meta",   "tenants",  "streams",
                                        "byhash", "postings", "chunks"};
    struct index *ix = NULL;
    struct err err = {0};
    const struct index_options o = {.read_only = true, .map_bytes = 64 << 20};
    int r = index_open(dir, &o, &ix, &err);
    if (r < 0)
        return r;
    MDB_txn *txn;
    *ret = 0;
    r = index_read_begin(ix, &txn, &err);
    for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
        MDB_dbi dbi;
        MDB_cursor *cursor = NULL;
        MDB_val key, value;
        int rc = mdb_dbi_open(txn, names[i], 0, &dbi);
        if (rc == 0)
            rc = mdb_cursor_open(txn, dbi, &cursor);
        CHECK_INT(rc, 0);
        while (rc == 0 && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
            *ret = hash_mix(*ret, hash_mix(hash_str(index_str(key)), hash_str(index_str(value))));
        mdb_cursor_close(cursor);
    }
    index_read_end(ix, txn);
    index_close(ix);
    return r;
}

static void test_flipped_bits(void) {
    dir_make();
    struct index *ix = open_index(false);
    fill(ix, 0, 30, 7);
    delete_some(ix, 0, 10);
    fill(ix, 30, 60, 15);
    index_close(ix);
    uint64_t sound = 0, changed = 0;
    CHECK_INT(dump(&sound), 0);
    int fd = open(path, O_RDWR);
    uint64_t bits = (uint64_t)lseek(fd, 0, SEEK_END) * 8, noticed = 0, harmless = 0, looked = 0;
    for (uint64_t bit = 0; bit < bits && test_case_failures == 0; bit += bit_step) {
        uint8_t byte, flipped;
        CHECK_INT(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
        flipped = (uint8_t)(byte ^ 1u << bit % 8);
        CHECK_INT(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        struct index_check found;
        struct err err = {0};
        int r = check(&found, &err);
        if (r == 0 && (harmless++ % 8 == 0 || bit / 8 % 4096 < 160)) {
            looked++;
            CHECK_INT(dump(&changed), 0);
            CHECK(changed == sound);
        } else if (r < 0) {
            CHECK_INT(r, -ECORRUPT);
            noticed++;
        }
        if (test_case_failures > 0)
            printf("  bit %llu of byte %llu: %s\n", (unsigned long long)bit % 8,
                   (unsigned long long)bit / 8, err.text);
        CHECK_INT(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    }
    printf("  %llu of %llu bits flipped: %llu noticed, %llu in unused room (%llu read through)\n",
           (unsigned long long)(noticed + harmless), (unsigned long long)bits,
           (unsigned long long)noticed, (unsigned long long)harmless, (unsigned long long)looked);
    CHECK(noticed > 0);
    (void)close(fd);
    folder_remove(dir);
}

/* Each byte range of the file missing from some place on. */
static void test_cut_off(void) {
    dir_make();
    struct index *ix = open_index(false);
    fill(ix, 0, 100, 20);
    index_close(ix);
    int fd = open(path, O_RDWR);
    off_t size = lseek(fd, 0, SEEK_END);
    struct index_check found;
    struct err err = {0};
    for (; size > 4096; size -= 2500) {
        CHECK_INT(ftruncate(fd, size - 2500), 0);
        CHECK_INT(check(&found, &err), -ECORRUPT);
    }
    CHECK_INT(ftruncate(fd, 0), 0);
    CHECK_INT(check(&found, &err), 0);
    CHECK(found.is_new);
    (void)close(fd);
    folder_remove(dir);
}

/* Without its sum nothing vouches for the rows. */
static void test_without_sum(void) {
    dir_make();
    struct index *ix = open_index(false);
    fill(ix, 0, 100, 20);
    MDB_txn *txn;
    MDB_val key = index_val(INDEX_SUM_KEY.data, INDEX_SUM_KEY.size);
    CHECK_INT(mdb_txn_begin(ix->env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_del(txn, ix->meta, &key, NULL), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
    index_close(ix);
    struct index_check found;
    struct err err = {0};
    CHECK_INT(check(&found, &err), -ECORRUPT);
    folder_remove(dir);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        bit_step = 1;
    RUN(test_what_lmdb_writes_passes);
    RUN(test_flipped_bits);
    RUN(test_cut_off);
    RUN(test_without_sum);
    return test_done();
}
