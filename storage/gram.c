/* Building: every gram sets one bit of a 2^20-bit scratch bitmap; its number of set bits tells how many distinct
 * grams there are and so how large the stored bitmap has to be; then each set scratch bit x goes to bit
 * x * m >> 20. That map is monotone, so scratch bits keep their order, and a query finds the same place
 * from the hash alone, whatever m is.
 *
 * A gram's class (plain: 4 bytes, no digit; else 5) is decided on the folded bytes (gram_places.c).
 *
 * Of few lines the scratch bitmap is not touched: its 128 KiB are no place for some thousand bits. Their places are listed,
 * each eighth tells how many are distinct, and the map is filled a byte per bit, which needs no look at what is there.
 *
 * The bitmap is the same whatever the processor has: with AVX2 eight neighbouring positions are hashed at a time, with AVX-512
 * sixteen (the multiplies are 32 bits wide for this reason). Places are hashed some hundred at a time, and their bits set in
 * a loop of its own: setting them out of the vectors, or right behind them, takes longer than both. Measured on one core of
 * an AMD EPYC with bench_block: see docs/format.md. */
#include "gram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "bytes.h"
#include "gram_places.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define GRAM_AVX2 1
#else
#define GRAM_AVX2 0
#endif

enum {
    SCRATCH_BITS = 1 << GRAM_HASH_BITS,
    M_MIN_SHIFT = 7,                  /* the smallest bitmap has 4 << 7 = 512 bits */
    M_MAX_SHIFT = GRAM_HASH_BITS - 2, /* the largest has 4 << 18 = 2^20 bits */
    M_CLASSES = (M_MAX_SHIFT - M_MIN_SHIFT) * 4 + 1,
    LIST_MAX = 2 * GRAM_FEW_BYTES, /* places of few lines, and of values */
    LIST_STEP = 64,                /* places that go into the map at a time */
    SAMPLE_SHIFT = 3,     /* in the sample are the places that end in so many zeros: each eighth */
    SAMPLE_LEAST = 96,    /* distinct places; when it has fewer, all are counted */
    SMALL_CLASS_MAX = 31, /* of their maps */
    SMALL_MAP_MAX = 7 << 14, /* bits, of that class: 79,000 distinct places fill it to one half */
};

/* Half full is the optimum of information per bit for one hash. */
static const double gram_fill_max = 0.5;

static const uint64_t value_multiply = 0x9e3779b97f4a7c15u;

struct gram_builder {
    enum gram_width width;
    const uint32_t *places; /* that the next filter has besides its grams */
    size_t n_places;
    bool dirty;                 /* bits is not all zeros */
    uint32_t limits[M_CLASSES]; /* most scratch bits that class i takes without passing the fill */
    uint32_t bits[SCRATCH_BITS / 32 + 1]; /* the last one for GRAM_NO_PLACE */
    /* Of few lines: the places of all grams as they come, a sample of them, and the map, a byte per bit. Memory that is
     * touched as far as it is needed. */
    uint32_t list[LIST_MAX + GRAM_PLACES_MAX], sample[LIST_MAX + GRAM_PLACES_MAX];
    uint8_t map[SMALL_MAP_MAX + 8];
    uint32_t hashed[GRAM_PLACES_MAX]; /* of many lines */
};

static uint32_t class_bits(unsigned i) {
    return (uint32_t)(4 + i % 4) << (M_MIN_SHIFT + i / 4);
}

static_assert(GRAM_NO_PLACE % (1 << SAMPLE_SHIFT) == (1 << SAMPLE_SHIFT) - 1, "in no sample");
static_assert((4 + SMALL_CLASS_MAX % 4) << (M_MIN_SHIFT + SMALL_CLASS_MAX / 4) == SMALL_MAP_MAX,
              "bits of a class");

struct gram_builder *gram_builder_new(void) {
    struct gram_builder *b = aligned_alloc(64, (sizeof(*b) + 63) & ~(size_t)63);
    if (!b)
        return NULL;
    memset(b, 0, offsetof(struct gram_builder, list));
    b->width = gram_width_best();
    /* With n of 2^20 scratch bits set, a bit of the small map stays 0 with the chance
     * (1 - n / 2^20) ^ (2^20 / m); solved for n. */
    for (unsigned i = 0; i < M_CLASSES; i++) {
        double share = class_bits(i) / (double)SCRATCH_BITS;
        b->limits[i] = (uint32_t)(SCRATCH_BITS * (1 - pow(1 - gram_fill_max, share)));
    }
    return b;
}

