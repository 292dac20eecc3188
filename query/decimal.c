#include "decimal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

/* Whole numbers below this are exact, and need no search for their shortest digits. */
#define WHOLE_MAX 1e15

static uint8_t *make_digits(struct arena *a, size_t count) {
    return count > DECIMAL_DIGITS_MAX ? NULL : arena_array(a, count + 1, 1);
}

/* Drops zeros in front. */
static void trim(struct decimal *d) {
    while (d->count > 0 && d->digits[0] == 0) {
        d->digits++;
        d->count--;
    }
    if (d->count == 0)
        d->negative = false;
}

bool decimal_from_double(struct arena *a, double value, struct decimal *ret) {
    char room[64];
    struct buf text = {.data = room, .capacity = sizeof(room), .max = sizeof(room)};
    if (fabs(value) < WHOLE_MAX && value == trunc(value))
        buf_add_i64(&text, (int64_t)fabs(value));
    else
        float_format_g(&text, fabs(value));
    uint8_t *digits = make_digits(a, text.size);
    struct decimal d = {.negative = value < 0, .digits = digits};
    bool behind_point = false;
    for (size_t i = 0; digits && i < text.size; i++) {
        char c = text.data[i];
        if (c >= '0' && c <= '9') {
            digits[d.count++] = (uint8_t)(c - '0');
            d.exponent -= behind_point;
        } else if (c == '.') {
            behind_point = true;
        } else if (c == 'e') {
            int64_t exponent = 0;
            (void)i64_parse(str_make(text.data + i + 1, text.size - i - 1), &exponent);
            d.exponent += (int32_t)exponent;
            break;
        }
    }
    trim(&d);
    *ret = d;
    return digits && !text.failed;
}

/* The same value with a lower exponent. */
static bool lower(struct arena *a, const struct decimal *x, int32_t exponent, struct decimal *ret) {
    *ret = *x;
    ret->exponent = exponent;
    if (x->count == 0 || x->exponent == exponent)
        return true;
    size_t zeros = (size_t)(x->exponent - exponent);
    uint8_t *digits = make_digits(a, x->count + zeros);
    if (!digits)
        return false;
    memcpy(digits, x->digits, x->count);
    ret->digits = digits;
    ret->count = x->count + zeros;
    return true;
}

static int compare(const uint8_t *x, size_t nx, const uint8_t *y, size_t ny) {
    while (nx > 0 && *x == 0) {
        x++;
        nx--;
    }
    if (nx != ny)
        return nx < ny ? -1 : 1;
    return nx ? memcmp(x, y, nx) : 0;
}

static void add_digits(uint8_t *out, size_t n, const struct decimal *x, const struct decimal *y) {
    unsigned carry = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned sum = carry + (i < x->count ? x->digits[x->count - 1 - i] : 0u) +
                       (i < y->count ? y->digits[y->count - 1 - i] : 0u);
        out[n - 1 - i] = (uint8_t)(sum % 10);
        carry = sum / 10;
    }
}

/* x -= y, x the larger; both end at the same place. */
static void subtract_digits(uint8_t *x, size_t nx, const uint8_t *y, size_t ny) {
    unsigned borrow = 0;
    for (size_t i = 0; i < nx && (i < ny || borrow); i++) {
        unsigned less = borrow + (i < ny ? y[ny - 1 - i] : 0u), have = x[nx - 1 - i];
        borrow = have < less;
        x[nx - 1 - i] = (uint8_t)(have + 10 * borrow - less);
    }
}

bool decimal_add(struct arena *a, const struct decimal *x, const struct decimal *y,
                 struct decimal *ret) {
    struct decimal p, q;
    int32_t exponent = x->exponent < y->exponent ? x->exponent : y->exponent;
    if (!lower(a, x, exponent, &p) || !lower(a, y, exponent, &q))
        return false;
    if (p.negative != q.negative && compare(p.digits, p.count, q.digits, q.count) < 0) {
        struct decimal swap = p;
        p = q;
        q = swap;
    }
    size_t n = (p.count > q.count ? p.count : q.count) + 1;
    uint8_t *digits = make_digits(a, n);
    if (!digits)
        return false;
    struct decimal sum = {p.negative, exponent, n, digits};
    if (p.negative == q.negative) {
        add_digits(digits, n, &p, &q);
    } else {
        memcpy(digits + n - p.count, p.digits, p.count);
        subtract_digits(digits, n, q.digits, q.count);
    }
    trim(&sum);
    *ret = sum;
    return true;
}

