/* Where the lines of a table hold what no line before them has. The gram filter of a block needs each run of
 * LINETAB_RUN bytes once, and each of four where none is a digit; lines of a group repeat most: their fixed bytes, and the
 * values of dictionaries. What is noted are spans of the text in which runs begin, so that of any run within a line an
 * equal one begins in a span:
 *
 *   - the first row of each group is noted as a whole, and so are rows of no group;
 *   - a value in a column is noted with the LINETAB_RUN - 1 bytes before it: all runs that touch it begin there. A run
 *     that touches no value has fixed bytes alone, and the first row has it (of a number or an id, less one byte where
 *     none of them is a digit: the gram there has four bytes, and they are fixed);
 *   - of a dictionary that is done where each value stood first, as all around it is fixed. Is the value of another
 *     column so near before it that a run touches both (they are close), the bytes before it are noted for every row;
 *   - of a column that is split again its own columns are noted, by the same rules. */
#include <string.h>

#include "linetab_encoder.h"

enum { BEFORE = LINETAB_RUN - 1, LOOK = 32 };

static inline struct gram_span span_of(uint32_t from, uint32_t end) {
    return (struct gram_span){from > BEFORE ? from - BEFORE : 0, end};
}

void fresh_piece(struct linetab_encoder *e, struct piece p) {
    struct gram_span span = span_of(p.offset, p.offset + p.size);
    buf_add(&e->fresh, &span, sizeof(span));
}

/* Bytes that two texts begin with, at most LOOK: so many, and a time differs in its fraction alone. */
static inline uint32_t common_bytes(const char *a, const char *b) {
#ifdef __SSE2__
    uint64_t differ = 0;
    for (unsigned i = 0; i < LOOK; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(a + i));
        __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(b + i));
        differ |= (uint64_t)(0xffff & ~_mm_movemask_epi8(_mm_cmpeq_epi8(x, y))) << i;
    }
    return (uint32_t)__builtin_ctzll(differ | UINT64_C(1) << LOOK);
#else
    uint32_t n = 0;
    while (n < LOOK && a[n] == b[n])
        n++;
    return n;
#endif
}

/* Without one in the fixed bytes before a value, the gram that begins with them ends with them. */
static bool digit_before(const struct linetab_encoder *e, uint32_t at) {
    bool digit = at < BEFORE;
    for (uint32_t i = at - BEFORE; !digit && i < at; i++)
        digit = (e->marks.text[i] | 0x20) >= '0' && (e->marks.text[i] | 0x20) <= '9';
    return digit;
}

/* The values from `before` bytes before `skip` that all begin with, and without those that all end with. */
static void add_values(struct gram_span *spans, const struct column_plan *plan, uint32_t skip,
                       uint32_t before) {
    for (uint32_t i = 0; i < plan->n; i++) {
        struct piece v = plan->values[i];
        uint32_t from = v.offset + skip;
        spans[i] =
            (struct gram_span){from > before ? from - before : 0, v.offset + v.size - plan->suffix};
    }
}

/* The values without the bytes that one begins with as the one before it does, and those that all end with. */
static void add_changes(struct linetab_encoder *e, struct gram_span *spans,
                        const struct column_plan *plan) {
    const char *last = piece_data(e, plan->values[0]);
    uint32_t last_size = 0;
    for (uint32_t i = 0; i < plan->n; i++) {
        const char *p = piece_data(e, plan->values[i]);
        uint32_t size = plan->values[i].size - plan->suffix;
        uint32_t common = common_bytes(p, last);
        common = common < size ? common : size;
        common = common < last_size ? common : last_size;
        spans[i] = span_of(plan->values[i].offset + common, plan->values[i].offset + size);
        last = p;
        last_size = size;
    }
}

/* Numbers from a range that is small beside the rows come again and again: each is noted once, when that spares a
 * quarter of them. False: it does not, and nothing is noted. */
static bool add_distinct(struct linetab_encoder *e, struct gram_span *spans, uint32_t before,
                         const struct column_plan *plan, uint32_t *ret_n) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < plan->n; i++) {
        least = plan->numbers[i] < least ? plan->numbers[i] : least;
        most = plan->numbers[i] > most ? plan->numbers[i] : most;
    }
    uint64_t range = most - least, words = range / 64 + 1;
    uint64_t *seen = range < plan->n ? SCRATCH(e, words, uint64_t) : NULL;
    if (!seen)
        return false;
    memset(seen, 0, words * sizeof(*seen));
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n; i++) {
        struct piece v = plan->values[i];
        uint64_t at = plan->numbers[i] - least, *word = &seen[at / 64];
        uint32_t from = v.offset + plan->prefix;
        spans[n] =
            (struct gram_span){from > before ? from - before : 0, v.offset + v.size - plan->suffix};
        n += !(*word >> (at & 63) & 1);
        *word |= UINT64_C(1) << (at & 63);
    }
    *ret_n = n;
    return n < plan->n / 4 * 3;
}

/* Of each row; all of a value when a column is close before it. False: not of each, as some are like others. */
static bool add_rows(struct linetab_encoder *e, const struct column_plan *plan) {
    uint32_t n = plan->n;
    if (buf_reserve(&e->fresh, n * sizeof(struct gram_span)) < 0)
        return true;
    struct gram_span *spans = (struct gram_span *)(void *)(e->fresh.data + e->fresh.size);
    if (plan->distance < BEFORE)
        add_values(spans, plan, 0, BEFORE);
    else if (plan->kind == COLUMN_NUMBER ||
             plan->kind == COLUMN_HEX) { /* first digits seldom stay */
        uint32_t before =
            digit_before(e, plan->values[0].offset + plan->prefix) ? BEFORE : BEFORE - 1;
        if (plan->kind != COLUMN_NUMBER || !add_distinct(e, spans, before, plan, &n)) {
            add_values(spans, plan, plan->prefix, before);
            n = plan->n;
        }
    } else
        add_changes(e, spans, plan);
    e->fresh.size += n * sizeof(struct gram_span);
    return n == plan->n;
}

/* What the column close before has noted of each row goes on to this one's values, or to their ends. */
static void extend(struct linetab_encoder *e, size_t before, const struct column_plan *plan,
                   bool to_end) {
    struct gram_span *spans = (struct gram_span *)(void *)(e->fresh.data + before);
    for (uint32_t i = 0; i < plan->n; i++)
        spans[i].end = plan->values[i].offset + (to_end ? plan->values[i].size : 0);
}

size_t fresh_column(struct linetab_encoder *e, const struct column_plan *plan, size_t before) {
    bool close = plan->distance < BEFORE, has_before = before != FRESH_NONE;
    bool by_row =
        plan->kind != COLUMN_DICT && plan->kind != COLUMN_SHARED && plan->kind != COLUMN_TABLE;
    size_t at = close && has_before ? before : e->fresh.size;
    if (close && has_before)
        extend(e, before, plan, by_row);
    else if (by_row)
        by_row = add_rows(e, plan);
    else if (close)
        for (uint32_t i = 0; i < plan->n; i++)
            fresh_piece(e, (struct piece){plan->values[i].offset, 0});
    if (plan->kind == COLUMN_DICT || plan->kind == COLUMN_SHARED)
        for (uint32_t i = 0; i < plan->n_distinct; i++)
            fresh_piece(e, plan->distinct[i]);
    return by_row && !e->fresh.failed ? at : FRESH_NONE;
}
