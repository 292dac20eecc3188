/* Reading times by a reference layout, the way Go's time.ParseInLocation does: blanks of the layout match any number
 * of them, names any case, a fraction may follow the seconds even when the layout has none. */
#include <string.h>

#include "go_layout.h"
#include "go_time.h"
#include "units.h"

struct reading {
    struct str text;
    int64_t year;
    int month, day, yearday; /* -1: not given */
    int hour, minute, second;
    int32_t ns;
    bool am, pm, is_utc, has_offset;
    int32_t offset;
    struct str zone; /* its abbreviation */
};

static bool is_digit(struct str s, size_t at) {
    return at < s.size && s.data[at] >= '0' && s.data[at] <= '9';
}

static struct str cut_blanks(struct str s) {
    while (s.size > 0 && s.data[0] == ' ')
        s = str_from_offset(s, 1);
    return s;
}

static bool skip_text(struct str *text, struct str expected) {
    while (expected.size > 0) {
        if (expected.data[0] == ' ') {
            if (text->size > 0 && text->data[0] != ' ')
                return false;
            expected = cut_blanks(expected);
            *text = cut_blanks(*text);
            continue;
        }
        if (text->size == 0 || text->data[0] != expected.data[0])
            return false;
        expected = str_from_offset(expected, 1);
        *text = str_from_offset(*text, 1);
    }
    return true;
}

/* Up to `most` digits; all of them when `fixed`. */
static bool take_number(struct str *s, size_t most, bool fixed, int *ret) {
    int value = 0;
    size_t n = 0;
    for (; n < most && is_digit(*s, n); n++)
        value = value * 10 + (s->data[n] - '0');
    if (n == 0 || (fixed && n != most))
        return false;
    *s = str_from_offset(*s, n);
    *ret = value;
    return true;
}

static bool take_range(struct str *s, bool fixed, int most, int *ret) {
    return take_number(s, 2, fixed, ret) && *ret <= most;
}

/* The first of the names (their first `cut` letters; 0 = whole) at the front. */
static bool take_name(struct str *s, const char *(*name_of)(int64_t), int first, int last,
                      size_t cut, int *ret) {
    for (int i = first; i <= last; i++) {
        struct str name = str_from(name_of(i));
        if (cut > 0)
            name.size = cut;
        if (s->size < name.size || !str_eq_nocase(str_make(s->data, name.size), name))
            continue;
        *s = str_from_offset(*s, name.size);
        *ret = i;
        return true;
    }
    return false;
}

/* A point and digits, `size` bytes in all. */
static bool take_fraction(struct reading *r, size_t size) {
    if (r->text.size < size || size < 2 || (r->text.data[0] != '.' && r->text.data[0] != ','))
        return false;
    int32_t ns = 0;
    for (size_t i = 1; i < 10; i++) {
        if (i < size && !is_digit(r->text, i))
            return false;
        ns = ns * 10 + (i < size ? r->text.data[i] - '0' : 0);
    }
    r->ns = ns;
    r->text = str_from_offset(r->text, size);
    return true;
}

static size_t fraction_size(struct str s) {
    size_t n = 1;
    if (s.size < 2 || (s.data[0] != '.' && s.data[0] != ',') || !is_digit(s, 1))
        return 0;
    while (is_digit(s, n))
        n++;
    return n;
}

static bool take_seconds(struct reading *r, enum layout_kind kind, struct str after) {
    if (!take_range(&r->text, kind == LAYOUT_ZERO_SECOND, 59, &r->second))
        return false;
    size_t size = fraction_size(r->text);
    if (size == 0)
        return true;
    enum layout_kind next = layout_next(after).kind;
    return next == LAYOUT_FRACTION_ZEROS || next == LAYOUT_FRACTION_NINES || take_fraction(r, size);
}

/* ---- zones */

static bool take_offset(struct reading *r, enum layout_kind kind) {
    struct str *s = &r->text;
    bool iso = kind >= LAYOUT_ISO_Z && kind <= LAYOUT_ISO_Z_COLON_SECONDS;
    if (iso && s->size > 0 && s->data[0] == 'Z') {
        *s = str_from_offset(*s, 1);
        r->is_utc = true;
        return true;
    }
    bool colon = kind == LAYOUT_ISO_Z_COLON || kind == LAYOUT_ISO_Z_COLON_SECONDS ||
                 kind == LAYOUT_NUM_COLON || kind == LAYOUT_NUM_COLON_SECONDS;
    bool seconds = kind == LAYOUT_ISO_Z_SECONDS || kind == LAYOUT_ISO_Z_COLON_SECONDS ||
                   kind == LAYOUT_NUM_SECONDS || kind == LAYOUT_NUM_COLON_SECONDS;
    bool is_short = kind == LAYOUT_ISO_Z_SHORT || kind == LAYOUT_NUM_SHORT;
    if (s->size == 0 || (s->data[0] != '+' && s->data[0] != '-'))
        return false;
    bool west = s->data[0] == '-';
    *s = str_from_offset(*s, 1);
    int part[3] = {0};
    size_t n_parts = is_short ? 1 : seconds ? 3 : 2;
    for (size_t i = 0; i < n_parts; i++) {
        if (i > 0 && colon && !skip_text(s, STR(":")))
            return false;
        /* Some write offsets of 24 hours or 60 minutes. */
        if (!take_range(s, true, i == 0 ? 24 : 60, &part[i]))
            return false;
    }
    r->offset = (part[0] * 60 + part[1]) * 60 + part[2];
    r->offset = west ? -r->offset : r->offset;
    r->has_offset = r->offset != -1; /* Go's mark for none */
    return true;
}

