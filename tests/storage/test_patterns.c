#include "patterns.h"

#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "test.h"
#include "units.h"

enum { ENTRIES_MAX = 20000 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)

static struct pattern_miner *miner;
static int64_t times[ENTRIES_MAX];
static struct str lines[ENTRIES_MAX];
static uint32_t meta_ids[ENTRIES_MAX];
static struct label levels[4];
static struct labels sets[5];
static uint32_t count;
static struct arena texts, decoded;
static struct buf raw, text;
static struct pattern_list list;

static void reset(void) {
    static const char *const names[] = {"info", "ERROR", "strange", "warn"};
    arena_reset(&texts);
    count = 0;
    for (size_t i = 0; i < 4; i++) {
        levels[i] = (struct label){STR("detected_level"), str_from(names[i])};
        sets[i + 1] = (struct labels){.items = &levels[i], .count = 1};
    }
}

static void add(int64_t ts_ns, uint32_t set, const char *format, unsigned number) {
    char line[256];
    int n = snprintf(line, sizeof(line), format, number);
    times[count] = ts_ns;
    lines[count] = arena_copy(&texts, str_make(line, (size_t)n));
    meta_ids[count++] = set;
}

/* Mines and decodes; the raw bytes stay in `raw`. */
static void mine(const uint32_t *order, bool thorough) {
    struct block_input in = {.count = count,
                             .times = times,
                             .lines = lines,
                             .meta_ids = meta_ids,
                             .meta_sets = sets,
                             .n_meta_sets = 5};
    struct err err = {0};
    buf_clear(&raw);
    arena_reset(&decoded);
    list = (struct pattern_list){0};
    CHECK_INT(patterns_mine(miner, &in, order, thorough, &raw), 0);
    if (raw.size > 0)
        CHECK_INT(patterns_decode(buf_str(&raw), &decoded, &list, &err), 0);
}

static struct str shown(uint32_t i) {
    buf_clear(&text);
    if (i < list.count)
        pattern_text(list.entries[i].text, list.entries[i].is_part, &text);
    return buf_str(&text);
}

static uint64_t total(uint32_t i) {
    uint64_t sum = 0;
    for (uint32_t k = 0; i < list.count && k < list.entries[i].n_cells; k++)
        sum += list.entries[i].cells[k].count;
    return sum;
}

/* Few lines: every one counts, in its bucket, under its level. */
static void small_blocks_are_exact(void) {
    reset();
    for (unsigned i = 0; i < 60; i++)
        add(BASE_NS + i * NS_PER_S, 1, "user %u logged in", i);
    for (unsigned i = 0; i < 9; i++)
        add(BASE_NS + (60 + i) * NS_PER_S, 2, "{\"msg\":\"lost %u packets\",\"a\":1}", i);
    add(BASE_NS + 70 * NS_PER_S, 3, "seen once at 12:30:01 by host-1", 0);
    add(BASE_NS + 71 * NS_PER_S, 0, "nothing", 0);
    mine(NULL, false);
    CHECK_INT(list.count, 3);
    CHECK_INT(list.width_ns, 10 * NS_PER_S);
    CHECK_STR(shown(0), STR("user <_> logged in"));
    CHECK_INT(list.entries[0].level, PATTERN_INFO);
    CHECK_INT(list.entries[0].hits, 60);
    CHECK_INT(list.entries[0].n_cells, 6);
    for (uint32_t k = 0; k < 6; k++) {
        CHECK_INT(list.entries[0].cells[k].start_ns, BASE_NS + k * 10 * NS_PER_S);
        CHECK_INT(list.entries[0].cells[k].count, 10);
    }
    CHECK_STR(shown(1), STR("<_>lost <_> packets<_>"));
    CHECK_INT(list.entries[1].level, PATTERN_ERROR);
    CHECK_INT(total(1), 9);
    CHECK_STR(shown(2), STR("seen once at <_> by host-1"));
    CHECK_INT(list.entries[2].level, PATTERN_UNKNOWN);
}

static void entries_may_come_in_any_order(void) {
    static uint32_t order[100];
    reset();
    for (unsigned i = 0; i < 100; i++)
        add(BASE_NS + (i * 37 % 100) * NS_PER_S, 1, "user %u logged in", i);
    for (unsigned i = 0; i < 100; i++)
        order[i * 37 % 100] = i;
    mine(order, false);
    CHECK_INT(list.count, 1);
    CHECK_INT(list.entries[0].n_cells, 10);
    CHECK_INT(list.entries[0].cells[9].start_ns, BASE_NS + 90 * NS_PER_S);
    CHECK_INT(total(0), 100);
}

