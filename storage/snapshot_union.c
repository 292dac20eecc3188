#include "snapshot_union.h"

#include <errno.h>
#include <stdlib.h>

enum { UNION_ARENA_MAX = 1 << 28 };

static const struct str tenant_label = STR_INIT(STORE_TENANT_LABEL);
/* What a stream's own label of that name is called here, as in Loki. */
static const struct str retained_label = STR_INIT("original_" STORE_TENANT_LABEL);

static bool next_tenant(struct str *rest, struct str *ret) {
    if (rest->size == 0)
        return false;
    const char *bar = memchr(rest->data, '|', rest->size);
    size_t size = bar ? (size_t)(bar - rest->data) : rest->size;
    *ret = str_make(rest->data, size);
    *rest = str_from_offset(*rest, size + 1);
    return true;
}

/* The select of one of the tenants: matchers of the tenant label are settled here. False when they rule it
 * out. `kept` has room for all matchers. */
static bool select_of_tenant(const struct select *sel, struct str tenant, struct matcher *kept,
                             struct select *ret) {
    size_t count = 0;
    for (size_t i = 0; i < sel->n_matchers; i++) {
        const struct matcher *m = &sel->matchers[i];
        if (str_eq(m->name, tenant_label)) {
            if (!matcher_accepts(m, tenant))
                return false;
            continue;
        }
        kept[count] = *m;
        if (str_eq(m->name, retained_label))
            kept[count].name = tenant_label;
        count++;
    }
    *ret = *sel;
    ret->tenant = tenant;
    ret->matchers = kept;
    ret->n_matchers = count;
    ret->tap = NULL; /* tails have one tenant */
    return true;
}

static int relabel(struct arena *arena, struct str tenant, struct labels labels,
                   struct labels *ret) {
    struct label *items = arena_array(arena, labels.count + 1, sizeof(*items));
    struct str copy = arena_copy(arena, tenant);
    if (!items || !copy.data)
        return -ENOMEM;
    for (size_t i = 0; i < labels.count; i++) {
        items[i] = labels.items[i];
        if (str_eq(items[i].name, tenant_label))
            items[i].name = retained_label;
    }
    items[labels.count] = (struct label){tenant_label, copy};
    *ret = (struct labels){items, labels_normalize(items, labels.count + 1)};
    return 0;
}

/* ---- snapshots: one for each tenant, and one that shows the streams of all */

static int compare_streams(const void *a, const void *b) {
    uint64_t x = ((const struct snap_stream *)a)->id, y = ((const struct snap_stream *)b)->id;
    return (x > y) - (x < y);
}

static int add_child(struct snapshot *all, struct snapshot *child, struct str tenant) {
    size_t count = all->n_streams + child->n_streams;
    struct snap_stream *streams = arena_array(&all->arena, count + 1, sizeof(*streams));
    if (!streams)
        return -ENOMEM;
    memcpy(streams, all->streams, all->n_streams * sizeof(*streams));
    for (size_t i = 0; i < child->n_streams; i++) {
        struct snap_stream *s = &streams[all->n_streams + i];
        *s = child->streams[i];
        int r = relabel(&all->arena, tenant, s->labels, &s->labels);
        if (r < 0)
            return r;
        s->hash = labels_hash(s->labels);
    }
    all->streams = streams;
    all->n_streams = count;
    all->n_excluded += child->n_excluded;
    all->n_lost += child->n_lost;
    return 0;
}

static int select_children(struct snapshot *all, const struct select *sel, struct err *reterr) {
    struct str rest = sel->tenant, tenant;
    size_t most = 1;
    for (size_t i = 0; i < rest.size; i++)
        most += rest.data[i] == '|';
    struct matcher *kept = arena_array(&all->arena, sel->n_matchers + 1, sizeof(*kept));
    all->children = arena_array(&all->arena, most, sizeof(struct snapshot *));
    if (!kept || !all->children)
        return -ENOMEM;
    while (next_tenant(&rest, &tenant)) {
        struct select one;
        if (!select_of_tenant(sel, tenant, kept, &one))
            continue;
        struct snapshot *child;
        int r = store_select(all->store, &one, &child, reterr);
        if (r < 0)
            return r;
        all->children[all->n_children++] = child;
        r = add_child(all, child, tenant);
        if (r < 0)
            return r;
    }
    qsort(all->streams, all->n_streams, sizeof(*all->streams), compare_streams);
    return 0;
}

int union_select(struct store *s, const struct select *sel, struct snapshot **ret,
                 struct err *reterr) {
    struct snapshot *all = calloc(1, sizeof(*all));
    if (!all)
        return err_set(reterr, -ENOMEM, "no memory for a snapshot");
    all->store = s;
    all->is_union = true;
    all->arena = arena_make_for(BUDGET_QUERIES, UNION_ARENA_MAX);
    all->streams = arena_array(&all->arena, 1, sizeof(*all->streams));
    int r = all->streams ? select_children(all, sel, reterr) : -ENOMEM;
    if (r < 0) {
        store_snapshot_free(all);
        return r == -ENOMEM ? err_set(reterr, r, "no memory for a snapshot") : r;
    }
    *ret = all;
    return 0;
}

/* ---- label sets only */

struct relabelling {
    struct str tenant;
    struct arena arena; /* of one label set at a time */
    store_series_fn *fn;
    void *ctx;
};

static int tell(struct labels labels, void *ctx) {
    struct relabelling *x = ctx;
    struct labels with;
    int r = relabel(&x->arena, x->tenant, labels, &with);
    if (r == 0)
        r = x->fn(with, x->ctx);
    arena_reset(&x->arena);
    return r;
}

int union_series(struct store *s, const struct select *sel, store_series_fn *fn, void *ctx,
                 struct err *reterr) {
    struct matcher *kept = calloc(sel->n_matchers + 1, sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    struct relabelling x = {
        .arena = arena_make_for(BUDGET_QUERIES, UNION_ARENA_MAX), .fn = fn, .ctx = ctx};
    struct str rest = sel->tenant;
    int r = 0;
    while (r == 0 && next_tenant(&rest, &x.tenant)) {
        struct select one;
        if (select_of_tenant(sel, x.tenant, kept, &one))
            r = store_series(s, &one, tell, &x, reterr);
    }
    arena_done(&x.arena);
    free(kept);
    return r;
}
