#include "block_shelf.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "budget.h"
#include "slab.h"

enum {
    /* When the shelf is full, one block of so many that might be put there is: queries that go through more than fits,
     * time and again, would else drive out each block before they come back to it. */
    FULL_SHARE = 8,
    COST_SHARE = 16, /* of the budget: what costs more would drive out too many others */
};

struct place {
    enum { UNREAD, SEEN, AWAY, HERE } state;
    struct shelved *what; /* HERE */
};

struct shelf_row {
    struct block_shelf *shelf;
    uint32_t n_blocks;
    struct place places[];
};

struct block_shelf {
    size_t budget_bytes;
    struct slab *slab;
    pthread_mutex_t lock; /* guards all below, places and what stands there */
    struct lru shelved;
    size_t total_bytes, count;
    size_t n_asked; /* for a place while it was full */
};

struct block_shelf *block_shelf_new(size_t budget_bytes) {
    struct block_shelf *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->budget_bytes = budget_bytes;
    s->slab = slab_new();
    if (!s->slab) {
        free(s);
        return NULL;
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    return s;
}

void block_shelf_free(struct block_shelf *s) {
    if (!s)
        return;
    assert(!s->shelved.newest && s->total_bytes == 0);
    slab_free(s->slab);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

struct shelf_row *shelf_row_new(struct block_shelf *s, uint32_t n_blocks) {
    struct shelf_row *row = calloc(1, sizeof(*row) + n_blocks * sizeof(row->places[0]));
    if (!row)
        return NULL;
    row->shelf = s;
    row->n_blocks = n_blocks;
    return row;
}

struct slab *block_shelf_slab(const struct block_shelf *s) {
    return s->slab;
}

struct slab *shelf_slab(const struct shelf_row *row) {
    return row->shelf->slab;
}

/* ---- with the lock held */

static void link_shelved(struct block_shelf *s, struct shelved *what) {
    lru_add(&s->shelved, &what->link);
    s->total_bytes += what->cost_bytes;
    s->count++;
}

static void unlink_shelved(struct block_shelf *s, struct shelved *what) {
    lru_remove(&s->shelved, &what->link);
    s->total_bytes -= what->cost_bytes;
    s->count--;
}

/* Takes what stands at the place off the shelf, into a list to be freed. */
static struct shelved *clear(struct block_shelf *s, struct place *place, struct shelved *list) {
    struct shelved *what = place->what;
    unlink_shelved(s, what);
    *place = (struct place){.state = SEEN};
    what->next = list;
    return what;
}

/* No room for another of the size that they have. */
static bool is_full(const struct block_shelf *s) {
    return s->count > 0 && s->total_bytes + s->total_bytes / s->count > s->budget_bytes;
}

static struct shelved *clear_oldest(struct block_shelf *s, struct shelved *list) {
    const struct shelved *oldest = LRU_OWNER(s->shelved.oldest, struct shelved, link);
    return clear(s, &oldest->row->places[oldest->block], list);
}

/* ---- */

/* What was taken off the shelf is no longer charged. */
static void free_list(struct shelved *what) {
    while (what) {
        struct shelved *next = what->next;
        budget_give(BUDGET_QUERIES, what->cost_bytes);
        what->free(what);
        what = next;
    }
}

void shelf_row_free(struct shelf_row *row) {
    if (!row)
        return;
    struct block_shelf *s = row->shelf;
    struct shelved *gone = NULL;
    (void)pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < row->n_blocks; i++) {
        assert(row->places[i].state != AWAY);
        if (row->places[i].state == HERE)
            gone = clear(s, &row->places[i], gone);
    }
    (void)pthread_mutex_unlock(&s->lock);
    free_list(gone);
    free(row);
}

enum shelf_answer shelf_take(struct shelf_row *row, uint32_t block, bool again,
                             struct shelved **ret) {
    struct block_shelf *s = row->shelf;
    struct place *place = &row->places[block];
    struct shelved *what = NULL;
    enum shelf_answer answer = SHELF_PASS;
    assert(block < row->n_blocks);
    (void)pthread_mutex_lock(&s->lock);
    switch (place->state) {
    case UNREAD:
        place->state = SEEN;
        if (!again)
            break;
        /* fall through */
    case SEEN:
        if (is_full(s) && ++s->n_asked % FULL_SHARE != 0)
            break;
        place->state = AWAY;
        answer = SHELF_FILL;
        break;
    case HERE:
        what = place->what;
        unlink_shelved(s, what);
        *place = (struct place){.state = AWAY};
        answer = SHELF_USE;
        break;
    case AWAY:
        break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (what) {
        budget_give(BUDGET_QUERIES, what->cost_bytes);
        *ret = what;
    }
    return answer;
}

void shelf_put(struct shelf_row *row, uint32_t block, struct shelved *what, size_t cost_bytes) {
    struct block_shelf *s = row->shelf;
    struct place *place = &row->places[block];
    struct shelved *gone = NULL;
    bool is_tight = budget_is_tight(BUDGET_QUERIES);
    bool keeps = what && cost_bytes <= s->budget_bytes / COST_SHARE && !is_tight &&
                 budget_take(BUDGET_QUERIES, cost_bytes);
    (void)pthread_mutex_lock(&s->lock);
    assert(place->state == AWAY);
    place->state = SEEN;
    if (keeps) {
        what->row = row;
        what->block = block;
        what->cost_bytes = cost_bytes;
        *place = (struct place){.state = HERE, .what = what};
        link_shelved(s, what);
    }
    while (s->total_bytes > s->budget_bytes)
        gone = clear_oldest(s, gone);
    if (is_tight && s->shelved.oldest)
        gone = clear_oldest(s, gone);
    (void)pthread_mutex_unlock(&s->lock);
    free_list(gone);
    if (what && !keeps)
        what->free(what);
}

void block_shelf_stats(struct block_shelf *s, uint64_t *ret_bytes, uint64_t *ret_count) {
    (void)pthread_mutex_lock(&s->lock);
    *ret_bytes = s->total_bytes;
    *ret_count = s->count;
    (void)pthread_mutex_unlock(&s->lock);
}
