/* Forty days of a store under a simulated clock: three tenants, five kinds of streams, each day pushed, flushed, merged and
 * passed over by retention. After each day exactly what should be there is there, to the entry; budgets are held to
 * within one chunk; what goes for space is the oldest; the plan says before what the pass then does. */
#include "budget.h"
#include "compactor.h"
#include "store_world.h"
#include "units.h"

enum { DAYS = 40, TENANTS = 3, KINDS = 5, PER_DAY = 24, FLUSHES = 3 };

#define FIRST_DAY 20000
#define FIRST_NS (FIRST_DAY * NS_PER_DAY)

static const char *const tenants[TENANTS] = {"anna", "bert", "cleo"};
static const char *const kinds[KINDS] = {"web", "db", "audit", "debug", "batch"};

/* Periods in days: by rule, or the default of 20; 0 = for ever. anna's debug has a rule of its own. */
static int period_days(int tenant, int kind) {
    static const int days[KINDS] = {7, 20, 0, 2, 20};
    return tenant == 0 && kind == 3 ? 3 : days[kind];
}

static int64_t now_ns;

#define TEXT(literal)                                                                              \
    { "" literal, sizeof(literal) - 1 }
#define MATCH(value_)                                                                              \
    {                                                                                              \
        { .op = MATCH_EQ, .name = TEXT("app"), .value = TEXT(value_) }                             \
    }
static const struct matcher web[] = MATCH("web"), audit[] = MATCH("audit"),
                            debug[] = MATCH("debug"), batch[] = MATCH("batch");

static int64_t visible_from(void *ctx, struct str tenant, struct labels labels) {
    int64_t period_ns = retention_period(ctx, tenant, labels);
    return period_ns > 0 ? now_ns - period_ns : INT64_MIN;
}

/* ---- pushing and reading */

static int64_t entry_ns(int day, int number) {
    return FIRST_NS + day * NS_PER_DAY + number * (NS_PER_DAY / PER_DAY);
}

static void push(struct store *s, int tenant, int kind, int day, int from, int to) {
    static char lines[PER_DAY][1200];
    struct entry entries[PER_DAY];
    uint64_t random = (uint64_t)(day * 1000 + tenant * 100 + kind * 10 + 1);
    for (int i = from; i < to; i++) {
        int size = snprintf(lines[i], sizeof(lines[i]), "%d %d ", day, i);
        for (; size < 1000; size++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            lines[i][size] = (char)('!' + (random >> 33) % 90);
        }
        entries[i - from] =
            (struct entry){.ts_ns = entry_ns(day, i), .line = str_make(lines[i], 1000)};
    }
    CHECK_INT(
        world_append_app(s, str_from(tenants[tenant]), kinds[kind], entries, (size_t)(to - from)),
        0);
}

static unsigned char seen[KINDS][DAYS][PER_DAY];

static void note_entry(const struct snap_stream *s, const struct entry *e, void *ctx) {
    (void)ctx;
    struct str app = labels_get(s->labels, STR("app"));
    int kind = 0;
    while (kind < KINDS && !str_eq(app, str_from(kinds[kind])))
        kind++;
    int64_t day = (e->ts_ns - FIRST_NS) / NS_PER_DAY;
    seen[kind][day][(e->ts_ns - entry_ns((int)day, 0)) / (NS_PER_DAY / PER_DAY)]++;
}

static void read_tenant(struct store *s, int tenant) {
    memset(seen, 0, sizeof(seen));
    world_walk_tenant(s, str_from(tenants[tenant]), note_entry, NULL);
}

/* ---- one day */

static void push_day(struct store *s, int day) {
    struct err err = {0};
    for (int f = 0; f < FLUSHES; f++) {
        for (int t = 0; t < TENANTS; t++)
            for (int k = 0; k < KINDS; k++)
                push(s, t, k, day, f * PER_DAY / FLUSHES, (f + 1) * PER_DAY / FLUSHES);
        CHECK_INT(store_flush(s, &err), 0);
    }
}

static void merge_day(struct store *s) {
    struct err err = {0};
    struct merge_hooks hooks = {.ctx = NULL};
    struct merge_policy policy = {.settle_ns = 1};
    struct merge_result got;
    struct merger *m = merger_new(s, &hooks);
    CHECK_INT(merger_run(m, &policy, now_ns, &got, &err), 0);
    CHECK_INT(got.failures, 0);
    merger_free(m);
}

struct planned {
    uint64_t chunks, bytes;
};

static int note_item(const struct retention_item *item, void *ctx) {
    struct planned *p = ctx;
    CHECK(item->cause != RETENTION_STAYS && item->at_ns <= now_ns);
    p->chunks += item->chunks;
    p->bytes += item->bytes;
    return 0;
}

