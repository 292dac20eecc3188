#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stamp.h"
#include "units.h"
#include "when.h"

enum {
    ZONE_NAME_MAX = 200,
    FORMAT_MAX = 80, /* of one formatted time */
};

/* ---- zones */

int when_use_zone(const char *name, struct err *reterr) {
    if (!name || strcmp(name, "Local") == 0) {
        tzset();
        return 0;
    }
    char path[ZONE_NAME_MAX + 32];
    const char *folder = getenv("TZDIR");
    bool is_utc = strcmp(name, "UTC") == 0;
    int n = snprintf(path, sizeof(path), "%s/%s", folder ? folder : "/usr/share/zoneinfo", name);
    if (!is_utc && (strlen(name) > ZONE_NAME_MAX || n >= (int)sizeof(path) || strstr(name, "..") ||
                    access(path, R_OK) != 0))
        return err_set(reterr, -ESYNTAX,
                       "--timezone is Local, UTC or a zone like Europe/Berlin (as installed in "
                       "/usr/share/zoneinfo), not \"%.100s\"",
                       name);
    if (setenv("TZ", is_utc ? "UTC0" : name, 1) < 0)
        return err_set(reterr, -ENOMEM, "out of memory");
    tzset();
    return 0;
}

/* ---- durations and points in time */

int when_parse_duration(const char *text, int64_t *ret_ns, struct err *reterr) {
    struct str s = str_from(text);
    int64_t ns, years;
    if (duration_parse_setting(s, &ns) == 0 && ns >= 0) {
        *ret_ns = ns;
        return 0;
    }
    /* Years alone, should the setting's form not know them. */
    if (s.size > 1 && s.data[s.size - 1] == 'y' &&
        i64_parse(str_make(s.data, s.size - 1), &years) == 0 && years >= 0 && years <= 200) {
        *ret_ns = years * 365 * NS_PER_DAY;
        return 0;
    }
    return err_set(reterr, -ESYNTAX,
                   "\"%s\" is not a duration: write 15m, 2h, 1h30m, 7d, 4w or 20y", text);
}

static int64_t midnight_ns(int64_t now_ns, int days_back) {
    time_t seconds = (time_t)(now_ns / NS_PER_S);
    struct tm tm;
    if (!localtime_r(&seconds, &tm))
        return now_ns;
    tm.tm_mday -= days_back;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    return (int64_t)mktime(&tm) * NS_PER_S;
}

/* "now", "today-2h", "yesterday+90m"; false when it is none of these. */
static bool parse_word(struct str text, int64_t now_ns, int64_t *ret_ns) {
    const struct {
        struct str word;
        int64_t ns;
    } words[] = {
        {STR("now"), now_ns},
        {STR("today"), midnight_ns(now_ns, 0)},
        {STR("yesterday"), midnight_ns(now_ns, 1)},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!str_starts(text, words[i].word))
            continue;
        struct str rest = str_trim(str_from_offset(text, words[i].word.size));
        int64_t delta_ns = 0;
        if (rest.size > 0) {
            if (rest.data[0] != '+' && rest.data[0] != '-')
                return false;
            struct str amount = str_trim(str_from_offset(rest, 1));
            char copy[64];
            if (amount.size >= sizeof(copy))
                return false;
            memcpy(copy, amount.data, amount.size);
            copy[amount.size] = '\0';
            if (when_parse_duration(copy, &delta_ns, NULL) < 0)
                return false;
            if (rest.data[0] == '-')
                delta_ns = -delta_ns;
        }
        return !__builtin_add_overflow(words[i].ns, delta_ns, ret_ns);
    }
    return false;
}

/* Unix time: up to 11 digits are seconds (with fraction), 13 milliseconds, 16 microseconds, more
 * nanoseconds. */
static bool parse_unix(struct str text, int64_t *ret_ns) {
    if (text.size > 0 && text.data[0] == '@')
        text = str_from_offset(text, 1);
    const char *dot = text.size > 0 ? memchr(text.data, '.', text.size) : NULL;
    struct str whole = dot ? str_make(text.data, (size_t)(dot - text.data)) : text;
    int64_t value;
    if (whole.size == 0 || i64_parse(whole, &value) < 0 || value < 0)
        return false;
    int64_t unit = whole.size <= 11   ? NS_PER_S
                   : whole.size <= 13 ? NS_PER_MS
                   : whole.size <= 16 ? NS_PER_US
                                      : 1;
    if (__builtin_mul_overflow(value, unit, ret_ns))
        return false;
    if (!dot)
        return true;
    int64_t digit_ns = unit / 10;
    for (const char *p = dot + 1; p < text.data + text.size; p++, digit_ns /= 10) {
        if (*p < '0' || *p > '9')
            return false;
        *ret_ns += (*p - '0') * digit_ns;
    }
    return true;
}

/* "15:04", "15:04:05": today. */
static bool parse_clock(struct str text, int64_t now_ns, int64_t *ret_ns) {
    if (text.size < 5 || text.data[2] != ':')
        return false;
    time_t seconds = (time_t)(now_ns / NS_PER_S);
    struct tm tm;
    char full[64];
    if (!localtime_r(&seconds, &tm) || text.size > 20)
        return false;
    int n = snprintf(full, sizeof(full), "%04d-%02d-%02d %.*s", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, STR_ARG(text));
    struct civil civil;
    return civil_parse_iso(str_make(full, (size_t)n), false, &civil) == (size_t)n &&
           civil_to_ns(&civil, ret_ns);
}