/* "+3" or "-12" at the front: its size, 0 for none. */
static size_t signed_size(struct str s) {
    int hours = 0;
    size_t n = 1;
    if (s.size == 0 || (s.data[0] != '+' && s.data[0] != '-'))
        return 0;
    for (; is_digit(s, n) && hours <= 23; n++)
        hours = hours * 10 + (s.data[n] - '0');
    return n == 1 || hours > 23 ? 0 : n;
}

/* The size of what looks like an abbreviation at the front; 0 for none. */
static size_t abbreviation_size(struct str s) {
    if (s.size < 3)
        return 0;
    if (str_starts(s, STR("ChST")) || str_starts(s, STR("MeST")))
        return 4;
    if (str_starts(s, STR("GMT")))
        return 3 + signed_size(str_from_offset(s, 3));
    if (s.data[0] == '+' || s.data[0] == '-')
        return signed_size(s);
    size_t upper = 0;
    while (upper < 6 && upper < s.size && s.data[upper] >= 'A' && s.data[upper] <= 'Z')
        upper++;
    bool fits = upper == 3 || (upper == 4 && (s.data[3] == 'T' || str_starts(s, STR("WITA")))) ||
                (upper == 5 && s.data[4] == 'T');
    return fits ? upper : 0;
}

static bool take_abbreviation(struct reading *r) {
    if (str_starts(r->text, STR("UTC"))) {
        r->text = str_from_offset(r->text, 3);
        r->is_utc = true;
        return true;
    }
    size_t size = abbreviation_size(r->text);
    if (size == 0 || size > GO_ZONE_ABBREVIATION_MAX)
        return false;
    r->zone = str_make(r->text.data, size);
    r->text = str_from_offset(r->text, size);
    return true;
}

/* ---- pieces */

static bool take_half(struct reading *r, bool upper) {
    struct str s = str_make(r->text.data, r->text.size < 2 ? 0 : 2);
    r->pm = str_eq(s, upper ? STR("PM") : STR("pm"));
    r->am = str_eq(s, upper ? STR("AM") : STR("am"));
    r->text = str_from_offset(r->text, 2);
    return r->pm || r->am;
}

static bool take_year(struct reading *r, bool is_long) {
    int year;
    if (!take_number(&r->text, is_long ? 4 : 2, true, &year))
        return false;
    r->year = is_long ? year : year >= 69 ? 1900 + year : 2000 + year;
    return true;
}

static void skip_padding(struct str *s, size_t most) {
    for (; most > 0 && s->size > 0 && s->data[0] == ' '; most--)
        *s = str_from_offset(*s, 1);
}

static bool take_date_piece(struct reading *r, enum layout_kind kind) {
    int ignored;
    switch ((int)kind) {
    case LAYOUT_LONG_YEAR:
    case LAYOUT_YEAR:
        return take_year(r, kind == LAYOUT_LONG_YEAR);
    case LAYOUT_LONG_MONTH:
        return take_name(&r->text, go_month_name, 1, 12, 0, &r->month);
    case LAYOUT_MONTH:
        return take_name(&r->text, go_month_name, 1, 12, 3, &r->month);
    case LAYOUT_NUM_MONTH:
    case LAYOUT_ZERO_MONTH:
        return take_range(&r->text, kind == LAYOUT_ZERO_MONTH, 12, &r->month) && r->month > 0;
    case LAYOUT_LONG_WEEKDAY:
        return take_name(&r->text, go_weekday_name, 0, 6, 0, &ignored);
    case LAYOUT_WEEKDAY:
        return take_name(&r->text, go_weekday_name, 0, 6, 3, &ignored);
    case LAYOUT_UNDER_DAY:
        skip_padding(&r->text, 1);
        return take_number(&r->text, 2, false, &r->day);
    case LAYOUT_DAY:
    case LAYOUT_ZERO_DAY:
        return take_number(&r->text, 2, kind == LAYOUT_ZERO_DAY, &r->day);
    case LAYOUT_UNDER_YEARDAY:
        skip_padding(&r->text, 2);
        return take_number(&r->text, 3, false, &r->yearday);
    default:
        return take_number(&r->text, 3, true, &r->yearday); /* LAYOUT_ZERO_YEARDAY */
    }
}