/* The plan, then the pass: both say the same. */
static void pass_day(struct store *s, const struct retention_policy *policy) {
    struct err err = {0};
    struct planned planned = {0};
    struct retention_usage usage;
    struct retention_result got = {0};
    CHECK_INT(retention_plan(s, policy, now_ns, 0, note_item, &planned, &usage, &err), 0);
    CHECK_INT(usage.going_chunks, planned.chunks);
    CHECK_INT(usage.going_bytes, planned.bytes);
    CHECK_INT(retention_run(s, policy, now_ns, &got, &err), 0);
    CHECK_INT(got.chunks, planned.chunks);
    CHECK_INT(got.bytes, planned.bytes);
    struct retention_result again = {0};
    CHECK_INT(retention_run(s, policy, now_ns, &again, &err), 0);
    CHECK_INT(again.chunks, 0);
}

static void check_periods(struct store *s, int today) {
    for (int t = 0; t < TENANTS; t++) {
        read_tenant(s, t);
        for (int k = 0; k < KINDS; k++)
            for (int day = 0; day <= today; day++)
                for (int i = 0; i < PER_DAY; i++) {
                    int days = period_days(t, k);
                    bool there = days == 0 || entry_ns(day, i) >= now_ns - days * NS_PER_DAY;
                    if (seen[k][day][i] != there) {
                        printf("  day %d: %s %s, entry %d of day %d\n", today, tenants[t], kinds[k],
                               i, day);
                        CHECK_INT(seen[k][day][i], there);
                        return;
                    }
                }
    }
}

static void forty_days(const struct retention_policy *policy,
                       void (*check)(struct store *s, int today)) {
    struct store_world world;
    struct err err = {0};
    world_begin_in_memory(&world);
    struct store *s = world_open(&world, (struct store_options){0});
    store_set_visibility(s, visible_from, (void *)policy);
    for (int day = 0; day < DAYS && test_case_failures == 0; day++) {
        push_day(s, day);
        now_ns = FIRST_NS + (day + 1) * NS_PER_DAY + NS_PER_HOUR;
        merge_day(s);
        pass_day(s, policy);
        check(s, day);
        if (day % 13 == 12) { /* what a start finds is the same */
            world_close(&world);
            s = world_open(&world, (struct store_options){0});
            CHECK_INT(store_sweep_orphans(s, &err), 0);
            store_set_visibility(s, visible_from, (void *)policy);
            check(s, day);
        }
    }
    world_end(&world);
}

#define DAYS_NS(n) ((n)*NS_PER_DAY)

static void periods(void) {
    static const struct retention_rule rules[] = {
        {.matchers = web, .n_matchers = 1, .priority = 1, .period_ns = DAYS_NS(7)},
        {.matchers = audit, .n_matchers = 1, .priority = 1, .period_ns = 0},
        {.matchers = debug, .n_matchers = 1, .priority = 1, .period_ns = DAYS_NS(2)},
        {.matchers = batch, .n_matchers = 1, .priority = 9, .period_ns = -1, .max_bytes = 1 << 30},
        {.tenant = TEXT("anna"), .matchers = web, .n_matchers = 1, .period_ns = DAYS_NS(7)},
        {.tenant = TEXT("anna"), .matchers = audit, .n_matchers = 1, .period_ns = 0},
        {.tenant = TEXT("anna"), .matchers = debug, .n_matchers = 1, .period_ns = DAYS_NS(3)},
    };
    struct retention_policy *policy =
        retention_policy_new(DAYS_NS(20), rules, sizeof(rules) / sizeof(rules[0]), NULL, NULL);
    forty_days(policy, check_periods);
    retention_policy_unref(policy);
}

/* ---- budgets */

#define KIB(n) ((uint64_t)(n) << 10)
static const struct retention_budgets limits = {.store_bytes = KIB(1200), .tenant_bytes = KIB(450)};
static const uint64_t batch_bytes = KIB(200);

struct sums {
    uint64_t store, tenant[TENANTS], batch, largest;
};

static struct sums sums;
static int summed_tenant;

static int add_stream(const struct index_stream *s, void *ctx);

static int add_chunk(const struct index_chunk *c, void *ctx) {
    const struct index_stream *s = ctx;
    (void)s;
    sums.store += c->sums.file_bytes;
    sums.tenant[summed_tenant] += c->sums.file_bytes;
    if (c->sums.file_bytes > sums.largest)
        sums.largest = c->sums.file_bytes;
    return 0;
}

