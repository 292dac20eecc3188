/* measure: what the bench's programs share that measure parts of logq on one core: the time that counts, and the text that they
 * work on. */
#pragma once

#include <stdio.h>
#include <time.h>

#include "buf.h"

/* Processor time in seconds: other work on the machine disturbs it less. */
static inline double cpu_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Adds the bytes of a file to `text`. */
static inline int load_text(const char *path, struct buf *text) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    for (size_t n = 1; n > 0 && buf_reserve(text, 1 << 20) == 0; text->size += n)
        n = fread(text->data + text->size, 1, 1 << 20, f);
    (void)fclose(f);
    return text->failed ? -1 : 0;
}
