#include "snapshot_sieve.h"

#include <errno.h>

#include "sieve_cache.h"

enum {
    CHUNKS_MIN = 8, /* of a day: to ask a sieve costs what opening some files does */
    DAYS_MAX = 4096,
};

struct day {
    size_t n_chunks;
    struct known_sieve *known; /* NULL: not asked */
    uint64_t *alive;
    bool is_ready;
};

struct sieving {
    struct store *store;
    const struct select *sel;
    int32_t first_day;
    struct day *days;
    size_t n_days;
};

/* A day for each of those between the first and the last. False: there is nothing to gain. */
static bool span_days(struct sieving *v, const struct index_chunk *const *rows, size_t n) {
    int32_t first = INT32_MAX, last = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        first = rows[i]->day < first ? rows[i]->day : first;
        last = rows[i]->day > last ? rows[i]->day : last;
    }
    if (n < CHUNKS_MIN || (int64_t)last - first >= DAYS_MAX)
        return false;
    v->first_day = first;
    v->n_days = (size_t)(last - first) + 1;
    return true;
}

static void ask(struct sieving *v, struct day *d, bool wait, struct buf *scratch) {
    bool damaged = false;
    d->is_ready =
        sieve_ask(sieve_of(d->known), v->sel->grams, wait, scratch, d->alive, &damaged) == 0;
    if (damaged)
        sieve_note_damage(v->store, d->known);
}

/* What the disk has to bring is asked of it for all days together, twice: what opening reads, and what the needle does. */
static int ask_days(struct sieving *v, struct arena *arena) {
    struct buf scratch = buf_make(BUF_NO_MAX);
    int r = 0;
    for (size_t i = 0; i < v->n_days; i++)
        if (v->days[i].n_chunks >= CHUNKS_MIN && v->n_days > 1)
            sieve_expect(v->store, v->sel->tenant, v->first_day + (int32_t)i);
    for (size_t i = 0; i < v->n_days && r == 0; i++) {
        struct day *d = &v->days[i];
        if (d->n_chunks < CHUNKS_MIN)
            continue;
        d->known = sieve_get(v->store, v->sel->tenant, v->first_day + (int32_t)i);
        if (!d->known)
            continue;
        d->alive = arena_array(arena, sieve_words(sieve_of(d->known)), sizeof(*d->alive));
        if (!d->alive) {
            r = -ENOMEM;
            break;
        }
        sieve_begin(sieve_of(d->known), d->alive);
        ask(v, d, false, &scratch);
    }
    for (size_t i = 0; i < v->n_days && r == 0; i++)
        if (v->days[i].known && !v->days[i].is_ready)
            ask(v, &v->days[i], true, &scratch);
    buf_done(&scratch);
    return r;
}

static bool passes(const struct sieving *v, const struct index_chunk *row) {
    const struct day *d = &v->days[row->day - v->first_day];
    if (!d->known)
        return true;
    const struct sieve *sieve = sieve_of(d->known);
    int64_t chunk = sieve_find(sieve, sieve_fingerprint(row));
    return chunk < 0 || sieve_may_contain(sieve, chunk, d->alive);
}

int snapshot_sieve(struct store *s, const struct select *sel, const struct index_chunk *const *rows,
                   size_t n, struct arena *arena, bool *ret) {
    struct sieving v = {.store = s, .sel = sel};
    for (size_t i = 0; i < n; i++)
        ret[i] = true;
    if (!sel->grams || sel->grams->count == 0 || !span_days(&v, rows, n))
        return 0;
    v.days = arena_array(arena, v.n_days, sizeof(*v.days));
    if (!v.days)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        v.days[rows[i]->day - v.first_day].n_chunks++;
    int r = ask_days(&v, arena);
    uint64_t skipped = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        ret[i] = passes(&v, rows[i]);
        skipped += !ret[i];
    }
    for (size_t i = 0; i < v.n_days; i++)
        sieve_put(s, v.days[i].known);
    atomic_fetch_add(&s->sieves.asked, 1);
    atomic_fetch_add(&s->sieves.chunks_skipped, skipped);
    return r;
}
