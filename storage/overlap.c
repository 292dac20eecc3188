/* overlap: entries that stand in two blocks of a stream (a retry after the first copy was already cut or flushed). Of
 * entries with the same time, line and metadata, the one in the oldest block counts.
 *
 * Only equal times can be duplicates, and the time columns are small, so two columns are walked side by side
 * over their common range; lines and metadata are decoded only when a time stands in both. */
#include <errno.h>
#include <stdlib.h>

#include "snapshot.h"

struct side {
    struct block_reader *reader;
    const int64_t *times;
    uint32_t at, count;
};

static uint32_t first_at_or_after(const int64_t *times, uint32_t count, int64_t ts_ns) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (times[middle] < ts_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int get_line(struct block_reader *r, uint32_t i, struct str *ret, struct err *reterr) {
    const uint32_t *offsets;
    struct str lines;
    int status = block_reader_offsets(r, &offsets, reterr);
    if (status == 0)
        status = block_reader_lines(r, &lines, reterr);
    if (status == 0)
        *ret = str_make(lines.data + offsets[i], offsets[i + 1] - 1 - offsets[i]);
    return status;
}

/* The next name and value of entry i at or after column *at; false at the end. */
static bool next_pair(const struct meta_column *columns, size_t n, size_t *at, uint32_t i,
                      struct label *ret) {
    for (; *at < n; (*at)++) {
        uint32_t id = columns[*at].ids[i];
        if (id == 0)
            continue;
        *ret = (struct label){.name = columns[*at].name, .value = columns[*at].values[id - 1]};
        (*at)++;
        return true;
    }
    return false;
}

static int same_meta(const struct side *a, uint32_t i, const struct side *b, uint32_t k, bool *ret,
                     struct err *reterr) {
    const struct meta_column *ca, *cb;
    size_t na, nb;
    int status = block_reader_meta(a->reader, &ca, &na, reterr);
    if (status == 0)
        status = block_reader_meta(b->reader, &cb, &nb, reterr);
    if (status < 0)
        return status;
    size_t at_a = 0, at_b = 0;
    for (;;) {
        struct label x = {0}, y = {0};
        bool more_a = next_pair(ca, na, &at_a, i, &x), more_b = next_pair(cb, nb, &at_b, k, &y);
        if (more_a != more_b ||
            (more_a && (!str_eq(x.name, y.name) || !str_eq(x.value, y.value)))) {
            *ret = false;
            return 0;
        }
        if (!more_a) {
            *ret = true;
            return 0;
        }
    }
}

static int same_entry(const struct side *a, uint32_t i, const struct side *b, uint32_t k, bool *ret,
                      struct err *reterr) {
    struct str x, y;
    int status = get_line(a->reader, i, &x, reterr);
    if (status == 0)
        status = get_line(b->reader, k, &y, reterr);
    if (status < 0)
        return status;
    if (!str_eq(x, y)) {
        *ret = false;
        return 0;
    }
    return same_meta(a, i, b, k, ret, reterr);
}

static int mark(uint64_t **dead, uint32_t count, uint32_t i) {
    if (!*dead) {
        *dead = calloc((count + 63) / 64, sizeof(**dead));
        if (!*dead)
            return -ENOMEM;
    }
    (*dead)[i >> 6] |= UINT64_C(1) << (i & 63);
    return 0;
}

/* Marks entries of a whose time stands in b, too, and that are the same there. */
static int compare_sides(struct side *a, struct side *b, int64_t until_ns, uint64_t **dead,
                         struct err *reterr) {
    while (a->at < a->count && b->at < b->count && a->times[a->at] <= until_ns) {
        int64_t x = a->times[a->at], y = b->times[b->at];
        if (x < y) {
            a->at++;
            continue;
        }
        if (y < x) {
            b->at++;
            continue;
        }
        for (; a->at < a->count && a->times[a->at] == x; a->at++)
            for (uint32_t k = b->at; k < b->count && b->times[k] == x; k++) {
                bool same = false;
                int status = same_entry(a, a->at, b, k, &same, reterr);
                if (status == 0 && same)
                    status = mark(dead, a->count, a->at);
                if (status < 0)
                    return status;
                if (same)
                    break;
            }
        while (b->at < b->count && b->times[b->at] == x)
            b->at++;
    }
    return 0;
}

static int compare_with(struct block_reader *r, struct block_reader *other,
                        const struct block_ref *block, const struct block_ref *older,
                        uint64_t **dead, struct err *reterr) {
    int64_t from =
        block->info.first_ns > older->info.first_ns ? block->info.first_ns : older->info.first_ns;
    int64_t until =
        block->info.last_ns < older->info.last_ns ? block->info.last_ns : older->info.last_ns;
    struct side a = {.reader = r, .count = block->info.count};
    struct side b = {.reader = other, .count = older->info.count};
    block_reader_open_raw(other, older);
    int status = block_reader_times(r, &a.times, reterr);
    if (status == 0)
        status = block_reader_times(other, &b.times, reterr);
    if (status < 0)
        return status;
    a.at = first_at_or_after(a.times, a.count, from);
    b.at = first_at_or_after(b.times, b.count, from);
    return compare_sides(&a, &b, until, dead, reterr);
}

int overlap_find_dead(struct block_reader *r, struct block_reader *other,
                      const struct block_ref *block, uint64_t **ret, struct err *reterr) {
    uint64_t *dead = NULL;
    for (size_t i = 0; i < block->n_siblings; i++) {
        const struct block_ref *older = block->siblings[i];
        if (older->info.first_ns > block->info.last_ns)
            break; /* siblings stand in order of their first time */
        if (older == block || older->order >= block->order ||
            older->info.last_ns < block->info.first_ns)
            continue;
        int status = compare_with(r, other, block, older, &dead, reterr);
        /* A damaged or vanished neighbour costs its own entries, not this block's. */
        if (status == -ENOMEM) {
            free(dead);
            return status;
        }
    }
    *ret = dead ? dead : &no_dead;
    return 0;
}
