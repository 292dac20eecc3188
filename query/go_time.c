#include "go_time.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "go_layout.h"

/* ---- calendar */

enum { DAYS_400_YEARS = 146097, DAYS_TO_1970 = 719468 };

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Days since 1970 of the first of March-based calendar's date. */
static int64_t day_number(int64_t year, int64_t month, int64_t day) {
    year += floor_div(month - 1, 12);
    month = month - 1 - 12 * floor_div(month - 1, 12) + 1;
    if (month <= 2)
        year--;
    int64_t era = floor_div(year, 400), year_of_era = year - era * 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_400_YEARS + day_of_era - DAYS_TO_1970 + day - 1;
}

int64_t go_time_second(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute,
                       int64_t second) {
    return day_number(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}

static void date_of(int64_t days, struct go_date *d) {
    int64_t shifted = days + DAYS_TO_1970, era = floor_div(shifted, DAYS_400_YEARS);
    int64_t day_of_era = shifted - era * DAYS_400_YEARS;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    d->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    d->month = (int)(month < 10 ? month + 3 : month - 9);
    d->year = era * 400 + year_of_era + (d->month <= 2);
    d->weekday = (int)(((days + 4) % 7 + 7) % 7);
    d->yearday = (int)(days - day_number(d->year, 1, 1)) + 1;
}

/* ---- zones: files of the tz database (RFC 8536), version 2 or later */

enum {
    ZONE_TIMES_MAX = 4096,
    ZONE_TYPES_MAX = 256,
    TZ_HEADER = 44,
};

struct zone_type {
    int32_t offset;
    bool is_dst;
    char name[GO_ZONE_ABBREVIATION_MAX + 1];
};

/* "EST5EDT,M3.2.0,M11.1.0": what holds behind the last change of the table. */
struct zone_rule {
    char kind; /* 'M', 'J', or '0' */
    int month, week, day;
    int32_t second;
};

struct go_zone {
    size_t n_times, n_types;
    int64_t *times;
    uint8_t *types_at;
    struct zone_type types[ZONE_TYPES_MAX];
    bool has_footer, has_dst;
    struct zone_type standard, daylight;
    struct zone_rule begin, end;
};

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p) {
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

static bool take_char(struct str *s, char c) {
    if (s->size == 0 || s->data[0] != c)
        return false;
    *s = str_from_offset(*s, 1);
    return true;
}

static bool take_small(struct str *s, int *ret) {
    int value = 0;
    size_t n = 0;
    for (; n < s->size && n < 6 && s->data[n] >= '0' && s->data[n] <= '9'; n++)
        value = value * 10 + (s->data[n] - '0');
    *s = str_from_offset(*s, n);
    *ret = value;
    return n > 0;
}

/* "5", "-3:30": in seconds. */
static bool take_clock(struct str *s, int32_t *ret) {
    bool negative = take_char(s, '-');
    if (!negative)
        (void)take_char(s, '+');
    int part;
    if (!take_small(s, &part) || part > 24 * 7)
        return false;
    int32_t total = part * 3600;
    for (int32_t unit = 60; unit > 0 && take_char(s, ':'); unit /= 60) {
        if (!take_small(s, &part) || part > 59)
            return false;
        total += part * unit;
    }
    *ret = negative ? -total : total;
    return true;
}

static bool take_zone_name(struct str *s, char out[GO_ZONE_ABBREVIATION_MAX + 1]) {
    bool quoted = take_char(s, '<');
    size_t n = 0;
    while (n < s->size && (quoted ? s->data[n] != '>'
                                  : (s->data[n] >= 'A' && s->data[n] <= 'Z') ||
                                        (s->data[n] >= 'a' && s->data[n] <= 'z')))
        n++;
    if (n < 3 || n > GO_ZONE_ABBREVIATION_MAX)
        return false;
    memcpy(out, s->data, n);
    out[n] = '\0';
    *s = str_from_offset(*s, n);
    return !quoted || take_char(s, '>');
}

static bool take_rule(struct str *s, struct zone_rule *ret) {
    if (!take_char(s, ','))
        return false;
    *ret = (struct zone_rule){.kind = '0', .second = 7200};
    if (take_char(s, 'M')) {
        ret->kind = 'M';
        if (!take_small(s, &ret->month) || !take_char(s, '.') || !take_small(s, &ret->week) ||
            !take_char(s, '.') || !take_small(s, &ret->day))
            return false;
        if (ret->month < 1 || ret->month > 12 || ret->week < 1 || ret->week > 5 || ret->day > 6)
            return false;
    } else {
        if (take_char(s, 'J'))
            ret->kind = 'J';
        if (!take_small(s, &ret->day) || ret->day > 365)
            return false;
    }
    return !take_char(s, '/') || take_clock(s, &ret->second);
}

static bool read_footer(struct go_zone *z, struct str s) {
    int32_t west = 0;
    if (!take_zone_name(&s, z->standard.name) || !take_clock(&s, &west))
        return false;
    z->standard.offset = -west;
    if (s.size == 0)
        return true;
    if (!take_zone_name(&s, z->daylight.name))
        return false;
    z->daylight.offset = z->standard.offset + 3600;
    z->daylight.is_dst = true;
    if (s.size > 0 && s.data[0] != ',') {
        if (!take_clock(&s, &west))
            return false;
        z->daylight.offset = -west;
    }
    z->has_dst = take_rule(&s, &z->begin) && take_rule(&s, &z->end) && s.size == 0;
    return z->has_dst;
}

struct tz_counts {
    size_t utc, standard, leap, time, type, name;
};

static bool read_header(const uint8_t *p, size_t size, struct tz_counts *c) {
    if (size < TZ_HEADER || memcmp(p, "TZif", 4) != 0)
        return false;
    *c = (struct tz_counts){be32(p + 20), be32(p + 24), be32(p + 28),
                            be32(p + 32), be32(p + 36), be32(p + 40)};
    return c->time <= ZONE_TIMES_MAX && c->type > 0 && c->type <= ZONE_TYPES_MAX &&
           c->name <= GO_ZONE_FILE_MAX && c->leap <= ZONE_TIMES_MAX && c->utc <= ZONE_TYPES_MAX &&
           c->standard <= ZONE_TYPES_MAX;
}

static size_t body_size(const struct tz_counts *c, size_t word) {
    return c->time * (word + 1) + c->type * 6 + c->name + c->leap * (word + 4) + c->standard +
           c->utc;
}

static bool read_types(struct go_zone *z, const uint8_t *p, const struct tz_counts *c) {
    const char *names = (const char *)p + c->type * 6;
    for (size_t i = 0; i < c->type; i++, p += 6) {
        z->types[i].offset = (int32_t)be32(p);
        z->types[i].is_dst = p[4] != 0;
        if (p[5] >= c->name || z->types[i].offset < -200000 || z->types[i].offset > 200000)
            return false;
        size_t n = strnlen(names + p[5], c->name - p[5]);
        if (n > GO_ZONE_ABBREVIATION_MAX)
            return false;
        memcpy(z->types[i].name, names + p[5], n);
    }
    z->n_types = c->type;
    return true;
}

static bool read_zone(struct go_zone *z, const uint8_t *p, size_t size) {
    struct tz_counts c;
    if (!read_header(p, size, &c) || p[4] < '2' || size - TZ_HEADER < body_size(&c, 4))
        return false;
    size_t skipped = TZ_HEADER + body_size(&c, 4);
    p += skipped;
    size -= skipped;
    if (!read_header(p, size, &c) || size - TZ_HEADER < body_size(&c, 8))
        return false;
    const uint8_t *end = p + size, *at = p + TZ_HEADER;
    z->times = calloc(c.time + 1, sizeof(*z->times));
    z->types_at = calloc(c.time + 1, 1);
    if (!z->times || !z->types_at)
        return false;
    z->n_times = c.time;
    for (size_t i = 0; i < c.time; i++) {
        z->times[i] = be64(at + 8 * i);
        z->types_at[i] = at[8 * c.time + i];
        if (z->types_at[i] >= c.type || (i > 0 && z->times[i] <= z->times[i - 1]))
            return false;
    }
    if (!read_types(z, at + 9 * c.time, &c))
        return false;
    at += body_size(&c, 8);
    if (end - at > 2 && at[0] == '\n' && end[-1] == '\n')
        z->has_footer = read_footer(z, str_make((const char *)at + 1, (size_t)(end - at) - 2));
    return true;
}

/* Names of files below the database's folder; never out of it. */
static bool name_is_safe(struct str name) {
    if (name.size == 0 || name.size >= GO_ZONE_NAME_MAX || name.data[0] == '/')
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '/' && c != '_' && c != '-' && c != '+')
            return false;
    }
    return true;
}

