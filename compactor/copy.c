#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

enum { PIECE = 1 << 20, PATH_MAX_BYTES = 1024, FILE_MODE = 0640, TREE_DEPTH_MAX = 8 };

static bool folder_of(const char *path, char out[static PATH_MAX_BYTES]) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n == 0 || n >= PATH_MAX_BYTES)
        return false;
    memcpy(out, path, n);
    out[n] = '\0';
    return true;
}

static int make_folder(int dir_fd, const char *path) {
    char folder[PATH_MAX_BYTES];
    return folder_of(path, folder) ? io_mkdirs(dir_fd, folder, 0755) : 0;
}

static bool all_zero(const char *data, size_t size) {
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Copies piece by piece; `trim`: pieces of zeros are not written, and the file ends a piece behind its last byte that is not
 * zero: the record at the end may have zeros of its own, but no compressed one has so many. */
static int copy_bytes(int from, int to, bool trim) {
    char *piece = malloc(PIECE);
    uint64_t at = 0, end = 0;
    int r = piece ? 0 : -ENOMEM;
    while (r == 0) {
        ssize_t n = io_pread_all(from, piece, PIECE, at);
        if (n <= 0) {
            r = n < 0 ? (int)n : 0;
            break;
        }
        size_t size = (size_t)n;
        if (!trim || !all_zero(piece, size)) {
            r = io_pwrite_all(to, piece, size, at);
            while (trim && size > 0 && piece[size - 1] == 0)
                size--;
            end = at + size;
        }
        at += (uint64_t)n;
    }
    if (trim)
        end = end + PIECE < at ? end + PIECE : at;
    if (r == 0)
        r = io_truncate(to, end);
    free(piece);
    return r;
}

static int copy_whole(int from_fd, const char *from, int to_fd, const char *to, bool trim) {
    char temporary[PATH_MAX_BYTES];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", to) >= sizeof(temporary))
        return -ENAMETOOLONG;
    int in = io_open(from_fd, from, O_RDONLY | O_CLOEXEC, 0);
    if (in < 0)
        return in;
    int out = io_open(to_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    int r = out < 0 ? out : copy_bytes(in, out, trim);
    if (r == 0)
        r = io_fsync(out);
    if (out >= 0)
        io_close(out);
    io_close(in);
    if (r == 0)
        r = io_rename(to_fd, temporary, to_fd, to);
    if (r < 0 && out >= 0)
        (void)io_unlink(to_fd, temporary);
    return r;
}

int copy_growing(int from_fd, const char *from, int to_fd, const char *to) {
    int r = make_folder(to_fd, to);
    return r < 0 ? r : copy_whole(from_fd, from, to_fd, to, true);
}

static bool cannot_link(int r) {
    return r == -EXDEV || r == -EPERM || r == -EMLINK || r == -EOPNOTSUPP || r == -ENOSYS;
}

int copy_file(int from_fd, const char *from, int to_fd, const char *to, bool copy) {
    int r = copy ? -EXDEV : io_link(from_fd, from, to_fd, to);
    if (r == -ENOENT) { /* the folder, or the file itself */
        r = make_folder(to_fd, to);
        if (r == 0)
            r = io_link(from_fd, from, to_fd, to);
    }
    if (r == -EEXIST)
        return 0;
    if (!cannot_link(r))
        return r;
    r = make_folder(to_fd, to);
    return r < 0 ? r : copy_whole(from_fd, from, to_fd, to, false);
}

/* ---- removing */

struct tree {
    int dir_fd;
    unsigned depth;
    char path[PATH_MAX_BYTES];
};

static int remove_entry(const char *name, bool is_dir, void *ctx) {
    struct tree *t = ctx;
    size_t size = strlen(t->path);
    if ((size_t)snprintf(t->path + size, sizeof(t->path) - size, "/%s", name) >=
        sizeof(t->path) - size)
        return -ENAMETOOLONG;
    int r;
    if (!is_dir) {
        r = io_unlink(t->dir_fd, t->path);
    } else if (t->depth == TREE_DEPTH_MAX) {
        r = -ELOOP;
    } else {
        t->depth++;
        r = io_list(t->dir_fd, t->path, remove_entry, t);
        t->depth--;
        if (r == 0)
            r = io_rmdir(t->dir_fd, t->path);
    }
    t->path[size] = '\0';
    return r;
}

int copy_remove_tree(int dir_fd, const char *path) {
    struct tree t = {.dir_fd = dir_fd};
    if ((size_t)snprintf(t.path, sizeof(t.path), "%s", path) >= sizeof(t.path))
        return -ENAMETOOLONG;
    int r = io_list(dir_fd, path, remove_entry, &t);
    if (r == 0)
        r = io_rmdir(dir_fd, path);
    return r == -ENOENT ? 0 : r;
}
