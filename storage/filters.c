/* How much a needle reads: a gram halves the blocks that may hold it, so a file of n blocks has answered after log2(n)
 * grams and some. Pages are chosen by how many of the needle's grams they serve. From disk they are asked for together,
 * before any is looked at: it answers hundreds of small reads at once in the time of a few one after the other.
 *
 * A page that is read costs a fifth of one that is mapped for the first time, of which a map, three hints and some faults
 * are made and taken away again. A page that is mapped costs nothing the second time. */
#include "filters.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "bytes.h"
#include "err.h"
#include "hash.h"
#include "io.h"
#include "mapguard.h"
#include "slices.h"

/* What is known of a page, or of a filter that stands alone. COMING: it has been asked for. */
enum { PART_UNKNOWN, PART_COMING, PART_GOOD, PART_BAD };

enum {
    /* Grams that are fetched beyond those that halve the blocks to one: of 16 files one has to wait for more. */
    GRAMS_TO_SPARE = 3,
    GRAMS_MORE = 6,   /* and asks for so many at once */
    GRAMS_ENOUGH = 3, /* of one page: to look for a better one takes longer than to read this one */
    TOUCHED_SHARE = 16, /* of a map */
    PREFETCH_GRAMS = 4,
    PREFETCH_BYTES = 512,
    /* Smaller filters are copied: a process may have only some 65,000 mappings (vm.max_map_count), and queries hold
     * the chunks of all their streams open. */
    COPY_MAX = 8 << 10,
};

/* What filters are asked in. */
struct body {
    const uint8_t *bytes; /* the first byte of the filters */
    char *map; /* what io_mmap gave: from the start of its page; NULL: `bytes` are a copy */
    size_t map_size;
    int map_guard;
};

struct filters {
    struct filters_layout layout;
    struct slices slices;
    _Atomic(struct body *) *body; /* NULL until it is wanted */
    uint64_t page_mask;           /* of the machine's pages, which may be larger than ours */
    size_t lead;                  /* bytes of the first page that are before the filters */
    size_t n_parts;               /* pages, or filters that stand alone */
    _Atomic uint8_t *states;      /* of each part; one more: of all pages */
};

uint64_t filters_page_count(uint64_t begin, uint64_t end) {
    return begin == end ? 0 : (end - 1) / FILTERS_PAGE - begin / FILTERS_PAGE + 1;
}

static bool is_sliced(const struct filters *f) {
    return f->layout.page_sums;
}

static int map_body(const struct filters *f, int fd, struct body *b) {
    const struct filters_layout *l = &f->layout;
    uint64_t from = l->begin & f->page_mask;
    void *map = NULL;
    b->map_size = (size_t)(l->end - from);
    int r = io_mmap(fd, from, b->map_size, &map);
    if (r < 0)
        return r;
    b->map = map;
    b->bytes = (const uint8_t *)map + (l->begin - from);
    /* A disk error would end the process: it reads as bits that let everything pass. */
    b->map_guard = map_guard_add(map, b->map_size);
    return 0;
}

static int copy_body(const struct filters *f, int fd, bool wait, struct body *b) {
    const struct filters_layout *l = &f->layout;
    size_t size = (size_t)(l->end - l->begin);
    uint8_t *copy = malloc(size);
    if (!copy)
        return -ENOMEM;
    b->bytes = copy;
    ssize_t n = wait ? io_pread_all(fd, copy, size, l->base + l->begin)
                     : io_pread_now(fd, copy, size, l->base + l->begin);
    return n == (ssize_t)size ? 0 : n < 0 ? (int)n : -EIO;
}

static void body_free(struct body *b) {
    if (!b)
        return;
    if (b->map) {
        map_guard_remove(b->map_guard);
        io_munmap(b->map, b->map_size);
    } else {
        free((uint8_t *)b->bytes);
    }
    free(b);
}

