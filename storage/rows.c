#include "rows.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "arena.h"
#include "hash.h"
#include "stock.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    ROWS_FIRST = 8, /* entries of a new block at least: many streams hold a few lines only */
    ROWS_FIRST_LINES = 512,
    META_FIRST = 256,
    ROWS_FIRST_SETS = 8,
    SLOTS_FIRST = 2 * ROWS_FIRST_SETS,
    ROUND = 64,
    TAIL_LOOK_BACK = 8, /* equal times at the end that are compared directly */
    META_BYTES_MAX = 256 << 20,
    SEEN_FIRST = 64,
    HINT_SLACK = 16 << 10, /* the last line of a block reaches over the target */
};

struct meta_sets {
    atomic_int refs;
    struct arena arena;
    /* Writer only: set hash -> id + 1, open addressing. */
    uint32_t *slots;
    uint64_t *hashes; /* per id */
    uint32_t slots_capacity, hashes_capacity;
    uint64_t first_hashes[ROWS_FIRST_SETS];
    uint32_t first_slots[SLOTS_FIRST];
};

uint32_t labels_bytes(struct labels labels) {
    size_t n = 0;
    for (size_t i = 0; i < labels.count; i++)
        n += labels.items[i].name.size + labels.items[i].value.size;
    return (uint32_t)n;
}

static void meta_sets_unref(struct meta_sets *m) {
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    arena_done(&m->arena);
    if (m->slots != m->first_slots)
        free(m->slots);
    if (m->hashes != m->first_hashes)
        free(m->hashes);
    free(m);
}

struct rows *rows_ref(struct rows *r) {
    (void)atomic_fetch_add(&r->refs, 1);
    return r;
}

void rows_unref(struct rows *r) {
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    meta_sets_unref(r->meta);
    stock_give(r);
}

static struct meta_sets *meta_sets_new(void) {
    struct meta_sets *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    atomic_init(&m->refs, 1);
    m->arena = arena_make(META_BYTES_MAX);
    m->arena.first_bytes = META_FIRST;
    m->slots = m->first_slots;
    m->hashes = m->first_hashes;
    m->slots_capacity = SLOTS_FIRST;
    m->hashes_capacity = ROWS_FIRST_SETS;
    return m;
}

/* What a struct rows has room for. */
struct room {
    uint32_t entries, lines, sets;
};

static size_t rows_size(struct room room) {
    return sizeof(struct rows) + (size_t)room.entries * (8 + 4 + 4) + 4 + (size_t)room.sets * 8 +
           room.lines + LINETAB_SLACK;
}

/* One allocation: the struct, then the arrays, those of the largest elements first. */
static struct rows *rows_new(struct room room) {
    size_t size = rows_size(room), whole;
    struct rows *r = stock_take(size, &whole);
    if (!r)
        return NULL;
    if (whole - size <= UINT32_MAX - room.lines)
        room.lines += (uint32_t)(whole - size);
    *r = (struct rows){.capacity = room.entries,
                       .lines_capacity = room.lines,
                       .sets_capacity = room.sets,
                       .times = (int64_t *)(r + 1)};
    atomic_init(&r->refs, 1);
    r->sets = (const struct labels **)(r->times + room.entries);
    r->offsets = (uint32_t *)(r->sets + room.sets);
    r->meta_ids = r->offsets + room.entries + 1;
    r->lines = (char *)(r->meta_ids + room.entries);
    return r;
}

static_assert(sizeof(struct rows) % 8 == 0 && sizeof(struct labels *) == 8, "places of arrays");

static const struct labels empty_set;

static int first_rows(struct rows_builder *b, uint64_t entries, uint64_t line_bytes) {
    struct room room = {
        .entries = b->hint_entries, .lines = b->hint_lines, .sets = ROWS_FIRST_SETS};
    if (entries < ROWS_FIRST)
        entries = ROWS_FIRST;
    if (line_bytes < ROWS_FIRST_LINES)
        line_bytes = ROWS_FIRST_LINES;
    if (room.entries < entries)
        room.entries = (uint32_t)entries;
    if (room.lines < line_bytes)
        room.lines = (uint32_t)line_bytes;
    struct rows *r = rows_new(room);
    if (!r)
        return -ENOMEM;
    r->meta = meta_sets_new();
    if (!r->meta) {
        rows_unref(r);
        return -ENOMEM;
    }
    r->offsets[0] = 0;
    r->sets[0] = &empty_set;
    b->rows = r;
    b->n_sets = 1;
    b->sorted = true;
    b->min_ns = INT64_MAX;
    b->max_ns = INT64_MIN;
    return 0;
}

