/* rows: entries keep their metadata whatever way its set was found. */
#include <stdio.h>
#include <stdlib.h>

#include "rows.h"
#include "test.h"
#include "test_random.h"

enum { PAIRS = 40, ENTRIES = 3000 };

static struct label pairs[PAIRS];

/* Some of one array, so that addresses meet in the table of recent ones, with other counts, too. Equal sets have one id. */
static void add_at_random(bool with_recent) {
    static struct entry entries[ENTRIES];
    struct rows_builder b = {0};
    struct rows_recent recent = {0};
    uint32_t meta_bytes = 0;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint32_t first = (uint32_t)random_next() % PAIRS;
        entries[i] = (struct entry){.ts_ns = i, .line = STR("x"), .meta = &pairs[first]};
        entries[i].meta_count = (uint32_t)random_next() % (first + 4 <= PAIRS ? 4 : 2);
        CHECK_INT(rows_add(&b, &entries[i], with_recent ? &recent : NULL), 1);
        meta_bytes += labels_bytes((struct labels){entries[i].meta, entries[i].meta_count});
    }
    CHECK_INT(b.count, ENTRIES);
    CHECK_INT(b.meta_bytes, meta_bytes);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct labels want = {entries[i].meta, entries[i].meta_count};
        CHECK(labels_eq(*b.rows->sets[b.rows->meta_ids[i]], want));
        for (uint32_t k = 0; k < 20 && k < i; k++)
            CHECK((b.rows->meta_ids[i] == b.rows->meta_ids[k]) ==
                  labels_eq(want, (struct labels){entries[k].meta, entries[k].meta_count}));
    }
    rows_builder_done(&b);
}

static void test_metadata(void) {
    static char names[PAIRS][8];
    for (int i = 0; i < PAIRS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "n%d", i % 30);
        pairs[i] = (struct label){str_from(names[i]), STR("value")};
    }
    add_at_random(false);
    add_at_random(true);
}

/* Entries by runs, where there are some, and one by one: in both ways as a block that is filled one by one. */
static void test_runs(void) {
    static char text[1 << 16];
    static struct entry entries[ENTRIES];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + random_next() % 26);
    int64_t ts_ns = 0;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        ts_ns += (int64_t)(random_next() % 50) - (random_next() % 40 == 0 ? 60 : 0);
        size_t size = random_next() % (random_next() % 10 == 0 ? 700 : 140);
        entries[i] = (struct entry){.ts_ns = ts_ns, .meta = &pairs[random_next() % 12]};
        entries[i].line = str_make(text + random_next() % (sizeof(text) - size), size);
        entries[i].meta_count = random_next() % 50 > 0;
        if (random_next() % 30 == 0)
            entries[i] = entries[i / 2];
    }
    struct rows_builder one = {0}, runs = {0};
    struct rows_recent recent = {0};
    size_t in_runs = 0;
    for (uint32_t i = 0; i < ENTRIES;) {
        uint32_t upto = i + 1 + (uint32_t)random_next() % 100;
        upto = upto < ENTRIES ? upto : ENTRIES;
        CHECK_INT(rows_reserve(&runs, entries + i, random_next() % 2 ? upto - i : 1), 0);
        while (i < upto) {
            size_t n = rows_add_run(&runs, entries + i, upto - i, &recent);
            in_runs += n;
            for (size_t k = 0; k < n; k++)
                CHECK_INT(rows_add(&one, &entries[i + k], NULL), 1);
            i += (uint32_t)n;
            if (i < upto) {
                CHECK_INT(rows_add(&runs, &entries[i], &recent), rows_add(&one, &entries[i], NULL));
                i++;
            }
        }
    }
    CHECK(in_runs > 0);
    CHECK_INT(runs.count, one.count);
    CHECK_INT(runs.line_bytes, one.line_bytes);
    CHECK_INT(runs.meta_bytes, one.meta_bytes);
    CHECK(runs.min_ns == one.min_ns && runs.max_ns == one.max_ns && runs.sorted == one.sorted);
    for (uint32_t i = 0; i < one.count; i++) {
        CHECK(runs.rows->times[i] == one.rows->times[i]);
        CHECK_STR(rows_line(runs.rows, i), rows_line(one.rows, i));
        CHECK_INT(runs.rows->lines[runs.rows->offsets[i + 1] - 1], '\n');
        CHECK_INT(runs.rows->meta_ids[i], one.rows->meta_ids[i]);
    }
    rows_builder_done(&one);
    rows_builder_done(&runs);
}

/* A run ends where the block is full. */
static void test_full_by_run(void) {
    static char text[1000];
    static struct entry entries[ENTRIES];
    struct rows_builder b = {0};
    struct rows_recent recent = {0};
    for (uint32_t i = 0; i < ENTRIES; i++)
        entries[i] = (struct entry){.ts_ns = i, .line = str_make(text, sizeof(text))};
    CHECK_INT(rows_reserve(&b, entries, ENTRIES), 0);
    CHECK_INT(rows_add_run(&b, entries, ENTRIES, &recent),
              0); /* nobody knows what is later than nothing */
    CHECK_INT(rows_add(&b, entries, &recent), 1);
    for (uint32_t i = 1; !rows_are_full(&b);) {
        i += (uint32_t)rows_add_run(&b, entries + i, ENTRIES - i, &recent);
        if (!rows_are_full(&b))
            CHECK_INT(rows_add(&b, &entries[i++], &recent), 1);
        CHECK_INT(b.count, i);
    }
    CHECK_INT(b.count, (BLOCK_RAW_TARGET + sizeof(text) - 1) / sizeof(text));
    CHECK_INT(rows_add_run(&b, entries + b.count, 1, &recent), 0);
    rows_builder_done(&b);
}

int main(void) {
    RUN(test_metadata);
    RUN(test_runs);
    RUN(test_full_by_run);
    return test_done();
}
