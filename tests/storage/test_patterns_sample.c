#include "patterns_sample.h"

#include <stdlib.h>

#include "test.h"

enum { ENTRIES_MAX = 20000 };

static struct sample sample;
static struct str lines[ENTRIES_MAX];
static uint32_t order[ENTRIES_MAX];

static uint32_t run_size(uint32_t run, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += sample.run_of[i] == run;
    return n;
}

/* Each run has an entry of its own to look at, and each entry a run. */
static void check_sample(uint32_t count) {
    CHECK(sample.n_runs >= 1 && sample.n_runs <= SAMPLE_RUNS_MAX);
    for (uint32_t run = 0; run < sample.n_runs; run++) {
        CHECK(sample.entries[run] < count);
        CHECK_INT(sample.run_of[sample.entries[run]], run);
    }
    for (uint32_t i = 0; i < count; i++)
        CHECK(sample.run_of[i] < sample.n_runs);
}

static void even_runs(void) {
    static const struct {
        uint32_t count, length, runs;
    } cases[] = {{1, 1, 1}, {100, 1, 100}, {100, 7, 15}, {98, 7, 14}, {20000, 5, 4000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sample_evenly(&sample, cases[i].count, cases[i].length, 42);
        CHECK_INT(sample.n_runs, cases[i].runs);
        check_sample(cases[i].count);
        CHECK_INT(run_size(0, cases[i].count), cases[i].length);
    }
}

static uint8_t levels[ENTRIES_MAX];

static uint32_t level_of(void *ctx, const struct block_input *in, uint32_t entry) {
    (void)ctx;
    (void)in;
    return levels[entry];
}

static void take(uint32_t count, uint32_t wanted) {
    for (uint32_t i = 0; i < count; i++)
        order[i] = count - 1 - i;
    struct block_input in = {.count = count, .lines = lines};
    sample_by_shape(&sample, &in, order, level_of, NULL, wanted, 42);
    check_sample(count);
}

/* Lines of one shape alone in their runs; the rare ones are seen. */
static void shapes_are_kept_apart(void) {
    enum { COUNT = 2 * SAMPLE_LOOKS - 1 };
    for (uint32_t i = 0; i < COUNT; i++)
        lines[i] = i % 2 ? STR("two words") : STR("a longer line with key=\"value\"");
    lines[777] = STR("one rare line");
    lines[888] = STR("");
    levels[999] = 5;
    take(COUNT, 40);
    CHECK(sample.n_runs >= 36 && sample.n_runs <= 46);
    for (uint32_t i = 0; i < COUNT; i++)
        CHECK_STR(lines[order[sample.entries[sample.run_of[i]]]], lines[order[i]]);
    CHECK_INT(run_size(sample.run_of[COUNT - 1 - 777], COUNT), 1);
    CHECK_INT(run_size(sample.run_of[COUNT - 1 - 888], COUNT), 1);
    CHECK_INT(run_size(sample.run_of[COUNT - 1 - 999], COUNT), 1);
    for (uint32_t run = 0; run < sample.n_runs; run++)
        CHECK(run_size(run, COUNT) <= 60);
    levels[999] = 0;
}

/* Of very many lines some are asked for their shape; all belong to a run. */
static void very_many_lines(void) {
    uint32_t kinds[2] = {0};
    for (uint32_t i = 0; i < ENTRIES_MAX; i++)
        lines[i] = i % 4 ? STR("two words") : STR("a longer line with key=\"value\"");
    take(ENTRIES_MAX, 40);
    CHECK(sample.n_runs >= 36 && sample.n_runs <= 46);
    for (uint32_t i = 0; i < ENTRIES_MAX; i++)
        kinds[lines[order[sample.entries[sample.run_of[i]]]].size > 9]++;
    CHECK(kinds[1] > ENTRIES_MAX / 5 && kinds[1] < ENTRIES_MAX / 3);
    CHECK_INT(kinds[0] + kinds[1], ENTRIES_MAX);
}

/* More shapes than are told apart share the last one; lines longer than what is looked at. */
static void many_shapes(void) {
    static char text[4000];
    memset(text, ' ', sizeof(text));
    for (uint32_t i = 0; i < sizeof(text); i += 3)
        text[i] = '=';
    for (uint32_t i = 0; i < 3000; i++)
        lines[i] = str_make(text, i);
    take(3000, 40);
    CHECK(sample.n_runs >= SAMPLE_SHAPES_MAX && sample.n_runs <= 40 + SAMPLE_SHAPES_MAX);
    take(2, 40);
    CHECK_INT(sample.n_runs, 2);
    take(1, 1);
    CHECK_INT(sample.n_runs, 1);
}

int main(void) {
    RUN(even_runs);
    RUN(shapes_are_kept_apart);
    RUN(very_many_lines);
    RUN(many_shapes);
    return test_done();
}