/* Half more than what is used, or what is needed. An array that is nearly full grows with the one that is. */
static uint64_t grown(uint32_t capacity, uint32_t used, uint64_t needed) {
    if (needed <= capacity && used < capacity / 4 * 3)
        return capacity;
    uint64_t more = ((uint64_t)used + used / 2 + ROUND - 1) / ROUND * ROUND;
    return needed > more ? needed : more;
}

/* Room for so many more entries with so many bytes, separators included, and one more set; replaces b->rows when it must
 * grow. */
static int make_room(struct rows_builder *b, uint64_t entries, uint64_t line_bytes) {
    struct rows *old = b->rows;
    if (!old)
        return first_rows(b, entries, line_bytes);
    uint32_t used = old->offsets[b->count];
    if (b->count + entries <= old->capacity && b->n_sets < old->sets_capacity &&
        line_bytes <= old->lines_capacity - used)
        return 0;
    uint64_t wanted = grown(old->lines_capacity, used, used + line_bytes);
    uint64_t count = grown(old->capacity, b->count, b->count + entries);
    if (wanted > UINT32_MAX || count > UINT32_MAX)
        return -ENOMEM;
    struct room room = {.entries = (uint32_t)count,
                        .lines = (uint32_t)wanted,
                        .sets = b->n_sets < old->sets_capacity ? old->sets_capacity
                                                               : old->sets_capacity * 2};
    struct rows *r = rows_new(room);
    if (!r)
        return -ENOMEM;
    memcpy(r->times, old->times, sizeof(*r->times) * b->count);
    memcpy(r->offsets, old->offsets, sizeof(*r->offsets) * ((size_t)b->count + 1));
    memcpy(r->meta_ids, old->meta_ids, sizeof(*r->meta_ids) * b->count);
    memcpy(r->lines, old->lines, used);
    memcpy(r->sets, old->sets, sizeof(*r->sets) * b->n_sets);
    r->meta = old->meta;
    (void)atomic_fetch_add(&r->meta->refs, 1);
    rows_unref(old);
    b->rows = r;
    return 0;
}

int rows_reserve(struct rows_builder *b, const struct entry *entries, size_t count) {
    uint64_t n = 0, bytes = 0;
    for (; n < count && b->line_bytes + bytes < BLOCK_RAW_TARGET; n++)
        bytes += entries[n].line.size + 1;
    return n > 0 ? make_room(b, n, bytes) : 0;
}

static uint64_t set_hash(const struct label *meta, uint32_t count) {
    uint64_t h = count;
    for (uint32_t i = 0; i < count; i++)
        h = hash_mix(hash_mix(h, hash_str(meta[i].name)), hash_str(meta[i].value));
    return h;
}

static int grow_set_table(struct meta_sets *m, uint32_t n_sets) {
    if (n_sets >= m->hashes_capacity) {
        uint32_t capacity = m->hashes_capacity * 2;
        uint64_t *hashes = malloc(sizeof(*hashes) * capacity);
        if (!hashes)
            return -ENOMEM;
        memcpy(hashes, m->hashes, sizeof(*hashes) * m->hashes_capacity);
        if (m->hashes != m->first_hashes)
            free(m->hashes);
        m->hashes = hashes;
        m->hashes_capacity = capacity;
    }
    if (m->slots_capacity >= (n_sets + 1) * 2)
        return 0;
    uint32_t capacity = m->slots_capacity * 2;
    uint32_t *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (uint32_t id = 1; id < n_sets; id++) {
        uint32_t at = (uint32_t)m->hashes[id] & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = id + 1;
    }
    if (m->slots != m->first_slots)
        free(m->slots);
    m->slots = slots;
    m->slots_capacity = capacity;
    return 0;
}

