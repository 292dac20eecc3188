/* Building: every gram sets one bit of a 2^20-bit scratch bitmap; its number of set bits tells how many distinct
 * grams there are and so how large the stored bitmap has to be; then each set scratch bit x goes to bit
 * x * m >> 20. That map is monotone, so scratch bits keep their order, and a query finds the same place
 * from the hash alone, whatever m is.
 *
 * A gram's class (plain: 4 bytes, no digit; else 5) is decided on the folded bytes. Folding also makes digits
 * of the control bytes 0x10-0x19; both sides do it, so it is harmless. '\n' would fold to '*' and is therefore
 * looked for in the bytes as they are.
 *
 * Of few lines the scratch bitmap is not touched: its 128 KiB are no place for some thousand bits. Their places are listed,
 * each eighth tells how many are distinct, and the map is filled a byte per bit, which needs no look at what is there.
 *
 * Two builders give the same bitmap: a scalar one, and one for AVX2 that hashes eight neighbouring
 * positions at a time (the multiplies are 32 bits wide for this reason), and sixteen with AVX-512 where that pays. Measured
 * on one core of an AMD EPYC with bench_block: see docs/format.md. */
#include "gram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define GRAM_AVX2 1
#else
#define GRAM_AVX2 0
#endif

enum {
    SCRATCH_BITS = 1 << GRAM_HASH_BITS,
    FOLD = 0x20,
    FIFTH = 0x100, /* marks the fifth byte of a long gram, so that the length is part of the hash */
    GRAM_MAX = 5,  /* bytes of the longer gram */
    STEP = 8,      /* positions that are hashed at a time */
    M_MIN_SHIFT = 7,                  /* the smallest bitmap has 4 << 7 = 512 bits */
    M_MAX_SHIFT = GRAM_HASH_BITS - 2, /* the largest has 4 << 18 = 2^20 bits */
    M_CLASSES = (M_MAX_SHIFT - M_MIN_SHIFT) * 4 + 1,
    /* Places of few lines; a span that ends with them may list its last step twice. */
    LIST_MAX = 2 * GRAM_FEW_BYTES,
    LIST_STEP = 64,    /* places that go into the map at a time */
    SAMPLE_SHIFT = 3,  /* in the sample are the places that end in so many zeros: each eighth */
    SAMPLE_LEAST = 96, /* distinct places; when it has fewer, all are counted */
    /* Of a gram that does not exist: behind every map, and in no sample. */
    NO_PLACE = SCRATCH_BITS + (1 << SAMPLE_SHIFT) - 1,
    SMALL_CLASS_MAX = 31,    /* of their maps */
    SMALL_MAP_MAX = 7 << 14, /* bits, of that class: 79,000 distinct places fill it to one half */
};

/* Half full is the optimum of information per bit for one hash. */
static const double gram_fill_max = 0.5;

static const uint64_t value_multiply = 0x9e3779b97f4a7c15u;
static const uint32_t multiply_1 = 0x9e3779b1u, multiply_2 = 0x85ebca77u;

struct gram_builder {
    bool scalar, avx512;
    const uint32_t *places; /* that the next filter has besides its grams */
    size_t n_places;
    bool dirty;                 /* bits is not all zeros */
    uint32_t limits[M_CLASSES]; /* most scratch bits that class i takes without passing the fill */
    uint32_t bits[SCRATCH_BITS / 32 + 1]; /* the last one for NO_PLACE */
    /* Of few lines: the places of all grams as they come, a sample of them, and the map, a byte per bit. Memory that is
     * touched as far as it is needed. */
    uint32_t list[LIST_MAX + LIST_STEP], sample[LIST_MAX + LIST_STEP];
    uint8_t map[SMALL_MAP_MAX + 8];
};

static uint32_t class_bits(unsigned i) {
    return (uint32_t)(4 + i % 4) << (M_MIN_SHIFT + i / 4);
}

static_assert((4 + SMALL_CLASS_MAX % 4) << (M_MIN_SHIFT + SMALL_CLASS_MAX / 4) == SMALL_MAP_MAX,
              "bits of a class");

