/* Choosing how a column of values is stored, and storing it. A typed form (number, hex, address, time) is tried when
 * the first value looks like it and must fit every value exactly: what the decoder will print is what stands there.
 * Against it stands a dictionary, by its estimated bits. What is neither is split again, or kept as text. */
#include <errno.h>
#include <stdlib.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "linetab_digits.h"
#include "linetab_encoder.h"

enum {
    GLUE_MAX = 64,  /* bytes of a common prefix or suffix */
    DICT_LOOK = 64, /* values after which a dictionary may be given up */
    DICT_OVERHEAD_BITS = 64,
    TEXT_BITS_MIN = 16, /* a string's size, about */
    PROBES_MAX =
        256, /* places of the hash table looked at for one value: more, and someone has made it so */
    SPLIT_VALUES_MIN = 8,
    SPLIT_DISTINCT_MIN = 32, /* of a dictionary */
    SPLIT_BYTES_MIN = 128,
};

static inline bool same_piece(const struct linetab_encoder *e, struct piece a, struct piece b) {
    return a.size == b.size && same_bytes(piece_data(e, a), piece_data(e, b), a.size);
}

static bool all_same(const struct linetab_encoder *e, const struct piece *values, uint32_t n) {
    for (uint32_t i = 1; i < n; i++)
        if (!same_piece(e, values[0], values[i]))
            return false;
    return true;
}

/* ---- numbers */

static inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* What eight digits stand for, the first in the lowest byte; false when one is above 9. */
static inline bool read_eight(uint64_t x, uint64_t *ret) {
    if ((x | (x + 0x7676767676767676u)) & 0x8080808080808080u)
        return false;
    x = x * 2561 >> 8;
    x = (x & 0x00ff00ff00ff00ffu) * 6553601 >> 16;
    *ret = (x & 0x0000ffff0000ffffu) * 42949672960001u >> 32;
    return true;
}

static bool read_long(const char *p, uint32_t size, uint64_t *ret);

/* The digits of p as a number; false when one is none. 1 to 19 of them; eight more bytes can be read. */
static inline bool read_digits(const char *p, uint32_t size, uint64_t *ret) {
    if (size > 8)
        return read_long(p, size, ret);
    return read_eight((get_le64(p) ^ EIGHT_ZEROS) << (64 - 8 * size), ret);
}

static bool read_long(const char *p, uint32_t size, uint64_t *ret) {
    uint32_t first = (size - 1) % 8 + 1;
    uint64_t number, part;
    if (!read_digits(p, first, &number))
        return false;
    for (p += first, size -= first; size > 0; size -= 8, p += 8) {
        if (!read_eight(get_le64(p) ^ EIGHT_ZEROS, &part))
            return false;
        number = number * 100000000 + part;
    }
    *ret = number;
    return true;
}

/* What may stand before and behind the last number in a value, judged by a first one. */
static bool find_glue(const char *first, uint32_t size, uint32_t *ret_prefix,
                      uint32_t *ret_suffix) {
    uint32_t suffix = 0, digits = 0;
    while (suffix < size && suffix < GLUE_MAX && !is_digit(first[size - 1 - suffix]))
        suffix++;
    while (suffix + digits < size && is_digit(first[size - 1 - suffix - digits]))
        digits++;
    *ret_prefix = size - suffix - digits;
    *ret_suffix = suffix;
    return digits > 0 && *ret_prefix <= GLUE_MAX;
}

/* Numbers between bytes that all values begin and end with, while they are read. */
struct number_reader {
    const char *first, *tail; /* a value, and where in it stands what comes behind the number */
    uint32_t prefix, suffix;
    uint32_t sizes; /* a bit for each number of digits */
    bool natural;   /* none has a zero in front */
};

/* The digits of `n` values as numbers. */
static bool read_each(const struct linetab_encoder *e, const struct number_reader *r,
                      const struct piece *values, uint32_t n, uint64_t *numbers) {
    for (uint32_t i = 0; i < n; i++) {
        const char *p = piece_data(e, values[i]) + r->prefix;
        if (!read_digits(p, values[i].size - r->prefix - r->suffix, &numbers[i]))
            return false;
    }
    return true;
}

