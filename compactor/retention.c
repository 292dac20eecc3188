/* Retention: the policy, and one pass that removes what has expired.
 *
 * A pass removes a chunk in this order: index row (in a transaction with up to BATCH_ROWS others), then its file, as
 * soon as no running query needs it; a stream that is left without chunks loses its row in a later
 * transaction. Crash states:
 *   (1) before the rows' commit: nothing has changed; the next pass finds the same chunks.
 *   (2) rows gone, files there: nobody reads the files; the orphan sweep of the next start removes them.
 *   (3) rows and files gone, the stream's row there: the stream has no chunk; the next pass removes its row,
 *       because it looks at every stream without chunks and not only at those that it emptied itself.
 *   (4) all gone.
 * A stream's row stays as long as the WAL may hold entries of it: without the row, replay would bring them back.
 *
 * Whether a stream is empty and unused is decided inside the write transaction, so that no flush can give it
 * a chunk in between. A push that has found the row just before that keeps the stream in memory, and its next
 * flush writes the row anew. */
#include "retention.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "budget.h"
#include "index.h"
#include "io.h"
#include "sieves.h"

enum {
    BATCH_ROWS = 1000, /* rows removed per transaction: some milliseconds, flushes wait meanwhile */
    SMALL_BATCH_ROWS = 8, /* on a full disk a small transaction may still find free pages */
    ARENA_MAX = 1 << 30,  /* chunk lists of one stream, or tenants' names */
};

/* ---- policy */

struct retention_policy {
    atomic_int users;
    int64_t default_period_ns;
    const struct retention_rule *rules;
    size_t n_rules;
    struct retention_budgets budgets;
    void *owner;
    void (*release)(void *owner);
};

struct retention_policy *retention_policy_new(int64_t default_period_ns,
                                              const struct retention_rule *rules, size_t n_rules,
                                              void *owner, void (*release)(void *owner)) {
    struct retention_policy *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    atomic_init(&p->users, 1);
    p->default_period_ns = default_period_ns;
    p->rules = rules;
    p->n_rules = n_rules;
    p->owner = owner;
    p->release = release;
    return p;
}

void retention_policy_set_budgets(struct retention_policy *p, const struct retention_budgets *b) {
    p->budgets = *b;
}

const char *retention_cause_text(enum retention_cause cause) {
    static const char *const texts[] = {
        [RETENTION_STAYS] = "stays",
        [RETENTION_PERIOD] = "period",
        [RETENTION_RULE_BYTES] = "bytes of a rule",
        [RETENTION_TENANT_BYTES] = "bytes of the tenant",
        [RETENTION_STORE_BYTES] = "bytes of the store",
        [RETENTION_KEEP_FREE] = "free space",
    };
    return texts[cause];
}

struct retention_policy *retention_policy_ref(struct retention_policy *p) {
    if (p)
        atomic_fetch_add(&p->users, 1);
    return p;
}

void retention_policy_unref(struct retention_policy *p) {
    if (!p || atomic_fetch_sub(&p->users, 1) > 1)
        return;
    if (p->release)
        p->release(p->owner);
    free(p);
}

/* Is `a` the shorter period? 0 means for ever. */
static bool is_shorter(int64_t a, int64_t b) {
    return a > 0 && (b == 0 || a < b);
}

int64_t retention_period(const struct retention_policy *p, struct str tenant,
                         struct labels labels) {
    const struct retention_rule *best = NULL;
    bool has_own = false;
    for (size_t i = 0; i < p->n_rules; i++) {
        const struct retention_rule *rule = &p->rules[i];
        bool own = rule->tenant.size > 0;
        if (rule->period_ns < 0 || (own ? !str_eq(rule->tenant, tenant) : has_own))
            continue;
        if (own && !has_own) {
            has_own = true;
            best = NULL;
        }
        bool stronger =
            !best || rule->priority > best->priority ||
            (rule->priority == best->priority && is_shorter(rule->period_ns, best->period_ns));
        if (stronger && matchers_accept(rule->matchers, rule->n_matchers, labels))
            best = rule;
    }
    return best ? best->period_ns : p->default_period_ns;
}

/* ---- one pass */

struct pass {
    struct store *store;
    const struct retention_policy *policy;
    int64_t now_ns;
    struct str tenant; /* being walked */
    struct index_chunk chunks[BATCH_ROWS];
    size_t n_chunks;
    uint64_t streams[BATCH_ROWS]; /* perhaps empty */
    size_t n_streams;
    struct retention_result result;
    struct err *reterr;
};

