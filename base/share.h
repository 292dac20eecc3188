/* share: how a room has the threads of a room above it work for it. */
#pragma once

#include <stddef.h>

/* Does the parts [from, to) of a job; several threads at once, with parts of their own. */
typedef void share_fn(void *ctx, size_t from, size_t to);

struct share {
    /* Returns when all of [0, n) has been done, some parts at a time. The calling thread works, too. */
    void (*run)(void *threads, size_t n, share_fn *fn, void *ctx);
    void *threads;
};