struct gram_builder *gram_builder_new(void) {
    struct gram_builder *b = aligned_alloc(64, (sizeof(*b) + 63) & ~(size_t)63);
    if (!b)
        return NULL;
    memset(b, 0, offsetof(struct gram_builder, list));
    /* With n of 2^20 scratch bits set, a bit of the small map stays 0 with the chance
     * (1 - n / 2^20) ^ (2^20 / m); solved for n. */
    for (unsigned i = 0; i < M_CLASSES; i++) {
        double share = class_bits(i) / (double)SCRATCH_BITS;
        b->limits[i] = (uint32_t)(SCRATCH_BITS * (1 - pow(1 - gram_fill_max, share)));
    }
#if GRAM_AVX2
    __builtin_cpu_init();
    b->scalar = !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
                !__builtin_cpu_supports("popcnt");
    b->avx512 = !b->scalar && __builtin_cpu_supports("avx512vpopcntdq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi");
#else
    b->scalar = true;
#endif
    return b;
}

void gram_builder_free(struct gram_builder *b) {
    free(b);
}

void gram_builder_force_scalar(struct gram_builder *b) {
    b->scalar = true;
    b->avx512 = false;
}

/* `four`: four folded bytes, little-endian. `fifth`: 0 for a plain gram, else FIFTH | folded byte. */
static inline uint32_t gram_hash(uint32_t four, uint32_t fifth) {
    uint32_t h = four * multiply_1;
    h ^= h >> 15;
    h += fifth;
    h *= multiply_2;
    return h >> (32 - GRAM_HASH_BITS);
}

/* Is one of four folded bytes a digit? The classic "has a byte less than n", exact as a yes or no. */
static inline bool has_digit(uint32_t four) {
    uint32_t t = four ^ 0x30303030u;
    return ((t - 0x0a0a0a0au) & ~t & 0x80808080u) != 0;
}

static inline void set_bit(uint32_t *bits, uint32_t x) {
    bits[x >> 5] |= 1u << (x & 31);
}

static void add_line_scalar(uint32_t *bits, const char *p, const char *end) {
    for (; end - p >= 4; p++) {
        uint32_t four = get_le32(p) | 0x20202020u;
        if (!has_digit(four))
            set_bit(bits, gram_hash(four, 0));
        else if (end - p >= 5)
            set_bit(bits, gram_hash(four, FIFTH | (uint8_t)p[4] | FOLD));
    }
}

static void add_scalar(uint32_t *bits, const char *p, const char *end) {
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline ? newline : end;
        add_line_scalar(bits, p, line_end);
        p = line_end + 1;
    }
}

#if GRAM_AVX2
/* Bytes 0..11 of a 16-byte load as eight overlapping grams: lane k holds bytes k..k+3, or byte k+4. */
#define LANE4(k) (k), (k) + 1, (k) + 2, (k) + 3
#define LANE5(k) (k) + 4, -1, -1, -1

/* Eight positions at p: the hash of each gram, 32 bits of which the upper ones count, and which are grams at all. */
__attribute__((target("avx2"), always_inline)) static inline __m256i hash_eight(const char *p,
                                                                                __m256i *ret_good) {
    const __m256i first_four = _mm256_setr_epi8(LANE4(0), LANE4(1), LANE4(2), LANE4(3), LANE4(4),
                                                LANE4(5), LANE4(6), LANE4(7));
    const __m256i fifth_only = _mm256_setr_epi8(LANE5(0), LANE5(1), LANE5(2), LANE5(3), LANE5(4),
                                                LANE5(5), LANE5(6), LANE5(7));
    const __m256i zero = _mm256_setzero_si256();
    __m128i half;
    memcpy(&half, p, sizeof(half));
    __m256i raw = _mm256_broadcastsi128_si256(half);
    __m256i folded = _mm256_or_si256(raw, _mm256_set1_epi8(FOLD));
    __m256i newline = _mm256_cmpeq_epi8(raw, _mm256_set1_epi8('\n'));
    __m256i from_zero = _mm256_sub_epi8(folded, _mm256_set1_epi8('0'));
    __m256i digit = _mm256_cmpeq_epi8(_mm256_min_epu8(from_zero, _mm256_set1_epi8(9)), from_zero);

    __m256i four = _mm256_shuffle_epi8(folded, first_four);
    __m256i fifth = _mm256_shuffle_epi8(folded, fifth_only);
    __m256i plain = _mm256_cmpeq_epi32(_mm256_shuffle_epi8(digit, first_four), zero);
    __m256i bad =
        _mm256_or_si256(_mm256_shuffle_epi8(newline, first_four),
                        _mm256_andnot_si256(plain, _mm256_shuffle_epi8(newline, fifth_only)));
    *ret_good = _mm256_cmpeq_epi32(bad, zero);
    fifth = _mm256_andnot_si256(plain, _mm256_or_si256(fifth, _mm256_set1_epi32(FIFTH)));

    __m256i h = _mm256_mullo_epi32(four, _mm256_set1_epi32((int)multiply_1));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 15));
    h = _mm256_add_epi32(h, fifth);
    return _mm256_mullo_epi32(h, _mm256_set1_epi32((int)multiply_2));
}

