#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "test.h"

static int top_fd;

static void test_write_and_read(void) {
    int fd = io_open(top_fd, "file", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    CHECK_INT(io_open(top_fd, "file", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    CHECK_INT(io_open(top_fd, "absent", O_RDONLY, 0), -ENOENT);
    CHECK_INT(io_write_all(fd, "hello world", 11), 0);
    CHECK_INT(io_pwrite_all(fd, "W", 1, 6), 0);
    char data[32];
    CHECK_INT(io_pread_all(fd, data, sizeof(data), 0), 11);
    CHECK_STR(str_make(data, 11), STR("hello World"));
    CHECK_INT(io_pread_all(fd, data, 5, 6), 5);
    CHECK_INT(io_pread_all(fd, data, 5, 100), 0);
    uint64_t size = 0;
    CHECK_INT(io_file_size(fd, &size), 0);
    CHECK_INT(size, 11);
    CHECK_INT(io_fsync(fd), 0);
    CHECK_INT(io_fdatasync(fd), 0);
    void *map = NULL;
    CHECK_INT(io_mmap(fd, 0, 11, &map), 0);
    CHECK(memcmp(map, "hello World", 11) == 0);
    (void)munmap(map, 11);
    CHECK_INT(io_mmap(fd, 0, 0, &map), -EINVAL);
    CHECK_INT(io_truncate(fd, 5), 0);
    CHECK_INT(io_allocate(fd, 10000), 0);
    CHECK_INT(io_file_size(fd, &size), 0);
    CHECK_INT(size, 10000);
    CHECK_INT(io_allocate(fd, 0), 0);
    CHECK_INT(io_file_size(fd, &size), 0);
    CHECK_INT(size, 0);
    io_close(fd);
    io_close(-1);
    CHECK_INT(io_write_all(-1, "x", 1), -EBADF);
    CHECK_INT(io_rename(top_fd, "file", top_fd, "renamed"), 0);
    CHECK_INT(io_unlink(top_fd, "file"), -ENOENT);
    CHECK_INT(io_unlink(top_fd, "renamed"), 0);
}

static void test_folders(void) {
    CHECK_INT(io_mkdirs(top_fd, "a/b//c/", 0700), 0);
    CHECK_INT(io_mkdirs(top_fd, "a/b/c", 0700), 0);
    CHECK_INT(io_mkdirs(top_fd, "", 0700), -ENOENT);
    struct stat st;
    CHECK(fstatat(top_fd, "a/b/c", &st, 0) == 0 && S_ISDIR(st.st_mode));
    CHECK_INT(io_write_file_durable(top_fd, "a/file", STR("x")), 0);
    CHECK_INT(io_mkdirs(top_fd, "a/file/d", 0700), -ENOTDIR);
    CHECK_INT(io_fsync_dir(top_fd, "a/b"), 0);
    CHECK_INT(io_fsync_dir(top_fd, "a/none"), -ENOENT);
    CHECK_INT(io_rmdir(top_fd, "a"), -ENOTEMPTY);
    char long_path[5000];
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    CHECK_INT(io_mkdirs(top_fd, long_path, 0700), -ENAMETOOLONG);
    CHECK_INT(io_write_file_durable(top_fd, long_path, STR("x")), -ENAMETOOLONG);
    CHECK_INT(io_unlink(top_fd, "a/file"), 0);
    CHECK_INT(io_rmdir(top_fd, "a/b/c"), 0);
    CHECK_INT(io_rmdir(top_fd, "a/b"), 0);
    CHECK_INT(io_rmdir(top_fd, "a"), 0);
    uint64_t free_bytes = 0, total_bytes = 0;
    CHECK_INT(io_disk_space(top_fd, &free_bytes, &total_bytes), 0);
    CHECK(total_bytes > 0 && free_bytes <= total_bytes);
}

static void test_whole_files(void) {
    struct buf b = buf_make(10);
    CHECK_INT(io_write_file_durable(top_fd, "whole", STR("first version, longer")), 0);
    CHECK_INT(io_read_file(top_fd, "whole", &b), -E2BIG);
    CHECK_INT(io_write_file_durable(top_fd, "whole", STR("0123456789")), 0);
    buf_clear(&b);
    CHECK_INT(io_read_file(top_fd, "whole", &b), 0);
    CHECK_STR(buf_str(&b), STR("0123456789"));
    buf_done(&b);
    b = buf_make(BUF_NO_MAX);
    CHECK_INT(io_read_file(top_fd, "absent", &b), -ENOENT);
    CHECK_INT(io_write_file_durable(top_fd, "whole", STR("")), 0);
    CHECK_INT(io_read_file(top_fd, "whole", &b), 0);
    CHECK_INT(b.size, 0);
    size_t size = 300000;
    char *large = malloc(size);
    memset(large, 'z', size);
    CHECK_INT(io_write_file_durable(top_fd, "whole", str_make(large, size)), 0);
    CHECK_INT(io_read_file(top_fd, "whole", &b), 0);
    CHECK(str_eq(buf_str(&b), str_make(large, size)));
    free(large);
    buf_done(&b);
    CHECK_INT(io_unlink(top_fd, "whole"), 0);
    CHECK_INT(io_write_file_durable(top_fd, "none/whole", STR("x")), -ENOENT);
}

static int count_name(const char *name, bool is_dir, void *ctx) {
    int *counts = ctx;
    CHECK(is_dir == (name[0] == 'd'));
    return ++*counts == 3 ? 77 : 0;
}

static void test_list(void) {
    int count = 0;
    CHECK_INT(io_list(top_fd, "none", count_name, &count), -ENOENT);
    CHECK_INT(io_mkdirs(top_fd, "list/d1", 0700), 0);
    CHECK_INT(io_write_file_durable(top_fd, "list/f1", STR("")), 0);
    CHECK_INT(io_list(top_fd, "list", count_name, &count), 0);
    CHECK_INT(count, 2);
    count = 0;
    CHECK_INT(io_mkdirs(top_fd, "list/d2", 0700), 0);
    CHECK_INT(io_mkdirs(top_fd, "list/d3", 0700), 0);
    CHECK_INT(io_list(top_fd, "list", count_name, &count), 77);
    CHECK_INT(count, 3);
    CHECK_INT(io_rmdir(top_fd, "list/d1"), 0);
    CHECK_INT(io_rmdir(top_fd, "list/d2"), 0);
    CHECK_INT(io_rmdir(top_fd, "list/d3"), 0);
    CHECK_INT(io_unlink(top_fd, "list/f1"), 0);
    CHECK_INT(io_rmdir(top_fd, "list"), 0);
}

struct fault {
    int calls;
    int fail_at;
};

static int fail_one(enum io_op op, const char *path, void *ctx) {
    struct fault *f = ctx;
    (void)path;
    if (op == IO_CLOSE)
        return 0;
    return ++f->calls == f->fail_at ? -EIO : 0;
}

/* Whichever call fails, the old content or the new one is there, and no temporary file. */
static void test_faults(void) {
    CHECK_INT(io_write_file_durable(top_fd, "kept", STR("old")), 0);
    int r = -EIO, rounds = 0;
    for (int fail_at = 1; r < 0 && fail_at < 100; fail_at++) {
        struct fault fault = {.fail_at = fail_at};
        struct buf b = buf_make(100);
        io_set_hook(fail_one, &fault);
        r = io_write_file_durable(top_fd, "kept", STR("new"));
        io_set_hook(NULL, NULL);
        CHECK(r == 0 || r == -EIO);
        CHECK_INT(io_read_file(top_fd, "kept", &b), 0);
        CHECK(str_eq(buf_str(&b), STR("new")) || (r < 0 && str_eq(buf_str(&b), STR("old"))));
        CHECK(faccessat(top_fd, "kept.tmp", F_OK, 0) < 0);
        buf_done(&b);
        rounds++;
    }
    CHECK_INT(r, 0);
    CHECK(rounds >= 5);
    CHECK_INT(io_unlink(top_fd, "kept"), 0);
}

static int fail_fsync(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    return op == IO_FSYNC ? -EIO : 0;
}

/* A folder whose name is not durable must not be found there, and taken for durable, by the next attempt. */
static void test_folder_that_cannot_be_synced(void) {
    io_set_hook(fail_fsync, NULL);
    CHECK_INT(io_mkdirs(top_fd, "new/below", 0700), -EIO);
    io_set_hook(NULL, NULL);
    CHECK(faccessat(top_fd, "new", F_OK, 0) < 0);
    CHECK_INT(io_mkdirs(top_fd, "new", 0700), 0);
    CHECK_INT(io_rmdir(top_fd, "new"), 0);
}

int main(void) {
    char folder[] = "/tmp/logq-test-io-XXXXXX";
    if (!mkdtemp(folder))
        return 1;
    top_fd = open(folder, O_RDONLY | O_DIRECTORY);
    RUN(test_write_and_read);
    RUN(test_folders);
    RUN(test_whole_files);
    RUN(test_list);
    RUN(test_faults);
    RUN(test_folder_that_cannot_be_synced);
    (void)close(top_fd);
    if (rmdir(folder) < 0)
        printf("%s is not empty\n", folder);
    return test_done();
}
