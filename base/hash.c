#define XXH_INLINE_ALL
#include "hash.h"

#include <xxhash.h>

uint64_t hash64(const void *data, size_t size) {
    return XXH3_64bits(data, size);
}

struct hash128 hash128(const void *data, size_t size) {
    XXH128_hash_t h = XXH3_128bits(data, size);
    return (struct hash128){.low = h.low64, .high = h.high64};
}