struct go_zone *go_zone_load(struct str name) {
    char path[GO_ZONE_NAME_MAX + 32];
    if (!name_is_safe(name))
        return NULL;
    (void)snprintf(path, sizeof(path), "/usr/share/zoneinfo/%.*s", STR_ARG(name));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    struct go_zone *z = calloc(1, sizeof(*z));
    uint8_t *data = malloc(GO_ZONE_FILE_MAX);
    ssize_t size = data ? read(fd, data, GO_ZONE_FILE_MAX) : -1;
    (void)close(fd);
    if (!z || size < 0 || !read_zone(z, data, (size_t)size)) {
        go_zone_free(z);
        z = NULL;
    }
    free(data);
    return z;
}

void go_zone_free(struct go_zone *z) {
    if (!z)
        return;
    free(z->times);
    free(z->types_at);
    free(z);
}

/* The rule's moment in a year, in seconds of standard UTC behind the year's begin, wall clock. */
static int64_t rule_second(const struct zone_rule *r, int64_t year) {
    int64_t first = day_number(year, 1, 1), day;
    if (r->kind == 'M') {
        int64_t month = day_number(year, r->month, 1), next = day_number(year, r->month + 1, 1);
        int64_t weekday = ((month + 4) % 7 + 7) % 7;
        day = month + (r->day - weekday + 7) % 7 + (r->week - 1) * 7;
        while (day >= next)
            day -= 7;
    } else {
        bool leap = day_number(year + 1, 1, 1) - first == 366;
        day = first + r->day - (r->kind == 'J' && !(leap && r->day >= 60));
    }
    return day * 86400 + r->second;
}