static const struct labels *copy_set(struct arena *arena, const struct label *meta,
                                     uint32_t count) {
    struct labels *set = arena_alloc(arena, sizeof(*set));
    struct label *items = arena_alloc(arena, sizeof(*items) * count);
    if (!set || !items)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        items[i].name = arena_copy(arena, meta[i].name);
        items[i].value = arena_copy(arena, meta[i].value);
        if (!items[i].name.data || !items[i].value.data)
            return NULL;
    }
    *set = (struct labels){.items = items, .count = count};
    return set;
}

/* The id of a metadata set in this block; make_room has seen to it that one more fits. */
static int intern_set(struct rows_builder *b, const struct entry *e, uint32_t *ret_id) {
    struct meta_sets *m = b->rows->meta;
    int r = grow_set_table(m, b->n_sets);
    if (r < 0)
        return r;
    uint64_t hash = set_hash(e->meta, e->meta_count);
    struct labels wanted = {.items = e->meta, .count = e->meta_count};
    uint32_t at = (uint32_t)hash & (m->slots_capacity - 1);
    for (; m->slots[at]; at = (at + 1) & (m->slots_capacity - 1)) {
        uint32_t candidate = m->slots[at] - 1;
        if (m->hashes[candidate] == hash && labels_eq(*b->rows->sets[candidate], wanted)) {
            *ret_id = candidate;
            return 0;
        }
    }
    const struct labels *set = copy_set(&m->arena, e->meta, e->meta_count);
    if (!set)
        return -ENOMEM;
    uint32_t id = b->n_sets++;
    b->rows->sets[id] = set;
    m->hashes[id] = hash;
    m->slots[at] = id + 1;
    *ret_id = id;
    return 0;
}

/* Neighbours in an array of labels have places of their own: most entries have nothing but one of the static levels. */
static inline struct rows_recent_set *recent_set(struct rows_recent *recent,
                                                 const struct label *meta) {
    return &recent->sets[(uintptr_t)meta / sizeof(struct label) % ROWS_RECENT];
}

/* The set of an entry's metadata, and its bytes. */
static int intern_meta(struct rows_builder *b, const struct entry *e, struct rows_recent *recent,
                       uint32_t *ret_id, uint32_t *ret_bytes) {
    *ret_id = *ret_bytes = 0;
    if (e->meta_count == 0)
        return 0;
    if (recent) {
        const struct rows_recent_set *set = recent_set(recent, e->meta);
        if (set->meta == e->meta && set->count == e->meta_count) {
            *ret_id = set->id;
            *ret_bytes = set->bytes;
            return 0;
        }
    }
    int r = intern_set(b, e, ret_id);
    if (r < 0)
        return r;
    *ret_bytes = labels_bytes(*b->rows->sets[*ret_id]);
    if (recent)
        *recent_set(recent, e->meta) = (struct rows_recent_set){
            .meta = e->meta, .count = e->meta_count, .id = *ret_id, .bytes = *ret_bytes};
    return 0;
}

static uint64_t entry_hash(int64_t ts_ns, struct str line, uint32_t meta_id) {
    uint64_t h = hash_mix(hash_mix((uint64_t)ts_ns, hash_str(line)), meta_id);
    return h ? h : 1;
}

static bool same_entry(const struct rows *r, uint32_t i, int64_t ts_ns, struct str line,
                       uint32_t meta_id) {
    return r->times[i] == ts_ns && r->meta_ids[i] == meta_id && str_eq(rows_line(r, i), line);
}

static void seen_insert(struct rows_builder *b, uint64_t hash) {
    uint32_t at = (uint32_t)(hash >> 32) & (b->seen_capacity - 1);
    while (b->seen[at])
        at = (at + 1) & (b->seen_capacity - 1);
    b->seen[at] = hash;
    b->seen_count++;
}

static bool seen_contains(const struct rows_builder *b, uint64_t hash) {
    uint32_t at = (uint32_t)(hash >> 32) & (b->seen_capacity - 1);
    for (; b->seen[at]; at = (at + 1) & (b->seen_capacity - 1))
        if (b->seen[at] == hash)
            return true;
    return false;
}

