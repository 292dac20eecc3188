/* filters: the gram filters in an opened chunk file, each part checked against its checksum before its first use, asked.
 *
 * A flipped bit would hide lines that are there, so what does not check out is not asked: it lets everything pass. Files
 * of today have their filters sliced (slices.h) with one checksum per page, so that a needle reads and checks the few
 * pages it touches; older files have them one after the other with one checksum each.
 *
 * Who has just opened the file reads the pages that the needle touches, and keeps none (filters_try). Filters that are
 * asked again are mapped: most files of an offline search, and of a server's day, are asked once.
 *
 * Immutable after filters_open but for the map and the notes of what has been checked: any thread may ask. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "gram.h"

struct buf;
struct filters;

enum {
    FILTERS_PAGE = 4096
}; /* of the file: checksums are of what filters have in each of its pages */

/* What a trailer says of them. Arrays, and the file's name, live as long as the filters. */
struct filters_layout {
    int dir_fd; /* of the file, for who maps it */
    const char *name;
    uint32_t n;    /* blocks */
    uint64_t base; /* where the chunk begins in its file: in a pack; offsets count from there */
    uint64_t begin, end;       /* in the file */
    const uint32_t *sizes;     /* of each block's filter as gram.h makes it; 0: it has none */
    unsigned shift;            /* sliced: log2 of the slices */
    const char *page_sums;     /* sliced: a u32 per page; NULL: not sliced */
    const uint64_t *offsets;   /* not sliced: where in the file each begins, */
    const uint32_t *checksums; /* and what it should be */
};

/* Pages that filters at [begin, end) of a file have something in. */
uint64_t filters_page_count(uint64_t begin, uint64_t end);

/* Reads small ones; the arena keeps the rest. -ECORRUPT when the layout contradicts itself; unless `wait`, -EAGAIN when the
 * disk would have to be waited for. */
int filters_open(int fd, const struct filters_layout *layout, bool wait, struct arena *arena,
                 struct filters **ret);
void filters_close(struct filters *f); /* NULL is fine: nothing to ask */
/* What keeping them costs: the memory of a copy; of a map the share that needles touch, page cache that the system takes back
 * when it needs memory. */
size_t filters_cost_bytes(const struct filters *f);

/* The query will be asked of all blocks soon: has fetched from disk what that is likely to touch and nobody has touched
 * since the file was opened. True: that was nothing. */
bool filters_expect(const struct filters *f, const struct gram_query *q);
/* For who has a descriptor of the file: maps them by it, where they would else be by name. */
void filters_map(const struct filters *f, int fd);
/* May block i hold all grams? */
bool filters_may_contain(const struct filters *f, uint32_t i, const struct gram_query *q);
/* Clears in `alive`, one bit per block and 0 behind the last, those that cannot; false when none is left. */
bool filters_narrow(const struct filters *f, const struct gram_query *q, uint64_t *alive);

/* filters_narrow for who holds the file open: reads what it needs, a page after the other, until no block is left. Unless
 * `wait`: -EAGAIN as soon as the disk would have to be waited for, and the disk has begun; `alive` may have been narrowed
 * by then. `scratch` is for the pages. */
int filters_try(const struct filters *f, int fd, const struct gram_query *q, bool wait,
                struct buf *scratch, uint64_t *alive);

/* Has block i a filter that is not damaged? Reads it. */
bool filters_has(const struct filters *f, uint32_t i);
/* That filter as gram.h made it, into `out`; false: it has none, or no memory. */
bool filters_take(const struct filters *f, uint32_t i, struct buf *out);
/* Its size as gram.h made it; 0: it has none. */
uint32_t filters_size(const struct filters *f, uint32_t i);
/* Bytes [from, to) of its bitmap, where they are in the filter as gram.h made it: `out` has room for all of that. False:
 * it has none, or it is damaged. */
bool filters_take_part(const struct filters *f, uint32_t i, uint32_t from, uint32_t to,
                       uint8_t *out);
