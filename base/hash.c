#define XXH_INLINE_ALL
#include "hash.h"

#include <xxhash.h>

#include "hash_wide.h"

enum { WIDE_FROM = 512 }; /* bytes: XXH3 takes 240 and less by other means, without vectors */

uint64_t hash64(const void *data, size_t size) {
#if defined(__x86_64__)
    if (size >= WIDE_FROM && __builtin_cpu_supports("avx2"))
        return hash64_wide(data, size);
#endif
    return XXH3_64bits(data, size);
}

struct hash128 hash128(const void *data, size_t size) {
    XXH128_hash_t h = XXH3_128bits(data, size);
    return (struct hash128){.low = h.low64, .high = h.high64};
}