/* Word index and bit of each gram; the bit is 0 where the gram holds a '\n'. */
__attribute__((target("avx2"), always_inline)) static inline void place_eight(
    const char *p, uint32_t words[static 8], uint32_t masks[static 8]) {
    __m256i good, h = hash_eight(p, &good);
    __m256i word = _mm256_srli_epi32(h, 32 - GRAM_HASH_BITS + 5);
    __m256i bit =
        _mm256_and_si256(_mm256_srli_epi32(h, 32 - GRAM_HASH_BITS), _mm256_set1_epi32(31));
    bit = _mm256_and_si256(_mm256_sllv_epi32(_mm256_set1_epi32(1), bit), good);
    memcpy(words, &word, sizeof(word));
    memcpy(masks, &bit, sizeof(bit));
}

__attribute__((target("avx2"))) static void add_avx2(uint32_t *bits, const char *p,
                                                     const char *end) {
    _Alignas(32) uint32_t words[8];
    _Alignas(32) uint32_t masks[8];
    /* A load takes 16 bytes, of which the eight grams need 12. */
    for (; end - p >= 16; p += 8) {
        place_eight(p, words, masks);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            bits[words[k]] |= masks[k];
    }
    add_scalar(bits, p, end);
}

/* Steps of eight that begin in the spans: what one reads past its span's end is text as well, and adds nothing. False: the
 * spans are more than all lines. */
