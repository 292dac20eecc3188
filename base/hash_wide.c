/* hash64 of long inputs, compiled with AVX2 (base/meson.build): twice as fast as with what every x86-64 has, for the same
 * values. Whoever calls has seen that the processor can do it. */
#define XXH_INLINE_ALL
#include "hash_wide.h"

#include <xxhash.h>

uint64_t hash64_wide(const void *data, size_t size) {
    return XXH3_64bits(data, size);
}
