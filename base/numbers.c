#include "numbers.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

int numbers_add(struct numbers *l, uint64_t number) {
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : FIRST_CAPACITY;
        uint64_t *items = realloc(l->items, sizeof(*items) * capacity);
        if (!items)
            return -ENOMEM;
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->n++] = number;
    return 0;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void numbers_sort(struct numbers *l) {
    if (l->n > 1)
        qsort(l->items, l->n, sizeof(*l->items), compare);
}

bool numbers_have(const struct numbers *l, uint64_t number) {
    return l->n > 0 && bsearch(&number, l->items, l->n, sizeof(number), compare);
}

void numbers_done(struct numbers *l) {
    free(l->items);
    *l = (struct numbers){0};
}
