/* Maps of files that have become shorter: guarded ones read as 0xff, others end the process. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mapguard.h"
#include "pool.h"
#include "test.h"

enum { PAGE = 4096, PAGES = 6 };

static int file_make(void) {
    char path[] = "/tmp/logq-guard-XXXXXX";
    int fd = mkstemp(path);
    (void)unlink(path);
    if (fd < 0 || ftruncate(fd, PAGE * PAGES) < 0)
        abort();
    return fd;
}

static volatile const uint8_t *map_make(int fd) {
    void *map = mmap(NULL, PAGE * PAGES, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        abort();
    return map;
}

static void test_guarded(void) {
    int fd = file_make();
    volatile const uint8_t *map = map_make(fd);
    int guard = map_guard_add((const void *)map, PAGE * PAGES);
    CHECK(guard >= 0);
    CHECK_INT(map[PAGE * 5], 0);
    CHECK_INT(ftruncate(fd, PAGE * 2), 0);
    CHECK_INT(map[PAGE], 0);
    CHECK_INT(map_guard_faults(), 0);
    CHECK_INT(map[PAGE * 3 + 7], 0xff);
    CHECK_INT(map[PAGE * 3 + 4095], 0xff);
    CHECK_INT(map[PAGE * 5], 0xff);
    CHECK_INT(map_guard_faults(), 2);
    CHECK_INT(map[0], 0);
    map_guard_remove(guard);
    (void)munmap((void *)map, PAGE * PAGES);
    (void)close(fd);
}

static void read_behind_end(void *ctx) {
    volatile const uint8_t *map = *(volatile const uint8_t **)ctx;
    CHECK_INT(map[PAGE * 3], 0xff);
}

/* Workers block signals, which are the main thread's. */
static void test_in_worker(void) {
    int fd = file_make();
    volatile const uint8_t *map = map_make(fd);
    int guard = map_guard_add((const void *)map, PAGE * PAGES);
    CHECK_INT(ftruncate(fd, PAGE), 0);
    struct pool *p = pool_new("test", 1, 4);
    CHECK_INT(pool_submit(p, read_behind_end, &map), 0);
    pool_free(p);
    map_guard_remove(guard);
    (void)munmap((void *)map, PAGE * PAGES);
    (void)close(fd);
}

static int status_of_reader(bool guarded_before) {
    pid_t pid = fork();
    if (pid == 0) {
        int fd = file_make();
        volatile const uint8_t *map = map_make(fd);
        if (guarded_before)
            map_guard_remove(map_guard_add((const void *)map, PAGE * PAGES));
        (void)ftruncate(fd, 0);
        _exit(map[PAGE] == 0xff ? 42 : 43);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return status;
}

static void test_not_guarded(void) {
    for (int i = 0; i < 2; i++) {
        int status = status_of_reader(i == 1);
        CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) < 42); /* sanitizers exit by themselves */
        CHECK(!WIFSIGNALED(status) || WTERMSIG(status) == SIGBUS);
    }
}

/* Entries are used again; many at a time. */
static void test_many(void) {
    enum { MANY = 10000 };
    static int guards[MANY];
    static const char bytes[MANY];
    for (int round = 0; round < 3; round++) {
        int highest = 0;
        for (int i = 0; i < MANY; i++) {
            guards[i] = map_guard_add(&bytes[i], 1);
            CHECK(guards[i] >= 0);
            highest = guards[i] > highest ? guards[i] : highest;
        }
        CHECK(highest < MANY + 10);
        for (int i = MANY; i > 0; i--)
            map_guard_remove(guards[i - 1]);
    }
}

int main(void) {
    RUN(test_guarded);
    RUN(test_in_worker);
    RUN(test_not_guarded);
    RUN(test_many);
    return test_done();
}