bool decimal_multiply(struct arena *a, const struct decimal *x, const struct decimal *y,
                      struct decimal *ret) {
    size_t n = x->count + y->count;
    uint8_t *digits = make_digits(a, n);
    if (!digits)
        return false;
    for (size_t i = 0; i < x->count; i++) {
        unsigned carry = 0, factor = x->digits[x->count - 1 - i];
        for (size_t j = 0; j <= y->count; j++) {
            uint8_t *at = &digits[n - 1 - i - (j < y->count ? j : y->count)];
            unsigned sum = *at + carry + (j < y->count ? factor * y->digits[y->count - 1 - j] : 0);
            *at = (uint8_t)(sum % 10);
            carry = sum / 10;
        }
    }
    *ret = (struct decimal){x->negative != y->negative, x->exponent + y->exponent, n, digits};
    trim(ret);
    return true;
}

/* The digits of num / den, whole; `rest` (room for den's count + 1) ends as the remainder. */
static void divide_digits(uint8_t *out, const struct decimal *num, const struct decimal *den,
                          uint8_t *rest, size_t *n_rest) {
    size_t n = 0;
    for (size_t i = 0; i < num->count; i++) {
        if (n > 0 || num->digits[i] != 0)
            rest[n++] = num->digits[i];
        uint8_t digit = 0;
        while (compare(rest, n, den->digits, den->count) >= 0) {
            subtract_digits(rest, n, den->digits, den->count);
            digit++;
        }
        size_t zeros = 0;
        while (zeros < n && rest[zeros] == 0)
            zeros++;
        n -= zeros;
        memmove(rest, rest + zeros, n);
        out[i] = digit;
    }
    *n_rest = n;
}

/* Is twice the remainder at least the divisor? */
static bool rounds_up(struct arena *a, const uint8_t *rest, size_t n, const struct decimal *den,
                      bool *ret) {
    struct decimal r = {.count = n, .digits = rest}, twice;
    if (!decimal_add(a, &r, &r, &twice))
        return false;
    *ret = compare(twice.digits, twice.count, den->digits, den->count) >= 0;
    return true;
}

bool decimal_divide(struct arena *a, const struct decimal *x, const struct decimal *y,
                    struct decimal *ret) {
    struct decimal num = *x, den = *y, quotient;
    int32_t shift = x->exponent - y->exponent + DECIMAL_QUOTIENT_DIGITS;
    if (shift > 0 ? !lower(a, x, x->exponent - shift, &num)
                  : !lower(a, y, y->exponent + shift, &den))
        return false;
    uint8_t *digits = make_digits(a, num.count), *rest = make_digits(a, den.count + 1);
    if (!digits || !rest)
        return false;
    size_t n_rest;
    bool up;
    divide_digits(digits, &num, &den, rest, &n_rest);
    if (!rounds_up(a, rest, n_rest, &den, &up))
        return false;
    quotient = (struct decimal){
        .exponent = -DECIMAL_QUOTIENT_DIGITS, .count = num.count, .digits = digits};
    trim(&quotient);
    static const uint8_t one[] = {1};
    struct decimal last = {.exponent = -DECIMAL_QUOTIENT_DIGITS, .count = 1, .digits = one};
    if (up && !decimal_add(a, &quotient, &last, &quotient))
        return false;
    quotient.negative = quotient.count > 0 && x->negative != y->negative;
    *ret = quotient;
    return true;
}

bool decimal_to_double(struct arena *a, const struct decimal *x, double *ret) {
    size_t size = x->count + 32;
    char *text = arena_alloc(a, size);
    if (!text)
        return false;
    size_t n = 0;
    if (x->negative)
        text[n++] = '-';
    for (size_t i = 0; i < x->count; i++)
        text[n++] = (char)('0' + x->digits[i]);
    if (x->count == 0)
        text[n++] = '0';
    n += (size_t)snprintf(text + n, size - n, "e%d", x->exponent);
    double value = 0;
    if (float_parse_go(str_make(text, n), &value) < 0)
        value = x->negative ? -INFINITY : INFINITY;
    *ret = value;
    return true;
}
