/* faultio: preloaded into a real server, makes its disk and its clock fail on command.
 *
 * FAULTIO_DIR names a folder. While it holds a file "fdatasync" or "fsync", that call fails with EIO for files whose
 * path contains the file's content; each failure adds a byte to "<call>.count". A file "clock" holds seconds that are
 * added to the time of day. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 512 };

/* Content of a file in FAULTIO_DIR; the size, or -1. Plain system calls: the ones below would come back here. */
static long look(const char *name, char out[static TEXT_MAX]) {
    char path[TEXT_MAX];
    const char *dir = getenv("FAULTIO_DIR");
    if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return -1;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    long n = syscall(SYS_read, fd, out, TEXT_MAX - 1);
    (void)syscall(SYS_close, fd);
    out[n > 0 ? n : 0] = '\0';
    return n;
}

static void count(const char *call) {
    char path[TEXT_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s.count", getenv("FAULTIO_DIR"), call);
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)syscall(SYS_write, fd, "x", 1);
        (void)syscall(SYS_close, fd);
    }
}

static int fails(const char *call, int fd) {
    char wanted[TEXT_MAX], link[64], path[TEXT_MAX];
    if (look(call, wanted) < 0)
        return 0;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    if (!strstr(path, wanted))
        return 0;
    count(call);
    errno = EIO;
    return 1;
}

int fdatasync(int fd) {
    return fails("fdatasync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    return fails("fsync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *ret) {
    char seconds[TEXT_MAX];
    int r = (int)syscall(SYS_clock_gettime, clock, ret);
    if (r == 0 && clock == CLOCK_REALTIME && look("clock", seconds) > 0)
        ret->tv_sec += strtol(seconds, NULL, 10);
    return r;
}