/* What stands within another file does not begin with a page. */
static bool is_mapped(const struct filters *f) {
    const struct filters_layout *l = &f->layout;
    return l->base == 0 && l->end - l->begin > COPY_MAX;
}

static int body_new(const struct filters *f, int fd, bool wait, struct body **ret) {
    struct body *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    int r = is_mapped(f) ? map_body(f, fd, b) : copy_body(f, fd, wait, b);
    if (r < 0) {
        body_free(b);
        return r;
    }
    *ret = b;
    return 0;
}

/* NULL: there is none yet. */
static const struct body *body_of(const struct filters *f) {
    return atomic_load_explicit(f->body, memory_order_acquire);
}

/* Of two threads that map it at the same time the first one's stays. */
static const struct body *body_get_by(const struct filters *f, int fd) {
    struct body *present = NULL, *fresh;
    if (body_new(f, fd, true, &fresh) < 0)
        return NULL;
    if (atomic_compare_exchange_strong(f->body, &present, fresh))
        return fresh;
    body_free(fresh);
    return present;
}

/* NULL: there is nothing to ask, or it cannot be had now: every block passes. */
static const struct body *body_get(const struct filters *f) {
    const struct body *present = f ? body_of(f) : NULL;
    if (!f || present || !is_mapped(f))
        return present;
    int fd = io_open(f->layout.dir_fd, f->layout.name, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0)
        present = body_get_by(f, fd);
    io_close(fd);
    return present;
}

void filters_map(const struct filters *f, int fd) {
    if (f && !body_of(f) && is_mapped(f))
        (void)body_get_by(f, fd);
}

static int check_layout(struct filters *f, struct arena *arena) {
    const struct filters_layout *l = &f->layout;
    if (is_sliced(f)) {
        int r = slices_make(l->sizes, l->n, l->shift, arena, &f->slices);
        return r < 0 ? r : slices_bytes(&f->slices) == l->end - l->begin ? 0 : -ECORRUPT;
    }
    for (uint32_t i = 0; i < l->n; i++)
        if (l->sizes[i] > 0 && (l->offsets[i] % 8 != 0 || l->offsets[i] < l->begin ||
                                l->offsets[i] > l->end || l->sizes[i] > l->end - l->offsets[i]))
            return -ECORRUPT;
    return 0;
}

