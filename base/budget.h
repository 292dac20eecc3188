/* budget: one account, for the whole process, of the memory whose size clients decide: heads, bodies,
 * decoded pushes, queries and their results. What is of fixed size (threads, tables, code) is not in it, nor
 * are mapped files, which the system takes back when it needs memory.
 *
 * Each kind may use its share of the limit; shares add up to more than the whole, which is checked, too: one kind may
 * grow while the others are idle. Whoever is refused waits, cuts or answers 503. Any thread; atomics only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum budget_kind {
    BUDGET_NONE, /* not accounted */
    BUDGET_HEADS,
    BUDGET_STREAMS, /* label sets and tables; counted, never refused: what is stored must be findable */
    BUDGET_BODIES,
    BUDGET_PUSHES, /* decompressed and decoded */
    BUDGET_QUERIES,
    BUDGET_KINDS,
};

/* 0 = no limit, the state before the first call. Before threads start. */
void budget_set_limit(uint64_t limit_bytes);
uint64_t budget_limit(void);

/* False: the kind or the whole would exceed what it may use; nothing is taken. */
bool budget_take(enum budget_kind kind, size_t bytes);
/* Takes in any case. */
void budget_force(enum budget_kind kind, size_t bytes);
void budget_give(enum budget_kind kind, size_t bytes);

uint64_t budget_used(enum budget_kind kind); /* BUDGET_NONE: of all kinds together */
/* What the kind may use at most; UINT64_MAX without a limit. */
uint64_t budget_share(enum budget_kind kind);
/* Times that the kind was refused. */
uint64_t budget_refused(enum budget_kind kind);
const char *budget_name(enum budget_kind kind);

/* Is so much used that new work of this kind had better wait: three quarters of its share? */
bool budget_is_tight(enum budget_kind kind);
