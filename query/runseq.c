#include "runseq.h"

#include <stdlib.h>
#include <string.h>

#include "byte_runs.h"
#include "byteseq.h"
#include "finder.h"

struct runseq {
    size_t n;
    struct byte_run runs[BYTE_RUNS_MAX];
    uint64_t allowed[256]; /* bit i: the byte may stand in run i */
    char literal[BYTE_RUNS_MAX];
    size_t literal_from, literal_to; /* the runs it is made of */
    struct finder finder;
    struct byteseq *parts[RUNSEQ_PARTS_MAX];
    size_t n_parts;
};

/* ---- making */

static bool varies(const struct byte_run *r) {
    return r->min != r->max;
}

static bool share_bytes(const struct byte_set *a, const struct byte_set *b) {
    return (a->low & b->low) != 0 || (a->high & b->high) != 0;
}

/* May a run be as long as its bytes go, seen from either side? One that may be empty lets its neighbours meet, which must
 * not vary then. */
static bool ends_by_itself(const struct byte_run *runs, size_t i) {
    const struct byte_run *before = &runs[i - 1], *run = &runs[i], *after = &runs[i + 1];
    return !share_bytes(&before->set, &run->set) && !share_bytes(&run->set, &after->set) &&
           (run->min > 0 || (!varies(before) && !varies(after)));
}

/* Both ends are of one length, as they are read. */
static bool is_certain(const struct byte_run *runs, size_t n) {
    size_t n_varying = 0;
    for (size_t i = 0; i < n; i++) {
        n_varying += varies(&runs[i]);
        if (varies(&runs[i]) && !ends_by_itself(runs, i))
            return false;
    }
    return n_varying > 0;
}

static bool is_literal(const struct byte_run *r) {
    return !varies(r) && r->min == 1 && byte_set_only(&r->set) < BYTE_SET_MANY;
}

/* The longest stretch of single bytes. */
static bool find_literal(struct runseq *s) {
    for (size_t from = 0, to = 0; from < s->n; from = to + 1) {
        for (to = from; to < s->n && is_literal(&s->runs[to]);)
            to++;
        if (to - from > s->literal_to - s->literal_from) {
            s->literal_from = from;
            s->literal_to = to;
        }
    }
    size_t size = s->literal_to - s->literal_from;
    for (size_t i = 0; i < size; i++)
        s->literal[i] = (char)byte_set_only(&s->runs[s->literal_from + i].set);
    if (size > 0)
        s->finder = finder_make(str_make(s->literal, size), false);
    return size > 0;
}

/* Numbers and dots by turns make the same part more than once. */
static bool is_known(const struct runseq *s, const struct byteseq *part) {
    struct byteseq_view a = byteseq_view(part);
    for (size_t i = 0; i < s->n_parts; i++) {
        struct byteseq_view b = byteseq_view(s->parts[i]);
        if (a.size == b.size && memcmp(a.allowed, b.allowed, 256 * sizeof(*a.allowed)) == 0)
            return true;
    }
    return false;
}

/* One byte of a repetition ends a part and begins the next. Without memory there are fewer. */
static void find_parts(struct runseq *s) {
    struct byte_set sets[BYTESEQ_MAX];
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct byte_run *r = &s->runs[i];
        uint32_t count = varies(r) && r->min > 1 ? 1 : r->min;
        for (; count > 0 && n < BYTESEQ_MAX; count--)
            sets[n++] = r->set;
        if ((i + 1 < s->n && !varies(r)) || s->n_parts == RUNSEQ_PARTS_MAX)
            continue;
        struct byteseq *part = byteseq_of_sets(sets, n);
        if (part && is_known(s, part))
            byteseq_free(part);
        else if (part)
            s->parts[s->n_parts++] = part;
        n = 0;
        if (r->min > 0)
            sets[n++] = r->set;
    }
}

struct runseq *runseq_new(struct str pattern) {
    struct runseq *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->n = byte_runs_read(pattern, s->runs);
    if (s->n < 3 || !is_certain(s->runs, s->n) || !find_literal(s)) {
        free(s);
        return NULL;
    }
    for (unsigned c = 0; c < 0x80; c++)
        for (size_t i = 0; i < s->n; i++)
            s->allowed[c] |= (uint64_t)byte_set_has(&s->runs[i].set, c) << i;
    find_parts(s);
    return s;
}

void runseq_free(struct runseq *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_parts; i++)
        byteseq_free(s->parts[i]);
    free(s);
}

size_t runseq_parts(const struct runseq *s, const struct byteseq *const **ret) {
    *ret = (const struct byteseq *const *)s->parts;
    return s->n_parts;
}

/* ---- searching */

/* How long run i is in the bytes there are, up to one more than it may be; of one length: no further than that. */
static size_t run_behind(const struct runseq *s, size_t i, const unsigned char *p, size_t room) {
    size_t most = varies(&s->runs[i]) ? (size_t)s->runs[i].max + 1 : s->runs[i].min, k = 0;
    while (k < room && k < most && s->allowed[p[k]] >> i & 1)
        k++;
    return k;
}

static size_t run_before(const struct runseq *s, size_t i, const unsigned char *p, size_t room) {
    size_t most = varies(&s->runs[i]) ? (size_t)s->runs[i].max + 1 : s->runs[i].min, k = 0;
    while (k < room && k < most && s->allowed[p[-(ptrdiff_t)k - 1]] >> i & 1)
        k++;
    return k;
}

/* What stands around a literal at [from, to). */
static bool stands_around(const struct runseq *s, struct str text, size_t from, size_t to) {
    const unsigned char *p = (const unsigned char *)text.data;
    for (size_t i = s->literal_to; i < s->n; i++) {
        size_t k = run_behind(s, i, p + to, text.size - to);
        if (k < s->runs[i].min || k > s->runs[i].max)
            return false;
        to += k;
    }
    for (size_t i = s->literal_from; i-- > 0;) {
        size_t k = run_before(s, i, p + from, from);
        if (k < s->runs[i].min || k > s->runs[i].max)
            return false;
        from -= k;
    }
    return true;
}

bool runseq_matches(const struct runseq *s, struct str text) {
    const char *end = text.data + text.size;
    for (const char *at = text.data; at < end;) {
        const char *hit = finder_find(&s->finder, str_make(at, (size_t)(end - at)));
        if (!hit)
            return false;
        size_t from = (size_t)(hit - text.data);
        if (stands_around(s, text, from, from + s->finder.needle.size))
            return true;
        at = hit + 1;
    }
    return false;
}