void gram_builder_free(struct gram_builder *b) {
    free(b);
}

void gram_builder_narrow(struct gram_builder *b, unsigned grams) {
    b->width = grams < (unsigned)b->width ? (enum gram_width)grams : b->width;
}

static inline void set_bit(uint32_t *bits, uint32_t x) {
    bits[x >> 5] |= 1u << (x & 31);
}

static void set_bits(uint32_t *bits, const uint32_t *places, uint32_t n) {
#pragma GCC unroll 8
    for (uint32_t i = 0; i < n; i++)
        set_bit(bits, places[i]);
}

#if GRAM_AVX2
enum { WIDE_LANES = 16 };

__attribute__((target("bmi2"))) static void set_bits_bmi2(uint32_t *bits, const uint32_t *places,
                                                          uint32_t n) {
#pragma GCC unroll 8
    for (uint32_t i = 0; i < n; i++)
        set_bit(bits, places[i]);
}

__attribute__((target("popcnt"))) static uint32_t count_bits_popcnt(const uint32_t *bits) {
    uint64_t n = 0;
    for (size_t i = 0; i < SCRATCH_BITS / 32; i += 2)
        n += (uint64_t)__builtin_popcountll(get_le64(bits + i));
    return (uint32_t)n;
}

__attribute__((target("avx512f,avx512vpopcntdq"))) static uint32_t count_bits_avx512(
    const uint32_t *bits) {
    __m512i n = _mm512_setzero_si512();
    for (size_t i = 0; i < SCRATCH_BITS / 32; i += 16)
        n = _mm512_add_epi64(n, _mm512_popcnt_epi64(_mm512_loadu_si512(bits + i)));
    return (uint32_t)_mm512_reduce_add_epi64(n);
}
#endif

/* ---- few lines: the places of all grams are listed, equal ones each time, those that are none as GRAM_NO_PLACE */

static uint32_t list_places(const struct gram_builder *b, uint32_t *list, struct str lines,
                            const struct gram_span *spans, uint32_t n_spans) {
    struct gram_source source = {.text = lines, .spans = spans, .n_spans = n_spans};
    uint32_t n = 0, count;
    while ((count = gram_places(&source, b->width, list + n)) > 0)
        n += count;
    return n;
}

/* Those of the places that are in the sample; room for all. */
static uint32_t sample_scalar(const uint32_t *list, uint32_t n, uint32_t *sample) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        sample[count] = list[i];
        count += (list[i] & ((1u << SAMPLE_SHIFT) - 1)) == 0;
    }
    return count;
}

#if GRAM_AVX2
__attribute__((target("avx512f,popcnt"))) static uint32_t sample_avx512(const uint32_t *list,
                                                                        uint32_t n,
                                                                        uint32_t *sample) {
    const __m512i low = _mm512_set1_epi32((1 << SAMPLE_SHIFT) - 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i += WIDE_LANES) {
        __m512i x = _mm512_loadu_si512(list + i);
        __mmask16 in = _mm512_testn_epi32_mask(x, low);
        _mm512_storeu_si512(sample + count, _mm512_maskz_compress_epi32(in, x));
        count += (uint32_t)__builtin_popcount(in);
    }
    return count;
}
#endif

/* How many of the places, which end in so many zeros, are distinct; GRAM_NO_PLACE is one of them. */
static uint32_t count_distinct(struct gram_builder *b, const uint32_t *places, uint32_t n,
                               unsigned shift) {
    if (b->dirty)
        memset(b->bits, 0, sizeof(b->bits));
    b->dirty = false;
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = places[i] >> shift, old = b->bits[x >> 5];
        distinct += ~old >> (x & 31) & 1;
        b->bits[x >> 5] = old | 1u << (x & 31);
    }
    for (uint32_t i = 0; i < n; i++)
        b->bits[places[i] >> shift >> 5] = 0;
    return distinct;
}

/* How many distinct places the list has, about: an eighth is counted, and what a hash is has nothing to do with how often
 * it comes. That depends on the distinct places alone. One at least of the n is GRAM_NO_PLACE. */
static uint32_t estimate_distinct(struct gram_builder *b, uint32_t n) {
    uint32_t count;
#if GRAM_AVX2
    if (b->width == GRAM_SIXTEEN)
        count = sample_avx512(b->list, n, b->sample);
    else
#endif
        count = sample_scalar(b->list, n, b->sample);
    uint32_t distinct = count_distinct(b, b->sample, count, SAMPLE_SHIFT);
    return distinct < SAMPLE_LEAST ? count_distinct(b, b->list, n, 0) - 1
                                   : distinct << SAMPLE_SHIFT;
}

