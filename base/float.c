/* float: the part of units.h that reads and writes floating-point numbers the way Go does.
 *
 * Reading. The text is checked against Go's grammar here and then handed to strtod in a normal form of
 * bounded size: significant digits without underscores, point or leading zeros, and an exponent. 800 decimal
 * digits decide every rounding (768 are enough to tell any double from the midpoint beside it); those dropped
 * are represented by one digit 1 when any of them is not zero. strtod rounds correctly; programs never
 * leave the C locale, so its point is '.'.
 *
 * Writing. The shortest digits that read back as the same double are found by trying precisions: each decimal
 * of up to 15 digits survives the way through a normal double, so 15, 16 and 17 are all there are to try,
 * except for subnormal ones, which have fewer. Just above a power of two the gap is twice as wide as
 * below; there the next decimal upwards may be a shorter answer than the nearest one. */
#include "units.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "err.h"

/* ---- reading ---- */

enum {
    DIGITS_KEPT = 800,
    EXPONENT_MAX = 100000000, /* far outside the range of a double, far inside that of int64 sums */
};

struct number {
    char digits[DIGITS_KEPT + 1]; /* significant, no leading zeros; one more for the dropped ones */
    size_t count;
    int64_t exponent; /* of ten, or of two when hex: value = digits * base^exponent */
    bool dropped;     /* a digit that is not zero was */
    bool hex;
    bool negative;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char fold(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Go's rule: an underscore stands between digits; a base prefix counts as a digit. */
static bool underscores_fine(struct str text, bool hex) {
    char before = hex ? '0' : '^';
    for (size_t i = hex ? 2 : 0; i < text.size; i++) {
        char c = text.data[i];
        bool digit = is_digit(c) || (hex && fold(c) >= 'a' && fold(c) <= 'f');
        if (c == '_' && before != '0')
            return false;
        if (before == '_' && !digit)
            return false;
        before = digit ? '0' : c == '_' ? '_' : '!';
    }
    return before != '_';
}

static void add_digit(struct number *n, char c, bool behind_point) {
    int shift = n->hex ? 4 : 1;
    if (n->count == 0 && c == '0') {
        n->exponent -= behind_point ? shift : 0;
    } else if (n->count < DIGITS_KEPT) {
        n->digits[n->count++] = c;
        n->exponent -= behind_point ? shift : 0;
    } else {
        n->dropped = n->dropped || c != '0';
        n->exponent += behind_point ? 0 : shift;
    }
}

/* The mantissa at the front of *text; false without a digit. */
static bool take_mantissa(struct str *text, struct number *n) {
    bool any = false, behind_point = false;
    size_t i = 0;
    for (; i < text->size; i++) {
        char c = text->data[i];
        if (c == '_')
            continue;
        if (c == '.' && !behind_point) {
            behind_point = true;
        } else if (is_digit(c) || (n->hex && fold(c) >= 'a' && fold(c) <= 'f')) {
            any = true;
            add_digit(n, c, behind_point);
        } else {
            break;
        }
    }
    *text = str_from_offset(*text, i);
    return any;
}

/* "e-12" or "p-12" at the front of *text, required for hex. */
static bool take_exponent(struct str *text, struct number *n) {
    if (text->size == 0 || fold(text->data[0]) != (n->hex ? 'p' : 'e'))
        return !n->hex;
    size_t i = 1;
    bool negative = false;
    if (i < text->size && (text->data[i] == '-' || text->data[i] == '+'))
        negative = text->data[i++] == '-';
    if (i >= text->size || !is_digit(text->data[i]))
        return false;
    int64_t exponent = 0;
    for (; i < text->size && (is_digit(text->data[i]) || text->data[i] == '_'); i++)
        if (text->data[i] != '_' && exponent < EXPONENT_MAX)
            exponent = exponent * 10 + (text->data[i] - '0');
    n->exponent += negative ? -exponent : exponent;
    *text = str_from_offset(*text, i);
    return true;
}

static bool parse_special(struct str text, double *ret) {
    if (str_eq_nocase(text, STR("nan"))) {
        *ret = (double)NAN;
        return true;
    }
    bool negative = text.size > 0 && text.data[0] == '-';
    if (text.size > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        text = str_from_offset(text, 1);
    if (!str_eq_nocase(text, STR("inf")) && !str_eq_nocase(text, STR("infinity")))
        return false;
    *ret = negative ? -(double)INFINITY : (double)INFINITY;
    return true;
}

/* Digits and powers of ten up to 2^53 and 10^22 are exact doubles, so one operation rounds correctly. */
static bool exact_value(const struct number *n, double *ret) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    enum { EXACT_DIGITS = 15, EXACT_POWER = 22 };
    if (n->hex || n->count > EXACT_DIGITS || n->exponent > EXACT_POWER ||
        n->exponent < -EXACT_POWER)
        return false;
    int64_t digits = 0;
    for (size_t i = 0; i < n->count; i++)
        digits = digits * 10 + (n->digits[i] - '0');
    *ret = n->exponent < 0 ? (double)digits / powers[-n->exponent]
                           : (double)digits * powers[n->exponent];
    return true;
}

static double slow_value(struct number *n) {
    enum { AROUND_DIGITS = 32 };
    if (n->dropped) {
        n->digits[n->count++] = '1';
        n->exponent -= n->hex ? 4 : 1;
    }
    char text[DIGITS_KEPT + 1 + AROUND_DIGITS];
    (void)snprintf(text, sizeof(text), "%s%.*s%c%lld", n->hex ? "0x" : "", (int)n->count, n->digits,
                   n->hex ? 'p' : 'e', (long long)n->exponent);
    return strtod(text, NULL);
}

/* Most numbers of logs are a few digits, which a double holds. */
static bool parse_digits(struct str text, double *ret) {
    int64_t value = 0;
    if (text.size == 0 || text.size > 15)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned char)text.data[i] - '0';
        if (digit > 9)
            return false;
        value = value * 10 + digit;
    }
    *ret = (double)value;
    return true;
}

