/* test_random: numbers without a pattern, the same in every run. A test that wants others sets the state. */
#pragma once

#include <stdint.h>

static uint64_t random_state = 88172645463325252u; /* never 0 */

static inline uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static inline uint64_t random_below(uint64_t n) {
    return random_next() % n;
}
