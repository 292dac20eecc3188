/* Pushes that come faster than one thread encodes: sealing threads and the pushes themselves help, nothing is lost, and heads
 * keep within their bounds. */
#include "flush_encode.h"

#include <errno.h>
#include <time.h>

#include "store_world.h"
#include "units.h"

enum {
    WRITERS = 4,
    STREAMS = 32, /* of each writer */
    ROUNDS = 25,
    LINES = 8,
    LINE_BYTES = 250,
    HEAD_BUDGET = 256 << 10,
    PUSH_BYTES = LINES * (LINE_BYTES + 64),
};
#define BASE_NS (INT64_C(1790035200) * NS_PER_S)

static struct store_world world;

static int push(unsigned writer, unsigned stream, unsigned round) {
    char app[32], text[LINES][LINE_BYTES + 1];
    struct entry entries[LINES];
    (void)snprintf(app, sizeof(app), "w%u-%u", writer, stream);
    for (unsigned i = 0; i < LINES; i++) {
        int n = snprintf(text[i], sizeof(text[i]), "round %u line %u of %s: %0200u", round, i, app,
                         round * 7919 + i);
        entries[i] = (struct entry){.ts_ns = BASE_NS + round * NS_PER_S + i,
                                    .line = str_make(text[i], (size_t)n)};
    }
    return world_append_app(world.store, STR("t"), app, entries, LINES);
}

static void *write_lines(void *arg) {
    unsigned writer = (unsigned)(uintptr_t)arg;
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < STREAMS; i++) {
            int r;
            while ((r = push(writer, i, round)) == -EBUSYNOW) {
                struct timespec wait = {.tv_nsec = NS_PER_MS};
                (void)nanosleep(&wait, NULL);
            }
            CHECK_INT(r, 0);
            struct store_stats stats;
            store_get_stats(world.store, &stats);
            /* A push is refused when twice the budget is used up, so one of each writer may come on top. */
            CHECK(stats.head_bytes <= 2 * HEAD_BUDGET + 4 * WRITERS * PUSH_BYTES);
        }
    return NULL;
}

static void all_hands_help(void) {
    world_begin_in_memory(&world);
    struct store_options options = {
        .wal = {.sync = WAL_SYNC_OFF}, .head_budget_bytes = HEAD_BUDGET, .effort = EFFORT_TABLE};
    world_open(&world, options);
    pthread_t writers[WRITERS];
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK_INT(pthread_create(&writers[i], NULL, write_lines, (void *)i), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    struct store_stats stats;
    store_get_stats(world.store, &stats);
    CHECK(stats.flushed_chunks > 0);
    CHECK_INT(world_count(world.store, STR("t"), NULL), WRITERS * STREAMS * ROUNDS * LINES);
    world_close(&world);
    world_open(&world, options);
    CHECK_INT(world_count(world.store, STR("t"), NULL), WRITERS * STREAMS * ROUNDS * LINES);
    world_end(&world);
}

/* Nobody is at it: there is nothing to help with. */
static void nothing_to_help_with(void) {
    world_begin_in_memory(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
    CHECK_INT(push(0, 0, 0), 0);
    flush_help(world.store, SIZE_MAX);
    CHECK_INT(world_count(world.store, STR("t"), NULL), LINES);
    world_end(&world);
}

int main(void) {
    RUN(all_hands_help);
    RUN(nothing_to_help_with);
    return test_done();
}
