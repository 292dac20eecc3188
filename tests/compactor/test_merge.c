/* merge: what is chosen, as a table; that rounds of it end, whatever the sizes, and write each byte a few times only; and
 * rounds over a real store. */
#include "merge.h"

#include "clock.h"
#include "compactor.h"
#include "store_world.h"
#include "units.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define TODAY_NS (20000 * NS_PER_DAY + 5 * NS_PER_HOUR)

static const struct merge_policy policy = {.target_bytes = MIB(32), .settle_ns = 2 * NS_PER_HOUR};

enum { CHUNKS_MAX = 4000 };

struct spec {
    uint64_t bytes;
    unsigned count;
    enum merge_grade grade;
};

static size_t make_chunks(const struct spec *specs, int32_t day, struct index_chunk *out) {
    size_t n = 0;
    for (const struct spec *s = specs; s->count > 0; s++)
        for (unsigned i = 0; i < s->count; i++, n++)
            out[n] = (struct index_chunk){.chunk_seq = n + 1,
                                          .day = day,
                                          .grade = (uint8_t)s->grade,
                                          .sums.file_bytes = s->bytes};
    return n;
}

static void choices(void) {
    static struct index_chunk chunks[CHUNKS_MAX];
    static struct merge_choice got;
    static const struct {
        const char *name;
        int32_t day;
        struct spec specs[8];
        size_t want;
        enum merge_grade want_grade;
    } cases[] = {
        {"nothing", 20000, {{0}}, 0, 0},
        {"today, a few", 20000, {{KIB(100), 7, 0}}, 0, 0},
        {"today, a tier", 20000, {{KIB(100), 8, 0}}, 8, GRADE_JOINED},
        {"today, two tiers, none full", 20000, {{KIB(10), 7, 0}, {MIB(2), 7, 0}}, 0, 0},
        {"today, the lower tier", 20000, {{KIB(10), 9, 0}, {MIB(2), 9, 0}}, 9, GRADE_JOINED},
        {"today, large ones stay", 20000, {{MIB(17), 50, 0}}, 0, 0},
        {"today, a rewrite's size", 20000, {{MIB(15), 50, 1}}, 8, GRADE_JOINED},
        {"today, a rewrite's number", 20000, {{KIB(1), 3000, 0}}, 1024, GRADE_JOINED},
        {"yesterday, not settled yet", 19999, {{KIB(1), 1, 0}}, 1, GRADE_SETTLED},
        {"the day before", 19998, {{KIB(1), 3, 0}, {MIB(20), 1, 0}}, 4, GRADE_SETTLED},
        {"settled", 19998, {{MIB(20), 1, 2}}, 0, 0},
        {"settled, one small", 19998, {{MIB(20), 1, 2}, {KIB(1), 1, 2}}, 0, 0},
        {"settled, not worth it", 19998, {{MIB(10), 1, 2}, {MIB(1), 2, 2}}, 2, GRADE_SETTLED},
        {"settled, worth it", 19998, {{MIB(10), 1, 2}, {MIB(2), 2, 2}}, 3, GRADE_SETTLED},
        {"settled, none worth it", 19998, {{MIB(10), 1, 2}, {MIB(1), 1, 2}}, 0, 0},
        {"settled, many", 19998, {{MIB(10), 1, 2}, {KIB(1), 7, 2}}, 8, GRADE_SETTLED},
        {"late, alone", 19998, {{MIB(10), 1, 2}, {KIB(1), 1, 0}}, 1, GRADE_SETTLED},
        {"late, much", 19998, {{MIB(10), 1, 2}, {MIB(3), 1, 0}}, 2, GRADE_SETTLED},
        {"late, behind much that is settled",
         19998,
         {{MIB(15), 20, 2}, {MIB(4), 1, 0}},
         1,
         GRADE_SETTLED},
        {"larger than a rewrite", 19998, {{MIB(300), 1, 0}}, 1, GRADE_SETTLED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = make_chunks(cases[i].specs, cases[i].day, chunks);
        merge_choose(chunks, n, &policy, TODAY_NS, MIB(10000), &got);
        if (got.n != cases[i].want || (got.n > 0 && got.grade != cases[i].want_grade))
            printf("  case: %s\n", cases[i].name);
        CHECK_INT(got.n, cases[i].want);
        CHECK(got.n == 0 || got.grade == cases[i].want_grade);
        for (size_t k = 1; k < got.n; k++)
            CHECK(got.picked[k] > got.picked[k - 1]);
    }
    /* No room on the disk: nothing, or less. */
    size_t n = make_chunks((struct spec[]){{MIB(4), 10, 0}, {0}}, 19998, chunks);
    merge_choose(chunks, n, &policy, TODAY_NS, MIB(13), &got);
    CHECK_INT(got.n, 3);
    merge_choose(chunks, n, &policy, TODAY_NS, MIB(3), &got);
    CHECK_INT(got.n, 0);
    struct merge_policy all = policy;
    all.everything = true;
    n = make_chunks((struct spec[]){{KIB(4), 2, 0}, {0}}, 20000, chunks);
    merge_choose(chunks, n, &all, TODAY_NS, MIB(1000), &got);
    CHECK_INT(got.n, 2);
}

/* Replaces the chosen by files of the target's size. */
static size_t apply(struct index_chunk *chunks, size_t n, const struct merge_choice *choice,
                    uint64_t *written) {
    uint64_t sum = 0;
    size_t kept = 0;
    int32_t day = chunks[0].day;
    for (size_t i = 0, k = 0; i < n; i++) {
        if (k < choice->n && choice->picked[k] == i) {
            sum += chunks[i].sums.file_bytes;
            k++;
        } else {
            chunks[kept++] = chunks[i];
        }
    }
    *written += sum;
    while (sum > 0) {
        uint64_t bytes = sum < policy.target_bytes ? sum : policy.target_bytes;
        chunks[kept++] = (struct index_chunk){
            .day = day, .grade = (uint8_t)choice->grade, .sums.file_bytes = bytes};
        sum -= bytes;
    }
    return kept;
}

/* A day's flushes, a round after each; then the day is over, then some come late. */
static void a_day(uint64_t flush_bytes, unsigned flushes, double *ret_written, size_t *ret_most,
                  size_t *ret_files) {
    static struct index_chunk chunks[CHUNKS_MAX];
    static struct merge_choice choice;
    uint64_t written = 0, flushed = 0;
    size_t n = 0;
    *ret_most = 0;
    for (unsigned i = 0; i < flushes + 40; i++) {
        bool late = i >= flushes;
        chunks[n++] = (struct index_chunk){.day = 20000, .sums.file_bytes = flush_bytes};
        flushed += flush_bytes;
        int64_t now_ns = TODAY_NS + (late ? 2 * NS_PER_DAY : 0);
        int rounds = 0;
        for (;; rounds++) {
            merge_choose(chunks, n, &policy, now_ns, MIB(100000), &choice);
            if (choice.n == 0 || rounds == 1000)
                break;
            n = apply(chunks, n, &choice, &written);
        }
        CHECK(rounds < 1000);
        if (n > *ret_most)
            *ret_most = n;
    }
    *ret_files = n;
    *ret_written = (double)written / (double)flushed;
}

static void bytes_are_written_a_few_times(void) {
    static const struct {
        uint64_t bytes;
        unsigned flushes;
    } days[] = {{KIB(2), 48}, {KIB(100), 100}, {KIB(1536), 200}, {KIB(1536), 2000}, {MIB(40), 100}};
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        double written;
        size_t most, files;
        a_day(days[i].bytes, days[i].flushes, &written, &most, &files);
        printf("  %u flushes of %llu KiB: written %.1f times, at most %zu files, in the end %zu\n",
               days[i].flushes, (unsigned long long)days[i].bytes >> 10, written, most, files);
        CHECK(written < 9);
        uint64_t all = days[i].bytes * (days[i].flushes + 40);
        CHECK(files <= all / MIB(14) + 8);
        CHECK(most <= all / MIB(14) + 60);
    }
}

