/* With m = c << k bits (c in 4..7), a filter has pieces of c << (k - shift) bits, a whole number of bytes when k is at
 * least shift + 3; a smaller one is stretched to k = shift + 3. A gram of hash x has bit x * m >> 20 of the filter; let
 * low be what of x a slice leaves open, its lowest 20 - shift bits: then that is bit low * m >> 20 of the piece. */
#include "slices.h"

#include <errno.h>

#include "bytes.h"
#include "err.h"
#include "gram.h"

/* Stretching may add 1/64 to the filters, half a thousandth of the lines' size. */
enum { STRETCH_SHARE = 64, BYTE_SHIFT = 3 };

/* n in c << n for the bits of a filter of that size; negative when there is no such filter. */
static int size_exponent(uint32_t size) {
    uint32_t m = gram_filter_bits(size);
    int k = m > 0 ? 31 - __builtin_clz(m) - 2 : -1;
    return k >= BYTE_SHIFT && m >> k << k == m ? k : -1;
}

/* Bytes of a piece when there are 2^shift. */
static uint32_t piece_bytes(uint32_t size, int k, unsigned shift) {
    unsigned stretch = (unsigned)k < shift + BYTE_SHIFT ? shift + BYTE_SHIFT - (unsigned)k : 0;
    return (uint32_t)(((uint64_t)gram_filter_bits(size) << stretch) >> (shift + BYTE_SHIFT));
}

int slices_make(const uint32_t *sizes, uint32_t n, unsigned shift, struct arena *arena,
                struct slices *ret) {
    if (shift > SLICES_SHIFT_MAX)
        return -ECORRUPT;
    uint32_t *offsets = arena_alloc(arena, ((size_t)n + 1) * sizeof(*offsets));
    if (!offsets)
        return -ENOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        int k = sizes[i] > 0 ? size_exponent(sizes[i]) : 0;
        uint32_t piece = sizes[i] > 0 && k >= 0 ? piece_bytes(sizes[i], k, shift) : 0;
        if (k < 0 || piece > UINT32_MAX - at)
            return -ECORRUPT;
        offsets[i] = at;
        at += piece;
    }
    offsets[n] = at;
    *ret = (struct slices){.n = n, .shift = shift, .offsets = offsets};
    return 0;
}

unsigned slices_best_shift(const uint32_t *sizes, uint32_t n) {
    uint64_t least = 0;
    for (unsigned shift = 0;; shift++) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < n; i++)
            if (sizes[i] > 0)
                total += (uint64_t)piece_bytes(sizes[i], size_exponent(sizes[i]), shift) << shift;
        if (shift == 0)
            least = total;
        if (total > least + least / STRETCH_SHARE)
            return shift - 1;
        if (shift == SLICES_SHIFT_MAX)
            return shift;
    }
}

static uint32_t piece_size(const struct slices *s, uint32_t i) {
    return s->offsets[i + 1] - s->offsets[i];
}

/* How often, as a power of two, each bit of a filter of m bits stands. */
static unsigned stretch_of(const struct slices *s, uint32_t i, uint32_t m) {
    uint64_t stored = (uint64_t)piece_size(s, i) * 8 << s->shift;
    return (unsigned)__builtin_ctzll(stored) - (unsigned)__builtin_ctz(m);
}

static bool bit_get(const uint8_t *bits, uint64_t at) {
    return bits[at >> 3] >> (at & 7) & 1;
}

/* Pieces are mostly of 4 to 16 bytes: two moves of a fixed size that may overlap. */
static inline void copy_piece(uint8_t *out, const uint8_t *from, uint32_t size) {
    if (size >= 4 && size <= 8) {
        memcpy(out, from, 4);
        memcpy(out + size - 4, from + size - 4, 4);
    } else if (size > 8 && size <= 16) {
        memcpy(out, from, 8);
        memcpy(out + size - 8, from + size - 8, 8);
    } else {
        memcpy(out, from, size);
    }
}

