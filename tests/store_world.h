/* store_world: a store in a folder of its own, for suites of storage, query and compactor: set up, filled and taken away in the
 * same way everywhere. Aborts where the test itself would make no sense. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "store.h"
#include "test.h"

struct store_world {
    char dir[256];
    struct store *store; /* NULL while it is closed */
};

/* Makes the folder. */
static inline void world_begin(struct store_world *w) {
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    (void)snprintf(w->dir, sizeof(w->dir), "%s/logq-test-XXXXXX", base);
    w->store = NULL;
    if (!mkdtemp(w->dir))
        abort();
}

/* Opens the store with these options, in the world's folder. */
static inline void world_open(struct store_world *w, struct store_options options) {
    struct err err;
    options.data_dir = w->dir;
    if (store_open(&options, &w->store, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static inline void world_close(struct store_world *w) {
    store_close(w->store);
    w->store = NULL;
}

/* Closes the store and removes the folder. */
static inline void world_end(struct store_world *w) {
    if (w->store)
        world_close(w);
    char command[sizeof(w->dir) + 16];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", w->dir);
    if (system(command) != 0)
        abort();
}

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

/* Appends to one stream and waits until it is durable; what the store says of it. */
static inline int world_append(struct store *s, struct str tenant, struct labels labels,
                               const struct entry *entries, uint32_t count) {
    struct stream *stream;
    struct err err;
    int r = store_stream(s, tenant, labels, STR(""), &stream, NULL);
    if (r < 0)
        return r;
    struct batch_stream part = {.stream = stream, .entries = entries, .count = count};
    struct batch batch = {.tenant = tenant, .streams = &part, .n_streams = 1};
    struct world_waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    r = store_append(s, &batch, world_on_done, &w, &err);
    (void)pthread_mutex_lock(&w.lock);
    while (r == 0 && !w.done)
        (void)pthread_cond_wait(&w.cond, &w.lock);
    (void)pthread_mutex_unlock(&w.lock);
    store_unpin(s, stream);
    return r < 0 ? r : w.status;
}
