/* decimal: exact decimal arithmetic on what doubles print as, the way addf and its like calculate (0.1 + 0.2 = 0.3).
 * A value is an integer times a power of ten; digits lie in an arena. Quotients have 16 digits behind the point. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* A product of as many largest doubles as a call takes arguments stays below. */
enum { DECIMAL_DIGITS_MAX = 1 << 15, DECIMAL_QUOTIENT_DIGITS = 16 };

struct decimal {
    bool negative;
    int32_t exponent;
    size_t count;          /* of digits; 0 = zero */
    const uint8_t *digits; /* 0 to 9, the most significant first and not 0 */
};

/* All: false without memory or past DECIMAL_DIGITS_MAX. `value` is finite. */
bool decimal_from_double(struct arena *a, double value, struct decimal *ret);
bool decimal_add(struct arena *a, const struct decimal *x, const struct decimal *y,
                 struct decimal *ret);
bool decimal_multiply(struct arena *a, const struct decimal *x, const struct decimal *y,
                      struct decimal *ret);
/* y is not zero. Rounds half away from zero. */
bool decimal_divide(struct arena *a, const struct decimal *x, const struct decimal *y,
                    struct decimal *ret);
bool decimal_to_double(struct arena *a, const struct decimal *x, double *ret);
