#include "unpack.h"

#include <stdlib.h>

#include "merge.h"

enum { TARGET_BYTES = 64 << 20 }; /* one file stays one */

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void unpack_prepare(struct unpack *u) {
    if (u->n_packs > 1)
        qsort(u->packs, u->n_packs, sizeof(*u->packs), compare);
    if (u->n_keep > 1)
        qsort(u->keep, u->n_keep, sizeof(*u->keep), compare);
}

static bool has(const uint64_t *list, size_t n, uint64_t number) {
    return n > 0 && bsearch(&number, list, n, sizeof(number), compare);
}

struct walk {
    const struct unpack *u;
    index_chunk_fn *fn;
    void *ctx;
};

static int visit(const struct index_chunk *c, void *ctx) {
    const struct walk *w = ctx;
    if (c->pack_seq == 0 || !has(w->u->packs, w->u->n_packs, c->pack_seq) ||
        has(w->u->keep, w->u->n_keep, c->chunk_seq))
        return 0;
    return w->fn(c, w->ctx);
}

int unpack_walk(struct store *s, const struct unpack *u, index_chunk_fn *fn, void *ctx,
                struct err *reterr) {
    struct walk w = {.u = u, .fn = fn, .ctx = ctx};
    return index_walk_chunks(store_index(s), u->tenant, visit, &w, reterr);
}

struct rewrite unpack_rewrite(struct str tenant, const struct index_chunk *c) {
    return (struct rewrite){.tenant = tenant,
                            .sources = c,
                            .n_sources = 1,
                            .effort = merge_effort((enum merge_grade)c->grade),
                            .grade = c->grade,
                            .as_is = true,
                            .target_bytes = TARGET_BYTES};
}