/* ---- a real store */

enum { PER_PUSH = 20 };

static void push(struct store *s, const char *app, int64_t ts_ns) {
    struct entry entries[PER_PUSH];
    for (int i = 0; i < PER_PUSH; i++)
        entries[i] = (struct entry){.ts_ns = ts_ns + i, .line = STR("a line of text")};
    CHECK_INT(world_append_app(s, STR("t"), app, entries, PER_PUSH), 0);
}

static uint64_t count_entries(struct store *s) {
    return world_count(s, STR("t"), NULL);
}

/* Three streams, four days, six flushes a day; one push of each day comes twice. The compactor's rounds leave a file per
 * stream and day, today's ones only when asked. */
static void rounds_over_a_store(void) {
    struct store_world world;
    struct err err = {0};
    world_begin(&world);
    struct store *s = world_open(&world, (struct store_options){0});
    static const char *const apps[] = {"a", "b", "c"};
    int64_t midnight_ns = clock_now_ns() / NS_PER_DAY * NS_PER_DAY;
    for (int flush = 0; flush < 6; flush++) {
        for (int day = 0; day < 4; day++)
            for (int app = 0; app < 3; app++)
                push(s, apps[app], midnight_ns - day * NS_PER_DAY + (flush % 5) * NS_PER_S);
        CHECK_INT(store_flush(s, &err), 0);
    }
    const uint64_t entries = 5 * 4 * 3 * PER_PUSH;
    CHECK_INT(world_index_stats(s).chunks, 6 * 4 * 3);
    CHECK_INT(count_entries(s), entries);
    struct compactor *c = NULL;
    struct compactor_options co = {.merge_policy = {.settle_ns = 1}};
    CHECK_INT(compactor_start(s, NULL, &co, &c, &err), 0);
    struct merge_result got;
    CHECK_INT(compactor_merge_once(c, false, &got, &err), 0);
    CHECK_INT(got.rewrites, 9);
    CHECK_INT(got.sums.duplicates, 9 * PER_PUSH);
    CHECK_INT(world_index_stats(s).chunks, 9 + 6 * 3);
    CHECK_INT(count_entries(s), entries);
    CHECK_INT(compactor_merge_once(c, true, &got, &err), 0);
    CHECK_INT(got.rewrites, 3);
    CHECK_INT(world_index_stats(s).chunks, 4 * 3);
    CHECK_INT(count_entries(s), entries);
    CHECK_INT(compactor_merge_once(c, true, &got, &err), 0);
    CHECK_INT(got.rewrites, 0);
    struct compactor_stats stats;
    compactor_get_stats(c, &stats);
    CHECK_INT(stats.merge_rounds, 3);
    CHECK_INT(stats.merges.rewrites, 12);
    CHECK_INT(stats.merges.sums.sources, 6 * 4 * 3);
    compactor_stop(c);
    CHECK_INT(store_reap(s), 0);
    CHECK_INT(store_sweep_orphans(s, &err), 0);
    world_close(&world);
    CHECK_INT(count_entries(world_open(&world, (struct store_options){0})), entries);
    world_end(&world);
}

int main(void) {
    RUN(choices);
    RUN(bytes_are_written_a_few_times);
    RUN(rounds_over_a_store);
    return test_done();
}
