#include "budget.h"

#include <errno.h>
#include <stdlib.h>

int budget_add(struct budget *b, const struct budget_item *item) {
    if (b->n_items == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 1024;
        struct budget_item *items = realloc(b->items, sizeof(*items) * capacity);
        if (!items)
            return -ENOMEM;
        b->items = items;
        b->capacity = capacity;
    }
    if (item->tenant >= b->n_tenants) {
        size_t n = (size_t)item->tenant + 1;
        uint64_t *bytes = realloc(b->tenant_bytes, sizeof(*bytes) * n);
        b->tenant_bytes = bytes ? bytes : b->tenant_bytes;
        uint64_t *others = realloc(b->other_bytes, sizeof(*others) * n);
        b->other_bytes = others ? others : b->other_bytes;
        if (!bytes || !others)
            return -ENOMEM;
        for (size_t i = b->n_tenants; i < n; i++)
            bytes[i] = others[i] = 0;
        b->n_tenants = n;
    }
    b->items[b->n_items++] = *item;
    return 0;
}

void budget_add_other(struct budget *b, uint32_t tenant, uint64_t bytes) {
    if (tenant < b->n_tenants)
        b->other_bytes[tenant] += bytes;
}

static int compare_items(const void *a, const void *b) {
    const struct budget_item *x = a, *y = b;
    if (x->chunk.sums.last_ns != y->chunk.sums.last_ns)
        return x->chunk.sums.last_ns < y->chunk.sums.last_ns ? -1 : 1;
    return (x->chunk.chunk_seq > y->chunk.chunk_seq) - (x->chunk.chunk_seq < y->chunk.chunk_seq);
}

/* Adds to, or takes from, all sums that the item counts for. */
static void count(struct budget *b, const struct budget_item *item, bool add) {
    uint64_t bytes = item->chunk.sums.file_bytes;
    uint64_t change = add ? bytes : -bytes;
    b->store_bytes += change;
    b->tenant_bytes[item->tenant] += change;
    for (size_t i = 0; i < b->n_rules; i++)
        if (item->rules >> i & 1)
            b->rule_bytes[i] += change;
}

static bool is_over(uint64_t bytes, uint64_t limit) {
    return limit > 0 && bytes > limit;
}

/* Narrow budgets first: what goes for them counts for the wider ones, too, which are then used up but for less than
 * one chunk. */
enum stage { STAGE_RULES, STAGE_TENANTS, STAGE_STORE, STAGES };

static enum retention_cause cause_of(const struct budget *b, const struct budget_item *item,
                                     enum stage stage, uint64_t freed) {
    if (stage == STAGE_RULES) {
        for (size_t i = 0; i < b->n_rules; i++)
            if ((item->rules >> i & 1) && is_over(b->rule_bytes[i], b->rule_limits[i]))
                return RETENTION_RULE_BYTES;
    } else if (stage == STAGE_TENANTS) {
        if (is_over(b->tenant_bytes[item->tenant], b->limits->tenant_bytes))
            return RETENTION_TENANT_BYTES;
    } else {
        if (is_over(b->store_bytes, b->limits->store_bytes))
            return RETENTION_STORE_BYTES;
        if (b->limits->keep_free_bytes > 0 && b->free_bytes + freed < b->limits->keep_free_bytes)
            return RETENTION_KEEP_FREE;
    }
    return RETENTION_STAYS;
}

void budget_decide(struct budget *b) {
    uint64_t freed = 0;
    b->store_bytes = 0;
    for (size_t i = 0; i < b->n_tenants; i++) {
        b->tenant_bytes[i] += b->other_bytes[i];
        b->store_bytes += b->other_bytes[i];
    }
    for (size_t i = 0; i < b->n_items; i++)
        count(b, &b->items[i], true);
    if (b->n_items > 0)
        qsort(b->items, b->n_items, sizeof(*b->items), compare_items);
    for (enum stage stage = STAGE_RULES; stage < STAGES; stage++)
        for (size_t i = 0; i < b->n_items; i++) {
            struct budget_item *item = &b->items[i];
            if (item->cause != RETENTION_STAYS)
                continue;
            item->cause = cause_of(b, item, stage, freed);
            if (item->cause == RETENTION_STAYS)
                continue;
            count(b, item, false);
            freed += item->chunk.sums.file_bytes;
        }
}

void budget_done(struct budget *b) {
    free(b->items);
    free(b->tenant_bytes);
    free(b->other_bytes);
    b->items = NULL;
    b->tenant_bytes = b->other_bytes = NULL;
}
