/* stock: memory of heads, kept for the next ones. Rows and encoded blocks are some KB each, made by one thread and freed by
 * another, by the hundred thousand where streams are many: malloc looks for the best place for each, splits it and joins it
 * again with its neighbours, under a lock that all threads share (8 % of such a load). Here what is given back goes to a list
 * of its size, and the next one takes it from there.
 *
 * Any thread. What is kept is no longer counted by anybody: STOCK_KEPT_MAX at most, or what stock_limit says, until
 * stock_empty. */
#pragma once

#include <stddef.h>

enum { STOCK_KEPT_MAX = 32 << 20 };

/* Of malloc's alignment; *ret_room >= size bytes may be used. NULL without memory. */
void *stock_take(size_t size, size_t *ret_room);
/* Nothing for NULL. */
void stock_give(void *memory);

/* Back to malloc with what is kept. */
void stock_empty(void);

/* Keeps so much at most from now on. */
void stock_limit(size_t bytes);

size_t stock_kept_bytes(void);
