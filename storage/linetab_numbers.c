/* Packing of numbers and ids. Numbers stand in frames of LINETAB_FRAME: u8 width, varint of the smallest (zigzag for
 * distances), then what each is above it in `width` bits. */
#include <errno.h>

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

uint64_t numbers_cost(const uint64_t *numbers, uint32_t n, bool *ret_delta) {
    uint64_t plain = 0, delta = 0, before = numbers[0];
    for (uint32_t at = 0; at < n; at += LINETAB_FRAME) {
        uint32_t end = n - at < LINETAB_FRAME ? n : at + LINETAB_FRAME;
        uint64_t low = UINT64_MAX, high = 0;
        int64_t least = INT64_MAX, most = INT64_MIN;
        for (uint32_t i = at; i < end; i++) {
            uint64_t x = numbers[i];
            int64_t d = (int64_t)(x - before);
            before = x;
            low = x < low ? x : low;
            high = x > high ? x : high;
            least = d < least ? d : least;
            most = d > most ? d : most;
        }
        plain += (uint64_t)bits_of(high - low) * (end - at) + 24;
        delta += (uint64_t)bits_of((uint64_t)most - (uint64_t)least) * (end - at) + 16;
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

static uint8_t *put_frame(uint8_t *p, const uint64_t *numbers, uint32_t n, bool delta) {
    uint64_t flip = delta ? UINT64_C(1) << 63 : 0; /* orders signed numbers as unsigned ones */
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t x = numbers[i] ^ flip;
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    unsigned width = bits_of(high - low);
    low ^= flip;
    *p++ = (uint8_t)width;
    p = put_varint(p, delta ? zigzag((int64_t)low) : low);
    return pack(p, numbers, low, n, width);
}

int numbers_put(struct linetab_encoder *e, const uint64_t *numbers, uint32_t n, bool delta) {
    size_t frames = n / LINETAB_FRAME + 1;
    size_t most = frames * (1 + VARINT_MAX_BYTES + LINETAB_FRAME * 8 + 8);
    int r = buf_reserve(&e->packed, most);
    if (r < 0)
        return r;
    uint8_t *from = (uint8_t *)e->packed.data + e->packed.size, *p = from;
    uint64_t frame[LINETAB_FRAME], before = n > 0 ? numbers[0] : 0;
    for (uint32_t at = 0; at < n; at += LINETAB_FRAME) {
        uint32_t count = n - at < LINETAB_FRAME ? n - at : LINETAB_FRAME;
        for (uint32_t i = 0; delta && i < count; i++) {
            frame[i] = numbers[at + i] - before;
            before = numbers[at + i];
        }
        p = put_frame(p, delta ? frame : numbers + at, count, delta);
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
