/* Packing of numbers and ids. Numbers stand in frames of LINETAB_FRAME: u8 width, varint of the smallest (zigzag for
 * distances), then what each is above it in `width` bits. */
#include <errno.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "linetab_encoder.h"

enum {
    PREDICTABLE_MIN = 48,     /* ids: shorter columns are packed */
    PREDICTABLE_VALUES = 255, /* a byte each */
};

void plan_put_varint(struct linetab_encoder *e, uint64_t number) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(&e->plan, bytes, (size_t)(put_varint(bytes, number) - bytes));
}

void plan_put_bytes(struct linetab_encoder *e, const char *data, uint32_t size) {
    plan_put_varint(e, size);
    buf_add(&e->plan, data, size);
}

static unsigned bits_of(uint64_t range) {
    return range > 0 ? 64 - (unsigned)__builtin_clzll(range) : 0;
}

/* The smallest and the largest of some numbers, and of their distances, the first one's from `before`. */
struct range {
    uint64_t low, high;
    int64_t least, most;
};

#ifdef __x86_64__
__attribute__((target("avx512f"))) static struct range find_range_avx512(const uint64_t *numbers,
                                                                         uint32_t n,
                                                                         uint64_t before) {
    __m512i last = _mm512_set1_epi64((long long)before);
    __m512i low = _mm512_set1_epi64(-1), high = _mm512_setzero_si512();
    __m512i least = _mm512_set1_epi64(INT64_MAX), most = _mm512_set1_epi64(INT64_MIN);
    for (uint32_t i = 0; i < n; i += 8) {
        __mmask8 mask = (__mmask8)(n - i < 8 ? (1u << (n - i)) - 1 : 0xff);
        __m512i x = _mm512_maskz_loadu_epi64(mask, numbers + i);
        __m512i d = _mm512_sub_epi64(x, _mm512_alignr_epi64(x, last, 7));
        low = _mm512_mask_min_epu64(low, mask, low, x);
        high = _mm512_max_epu64(high, x);
        least = _mm512_mask_min_epi64(least, mask, least, d);
        most = _mm512_mask_max_epi64(most, mask, most, d);
        last = x;
    }
    return (struct range){_mm512_reduce_min_epu64(low), _mm512_reduce_max_epu64(high),
                          _mm512_reduce_min_epi64(least), _mm512_reduce_max_epi64(most)};
}
#endif

static struct range find_range(const uint64_t *numbers, uint32_t n, uint64_t before) {
    struct range r = {UINT64_MAX, 0, INT64_MAX, INT64_MIN};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return find_range_avx512(numbers, n, before);
#endif
    for (uint32_t i = 0; i < n; i++) {
        uint64_t x = numbers[i];
        int64_t d = (int64_t)(x - before);
        before = x;
        r.low = x < r.low ? x : r.low;
        r.high = x > r.high ? x : r.high;
        r.least = d < r.least ? d : r.least;
        r.most = d > r.most ? d : r.most;
    }
    return r;
}

uint64_t numbers_cost(const uint64_t *numbers, uint32_t n, bool *ret_delta) {
    uint64_t plain = 0, delta = 0, before = numbers[0];
    for (uint32_t at = 0; at < n; at += LINETAB_FRAME) {
        uint32_t count = n - at < LINETAB_FRAME ? n - at : LINETAB_FRAME;
        struct range r = find_range(numbers + at, count, before);
        before = numbers[at + count - 1];
        plain += (uint64_t)bits_of(r.high - r.low) * count + 24;
        delta += (uint64_t)bits_of((uint64_t)r.most - (uint64_t)r.least) * count + 16;
    }
    *ret_delta = delta < plain;
    return delta < plain ? delta : plain;
}

/* Appends n numbers of `width` bits to p, lowest bit first; returns the end. */
static uint8_t *pack(uint8_t *p, const uint64_t *numbers, uint64_t base, uint32_t n,
                     unsigned width) {
    uint64_t gathered = 0;
    unsigned bits = 0;
    for (uint32_t i = 0; i < n && width > 0; i++) {
        uint64_t x = numbers[i] - base;
        gathered |= x << bits;
        if (bits + width < 64) {
            bits += width;
            continue;
        }
        put_le64(p, gathered);
        p += 8;
        gathered = bits > 0 ? x >> (64 - bits) : 0;
        bits = bits + width - 64;
    }
    for (; bits > 0; bits = bits > 8 ? bits - 8 : 0) {
        *p++ = (uint8_t)gathered;
        gathered >>= 8;
    }
    return p;
}