/* A byte per bit: nothing is read, and no place waits for another. */
static inline void set_places(const uint32_t *list, uint32_t n, uint32_t factor, unsigned shift,
                              uint8_t *map) {
    for (uint32_t i = 0; i < n; i += LIST_STEP) {
        uint32_t at[LIST_STEP];
        for (unsigned k = 0; k < LIST_STEP; k++)
            at[k] = list[i + k] * factor >> shift;
        for (unsigned k = 0; k < LIST_STEP; k++)
            map[at[k]] = 1;
    }
}

#if GRAM_AVX2
__attribute__((target("avx2"))) static void set_places_avx2(const uint32_t *list, uint32_t n,
                                                            uint32_t factor, unsigned shift,
                                                            uint8_t *map) {
    set_places(list, n, factor, shift, map);
}
#endif

static uint32_t count_bits_scalar(const uint32_t *bits) {
    uint64_t n = 0;
    for (size_t i = 0; i < SCRATCH_BITS / 32; i += 2)
        n += (uint64_t)__builtin_popcountll(get_le64(bits + i));
    return (uint32_t)n;
}

/* Moves each set bit of the scratch map to its place among m bits. */
static void shrink_scalar(const uint32_t *bits, uint32_t m, uint8_t *out) {
    memset(out, 0, m / 8);
    for (size_t i = 0; i < SCRATCH_BITS / 32; i += 2) {
        uint64_t word = get_le64(bits + i);
        for (; word != 0; word &= word - 1) {
            uint64_t x = (uint64_t)i * 32 + (unsigned)__builtin_ctzll(word);
            uint32_t at = (uint32_t)(x * m >> GRAM_HASH_BITS);
            out[at >> 3] = (uint8_t)(out[at >> 3] | 1u << (at & 7));
        }
    }
}

#if GRAM_AVX2
/* With m = c << k, k <= 14, the 64 scratch bits of a word go to at most 8 neighbouring places, and which bits go to
 * which place repeats after 2^(14 - k) words. So the word is compared with one mask per place, all at
 * once; there is no branch per bit. Small maps have few set bits and go the scalar way; for larger ones see shrink_runs. */
enum { SHRINK_M_MIN = 4 << 10, SHRINK_RUNS_MIN = 4 << 14, SHRINK_PATTERNS = 16 };

struct shrink_masks {
    _Alignas(64) uint64_t of[SHRINK_PATTERNS][8];
};

static void set_shrink_masks(struct shrink_masks *masks, uint32_t m) {
    memset(masks, 0, sizeof(*masks));
    for (uint64_t x = 0; x < SHRINK_PATTERNS * 64; x++) {
        uint64_t first = (x / 64 * 64) * m >> GRAM_HASH_BITS, at = x * m >> GRAM_HASH_BITS;
        masks->of[x / 64][at - first] |= 1ull << (x & 63);
    }
}

__attribute__((target("avx2"))) static void shrink_avx2(const uint32_t *bits, uint32_t m,
                                                        uint8_t *out) {
    struct shrink_masks masks;
    set_shrink_masks(&masks, m);
    const __m256i zero = _mm256_setzero_si256();
    uint64_t pending = 0; /* bits from `base` on */
    uint32_t base = 0;
    for (uint32_t i = 0; i < SCRATCH_BITS / 64; i++) {
        uint32_t first = (uint32_t)((uint64_t)i * m >> (GRAM_HASH_BITS - 6));
        if (first - base >= 32) {
            put_le32(out + base / 8, (uint32_t)pending);
            pending >>= 32;
            base += 32;
        }
        const uint64_t *mask = masks.of[i % SHRINK_PATTERNS];
        __m256i word = _mm256_set1_epi64x((long long)get_le64(bits + 2 * (size_t)i));
        __m256i low, high;
        memcpy(&low, mask, sizeof(low));
        memcpy(&high, mask + 4, sizeof(high));
        low = _mm256_cmpeq_epi64(_mm256_and_si256(word, low), zero);
        high = _mm256_cmpeq_epi64(_mm256_and_si256(word, high), zero);
        unsigned empty = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(low)) |
                         (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(high)) << 4;
        pending |= (uint64_t)(empty ^ 0xff) << (first - base);
    }
    for (; base < m; base += 32, pending >>= 32)
        put_le32(out + base / 8, (uint32_t)pending);
}

