/* Building: every gram sets one bit of a 2^20-bit scratch bitmap; its number of set bits tells how many distinct
 * grams there are and so how large the stored bitmap has to be; then each set scratch bit x goes to bit
 * x * m >> 20. That map is monotone, so scratch bits keep their order, and a query finds the same place
 * from the hash alone, whatever m is.
 *
 * A gram's class (plain: 4 bytes, no digit; else 5) is decided on the folded bytes. Folding also makes digits
 * of the control bytes 0x10-0x19; both sides do it, so it is harmless. '\n' would fold to '*' and is therefore
 * looked for in the bytes as they are.
 *
 * Two builders give the same bitmap: a scalar one, and one for AVX2 that hashes eight neighbouring
 * positions at a time (the multiplies are 32 bits wide for this reason). Measured on one core of an AMD EPYC
 * with bench_block: see docs/format.md. */
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
    SMALL_BYTES = 24 << 10, /* so few lines need no look at the whole scratch map */
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
    uint32_t bits[SCRATCH_BITS / 32];
    uint32_t set[SMALL_BYTES +
                 8]; /* of few lines: the places in `bits`, in the order in which they came */
};

static uint32_t class_bits(unsigned i) {
    return (uint32_t)(4 + i % 4) << (M_MIN_SHIFT + i / 4);
}

struct gram_builder *gram_builder_new(void) {
    struct gram_builder *b = aligned_alloc(64, (sizeof(*b) + 63) & ~(size_t)63);
    if (!b)
        return NULL;
    memset(b, 0, sizeof(*b));
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
    b->avx512 = !b->scalar && __builtin_cpu_supports("avx512vpopcntdq");
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

/* Eight positions at p: word index and bit of each gram; the bit is 0 where the gram holds a '\n'. `places`: the hashes
 * themselves, or NULL. */
__attribute__((target("avx2"), always_inline)) static inline void hash_eight(
    const char *p, uint32_t words[static 8], uint32_t masks[static 8], uint32_t *places) {
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
    __m256i good = _mm256_cmpeq_epi32(bad, zero);
    fifth = _mm256_andnot_si256(plain, _mm256_or_si256(fifth, _mm256_set1_epi32(FIFTH)));

    __m256i h = _mm256_mullo_epi32(four, _mm256_set1_epi32((int)multiply_1));
    h = _mm256_xor_si256(h, _mm256_srli_epi32(h, 15));
    h = _mm256_add_epi32(h, fifth);
    h = _mm256_mullo_epi32(h, _mm256_set1_epi32((int)multiply_2));
    __m256i word = _mm256_srli_epi32(h, 32 - GRAM_HASH_BITS + 5);
    __m256i bit =
        _mm256_and_si256(_mm256_srli_epi32(h, 32 - GRAM_HASH_BITS), _mm256_set1_epi32(31));
    bit = _mm256_and_si256(_mm256_sllv_epi32(_mm256_set1_epi32(1), bit), good);
    memcpy(words, &word, sizeof(word));
    memcpy(masks, &bit, sizeof(bit));
    if (places) {
        __m256i place = _mm256_srli_epi32(h, 32 - GRAM_HASH_BITS);
        memcpy(places, &place, sizeof(place));
    }
}

__attribute__((target("avx2"))) static void add_avx2(uint32_t *bits, const char *p,
                                                     const char *end) {
    _Alignas(32) uint32_t words[8];
    _Alignas(32) uint32_t masks[8];
    /* A load takes 16 bytes, of which the eight grams need 12. */
    for (; end - p >= 16; p += 8) {
        hash_eight(p, words, masks, NULL);
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
            hash_eight(lines.data + at, words, masks, NULL);
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

/* ---- few lines: the places are listed as their bits are set, and no more of the map is touched than they. A place is
 * written behind the list in any case, and counts when it is new. */

static uint32_t list_scalar(struct gram_builder *b, uint32_t n, const char *p, const char *end) {
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
        uint32_t x = gram_hash(four, is_long ? (uint32_t)(FIFTH | (uint8_t)p[4] | FOLD) : 0);
        uint32_t *word = &b->bits[x >> 5], bit = 1u << (x & 31);
        b->set[n] = x;
        n += !(*word & bit);
        *word |= bit;
    }
    return n;
}

#if GRAM_AVX2
/* Steps of eight that begin in the span, as add_spans_avx2 takes them. */
__attribute__((target("avx2,bmi"))) static uint32_t list_avx2(struct gram_builder *b, uint32_t n,
                                                              struct str lines,
                                                              struct gram_span span) {
    _Alignas(32) uint32_t words[8];
    _Alignas(32) uint32_t masks[8];
    _Alignas(32) uint32_t places[8];
    uint32_t *bits = b->bits, *set = b->set;
    uint32_t at = span.from;
    for (; at < span.end && at + 16 <= lines.size; at += 8) {
        hash_eight(lines.data + at, words, masks, places);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            uint32_t old = bits[words[k]];
            set[n] = places[k];
            n += (masks[k] & ~old) != 0;
            bits[words[k]] = old | masks[k];
        }
    }
    return at < span.end ? list_scalar(b, n, lines.data + at, lines.data + lines.size) : n;
}
#endif

static uint32_t list_places(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                            uint32_t n_spans) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_spans; i++) {
#if GRAM_AVX2
        if (!b->scalar) {
            n = list_avx2(b, n, lines, spans[i]);
            continue;
        }
#endif
        size_t end = spans[i].end + (size_t)GRAM_MAX - 1; /* where the last gram ends */
        n = list_scalar(b, n, lines.data + spans[i].from,
                        lines.data + (end < lines.size ? end : lines.size));
    }
    return n;
}

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
static uint32_t bits_for(const struct gram_builder *b, uint32_t n_set) {
    unsigned class = 0;
    while (class < M_CLASSES - 1 && n_set > b->limits[class])
        class ++;
    return class_bits(class);
}

