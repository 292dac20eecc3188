#include "io.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

/* One write(2) takes at most this much: far below the kernel's own limit of 2 GiB. */
enum { IO_STEP_MAX = 1 << 30, READ_STEP = 64 * 1024 };

static _Atomic(io_hook *) present_hook;
static void *present_hook_ctx;

void io_set_hook(io_hook *hook, void *ctx) {
    present_hook_ctx = ctx;
    atomic_store_explicit(&present_hook, hook, memory_order_release);
}

int io_hook_ask(enum io_op op, const char *path) {
    io_hook *hook = atomic_load_explicit(&present_hook, memory_order_acquire);
    return hook ? hook(op, path, present_hook_ctx) : 0;
}

int io_open(int dir_fd, const char *path, int flags, unsigned mode) {
    int r = io_hook_ask(IO_OPEN, path);
    if (r < 0)
        return r;
    int fd;
    do {
        fd = openat(dir_fd, path, flags | O_CLOEXEC, (mode_t)mode);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

void io_close(int fd) {
    if (fd < 0)
        return;
    /* A hook may count closes but not prevent them: the descriptor would leak. EINTR is not retried, Linux
     * has freed the descriptor by then. */
    (void)io_hook_ask(IO_CLOSE, NULL);
    (void)close(fd);
}

int io_set_direct(int fd, bool direct) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    return fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) < 0 ? -errno : 0;
}

