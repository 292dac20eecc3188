/* Pushes that come faster than one thread encodes: sealing threads and the pushes themselves help, nothing is lost, and heads
 * keep within their bounds. */
#include "flush_encode.h"

#include <errno.h>
#include <time.h>

#include "patterns.h"
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

/* How the lines of a stream's oldest block are encoded, of which there are so many. */
static enum block_codec codec_of(size_t lines, int64_t first_ns, size_t blocks, bool hurried) {
    struct registry registry;
    struct label label = {.name = STR("app"), .value = STR("a")};
    struct stream_identity identity = {.first_ns = INT64_MAX, .last_ns = INT64_MIN};
    struct stream *s = NULL;
    struct block_encoder *encoder = block_encoder_new();
    bool sealable;
    CHECK_INT(registry_init(&registry), 0);
    registry.effort = EFFORT_TABLE;
    CHECK_INT(registry_add(&registry, STR("t"), (struct labels){.items = &label, .count = 1},
                           &identity, &s),
              0);
    for (size_t i = 0; i < lines; i++) {
        char text[LINE_BYTES];
        int n = snprintf(text, sizeof(text), "level=info line %05zu %0150d", i, 0);
        struct entry entry = {.ts_ns = first_ns + (int64_t)i, .line = str_make(text, (size_t)n)};
        CHECK_INT(head_append(&registry, s, &entry, 1, i + 1, NULL, &sealable), 0);
    }
    CHECK_INT(head_cut(&registry, s), 0);
    s->sealed[0]->hurried = hurried;
    CHECK_INT(head_seal(&registry, s, encoder, true), 0);
    enum block_codec codec = block_section(&s->sealed[0]->info, SECTION_LINES)->codec;
    CHECK_INT(s->n_sealed, blocks);
    CHECK_INT(s->sealed[0]->count, lines / blocks);
    size_t least = hurried ? PATTERNS_LEAST_HURRIED_BYTES : PATTERNS_LEAST_BYTES;
    CHECK_INT(block_section(&s->sealed[0]->info, SECTION_PATTERNS) != NULL,
              s->sealed[0]->line_bytes >= least);
    CHECK(s->sealed[0]->memory_bytes >= s->sealed[0]->encoded_size + s->sealed[0]->filter_size);
    stream_unpin(s);
    registry_done(&registry);
    block_encoder_free(encoder);
    return codec;
}

/* Few lines are not worth a table, and what counts is how many a block gets: one per day of its cut. */
static void few_lines_are_no_table(void) {
    const int64_t noon_ns = BASE_NS - BASE_NS % NS_PER_DAY + NS_PER_DAY / 2;
    CHECK_INT(codec_of(20, noon_ns, 1, false), CODEC_ZSTD);
    CHECK_INT(codec_of(60, noon_ns, 1, false), CODEC_TABLE);
    CHECK_INT(codec_of(150, noon_ns, 1, false), CODEC_TABLE);
    CHECK_INT(codec_of(60, noon_ns + NS_PER_DAY / 2 - 30, 2, false), CODEC_ZSTD);
    CHECK_INT(codec_of(200, noon_ns + NS_PER_DAY / 2 - 100, 2, false), CODEC_TABLE);
}

/* Fewer still while memory is short. */
static void few_lines_in_a_hurry(void) {
    const int64_t noon_ns = BASE_NS - BASE_NS % NS_PER_DAY + NS_PER_DAY / 2;
    CHECK_INT(codec_of(20, noon_ns, 1, true), CODEC_LZ4);
    CHECK_INT(codec_of(42, noon_ns, 1, true), CODEC_LZ4);
    CHECK_INT(codec_of(60, noon_ns, 1, true), CODEC_TABLE);
    CHECK_INT(codec_of(150, noon_ns, 1, true), CODEC_TABLE);
    CHECK_INT(codec_of(250, noon_ns, 1, true), CODEC_TABLE);
}

int main(void) {
    RUN(all_hands_help);
    RUN(nothing_to_help_with);
    RUN(few_lines_are_no_table);
    RUN(few_lines_in_a_hurry);
    return test_done();
}
