/* Replay of an arbitrary WAL segment. The file stands in memory (memfd), reached through a folder of one
 * symbolic link, so that no disk is touched per input. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wal.h"
#include "wal_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int dir_fd = -1, file_fd = -1;
static char dir[64];
static char link_path[128];

static void clean_up(void) {
    (void)unlink(link_path);
    (void)rmdir(dir);
}

static void set_up(void) {
    (void)snprintf(dir, sizeof(dir), "/tmp/logq-fuzz-wal-XXXXXX");
    file_fd = memfd_create("segment", MFD_CLOEXEC);
    if (!mkdtemp(dir) || file_fd < 0)
        abort();
    char target[64], name[WAL_NAME_SIZE];
    wal_segment_name(name, 1);
    (void)snprintf(target, sizeof(target), "/proc/self/fd/%d", file_fd);
    (void)snprintf(link_path, sizeof(link_path), "%s/%s", dir, name);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (symlink(target, link_path) < 0 || dir_fd < 0)
        abort();
    (void)atexit(clean_up);
}

struct seen {
    uint64_t end; /* of the record before */
    uint64_t touched;
};

static int look(const struct wal_record *record, void *ctx) {
    struct seen *seen = ctx;
    uint64_t offset = record->lsn & UINT32_MAX;
    if (offset < seen->end)
        abort(); /* records follow each other; between them a damaged one may have been */
    seen->end = offset + WAL_RECORD_HEADER_SIZE + record->payload.size;
    for (size_t i = 0; i < record->payload.size; i++)
        seen->touched += (uint8_t)record->payload.data[i];
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (dir_fd < 0)
        set_up();
    if (ftruncate(file_fd, 0) < 0 || pwrite(file_fd, data, size, 0) != (ssize_t)size)
        abort();
    struct seen seen = {.end = WAL_HEADER_SIZE};
    struct err err = {0};
    struct wal_found found = {0};
    int r = wal_replay(dir_fd, look, &seen, &found, &err);
    if (r < 0 && r != -EFORMAT)
        abort();
    if (r == 0 && found.lost_bytes > size)
        abort();
    return 0;
}