/* At the place `offset`, or at the file's own when it is NULL. */
static int write_all(int fd, const char *p, size_t size, const uint64_t *offset) {
    int r = io_hook_ask(IO_WRITE, NULL);
    if (r < 0)
        return r;
    for (size_t done = 0; done < size;) {
        size_t step = size - done < IO_STEP_MAX ? size - done : IO_STEP_MAX;
        ssize_t n = offset ? pwrite(fd, p + done, step, (off_t)(*offset + done))
                           : write(fd, p + done, step);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

int io_write_all(int fd, const void *data, size_t size) {
    return write_all(fd, data, size, NULL);
}

int io_pwrite_all(int fd, const void *data, size_t size, uint64_t offset) {
    return write_all(fd, data, size, &offset);
}

ssize_t io_pread_all(int fd, void *data, size_t size, uint64_t offset) {
    int r = io_hook_ask(IO_READ, NULL);
    if (r < 0)
        return r;
    char *p = data;
    size_t done = 0;
    while (done < size) {
        size_t step = size - done < IO_STEP_MAX ? size - done : IO_STEP_MAX;
        ssize_t n = pread(fd, p + done, step, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t io_pread_now(int fd, void *data, size_t size, uint64_t offset) {
    int r = io_hook_ask(IO_READ, NULL);
    if (r < 0)
        return r;
    const struct iovec part = {.iov_base = data, .iov_len = size};
    ssize_t n = preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT);
    if (n == (ssize_t)size)
        return n;
    /* What is missing is at the disk, or behind the end of the file: who waits is told which. */
    return n >= 0 || errno == EINTR || errno == EOPNOTSUPP || errno == ENOSYS ? -EAGAIN : -errno;
}

bool io_is_cached(int fd, uint64_t offset) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    unsigned char state = 0;
    void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)(offset / page * page));
    if (map == MAP_FAILED)
        return false;
    bool known = mincore(map, page, &state) == 0;
    (void)munmap(map, page);
    return known && (state & 1);
}

int io_fsync(int fd) {
    int r = io_hook_ask(IO_FSYNC, NULL);
    if (r < 0)
        return r;
    while (fsync(fd) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int io_fdatasync(int fd) {
    int r = io_hook_ask(IO_FSYNC, NULL);
    if (r < 0)
        return r;
    while (fdatasync(fd) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int io_fsync_dir(int dir_fd, const char *path) {
    int fd = io_open(dir_fd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int r = io_hook_ask(IO_FSYNC, path);
    if (r == 0) {
        do {
            r = fsync(fd) < 0 ? -errno : 0;
        } while (r == -EINTR);
    }
    io_close(fd);
    return r;
}

int io_rename(int from_dir_fd, const char *from, int to_dir_fd, const char *to) {
    int r = io_hook_ask(IO_RENAME, to);
    if (r < 0)
        return r;
    return renameat(from_dir_fd, from, to_dir_fd, to) < 0 ? -errno : 0;
}

int io_link(int from_dir_fd, const char *from, int to_dir_fd, const char *to) {
    int r = io_hook_ask(IO_LINK, to);
    if (r < 0)
        return r;
    return linkat(from_dir_fd, from, to_dir_fd, to, 0) < 0 ? -errno : 0;
}

int io_unlink(int dir_fd, const char *path) {
    int r = io_hook_ask(IO_UNLINK, path);
    if (r < 0)
        return r;
    return unlinkat(dir_fd, path, 0) < 0 ? -errno : 0;
}

int io_rmdir(int dir_fd, const char *path) {
    int r = io_hook_ask(IO_UNLINK, path);
    if (r < 0)
        return r;
    return unlinkat(dir_fd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Makes the one folder `path` whose parent exists; `parent` is the parent's name. */
static int make_folder(int dir_fd, const char *path, const char *parent, unsigned mode) {
    int r = io_hook_ask(IO_MKDIR, path);
    if (r < 0)
        return r;
    if (mkdirat(dir_fd, path, (mode_t)mode) == 0) {
        r = io_fsync_dir(dir_fd, parent);
        if (r < 0)
            (void)unlinkat(dir_fd, path, AT_REMOVEDIR);
        return r;
    }
    if (errno != EEXIST)
        return -errno;
    struct stat st;
    if (fstatat(dir_fd, path, &st, 0) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int io_mkdirs(int dir_fd, const char *path, unsigned mode) {
    char name[PATH_MAX], parent[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0)
        return -ENOENT;
    if (size >= sizeof(name))
        return -ENAMETOOLONG;
    memcpy(parent, path[0] == '/' ? "/" : ".", 2);
    for (size_t i = 1; i <= size; i++) {
        bool name_ends = (path[i] == '/' || path[i] == '\0') && path[i - 1] != '/';
        if (!name_ends)
            continue;
        memcpy(name, path, i);
        name[i] = '\0';
        int r = make_folder(dir_fd, name, parent, mode);
        if (r < 0)
            return r;
        memcpy(parent, name, i + 1);
    }
    return 0;
}

int io_truncate(int fd, uint64_t size) {
    int r = io_hook_ask(IO_TRUNCATE, NULL);
    if (r < 0)
        return r;
    while (ftruncate(fd, (off_t)size) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int io_allocate(int fd, uint64_t size) {
    int r = io_hook_ask(IO_ALLOCATE, NULL);
    if (r < 0)
        return r;
    if (size > 0) {
        do {
            r = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
        } while (r == -EINTR);
        if (r < 0 && r != -EOPNOTSUPP && r != -ENOSYS)
            return r;
    }
    /* fallocate never shrinks, and some file systems cannot do it at all. To set the size that a file has is not free: it
     * may wait for the journal. */
    struct stat st;
    if (r == 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)size)
        return 0;
    do {
        r = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
    } while (r == -EINTR);
    return r;
}

int io_reserve(int fd, uint64_t size) {
    int r = io_hook_ask(IO_ALLOCATE, NULL);
    if (r < 0)
        return r;
    do {
        r = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0 ? -errno : 0;
    } while (r == -EINTR);
    return r;
}

int io_file_size(int fd, uint64_t *ret_size) {
    int r = io_hook_ask(IO_READ, NULL);
    if (r < 0)
        return r;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

uint64_t io_skip_hole(int fd, uint64_t offset, uint64_t size) {
    off_t at = lseek(fd, (off_t)offset, SEEK_DATA);
    if (at < 0)
        return errno == ENXIO ? size : offset;
    return (uint64_t)at < size ? (uint64_t)at : size;
}

void io_read_at_random(int fd) {
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

void io_will_need(int fd, uint64_t offset, size_t size) {
    (void)posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
}

int io_mmap(int fd, uint64_t offset, size_t size, void **ret) {
    int r = io_hook_ask(IO_MMAP, NULL);
    if (r < 0)
        return r;
    void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return -errno;
    (void)madvise(p, size, MADV_RANDOM);
    *ret = p;
    return 0;
}

void io_munmap(void *map, size_t size) {
    if (map)
        (void)munmap(map, size);
}

void io_map_will_need(void *map, size_t size) {
    (void)madvise(map, size, MADV_WILLNEED);
}

int io_lock(int fd) {
    int r = io_hook_ask(IO_LOCK, NULL);
    if (r < 0)
        return r;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int io_disk_space(int dir_fd, uint64_t *ret_free, uint64_t *ret_total) {
    int r = io_hook_ask(IO_READ, NULL);
    if (r < 0)
        return r;
    struct statvfs st;
    while (fstatvfs(dir_fd, &st) < 0)
        if (errno != EINTR)
            return -errno;
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}

static int read_to_end(int fd, struct buf *out) {
    for (;;) {
        size_t room = out->capacity - out->size;
        if (room == 0) {
            /* At the maximum only one more byte tells whether the file ends here. */
            if (out->size == out->max) {
                char extra;
                ssize_t n = read(fd, &extra, 1);
                return n < 0 ? -errno : n > 0 ? -E2BIG : 0;
            }
            size_t left = out->max - out->size;
            int r = buf_reserve(out, left < READ_STEP ? left : READ_STEP);
            if (r < 0)
                return r;
            room = out->capacity - out->size;
        }
        ssize_t n = read(fd, out->data + out->size, room < IO_STEP_MAX ? room : IO_STEP_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        out->size += (size_t)n;
    }
}

int io_read_file(int dir_fd, const char *path, struct buf *out) {
    int fd = io_open(dir_fd, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int r = io_hook_ask(IO_READ, path);
    if (r == 0)
        r = read_to_end(fd, out);
    io_close(fd);
    return r;
}

/* Crash states: (1) the temporary file alone, possibly cut off: the next write of the same name truncates
 * it, readers never look at it; (2) renamed, the folder not yet durable: the old or the new content is there,
 * never a mixture. */
int io_write_file_durable(int dir_fd, const char *path, struct str content) {
    char temp[PATH_MAX], parent[PATH_MAX];
    int n = snprintf(temp, sizeof(temp), "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof(temp))
        return -ENAMETOOLONG;
    const char *slash = strrchr(path, '/');
    if (!slash)
        memcpy(parent, ".", 2);
    else if (slash == path)
        memcpy(parent, "/", 2);
    else
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    int fd = io_open(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    if (fd < 0)
        return fd;
    int r = io_write_all(fd, content.data, content.size);
    if (r == 0)
        r = io_fsync(fd);
    io_close(fd);
    if (r == 0)
        r = io_rename(dir_fd, temp, dir_fd, path);
    if (r < 0) {
        (void)unlinkat(dir_fd, temp, 0);
        return r;
    }
    return io_fsync_dir(dir_fd, parent);
}

static bool is_folder(int dir_fd, const struct dirent *entry) {
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    struct stat st;
    return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int io_list(int dir_fd, const char *path, io_list_fn *fn, void *ctx) {
    int r = io_hook_ask(IO_LIST, path);
    if (r < 0)
        return r;
    int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            r = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        r = fn(entry->d_name, is_folder(fd, entry), ctx);
        if (r != 0)
            break;
    }
    (void)closedir(dir);
    return r;
}
