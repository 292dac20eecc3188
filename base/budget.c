#include "budget.h"

#include <assert.h>
#include <stdatomic.h>

/* In percent of the limit. Heads have a budget of their own beside this (logq.head_budget). */
static const unsigned shares[BUDGET_KINDS] = {
    [BUDGET_HEADS] = 50,  [BUDGET_STREAMS] = 100, [BUDGET_BODIES] = 20,
    [BUDGET_PUSHES] = 30, [BUDGET_QUERIES] = 50,
};

static uint64_t limit; /* 0 = none */
static atomic_uint_fast64_t total;
static atomic_uint_fast64_t used[BUDGET_KINDS], refused[BUDGET_KINDS];

void budget_set_limit(uint64_t limit_bytes) {
    limit = limit_bytes;
}

uint64_t budget_limit(void) {
    return limit;
}

uint64_t budget_share(enum budget_kind kind) {
    return limit == 0 ? UINT64_MAX : limit / 100 * shares[kind];
}

/* Label sets are never refused. Should they alone take more than half, the rest must still get something to work
 * with: better a larger process than one that does nothing any more. */
static uint64_t beyond_half(void) {
    uint64_t streams = atomic_load_explicit(&used[BUDGET_STREAMS], memory_order_relaxed);
    return streams > limit / 2 ? streams - limit / 2 : 0;
}

bool budget_take(enum budget_kind kind, size_t bytes) {
    if (kind == BUDGET_NONE)
        return true;
    uint64_t own = atomic_fetch_add_explicit(&used[kind], bytes, memory_order_relaxed) + bytes;
    uint64_t all = atomic_fetch_add_explicit(&total, bytes, memory_order_relaxed) + bytes;
    if (limit == 0 || (own <= budget_share(kind) && all <= limit + beyond_half()))
        return true;
    budget_give(kind, bytes);
    (void)atomic_fetch_add_explicit(&refused[kind], 1, memory_order_relaxed);
    return false;
}

void budget_force(enum budget_kind kind, size_t bytes) {
    if (kind == BUDGET_NONE)
        return;
    (void)atomic_fetch_add_explicit(&used[kind], bytes, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&total, bytes, memory_order_relaxed);
}

void budget_give(enum budget_kind kind, size_t bytes) {
    if (kind == BUDGET_NONE)
        return;
    uint64_t before = atomic_fetch_sub_explicit(&used[kind], bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)atomic_fetch_sub_explicit(&total, bytes, memory_order_relaxed);
}

uint64_t budget_used(enum budget_kind kind) {
    return atomic_load_explicit(kind == BUDGET_NONE ? &total : &used[kind], memory_order_relaxed);
}

uint64_t budget_refused(enum budget_kind kind) {
    return atomic_load_explicit(&refused[kind], memory_order_relaxed);
}

bool budget_is_tight(enum budget_kind kind) {
    return limit > 0 && (budget_used(kind) > budget_share(kind) / 4 * 3 ||
                         budget_used(BUDGET_NONE) > limit / 8 * 7 + beyond_half());
}

const char *budget_name(enum budget_kind kind) {
    static const char *const names[BUDGET_KINDS] = {
        [BUDGET_NONE] = "all",      [BUDGET_HEADS] = "heads",   [BUDGET_STREAMS] = "streams",
        [BUDGET_BODIES] = "bodies", [BUDGET_PUSHES] = "pushes", [BUDGET_QUERIES] = "queries",
    };
    return names[kind];
}
