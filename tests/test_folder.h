/* test_folder: a folder of a test's own, taken away with all that is in it. Aborts where the test itself would make no
 * sense. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEST_FOLDER_MAX = 256 };

static inline void folder_make_below(const char *base, char path[static TEST_FOLDER_MAX]) {
    (void)snprintf(path, TEST_FOLDER_MAX, "%s/logq-test-XXXXXX", base);
    if (!mkdtemp(path))
        abort();
}

/* In TMPDIR, or /tmp. */
static inline void folder_make(char path[static TEST_FOLDER_MAX]) {
    const char *base = getenv("TMPDIR");
    folder_make_below(base ? base : "/tmp", path);
}

/* For suites that wait for hundreds of fsyncs: in memory unless TMPDIR says otherwise. */
static inline void folder_make_in_memory(char path[static TEST_FOLDER_MAX]) {
    const char *base = getenv("TMPDIR");
    if (!base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    folder_make_below(base, path);
}

static inline void folder_remove(const char *path) {
    char command[4096];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (system(command) != 0)
        abort();
}

/* A folder and its descriptor. */
struct open_folder {
    char path[TEST_FOLDER_MAX];
    int fd;
};

static inline void open_folder_make(struct open_folder *f) {
    folder_make(f->path);
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0)
        abort();
}

static inline void open_folder_remove(const struct open_folder *f) {
    close(f->fd);
    folder_remove(f->path);
}