static const struct zone_type *footer_type(const struct go_zone *z, int64_t second) {
    if (!z->has_dst)
        return &z->standard;
    struct go_date d;
    date_of(floor_div(second + z->standard.offset, 86400), &d);
    int64_t begin = rule_second(&z->begin, d.year) - z->standard.offset;
    int64_t end = rule_second(&z->end, d.year) - z->daylight.offset;
    bool in = begin < end ? second >= begin && second < end : second >= begin || second < end;
    return in ? &z->daylight : &z->standard;
}

static const struct zone_type *first_type(const struct go_zone *z) {
    for (size_t i = 0; i < z->n_types; i++)
        if (!z->types[i].is_dst)
            return &z->types[i];
    return &z->types[0];
}

static const struct zone_type *type_at(const struct go_zone *z, int64_t second) {
    if (z->n_times == 0 || second < z->times[0])
        return z->n_times == 0 && z->has_footer ? footer_type(z, second) : first_type(z);
    size_t low = 0, high = z->n_times; /* times[low] <= second */
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (z->times[middle] <= second)
            low = middle;
        else
            high = middle;
    }
    if (low + 1 == z->n_times && z->has_footer)
        return footer_type(z, second);
    return &z->types[z->types_at[low]];
}

/* Seconds east of UTC. */
static int32_t offset_at(const struct go_zone *z, int64_t second) {
    return z ? type_at(z, second)->offset : 0;
}

/* The offset at the wall clock taken as UTC; when that does not hold at its own result, the one that does there. */
int64_t go_zone_wall_to_second(const struct go_zone *z, int64_t wall) {
    int32_t offset = offset_at(z, wall);
    return offset == 0 ? wall : wall - offset_at(z, wall - offset);
}

bool go_zone_offset_of(const struct go_zone *z, const char *abbreviation, int64_t wall,
                       int32_t *ret) {
    for (int any = 0; z && any < 2; any++) {
        for (size_t i = 0; i < z->n_types; i++) {
            if (strcmp(z->types[i].name, abbreviation) != 0)
                continue;
            const struct zone_type *there = type_at(z, wall - z->types[i].offset);
            if (!any && strcmp(there->name, abbreviation) != 0)
                continue;
            *ret = any ? z->types[i].offset : there->offset;
            return true;
        }
    }
    return false;
}