int when_parse(const char *text, int64_t now_ns, int64_t *ret_ns, struct err *reterr) {
    struct str s = str_trim(str_from(text));
    struct civil civil;
    if (parse_word(s, now_ns, ret_ns) || parse_unix(s, ret_ns) || parse_clock(s, now_ns, ret_ns))
        return 0;
    if (civil_parse_iso(s, false, &civil) == s.size && s.size > 0 && civil_to_ns(&civil, ret_ns))
        return 0;
    return err_set(
        reterr, -ESYNTAX,
        "\"%s\" is not a time: write 2026-11-21T15:04:05Z, \"2026-11-21 15:04\" (local), "
        "15:04, today, yesterday, now-2h or unix seconds",
        text);
}

int when_range(const struct options *o, int64_t now_ns, struct range *ret, struct err *reterr) {
    int64_t since_ns = NS_PER_HOUR;
    struct range range = {.end_ns = now_ns};
    int r = o->since ? when_parse_duration(o->since, &since_ns, reterr) : 0;
    if (r == 0 && o->to)
        r = when_parse(o->to, now_ns, &range.end_ns, reterr);
    if (r == 0 && o->from)
        r = when_parse(o->from, now_ns, &range.start_ns, reterr);
    else if (r == 0)
        range.start_ns = range.end_ns - since_ns;
    if (r < 0)
        return r;
    /* Servers read numbers of up to ten digits as seconds, so nanoseconds of 1970's first
     * moments cannot be said. */
    if (range.start_ns < 10 * NS_PER_S)
        range.start_ns = 10 * NS_PER_S;
    if (range.end_ns <= range.start_ns)
        return err_set(reterr, -ESYNTAX,
                       "the time range is empty: --from must be earlier than --to");
    *ret = range;
    return 0;
}

bool when_next_window(struct range *rest, bool forward, int64_t size_ns, struct range *ret) {
    if (rest->start_ns >= rest->end_ns)
        return false;
    *ret = *rest;
    if (rest->end_ns - rest->start_ns > size_ns) {
        if (forward)
            ret->end_ns = rest->start_ns + size_ns;
        else
            ret->start_ns = rest->end_ns - size_ns;
    }
    if (forward)
        rest->start_ns = ret->end_ns;
    else
        rest->end_ns = ret->start_ns;
    return true;
}

/* ---- writing */

/* A time as strftime parts around a fraction of `digits` digits: 9 = without trailing zeros and
 * none for a whole second, -9 = always nine. */
static const struct layout {
    const char *name;
    const char *before; /* strftime's, up to the fraction */
    int digits;
    const char *behind; /* strftime's; NULL = zone as RFC 3339 has it */
} layouts[] = {
    {"rfc3339", "%Y-%m-%dT%H:%M:%S", 0, NULL}, {"rfc3339nano", "%Y-%m-%dT%H:%M:%S", 9, NULL},
    {"rfc822z", "%d %b %y %H:%M ", 0, "%z"},   {"rfc1123z", "%a, %d %b %Y %H:%M:%S ", 0, "%z"},
    {"stampmilli", "%b %e %H:%M:%S", 3, ""},   {"stampmicro", "%b %e %H:%M:%S", 6, ""},
    {"stampnano", "%b %e %H:%M:%S", -9, ""},   {"unixdate", "%a %b %e %H:%M:%S ", 0, "%Z %Y"},
};

static const struct layout *find_layout(const char *name) {
    for (size_t i = 0; name && i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (strcmp(layouts[i].name, name) == 0)
            return &layouts[i];
    return name ? NULL : &layouts[0];
}

bool when_format_known(const char *format) {
    return find_layout(format) != NULL;
}

static void add_fraction(struct buf *out, int64_t fraction_ns, int digits) {
    if (digits == 0 || (digits == 9 && fraction_ns == 0))
        return;
    char text[16];
    int n = snprintf(text, sizeof(text), ".%09d", (int)fraction_ns);
    if (digits == 9)
        while (text[n - 1] == '0')
            n--;
    else
        n = 1 + (digits < 0 ? -digits : digits);
    buf_add(out, text, (size_t)n);
}

static void add_zone(struct buf *out, const struct tm *tm) {
    long minutes = tm->tm_gmtoff / 60;
    if (minutes == 0) {
        buf_add_char(out, 'Z');
        return;
    }
    long size = minutes < 0 ? -minutes : minutes;
    buf_addf(out, "%c%02ld:%02ld", minutes < 0 ? '-' : '+', size / 60, size % 60);
}

void when_format(struct buf *out, int64_t ns, const char *format) {
    const struct layout *layout = find_layout(format);
    int64_t seconds = ns / NS_PER_S - (ns % NS_PER_S < 0);
    int64_t fraction_ns = ns - seconds * NS_PER_S;
    time_t t = (time_t)seconds;
    struct tm tm;
    char text[FORMAT_MAX];
    if (!layout || !localtime_r(&t, &tm)) {
        buf_add_i64(out, ns);
        return;
    }
    buf_add(out, text, strftime(text, sizeof(text), layout->before, &tm));
    add_fraction(out, fraction_ns, layout->digits);
    if (!layout->behind)
        add_zone(out, &tm);
    else if (layout->behind[0])
        buf_add(out, text, strftime(text, sizeof(text), layout->behind, &tm));
}
