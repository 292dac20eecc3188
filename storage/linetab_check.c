/* Comparing a table with the lines that it was made of: what the encoder asks before it lets go of them. Nothing of what
 * the encoder knows is used: the table is read from its bytes as any reader does, and each value is made and compared
 * where it must stand. Values are taken column by column, BATCH rows at a time: that spares the choice of what to do
 * for each value, writing it down, and guessing which row comes next where lines of many makes alternate. */
#include <errno.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "bytes.h"
#include "linetab_digits.h"
#include "linetab_reader.h"

enum {
    BATCH = 64, /* rows whose text stays in the nearest cache */
    VECTOR = 32 /* bytes that are compared at once; as many may be read behind any piece */
};
static_assert(2 * VECTOR <= LINETAB_SLACK, "what is read behind the text");

/* Rows of one group: how far each has been compared. */
struct batch {
    const char *at[BATCH];
    const char *end; /* of the text; no row is behind it when a column begins */
    uint32_t first, n;
    uint64_t differs;
};

#ifdef __SSE2__
static inline uint32_t differ_16(const char *a, const char *b) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) ^ 0xffff;
}

/* At most VECTOR bytes, or 16 when all are so short. */
static inline uint64_t differ_at(const char *a, const char *b, size_t size, bool is_short) {
    uint32_t other = differ_16(a, b);
    if (!is_short)
        other |= differ_16(a + 16, b + 16) << 16;
    return other & ((UINT64_C(1) << size) - 1);
}
#else
static inline uint64_t differ_at(const char *a, const char *b, size_t size, bool is_short) {
    (void)is_short;
    return memcmp(a, b, size) != 0;
}
#endif

/* Not 0 when the bytes at `at` are others. */
static inline uint64_t differ(const char *at, struct str piece, const char *end) {
    if (piece.size <= VECTOR)
        return differ_at(at, piece.data, piece.size, false);
    return (ptrdiff_t)piece.size > end - at || memcmp(at, piece.data, piece.size) != 0;
}

static void check_fixed(struct batch *b, struct str fixed) {
    uint64_t differs = 0;
    if (fixed.size <= 16)
        for (uint32_t i = 0; i < b->n; i++) {
            differs |= differ_at(b->at[i], fixed.data, fixed.size, true);
            b->at[i] += fixed.size;
        }
    else
        for (uint32_t i = 0; i < b->n; i++) {
            differs |= differ(b->at[i], fixed, b->end);
            b->at[i] += fixed.size;
        }
    b->differs |= differs;
}

static void check_cells(struct batch *b, const struct column *c) {
    const uint32_t *ids = c->ids + b->first;
    uint64_t differs = 0;
    for (uint32_t i = 0; c->value_max <= 16 && i < b->n; i++) {
        struct str cell = c->cells[ids[i]];
        differs |= differ_at(b->at[i], cell.data, cell.size, true);
        b->at[i] += cell.size;
    }
    for (uint32_t i = 0; c->value_max > 16 && i < b->n; i++) {
        struct str cell = c->cells[ids[i]];
        differs |= differ(b->at[i], cell, b->end);
        b->at[i] += cell.size;
    }
    b->differs |= differs;
}

