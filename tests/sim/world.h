/* world: what tests of lost power push, and what must be there afterwards. Entries are numbered; the number decides
 * the line. Pushing goes through the store's own door, from one thread; answers come from the store's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

enum { WORLD_ENTRIES_MAX = 30000, WORLD_STREAMS = 8, WORLD_PUSH_MAX = 60 };

/* The last two streams are those whose entries expire. */
enum { WORLD_OLD_FROM = WORLD_STREAMS - 2 };

enum world_state {
    WORLD_NEVER,
    WORLD_PUSHED,       /* may be there */
    WORLD_ACKNOWLEDGED, /* must be there */
    WORLD_EXPIRED,      /* may be there */
};

struct world_entry {
    uint32_t stream;
    int64_t ts_ns;
};

struct world {
    struct store *store;
    struct world_entry entries[WORLD_ENTRIES_MAX];
    uint8_t states[WORLD_ENTRIES_MAX]; /* enum world_state; set by notes in order */
    uint32_t n_entries;
};

/* Notes in the disk's log, from which world_note rebuilds `states`. */
enum { NOTE_PUSHED = 1, NOTE_ACKNOWLEDGED, NOTE_EXPIRED };
void world_note(uint32_t kind, uint64_t value, void *world);
/* Has the notes of pushes told to this world at once as well, for tests without a simulated disk. NULL: no more. */
void world_note_directly(struct world *w);

struct store_options world_options(const char *dir);
struct str world_tenant(uint32_t stream);

/* Pushes entries [first, first + n), all of one stream, and does not wait; false when the store refused. */
bool world_push(struct world *w, uint32_t first, uint32_t n);
/* Waits for the answers to all pushes. */
void world_wait(void);

/* Counts what can be read against `states`; prints and returns the number of entries that are lost, doubled, altered
 * or invented, or cannot be read. */
unsigned world_check(const struct world *w, const char *when);