int float_parse_go(struct str text, double *ret) {
    if (parse_digits(text, ret))
        return 0;
    if (parse_special(text, ret))
        return 0;
    struct number n;
    n.count = 0;
    n.exponent = 0;
    n.dropped = false;
    n.negative = text.size > 0 && text.data[0] == '-';
    if (text.size > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        text = str_from_offset(text, 1);
    n.hex = text.size >= 2 && text.data[0] == '0' && fold(text.data[1]) == 'x';
    if (memchr(text.size ? text.data : "", '_', text.size) && !underscores_fine(text, n.hex))
        return -ESYNTAX;
    if (n.hex)
        text = str_from_offset(text, 2);
    if (!take_mantissa(&text, &n) || !take_exponent(&text, &n) || text.size > 0)
        return -ESYNTAX;
    double value = 0;
    if (n.count > 0 && !exact_value(&n, &value))
        value = slow_value(&n);
    if (isinf(value))
        return -ERANGE;
    *ret = n.negative ? -value : value;
    return 0;
}

/* ---- writing ---- */

enum { SHORTEST_MAX = 17 };

/* value = 0.d1d2d3... * 10^point */
struct shortest {
    char digits[SHORTEST_MAX];
    int count;
    int point;
};

/* Reads "d.ddde-XX" as %e writes it. */
static void split(const char *text, struct shortest *s) {
    s->count = 0;
    const char *p = text;
    for (; *p != 'e'; p++)
        if (*p != '.')
            s->digits[s->count++] = *p;
    s->point = (int)strtol(p + 1, NULL, 10) + 1;
    while (s->count > 1 && s->digits[s->count - 1] == '0')
        s->count--;
}

static double join(const struct shortest *s) {
    char text[SHORTEST_MAX + 24];
    (void)snprintf(text, sizeof(text), "%.*se%d", s->count, s->digits, s->point - s->count);
    return strtod(text, NULL);
}

/* The next decimal upwards of `precision` digits. */
static void step_up(struct shortest *s, int precision) {
    while (s->count < precision)
        s->digits[s->count++] = '0';
    while (s->count > 0 && s->digits[s->count - 1] == '9')
        s->count--;
    if (s->count == 0) {
        s->digits[s->count++] = '1';
        s->point++;
        return;
    }
    s->digits[s->count - 1]++;
}

/* For a finite value > 0. */
static struct shortest find_shortest(double value) {
    int exponent;
    bool power_of_two = frexp(value, &exponent) == 0.5;
    struct shortest s = {0};
    for (int precision = isnormal(value) ? 15 : 1; precision <= SHORTEST_MAX; precision++) {
        char text[SHORTEST_MAX + 16];
        (void)snprintf(text, sizeof(text), "%.*e", precision - 1, value);
        split(text, &s);
        if (precision == SHORTEST_MAX || join(&s) == value)
            break;
        if (!power_of_two)
            continue;
        step_up(&s, precision);
        if (join(&s) == value)
            break;
    }
    return s;
}

/* Handles what has no digits to find; false for a finite value other than zero. */
static bool add_simple(struct buf *out, double value) {
    if (isnan(value)) {
        buf_add_str(out, STR("NaN"));
    } else if (isinf(value)) {
        buf_add_str(out, value < 0 ? STR("-Inf") : STR("+Inf"));
    } else if (value == 0) {
        buf_add_str(out, signbit(value) ? STR("-0") : STR("0"));
    } else {
        return false;
    }
    return true;
}

static void add_exponent_form(struct buf *out, const struct shortest *s, int exponent_digits) {
    int exponent = s->point - 1;
    buf_add_char(out, s->digits[0]);
    if (s->count > 1) {
        buf_add_char(out, '.');
        buf_add(out, s->digits + 1, (size_t)s->count - 1);
    }
    buf_addf(out, "e%c%0*d", exponent < 0 ? '-' : '+', exponent_digits, abs(exponent));
}

static void add_zeros(struct buf *out, int count) {
    for (int i = 0; i < count; i++)
        buf_add_char(out, '0');
}

static void add_plain(struct buf *out, const struct shortest *s) {
    if (s->point <= 0) {
        buf_add_str(out, STR("0."));
        add_zeros(out, -s->point);
        buf_add(out, s->digits, (size_t)s->count);
    } else if (s->point >= s->count) {
        buf_add(out, s->digits, (size_t)s->count);
        add_zeros(out, s->point - s->count);
    } else {
        buf_add(out, s->digits, (size_t)s->point);
        buf_add_char(out, '.');
        buf_add(out, s->digits + s->point, (size_t)(s->count - s->point));
    }
}

/* Whole numbers below this are exact, and their shortest digits are their decimal digits. */
#define WHOLE_MAX 1e15

void float_format(struct buf *out, double value) {
    if (add_simple(out, value))
        return;
    if (fabs(value) < WHOLE_MAX && value == trunc(value)) {
        buf_add_i64(out, (int64_t)value);
        return;
    }
    if (value < 0)
        buf_add_char(out, '-');
    struct shortest s = find_shortest(fabs(value));
    add_plain(out, &s);
}

void float_format_g(struct buf *out, double value) {
    enum { EXPONENT_FROM = 6, PLAIN_FROM = -4 };
    if (add_simple(out, value))
        return;
    if (value < 0)
        buf_add_char(out, '-');
    struct shortest s = find_shortest(fabs(value));
    int exponent = s.point - 1;
    if (exponent >= PLAIN_FROM && exponent < EXPONENT_FROM) {
        add_plain(out, &s);
        return;
    }
    add_exponent_form(out, &s, 2);
}

void float_format_json(struct buf *out, double value) {
    double size = fabs(value);
    if (!(size < 1e-6 || size >= 1e21) || size == 0 || isinf(value)) {
        float_format(out, value);
        return;
    }
    if (value < 0)
        buf_add_char(out, '-');
    struct shortest s = find_shortest(size);
    add_exponent_form(out, &s, 1);
}