#ifdef __x86_64__
/* The same in place: eight digits each, as read_eight takes them. Four at a time, or one that is read again. */
__attribute__((target("avx2"))) static bool read_eights(uint64_t *numbers, uint32_t n) {
    const __m256i tens = _mm256_set1_epi16(10 | 1 << 8);
    const __m256i hundreds = _mm256_set1_epi32(100 | 1 << 16);
    __m256i largest = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(numbers + i));
        largest = _mm256_max_epu8(largest, x);
        x = _mm256_madd_epi16(_mm256_maddubs_epi16(x, tens), hundreds);
        x = _mm256_add_epi64(_mm256_mul_epu32(x, _mm256_set1_epi64x(10000)),
                             _mm256_srli_epi64(x, 32));
        _mm256_storeu_si256((__m256i *)(void *)(numbers + i), x);
    }
    __m256i fits =
        _mm256_cmpeq_epi8(_mm256_max_epu8(largest, _mm256_set1_epi8(9)), _mm256_set1_epi8(9));
    bool ok = _mm256_movemask_epi8(fits) == -1;
    for (; i < n; i++)
        ok &= read_eight(numbers[i], &numbers[i]);
    return ok;
}
#endif

/* False when one is no such number. */
static bool read_numbers(const struct linetab_encoder *e, struct number_reader *r,
                         const struct piece *values, uint32_t n, uint64_t *numbers) {
    uint32_t glue = r->prefix + r->suffix;
    for (uint32_t i = 0; i < n; i++) {
        const char *p = piece_data(e, values[i]);
        uint32_t size = values[i].size - glue; /* a value that is too short makes it huge */
        if (size - 1 >= NUMBER_DIGITS_MAX)
            return false;
        if (glue > 0 && (!same_bytes(p, r->first, r->prefix) ||
                         !same_bytes(p + r->prefix + size, r->tail, r->suffix)))
            return false;
        p += r->prefix;
        r->natural &= (size == 1) | (*p != '0');
        r->sizes |= 1u << size;
        numbers[i] = (get_le64(p) ^ EIGHT_ZEROS) << (8 * (8 - size) & 63);
    }
#ifdef __x86_64__
    if (r->sizes >> 9 == 0 && e->avx2)
        return read_eights(numbers, n);
#endif
    return read_each(e, r, values, n, numbers);
}

/* A number between bytes that all values begin and end with. */
static bool try_number(struct linetab_encoder *e, struct column_plan *plan) {
    enum { AT_ONCE = 64 };
    struct piece first = plan->values[0];
    struct number_reader r = {.first = piece_data(e, first), .natural = true};
    uint32_t n = plan->n;
    if (!find_glue(r.first, first.size, &r.prefix, &r.suffix))
        return false;
    r.tail = r.first + first.size - r.suffix;
    for (uint32_t i = 0; i < n; i += AT_ONCE)
        if (!read_numbers(e, &r, plan->values + i, n - i < AT_ONCE ? n - i : AT_ONCE,
                          plan->numbers + i))
            return false;
    uint32_t glue = r.prefix + r.suffix;
    bool fixed = (r.sizes & (r.sizes - 1)) == 0;
    plan->flags = r.natural ? NUMBER_NATURAL : fixed ? NUMBER_FIXED : NUMBER_MARKED;
    if (plan->flags == NUMBER_MARKED && r.sizes >> (NUMBER_MARKED_DIGITS_MAX + 1))
        return false;
    for (uint32_t i = 0; plan->flags == NUMBER_MARKED && i < n; i++)
        plan->numbers[i] += linetab_powers[plan->values[i].size - glue];
    plan->kind = COLUMN_NUMBER;
    plan->digits = (uint8_t)(first.size - glue);
    plan->prefix = r.prefix;
    plan->suffix = r.suffix;
    return true;
}

/* ---- hex */

static inline bool is_hex(char c, uint8_t flags) {
    char letter = flags & HEX_UPPER ? 'A' : 'a';
    return is_digit(c) || (c >= letter && c <= letter + 5);
}

static bool is_uuid(const char *p, uint32_t size) {
    return size == 36 && p[8] == '-' && p[13] == '-' && p[18] == '-' && p[23] == '-';
}