/* Part of a batch, for one transaction. */
struct step {
    struct pass *pass;
    size_t from, to;
    uint64_t streams_removed;
};

static int remove_rows(struct index_txn *txn, void *ctx, struct err *reterr) {
    const struct step *step = ctx;
    const struct pass *p = step->pass;
    int r = 0;
    for (size_t i = step->from; r == 0 && i < step->to; i++)
        r = index_del_chunk(txn, p->tenant, &p->chunks[i], reterr);
    return r;
}

static void remove_files(struct pass *p, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        const struct index_chunk *c = &p->chunks[i];
        store_delete_chunk(p->store, p->tenant, c);
        p->result.chunks++;
        p->result.bytes += c->sums.file_bytes;
        p->result.entries += c->sums.entries;
    }
}

/* Removes the gathered chunks. When the index has no space for a large transaction, small ones are tried: they
 * may fit the free pages of its file, and files can go only after their rows. */
static int flush_chunks(struct pass *p) {
    size_t rows_at_once = BATCH_ROWS;
    size_t from = 0;
    while (from < p->n_chunks) {
        size_t left = p->n_chunks - from;
        struct step step = {
            .pass = p, .from = from, .to = from + (left < rows_at_once ? left : rows_at_once)};
        int r = store_index_update(p->store, remove_rows, &step, p->reterr);
        if (r == -ENOSPC && rows_at_once > SMALL_BATCH_ROWS) {
            rows_at_once = SMALL_BATCH_ROWS;
            continue;
        }
        if (r < 0)
            return r;
        remove_files(p, step.from, step.to);
        from = step.to;
    }
    p->n_chunks = 0;
    return 0;
}

/* Reads chunk rows of a stream in a transaction of its own: the committed state. */
static int stream_chunks(struct pass *p, uint64_t stream_id, int64_t start_ns, int64_t end_ns,
                         struct arena *arena, struct index_chunk **ret, size_t *ret_count,
                         struct err *reterr) {
    struct index_reader *reader;
    int r = index_reader_begin(store_index(p->store), &reader, reterr);
    if (r < 0)
        return r;
    r = index_reader_chunks(reader, p->tenant, stream_id, start_ns, end_ns, arena, ret, ret_count,
                            reterr);
    index_reader_end(reader);
    return r;
}

/* Inside a write transaction that adds and removes no chunk, so the committed state is the present one. */
static int remove_empty_streams(struct index_txn *txn, void *ctx, struct err *reterr) {
    struct step *step = ctx;
    struct pass *p = step->pass;
    struct arena arena = arena_make(ARENA_MAX);
    int r = 0;
    step->streams_removed = 0;
    for (size_t i = step->from; r == 0 && i < step->to; i++) {
        struct index_chunk *chunks;
        size_t count;
        arena_reset(&arena);
        r = stream_chunks(p, p->streams[i], INT64_MIN, INT64_MAX, &arena, &chunks, &count, reterr);
        if (r < 0 || count > 0 || store_stream_active(p->store, p->streams[i]))
            continue;
        r = index_del_stream(txn, p->streams[i], reterr);
        step->streams_removed++;
    }
    arena_done(&arena);
    return r;
}

static int flush_streams(struct pass *p) {
    int r = flush_chunks(p); /* only then the emptied streams are empty */
    if (r < 0 || p->n_streams == 0)
        return r;
    struct step step = {.pass = p, .from = 0, .to = p->n_streams};
    r = store_index_update(p->store, remove_empty_streams, &step, p->reterr);
    if (r < 0)
        return r;
    p->result.streams += step.streams_removed;
    p->n_streams = 0;
    return 0;
}

static int gather_expired(struct pass *p, const struct index_stream *s, int64_t cutoff_ns,
                          struct arena *arena) {
    struct index_chunk *chunks;
    size_t count;
    int r = stream_chunks(p, s->id, INT64_MIN, cutoff_ns - 1, arena, &chunks, &count, p->reterr);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (chunks[i].sums.last_ns >= cutoff_ns)
            continue;
        if (p->n_chunks == BATCH_ROWS)
            r = flush_chunks(p);
        if (r == 0)
            p->chunks[p->n_chunks++] = chunks[i];
    }
    return r;
}

