/* store_world: a store in a folder of its own, for suites of storage, query and compactor: set up, filled, read and taken
 * away in the same way everywhere. Aborts where the test itself would make no sense. */
#pragma once

#include <ftw.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "store.h"
#include "test.h"
#include "test_folder.h"

/* ---- the store */

struct store_world {
    char dir[TEST_FOLDER_MAX];
    struct store *store; /* NULL while it is closed */
};

/* Makes the folder. */
static inline void world_begin(struct store_world *w) {
    w->store = NULL;
    folder_make(w->dir);
}

/* The same for suites that wait for hundreds of fsyncs. */
static inline void world_begin_in_memory(struct store_world *w) {
    w->store = NULL;
    folder_make_in_memory(w->dir);
}

/* Opens the store with these options, in the world's folder. */
static inline int world_try_open(struct store_world *w, struct store_options options,
                                 struct err *reterr) {
    options.data_dir = w->dir;
    if (w->store)
        abort();
    return store_open(&options, &w->store, reterr);
}

/* The same where it must succeed. */
static inline struct store *world_open(struct store_world *w, struct store_options options) {
    struct err err = {0};
    if (world_try_open(w, options, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return w->store;
}

static inline void world_close(struct store_world *w) {
    store_close(w->store);
    w->store = NULL;
}

/* Closes the store and removes the folder. */
static inline void world_end(struct store_world *w) {
    if (w->store)
        world_close(w);
    folder_remove(w->dir);
}

/* ---- appending */

struct world_waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int status;
};

static inline void world_on_done(void *ctx, int status) {
    struct world_waiter *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    w->done = true;
    w->status = status;
    (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&w->lock);
}

/* Appends to a stream that the caller has pinned, and waits until it is durable; what the store says of it. */
static inline int world_append_pinned(struct store *s, struct str tenant, struct stream *stream,
                                      const struct entry *entries, size_t count) {
    struct err err;
    struct batch_stream part = {.stream = stream, .entries = entries, .count = count};
    struct batch batch = {.tenant = tenant, .streams = &part, .n_streams = 1};
    struct world_waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    int r = store_append(s, &batch, world_on_done, &w, &err);
    (void)pthread_mutex_lock(&w.lock);
    while (r == 0 && !w.done)
        (void)pthread_cond_wait(&w.cond, &w.lock);
    (void)pthread_mutex_unlock(&w.lock);
    return r < 0 ? r : w.status;
}

static inline int world_append(struct store *s, struct str tenant, struct labels labels,
                               const struct entry *entries, size_t count) {
    struct stream *stream;
    int r = store_stream(s, tenant, labels, STR(""), &stream, NULL);
    if (r < 0)
        return r;
    r = world_append_pinned(s, tenant, stream, entries, count);
    store_unpin(s, stream);
    return r;
}

/* The same to {app="<app>"}. */
static inline int world_append_app(struct store *s, struct str tenant, const char *app,
                                   const struct entry *entries, size_t count) {
    struct label item = {STR("app"), str_from(app)};
    return world_append(s, tenant, (struct labels){&item, 1}, entries, count);
}

/* ---- reading */

/* All that a tenant has, or NULL and a failed check. Of {app="<app>"} alone, unless that is NULL. */
static inline struct snapshot *world_select(struct store *s, struct str tenant, const char *app) {
    struct matcher m = {.op = MATCH_EQ, .name = STR("app"), .value = str_from(app)};
    struct select sel = {.tenant = tenant,
                         .matchers = &m,
                         .n_matchers = app != NULL,
                         .start_ns = INT64_MIN,
                         .end_ns = INT64_MAX};
    struct snapshot *snap = NULL;
    struct err err = {0};
    CHECK_INT(store_select(s, &sel, &snap, &err), 0);
    if (!snap)
        printf("  %s\n", err.text);
    return snap;
}

typedef void world_block_fn(struct block_reader *r, const struct snap_stream *stream,
                            const struct block_ref *b, void *ctx);

/* Tells each block, not opened yet. `snap` may be NULL. */
static inline void world_walk_blocks(const struct snapshot *snap, world_block_fn *fn, void *ctx) {
    const struct snap_stream *streams = NULL;
    size_t n = snap ? snapshot_streams(snap, &streams) : 0;
    struct block_reader *r = block_reader_new();
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < streams[i].n_blocks; k++)
            fn(r, &streams[i], streams[i].blocks[k], ctx);
    block_reader_free(r);
}

