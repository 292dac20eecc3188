/* Crash states: whatever size a crash leaves the file in, the next start looks at it and fills it, or not. */
#include "reserve.h"

#include <fcntl.h>

#include "io.h"

enum {
    RESERVE_SHARE = 64, /* at most this part of the file system */
    PLENTY = 8,         /* so many times the reserve must be free before it is taken */
};

static const char NAME[] = "reserve";

static int resize(struct reserve *r, uint64_t size) {
    int fd = io_open(r->dir_fd, NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return fd;
    int code = size > 0 ? io_allocate(fd, size) : io_truncate(fd, 0);
    if (code < 0)
        (void)io_truncate(fd, 0);
    io_close(fd);
    return code;
}

void reserve_init(struct reserve *r, int dir_fd, uint64_t max_bytes) {
    uint64_t free_bytes, total_bytes, present = 0;
    *r = (struct reserve){.dir_fd = dir_fd};
    if (max_bytes == 0 || io_disk_space(dir_fd, &free_bytes, &total_bytes) < 0)
        return;
    r->size_bytes = total_bytes / RESERVE_SHARE;
    if (r->size_bytes > max_bytes)
        r->size_bytes = max_bytes;
    int fd = io_open(dir_fd, NAME, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0 && io_file_size(fd, &present) == 0)
        r->held = present >= r->size_bytes && r->size_bytes > 0;
    io_close(fd);
    reserve_refill(r);
}

bool reserve_release(struct reserve *r) {
    if (!r->held || resize(r, 0) < 0)
        return false;
    r->held = false;
    return true;
}

void reserve_refill(struct reserve *r) {
    uint64_t free_bytes, total_bytes;
    if (r->held || r->size_bytes == 0 || io_disk_space(r->dir_fd, &free_bytes, &total_bytes) < 0 ||
        free_bytes < PLENTY * r->size_bytes)
        return;
    r->held = resize(r, r->size_bytes) == 0;
}
