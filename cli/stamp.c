#include <time.h>

#include "stamp.h"
#include "units.h"

enum {
    YEAR_FIRST = 1678, /* int64 nanoseconds begin late in 1677 */
    YEAR_LAST = 2261,
    SYSLOG_YEARS_BACK = 8, /* February 29 may be that long ago */
};

/* ---- reading */

struct cursor {
    const char *at, *end;
};

static size_t left(const struct cursor *c) {
    return (size_t)(c->end - c->at);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Exactly `digits` digits. */
static bool take_number(struct cursor *c, size_t digits, int *ret) {
    if (left(c) < digits)
        return false;
    int value = 0;
    for (size_t i = 0; i < digits; i++) {
        if (!is_digit(c->at[i]))
            return false;
        value = value * 10 + (c->at[i] - '0');
    }
    c->at += digits;
    *ret = value;
    return true;
}

static bool take_char(struct cursor *c, char wanted) {
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

/* ".123456" or ",123": as many digits as there are, the first nine count. */
static void take_fraction(struct cursor *c, int32_t *ret_ns) {
    if (left(c) < 2 || (*c->at != '.' && *c->at != ',') || !is_digit(c->at[1]))
        return;
    c->at++;
    int32_t unit = 100000000;
    for (; c->at < c->end && is_digit(*c->at); c->at++, unit /= 10)
        *ret_ns += (*c->at - '0') * unit;
}

/* "03:04:05.678"; without seconds only when they are optional. */
static bool take_clock(struct cursor *c, bool seconds_required, struct civil *ret) {
    if (!take_number(c, 2, &ret->hour) || !take_char(c, ':') || !take_number(c, 2, &ret->minute))
        return false;
    struct cursor before = *c;
    if (!take_char(c, ':') || !take_number(c, 2, &ret->second)) {
        *c = before;
        ret->second = 0;
        return !seconds_required;
    }
    take_fraction(c, &ret->nanosecond);
    return true;
}

/* "Z", "+01:00", "+0100", "-08"; nothing is fine. */
static void take_zone(struct cursor *c, struct civil *ret) {
    if (take_char(c, 'Z')) {
        ret->has_zone = true;
        return;
    }
    struct cursor before = *c;
    int sign = take_char(c, '+') ? 1 : take_char(c, '-') ? -1 : 0;
    int hours, minutes = 0;
    if (sign == 0 || !take_number(c, 2, &hours)) {
        *c = before;
        return;
    }
    struct cursor behind_hours = *c;
    (void)take_char(c, ':');
    if (!take_number(c, 2, &minutes)) {
        *c = behind_hours;
        minutes = 0;
    }
    if (hours > 15 || minutes > 59) {
        *c = before;
        return;
    }
    ret->has_zone = true;
    ret->zone_s = sign * (hours * 3600 + minutes * 60);
}

static bool take_date(struct cursor *c, struct civil *ret) {
    if (!take_number(c, 4, &ret->year) || c->at == c->end)
        return false;
    char separator = *c->at;
    return (separator == '-' || separator == '/') && take_char(c, separator) &&
           take_number(c, 2, &ret->month) && take_char(c, separator) &&
           take_number(c, 2, &ret->day) && ret->year >= YEAR_FIRST && ret->month >= 1 &&
           ret->day >= 1;
}

size_t civil_parse_iso(struct str text, bool in_line, struct civil *ret) {
    struct cursor c = {text.data, text.data + text.size};
    struct civil civil = {0};
    if (!take_date(&c, &civil))
        return 0;
    struct cursor behind_date = c;
    struct civil day = civil;
    bool has_clock = (take_char(&c, 'T') || take_char(&c, 't') || take_char(&c, ' ')) &&
                     take_clock(&c, in_line, &civil);
    if (!has_clock) {
        if (in_line)
            return 0;
        c = behind_date;
        civil = day;
    }
    take_zone(&c, &civil);
    *ret = civil;
    return (size_t)(c.at - text.data);
}

static bool take_month(struct cursor *c, int *ret) {
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (left(c) < 4 || c->at[3] != ' ')
        return false;
    for (int i = 0; i < 12; i++) {
        if (memcmp(c->at, names + 3 * i, 3) == 0) {
            *ret = i + 1;
            c->at += 4;
            return true;
        }
    }
    return false;
}

static bool take_weekday(struct cursor *c) {
    static const char names[] = "MonTueWedThuFriSatSun";
    for (int i = 0; i < 7; i++) {
        if (left(c) > 4 && c->at[3] == ' ' && memcmp(c->at, names + 3 * i, 3) == 0) {
            c->at += 4;
            return true;
        }
    }
    return false;
}

/* "Nov 21 03:04:05", "Nov  1 ...", and ctime's with a weekday before and a year behind. */
static bool parse_month_first(struct cursor *c, struct civil *ret) {
    bool is_ctime = take_weekday(c);
    if (!take_month(c, &ret->month))
        return false;
    (void)take_char(c, ' ');
    if (!take_number(c, 2, &ret->day) && !take_number(c, 1, &ret->day))
        return false;
    if (!take_char(c, ' ') || !take_clock(c, true, ret) || ret->day < 1)
        return false;
    /* Behind syslog's form stands the host's name, which may be "2026": only ctime is believed
     * to have a year. */
    return !is_ctime ||
           (take_char(c, ' ') && take_number(c, 4, &ret->year) && ret->year >= YEAR_FIRST);
}

/* ---- converting */

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days since 1970-01-01; by counting years in cycles of 400 from March, so that the leap day is
 * the last. */
static int64_t days_of(int year, int month, int day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* Seconds of the local time's minute. mktime is slow, and lines of one minute follow one
 * another. */
static int64_t local_minute_s(const struct civil *c) {
    static struct {
        int year, month, day, hour, minute;
        const char *zone;
        int64_t seconds;
    } last;
    if (last.year == c->year && last.month == c->month && last.day == c->day &&
        last.hour == c->hour && last.minute == c->minute && last.zone == tzname[0])
        return last.seconds;
    struct tm tm = {
        .tm_year = c->year - 1900,
        .tm_mon = c->month - 1,
        .tm_mday = c->day,
        .tm_hour = c->hour,
        .tm_min = c->minute,
        .tm_isdst = -1,
    };
    int64_t seconds = mktime(&tm);
    last.year = c->year;
    last.month = c->month;
    last.day = c->day;
    last.hour = c->hour;
    last.minute = c->minute;
    last.zone = tzname[0];
    last.seconds = seconds;
    return seconds;
}

bool civil_to_ns(const struct civil *c, int64_t *ret_ns) {
    if (c->year <= YEAR_FIRST - 1 || c->year > YEAR_LAST || c->month < 1 || c->month > 12 ||
        c->day < 1 || c->day > days_in_month(c->year, c->month) || c->hour > 23 || c->minute > 59 ||
        c->second > 60)
        return false;
    int64_t minute_s;
    if (c->has_zone)
        minute_s = days_of(c->year, c->month, c->day) * 86400 + c->hour * 3600 + c->minute * 60 -
                   c->zone_s;
    else
        minute_s = local_minute_s(c);
    *ret_ns = (minute_s + c->second) * NS_PER_S + c->nanosecond;
    return true;
}

static int year_of(int64_t ns) {
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm tm;
    return localtime_r(&seconds, &tm) ? tm.tm_year + 1900 : 1970;
}

static bool with_guessed_year(struct civil *c, int64_t reference_ns, int64_t *ret_ns) {
    int64_t latest_ns = reference_ns + NS_PER_DAY;
    int year = year_of(latest_ns);
    for (int back = 0; back <= SYSLOG_YEARS_BACK; back++) {
        c->year = year - back;
        if (civil_to_ns(c, ret_ns) && *ret_ns <= latest_ns)
            return true;
    }
    return false;
}

static void skip_priority(struct cursor *c) {
    struct cursor before = *c;
    if (!take_char(c, '<'))
        return;
    size_t digits = 0;
    for (; c->at < c->end && is_digit(*c->at); c->at++)
        digits++;
    if (digits == 0 || digits > 3 || !take_char(c, '>'))
        *c = before;
    else if (left(c) > 2 && is_digit(c->at[0]) && c->at[1] == ' ')
        c->at += 2; /* RFC 5424's version */
}

bool stamp_parse(struct str line, int64_t reference_ns, int64_t *ret_ns) {
    if (line.size < 15)
        return false;
    struct cursor c = {line.data, line.data + line.size};
    skip_priority(&c);
    (void)take_char(&c, '[');
    struct civil civil = {0};
    if (c.at < c.end && is_digit(*c.at))
        return civil_parse_iso(str_make(c.at, left(&c)), true, &civil) > 0 &&
               civil_to_ns(&civil, ret_ns);
    if (!parse_month_first(&c, &civil))
        return false;
    if (civil.year == 0)
        return with_guessed_year(&civil, reference_ns, ret_ns);
    return civil_to_ns(&civil, ret_ns);
}
