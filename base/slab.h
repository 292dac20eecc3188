/* slab: memory for things of some ten KB that stay, and go one by one. It is taken in runs of SLAB_UNIT from regions of
 * SLAB_REGION, which the system is asked to back by one huge page each: the first touch of memory costs a fifth of what it
 * does page by page. A region goes back to the system when nothing in it is in use.
 *
 * Runs are found where the first fit: what is in use may be a half of what is mapped when most of it has been given back. Any
 * thread. */
#pragma once

#include <stddef.h>

struct slab;

enum {
    SLAB_UNIT = 4096,
    SLAB_REGION = 2 << 20,
    SLAB_RUN_MAX = SLAB_REGION / 4, /* more of them would leave too much of a region empty */
};

struct slab *slab_new(void); /* NULL without memory */
/* Nothing is in use. */
void slab_free(struct slab *s);

/* `size`: a multiple of SLAB_UNIT, up to SLAB_RUN_MAX. NULL without memory. */
void *slab_take(struct slab *s, size_t size);
void slab_give(struct slab *s, void *run, size_t size);

size_t slab_mapped_bytes(struct slab *s);