/* May the stream be without chunks once the gathered ones are gone? Its last chunk would be found at the
 * row's last_ns; being wrong only costs the exact look in remove_empty_streams. */
static int may_be_empty(struct pass *p, const struct index_stream *s, int64_t cutoff_ns,
                        struct arena *arena, bool *ret) {
    *ret = true;
    if (s->first_ns > s->last_ns || s->last_ns < cutoff_ns)
        return 0;
    struct index_chunk *chunks;
    size_t count;
    int r = stream_chunks(p, s->id, s->last_ns, INT64_MAX, arena, &chunks, &count, p->reterr);
    *ret = count == 0;
    return r;
}

static int visit_stream(const struct index_stream *s, void *ctx) {
    struct pass *p = ctx;
    struct arena arena = arena_make(ARENA_MAX);
    int64_t period_ns = retention_period(p->policy, p->tenant, s->labels);
    int64_t cutoff_ns = INT64_MIN; /* what ended before it has expired */
    int r = 0;
    if (period_ns > 0 && !__builtin_sub_overflow(p->now_ns, period_ns, &cutoff_ns))
        r = gather_expired(p, s, cutoff_ns, &arena);
    bool maybe = false;
    if (r == 0)
        r = may_be_empty(p, s, cutoff_ns, &arena, &maybe);
    if (r == 0 && maybe && !store_stream_active(p->store, s->id) &&
        !store_wal_reaches(p->store, s->flushed_lsn)) {
        if (p->n_streams == BATCH_ROWS)
            r = flush_streams(p);
        if (r == 0)
            p->streams[p->n_streams++] = s->id;
    }
    arena_done(&arena);
    return r;
}

/* ---- budgets */

static bool has_budgets(const struct retention_policy *p) {
    bool any =
        p->budgets.store_bytes > 0 || p->budgets.tenant_bytes > 0 || p->budgets.keep_free_bytes > 0;
    for (size_t i = 0; i < p->n_rules && !any; i++)
        any = p->rules[i].max_bytes > 0;
    return any;
}

/* Which of the rules with max_bytes the stream counts for. */
static uint64_t rules_of(const struct retention_policy *p, struct str tenant,
                         struct labels labels) {
    uint64_t bits = 0;
    size_t n = 0;
    bool has_own = false; /* then rules for every tenant do not count, as for periods */
    for (size_t i = 0; i < p->n_rules && !has_own; i++)
        has_own = p->rules[i].tenant.size > 0 && str_eq(p->rules[i].tenant, tenant);
    for (size_t i = 0; i < p->n_rules && n < BUDGET_RULES_MAX; i++) {
        const struct retention_rule *rule = &p->rules[i];
        if (rule->max_bytes == 0)
            continue;
        if ((has_own ? str_eq(rule->tenant, tenant) : rule->tenant.size == 0) &&
            matchers_accept(rule->matchers, rule->n_matchers, labels))
            bits |= UINT64_C(1) << n;
        n++;
    }
    return bits;
}

struct collection {
    struct pass *pass;
    struct budget budget;
    uint32_t tenant;
};

/* All chunks of a stream that have not expired. */
static int collect_stream(const struct index_stream *s, void *ctx) {
    struct collection *c = ctx;
    struct pass *p = c->pass;
    struct arena arena = arena_make(ARENA_MAX);
    struct index_chunk *chunks;
    size_t count = 0;
    int64_t period_ns = retention_period(p->policy, p->tenant, s->labels), cutoff_ns;
    if (period_ns <= 0 || __builtin_sub_overflow(p->now_ns, period_ns, &cutoff_ns))
        cutoff_ns = INT64_MIN;
    int r = stream_chunks(p, s->id, INT64_MIN, INT64_MAX, &arena, &chunks, &count, p->reterr);
    struct budget_item item = {.tenant = c->tenant,
                               .rules = rules_of(p->policy, p->tenant, s->labels)};
    for (size_t i = 0; i < count && r == 0; i++) {
        item.chunk = chunks[i];
        if (chunks[i].sums.last_ns >= cutoff_ns && budget_add(&c->budget, &item) < 0)
            r = err_set(p->reterr, -ENOMEM, "retention: no memory for a list of chunks");
    }
    arena_done(&arena);
    return r;
}

