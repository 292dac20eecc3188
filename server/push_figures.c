#include "push_figures.h"

#include <pthread.h>
#include <stdlib.h>

#include "arena.h"
#include "map.h"

enum { NAMES_MEMORY_MAX = 4 << 20 };

struct tenant_figures {
    struct str tenant;
    struct push_metrics metrics;
};

struct push_figures {
    pthread_mutex_t lock; /* guards everything below but the counters */
    struct map by_tenant;
    struct arena arena;
    struct tenant_figures *list[PUSH_FIGURES_TENANTS_MAX];
    size_t count;
    struct tenant_figures other;
};

struct push_figures *push_figures_new(void) {
    struct push_figures *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    pthread_mutex_init(&f->lock, NULL);
    f->by_tenant = map_make();
    f->arena = arena_make(NAMES_MEMORY_MAX);
    f->other.tenant = STR("other");
    return f;
}

void push_figures_free(struct push_figures *f) {
    if (!f)
        return;
    pthread_mutex_destroy(&f->lock);
    map_done(&f->by_tenant);
    arena_done(&f->arena);
    free(f);
}

static struct tenant_figures *add(struct push_figures *f, struct str tenant) {
    if (f->count == PUSH_FIGURES_TENANTS_MAX)
        return NULL;
    struct tenant_figures *t = arena_array(&f->arena, 1, sizeof(*t));
    struct str copy = arena_copy(&f->arena, tenant);
    if (!t || !copy.data || map_put(&f->by_tenant, copy, t) < 0)
        return NULL;
    t->tenant = copy;
    f->list[f->count++] = t;
    return t;
}

struct push_metrics *push_figures_of(struct push_figures *f, struct str tenant) {
    pthread_mutex_lock(&f->lock);
    struct tenant_figures *t = map_get(&f->by_tenant, tenant);
    if (!t)
        t = add(f, tenant);
    pthread_mutex_unlock(&f->lock);
    return t ? &t->metrics : &f->other.metrics;
}

struct push_metrics *push_figures_at(struct push_figures *f, size_t n, struct str *ret_tenant) {
    pthread_mutex_lock(&f->lock);
    struct tenant_figures *t = n < f->count ? f->list[n] : n == f->count ? &f->other : NULL;
    pthread_mutex_unlock(&f->lock);
    if (t)
        *ret_tenant = t->tenant;
    return t ? &t->metrics : NULL;
}
