/* Names of labels and their values, found without a look at each stream, against those of all label sets. Streams stand
 * in memory, in the index, in both; some are out of the range, some have expired; values are longer than a key. */
#include "name_set.h"

#include "clock.h"
#include "store_world.h"
#include "test_random.h"
#include "units.h"

enum { STREAMS = 120, LONG = 700 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)

static struct store_world world;

/* Stream `number`: "only<n>" stands in few streams, "long" has values that share their first 600 bytes. */
static void append(unsigned number) {
    static char long_value[LONG];
    char n[16], group[16], only[16];
    (void)snprintf(n, sizeof(n), "%u", number);
    (void)snprintf(group, sizeof(group), "g%u", number % 5);
    (void)snprintf(only, sizeof(only), "only%u", number / 40);
    memset(long_value, 'x', sizeof(long_value));
    long_value[LONG - 1] = (char)('a' + number % 7);
    struct label items[] = {{STR("group"), str_from(group)},
                            {STR("long"), str_make(long_value, LONG)},
                            {STR("n"), str_from(n)},
                            {str_from(only), STR("1")}};
    struct labels labels = {.items = items, .count = number % 3 == 0 ? 4 : 3};
    struct str tenant = number % 10 == 9 ? STR("other") : STR("t");
    struct entry e = {.ts_ns = BASE_NS + number * NS_PER_MIN, .line = STR("a line")};
    CHECK_INT(world_append(world.store, tenant, labels, &e, 1), 0);
}

struct model {
    struct name_set *set;
    struct str label;
};

static int add_all(struct labels labels, void *ctx) {
    struct model *m = ctx;
    for (size_t i = 0; i < labels.count; i++)
        if (!m->label.data)
            CHECK(name_set_add(m->set, labels.items[i].name) >= 0);
        else if (str_eq(labels.items[i].name, m->label))
            CHECK(name_set_add(m->set, labels.items[i].value) >= 0);
    return 0;
}

static void compare(const struct select *sel, struct str label) {
    struct name_set want, got;
    name_set_init(&want, BUDGET_NONE, 1 << 20);
    name_set_init(&got, BUDGET_NONE, 1 << 20);
    struct model m = {.set = &want, .label = label};
    CHECK_INT(store_series(world.store, sel, add_all, &m, NULL), 0);
    CHECK_INT(store_names(world.store, sel, label, &got, NULL), 0);
    name_set_sort(&want);
    name_set_sort(&got);
    CHECK_INT(got.count, want.count);
    for (size_t i = 0; i < got.count && i < want.count; i++)
        CHECK_STR(got.items[i], want.items[i]);
    name_set_done(&want);
    name_set_done(&got);
}

static void compare_ranges(void) {
    static const char *const labels[] = {NULL, "group", "long", "n", "only0", "only2", "none", ""};
    for (unsigned round = 0; round < 60 && test_case_failures == 0; round++) {
        int64_t from = (int64_t)random_below(STREAMS + 40) - 20;
        struct select sel = {.tenant = round % 4 == 3   ? STR("other")
                                       : round % 4 == 2 ? STR("t|other")
                                                        : STR("t"),
                             .start_ns = BASE_NS + from * NS_PER_MIN,
                             .end_ns = BASE_NS + (from + (int64_t)random_below(50)) * NS_PER_MIN};
        if (round % 10 == 0)
            sel.start_ns = 0, sel.end_ns = INT64_MAX;
        for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
            compare(&sel, str_from(labels[i]));
        struct matcher m = {.op = MATCH_EQ, .name = STR("group"), .value = STR("g1")};
        sel.matchers = &m;
        sel.n_matchers = 1;
        compare(&sel, (struct str){0});
        compare(&sel, STR("n"));
    }
}

/* Every fourth stream has expired. */
static int64_t visible(void *ctx, struct str tenant, struct labels labels) {
    (void)ctx;
    (void)tenant;
    uint64_t n = 0;
    (void)u64_parse(labels_get(labels, STR("n")), &n);
    return n % 4 == 1 ? INT64_MAX : INT64_MIN;
}

static void open_store(void) {
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
}

static void names_are_those_of_all_series(void) {
    world_begin(&world);
    open_store();
    compare_ranges(); /* no tenant at all */
    for (unsigned i = 0; i < STREAMS; i++)
        append(i);
    compare_ranges(); /* all in memory */
    CHECK_INT(store_flush(world.store, NULL), 0);
    compare_ranges(); /* in both */
    store_set_visibility(world.store, visible, NULL);
    compare_ranges();
    store_set_visibility(world.store, NULL, NULL);
    world_close(&world);
    open_store();
    compare_ranges(); /* in the index alone */
    for (unsigned i = STREAMS / 2; i < STREAMS + 20; i += 3)
        append(i);
    store_set_visibility(world.store, visible, NULL);
    compare_ranges();
    world_end(&world);
}

static void names_stand_once(void) {
    struct name_set n;
    name_set_init(&n, BUDGET_NONE, 1 << 20);
    CHECK_INT(name_set_add(&n, STR("b")), 1);
    CHECK_INT(name_set_add(&n, STR("a")), 1);
    CHECK_INT(name_set_add(&n, STR("b")), 0);
    CHECK(name_set_have(&n, STR("a")) && !name_set_have(&n, STR("c")));
    name_set_sort(&n);
    CHECK_INT(n.count, 2);
    CHECK_STR(n.items[0], STR("a"));
    name_set_done(&n);
}

int main(void) {
    RUN(names_stand_once);
    RUN(names_are_those_of_all_series);
    return test_done();
}
