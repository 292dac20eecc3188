#include "unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "merge.h"
#include "pack.h"

enum { TARGET_BYTES = 64 << 20 }; /* one file stays one */

/* ---- packs of a day */

struct day {
    int dir_fd;
    char path[CHUNK_PATH_MAX];    /* of the folder, and of a pack in it */
    const struct numbers *chunks; /* NULL: any pack will do */
    struct numbers *holders;
    bool found;
    struct err *reterr;
};

static int look_into(struct day *d, uint64_t seq) {
    struct pack pack;
    int r = pack_open(d->dir_fd, d->path, &pack, d->reterr);
    if (r == -ENOENT || r == -ECORRUPT || r == -EFORMAT)
        return 0; /* gone meanwhile; nobody can read it */
    if (r < 0)
        return r;
    bool holds = false;
    for (size_t i = 0; i < pack.n_members && !holds; i++)
        holds = numbers_have(d->chunks, pack.members[i].chunk_seq);
    pack_done(&pack);
    return holds ? numbers_add(d->holders, seq) : 0;
}

static int look_at(const char *name, bool is_dir, void *ctx) {
    struct day *d = ctx;
    uint64_t seq;
    int end = 0;
    if (is_dir || sscanf(name, "%16" SCNx64 ".pack%n", &seq, &end) != 1 || end == 0 ||
        name[end] != '\0')
        return 0;
    d->found = true;
    if (!d->chunks)
        return -ECANCELED;
    size_t folder = strlen(d->path);
    (void)snprintf(d->path + folder, sizeof(d->path) - folder, "/%s", name);
    int r = look_into(d, seq);
    d->path[folder] = '\0';
    return r;
}

static int list_day(struct day *d, struct store *s, struct str tenant, int32_t day) {
    int r = pack_path(d->path, tenant, day, 0);
    if (r < 0)
        return r;
    *strrchr(d->path, '/') = '\0';
    d->dir_fd = store_dir_fd(s);
    r = io_list(d->dir_fd, d->path, look_at, d);
    return r == -ENOENT ? 0 : r;
}

int unpack_add_holders(struct store *s, struct unpack *u, int32_t day, const struct numbers *chunks,
                       struct err *reterr) {
    struct err err = {0};
    struct day d = {.chunks = chunks, .holders = &u->packs, .reterr = &err};
    int r = list_day(&d, s, u->tenant, day);
    return r < 0 ? err_set(reterr, r, "cannot look for packs in %s: %s", d.path, err_name(r)) : 0;
}

bool unpack_has_packs(struct store *s, struct str tenant, int32_t day) {
    struct day d = {0};
    int r = list_day(&d, s, tenant, day);
    return d.found || (r < 0 && r != -ECANCELED);
}

/* ---- their members */

struct walk {
    const struct unpack *u;
    index_chunk_fn *fn;
    void *ctx;
};

static int visit(const struct index_chunk *c, void *ctx) {
    const struct walk *w = ctx;
    if (c->pack_seq == 0 || !numbers_have(&w->u->packs, c->pack_seq) ||
        numbers_have(&w->u->keep, c->chunk_seq))
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