/* Fills and decides the budget of all tenants. */
static int collect(struct collection *c, const struct str *tenants, size_t n_tenants) {
    struct pass *p = c->pass;
    struct budget *b = &c->budget;
    uint64_t total_bytes;
    b->limits = &p->policy->budgets;
    for (size_t i = 0; i < p->policy->n_rules && b->n_rules < BUDGET_RULES_MAX; i++)
        if (p->policy->rules[i].max_bytes > 0)
            b->rule_limits[b->n_rules++] = p->policy->rules[i].max_bytes;
    int r = 0;
    for (size_t i = 0; i < n_tenants && r == 0; i++) {
        p->tenant = tenants[i];
        c->tenant = (uint32_t)i;
        r = index_walk_streams(store_index(p->store), tenants[i], collect_stream, c, p->reterr);
        if (r == 0)
            budget_add_other(b, c->tenant, sieves_bytes(p->store, tenants[i]));
    }
    /* After the files that have gone for other reasons have given their space back. */
    (void)store_reap(p->store);
    if (r == 0 && b->limits->keep_free_bytes > 0)
        r = io_disk_space(store_dir_fd(p->store), &b->free_bytes, &total_bytes);
    if (r == 0)
        budget_decide(b);
    return r;
}

static int by_tenant(const void *a, const void *b) {
    const struct budget_item *x = a, *y = b;
    if (x->tenant != y->tenant)
        return x->tenant < y->tenant ? -1 : 1;
    return (x->chunk.sums.last_ns > y->chunk.sums.last_ns) -
           (x->chunk.sums.last_ns < y->chunk.sums.last_ns);
}

static int run_budgets(struct pass *p, const struct str *tenants, size_t n_tenants) {
    struct collection c = {.pass = p};
    struct budget *b = &c.budget;
    int r = collect(&c, tenants, n_tenants);
    if (r == 0 && b->n_items > 0)
        qsort(b->items, b->n_items, sizeof(*b->items), by_tenant);
    for (size_t i = 0; i < b->n_items && r == 0; i++) {
        const struct budget_item *item = &b->items[i];
        if (p->n_chunks == BATCH_ROWS || !str_eq(p->tenant, tenants[item->tenant]))
            r = flush_chunks(p);
        p->tenant = tenants[item->tenant];
        if (r < 0 || item->cause == RETENTION_STAYS)
            continue;
        p->chunks[p->n_chunks++] = item->chunk;
        p->result.budget_chunks++;
        p->result.budget_bytes += item->chunk.sums.file_bytes;
    }
    if (r == 0)
        r = flush_chunks(p);
    budget_done(b);
    return r;
}

/* ---- the plan */

struct plan {
    struct pass *pass;
    int64_t until_ns;
    const struct budget *budget; /* its items by stream and number */
    struct retention_item item;  /* being gathered */
    struct retention_usage usage;
    retention_item_fn *fn;
    void *ctx;
};

static int by_chunk(const void *a, const void *b) {
    const struct budget_item *x = a, *y = b;
    if (x->chunk.stream_id != y->chunk.stream_id)
        return x->chunk.stream_id < y->chunk.stream_id ? -1 : 1;
    return (x->chunk.chunk_seq > y->chunk.chunk_seq) - (x->chunk.chunk_seq < y->chunk.chunk_seq);
}

static int tell_item(struct plan *plan) {
    int r = plan->item.chunks > 0 ? plan->fn(&plan->item, plan->ctx) : 0;
    plan->item.chunks = plan->item.bytes = plan->item.entries = 0;
    return r;
}

static int plan_chunk(struct plan *plan, const struct index_chunk *c, int64_t period_ns) {
    enum retention_cause cause = RETENTION_STAYS;
    int64_t at_ns = plan->pass->now_ns, expiry_ns = INT64_MAX;
    if (period_ns > 0 && __builtin_add_overflow(c->sums.last_ns, period_ns, &expiry_ns))
        expiry_ns = INT64_MAX;
    struct budget_item key = {.chunk = *c};
    const struct budget_item *found =
        plan->budget->n_items > 0
            ? bsearch(&key, plan->budget->items, plan->budget->n_items, sizeof(key), by_chunk)
            : NULL;
    if (found && found->cause != RETENTION_STAYS) {
        cause = found->cause;
    } else if (expiry_ns < plan->until_ns) {
        cause = RETENTION_PERIOD;
        at_ns = expiry_ns;
    }
    plan->usage.chunks++;
    plan->usage.bytes += c->sums.file_bytes;
    if (cause == RETENTION_STAYS)
        return 0;
    plan->usage.going_chunks++;
    plan->usage.going_bytes += c->sums.file_bytes;
    struct retention_item *item = &plan->item;
    int r = item->day != c->day || item->cause != cause ? tell_item(plan) : 0;
    item->at_ns = item->chunks > 0 && item->at_ns > at_ns ? item->at_ns : at_ns;
    item->day = c->day;
    item->cause = cause;
    item->chunks++;
    item->bytes += c->sums.file_bytes;
    item->entries += c->sums.entries;
    return r;
}

