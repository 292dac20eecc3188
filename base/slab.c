#include "slab.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { UNITS = SLAB_REGION / SLAB_UNIT };

struct region {
    struct region *next;
    char *base;
    unsigned n_used;
    bool used[UNITS];
};

struct slab {
    pthread_mutex_t lock; /* guards all below */
    struct region *regions;
    size_t n_regions;
};

struct slab *slab_new(void) {
    struct slab *s = calloc(1, sizeof(*s));
    if (s)
        (void)pthread_mutex_init(&s->lock, NULL);
    return s;
}

void slab_free(struct slab *s) {
    if (!s)
        return;
    assert(!s->regions);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Twice as much is mapped, and what is not at a multiple of the size given back. */
static char *map_region(void) {
    size_t size = SLAB_REGION;
    char *map = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    size_t before = (size - (uintptr_t)map % size) % size;
    if (before > 0)
        (void)munmap(map, before);
    (void)munmap(map + before + size, size - before);
    (void)madvise(map + before, size, MADV_HUGEPAGE); /* a wish */
    return map + before;
}

static struct region *add_region(struct slab *s) {
    struct region *r = calloc(1, sizeof(*r));
    if (!r || !(r->base = map_region())) {
        free(r);
        return NULL;
    }
    r->next = s->regions;
    s->regions = r;
    s->n_regions++;
    return r;
}

/* The first of `n` free units in a row, or UNITS. */
static unsigned find_run(const struct region *r, unsigned n) {
    unsigned free_units = 0;
    if (UNITS - r->n_used < n)
        return UNITS;
    for (unsigned i = 0; i < UNITS; i++) {
        free_units = r->used[i] ? 0 : free_units + 1;
        if (free_units == n)
            return i + 1 - n;
    }
    return UNITS;
}

static void mark(struct region *r, unsigned from, unsigned n, bool used) {
    for (unsigned i = from; i < from + n; i++) {
        assert(r->used[i] != used);
        r->used[i] = used;
    }
    r->n_used = used ? r->n_used + n : r->n_used - n;
}

void *slab_take(struct slab *s, size_t size) {
    unsigned n = (unsigned)(size / SLAB_UNIT), at = UNITS;
    assert(size % SLAB_UNIT == 0 && n > 0 && size <= SLAB_RUN_MAX);
    (void)pthread_mutex_lock(&s->lock);
    struct region *r = s->regions;
    for (; r && (at = find_run(r, n)) == UNITS; r = r->next)
        ;
    if (!r && (r = add_region(s)))
        at = 0;
    if (r)
        mark(r, at, n, true);
    (void)pthread_mutex_unlock(&s->lock);
    return r ? r->base + (size_t)at * SLAB_UNIT : NULL;
}

void slab_give(struct slab *s, void *run, size_t size) {
    char *p = run;
    (void)pthread_mutex_lock(&s->lock);
    struct region **at = &s->regions;
    while (*at && (p < (*at)->base || p >= (*at)->base + SLAB_REGION))
        at = &(*at)->next;
    struct region *r = *at;
    assert(r);
    mark(r, (unsigned)((size_t)(p - r->base) / SLAB_UNIT), (unsigned)(size / SLAB_UNIT), false);
    bool empty = r->n_used == 0;
    if (empty) {
        *at = r->next;
        s->n_regions--;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (empty) {
        (void)munmap(r->base, SLAB_REGION);
        free(r);
    }
}

size_t slab_mapped_bytes(struct slab *s) {
    (void)pthread_mutex_lock(&s->lock);
    size_t bytes = s->n_regions * SLAB_REGION;
    (void)pthread_mutex_unlock(&s->lock);
    return bytes;
}
