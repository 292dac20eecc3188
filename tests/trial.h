/* trial: one body through a decoder of pushes. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "decoded.h"

struct trial {
    char *copy;
    struct arena arena;
    struct decoded_push d;
    struct err err;
    int r; /* what the decoder said, for the caller to set */
};

/* The body to decode: an exact copy on the heap, so that ASan sees each byte read outside it. */
static inline struct str trial_begin(struct trial *t, struct str body, size_t memory_max) {
    *t = (struct trial){.arena = arena_make(memory_max)};
    t->copy = malloc(body.size > 0 ? body.size : 1);
    if (body.size > 0)
        memcpy(t->copy, body.data, body.size);
    decoded_push_init(&t->d, &t->arena);
    return str_make(t->copy, body.size);
}

static inline void trial_done(struct trial *t) {
    arena_done(&t->arena);
    free(t->copy);
}