/* ---- broken down */

static void fixed_name(const struct go_time *t, char out[GO_ZONE_ABBREVIATION_MAX + 1]) {
    if (!t->name || t->name[0]) {
        (void)snprintf(out, GO_ZONE_ABBREVIATION_MAX + 1, "%s", t->name ? t->name : "UTC");
        return;
    }
    int32_t minutes = t->offset / 60;
    bool west = minutes < 0;
    minutes = west ? -minutes : minutes;
    (void)snprintf(out, GO_ZONE_ABBREVIATION_MAX + 1, "%c%02d%02d", west ? '-' : '+',
                   minutes / 60 % 100, minutes % 60);
}

void go_time_date(const struct go_time *t, struct go_date *ret) {
    *ret = (struct go_date){.offset = t->offset};
    if (t->zone) {
        const struct zone_type *type = type_at(t->zone, t->second);
        ret->offset = type->offset;
        memcpy(ret->abbreviation, type->name, sizeof(ret->abbreviation));
    } else {
        fixed_name(t, ret->abbreviation);
    }
    int64_t wall = t->second + ret->offset, days = floor_div(wall, 86400);
    int64_t rest = wall - days * 86400;
    date_of(days, ret);
    ret->hour = (int)(rest / 3600);
    ret->minute = (int)(rest / 60 % 60);
    ret->second = (int)(rest % 60);
}

/* ---- printing */

const char *go_month_name(int64_t month) {
    static const char *const names[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};
    return month >= 1 && month <= 12 ? names[month - 1] : NULL;
}

const char *go_weekday_name(int64_t day) {
    static const char *const names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
    return day >= 0 && day <= 6 ? names[day] : NULL;
}

/* With zeros in front up to `width` digits. The hot half of formatting: no printf. */
static void put_padded(struct buf *out, int64_t number, unsigned width, char padding) {
    char digits[24];
    unsigned n = sizeof(digits);
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        digits[--n] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0)
        buf_add_char(out, '-');
    for (unsigned have = (unsigned)sizeof(digits) - n; have < width; have++)
        buf_add_char(out, padding);
    buf_add(out, digits + n, sizeof(digits) - n);
}

static void put_zeros(struct buf *out, int64_t number, unsigned width) {
    put_padded(out, number, width, '0');
}

/* -0700 and its relatives; ISO kinds print Z for UTC. */
static void put_offset(struct buf *out, enum layout_kind kind, int32_t offset) {
    bool iso = kind >= LAYOUT_ISO_Z && kind <= LAYOUT_ISO_Z_COLON_SECONDS;
    if (iso && offset == 0) {
        buf_add_char(out, 'Z');
        return;
    }
    int32_t size = offset < 0 ? -offset : offset;
    bool colon = kind == LAYOUT_ISO_Z_COLON || kind == LAYOUT_ISO_Z_COLON_SECONDS ||
                 kind == LAYOUT_NUM_COLON || kind == LAYOUT_NUM_COLON_SECONDS;
    bool seconds = kind == LAYOUT_ISO_Z_SECONDS || kind == LAYOUT_ISO_Z_COLON_SECONDS ||
                   kind == LAYOUT_NUM_SECONDS || kind == LAYOUT_NUM_COLON_SECONDS;
    /* Go looks at the sign of the minutes. */
    buf_add_char(out, offset / 60 < 0 ? '-' : '+');
    put_zeros(out, size / 3600, 2);
    for (int part = 0; part < 2; part++) {
        bool there = part == 0 ? kind != LAYOUT_ISO_Z_SHORT && kind != LAYOUT_NUM_SHORT : seconds;
        if (there && colon)
            buf_add_char(out, ':');
        if (there)
            put_zeros(out, part == 0 ? size / 60 % 60 : size % 60, 2);
    }
}

