/* numbers: a list of numbers that grows, is sorted and searched: those of chunks, packs, streams or segments. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct numbers {
    uint64_t *items;
    size_t n, capacity;
};

/* -ENOMEM, and then nothing has changed. */
int numbers_add(struct numbers *l, uint64_t number);
/* Ascending; a number may stand in it more than once. */
void numbers_sort(struct numbers *l);
/* Of a sorted list. */
bool numbers_have(const struct numbers *l, uint64_t number);
void numbers_done(struct numbers *l);