__attribute__((target("avx2"))) static bool add_spans_avx2(uint32_t *bits, struct str lines,
                                                           const struct gram_span *spans,
                                                           uint32_t n_spans) {
    _Alignas(32) uint32_t words[8];
    _Alignas(32) uint32_t masks[8];
    size_t left = lines.size;
    for (uint32_t i = 0; i < n_spans; i++) {
        uint32_t at = spans[i].from, end = spans[i].end;
        assert(at <= end && end <= lines.size);
        if (end - at > left)
            return false;
        left -= end - at;
        for (; at < end && at + 16 <= lines.size; at += STEP) {
            place_eight(lines.data + at, words, masks);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                bits[words[k]] |= masks[k];
        }
        if (at < end)
            add_scalar(bits, lines.data + at, lines.data + lines.size);
    }
    return true;
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

/* ---- few lines: the places of all grams are listed, equal ones each time, those that are none as NO_PLACE */

static uint32_t list_scalar(uint32_t *list, uint32_t n, const char *p, const char *end) {
    for (; end - p >= 4; p++) {
        const char *newline = memchr(p, '\n', 4);
        if (newline) {
            p = newline;
            continue;
        }
        uint32_t four = get_le32(p) | 0x20202020u;
        bool is_long = has_digit(four);
        if (is_long && (end - p < 5 || p[4] == '\n'))
            continue;
        list[n++] = gram_hash(four, is_long ? (uint32_t)(FIFTH | (uint8_t)p[4] | FOLD) : 0);
    }
    return n;
}

#if GRAM_AVX2
enum { WIDE_STEP = 48, WIDE_LOAD = 64, WIDE_LANES = 16 };

/* The bits of a mask from which on one of four is set. */
static inline uint64_t any_of_four(uint64_t mask) {
    mask |= mask >> 1;
    return mask | mask >> 2;
}

/* 48 positions at p, of which 64 bytes are read: what holds a digit or a '\n' is told from masks of all bytes at once. */
__attribute__((target("avx512f,avx512bw,avx512vbmi"), always_inline)) static inline void list_wide(
    const char *p, uint32_t *list) {
    const __m512i neighbours =
        _mm512_set_epi32(0x1211100f, 0x11100f0e, 0x100f0e0d, 0x0f0e0d0c, 0x0e0d0c0b, 0x0d0c0b0a,
                         0x0c0b0a09, 0x0b0a0908, 0x0a090807, 0x09080706, 0x08070605, 0x07060504,
                         0x06050403, 0x05040302, 0x04030201, 0x03020100);
    __m512i raw = _mm512_loadu_si512(p);
    __m512i folded = _mm512_or_si512(raw, _mm512_set1_epi8(FOLD));
    uint64_t newline = _mm512_cmpeq_epi8_mask(raw, _mm512_set1_epi8('\n'));
    uint64_t is_long = any_of_four(_mm512_cmplt_epu8_mask(
        _mm512_sub_epi8(folded, _mm512_set1_epi8('0')), _mm512_set1_epi8(10)));
    uint64_t bad = any_of_four(newline) | (is_long & newline >> 4);
    for (unsigned at = 0; at < WIDE_STEP; at += WIDE_LANES) {
        __m512i from = _mm512_add_epi8(neighbours, _mm512_set1_epi8((char)at));
        __m512i four = _mm512_permutexvar_epi8(from, folded);
        __m128i next;
        memcpy(&next, p + at + 4, sizeof(next));
        __m512i fifth =
            _mm512_maskz_or_epi32((__mmask16)(is_long >> at), _mm512_cvtepu8_epi32(next),
                                  _mm512_set1_epi32(FIFTH | FOLD));
        __m512i h = _mm512_mullo_epi32(four, _mm512_set1_epi32((int)multiply_1));
        h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 15));
        h = _mm512_mullo_epi32(_mm512_add_epi32(h, fifth), _mm512_set1_epi32((int)multiply_2));
        h = _mm512_mask_mov_epi32(_mm512_srli_epi32(h, 32 - GRAM_HASH_BITS), (__mmask16)(bad >> at),
                                  _mm512_set1_epi32(NO_PLACE));
        _mm512_storeu_si512(list + at, h);
    }
}

/* Steps that begin in the span, as add_spans_avx2 takes them. */
__attribute__((target("avx2"))) static uint32_t list_avx2(uint32_t *list, uint32_t n,
                                                          struct str lines, struct gram_span span) {
    uint32_t at = span.from;
    for (; at < span.end && at + 16 <= lines.size; at += STEP, n += STEP) {
        __m256i good, h = hash_eight(lines.data + at, &good);
        h = _mm256_blendv_epi8(_mm256_set1_epi32(NO_PLACE),
                               _mm256_srli_epi32(h, 32 - GRAM_HASH_BITS), good);
        memcpy(list + n, &h, sizeof(h));
    }
    return at < span.end ? list_scalar(list, n, lines.data + at, lines.data + lines.size) : n;
}

__attribute__((target("avx512f,avx512bw,avx512vbmi"))) static uint32_t list_avx512(
    uint32_t *list, uint32_t n, struct str lines, struct gram_span span) {
    for (; span.from + WIDE_STEP <= span.end && span.from + WIDE_LOAD <= lines.size;
         span.from += WIDE_STEP, n += WIDE_STEP)
        list_wide(lines.data + span.from, list + n);
    return list_avx2(list, n, lines, span);
}
#endif

static uint32_t list_places(const struct gram_builder *b, uint32_t *list, struct str lines,
                            const struct gram_span *spans, uint32_t n_spans) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_spans; i++) {
#if GRAM_AVX2
        if (!b->scalar) {
            n = b->avx512 ? list_avx512(list, n, lines, spans[i])
                          : list_avx2(list, n, lines, spans[i]);
            continue;
        }
#endif
        size_t end = spans[i].end + (size_t)GRAM_MAX - 1; /* where the last gram ends */
        n = list_scalar(list, n, lines.data + spans[i].from,
                        lines.data + (end < lines.size ? end : lines.size));
    }
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