static bool hex_fits(const char *p, uint32_t size, uint8_t flags) {
    bool uuid = flags & HEX_UUID, ok = true;
    uint32_t i = 0;
    if (uuid && !is_uuid(p, size))
        return false;
#ifdef __SSE2__
    const __m128i letter = _mm_set1_epi8(flags & HEX_UPPER ? 'A' : 'a');
    for (; !uuid && i + 16 <= size; i += 16) {
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i digit = _mm_sub_epi8(c, _mm_set1_epi8('0')), alpha = _mm_sub_epi8(c, letter);
        __m128i fits = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit),
                                    _mm_cmpeq_epi8(_mm_min_epu8(alpha, _mm_set1_epi8(5)), alpha));
        if (_mm_movemask_epi8(fits) != 0xffff)
            return false;
    }
#endif
    for (; i < size; i++)
        ok &= is_hex(p[i], flags) | (uuid && (i == 8 || i == 13 || i == 18 || i == 23));
    return ok;
}

static bool try_hex(struct linetab_encoder *e, struct column_plan *plan) {
    struct piece first = plan->values[0];
    const char *p = piece_data(e, first);
    plan->flags = 0;
    for (uint32_t i = 0; i < first.size && plan->flags == 0; i++)
        plan->flags = p[i] >= 'A' && p[i] <= 'F' ? HEX_UPPER : 0;
    if (is_uuid(p, first.size))
        plan->flags |= HEX_UUID;
    uint32_t digits = plan->flags & HEX_UUID ? 32 : first.size;
    if (digits < HEX_DIGITS_MIN || digits > HEX_DIGITS_MAX || digits % 2 != 0)
        return false;
    for (uint32_t i = 0; i < plan->n; i++) {
        struct piece v = plan->values[i];
        if (v.size != first.size || !hex_fits(piece_data(e, v), v.size, plan->flags))
            return false;
    }
    plan->kind = COLUMN_HEX;
    plan->digits = (uint8_t)digits;
    return true;
}

static inline unsigned hex_value(char c) {
    return (unsigned)(c & 15) + (c > '9' ? 9 : 0);
}

#ifdef __SSE2__
/* Eight bytes of sixteen digits. */
static inline void pack_hex_16(const char *p, char *out) {
    __m128i c = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i nibbles =
        _mm_add_epi8(_mm_and_si128(c, _mm_set1_epi8(15)),
                     _mm_and_si128(_mm_cmpgt_epi8(c, _mm_set1_epi8('9')), _mm_set1_epi8(9)));
    __m128i pairs = _mm_or_si128(_mm_slli_epi16(nibbles, 4), _mm_srli_epi16(nibbles, 8));
    pairs = _mm_and_si128(pairs, _mm_set1_epi16(0xff));
    _mm_storel_epi64((__m128i *)(void *)out, _mm_packus_epi16(pairs, pairs));
}
#endif

static int put_hex(struct linetab_encoder *e, const struct column_plan *plan) {
    buf_add_char(&e->plan, (char)plan->flags);
    buf_add_char(&e->plan, (char)plan->digits);
    int r = buf_reserve(&e->packed, (size_t)plan->n * plan->digits / 2);
    if (r < 0)
        return r;
    char *out = e->packed.data + e->packed.size;
    for (uint32_t i = 0; i < plan->n; i++) {
        const char *p = piece_data(e, plan->values[i]);
        uint32_t k = 0;
#ifdef __SSE2__
        for (; !(plan->flags & HEX_UUID) && k + 16 <= plan->digits; k += 16, p += 16, out += 8)
            pack_hex_16(p, out);
#endif
        for (; k < plan->digits; k += 2, p += 2) {
            if (*p == '-')
                p++;
            *out++ = (char)(hex_value(p[0]) << 4 | hex_value(p[1]));
        }
    }
    e->packed.size = (size_t)(out - e->packed.data);
    return 0;
}

/* ---- addresses */

/* A part of an address, of `n` digits; above 255 when it is none. Four bytes can be read. */
static inline unsigned ip_part(const char *from, unsigned n) {
    uint32_t digits = (get_le32(from) & 0x0f0f0f0fu) << (8 * (4 - n) & 31); /* last on top */
    bool ok = n - 1 < 3 && (n == 1 || *from != '0');
    return ok ? (digits >> 24) + (digits >> 16 & 15) * 10 + (digits >> 8 & 15) * 100 : 256;
}