int filters_open(int fd, const struct filters_layout *layout, bool wait, struct arena *arena,
                 struct filters **ret) {
    struct filters *f = arena_array(arena, 1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->layout = *layout;
    f->n_parts = is_sliced(f) ? (size_t)filters_page_count(layout->begin, layout->end) : layout->n;
    f->states = arena_array(arena, f->n_parts + 1, sizeof(*f->states));
    f->body = arena_array(arena, 1, sizeof(*f->body));
    int r = f->states && f->body ? check_layout(f, arena) : -ENOMEM;
    f->lead = layout->begin % FILTERS_PAGE;
    f->page_mask = ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
    struct body *copy = NULL;
    if (r == 0 && !is_mapped(f) && layout->begin < layout->end)
        r = body_new(f, fd, wait, &copy);
    if (r == -ENOMEM || r == -EAGAIN || r == -ECORRUPT)
        return r;
    /* A disk error leaves the chunk without filters: every block passes. */
    atomic_store(f->body, copy);
    *ret = f;
    return 0;
}

void filters_close(struct filters *f) {
    if (f)
        body_free(atomic_load(f->body));
}

size_t filters_cost_bytes(const struct filters *f) {
    size_t size = f ? (size_t)(f->layout.end - f->layout.begin) : 0;
    return f && is_mapped(f) ? size / TOUCHED_SHARE : size;
}

/* ---- checksums; two threads may look at the same part at the same time, both find the same */

static uint8_t state_of(const struct filters *f, uint64_t part) {
    return atomic_load_explicit(&f->states[part], memory_order_relaxed);
}

static void set_state(const struct filters *f, uint64_t part, uint8_t state) {
    atomic_store_explicit(&f->states[part], state, memory_order_relaxed);
}

static bool page_is_sound(const struct filters *f, uint64_t page) {
    uint8_t state = state_of(f, page);
    if (state < PART_GOOD) {
        uint64_t size = slices_bytes(&f->slices);
        uint64_t from = page == 0 ? 0 : page * FILTERS_PAGE - f->lead;
        uint64_t to = (page + 1) * FILTERS_PAGE - f->lead;
        uint64_t sum = hash64(body_of(f)->bytes + from, (size_t)((to < size ? to : size) - from));
        state = (uint32_t)sum == get_le32(f->layout.page_sums + 4 * page) ? PART_GOOD : PART_BAD;
        set_state(f, page, state);
    }
    return state == PART_GOOD;
}

/* The pages of a slice: [first, last]. */
struct pages {
    uint64_t first, last;
};

static struct pages pages_of(const struct filters *f, uint32_t slice) {
    uint64_t stride = slices_stride(&f->slices), from = f->lead + slice * stride;
    return (struct pages){from / FILTERS_PAGE, (from + stride - 1) / FILTERS_PAGE};
}

/* The bytes of a slice; NULL when some are damaged. */
static const uint8_t *sound_slice(const struct filters *f, uint32_t slice) {
    struct pages p = pages_of(f, slice);
    for (uint64_t page = p.first; page <= p.last; page++)
        if (!page_is_sound(f, page))
            return NULL;
    return body_of(f)->bytes + (uint64_t)slice * slices_stride(&f->slices);
}

static bool slice_is_unknown(const struct filters *f, uint32_t slice) {
    struct pages p = pages_of(f, slice);
    for (uint64_t page = p.first; page <= p.last; page++)
        if (state_of(f, page) == PART_UNKNOWN)
            return true;
    return false;
}

/* A filter of an older file; empty when there is none or it is damaged. */
static struct str lone_filter(const struct filters *f, uint32_t i) {
    const struct filters_layout *l = &f->layout;
    if (l->sizes[i] == 0)
        return (struct str){0};
    struct str filter =
        str_make((const char *)body_of(f)->bytes + (l->offsets[i] - l->begin), l->sizes[i]);
    uint8_t state = state_of(f, i);
    if (state < PART_GOOD) {
        bool good = (uint32_t)hash_str(filter) == l->checksums[i] &&
                    gram_filter_is_sound((const uint8_t *)filter.data, filter.size);
        state = good ? PART_GOOD : PART_BAD;
        set_state(f, i, state);
    }
    return state == PART_GOOD ? filter : (struct str){0};
}

/* ---- what will be asked */

static void fetch(const struct filters *f, struct pages p) {
    const struct body *b = body_of(f);
    uint64_t lead = (uint64_t)((const char *)b->bytes - b->map) - f->lead; /* large pages */
    uint64_t from = lead + p.first * FILTERS_PAGE, to = lead + (p.last + 1) * FILTERS_PAGE;
    from &= f->page_mask;
    io_map_will_need(b->map + from, (size_t)((to < b->map_size ? to : b->map_size) - from));
    for (uint64_t page = p.first; page <= p.last; page++)
        if (state_of(f, page) == PART_UNKNOWN)
            set_state(f, page, PART_COMING);
}

/* From memory, too: the slices that are likely to be asked. */
static void prefetch(const struct filters *f, const struct gram_query *q) {
    uint32_t stride = slices_stride(&f->slices);
    for (uint32_t i = 0; i < q->count && i < PREFETCH_GRAMS; i++) {
        uint32_t slice = slices_find(&f->slices, q->hashes[i]);
        if (state_of(f, pages_of(f, slice).first) != PART_GOOD)
            continue;
        const uint8_t *p = body_of(f)->bytes + (uint64_t)slice * stride;
        for (uint32_t at = 0; at < stride && at < PREFETCH_BYTES; at += 64)
            __builtin_prefetch(p + at);
    }
}

/* Of the grams whose slices are not there yet, the one whose page serves most of them; q->count when there is none. */
static uint32_t busiest(const struct filters *f, const struct gram_query *q) {
    uint64_t pages[GRAM_QUERY_MAX];
    uint32_t grams[GRAM_QUERY_MAX], n = 0, best = q->count, most = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        uint32_t slice = slices_find(&f->slices, q->hashes[i]);
        if (!slice_is_unknown(f, slice))
            continue;
        grams[n] = i;
        pages[n++] = pages_of(f, slice).first;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t served = 0;
        for (uint32_t k = 0; k < n; k++)
            served += pages[k] == pages[i];
        if (served > most) { /* the first is the rarest */
            most = served;
            best = grams[i];
        }
    }
    return best;
}