typedef void world_entry_fn(const struct snap_stream *stream, const struct entry *e, void *ctx);

struct world_walk {
    world_entry_fn *fn;
    void *ctx;
};

static inline void world_walk_block(struct block_reader *r, const struct snap_stream *stream,
                                    const struct block_ref *b, void *ctx) {
    const struct world_walk *walk = ctx;
    struct err err = {0};
    struct block_ref_info info;
    const int64_t *times;
    const uint32_t *offsets;
    struct str lines;
    const struct meta_column *columns;
    size_t n_columns;
    block_ref_get(b, &info);
    if (block_reader_open(r, b, &err) < 0 || block_reader_times(r, &times, &err) < 0 ||
        block_reader_offsets(r, &offsets, &err) < 0 || block_reader_lines(r, &lines, &err) < 0 ||
        block_reader_meta(r, &columns, &n_columns, &err) < 0) {
        CHECK_STR(str_from(err.text), STR("")); /* what kept the block from being read */
        return;
    }
    const uint64_t *dead = block_reader_dead(r);
    struct label meta[ENTRY_META_MAX];
    for (uint32_t i = 0; i < info.count; i++) {
        CHECK(i == 0 || times[i - 1] <= times[i]);
        if (dead_test(dead, i) || times[i] < stream->visible_from_ns)
            continue;
        struct str line = str_make(lines.data + offsets[i], offsets[i + 1] - 1 - offsets[i]);
        struct entry e = {.ts_ns = times[i], .line = line, .meta = meta};
        for (size_t m = 0; m < n_columns; m++)
            if (columns[m].ids[i] > 0)
                meta[e.meta_count++] =
                    (struct label){columns[m].name, columns[m].values[columns[m].ids[i] - 1]};
        walk->fn(stream, &e, walk->ctx);
    }
}

/* Tells each entry that a query would show. */
static inline void world_walk(const struct snapshot *snap, world_entry_fn *fn, void *ctx) {
    world_walk_blocks(snap, world_walk_block, &(struct world_walk){fn, ctx});
}

/* The same of all that a tenant has. */
static inline void world_walk_tenant(struct store *s, struct str tenant, world_entry_fn *fn,
                                     void *ctx) {
    struct snapshot *snap = world_select(s, tenant, NULL);
    world_walk(snap, fn, ctx);
    store_snapshot_free(snap);
}

static inline void world_count_one(const struct snap_stream *stream, const struct entry *e,
                                   void *ctx) {
    (void)stream, (void)e;
    ++*(uint64_t *)ctx;
}

static inline uint64_t world_count_in(const struct snapshot *snap) {
    uint64_t n = 0;
    world_walk(snap, world_count_one, &n);
    return n;
}

/* Entries of a tenant, of {app="<app>"} alone unless that is NULL. */
static inline uint64_t world_count(struct store *s, struct str tenant, const char *app) {
    struct snapshot *snap = world_select(s, tenant, app);
    uint64_t n = world_count_in(snap);
    store_snapshot_free(snap);
    return n;
}

/* ---- what is on disk */

static inline struct index_stats world_index_stats(struct store *s) {
    struct index_stats stats = {0};
    CHECK_INT(index_get_stats(store_index(s), &stats), 0);
    return stats;
}

static size_t world_files;

static inline int world_count_file(const char *path, const struct stat *st, int type,
                                   struct FTW *ftw) {
    (void)path, (void)st, (void)ftw;
    world_files += type == FTW_F;
    return 0;
}

/* Files of any kind among the chunk files. */
static inline size_t world_chunk_files(const struct store_world *w) {
    char path[TEST_FOLDER_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s/chunks", w->dir);
    world_files = 0;
    (void)nftw(path, world_count_file, 16, FTW_PHYS);
    return world_files;
}