/* The eight comparisons are one instruction. */
__attribute__((target("avx512f"))) static void shrink_avx512(const uint32_t *bits, uint32_t m,
                                                             uint8_t *out) {
    struct shrink_masks masks;
    set_shrink_masks(&masks, m);
    uint64_t pending = 0; /* bits from `base` on */
    uint32_t base = 0;
    for (uint32_t i = 0; i < SCRATCH_BITS / 64; i++) {
        uint32_t first = (uint32_t)((uint64_t)i * m >> (GRAM_HASH_BITS - 6));
        if (first - base >= 32) {
            put_le32(out + base / 8, (uint32_t)pending);
            pending >>= 32;
            base += 32;
        }
        __m512i word = _mm512_set1_epi64((long long)get_le64(bits + 2 * (size_t)i));
        __m512i mask = _mm512_load_si512(masks.of[i % SHRINK_PATTERNS]);
        pending |= (uint64_t)_mm512_test_epi64_mask(word, mask) << (first - base);
    }
    for (; base < m; base += 32, pending >>= 32)
        put_le32(out + base / 8, (uint32_t)pending);
}

/* Of k >= 14: a word's bits go to a whole number of places, those of each place being a run of so many or of one more. All
 * words are alike. */
struct shrink_runs {
    unsigned places, run; /* of a word, bits of the shorter runs */
    uint64_t begin, more; /* bits at which runs begin, and those of them that have one more */
};

static struct shrink_runs find_runs(uint32_t m) {
    struct shrink_runs r = {.places = m >> (GRAM_HASH_BITS - 6), .run = SCRATCH_BITS / m};
    for (uint64_t x = 0, next; x < 64; x = next) {
        for (next = x; next * m >> GRAM_HASH_BITS == x * m >> GRAM_HASH_BITS;)
            next++;
        r.begin |= UINT64_C(1) << x;
        r.more |= (uint64_t)(next - x > r.run) << x;
    }
    return r;
}

/* Each bit becomes "one of mine and the run - 1 next ones": in steps of 1, 2, 4 ... and what is left. Where runs begin, this
 * is what their places are to hold. */
__attribute__((target("avx2,bmi2"))) static void shrink_runs(const uint32_t *bits, uint32_t m,
                                                             uint8_t *out) {
    const struct shrink_runs r = find_runs(m);
    const __m256i more = _mm256_set1_epi64x((long long)r.more);
    const __m128i run = _mm_cvtsi32_si128((int)r.run);
    uint64_t pending = 0;
    unsigned n = 0;
    for (uint32_t i = 0; i < SCRATCH_BITS / 32; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(bits + i)), any = x;
        unsigned covered = 1;
        for (; covered * 2 <= r.run; covered *= 2)
            any = _mm256_or_si256(any, _mm256_srl_epi64(any, _mm_cvtsi32_si128((int)covered)));
        any =
            _mm256_or_si256(any, _mm256_srl_epi64(any, _mm_cvtsi32_si128((int)(r.run - covered))));
        any = _mm256_or_si256(any, _mm256_and_si256(_mm256_srl_epi64(x, run), more));
        uint64_t words[4];
        memcpy(words, &any, sizeof(any));
        for (unsigned k = 0; k < 4; k++) {
            uint64_t places = _pext_u64(words[k], r.begin);
            pending |= places << n;
            n += r.places;
            if (n < 64)
                continue;
            put_le64(out, pending);
            out += 8;
            n -= 64;
            pending = n > 0 ? places >> (r.places - n) : 0;
        }
    }
    assert(n == 0);
}
#endif

static void shrink(const struct gram_builder *b, uint32_t m, uint8_t *out) {
#if GRAM_AVX2
    if (b->width != GRAM_ONE && m >= SHRINK_M_MIN) {
        if (m >= SHRINK_RUNS_MIN)
            shrink_runs(b->bits, m, out);
        else if (b->width == GRAM_SIXTEEN)
            shrink_avx512(b->bits, m, out);
        else
            shrink_avx2(b->bits, m, out);
        return;
    }
#endif
    shrink_scalar(b->bits, m, out);
}

/* Half full at most, if there is a class so large. */
static unsigned class_for(const struct gram_builder *b, uint32_t n_set) {
    unsigned class = 0;
    while (class < M_CLASSES - 1 && n_set > b->limits[class])
        class ++;
    return class;
}