static void check_texts(struct batch *b, const struct column *c) {
    const uint64_t *offsets = c->numbers + b->first;
    for (uint32_t i = 0; i < b->n; i++) {
        struct str text = str_make(c->text + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
        b->differs |= differ(b->at[i], text, b->end);
        b->at[i] += text.size;
    }
}

/* Any column, by way of its text. */
static void check_written(struct batch *b, struct column *c, uint32_t from, uint32_t end,
                          char *text) {
    for (uint32_t i = from; i < end; i++) {
        size_t size = (size_t)(column_write(c, b->first + i, text) - text);
        b->differs |= differ(b->at[i], str_make(text, size), b->end);
        b->at[i] += size;
    }
}

/* The last eight digits of each number as text. False: one has more of them. */
static bool put_digits(const uint64_t *numbers, uint32_t n, uint64_t *ret) {
    uint64_t large = 0;
    for (uint32_t i = 0; i < n; i++) {
        large |= numbers[i] >= 100000000;
        ret[i] = eight_digits((uint32_t)(numbers[i] % 100000000)) | EIGHT_ZEROS;
    }
    return !large;
}

#ifdef __x86_64__
/* The same, four at a time, of a whole batch. */
__attribute__((target("avx2"))) static bool put_digits_avx2(const uint64_t *numbers, uint32_t n,
                                                            uint64_t *ret) {
    __m256i large = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(numbers + i));
        large = _mm256_or_si256(
            large, _mm256_or_si256(x, _mm256_cmpgt_epi64(x, _mm256_set1_epi64x(99999999))));
        __m256i high = _mm256_srli_epi64(_mm256_mul_epu32(x, _mm256_set1_epi64x(0xd1b71759)), 45);
        __m256i low = _mm256_sub_epi64(x, _mm256_mul_epu32(high, _mm256_set1_epi64x(10000)));
        __m256i halves = _mm256_or_si256(high, _mm256_slli_epi64(low, 32));
        __m256i hundreds =
            _mm256_srli_epi32(_mm256_mullo_epi32(halves, _mm256_set1_epi32(10486)), 20);
        __m256i rest =
            _mm256_sub_epi32(halves, _mm256_mullo_epi32(hundreds, _mm256_set1_epi32(100)));
        __m256i pairs = _mm256_or_si256(hundreds, _mm256_slli_epi32(rest, 16));
        __m256i tens = _mm256_srli_epi16(_mm256_mullo_epi16(pairs, _mm256_set1_epi16(103)), 10);
        __m256i ones = _mm256_sub_epi16(pairs, _mm256_mullo_epi16(tens, _mm256_set1_epi16(10)));
        x = _mm256_or_si256(tens, _mm256_slli_epi16(ones, 8));
        x = _mm256_or_si256(x, _mm256_set1_epi8('0'));
        _mm256_storeu_si256((__m256i *)(void *)(ret + i), x);
    }
    return _mm256_movemask_pd(_mm256_castsi256_pd(large)) == 0;
}
#endif

/* Numbers of at most eight digits: as many as each has, or as all have. */
static void check_numbers(struct batch *b, struct column *c, char *text) {
    const uint64_t *numbers = c->numbers + b->first;
    uint64_t digits[BATCH], differs = 0;
    bool few = false;
#ifdef __x86_64__
    if (b->n == BATCH && __builtin_cpu_supports("avx2"))
        few = put_digits_avx2(numbers, b->n, digits);
    else
#endif
        few = put_digits(numbers, b->n, digits);
    if (!few) {
        check_written(b, c, 0, b->n, text);
        return;
    }
    unsigned fixed_skip = 8 * (8 - c->digits);
    for (uint32_t i = 0; c->flags == NUMBER_FIXED && i < b->n; i++) {
        differs |= (digits[i] >> fixed_skip ^ get_le64(b->at[i])) << fixed_skip;
        b->at[i] += c->digits;
    }
    for (uint32_t i = 0; c->flags == NUMBER_NATURAL && i < b->n; i++) {
        unsigned skip =
            (unsigned)__builtin_ctzll((digits[i] ^ EIGHT_ZEROS) | UINT64_C(1) << 56) & 0x38u;
        differs |= (digits[i] >> skip ^ get_le64(b->at[i])) << skip;
        b->at[i] += 8 - skip / 8;
    }
    b->differs |= differs;
}

/* Date and time of day up to the point are one text for all of a second. */
static void check_times(struct batch *b, struct column *c) {
    static const uint8_t sizes[DATE_FORMS] = {8, 19, 19, 20};
    const uint64_t *numbers = c->numbers + b->first, unit = linetab_powers[c->digits];
    unsigned size = sizes[c->flags] + 1u, skip = 8 * (8 - c->digits);
    uint64_t differs = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        if (numbers[i] - c->second_number >= unit)
            column_set_second(c, numbers[i]);
        uint64_t digits = eight_digits((uint32_t)(numbers[i] - c->second_number));
        differs |= differ_at(b->at[i], c->second_text, size, false);
        differs |= ((digits | EIGHT_ZEROS) >> skip ^ get_le64(b->at[i] + size)) << skip;
        b->at[i] += size + c->digits;
    }
    b->differs |= differs;
}