/* `digits`: a bit for each byte that is one. */
static bool read_ip(const char *p, uint32_t size, uint64_t digits, uint64_t *ret) {
    uint64_t others = ~digits & ((UINT64_C(1) << size) - 1), address = 0;
    unsigned from = 0, large = 0;
    for (unsigned part = 0; part < 3; part++) {
        if (others == 0)
            return false;
        unsigned end = (unsigned)__builtin_ctzll(others), number = ip_part(p + from, end - from);
        large |= number | (p[end] == '.' ? 0 : 256);
        address = address << 8 | number;
        others &= others - 1;
        from = end + 1;
    }
    unsigned number = ip_part(p + from, size - from);
    *ret = address << 8 | number;
    return others == 0 && (large | number) < 256;
}

static bool try_ip(struct linetab_encoder *e, struct column_plan *plan) {
    for (uint32_t i = 0; i < plan->n; i++) {
        struct piece v = plan->values[i];
        if (v.size < 7 || v.size > 15 ||
            !read_ip(piece_data(e, v), v.size, marks_from(e->marks.digit, v.offset),
                     &plan->numbers[i]))
            return false;
    }
    plan->kind = COLUMN_IP;
    return true;
}

/* ---- times */

struct time_shape {
    uint8_t date, fraction; /* form, digits */
    char between, point;    /* between date and clock, before the fraction */
    uint32_t size;          /* up to the suffix */
};