static void put_fraction(struct buf *out, const struct layout_piece *p, int32_t ns) {
    char digits[9];
    for (size_t i = sizeof(digits); i > 0; i--, ns /= 10)
        digits[i - 1] = (char)('0' + ns % 10);
    size_t n = p->text.size - 1;
    n = n > 9 ? 9 : n;
    if (p->kind == LAYOUT_FRACTION_NINES) {
        while (n > 0 && digits[n - 1] == '0')
            n--;
        if (n == 0)
            return;
    }
    buf_add_char(out, p->text.data[0]);
    buf_add(out, digits, n);
}

static void put_clock(struct buf *out, enum layout_kind kind, const struct go_date *d) {
    int hour12 = d->hour % 12 ? d->hour % 12 : 12;
    switch ((int)kind) {
    case LAYOUT_HOUR:
        put_zeros(out, d->hour, 2);
        return;
    case LAYOUT_HOUR12:
        put_zeros(out, hour12, 1);
        return;
    case LAYOUT_ZERO_HOUR12:
        put_zeros(out, hour12, 2);
        return;
    case LAYOUT_MINUTE:
        put_zeros(out, d->minute, 1);
        return;
    case LAYOUT_ZERO_MINUTE:
        put_zeros(out, d->minute, 2);
        return;
    case LAYOUT_SECOND:
        put_zeros(out, d->second, 1);
        return;
    case LAYOUT_ZERO_SECOND:
        put_zeros(out, d->second, 2);
        return;
    case LAYOUT_PM:
        buf_add_str(out, d->hour >= 12 ? STR("PM") : STR("AM"));
        return;
    case LAYOUT_PM_LOWER:
        buf_add_str(out, d->hour >= 12 ? STR("pm") : STR("am"));
        return;
    default:
        buf_add_str(out, str_from(d->abbreviation)); /* LAYOUT_ZONE */
    }
}

static void put_date(struct buf *out, enum layout_kind kind, const struct go_date *d) {
    switch ((int)kind) {
    case LAYOUT_LONG_YEAR:
        put_zeros(out, d->year, 4);
        return;
    case LAYOUT_YEAR:
        put_zeros(out, d->year < 0 ? 0 : d->year % 100, 2);
        return;
    case LAYOUT_LONG_MONTH:
        buf_add_str(out, str_from(go_month_name(d->month)));
        return;
    case LAYOUT_MONTH:
        buf_add(out, go_month_name(d->month), 3);
        return;
    case LAYOUT_NUM_MONTH:
        put_zeros(out, d->month, 1);
        return;
    case LAYOUT_ZERO_MONTH:
        put_zeros(out, d->month, 2);
        return;
    case LAYOUT_LONG_WEEKDAY:
        buf_add_str(out, str_from(go_weekday_name(d->weekday)));
        return;
    case LAYOUT_WEEKDAY:
        buf_add(out, go_weekday_name(d->weekday), 3);
        return;
    case LAYOUT_DAY:
        put_zeros(out, d->day, 1);
        return;
    case LAYOUT_UNDER_DAY:
        put_padded(out, d->day, 2, ' ');
        return;
    case LAYOUT_ZERO_DAY:
        put_zeros(out, d->day, 2);
        return;
    case LAYOUT_UNDER_YEARDAY:
        put_padded(out, d->yearday, 3, ' ');
        return;
    case LAYOUT_ZERO_YEARDAY:
        put_zeros(out, d->yearday, 3);
        return;
    default:
        put_clock(out, kind, d);
    }
}

void go_time_format(struct buf *out, const struct go_time *t, struct str layout) {
    struct go_date d;
    go_time_date(t, &d);
    while (layout.size > 0 && !out->failed) {
        struct layout_piece p = layout_next(layout);
        buf_add_str(out, p.before);
        if (p.kind == LAYOUT_FRACTION_ZEROS || p.kind == LAYOUT_FRACTION_NINES)
            put_fraction(out, &p, t->ns);
        else if (p.kind >= LAYOUT_ISO_Z && p.kind <= LAYOUT_NUM_COLON_SECONDS)
            put_offset(out, p.kind, d.offset);
        else if (p.kind != LAYOUT_END)
            put_date(out, p.kind, &d);
        layout = p.after;
    }
}

void go_time_print(struct buf *out, const struct go_time *t) {
    go_time_format(out, t, STR("2006-01-02 15:04:05.999999999 -0700 MST"));
}
