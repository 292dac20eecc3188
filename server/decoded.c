#include "decoded.h"

#include <assert.h>
#include <errno.h>

enum {
    STREAMS_FIRST = 16,
    ENTRIES_FIRST = 16,
    ENTRY_BYTES_GUESS = 128,      /* of a body, per entry: shorter ones make the array grow */
    ENTRIES_FIRST_MAX = 64 << 10, /* a body of a few long lines must not claim much */
    PAIRS_FIRST = 64,
    PAIRS_BLOCK_MAX = 16384
};

void decoded_push_init(struct decoded_push *d, struct arena *arena) {
    *d = (struct decoded_push){.arena = arena, .entries_first = ENTRIES_FIRST};
}

void decoded_expect(struct decoded_push *d, size_t body_size) {
    size_t guess = body_size / ENTRY_BYTES_GUESS;
    if (guess > ENTRIES_FIRST_MAX)
        guess = ENTRIES_FIRST_MAX;
    d->entries_first = guess > ENTRIES_FIRST ? guess : ENTRIES_FIRST;
}

/* A larger copy of an array; the old one stays in the arena, so at most as much again is wasted. */
static void *grow(struct arena *arena, const void *old, size_t count, size_t item_size,
                  size_t capacity) {
    size_t size;
    if (__builtin_mul_overflow(capacity, item_size, &size))
        return NULL;
    char *p = arena_alloc(arena, size);
    if (p && count > 0)
        memcpy(p, old, count * item_size);
    return p;
}

struct decoded_stream *decoded_add_stream(struct decoded_push *d) {
    if (d->n_streams >= PUSH_STREAMS_MAX)
        return NULL;
    if (d->n_streams == d->streams_capacity) {
        size_t capacity = d->streams_capacity > 0 ? d->streams_capacity * 2 : STREAMS_FIRST;
        void *p = grow(d->arena, d->streams, d->n_streams, sizeof(*d->streams), capacity);
        if (!p)
            return NULL;
        d->streams = p;
        d->streams_capacity = capacity;
    }
    struct decoded_stream *s = &d->streams[d->n_streams++];
    *s = (struct decoded_stream){.first_entry = (uint32_t)d->n_entries};
    return s;
}

struct entry *decoded_add_entry_slow(struct decoded_push *d, struct decoded_stream *s) {
    assert(s->first_entry + s->n_entries == d->n_entries && d->n_entries == d->entries_capacity);
    if (d->n_entries >= PUSH_ENTRIES_MAX)
        return NULL;
    size_t capacity = d->entries_capacity > 0 ? d->entries_capacity * 2 : d->entries_first;
    if (capacity > PUSH_ENTRIES_MAX)
        capacity = PUSH_ENTRIES_MAX;
    void *p = grow(d->arena, d->entries, d->n_entries, sizeof(*d->entries), capacity);
    if (!p)
        return NULL;
    d->entries = p;
    d->entries_capacity = capacity;
    return decoded_add_entry(d, s);
}

/* The pairs of one entry lie side by side. When the block is full, only the present entry's pairs move to a new
 * one; those of earlier entries stay where they are. */
bool decoded_add_meta(struct decoded_push *d, struct entry *e, struct str name, struct str value) {
    assert(e == &d->entries[d->n_entries - 1]);
    size_t count = e->meta_count;
    /* The first pair of an entry takes two places: its own and the free one behind. */
    size_t taken = count > 0 ? 1 : 2;
    if (d->n_pairs + taken > d->pairs_capacity) {
        size_t capacity = d->pairs_capacity > 0 ? d->pairs_capacity * 2 : PAIRS_FIRST;
        if (capacity > PAIRS_BLOCK_MAX)
            capacity = PAIRS_BLOCK_MAX;
        if (capacity < 2 * (count + 2))
            capacity = 2 * (count + 2);
        struct label *p = grow(d->arena, e->meta, count, sizeof(*p), capacity);
        if (!p)
            return false;
        d->pairs = p;
        d->pairs_capacity = capacity;
        d->n_pairs = count > 0 ? count + 1 : 0;
        e->meta = p;
    } else if (count == 0) {
        e->meta = d->pairs + d->n_pairs;
    }
    ((struct label *)e->meta)[count] = (struct label){.name = name, .value = value};
    e->meta_count++;
    d->n_pairs += taken;
    return true;
}

int decoded_error(const struct decoded_push *d, struct err *reterr) {
    if (d->n_streams >= PUSH_STREAMS_MAX)
        return err_set(reterr, -E2BIG,
                       "request body too large: it has more than %d streams; send fewer at once",
                       PUSH_STREAMS_MAX);
    if (d->n_entries >= PUSH_ENTRIES_MAX)
        return err_set(reterr, -E2BIG,
                       "request body too large: it has more than %d lines; send fewer at once",
                       PUSH_ENTRIES_MAX);
    /* An array that would pass the arena's maximum is the sender's fault, not a lack of memory. */
    size_t next = (d->entries_capacity * sizeof(struct entry) +
                   d->streams_capacity * sizeof(struct decoded_stream) +
                   PAIRS_BLOCK_MAX * sizeof(struct label)) *
                  2;
    if (next > d->arena->max_bytes || d->arena->total_bytes > d->arena->max_bytes - next)
        return err_set(reterr, -E2BIG,
                       "request body too large: it needs more than %zu bytes of working memory; "
                       "send fewer lines at once",
                       d->arena->max_bytes);
    return err_set(reterr, -ENOMEM, "out of memory while reading a push of %zu lines",
                   d->n_entries);
}