static bool two_digits(const char *p, unsigned limit, unsigned *ret) {
    if (!is_digit(p[0]) || !is_digit(p[1]))
        return false;
    *ret = (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
    return *ret < limit;
}

static bool read_month(const char *p, unsigned *ret) {
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (unsigned i = 0; i < 12; i++)
        if (memcmp(p, names + i * 3, 3) == 0) {
            *ret = i + 1;
            return true;
        }
    return false;
}

/* The date at p, 10 or 11 bytes. */
static bool read_date(const char *p, uint8_t form, int64_t *ret_days) {
    unsigned century, year, month, day, y, m, d;
    bool ok;
    if (form == DATE_NAMED) { /* 26/Nov/2026 */
        ok = two_digits(p, 32, &day) && p[2] == '/' && read_month(p + 3, &month) && p[6] == '/' &&
             two_digits(p + 7, 100, &century) && two_digits(p + 9, 100, &year);
    } else {
        char mark = form == DATE_DASHES ? '-' : '/';
        ok = two_digits(p, 100, &century) && two_digits(p + 2, 100, &year) && p[4] == mark &&
             two_digits(p + 5, 13, &month) && p[7] == mark && two_digits(p + 8, 32, &day);
    }
    if (!ok || century < 17 || century > 21) /* nanoseconds of these years fit */
        return false;
    year += century * 100;
    *ret_days = linetab_days(year, month, day);
    linetab_date(*ret_days, &y, &m, &d);
    return y == year && m == month && d == day; /* a day that there is */
}

static uint32_t date_size(uint8_t form) {
    return form == DATE_NONE ? 0 : form == DATE_NAMED ? 11 : 10;
}

/* The shape of a first value, whatever follows it being its suffix. */
static bool find_time_shape(const char *p, uint32_t size, struct time_shape *ret) {
    struct time_shape s = {0};
    if (size >= 19 && p[4] == '-')
        s.date = DATE_DASHES;
    else if (size >= 19 && p[4] == '/')
        s.date = DATE_SLASHES;
    else if (size >= 20 && p[2] == '/')
        s.date = DATE_NAMED;
    uint32_t at = date_size(s.date);
    if (s.date != DATE_NONE)
        s.between = p[at++];
    if (size < at + 8 || p[at + 2] != ':' || p[at + 5] != ':')
        return false;
    at += 8;
    if (size > at + 1 && (p[at] == '.' || p[at] == ',') && is_digit(p[at + 1])) {
        s.point = p[at++];
        while (at < size && s.fraction < FRACTION_DIGITS_MAX && is_digit(p[at])) {
            at++;
            s.fraction++;
        }
    }
    s.size = at;
    *ret = s;
    return true;
}

/* `date` is the text of the date that came last, `days` what it stands for: most are the same. */
static bool read_time(const char *p, const struct time_shape *s, const char **date, int64_t *days,
                      uint64_t *ret) {
    uint64_t fraction = 0;
    unsigned hour, minute, second;
    if (s->date != DATE_NONE) {
        if (!*date || !same_bytes(p, *date, date_size(s->date))) {
            if (!read_date(p, s->date, days))
                return false;
            *date = p;
        }
        p += date_size(s->date);
        if (*p++ != s->between)
            return false;
    }
    if (!two_digits(p, 24, &hour) || p[2] != ':' || !two_digits(p + 3, 60, &minute) ||
        p[5] != ':' || !two_digits(p + 6, 60, &second))
        return false;
    if (s->fraction > 0 && (p[8] != s->point || !read_digits(p + 9, s->fraction, &fraction)))
        return false;
    int64_t seconds = *days * 86400 + (int64_t)(hour * 3600 + minute * 60 + second);
    *ret = (uint64_t)seconds * linetab_powers[s->fraction] + fraction;
    return true;
}

static bool try_time(struct linetab_encoder *e, struct column_plan *plan) {
    struct piece first = plan->values[0];
    struct time_shape s;
    if (first.size < 8 || !find_time_shape(piece_data(e, first), first.size, &s) ||
        first.size - s.size > GLUE_MAX)
        return false;
    uint32_t suffix = first.size - s.size;
    const char *tail = piece_data(e, first) + s.size, *date = NULL;
    int64_t days = 0;
    for (uint32_t i = 0; i < plan->n; i++) {
        const char *p = piece_data(e, plan->values[i]);
        if (plan->values[i].size != first.size || !same_bytes(p + s.size, tail, suffix) ||
            !read_time(p, &s, &date, &days, &plan->numbers[i]))
            return false;
    }
    plan->kind = COLUMN_TIME;
    plan->suffix = suffix;
    plan->flags = s.date;
    plan->digits = s.fraction;
    return true;
}

/* ---- dictionaries */

/* An empty hash table for `n` values; 0: no memory. */
static uint32_t clear_slots(struct linetab_encoder *e, uint32_t n) {
    uint32_t size = 64;
    while (size < n + n / 2)
        size *= 2;
    if (size > e->slots_capacity) {
        free(e->slots);
        e->slots = malloc(size * sizeof(*e->slots));
        e->slots_capacity = e->slots ? size : 0;
        if (!e->slots)
            return 0;
    }
    memset(e->slots, 0, size * sizeof(*e->slots));
    return size;
}

/* So many distinct values at value i are too many, whatever comes. */
static inline bool is_too_many(uint32_t count, uint32_t i, uint32_t most) {
    return count > i / 8 * 5 + DICT_LOOK || count == most;
}

/* Numbers the distinct values in the order of their coming. False: too many of them to be worth it. */
static bool find_distinct(struct linetab_encoder *e, struct column_plan *plan, uint32_t most) {
    uint32_t n = plan->n, size = clear_slots(e, n), count = 0;
    if (size == 0)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct piece v = plan->values[i];
        uint32_t at = (uint32_t)(stir_bytes(v.size, piece_data(e, v), v.size) >> 20) & (size - 1);
        uint32_t probes = 0;
        while (e->slots[at] && !same_piece(e, plan->distinct[e->slots[at] - 1], v)) {
            at = (at + 1) & (size - 1);
            if (++probes > PROBES_MAX)
                return false;
        }
        if (!e->slots[at]) {
            if (is_too_many(count, i, most))
                return false;
            plan->distinct[count++] = v;
            e->slots[at] = count;
        }
        plan->ids[i] = e->slots[at] - 1;
    }
    plan->n_distinct = count;
    return true;
}

/* The same by the numbers that the values stand for: no two have the same one. */
static bool find_distinct_numbers(struct linetab_encoder *e, struct column_plan *plan,
                                  uint32_t most) {
    uint32_t n = plan->n, size = clear_slots(e, n), count = 0;
    const uint64_t *numbers = plan->numbers;
    uint32_t *firsts = SCRATCH(e, n, uint32_t); /* where each distinct value was met */
    if (size == 0 || !firsts)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)(stir(0, numbers[i]) >> 20) & (size - 1), probes = 0;
        while (e->slots[at] && numbers[firsts[e->slots[at] - 1]] != numbers[i]) {
            at = (at + 1) & (size - 1);
            if (++probes > PROBES_MAX)
                return false;
        }
        if (!e->slots[at]) {
            if (is_too_many(count, i, most))
                return false;
            firsts[count] = i;
            plan->distinct[count++] = plan->values[i];
            e->slots[at] = count;
        }
        plan->ids[i] = e->slots[at] - 1;
    }
    plan->n_distinct = count;
    return true;
}

