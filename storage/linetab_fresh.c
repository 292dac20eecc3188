/* Where the lines of a table hold what no line before them has. The gram filter of a block needs each run of
 * LINETAB_RUN bytes once, and lines of a group repeat most: their fixed bytes, and the values of dictionaries. What is
 * noted are spans of the text in which runs begin, so that of any run within a line an equal one begins in a span:
 *
 *   - the first row of each group is noted as a whole, and so are rows of no group;
 *   - a value in a column is noted with the LINETAB_RUN - 1 bytes before it: all runs that touch it begin there. A run
 *     that touches no value has fixed bytes alone, and the first row has it;
 *   - of a dictionary that is done where each value stood first, as all around it is fixed. Is the value of another
 *     column so near before it that a run touches both (they are close), the bytes before it are noted for every row;
 *   - of a column that is split again its own columns are noted, by the same rules. */
#include "linetab_encoder.h"

enum { BEFORE = LINETAB_RUN - 1, LOOK = 16 };

void fresh_piece(struct linetab_encoder *e, struct piece p) {
    uint32_t from = p.offset > BEFORE ? p.offset - BEFORE : 0;
    buf_add(&e->fresh, &(struct gram_span){from, p.offset + p.size}, sizeof(struct gram_span));
}

/* Bytes that two texts begin with, at most LOOK. */
static inline uint32_t common_bytes(const char *a, const char *b) {
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    uint32_t same = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
    return (uint32_t)__builtin_ctz(~same);
#else
    uint32_t n = 0;
    while (n < LOOK && a[n] == b[n])
        n++;
    return n;
#endif
}

/* Spans of all values; where no column is close before, less the bytes that a value begins with as the one before it
 * does, and less those at the end that all have. */
static void add_values(struct linetab_encoder *e, const struct column_plan *plan) {
    size_t bytes = plan->n * sizeof(struct gram_span);
    if (buf_reserve(&e->fresh, bytes) < 0)
        return;
    struct gram_span *spans = (struct gram_span *)(void *)(e->fresh.data + e->fresh.size);
    const char *last = piece_data(e, plan->values[0]);
    uint32_t last_size = 0;
    bool far = plan->distance >= BEFORE,
         repeats = plan->kind != COLUMN_NUMBER && plan->kind != COLUMN_HEX;
    for (uint32_t i = 0; i < plan->n; i++) {
        const char *p = piece_data(e, plan->values[i]);
        uint32_t size = plan->values[i].size - plan->suffix, common = 0;
        if (far) {
            common = repeats ? common_bytes(p, last) : 0;
            common = common > plan->prefix ? common : plan->prefix;
            common = common < size ? common : size;
            common = common < last_size ? common : last_size;
        }
        uint32_t from = plan->values[i].offset + common;
        spans[i].from = from > BEFORE ? from - BEFORE : 0;
        spans[i].end = plan->values[i].offset + size;
        last = p;
        last_size = size;
    }
    e->fresh.size += bytes;
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
        add_values(e, plan);
    else if (close)
        for (uint32_t i = 0; i < plan->n; i++)
            fresh_piece(e, (struct piece){plan->values[i].offset, 0});
    if (plan->kind == COLUMN_DICT || plan->kind == COLUMN_SHARED)
        for (uint32_t i = 0; i < plan->n_distinct; i++)
            fresh_piece(e, plan->distinct[i]);
    return by_row && !e->fresh.failed ? at : FRESH_NONE;
}