static bool take_piece(struct reading *r, const struct layout_piece *p) {
    size_t size;
    switch ((int)p->kind) {
    case LAYOUT_HOUR:
        return take_range(&r->text, false, 23, &r->hour);
    case LAYOUT_HOUR12:
    case LAYOUT_ZERO_HOUR12:
        return take_range(&r->text, p->kind == LAYOUT_ZERO_HOUR12, 12, &r->hour);
    case LAYOUT_MINUTE:
    case LAYOUT_ZERO_MINUTE:
        return take_range(&r->text, p->kind == LAYOUT_ZERO_MINUTE, 59, &r->minute);
    case LAYOUT_SECOND:
    case LAYOUT_ZERO_SECOND:
        return take_seconds(r, p->kind, p->after);
    case LAYOUT_PM:
    case LAYOUT_PM_LOWER:
        return take_half(r, p->kind == LAYOUT_PM);
    case LAYOUT_ZONE:
        return take_abbreviation(r);
    case LAYOUT_FRACTION_ZEROS:
        return take_fraction(r, p->text.size);
    case LAYOUT_FRACTION_NINES:
        size = fraction_size(r->text);
        return size == 0 || take_fraction(r, size);
    default:
        break;
    }
    if (p->kind >= LAYOUT_ISO_Z && p->kind <= LAYOUT_NUM_COLON_SECONDS)
        return take_offset(r, p->kind);
    return take_date_piece(r, p->kind);
}

/* ---- the whole */

static int days_in(int64_t year, int month) {
    int64_t first = go_time_second(year, month, 1, 0, 0, 0);
    return (int)((go_time_second(year, month + 1, 1, 0, 0, 0) - first) / 86400);
}

/* A day of the year becomes month and day, and may not contradict those given. */
static bool settle_date(struct reading *r) {
    if (r->yearday >= 0) {
        int month = 1, day = r->yearday;
        while (month <= 12 && day > days_in(r->year, month))
            day -= days_in(r->year, month++);
        if (day < 1 || month > 12 || (r->month >= 0 && r->month != month) ||
            (r->day >= 0 && r->day != day))
            return false;
        r->month = month;
        r->day = day;
    }
    if (r->month < 0)
        r->month = 1;
    if (r->day < 0)
        r->day = 1;
    return r->day >= 1 && r->day <= days_in(r->year, r->month);
}

static void settle_zone(const struct reading *r, int64_t wall, const struct go_zone *zone,
                        char names[GO_ZONE_ABBREVIATION_MAX + 1], struct go_time *ret) {
    *ret = (struct go_time){.second = wall, .ns = r->ns};
    if (r->is_utc)
        return;
    memcpy(names, r->zone.data ? r->zone.data : "", r->zone.size);
    names[r->zone.size] = '\0';
    if (r->has_offset) {
        ret->second = wall - r->offset;
        struct go_time there = {.second = ret->second, .zone = zone};
        struct go_date d;
        go_time_date(&there, &d);
        if (d.offset == r->offset && (r->zone.size == 0 || strcmp(d.abbreviation, names) == 0)) {
            ret->zone = zone;
            return;
        }
        ret->offset = r->offset;
        ret->name = names;
        return;
    }
    if (r->zone.size == 0) {
        ret->second = go_zone_wall_to_second(zone, wall);
        ret->zone = zone;
        return;
    }
    int32_t offset = 0;
    if (go_zone_offset_of(zone, names, wall, &offset)) {
        ret->second = wall - offset;
        ret->zone = zone;
        return;
    }
    int64_t hours = 0;
    if (str_starts(r->zone, STR("GMT")) && r->zone.size > 3)
        (void)i64_parse(str_from_offset(r->zone, 3), &hours);
    ret->offset = (int32_t)hours * 3600;
    ret->name = names;
}

bool go_time_parse(struct str layout, struct str text, const struct go_zone *zone,
                   char names[GO_ZONE_ABBREVIATION_MAX + 1], struct go_time *ret) {
    struct reading r = {.text = text, .month = -1, .day = -1, .yearday = -1};
    for (;;) {
        struct layout_piece p = layout_next(layout);
        if (!skip_text(&r.text, p.before))
            return false;
        if (p.kind == LAYOUT_END)
            break;
        if (!take_piece(&r, &p))
            return false;
        layout = p.after;
    }
    if (r.text.size > 0 || !settle_date(&r))
        return false;
    if (r.pm && r.hour < 12)
        r.hour += 12;
    else if (r.am && r.hour == 12)
        r.hour = 0;
    int64_t wall = go_time_second(r.year, r.month, r.day, r.hour, r.minute, r.second);
    settle_zone(&r, wall, zone, names, ret);
    return true;
}