static uint64_t text_bits(const struct piece *values, uint32_t n) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits += TEXT_BITS_MIN + 4 * (uint64_t)values[i].size; /* as zstd leaves them, about */
    return bits;
}

static bool dictionary_pays(const struct column_plan *plan, uint64_t typed_bits) {
    uint64_t n = plan->n, distinct = plan->n_distinct;
    uint64_t ids = n * linetab_id_width(plan->n_distinct) + DICT_OVERHEAD_BITS;
    if (plan->kind == 0)
        return distinct <= n / 2 ||
               ids + text_bits(plan->distinct, plan->n_distinct) < text_bits(plan->values, plan->n);
    uint64_t values = distinct * typed_bits / n,
             texts = text_bits(plan->distinct, plan->n_distinct);
    return ids + (values < texts ? values : texts) < typed_bits;
}

/* With more distinct values than that a dictionary does not pay against a typed form, whatever they are. */
static uint32_t distinct_limit(const struct column_plan *plan, uint64_t typed_bits) {
    uint64_t n = plan->n, each = typed_bits / n < TEXT_BITS_MIN ? typed_bits / n : TEXT_BITS_MIN;
    uint32_t most = 1;
    for (unsigned width = 1; width < 32; width++, most *= 2)
        if (n * width + DICT_OVERHEAD_BITS + (most + 1) * each >= typed_bits)
            return most;
    return most;
}

static bool dictionary_wins(struct linetab_encoder *e, struct column_plan *plan,
                            uint64_t typed_bits) {
    if (plan->kind == 0)
        return find_distinct(e, plan, UINT32_MAX) && dictionary_pays(plan, typed_bits);
    uint32_t most = distinct_limit(plan, typed_bits);
    return (plan->kind == COLUMN_HEX ? find_distinct(e, plan, most)
                                     : find_distinct_numbers(e, plan, most)) &&
           dictionary_pays(plan, typed_bits);
}

static void try_typed(struct linetab_encoder *e, struct column_plan *plan, uint64_t *ret_bits) {
    struct piece first = plan->values[0];
    const char *p = piece_data(e, first);
    plan->kind = 0;
    *ret_bits = 0;
    if (first.size == 0)
        return;
    if (is_digit(p[0]) && (try_time(e, plan) || try_ip(e, plan)))
        *ret_bits = numbers_cost(plan->numbers, plan->n, &plan->delta);
    if (plan->kind != 0)
        return;
    if (try_number(e, plan))
        *ret_bits = numbers_cost(plan->numbers, plan->n, &plan->delta);
    else if (try_hex(e, plan))
        *ret_bits = (uint64_t)plan->n * plan->digits * 4;
}

static bool can_split(struct linetab_encoder *e, const struct column_plan *plan, enum split split,
                      bool in_dictionary, enum split *ret) {
    struct piece first = plan->values[0];
    uint64_t bytes = 0;
    if (split == SPLIT_FINE || plan->n < (in_dictionary ? SPLIT_DISTINCT_MIN : SPLIT_VALUES_MIN))
        return false;
    if (in_dictionary && !marks_any(e->marks.digit, first))
        return false; /* distinct words: there is nothing to pack */
    for (uint32_t i = 0; i < plan->n && bytes < SPLIT_BYTES_MIN; i++)
        bytes += plan->values[i].size;
    bool quoted = first.offset > 0 && piece_data(e, first)[-1] == '"';
    *ret = split == SPLIT_LINE && quoted && marks_any(e->marks.coarse, first) ? SPLIT_COARSE
                                                                              : SPLIT_FINE;
    return bytes >= SPLIT_BYTES_MIN;
}