static int add_stream(const struct index_stream *s, void *ctx) {
    struct store *store = ctx;
    struct arena arena = arena_make(1 << 20);
    struct index_reader *reader;
    struct index_chunk *chunks;
    size_t n;
    struct err err = {0};
    CHECK_INT(index_reader_begin(store_index(store), &reader, &err), 0);
    CHECK_INT(index_reader_chunks(reader, s->tenant, s->id, INT64_MIN, INT64_MAX, &arena, &chunks,
                                  &n, &err),
              0);
    index_reader_end(reader);
    for (size_t i = 0; i < n; i++) {
        (void)add_chunk(&chunks[i], NULL);
        if (str_eq(labels_get(s->labels, STR("app")), STR("batch")))
            sums.batch += chunks[i].sums.file_bytes;
    }
    arena_done(&arena);
    return 0;
}

/* Within a stream the entries that are left are the newest ones, without a gap. */
static void check_newest(struct store *s, int today) {
    for (int t = 0; t < TENANTS; t++) {
        read_tenant(s, t);
        for (int k = 0; k < KINDS; k++) {
            bool begun = false;
            for (int i = 0; i <= today * PER_DAY + PER_DAY - 1; i++) {
                bool there = seen[k][i / PER_DAY][i % PER_DAY] == 1;
                CHECK(there || !begun);
                begun = begun || there;
            }
            CHECK(begun);
        }
    }
}

static void check_budgets(struct store *s, int today) {
    struct err err = {0};
    sums = (struct sums){0};
    for (int t = 0; t < TENANTS; t++) {
        summed_tenant = t;
        CHECK_INT(index_walk_streams(store_index(s), str_from(tenants[t]), add_stream, s, &err), 0);
    }
    CHECK(sums.batch <= batch_bytes);
    CHECK(sums.store <= limits.store_bytes);
    for (int t = 0; t < TENANTS; t++)
        CHECK(sums.tenant[t] <= limits.tenant_bytes);
    /* The store's budget bites last and is used up, but for less than one chunk. */
    if (today > 15) {
        CHECK(sums.batch + sums.largest > batch_bytes);
        CHECK(sums.store + sums.largest > limits.store_bytes);
    }
    check_newest(s, today);
}

static void budgets(void) {
    static const struct retention_rule rules[] = {
        {.matchers = batch, .n_matchers = 1, .period_ns = -1, .max_bytes = KIB(200)},
    };
    struct retention_policy *policy = retention_policy_new(0, rules, 1, NULL, NULL);
    retention_policy_set_budgets(policy, &limits);
    forty_days(policy, check_budgets);
    retention_policy_unref(policy);
}

/* ---- deciding alone */

static void decisions(void) {
    struct retention_budgets all = {.keep_free_bytes = 100};
    struct budget b = {.limits = &all, .free_bytes = 70};
    for (int i = 0; i < 10; i++) {
        struct budget_item item = {.tenant = (uint32_t)i % 2};
        item.chunk.chunk_seq = (uint64_t)i;
        item.chunk.sums.file_bytes = 20;
        item.chunk.sums.last_ns = 100 - i;
        CHECK_INT(budget_add(&b, &item), 0);
    }
    budget_decide(&b);
    CHECK_INT(b.items[0].cause, RETENTION_KEEP_FREE);
    CHECK_INT(b.items[0].chunk.chunk_seq, 9);
    CHECK_INT(b.items[1].cause, RETENTION_KEEP_FREE);
    CHECK_INT(b.items[2].cause, RETENTION_STAYS); /* 70 + 40 */
    CHECK_INT(b.store_bytes, 160);
    budget_done(&b);

    all = (struct retention_budgets){.store_bytes = 90, .tenant_bytes = 60};
    b = (struct budget){.limits = &all, .rule_limits = {25}, .n_rules = 1};
    for (int i = 0; i < 8; i++) {
        struct budget_item item = {.tenant = i < 6 ? 0 : 1, .rules = i == 3 || i == 7};
        item.chunk.sums.file_bytes = 20;
        item.chunk.sums.last_ns = i;
        CHECK_INT(budget_add(&b, &item), 0);
    }
    budget_decide(&b);
    static const enum retention_cause want[] = {
        RETENTION_TENANT_BYTES, RETENTION_TENANT_BYTES, RETENTION_STORE_BYTES, RETENTION_RULE_BYTES,
        RETENTION_STAYS,        RETENTION_STAYS,        RETENTION_STAYS,       RETENTION_STAYS};
    for (int i = 0; i < 8; i++)
        CHECK_INT(b.items[i].cause, want[i]);
    budget_done(&b);
}

int main(void) {
    RUN(decisions);
    RUN(periods);
    RUN(budgets);
    return test_done();
}
