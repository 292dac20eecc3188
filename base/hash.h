/* hash: XXH3 (xxHash 0.8, https://xxhash.com), the one hash of bytes in the project. The values are
 * stored on disk (section checksums, label-set hashes), so the algorithm is part of the format. */
#pragma once

#include <stdint.h>

#include "str.h"

uint64_t hash64(const void *data, size_t size);

static inline uint64_t hash_str(struct str s) {
    return hash64(s.data, s.size);
}

struct hash128 {
    uint64_t low, high;
};
struct hash128 hash128(const void *data, size_t size);

/* Mixes two hashes; the order matters. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b) {
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdu;
    return x ^ (x >> 32);
}