int column_analyse(struct linetab_encoder *e, const struct piece *values, uint32_t n,
                   enum split split, bool in_dictionary, struct column_plan *ret) {
    struct column_plan plan = {.n = n, .values = values};
    if (all_same(e, values, n)) {
        plan.constant = true;
        plan.kind = COLUMN_TEXT;
        *ret = plan;
        return 0;
    }
    plan.numbers = SCRATCH(e, n, uint64_t);
    plan.ids = SCRATCH(e, n, uint32_t);
    plan.distinct = SCRATCH(e, n, struct piece);
    if (!plan.numbers || !plan.ids || !plan.distinct)
        return -ENOMEM;
    uint64_t typed_bits = 0;
    try_typed(e, &plan, &typed_bits);
    if (!in_dictionary && (plan.kind == 0 || typed_bits / n > 1) &&
        dictionary_wins(e, &plan, typed_bits)) {
        plan.kind = COLUMN_DICT;
        plan.prefix = plan.suffix = 0;
        plan.split = split;
    } else if (plan.kind == 0) {
        plan.kind =
            can_split(e, &plan, split, in_dictionary, &plan.split) ? COLUMN_TABLE : COLUMN_TEXT;
    }
    *ret = plan;
    return 0;
}

/* ---- writing */

static int put_text(struct linetab_encoder *e, const struct piece *values, uint32_t n,
                    bool in_dictionary) {
    uint64_t *sizes = SCRATCH(e, n, uint64_t), total = 0;
    if (!sizes)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        total += sizes[i] = values[i].size;
    bool delta = false;
    struct buf *out = in_dictionary ? &e->plan : &e->text;
    buf_add_char(&e->plan, in_dictionary ? TEXT_IN_PLAN : 0);
    plan_put_varint(e, total);
    (void)numbers_cost(sizes, n, &delta);
    int r = numbers_put(e, sizes, n, false);
    if (r == 0)
        r = buf_reserve(out, total);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n; i++)
        buf_add(out, piece_data(e, values[i]), values[i].size);
    return 0;
}

static int put_time(struct linetab_encoder *e, const struct column_plan *plan) {
    const char *p = piece_data(e, plan->values[0]);
    uint32_t at = date_size(plan->flags);
    buf_add_char(&e->plan, (char)plan->flags);
    buf_add_char(&e->plan, (char)plan->digits);
    buf_add_char(&e->plan, plan->flags != DATE_NONE ? p[at] : 0);
    buf_add_char(&e->plan, plan->digits > 0 ? p[at + (plan->flags != DATE_NONE) + 8] : 0);
    return numbers_put(e, plan->numbers, plan->n, plan->delta);
}

static int put_dictionary(struct linetab_encoder *e, const struct column_plan *plan) {
    plan_put_varint(e, plan->n_distinct);
    struct column_plan values;
    int r = 0;
    if (plan->kind == COLUMN_DICT)
        r = ids_put(e, plan->ids, plan->n, plan->n_distinct);
    else
        plan_put_varint(e, plan->shared);
    if (r == 0)
        r = column_analyse(e, plan->distinct, plan->n_distinct, plan->split, true, &values);
    if (r < 0)
        return r;
    if (values.constant || values.prefix + values.suffix > 0) {
        /* Only the slots of a table have a place for what all values share. */
        bool split = !values.constant && can_split(e, &values, plan->split, true, &values.split);
        values.kind = split ? COLUMN_TABLE : COLUMN_TEXT;
        values.prefix = values.suffix = 0;
    }
    return column_put(e, &values, true);
}

int column_put(struct linetab_encoder *e, const struct column_plan *plan, bool in_dictionary) {
    buf_add_char(&e->plan, (char)plan->kind);
    switch (plan->kind) {
    case COLUMN_TEXT:
        return put_text(e, plan->values, plan->n, in_dictionary);
    case COLUMN_DICT:
    case COLUMN_SHARED:
        return put_dictionary(e, plan);
    case COLUMN_NUMBER:
        buf_add_char(&e->plan, (char)plan->flags);
        buf_add_char(&e->plan, (char)plan->digits);
        return numbers_put(e, plan->numbers, plan->n, plan->delta);
    case COLUMN_HEX:
        return put_hex(e, plan);
    case COLUMN_IP:
        return numbers_put(e, plan->numbers, plan->n, plan->delta);
    case COLUMN_TIME:
        return put_time(e, plan);
    case COLUMN_TABLE:
        return table_put(e, plan->values, plan->n, plan->split, plan->distance, in_dictionary);
    case COLUMN_KINDS:
        break;
    }
    return -EINVAL;
}