/* Makes the table of entry hashes, or a larger one, over all present entries. */
static int seen_build(struct rows_builder *b) {
    uint32_t capacity = SEEN_FIRST;
    while (capacity < (b->count + 1) * 4)
        capacity *= 2;
    uint64_t *seen = calloc(capacity, sizeof(*seen));
    if (!seen)
        return -ENOMEM;
    free(b->seen);
    b->seen = seen;
    b->seen_capacity = capacity;
    b->seen_count = 0;
    for (uint32_t i = 0; i < b->count; i++)
        seen_insert(b, entry_hash(b->rows->times[i], rows_line(b->rows, i), b->rows->meta_ids[i]));
    return 0;
}

/* 1 duplicate, 0 new, -ENOMEM. In-order entries with a new time need no look at all; a few equal times at the
 * end are compared directly; whatever is left goes through the table of hashes. */
static int find_duplicate(struct rows_builder *b, const struct entry *e, uint32_t meta_id) {
    if (e->ts_ns > b->max_ns)
        return 0;
    if (b->sorted && e->ts_ns == b->max_ns && !b->seen) {
        uint32_t look = b->count < TAIL_LOOK_BACK ? b->count : TAIL_LOOK_BACK;
        for (uint32_t i = 1; i <= look; i++) {
            if (b->rows->times[b->count - i] != e->ts_ns)
                return 0;
            if (same_entry(b->rows, b->count - i, e->ts_ns, e->line, meta_id))
                return 1;
        }
        if (look < TAIL_LOOK_BACK)
            return 0;
    }
    if (!b->seen || (b->seen_count + 1) * 2 > b->seen_capacity) {
        int r = seen_build(b);
        if (r < 0)
            return r;
    }
    if (!seen_contains(b, entry_hash(e->ts_ns, e->line, meta_id)))
        return 0;
    for (uint32_t i = b->count; i > 0; i--)
        if (same_entry(b->rows, i - 1, e->ts_ns, e->line, meta_id))
            return 1;
    return 0;
}

int rows_add(struct rows_builder *b, const struct entry *e, struct rows_recent *recent) {
    int r = make_room(b, 1, e->line.size + 1);
    if (r < 0)
        return r;
    uint32_t meta_id, meta_bytes;
    r = intern_meta(b, e, recent, &meta_id, &meta_bytes);
    if (r < 0)
        return r;
    r = find_duplicate(b, e, meta_id);
    if (r != 0)
        return r < 0 ? r : 0;
    if (b->seen) {
        if ((b->seen_count + 1) * 2 > b->seen_capacity) {
            r = seen_build(b);
            if (r < 0)
                return r;
        }
        seen_insert(b, entry_hash(e->ts_ns, e->line, meta_id));
    }
    struct rows *rows = b->rows;
    uint32_t i = b->count;
    uint32_t at = rows->offsets[i];
    assert(i < rows->capacity && e->line.size + 1 <= rows->lines_capacity - at);
    rows->times[i] = e->ts_ns;
    rows->meta_ids[i] = meta_id;
    if (e->line.size > 0)
        memcpy(rows->lines + at, e->line.data, e->line.size);
    rows->lines[at + e->line.size] = '\n';
    rows->offsets[i + 1] = at + (uint32_t)e->line.size + 1;
    b->count++;
    b->line_bytes += (uint32_t)e->line.size;
    b->meta_bytes += meta_bytes;
    if (e->ts_ns < b->max_ns)
        b->sorted = false;
    if (e->ts_ns < b->min_ns)
        b->min_ns = e->ts_ns;
    if (e->ts_ns > b->max_ns)
        b->max_ns = e->ts_ns;
    return 1;
}

/* The bytes of lines i to i + count, whose offsets are set, and what stands behind each. */
static void copy_lines(struct rows *r, uint32_t i, const struct entry *entries, size_t count) {
    for (size_t k = 0; k < count; k++) {
        char *to = r->lines + r->offsets[i + k];
        struct str line = entries[k].line;
        if (line.size > 0)
            memcpy(to, line.data, line.size);
        to[line.size] = '\n';
    }
}