static size_t write_header(uint32_t m, uint8_t *out) {
    assert(m <= SCRATCH_BITS && m % 64 == 0);
    put_le32(out, m);
    put_le32(out + 4, 0);
    return GRAM_FILTER_HEADER + m / 8;
}

static void set_given(struct gram_builder *b) {
    for (size_t i = 0; i < b->n_places; i++)
        set_bit(b->bits, b->places[i]);
    b->n_places = 0;
}

/* Eight bytes that are 0 or 1 as eight bits. */
static inline uint8_t gather_bits(const uint8_t *p) {
    return (uint8_t)(get_le64(p) * 0x0102040810204080u >> 56);
}

static size_t build_small(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                          uint32_t n_spans, uint8_t *out) {
    uint32_t n = list_places(b, b->list, lines, spans, n_spans);
    assert(n + b->n_places <= LIST_MAX);
    for (size_t i = 0; i < b->n_places; i++)
        b->list[n++] = b->places[i];
    b->n_places = 0;
    do
        b->list[n++] = GRAM_NO_PLACE;
    while (n % LIST_STEP != 0);
    unsigned class = class_for(b, estimate_distinct(b, n));
    if (class > SMALL_CLASS_MAX)
        class = SMALL_CLASS_MAX;
    uint32_t m = class_bits(class), factor = 4 + class % 4;
    unsigned shift = GRAM_HASH_BITS - M_MIN_SHIFT - class / 4;
    memset(b->map, 0, m);
#if GRAM_AVX2
    if (b->width != GRAM_ONE)
        set_places_avx2(b->list, n, factor, shift, b->map);
    else
#endif
        set_places(b->list, n, factor, shift, b->map);
    for (uint32_t i = 0; i < m / 8; i++)
        out[GRAM_FILTER_HEADER + i] = gather_bits(b->map + 8 * (size_t)i);
    return write_header(m, out);
}

static uint32_t count_bits(const struct gram_builder *b) {
#if GRAM_AVX2
    if (b->width == GRAM_SIXTEEN)
        return count_bits_avx512(b->bits);
    if (b->width != GRAM_ONE)
        return count_bits_popcnt(b->bits);
#endif
    return count_bits_scalar(b->bits);
}

/* The filter of the scratch bits. */
static size_t put_filter(struct gram_builder *b, uint8_t *out) {
    set_given(b);
    uint32_t m = class_bits(class_for(b, count_bits(b)));
    if (m == SCRATCH_BITS)
        memcpy(out + GRAM_FILTER_HEADER, b->bits, SCRATCH_BITS / 8);
    else
        shrink(b, m, out + GRAM_FILTER_HEADER);
    return write_header(m, out);
}

static void clear_bits(struct gram_builder *b) {
    memset(b->bits, 0, sizeof(b->bits));
    b->dirty = true;
}

void gram_builder_add(struct gram_builder *b, const uint32_t *places, size_t n) {
    b->places = places;
    b->n_places = n;
}

/* Sets the bits of all grams that begin in the spans. */
static void add_spans(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                      uint32_t n_spans) {
    struct gram_source source = {.text = lines, .spans = spans, .n_spans = n_spans};
    uint32_t n;
    while ((n = gram_places(&source, b->width, b->hashed)) > 0) {
#if GRAM_AVX2
        if (b->width != GRAM_ONE) {
            set_bits_bmi2(b->bits, b->hashed, n);
            continue;
        }
#endif
        set_bits(b->bits, b->hashed, n);
    }
}

/* Are there fewer places in the spans than in the lines? */
static bool spans_are_few(struct str lines, const struct gram_span *spans, uint32_t n_spans) {
    size_t places = 0;
    for (uint32_t i = 0; i < n_spans; i++) {
        assert(spans[i].from <= spans[i].end && spans[i].end <= lines.size);
        places += spans[i].end - spans[i].from;
    }
    return places < lines.size;
}

size_t gram_build_spans(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                        uint32_t n_spans, uint8_t *out) {
    struct gram_span all = {.from = 0, .end = (uint32_t)lines.size};
    if (!spans_are_few(lines, spans, n_spans)) {
        spans = &all;
        n_spans = 1;
    }
    if (lines.size + b->n_places <= GRAM_FEW_BYTES)
        return build_small(b, lines, spans, n_spans, out);
    clear_bits(b);
    add_spans(b, lines, spans, n_spans);
    return put_filter(b, out);
}

