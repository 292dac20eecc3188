/* The check of an arbitrary index file; LMDB reads through what passes. */
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "index_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_fd = -1;
static char dir[64], link_path[128];

static void clean_up(void) {
    (void)unlink(link_path);
    (void)rmdir(dir);
}

/* The file stands in memory; LMDB finds it through a symbolic link. */
static void set_up(void) {
    char target[64];
    (void)snprintf(dir, sizeof(dir), "/tmp/logq-fuzz-index-XXXXXX");
    file_fd = memfd_create("index", MFD_CLOEXEC);
    if (!mkdtemp(dir) || file_fd < 0)
        abort();
    (void)snprintf(target, sizeof(target), "/proc/self/fd/%d", file_fd);
    (void)snprintf(link_path, sizeof(link_path), "%s/data.mdb", dir);
    if (symlink(target, link_path) < 0)
        abort();
    (void)atexit(clean_up);
}

static uint64_t read_database(MDB_txn *txn, MDB_val name) {
    char text[512];
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t rows = 0;
    (void)snprintf(text, sizeof(text), "%.*s", (int)name.mv_size, (const char *)name.mv_data);
    if (mdb_dbi_open(txn, text, 0, &dbi) != 0 || mdb_cursor_open(txn, dbi, &cursor) != 0)
        return 0;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        rows++;
    mdb_cursor_close(cursor);
    return rows;
}

static void read_all(uint64_t wanted_rows) {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi names;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t rows = 0;
    if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 16) != 0 ||
        mdb_env_open(env, dir, MDB_RDONLY | MDB_NOLOCK, 0) != 0 ||
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 ||
        mdb_dbi_open(txn, NULL, 0, &names) != 0 || mdb_cursor_open(txn, names, &cursor) != 0)
        abort();
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        rows += read_database(txn, key);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    if (rows != wanted_rows)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (file_fd < 0)
        set_up();
    if (ftruncate(file_fd, 0) < 0 || pwrite(file_fd, data, size, 0) != (ssize_t)size)
        abort();
    struct index_check found;
    struct err err = {0};
    if (index_check_file(file_fd, 0, &found, &err) == 0 && !found.is_new)
        read_all(found.rows);
    return 0;
}