/* `before`: the number before them, of which distances are counted. */
static uint8_t *put_frame(uint8_t *p, const uint64_t *numbers, uint32_t n, uint64_t before,
                          bool delta) {
    struct range r = find_range(numbers, n, before);
    unsigned width = bits_of(delta ? (uint64_t)r.most - (uint64_t)r.least : r.high - r.low);
    uint64_t distances[LINETAB_FRAME];
    *p++ = (uint8_t)width;
    if (!delta)
        return pack(put_varint(p, r.low), numbers, r.low, n, width);
    distances[0] = numbers[0] - before;
    for (uint32_t i = 1; i < n; i++)
        distances[i] = numbers[i] - numbers[i - 1];
    return pack(put_varint(p, zigzag(r.least)), distances, (uint64_t)r.least, n, width);
}

int numbers_put(struct linetab_encoder *e, const uint64_t *numbers, uint32_t n, bool delta) {
    size_t frames = n / LINETAB_FRAME + 1;
    size_t most = frames * (1 + VARINT_MAX_BYTES + LINETAB_FRAME * 8 + 8);
    int r = buf_reserve(&e->packed, most);
    if (r < 0)
        return r;
    uint8_t *from = (uint8_t *)e->packed.data + e->packed.size, *p = from;
    for (uint32_t at = 0; at < n; at += LINETAB_FRAME) {
        uint32_t count = n - at < LINETAB_FRAME ? n - at : LINETAB_FRAME;
        p = put_frame(p, numbers + at, count, numbers[at > 0 ? at - 1 : 0], delta);
    }
    e->packed.size += (size_t)(p - from);
    buf_add_char(&e->plan, delta ? NUMBERS_DELTA : NUMBERS_PLAIN);
    if (delta)
        plan_put_varint(e, n > 0 ? numbers[0] : 0);
    plan_put_varint(e, (uint64_t)(p - from));
    return 0;
}

/* Do most ids follow from the one before? Then zstd finds what packed bits would hide. */
static bool predictable(const uint32_t *ids, uint32_t n) {
    uint16_t next[256];
    uint32_t hits = 0, most = n - n / 4, before = ids[0];
    memset(next, 0xff, sizeof(next)); /* no id */
    for (uint32_t i = 1; i < n; i++) {
        uint16_t *follows = &next[before];
        before = ids[i];
        hits += *follows == before;
        *follows = (uint16_t)before;
        if (hits + (n - 1 - i) <= most)
            return false;
    }
    return hits > most;
}

/* As pack does, of ids: `width` bits each, at most 32. */
static uint8_t *pack_ids(uint8_t *p, const uint32_t *ids, uint32_t n, unsigned width) {
    uint64_t gathered = 0;
    unsigned bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        gathered |= (uint64_t)ids[i] << bits;
        bits += width;
        if (bits >= 32) {
            put_le32(p, (uint32_t)gathered);
            p += 4;
            gathered >>= 32;
            bits -= 32;
        }
    }
    put_le32(p, (uint32_t)gathered);
    return p + (bits + 7) / 8;
}

int ids_put(struct linetab_encoder *e, const uint32_t *ids, uint32_t n, uint32_t n_values) {
    unsigned width = linetab_id_width(n_values);
    if (width > 0 && n >= PREDICTABLE_MIN && n_values <= PREDICTABLE_VALUES &&
        predictable(ids, n)) {
        buf_add_char(&e->plan, (char)IDS_IN_PLAN);
        int r = buf_reserve(&e->plan, n);
        for (uint32_t i = 0; r == 0 && i < n; i++)
            e->plan.data[e->plan.size++] = (char)ids[i];
        return r;
    }
    buf_add_char(&e->plan, (char)width);
    int r = buf_reserve(&e->packed, (size_t)n * 4 + 16);
    if (r < 0 || width == 0)
        return r;
    uint8_t *from = (uint8_t *)e->packed.data + e->packed.size, *p = from;
    p = pack_ids(p, ids, n, width);
    e->packed.size += (size_t)(p - from);
    return 0;
}
