/* The registry: which streams a flush looks at. */
#include "stream.h"

#include <stdlib.h>

#include "store_private.h"
#include "store_world.h"

static struct store_world world;

static size_t filled(void) {
    size_t n = 0;
    struct stream **list = registry_list_filled(&world.store->registry, &n);
    CHECK(list != NULL);
    for (size_t i = 0; i < n; i++)
        CHECK(list[i]->open.count > 0 || list[i]->n_sealed > 0);
    registry_list_done(list, n);
    return n;
}

static void push(unsigned stream, int64_t ts_ns) {
    char app[32];
    (void)snprintf(app, sizeof(app), "a%u", stream);
    struct entry entry = {.ts_ns = ts_ns, .line = STR("some line")};
    CHECK_INT(world_append_app(world.store, STR("t"), app, &entry, 1), 0);
}

/* Those that have something in memory, which they have again with the first line after a flush. */
static void filled_streams_are_listed(void) {
    enum { STREAMS = 20 };
    const int64_t now_ns = INT64_C(1790035200) * 1000000000;
    world_begin_in_memory(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
    CHECK_INT(filled(), 0);
    for (unsigned i = 0; i < STREAMS; i++)
        push(i, now_ns + i);
    CHECK_INT(filled(), STREAMS);
    CHECK_INT(store_flush(world.store, NULL), 0);
    CHECK_INT(filled(), 0);
    CHECK_INT(registry_count(&world.store->registry), STREAMS);
    struct store_stats stats;
    store_get_stats(world.store, &stats);
    CHECK_INT(stats.streams_in_memory, STREAMS);
    push(3, now_ns + STREAMS);
    push(7, now_ns + STREAMS);
    CHECK_INT(filled(), 2);
    CHECK_INT(store_flush(world.store, NULL), 0);
    CHECK_INT(filled(), 0);
    CHECK_INT(world_count(world.store, STR("t"), NULL), STREAMS + 2);
    world_end(&world);
}

int main(void) {
    RUN(filled_streams_are_listed);
    return test_done();
}
