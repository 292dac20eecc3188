/* pages: bytes in mapped memory that begins at a page. Growing moves the mapping, not the bytes, and what is given back goes to
 * the system as a whole: for buffers of megabytes that come and go and would leave holes in the heap. Large ones have huge
 * pages where the system gives some: the kernel looks up each page that goes past the page cache to a disk. One thread
 * at a time. */
#pragma once

#include <stddef.h>

struct pages {
    char *data;
    size_t size; /* the owner's affair */
    size_t capacity;
};

/* Room for so many bytes in all; 0 or -ENOMEM, and then nothing has changed. */
int pages_reserve(struct pages *p, size_t capacity);
void pages_done(struct pages *p);