/* Grams whose slices are there or on their way; no more are counted than `max`. */
static uint32_t count_there(const struct filters *f, const struct gram_query *q, uint32_t max) {
    uint32_t there = 0;
    for (uint32_t i = 0; i < q->count && there < max; i++)
        there += !slice_is_unknown(f, slices_find(&f->slices, q->hashes[i]));
    return there;
}

/* Until `wanted` of them are there or on their way. */
static void fetch_grams(const struct filters *f, const struct gram_query *q, uint32_t wanted) {
    if (wanted > q->count)
        wanted = q->count;
    while (count_there(f, q, wanted) < wanted)
        fetch(f, pages_of(f, slices_find(&f->slices, q->hashes[busiest(f, q)])));
}

bool filters_expect(const struct filters *f, const struct gram_query *q) {
    const struct body *b = q->count > 0 ? body_get(f) : NULL;
    if (!b || !b->map)
        return true; /* a copy needs nothing */
    if (!is_sliced(f)) {
        bool unknown = state_of(f, 0) == PART_UNKNOWN;
        if (unknown) {
            io_map_will_need(b->map, b->map_size);
            set_state(f, 0, PART_COMING);
        }
        return !unknown;
    }
    uint32_t wanted = 32 - (uint32_t)__builtin_clz(f->layout.n) + GRAMS_TO_SPARE;
    if (wanted > q->count)
        wanted = q->count;
    bool there = count_there(f, q, wanted) == wanted;
    if (!there)
        fetch_grams(f, q, wanted);
    prefetch(f, q);
    return there;
}

/* ---- asking */

bool filters_may_contain(const struct filters *f, uint32_t i, const struct gram_query *q) {
    if (!body_get(f))
        return true;
    if (!is_sliced(f)) {
        struct str filter = lone_filter(f, i);
        return filter.size == 0 || gram_may_contain((const uint8_t *)filter.data, filter.size, q);
    }
    for (uint32_t k = 0; k < q->count; k++) {
        const uint8_t *slice = sound_slice(f, slices_find(&f->slices, q->hashes[k]));
        if (slice && !slices_may_contain(&f->slices, slice, q->hashes[k], i))
            return false;
    }
    return true;
}

static bool narrow_lone(const struct filters *f, const struct gram_query *q, uint64_t *alive) {
    bool any = false;
    for (uint32_t i = 0; i < f->layout.n; i++) {
        uint64_t bit = (uint64_t)1 << (i & 63);
        if (!(alive[i >> 6] & bit))
            continue;
        if (filters_may_contain(f, i, q))
            any = true;
        else
            alive[i >> 6] &= ~bit;
    }
    return any;
}

