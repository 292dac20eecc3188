#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "io.h"

int scratch_make(char ret_path[static SCRATCH_PATH_MAX]) {
    const char *wanted = getenv("TMPDIR");
    const char *const places[] = {"/dev/shm", wanted && *wanted ? wanted : "/tmp", "/var/tmp"};
    int r = -ENOENT;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r < 0; i++) {
        int n = snprintf(ret_path, SCRATCH_PATH_MAX, "%s/logq-XXXXXX", places[i]);
        if (n < 0 || n >= SCRATCH_PATH_MAX)
            continue;
        r = mkdtemp(ret_path) ? 0 : -errno;
    }
    return r;
}

void scratch_empty(const char *path) {
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    char file[SCRATCH_PATH_MAX + 16];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        (void)io_unlink(AT_FDCWD, file);
    }
}

void scratch_drop(const char *path) {
    scratch_empty(path);
    (void)io_rmdir(AT_FDCWD, path);
}