/* PACKED_PAD bytes follow the last column. */
static void check_hex(struct batch *b, const struct column *c) {
    uint32_t size = c->digits / 2u;
    const uint8_t *p = c->packed + (size_t)b->first * size;
    int letter = c->flags & HEX_UPPER ? 'A' : 'a';
    uint64_t differs = 0;
    for (uint32_t i = 0; i < b->n; i++, p += size) {
        char text[HEX_DIGITS_MAX];
        for (uint32_t k = 0; k < size; k += 16)
            hex_16(p + k, letter, text + 2 * (size_t)k);
        differs |= differ(b->at[i], str_make(text, c->digits), b->end);
        b->at[i] += c->digits;
    }
    b->differs |= differs;
}

static void check_column(struct batch *b, struct column *c, char *text) {
    if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED)
        check_cells(b, c);
    else if (c->kind == COLUMN_TEXT)
        check_texts(b, c);
    else if (c->kind == COLUMN_NUMBER &&
             (c->flags == NUMBER_NATURAL || (c->flags == NUMBER_FIXED && c->digits <= 8)))
        check_numbers(b, c, text);
    else if (c->kind == COLUMN_TIME && c->digits > 0 && c->digits <= 8)
        check_times(b, c);
    else if (c->kind == COLUMN_HEX && !(c->flags & HEX_UUID))
        check_hex(b, c);
    else
        check_written(b, c, 0, b->n, text);
    for (uint32_t i = 0; i < b->n; i++)
        b->differs |= b->at[i] > b->end;
}

static void check_group(struct batch *b, const struct group *g, char *text) {
    for (uint32_t k = 0; k < g->n_slots && !b->differs; k++) {
        const struct slot *slot = &g->slots[k];
        if (slot->before.size > 0 && !slot->joined)
            check_fixed(b, slot->before);
        if (!b->differs)
            check_column(b, slot->column, text);
    }
    if (g->after.size > 0 && !g->after_joined && !b->differs)
        check_fixed(b, g->after);
}

/* `group`: NULL for the odd rows. */
static bool rows_equal(const struct linetab *t, const struct group *group, const uint32_t *members,
                       uint32_t n, struct str text, const uint32_t *offsets) {
    struct batch b = {.end = text.data + text.size};
    for (b.first = 0; b.first < n && !b.differs; b.first += b.n) {
        const uint32_t *rows = members + b.first;
        b.n = n - b.first < BATCH ? n - b.first : BATCH;
        for (uint32_t i = 0; i < b.n; i++)
            b.at[i] = text.data + offsets[rows[i]];
        if (group)
            check_group(&b, group, t->tools->aside.data);
        else
            check_column(&b, t->root->odd, t->tools->aside.data);
        for (uint32_t i = 0; i < b.n; i++)
            b.differs |= b.at[i] != text.data + offsets[rows[i] + 1] - 1;
    }
    return !b.differs;
}

int linetab_equals(struct linetab *t, struct str text, const uint32_t *offsets,
                   struct err *reterr) {
    const struct table *table = t->root;
    int status = table_load(t, t->root, reterr);
    if (status < 0)
        return status;
    uint32_t starts[LINETAB_GROUPS_MAX + 2] = {0, table->odd ? table->odd->n : 0};
    uint32_t row_max = table->odd ? table->odd->value_max : 0;
    for (uint32_t g = 0; g < table->n_groups; g++) {
        starts[g + 2] = starts[g + 1] + table->groups[g].rows;
        if (table->groups[g].row_max > row_max)
            row_max = table->groups[g].row_max;
    }
    uint32_t *members = arena_array(&t->tools->scratch, t->count, sizeof(*members));
    buf_clear(&t->tools->aside);
    if (!members || buf_reserve(&t->tools->aside, row_max + (size_t)LINETAB_SLACK) < 0)
        return err_set(reterr, -ENOMEM, "block: no memory to compare a table of lines");
    for (uint32_t i = 0; i < t->count; i++)
        members[starts[table->ids[i]] + table->rank[i]] = i;
    bool equal = rows_equal(t, NULL, members, starts[1], text, offsets);
    for (uint32_t g = 0; g < table->n_groups && equal; g++)
        equal = rows_equal(t, &table->groups[g], members + starts[g + 1], table->groups[g].rows,
                           text, offsets);
    for (uint32_t i = 0; i < t->count && equal; i++)
        equal = text.data[offsets[i + 1] - 1] == '\n';
    return equal;
}