bool filters_narrow(const struct filters *f, const struct gram_query *q, uint64_t *alive) {
    const struct body *b = q->count > 0 ? body_get(f) : NULL;
    if (!b)
        return true;
    if (!is_sliced(f))
        return narrow_lone(f, q, alive);
    /* What is there first, then what has to be waited for. */
    uint64_t asked = 0;
    static_assert(GRAM_QUERY_MAX <= 64, "a bit per gram");
    uint32_t left = q->count;
    while (left > 0) {
        for (uint32_t i = 0; i < q->count; i++) {
            uint32_t number = slices_find(&f->slices, q->hashes[i]);
            if (asked >> i & 1 || (b->map && slice_is_unknown(f, number)))
                continue;
            left--;
            asked |= (uint64_t)1 << i;
            const uint8_t *slice = sound_slice(f, number);
            if (slice && !slices_narrow(&f->slices, slice, q->hashes[i], alive))
                return false;
        }
        if (left > 0)
            fetch_grams(f, q, count_there(f, q, q->count) + GRAMS_MORE);
    }
    return true;
}

/* ---- without a map */

/* The query's grams and the pages that they are on. */
struct needs {
    const struct gram_query *q;
    struct pages pages[GRAM_QUERY_MAX];
    uint64_t left; /* a bit for each gram that has not been asked */
};

static void needs_init(struct needs *n, const struct filters *f, const struct gram_query *q) {
    n->q = q;
    n->left = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        n->pages[i] = pages_of(f, slices_find(&f->slices, q->hashes[i]));
        n->left |= (uint64_t)1 << i;
    }
}

static bool serves(const struct pages *p, const struct pages *wanted) {
    return p->first <= wanted->first && wanted->last <= p->last;
}

/* Takes those out that the pages serve; returns them. */
static uint64_t take_served(struct needs *n, const struct pages *p) {
    uint64_t served = 0;
    for (uint64_t bits = n->left; bits != 0; bits &= bits - 1)
        if (serves(p, &n->pages[__builtin_ctzll(bits)]))
            served |= bits & -bits;
    n->left &= ~served;
    return served;
}

/* The pages that serve most of the grams that are left, or enough. */
static struct pages most_useful(const struct needs *n) {
    struct pages best = {0};
    unsigned most = 0;
    for (uint64_t bits = n->left; bits != 0 && most < GRAMS_ENOUGH; bits &= bits - 1) {
        const struct pages *p = &n->pages[__builtin_ctzll(bits)];
        unsigned served = 0;
        for (uint64_t others = n->left; others != 0; others &= others - 1)
            served += serves(p, &n->pages[__builtin_ctzll(others)]);
        if (served > most) { /* the first is the rarest */
            most = served;
            best = *p;
        }
    }
    return best;
}

/* Where pages are among the bytes of all filters. */
struct span {
    uint64_t from, size;
};

static struct span span_of(const struct filters *f, struct pages p) {
    uint64_t from = p.first == 0 ? 0 : p.first * FILTERS_PAGE - f->lead;
    uint64_t to = (p.last + 1) * FILTERS_PAGE - f->lead, all = slices_bytes(&f->slices);
    return (struct span){from, (to < all ? to : all) - from};
}

/* Asks the disk for the pages of as many grams as are likely to be asked, but for those that have been. */
static void hint(const struct filters *f, int fd, struct needs *n) {
    uint32_t wanted = 32 - (uint32_t)__builtin_clz(f->layout.n) + GRAMS_TO_SPARE;
    uint32_t asked = n->q->count - (uint32_t)__builtin_popcountll(n->left);
    while (n->left != 0 && asked < wanted) {
        struct pages p = most_useful(n);
        struct span span = span_of(f, p);
        io_will_need(fd, f->layout.base + f->layout.begin + span.from, (size_t)span.size);
        asked += (uint32_t)__builtin_popcountll(take_served(n, &p));
    }
}

static bool are_sound(const struct filters *f, struct pages p, const uint8_t *bytes) {
    bool sound = true;
    for (uint64_t page = p.first; page <= p.last && sound; page++) {
        struct span span = span_of(f, (struct pages){page, page});
        uint32_t sum = (uint32_t)hash64(bytes, (size_t)span.size);
        sound = sum == get_le32(f->layout.page_sums + 4 * page);
        bytes += span.size;
    }
    return sound;
}

