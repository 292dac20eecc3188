#include "units.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "err.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- whole numbers ---- */

/* The digits at the front of *text, taken off it. -ESYNTAX without one, -ERANGE past uint64. */
static int take_digits(struct str *text, uint64_t *ret) {
    uint64_t value = 0;
    bool too_big = false;
    size_t i = 0;
    for (; i < text->size && is_digit(text->data[i]); i++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text->data[i] - '0'), &value))
            too_big = true;
    }
    if (i == 0)
        return -ESYNTAX;
    *text = str_from_offset(*text, i);
    if (too_big)
        return -ERANGE;
    *ret = value;
    return 0;
}

int u64_parse(struct str text, uint64_t *ret) {
    if (text.size > 0 && text.data[0] == '+')
        text = str_from_offset(text, 1);
    uint64_t value;
    int r = take_digits(&text, &value);
    if (text.size > 0)
        return -ESYNTAX;
    if (r == 0)
        *ret = value;
    return r;
}

/* Puts a sign to a magnitude; false when it does not fit. */
static bool apply_sign(uint64_t magnitude, bool negative, int64_t *ret) {
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static bool take_sign(struct str *text) {
    if (text->size == 0 || (text->data[0] != '-' && text->data[0] != '+'))
        return false;
    bool negative = text->data[0] == '-';
    *text = str_from_offset(*text, 1);
    return negative;
}

int i64_parse(struct str text, int64_t *ret) {
    bool negative = take_sign(&text);
    uint64_t value;
    int r = take_digits(&text, &value);
    if (text.size > 0)
        return -ESYNTAX;
    if (r < 0)
        return r;
    return apply_sign(value, negative, ret) ? 0 : -ERANGE;
}

/* ---- durations ---- */

struct unit {
    struct str name;
    uint64_t size;
};

static const struct unit *find_unit(const struct unit *units, size_t count, struct str name) {
    for (size_t i = 0; i < count; i++)
        if (str_eq(units[i].name, name))
            return &units[i];
    return NULL;
}

/* The bytes at the front of *text up to the next digit or point, taken off it. */
static struct str take_unit(struct str *text) {
    size_t i = 0;
    while (i < text->size && !is_digit(text->data[i]) && text->data[i] != '.')
        i++;
    struct str unit = str_make(text->data, i);
    *text = str_from_offset(*text, i);
    return unit;
}

/* Digits behind the point: *ret_value / *ret_scale. Digits that no longer fit are ignored. */
static bool take_fraction(struct str *text, uint64_t *ret_value, double *ret_scale) {
    uint64_t value = 0;
    double scale = 1;
    bool full = false;
    size_t i = 0;
    for (; i < text->size && is_digit(text->data[i]); i++) {
        full = full || value > (uint64_t)INT64_MAX / 10 - 1;
        if (full)
            continue;
        value = value * 10 + (uint64_t)(text->data[i] - '0');
        scale *= 10;
    }
    *text = str_from_offset(*text, i);
    *ret_value = value;
    *ret_scale = scale;
    return i > 0;
}

/* One "12.5ms" of a Go duration, taken off *text, in ns. */
static int take_go_part(struct str *text, uint64_t *ret_ns) {
    static const struct unit units[] = {
        {STR_INIT("ns"), 1},
        {STR_INIT("us"), NS_PER_US},
        {STR_INIT("\xC2\xB5s"), NS_PER_US},
        {STR_INIT("\xCE\xBCs"), NS_PER_US},
        {STR_INIT("ms"), NS_PER_MS},
        {STR_INIT("s"), NS_PER_S},
        {STR_INIT("m"), NS_PER_MIN},
        {STR_INIT("h"), NS_PER_HOUR},
    };
    uint64_t whole = 0, fraction = 0;
    double scale = 1;
    int r = take_digits(text, &whole);
    if (r == -ERANGE)
        return -ESYNTAX;
    bool any = r == 0;
    if (text->size > 0 && text->data[0] == '.') {
        *text = str_from_offset(*text, 1);
        any = take_fraction(text, &fraction, &scale) || any;
    }
    if (!any)
        return -ESYNTAX;
    const struct unit *unit = find_unit(units, sizeof(units) / sizeof(units[0]), take_unit(text));
    if (!unit || __builtin_mul_overflow(whole, unit->size, &whole))
        return -ESYNTAX;
    uint64_t part = (uint64_t)((double)fraction * ((double)unit->size / scale));
    if (__builtin_add_overflow(whole, part, ret_ns))
        return -ESYNTAX;
    return 0;
}

int duration_parse_go(struct str text, int64_t *ret_ns) {
    bool negative = take_sign(&text);
    if (str_eq(text, STR("0"))) {
        *ret_ns = 0;
        return 0;
    }
    if (text.size == 0)
        return -ESYNTAX;
    uint64_t total = 0;
    while (text.size > 0) {
        uint64_t part;
        int r = take_go_part(&text, &part);
        if (r < 0 || __builtin_add_overflow(total, part, &total))
            return -ESYNTAX;
    }
    return apply_sign(total, negative, ret_ns) ? 0 : -ESYNTAX;
}

static const struct unit prometheus_units[] = {
    {STR_INIT("y"), 365 * NS_PER_DAY}, {STR_INIT("w"), 7 * NS_PER_DAY}, {STR_INIT("d"), NS_PER_DAY},
    {STR_INIT("h"), NS_PER_HOUR},      {STR_INIT("m"), NS_PER_MIN},     {STR_INIT("s"), NS_PER_S},
    {STR_INIT("ms"), NS_PER_MS},
};
enum { PROMETHEUS_UNITS = sizeof(prometheus_units) / sizeof(prometheus_units[0]) };

int duration_parse_prometheus(struct str text, int64_t *ret_ns) {
    if (str_eq(text, STR("0"))) {
        *ret_ns = 0;
        return 0;
    }
    if (text.size == 0)
        return -ESYNTAX;
    uint64_t total = 0;
    size_t next_unit = 0; /* units come in falling order, once each */
    while (text.size > 0) {
        uint64_t count, part;
        if (take_digits(&text, &count) < 0)
            return -ESYNTAX;
        const struct unit *unit = find_unit(prometheus_units, PROMETHEUS_UNITS, take_unit(&text));
        if (!unit || (size_t)(unit - prometheus_units) < next_unit)
            return -ESYNTAX;
        next_unit = (size_t)(unit - prometheus_units) + 1;
        if (__builtin_mul_overflow(count, unit->size, &part) ||
            __builtin_add_overflow(total, part, &total))
            return -ESYNTAX;
    }
    return apply_sign(total, false, ret_ns) ? 0 : -ESYNTAX;
}

int duration_parse_setting(struct str text, int64_t *ret_ns) {
    if (duration_parse_prometheus(text, ret_ns) == 0)
        return 0;
    return duration_parse_go(text, ret_ns);
}

/* `value` / 10^digits without trailing zeros. */
static void add_decimal(struct buf *out, uint64_t value, unsigned digits) {
    uint64_t scale = 1;
    for (unsigned i = 0; i < digits; i++)
        scale *= 10;
    buf_add_u64(out, value / scale);
    uint64_t rest = value % scale;
    if (rest == 0)
        return;
    buf_add_char(out, '.');
    while (rest > 0) {
        scale /= 10;
        buf_add_char(out, (char)('0' + rest / scale));
        rest %= scale;
    }
}

void duration_format_go(struct buf *out, int64_t ns) {
    uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        buf_add_char(out, '-');
    if (left == 0) {
        buf_add_str(out, STR("0s"));
    } else if (left < NS_PER_US) {
        add_decimal(out, left, 0);
        buf_add_str(out, STR("ns"));
    } else if (left < NS_PER_MS) {
        add_decimal(out, left, 3);
        buf_add_str(out, STR("\xC2\xB5s"));
    } else if (left < (uint64_t)NS_PER_S) {
        add_decimal(out, left, 6);
        buf_add_str(out, STR("ms"));
    } else {
        if (left >= (uint64_t)NS_PER_HOUR) {
            buf_add_u64(out, left / (uint64_t)NS_PER_HOUR);
            buf_add_char(out, 'h');
        }
        if (left >= (uint64_t)NS_PER_MIN) {
            buf_add_u64(out, left % (uint64_t)NS_PER_HOUR / (uint64_t)NS_PER_MIN);
            buf_add_char(out, 'm');
        }
        add_decimal(out, left % (uint64_t)NS_PER_MIN, 9);
        buf_add_char(out, 's');
    }
}

void duration_format_prometheus(struct buf *out, int64_t ns) {
    uint64_t magnitude = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    uint64_t left = magnitude - magnitude % NS_PER_MS;
    if (left == 0) {
        buf_add_str(out, STR("0s"));
        return;
    }
    if (ns < 0)
        buf_add_char(out, '-');
    for (size_t i = 0; i < PROMETHEUS_UNITS; i++) {
        const struct unit *unit = &prometheus_units[i];
        /* Years and weeks only when nothing is left over: 90d reads better than 12w6d. */
        bool exact_only = unit->size > NS_PER_DAY;
        if (left < unit->size || (exact_only && left % unit->size != 0))
            continue;
        buf_add_u64(out, left / unit->size);
        buf_add_str(out, unit->name);
        left %= unit->size;
    }
}

/* ---- byte sizes ---- */

/* Lower-cases the blank-trimmed text into `out`; what does not fit becomes a unit that nobody knows. */
static struct str fold_unit(struct str text, char *out, size_t room) {
    text = str_trim(text);
    if (text.size > room)
        return STR("?");
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return str_make(out, text.size);
}

/* The power of a size prefix: 1 for k up to 6 for e; -1 for none. */
static int prefix_power(char c) {
    const char *found = c ? strchr("kmgtpe", c) : NULL;
    static const char letters[] = "kmgtpe";
    return found ? (int)(strchr(letters, c) - letters) + 1 : -1;
}

static uint64_t power_of(uint64_t base, int power) {
    uint64_t value = 1;
    for (int i = 0; i < power; i++)
        value *= base;
    return value;
}

/* "", "b", "k", "kb", "ki", "kib" and so on, folded. 0 when unknown. */
static uint64_t size_unit(struct str unit, uint64_t decimal_base) {
    if (unit.size == 0 || str_eq(unit, STR("b")))
        return 1;
    int power = prefix_power(unit.data[0]);
    if (power < 0)
        return 0;
    struct str rest = str_from_offset(unit, 1);
    if (rest.size == 0 || str_eq(rest, STR("b")))
        return power_of(decimal_base, power);
    if (str_eq(rest, STR("i")) || str_eq(rest, STR("ib")))
        return power_of(1024, power);
    return 0;
}

enum { SIZE_NUMBER_MAX = 64, SIZE_UNIT_MAX = 3 };

int bytes_parse(struct str text, uint64_t *ret) {
    char number[SIZE_NUMBER_MAX], unit_text[SIZE_UNIT_MAX];
    size_t size = 0, i = 0;
    for (; i < text.size; i++) {
        char c = text.data[i];
        if (c == ',') /* "1,234 B" */
            continue;
        if (!is_digit(c) && c != '.')
            break;
        if (size == sizeof(number))
            return -ESYNTAX;
        number[size++] = c;
    }
    double value;
    if (float_parse_go(str_make(number, size), &value) < 0)
        return -ESYNTAX;
    struct str unit = fold_unit(str_from_offset(text, i), unit_text, sizeof(unit_text));
    uint64_t factor = size_unit(unit, 1000);
    if (factor == 0)
        return -ESYNTAX;
    value *= (double)factor;
    if (value >= 18446744073709551616.0)
        return -ESYNTAX;
    *ret = (uint64_t)value;
    return 0;
}

int bytes_parse_setting(struct str text, uint64_t *ret) {
    char unit_text[SIZE_UNIT_MAX];
    uint64_t value;
    text = str_trim(text);
    if (take_digits(&text, &value) < 0)
        return -ESYNTAX;
    uint64_t factor = size_unit(fold_unit(text, unit_text, sizeof(unit_text)), 1024);
    if (factor == 0 || __builtin_mul_overflow(value, factor, &value))
        return -ESYNTAX;
    *ret = value;
    return 0;
}

void bytes_format(struct buf *out, uint64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    enum { LAST_UNIT = sizeof(units) / sizeof(units[0]) - 1 };
    if (bytes < 10) {
        buf_addf(out, "%d B", (int)bytes);
        return;
    }
    size_t unit = 0;
    uint64_t factor = 1;
    while (unit < LAST_UNIT && bytes / 1000 >= factor) {
        factor *= 1000;
        unit++;
    }
    double value = floor((double)bytes / (double)factor * 10 + 0.5) / 10;
    buf_addf(out, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- calendar ---- */

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. Years are counted from March, so
 * that the leap day is the last of its year; 400 years have 146097 days. */
enum { DAYS_400_YEARS = 146097, DAYS_TO_1970 = 719468 };

static int32_t day_from_date(int year, int month, int day) {
    if (month <= 2)
        year--;
    int era = (year >= 0 ? year : year - 399) / 400;
    int year_of_era = year - era * 400;
    int month_from_march = (month + 9) % 12;
    int day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_400_YEARS + day_of_era - DAYS_TO_1970;
}

static void date_from_day(int32_t days, int *ret_year, int *ret_month, int *ret_day) {
    int64_t shifted = (int64_t)days + DAYS_TO_1970;
    int64_t era = (shifted >= 0 ? shifted : shifted - (DAYS_400_YEARS - 1)) / DAYS_400_YEARS;
    int day_of_era = (int)(shifted - era * DAYS_400_YEARS);
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = (int)(era * 400) + year_of_era + (*ret_month <= 2);
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Exactly `count` digits at the front of *text, taken off it; -1 when they are not there. */
static int take_field(struct str *text, size_t count) {
    if (text->size < count)
        return -1;
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_digit(text->data[i]))
            return -1;
        value = value * 10 + (text->data[i] - '0');
    }
    *text = str_from_offset(*text, count);
    return value;
}

static bool take_char(struct str *text, char c) {
    if (text->size == 0 || text->data[0] != c)
        return false;
    *text = str_from_offset(*text, 1);
    return true;
}

/* "2026-11-21" at the front of *text. */
static bool take_date(struct str *text, int32_t *ret_day) {
    int year = take_field(text, 4);
    if (year < 0 || !take_char(text, '-'))
        return false;
    int month = take_field(text, 2);
    if (month < 1 || month > 12 || !take_char(text, '-'))
        return false;
    int day = take_field(text, 2);
    if (day < 1 || day > days_in_month(year, month))
        return false;
    *ret_day = day_from_date(year, month, day);
    return true;
}

/* "15:04:05" at the front of *text, in seconds; -1 when it is none. */
static int take_time_of_day(struct str *text) {
    int hour = take_field(text, 2);
    if (hour < 0 || hour > 23 || !take_char(text, ':'))
        return -1;
    int minute = take_field(text, 2);
    if (minute < 0 || minute > 59 || !take_char(text, ':'))
        return -1;
    int second = take_field(text, 2);
    if (second < 0 || second > 59)
        return -1;
    return hour * 3600 + minute * 60 + second;
}

/* ".123" at the front of *text, if there; digits past the ninth are dropped. */
static bool take_nanoseconds(struct str *text, int64_t *ret_ns) {
    int64_t ns = 0, weight = NS_PER_S / 10;
    *ret_ns = 0;
    if (!take_char(text, '.'))
        return true;
    size_t i = 0;
    for (; i < text->size && is_digit(text->data[i]); i++) {
        ns += (text->data[i] - '0') * weight;
        weight /= 10;
    }
    *text = str_from_offset(*text, i);
    *ret_ns = ns;
    return i > 0;
}

/* "Z", "+02:00"; the seconds to subtract. */
static bool take_zone(struct str *text, int *ret_seconds) {
    *ret_seconds = 0;
    if (take_char(text, 'Z'))
        return true;
    if (text->size == 0 || (text->data[0] != '+' && text->data[0] != '-'))
        return false;
    bool west = take_sign(text);
    int hour = take_field(text, 2);
    if (hour < 0 || hour > 23 || !take_char(text, ':'))
        return false;
    int minute = take_field(text, 2);
    if (minute < 0 || minute > 59)
        return false;
    int seconds = hour * 3600 + minute * 60;
    *ret_seconds = west ? -seconds : seconds;
    return true;
}

int time_parse_rfc3339(struct str text, int64_t *ret_ns) {
    int32_t day;
    int zone_seconds;
    int64_t fraction_ns, total_ns;
    if (!take_date(&text, &day) || !take_char(&text, 'T'))
        return -ESYNTAX;
    int seconds = take_time_of_day(&text);
    if (seconds < 0 || !take_nanoseconds(&text, &fraction_ns) || !take_zone(&text, &zone_seconds) ||
        text.size > 0)
        return -ESYNTAX;
    int64_t total_seconds = (int64_t)day * 86400 + seconds - zone_seconds;
    /* The earliest second of int64 is refused as a whole: its product overflows before the fraction brings
     * it back. */
    if (__builtin_mul_overflow(total_seconds, NS_PER_S, &total_ns) ||
        __builtin_add_overflow(total_ns, fraction_ns, &total_ns))
        return -ESYNTAX;
    *ret_ns = total_ns;
    return 0;
}

void time_format_rfc3339(struct buf *out, int64_t ns, bool whole_seconds) {
    int32_t day = time_day(ns);
    /* Unsigned: the day of the earliest times begins before the range of int64. */
    uint64_t ns_of_day = (uint64_t)ns - (uint64_t)day * (uint64_t)NS_PER_DAY;
    uint64_t seconds = ns_of_day / (uint64_t)NS_PER_S;
    char date[11];
    day_format(date, day);
    buf_addf(out, "%sT%02d:%02d:", date, (int)(seconds / 3600), (int)(seconds / 60 % 60));
    uint64_t in_minute = ns_of_day % (uint64_t)NS_PER_MIN;
    if (in_minute < 10 * (uint64_t)NS_PER_S)
        buf_add_char(out, '0');
    add_decimal(out, whole_seconds ? in_minute / (uint64_t)NS_PER_S : in_minute,
                whole_seconds ? 0 : 9);
    buf_add_char(out, 'Z');
}

int32_t time_day(int64_t ns) {
    int64_t day = ns / NS_PER_DAY;
    return (int32_t)(ns % NS_PER_DAY < 0 ? day - 1 : day);
}

void day_format(char out[static 11], int32_t day) {
    int year, month, day_of_month;
    date_from_day(day, &year, &month, &day_of_month);
    assert(year >= 0 && year <= 9999);
    int parts[] = {year / 100, year % 100, month, day_of_month};
    size_t at = 0;
    for (size_t i = 0; i < 4; i++) {
        out[at++] = (char)('0' + parts[i] / 10);
        out[at++] = (char)('0' + parts[i] % 10);
        if (i == 1 || i == 2)
            out[at++] = '-';
    }
    out[at] = '\0';
}

int day_parse(struct str text, int32_t *ret_day) {
    int32_t day;
    if (!take_date(&text, &day) || text.size > 0)
        return -ESYNTAX;
    *ret_day = day;
    return 0;
}
