#include "pages.h"

#include <errno.h>
#include <sys/mman.h>

enum {
    FIRST_BYTES = 64 << 10, /* a page of any system */
    HUGE_FROM = 4 << 20,    /* smaller mappings hardly hold a huge page */
};

int pages_reserve(struct pages *p, size_t capacity) {
    if (capacity <= p->capacity)
        return 0;
    size_t wanted = p->capacity > 0 ? p->capacity : FIRST_BYTES;
    while (wanted < capacity) {
        if (__builtin_mul_overflow(wanted, (size_t)2, &wanted))
            return -ENOMEM;
    }
    void *data =
        p->data ? mremap(p->data, p->capacity, wanted, MREMAP_MAYMOVE)
                : mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return -ENOMEM;
    if (wanted >= HUGE_FROM)
        (void)madvise(data, wanted, MADV_HUGEPAGE); /* a wish */
    p->data = data;
    p->capacity = wanted;
    return 0;
}

void pages_done(struct pages *p) {
    if (p->data)
        (void)munmap(p->data, p->capacity);
    *p = (struct pages){0};
}
