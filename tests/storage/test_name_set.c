/* Names of labels and their values, found without a look at each stream, against those of all label sets. Streams stand
 * in memory, in the index, in both; some are out of the range, some have expired; values are longer than a key. */
#include "name_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "store.h"
#include "test.h"
#include "units.h"

enum { STREAMS = 120, LONG = 700 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)

static char directory[256];
static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static void on_done(void *ctx, int status) {
    (void)ctx;
    (void)status;
}

/* Stream `number`: "only<n>" stands in few streams, "long" has values that share their first 600 bytes. */
static void append(struct store *s, unsigned number) {
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
    struct stream *stream;
    if (store_stream(s, tenant, labels, STR(""), &stream, NULL) < 0)
        abort();
    struct entry e = {.ts_ns = BASE_NS + number * NS_PER_MIN, .line = STR("a line")};
    struct batch_stream part = {.stream = stream, .entries = &e, .count = 1};
    struct batch batch = {.tenant = tenant, .streams = &part, .n_streams = 1};
    CHECK_INT(store_append(s, &batch, on_done, NULL, NULL), 0);
    store_unpin(s, stream);
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

static void compare(struct store *s, const struct select *sel, struct str label) {
    struct name_set want, got;
    name_set_init(&want, BUDGET_NONE, 1 << 20);
    name_set_init(&got, BUDGET_NONE, 1 << 20);
    struct model m = {.set = &want, .label = label};
    CHECK_INT(store_series(s, sel, add_all, &m, NULL), 0);
    CHECK_INT(store_names(s, sel, label, &got, NULL), 0);
    name_set_sort(&want);
    name_set_sort(&got);
    CHECK_INT(got.count, want.count);
    for (size_t i = 0; i < got.count && i < want.count; i++)
        CHECK_STR(got.items[i], want.items[i]);
    name_set_done(&want);
    name_set_done(&got);
}

static void compare_ranges(struct store *s) {
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
            compare(s, &sel, str_from(labels[i]));
        struct matcher m = {.op = MATCH_EQ, .name = STR("group"), .value = STR("g1")};
        sel.matchers = &m;
        sel.n_matchers = 1;
        compare(s, &sel, (struct str){0});
        compare(s, &sel, STR("n"));
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

static struct store *open_store(void) {
    struct store_options o = {.data_dir = directory, .wal = {.sync = WAL_SYNC_OFF}};
    struct store *s = NULL;
    if (store_open(&o, &s, NULL) < 0)
        abort();
    return s;
}

static void names_are_those_of_all_series(void) {
    (void)snprintf(directory, sizeof(directory), "%s/logq-names-XXXXXX",
                   getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(directory))
        abort();
    struct store *s = open_store();
    compare_ranges(s); /* no tenant at all */
    for (unsigned i = 0; i < STREAMS; i++)
        append(s, i);
    compare_ranges(s); /* all in memory */
    CHECK_INT(store_flush(s, NULL), 0);
    compare_ranges(s); /* in both */
    store_set_visibility(s, visible, NULL);
    compare_ranges(s);
    store_set_visibility(s, NULL, NULL);
    store_close(s);
    s = open_store();
    compare_ranges(s); /* in the index alone */
    for (unsigned i = STREAMS / 2; i < STREAMS + 20; i += 3)
        append(s, i);
    store_set_visibility(s, visible, NULL);
    compare_ranges(s);
    store_close(s);
    char command[300];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    if (system(command) != 0)
        abort();
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