/* Reads the pages and asks the grams of `asked` there. 1: no block is left; or -EAGAIN. */
static int ask_pages(const struct filters *f, int fd, const struct gram_query *q, struct pages p,
                     uint64_t asked, bool wait, struct buf *scratch, uint64_t *alive) {
    struct span span = span_of(f, p);
    uint64_t offset = f->layout.base + f->layout.begin + span.from;
    buf_clear(scratch);
    if (buf_reserve(scratch, (size_t)span.size) < 0)
        return 0; /* what cannot be asked lets everything pass */
    uint8_t *bytes = (uint8_t *)scratch->data;
    ssize_t n = wait ? io_pread_all(fd, bytes, (size_t)span.size, offset)
                     : io_pread_now(fd, bytes, (size_t)span.size, offset);
    if (n < 0 && !wait)
        return -EAGAIN;
    if (n != (ssize_t)span.size || !are_sound(f, p, bytes))
        return 0;
    for (; asked != 0; asked &= asked - 1) {
        uint32_t hash = q->hashes[__builtin_ctzll(asked)];
        uint64_t at = (uint64_t)slices_find(&f->slices, hash) * slices_stride(&f->slices);
        if (!slices_narrow(&f->slices, bytes + (at - span.from), hash, alive))
            return 1;
    }
    return 0;
}

int filters_try(const struct filters *f, int fd, const struct gram_query *q, bool wait,
                struct buf *scratch, uint64_t *alive) {
    if (!f || !is_mapped(f) || !is_sliced(f) || body_of(f)) {
        (void)filters_narrow(f, q, alive);
        return 0;
    }
    struct needs needs;
    needs_init(&needs, f, q);
    while (needs.left != 0) {
        struct pages p = most_useful(&needs);
        uint64_t asked = take_served(&needs, &p);
        int r = ask_pages(f, fd, q, p, asked, wait, scratch, alive);
        if (r == -EAGAIN) {
            needs.left |= asked;
            hint(f, fd, &needs);
        }
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return 0;
}

/* ---- as they were made */

static bool pages_are_sound(const struct filters *f) {
    uint8_t state = state_of(f, f->n_parts);
    if (state == PART_UNKNOWN) {
        if (body_of(f)->map)
            io_map_will_need(body_of(f)->map, body_of(f)->map_size);
        state = PART_GOOD;
        for (size_t page = 0; page < f->n_parts && state == PART_GOOD; page++)
            if (!page_is_sound(f, page))
                state = PART_BAD;
        set_state(f, f->n_parts, state);
    }
    return state == PART_GOOD;
}

bool filters_has(const struct filters *f, uint32_t i) {
    if (!body_get(f) || f->layout.sizes[i] == 0)
        return false;
    return is_sliced(f) ? pages_are_sound(f) : lone_filter(f, i).size > 0;
}

bool filters_take(const struct filters *f, uint32_t i, struct buf *out) {
    if (!filters_has(f, i))
        return false;
    uint32_t size = f->layout.sizes[i];
    buf_clear(out);
    if (buf_reserve(out, size) < 0)
        return false;
    if (is_sliced(f))
        slices_take(&f->slices, i, body_of(f)->bytes, size, (uint8_t *)out->data);
    else
        memcpy(out->data, lone_filter(f, i).data, size);
    out->size = size;
    return true;
}

uint32_t filters_size(const struct filters *f, uint32_t i) {
    return f ? f->layout.sizes[i] : 0;
}

bool filters_take_part(const struct filters *f, uint32_t i, uint32_t from, uint32_t to,
                       uint8_t *out) {
    if (!filters_has(f, i))
        return false;
    assert(from <= to && to <= f->layout.sizes[i] - GRAM_FILTER_HEADER);
    if (is_sliced(f))
        slices_take_part(&f->slices, i, body_of(f)->bytes, f->layout.sizes[i], from, to, out);
    else
        memcpy(out + GRAM_FILTER_HEADER + from, lone_filter(f, i).data + GRAM_FILTER_HEADER + from,
               to - from);
    return true;
}