size_t gram_build(struct gram_builder *b, struct str lines, uint8_t *out) {
    struct gram_span all = {.from = 0, .end = (uint32_t)lines.size};
    return gram_build_spans(b, lines, &all, 1, out);
}

/* ---- asking */

void gram_value_places(uint64_t hash, uint32_t ret[static GRAM_VALUE_BITS]) {
    for (unsigned i = 0; i < GRAM_VALUE_BITS; i++) {
        hash *= value_multiply;
        ret[i] = (uint32_t)(hash >> (64 - GRAM_HASH_BITS));
    }
}

static bool gram_is_safe(const uint8_t *p, unsigned length, bool fold_unicode) {
    for (unsigned i = 0; i < length; i++) {
        uint8_t c = p[i] | GRAM_FOLD;
        if (p[i] == '\n' || (fold_unicode && (p[i] >= 0x80 || c == 'k' || c == 's')))
            return false;
    }
    return true;
}

/* How rare a gram is likely to be, 0 = rarest: ids mix digits and letters; words and plain numbers (dates) are
 * everywhere. */
enum { RARITY_LEVELS = 3 };
static unsigned gram_rarity(const uint8_t *p, unsigned length) {
    bool digit = false, letter = false, other = false;
    for (unsigned i = 0; i < length; i++) {
        uint8_t c = p[i] | GRAM_FOLD;
        if (p[i] >= '0' && p[i] <= '9')
            digit = true;
        else if (c >= 'a' && c <= 'z')
            letter = true;
        else
            other = true;
    }
    if (digit && letter)
        return 0;
    return digit || (letter && other) ? 1 : 2;
}

static void query_add(struct gram_query *q, uint32_t hash) {
    for (uint32_t i = 0; i < q->count; i++) {
        if (q->hashes[i] == hash)
            return;
    }
    if (q->count < GRAM_QUERY_MAX)
        q->hashes[q->count++] = hash;
}

void gram_query_init(struct gram_query *q, struct str needle, bool fold_unicode) {
    const uint8_t *p = (const uint8_t *)needle.data;
    q->count = 0;
    for (unsigned level = 0; level < RARITY_LEVELS; level++) {
        for (size_t i = 0; i + 4 <= needle.size && q->count < GRAM_QUERY_MAX; i++) {
            uint32_t four = get_le32(p + i) | 0x20202020u;
            unsigned length = gram_has_digit(four) ? 5 : 4;
            if (i + length > needle.size || gram_rarity(p + i, length) != level ||
                !gram_is_safe(p + i, length, fold_unicode))
                continue;
            query_add(q, gram_hash(four, length == 5 ? (uint32_t)(GRAM_FIFTH | p[i + 4] | GRAM_FOLD)
                                                     : 0));
        }
    }
}

void gram_query_add_value(struct gram_query *q, uint64_t hash) {
    uint32_t places[GRAM_VALUE_BITS];
    gram_value_places(hash, places);
    for (unsigned i = 0; i < GRAM_VALUE_BITS; i++)
        query_add(q, places[i]);
}

void gram_query_add(struct gram_query *q, const struct gram_query *other) {
    for (uint32_t i = 0; i < other->count; i++)
        query_add(q, other->hashes[i]);
}

uint32_t gram_filter_bits(size_t size) {
    size_t bytes = size > GRAM_FILTER_HEADER ? size - GRAM_FILTER_HEADER : 0;
    return bytes % 8 == 0 && bytes <= SCRATCH_BITS / 8 ? (uint32_t)bytes * 8 : 0;
}

static uint32_t gram_place(uint32_t hash, uint32_t m) {
    return (uint32_t)((uint64_t)hash * m >> GRAM_HASH_BITS);
}

bool gram_filter_is_sound(const uint8_t *filter, size_t size) {
    uint32_t m = gram_filter_bits(size);
    return m > 0 && get_le32(filter) == m && get_le32(filter + 4) == 0;
}

bool gram_may_contain(const uint8_t *filter, size_t size, const struct gram_query *q) {
    uint32_t m = gram_filter_bits(size);
    const uint8_t *bits = filter + GRAM_FILTER_HEADER;
    for (uint32_t i = 0; m > 0 && i < q->count; i++) {
        uint32_t at = gram_place(q->hashes[i], m);
        if (!(bits[at >> 3] >> (at & 7) & 1))
            return false;
    }
    return true;
}