/* How many of the places, which end in so many zeros, are distinct; NO_PLACE is one of them. */
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
 * it comes. That depends on the distinct places alone. One at least of the n is NO_PLACE. */
static uint32_t estimate_distinct(struct gram_builder *b, uint32_t n) {
    uint32_t count;
#if GRAM_AVX2
    if (b->avx512)
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
    if (!b->scalar && m >= SHRINK_M_MIN) {
        if (m >= SHRINK_RUNS_MIN)
            shrink_runs(b->bits, m, out);
        else if (b->avx512)
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
        b->list[n++] = NO_PLACE;
    while (n % LIST_STEP != 0);
    unsigned class = class_for(b, estimate_distinct(b, n));
    if (class > SMALL_CLASS_MAX)
        class = SMALL_CLASS_MAX;
    uint32_t m = class_bits(class), factor = 4 + class % 4;
    unsigned shift = GRAM_HASH_BITS - M_MIN_SHIFT - class / 4;
    memset(b->map, 0, m);
#if GRAM_AVX2
    if (!b->scalar)
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
    if (b->avx512)
        return count_bits_avx512(b->bits);
    if (!b->scalar)
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

size_t gram_build(struct gram_builder *b, struct str lines, uint8_t *out) {
    const char *end = lines.data + lines.size;
    struct gram_span all = {.from = 0, .end = (uint32_t)lines.size};
    if (lines.size + b->n_places <= GRAM_FEW_BYTES)
        return build_small(b, lines, &all, 1, out);
    clear_bits(b);
#if GRAM_AVX2
    if (!b->scalar) {
        add_avx2(b->bits, lines.data, end);
        return put_filter(b, out);
    }
#endif
    add_scalar(b->bits, lines.data, end);
    return put_filter(b, out);
}

static bool add_spans_scalar(uint32_t *bits, struct str lines, const struct gram_span *spans,
                             uint32_t n_spans) {
    for (uint32_t i = 0; i < n_spans; i++) {
        assert(spans[i].from <= spans[i].end && spans[i].end <= lines.size);
        size_t end = spans[i].end + (size_t)GRAM_MAX - 1; /* where the last gram ends */
        add_scalar(bits, lines.data + spans[i].from,
                   lines.data + (end < lines.size ? end : lines.size));
    }
    return true;
}

static bool add_spans(const struct gram_builder *b, uint32_t *bits, struct str lines,
                      const struct gram_span *spans, uint32_t n_spans) {
#if GRAM_AVX2
    if (!b->scalar)
        return add_spans_avx2(bits, lines, spans, n_spans);
#endif
    (void)b;
    return add_spans_scalar(bits, lines, spans, n_spans);
}

/* Are the spans' steps fewer than the lines' places? */
static bool spans_are_few(struct str lines, const struct gram_span *spans, uint32_t n_spans) {
    size_t positions = 0;
    for (uint32_t i = 0; i < n_spans; i++) {
        assert(spans[i].from <= spans[i].end && spans[i].end <= lines.size);
        positions += (spans[i].end - spans[i].from + STEP - 1) / STEP * STEP;
    }
    return positions < lines.size;
}

size_t gram_build_spans(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                        uint32_t n_spans, uint8_t *out) {
    if (lines.size + b->n_places <= GRAM_FEW_BYTES)
        return spans_are_few(lines, spans, n_spans) ? build_small(b, lines, spans, n_spans, out)
                                                    : gram_build(b, lines, out);
    clear_bits(b);
    if (!add_spans(b, b->bits, lines, spans, n_spans))
        return gram_build(b, lines, out);
    return put_filter(b, out);
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
        uint8_t c = p[i] | FOLD;
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
        uint8_t c = p[i] | FOLD;
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
            unsigned length = has_digit(four) ? 5 : 4;
            if (i + length > needle.size || gram_rarity(p + i, length) != level ||
                !gram_is_safe(p + i, length, fold_unicode))
                continue;
            query_add(q, gram_hash(four, length == 5 ? (uint32_t)(FIFTH | p[i + 4] | FOLD) : 0));
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
