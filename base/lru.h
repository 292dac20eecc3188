/* lru: things in the order of their last use, linked through themselves. It has no lock and no memory of its own. */
#pragma once

#include <stddef.h>

struct lru_link {
    struct lru_link *newer, *older;
};

struct lru {
    struct lru_link *newest, *oldest; /* NULL: empty */
};

/* What the link, which is not NULL, is the member of. */
#define LRU_OWNER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* As the newest; it must not be in a list. */
static inline void lru_add(struct lru *l, struct lru_link *x) {
    x->older = l->newest;
    x->newer = NULL;
    if (l->newest)
        l->newest->newer = x;
    else
        l->oldest = x;
    l->newest = x;
}

static inline void lru_remove(struct lru *l, struct lru_link *x) {
    if (x->newer)
        x->newer->older = x->older;
    else
        l->newest = x->older;
    if (x->older)
        x->older->newer = x->newer;
    else
        l->oldest = x->newer;
    x->newer = x->older = NULL;
}