static size_t write_header(uint32_t m, uint8_t *out) {
    assert(m <= SCRATCH_BITS && m % 64 == 0);
    put_le32(out, m);
    put_le32(out + 4, 0);
    return GRAM_FILTER_HEADER + m / 8;
}

static uint32_t list_given(struct gram_builder *b, uint32_t n) {
    for (size_t i = 0; i < b->n_places; i++) {
        uint32_t x = b->places[i], *word = &b->bits[x >> 5], bit = 1u << (x & 31);
        b->set[n] = x;
        n += !(*word & bit);
        *word |= bit;
    }
    b->n_places = 0;
    return n;
}

static void set_given(struct gram_builder *b) {
    for (size_t i = 0; i < b->n_places; i++)
        set_bit(b->bits, b->places[i]);
    b->n_places = 0;
}

static size_t build_small(struct gram_builder *b, struct str lines, const struct gram_span *spans,
                          uint32_t n_spans, uint8_t *out) {
    if (b->dirty)
        memset(b->bits, 0, sizeof(b->bits));
    b->dirty = false;
    uint32_t n = list_given(b, list_places(b, lines, spans, n_spans));
    uint32_t m = bits_for(b, n);
    uint8_t *map = out + GRAM_FILTER_HEADER;
    memset(map, 0, m / 8);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)((uint64_t)b->set[i] * m >> GRAM_HASH_BITS);
        map[at >> 3] = (uint8_t)(map[at >> 3] | 1u << (at & 7));
        b->bits[b->set[i] >> 5] = 0;
    }
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
    uint32_t m = bits_for(b, count_bits(b));
    if (m == SCRATCH_BITS)
        memcpy(out + GRAM_FILTER_HEADER, b->bits, sizeof(b->bits));
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
    if (lines.size + b->n_places <= SMALL_BYTES)
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
    if (lines.size + b->n_places <= SMALL_BYTES)
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