static int plan_stream(const struct index_stream *s, void *ctx) {
    struct plan *plan = ctx;
    struct pass *p = plan->pass;
    struct arena arena = arena_make(ARENA_MAX);
    struct index_chunk *chunks;
    size_t count = 0;
    int64_t period_ns = retention_period(p->policy, p->tenant, s->labels);
    int r = stream_chunks(p, s->id, INT64_MIN, INT64_MAX, &arena, &chunks, &count, p->reterr);
    plan->item.tenant = p->tenant;
    plan->item.labels = s->labels;
    plan->item.stream_id = s->id;
    for (size_t i = 0; i < count && r == 0; i++)
        r = plan_chunk(plan, &chunks[i], period_ns);
    if (r == 0)
        r = tell_item(plan);
    arena_done(&arena);
    return r;
}

int retention_plan(struct store *store, const struct retention_policy *policy, int64_t now_ns,
                   int64_t within_ns, retention_item_fn *fn, void *ctx, struct retention_usage *ret,
                   struct err *reterr) {
    static const struct retention_policy nothing_goes;
    struct pass *p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(reterr, -ENOMEM, "retention: no memory for a plan");
    *p = (struct pass){.store = store,
                       .policy = policy ? policy : &nothing_goes,
                       .now_ns = now_ns,
                       .reterr = reterr};
    struct collection c = {.pass = p};
    struct plan plan = {.pass = p, .budget = &c.budget, .fn = fn, .ctx = ctx};
    if (__builtin_add_overflow(now_ns, within_ns, &plan.until_ns))
        plan.until_ns = INT64_MAX;
    struct arena arena = arena_make(ARENA_MAX);
    struct str *tenants = NULL;
    size_t n_tenants = 0;
    uint64_t total_bytes;
    int r = index_tenants(store_index(store), &arena, &tenants, &n_tenants);
    if (r < 0)
        (void)err_set(reterr, r, "retention: cannot list tenants: %s", err_name(r));
    if (r == 0 && has_budgets(p->policy))
        r = collect(&c, tenants, n_tenants);
    if (r == 0 && c.budget.n_items > 0)
        qsort(c.budget.items, c.budget.n_items, sizeof(*c.budget.items), by_chunk);
    for (size_t i = 0; i < n_tenants && r == 0; i++) {
        p->tenant = tenants[i];
        r = index_walk_streams(store_index(store), tenants[i], plan_stream, &plan, reterr);
    }
    (void)io_disk_space(store_dir_fd(store), &plan.usage.disk_free_bytes, &total_bytes);
    if (r == 0)
        *ret = plan.usage;
    budget_done(&c.budget);
    arena_done(&arena);
    free(p);
    return r;
}

int retention_run(struct store *store, const struct retention_policy *policy, int64_t now_ns,
                  struct retention_result *ret, struct err *reterr) {
    struct pass *p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(reterr, -ENOMEM, "retention: no memory for a pass");
    p->store = store;
    p->policy = policy;
    p->now_ns = now_ns;
    p->reterr = reterr;
    struct arena arena = arena_make(ARENA_MAX);
    struct str *tenants = NULL;
    size_t n_tenants = 0;
    int r = index_tenants(store_index(store), &arena, &tenants, &n_tenants);
    if (r < 0)
        err_set(reterr, r, "retention: cannot list tenants: %s", err_name(r));
    for (size_t i = 0; r == 0 && i < n_tenants; i++) {
        p->tenant = tenants[i];
        r = index_walk_streams(store_index(store), tenants[i], visit_stream, p, reterr);
        if (r == 0)
            r = flush_streams(p);
    }
    if (r == 0 && has_budgets(policy))
        r = run_budgets(p, tenants, n_tenants);
    if (r == 0)
        *ret = p->result;
    arena_done(&arena);
    free(p);
    return r;
}