void slices_put(const struct slices *s, uint32_t i, const uint8_t *filter, uint32_t size,
                uint32_t from, uint32_t to, uint8_t *out) {
    uint32_t piece = piece_size(s, i), stride = slices_stride(s);
    if (piece == 0)
        return;
    const uint8_t *bits = filter + GRAM_FILTER_HEADER;
    unsigned stretch = stretch_of(s, i, gram_filter_bits(size));
    out += s->offsets[i];
    for (uint32_t slice = from; slice < to; slice++, out += stride) {
        uint64_t first = (uint64_t)slice * piece;
        if (stretch == 0) {
            copy_piece(out, bits + first, piece);
            continue;
        }
        memset(out, 0, piece);
        for (uint64_t bit = 0; bit < (uint64_t)piece * 8; bit++)
            if (bit_get(bits, (first * 8 + bit) >> stretch))
                out[bit >> 3] = (uint8_t)(out[bit >> 3] | 1u << (bit & 7));
    }
}

void slices_take_part(const struct slices *s, uint32_t i, const uint8_t *slices, uint32_t size,
                      uint32_t from_byte, uint32_t to_byte, uint8_t *out) {
    uint32_t piece = piece_size(s, i), stride = slices_stride(s);
    unsigned stretch = stretch_of(s, i, gram_filter_bits(size));
    if (from_byte == to_byte)
        return;
    out += GRAM_FILTER_HEADER;
    if (stretch == 0) {
        for (uint32_t slice = from_byte / piece; slice <= (to_byte - 1) / piece; slice++)
            copy_piece(out + (size_t)slice * piece,
                       slices + (uint64_t)slice * stride + s->offsets[i], piece);
        return;
    }
    memset(out + from_byte, 0, to_byte - from_byte);
    for (uint32_t bit = from_byte * 8; bit < to_byte * 8; bit++) {
        uint64_t stored = (uint64_t)bit << stretch;
        const uint8_t *from = slices + stored / 8 / piece * stride + s->offsets[i];
        if (bit_get(from, stored % ((uint64_t)piece * 8)))
            out[bit >> 3] = (uint8_t)(out[bit >> 3] | 1u << (bit & 7));
    }
}

void slices_take(const struct slices *s, uint32_t i, const uint8_t *slices, uint32_t size,
                 uint8_t *out) {
    uint32_t m = gram_filter_bits(size);
    put_le32(out, m);
    put_le32(out + 4, 0);
    slices_take_part(s, i, slices, size, 0, m / 8, out);
}

/* ---- asking */

uint32_t slices_find(const struct slices *s, uint32_t hash) {
    return hash >> (GRAM_HASH_BITS - s->shift);
}

static inline bool piece_has(const struct slices *s, const uint8_t *slice, uint64_t low,
                             uint32_t i) {
    uint32_t from = s->offsets[i], piece = s->offsets[i + 1] - from;
    uint64_t at = low * piece * 8 >> (GRAM_HASH_BITS - s->shift);
    return piece == 0 || bit_get(slice + from, at);
}

static uint64_t low_bits(const struct slices *s, uint32_t hash) {
    return hash & ((1u << (GRAM_HASH_BITS - s->shift)) - 1);
}

bool slices_may_contain(const struct slices *s, const uint8_t *slice, uint32_t hash, uint32_t i) {
    return piece_has(s, slice, low_bits(s, hash), i);
}

bool slices_narrow(const struct slices *s, const uint8_t *slice, uint32_t hash, uint64_t *alive) {
    uint64_t low = low_bits(s, hash), any = 0;
    for (uint32_t word = 0; word * 64 < s->n; word++) {
        uint64_t left = alive[word];
        if (s->n - word * 64 < 64)
            left &= ((uint64_t)1 << (s->n & 63)) - 1;
        for (uint64_t bits = left; bits != 0; bits &= bits - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(bits);
            left &= ~((uint64_t)!piece_has(s, slice, low, word * 64 + bit) << bit);
        }
        alive[word] = left;
        any |= left;
    }
    return any != 0;
}
