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

int main(void) {
    RUN(test_metadata);
    return test_done();
}
