/* memory_file: what a fuzz target was given as a file that decoders can open by its path. The first byte of the input says
 * whether the checksums in the rest are to be mended, so that the fuzzer comes further than to them. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory_file {
    int fd;
    size_t size;
    char path[64];
};

/* `size` is at least 1. */
static inline struct memory_file memory_file_make(const uint8_t *data, size_t size,
                                                  void (*repair)(uint8_t *p, size_t size)) {
    struct memory_file f = {.fd = memfd_create("fuzz", MFD_CLOEXEC), .size = size - 1};
    uint8_t *copy = malloc(size);
    if (!copy || f.fd < 0)
        abort();
    memcpy(copy, data + 1, f.size);
    if (data[0] & 1)
        repair(copy, f.size);
    if (write(f.fd, copy, f.size) != (ssize_t)f.size)
        abort();
    free(copy);
    (void)snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
    return f;
}

static inline void memory_file_done(struct memory_file *f) {
    (void)close(f->fd);
}