/* Buckets get wider with the block's span, and nothing is lost. */
static void wide_blocks(void) {
    static const struct {
        int64_t span_s, width_s;
    } cases[] = {
        {0, 10},     {319, 10},     {320, 30},       {3599, 300},
        {9600, 600}, {86399, 3600}, {691200, 86400}, {INT64_C(86400) * 3650, 86400 * 128},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        reset();
        for (unsigned i = 0; i < 100; i++)
            add(BASE_NS + cases[c].span_s * i / 99 * NS_PER_S, 1, "user %u logged in", i);
        mine(NULL, false);
        CHECK_INT(list.width_ns, cases[c].width_s * NS_PER_S);
        CHECK_INT(total(0), 100);
        CHECK(list.entries[0].n_cells <= PATTERNS_SPAN_BUCKETS + 1);
    }
    reset();
    add(INT64_MIN, 1, "user %u logged in", 1);
    add(INT64_MAX, 1, "user %u logged in", 2);
    mine(NULL, false);
    CHECK_INT(total(0), 2);
}

/* A sample, even of lines that take turns, is near the truth, and all lines are counted where they are. */
static void large_blocks_are_sampled(void) {
    reset();
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        add(BASE_NS + (int64_t)i * NS_PER_S / 100, 1,
            i % 2 ? "user %u logged in" : "disk is %u full", i);
    for (int thorough = 0; thorough < 2; thorough++) {
        mine(NULL, thorough);
        CHECK_INT(list.count, 2);
        CHECK_INT(total(0) + total(1), ENTRIES_MAX);
        CHECK(total(1) > ENTRIES_MAX / 4);
        if (!thorough)
            CHECK(list.entries[0].hits + list.entries[1].hits <= PATTERNS_ALL_LINES);
        uint64_t per_bucket[20] = {0};
        for (uint32_t i = 0; i < 2; i++)
            for (uint32_t k = 0; k < list.entries[i].n_cells; k++)
                per_bucket[(list.entries[i].cells[k].start_ns - BASE_NS) / (10 * NS_PER_S)] +=
                    list.entries[i].cells[k].count;
        for (unsigned b = 0; b < 20; b++)
            CHECK_INT(per_bucket[b], 1000);
    }
}

/* Whatever the lines: what is kept has a limit, and the most frequent patterns are kept. */
static void size_is_limited(void) {
    reset();
    for (unsigned i = 0; i < 120; i++) {
        char rare[] = "?? is a word that leads to a group of its own, which is long, long, long %u";
        rare[0] = (char)('a' + i % 26);
        rare[1] = (char)('a' + i / 26);
        add(BASE_NS + i * NS_PER_S, i % 3, i % 4 ? rare : "often seen %u", i);
    }
    mine(NULL, false);
    uint32_t kept = list.count;
    CHECK(kept > 5);
    CHECK(raw.size <= PATTERNS_BYTES_MIN + 120 * 100 / PATTERNS_BYTES_SHARE + 40);
    CHECK(total(0) >= total(1) && total(1) >= total(2));
    mine(NULL, true);
    CHECK(list.count > kept);
}

static void nothing_to_find(void) {
    reset();
    add(BASE_NS, 1, "", 0);
    add(BASE_NS, 1, "word", 0);
    mine(NULL, false);
    CHECK_INT(raw.size, 0);
}

/* No prefix of a section is a section, and no change of it reads out of bounds. */
static void damage(void) {
    reset();
    for (unsigned i = 0; i < 100; i++)
        add(BASE_NS + i * NS_PER_S, i % 5,
            i % 3 ? "user %u logged in" : "{\"msg\":\"disk %u full\"}", i);
    mine(NULL, false);
    struct err err;
    for (size_t n = 0; n < raw.size; n++) {
        char *cut = malloc(n + 1);
        memcpy(cut, raw.data, n);
        CHECK_INT(patterns_decode(str_make(cut, n), &decoded, &list, &err), -ECORRUPT);
        free(cut);
    }
    buf_add_char(&raw, 'x');
    CHECK_INT(patterns_decode(buf_str(&raw), &decoded, &list, &err), -ECORRUPT);
    raw.data[0] = 2;
    CHECK_INT(patterns_decode(buf_str(&raw), &decoded, &list, &err), -EFORMAT);
}

static void texts_are_valid_filters(void) {
    static const struct {
        const char *template_text;
        bool is_part;
        const char *want;
    } cases[] = {
        {"a \x01 b", false, "a <_> b"},
        {"\x01\x01 b\x01", false, "<_> b<_>"},
        {"\x01 b \x01", true, "<_> b <_>"},
        {"b", true, "<_>b<_>"},
        {"\x01", true, "<_>"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&text);
        pattern_text(str_from(cases[i].template_text), cases[i].is_part, &text);
        CHECK_STR(buf_str(&text), str_from(cases[i].want));
    }
}

int main(void) {
    miner = pattern_miner_new();
    texts = arena_make(64 << 20);
    decoded = arena_make(64 << 20);
    raw = text = buf_make(1 << 20);
    RUN(small_blocks_are_exact);
    RUN(entries_may_come_in_any_order);
    RUN(wide_blocks);
    RUN(large_blocks_are_sampled);
    RUN(size_is_limited);
    RUN(nothing_to_find);
    RUN(damage);
    RUN(texts_are_valid_filters);
    pattern_miner_free(miner);
    arena_done(&texts);
    arena_done(&decoded);
    buf_done(&raw);
    buf_done(&text);
    return test_done();
}
