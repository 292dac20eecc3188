#include "go_layout.h"

#include <stdbool.h>

struct word {
    struct str text;
    enum layout_kind kind;
};

/* A piece may be the beginning of another: the longer stands first. */
static const struct word words[] = {
    {STR_INIT("January"), LAYOUT_LONG_MONTH},
    {STR_INIT("Monday"), LAYOUT_LONG_WEEKDAY},
    {STR_INIT("MST"), LAYOUT_ZONE},
    {STR_INIT("01"), LAYOUT_ZERO_MONTH},
    {STR_INIT("002"), LAYOUT_ZERO_YEARDAY},
    {STR_INIT("02"), LAYOUT_ZERO_DAY},
    {STR_INIT("03"), LAYOUT_ZERO_HOUR12},
    {STR_INIT("04"), LAYOUT_ZERO_MINUTE},
    {STR_INIT("05"), LAYOUT_ZERO_SECOND},
    {STR_INIT("06"), LAYOUT_YEAR},
    {STR_INIT("15"), LAYOUT_HOUR},
    {STR_INIT("1"), LAYOUT_NUM_MONTH},
    {STR_INIT("2006"), LAYOUT_LONG_YEAR},
    {STR_INIT("2"), LAYOUT_DAY},
    {STR_INIT("__2"), LAYOUT_UNDER_YEARDAY},
    {STR_INIT("_2"), LAYOUT_UNDER_DAY},
    {STR_INIT("3"), LAYOUT_HOUR12},
    {STR_INIT("4"), LAYOUT_MINUTE},
    {STR_INIT("5"), LAYOUT_SECOND},
    {STR_INIT("PM"), LAYOUT_PM},
    {STR_INIT("pm"), LAYOUT_PM_LOWER},
    {STR_INIT("-07:00:00"), LAYOUT_NUM_COLON_SECONDS},
    {STR_INIT("-070000"), LAYOUT_NUM_SECONDS},
    {STR_INIT("-07:00"), LAYOUT_NUM_COLON},
    {STR_INIT("-0700"), LAYOUT_NUM},
    {STR_INIT("-07"), LAYOUT_NUM_SHORT},
    {STR_INIT("Z07:00:00"), LAYOUT_ISO_Z_COLON_SECONDS},
    {STR_INIT("Z070000"), LAYOUT_ISO_Z_SECONDS},
    {STR_INIT("Z07:00"), LAYOUT_ISO_Z_COLON},
    {STR_INIT("Z0700"), LAYOUT_ISO_Z},
    {STR_INIT("Z07"), LAYOUT_ISO_Z_SHORT},
};

static bool is_digit(struct str s, size_t at) {
    return at < s.size && s.data[at] >= '0' && s.data[at] <= '9';
}

/* "Jan" and "Mon" are none within a longer word in small letters ("Month"). */
static bool short_name(struct str s, struct str name) {
    return str_starts(s, name) &&
           !(s.size > name.size && s.data[name.size] >= 'a' && s.data[name.size] <= 'z');
}

/* ".000" or ",999" with no digit behind. */
static size_t fraction_size(struct str s, enum layout_kind *ret) {
    if (s.size < 2 || (s.data[0] != '.' && s.data[0] != ',') ||
        (s.data[1] != '0' && s.data[1] != '9'))
        return 0;
    size_t n = 1;
    while (n < s.size && s.data[n] == s.data[1])
        n++;
    if (is_digit(s, n))
        return 0;
    *ret = s.data[1] == '0' ? LAYOUT_FRACTION_ZEROS : LAYOUT_FRACTION_NINES;
    return n;
}

/* The size of the piece at the front of s, 0 for none. */
static size_t piece_size(struct str s, enum layout_kind *ret) {
    switch (s.data[0]) {
    case 'J':
    case 'M':
    case '_':
    case '-':
    case 'Z':
    case 'P':
    case 'p':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
        break;
    default:
        return fraction_size(s, ret);
    }
    if (str_starts(s, STR("_2006"))) /* the year behind an underscore */
        return 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_starts(s, words[i].text)) {
            *ret = words[i].kind;
            return words[i].text.size;
        }
    }
    if (short_name(s, STR("Jan"))) {
        *ret = LAYOUT_MONTH;
        return 3;
    }
    *ret = LAYOUT_WEEKDAY;
    return short_name(s, STR("Mon")) ? 3 : 0;
}

struct layout_piece layout_next(struct str layout) {
    for (size_t i = 0; i < layout.size; i++) {
        enum layout_kind kind;
        size_t size = piece_size(str_from_offset(layout, i), &kind);
        if (size > 0)
            return (struct layout_piece){
                .kind = kind,
                .before = str_make(layout.data, i),
                .text = str_make(layout.data + i, size),
                .after = str_from_offset(layout, i + size),
            };
    }
    return (struct layout_piece){
        .kind = LAYOUT_END, .before = layout, .after = str_from_offset(layout, layout.size)};
}