#if defined(__x86_64__)
/* The same by steps of 64 bytes. What is written too much is written over by the next line, or is LINETAB_SLACK. */
__attribute__((target("avx512f,avx512bw,bmi2"))) static void copy_lines_wide(
    struct rows *r, uint32_t i, const struct entry *entries, size_t count) {
    static_assert(LINETAB_SLACK >= 64, "a step may reach behind the last line");
    for (size_t k = 0; k < count; k++) {
        char *to = r->lines + r->offsets[i + k];
        const char *from = entries[k].line.data;
        size_t left = entries[k].line.size;
        for (; left > 64; left -= 64, from += 64, to += 64)
            _mm512_storeu_si512(to, _mm512_loadu_si512(from));
        __mmask64 rest = _bzhi_u64(~UINT64_C(0), (unsigned)left);
        _mm512_storeu_si512(to, _mm512_maskz_loadu_epi8(rest, from));
        to[left] = '\n';
    }
}
#endif

size_t rows_add_run(struct rows_builder *b, const struct entry *entries, size_t count,
                    struct rows_recent *recent) {
    struct rows *rows = b->rows;
    if (b->count == 0 || b->seen)
        return 0;
    uint32_t i = b->count, at = rows->offsets[i];
    size_t n = 0;
    for (; n < count && !rows_are_full(b); n++, i++) {
        const struct entry *e = &entries[n];
        size_t size = e->line.size;
        const struct rows_recent_set *set = recent_set(recent, e->meta);
        if (e->ts_ns <= b->max_ns || i == rows->capacity || size >= rows->lines_capacity - at ||
            e->meta != set->meta || e->meta_count != set->count)
            break;
        rows->times[i] = e->ts_ns;
        rows->meta_ids[i] = set->id;
        at += (uint32_t)size + 1;
        rows->offsets[i + 1] = at;
        b->count++;
        b->max_ns = e->ts_ns;
        b->meta_bytes += set->bytes;
        b->line_bytes += (uint32_t)size;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2")) {
        copy_lines_wide(rows, b->count - (uint32_t)n, entries, n);
        return n;
    }
#endif
    copy_lines(rows, b->count - (uint32_t)n, entries, n);
    return n;
}

size_t rows_memory(const struct rows_builder *b) {
    if (!b->rows)
        return 0;
    const struct rows *r = b->rows;
    const struct meta_sets *m = r->meta;
    size_t slots = m->slots == m->first_slots ? 0 : (size_t)m->slots_capacity * 4;
    size_t hashes = m->hashes == m->first_hashes ? 0 : (size_t)m->hashes_capacity * 8;
    struct room room = {r->capacity, r->lines_capacity, r->sets_capacity};
    return rows_size(room) + sizeof(*m) + m->arena.total_bytes + slots + hashes +
           (size_t)b->seen_capacity * 8;
}

struct rows *rows_take(struct rows_builder *b) {
    struct rows *r = b->rows;
    struct rows_builder empty = {0};
    if (r && b->line_bytes >= BLOCK_RAW_TARGET) {
        empty.hint_entries = b->count + b->count / 8 + ROWS_FIRST;
        empty.hint_lines = r->offsets[b->count] + HINT_SLACK;
    }
    free(b->seen);
    *b = empty;
    return r;
}

void rows_builder_done(struct rows_builder *b) {
    rows_unref(rows_take(b));
}

struct sort_key {
    int64_t ts_ns;
    uint32_t index;
};

static int compare_keys(const void *a, const void *b) {
    const struct sort_key *x = a, *y = b;
    if (x->ts_ns != y->ts_ns)
        return x->ts_ns < y->ts_ns ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

int rows_time_order(const struct rows *r, uint32_t count, uint32_t *ret_order) {
    struct sort_key *keys = malloc(sizeof(*keys) * ((size_t)count + 1));
    if (!keys)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        keys[i] = (struct sort_key){.ts_ns = r->times[i], .index = i};
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (uint32_t i = 0; i < count; i++)
        ret_order[i] = keys[i].index;
    free(keys);
    return 0;
}
