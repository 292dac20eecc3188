/* linetab_format: constants of the encoded form, shared by its encoder and its decoder. docs/format.md describes it. */
#pragma once

#include <assert.h>
#include <stdint.h>

enum {
    LINETAB_VERSION = 1,
    /* u8 version, u8 flags, u16 reserved, then u32 each: raw and stored size of the plan, raw and stored size of
     * the text, size of the packed columns */
    LINETAB_HEADER = 24,
    LINETAB_PLAN_ZSTD = 1, /* flags */
    LINETAB_TEXT_ZSTD = 2,
    LINETAB_FRAME = 128,      /* numbers are packed in frames of so many */
    LINETAB_GROUPS_MAX = 254, /* of one table */
    LINETAB_SLOTS_MAX = 512,  /* columns of one group */
    LINETAB_DEPTH_MAX = 8,    /* columns within columns */
    LINETAB_PACKED_PAD = 32,  /* zeros behind the packed columns: all is read in whole vectors */
};

enum linetab_kind {
    COLUMN_TEXT = 1,   /* strings one behind the other, in the plan (dictionaries) or in the text */
    COLUMN_DICT = 2,   /* distinct values and an id per row */
    COLUMN_SHARED = 3, /* values by the ids of an earlier dictionary of the same group */
    COLUMN_NUMBER = 4, /* decimal numbers */
    COLUMN_HEX = 5,    /* an even number of hex digits, the same for all rows */
    COLUMN_IP = 6,     /* dotted decimal IPv4 */
    COLUMN_TIME = 7,   /* date, time of day, fraction */
    COLUMN_TABLE = 8,  /* values that are split again */
    COLUMN_KINDS = 9,
};

/* Of COLUMN_TEXT. */
enum { TEXT_IN_PLAN = 1 };
/* Of COLUMN_NUMBER: how many digits are shown. */
enum {
    NUMBER_NATURAL = 0,
    NUMBER_FIXED = 1,
    NUMBER_MARKED = 2
}; /* marked: a 1 stands before the digits */
enum { NUMBER_DIGITS_MAX = 19, NUMBER_MARKED_DIGITS_MAX = 18 };
/* Of COLUMN_HEX. */
enum { HEX_UPPER = 1, HEX_UUID = 2 };
enum { HEX_DIGITS_MIN = 4, HEX_DIGITS_MAX = 128 };
/* Of COLUMN_TIME: the form of the date. */
enum { DATE_NONE = 0, DATE_DASHES = 1, DATE_SLASHES = 2, DATE_NAMED = 3, DATE_FORMS = 4 };
enum { FRACTION_DIGITS_MAX = 9, TIME_TEXT_MAX = 32 };

enum { NUMBERS_PLAIN = 0, NUMBERS_DELTA = 1 };
enum { IDS_IN_PLAN = 0xff }; /* instead of a width: a byte per id, in the plan */

static const uint64_t linetab_powers[20] = {1u,
                                            10u,
                                            100u,
                                            1000u,
                                            10000u,
                                            100000u,
                                            1000000u,
                                            10000000u,
                                            100000000u,
                                            1000000000u,
                                            10000000000u,
                                            100000000000u,
                                            1000000000000u,
                                            10000000000000u,
                                            100000000000000u,
                                            1000000000000000u,
                                            10000000000000000u,
                                            100000000000000000u,
                                            1000000000000000000u,
                                            10000000000000000000u};

/* Bits that hold 0 .. n - 1. */
static inline unsigned linetab_id_width(uint32_t n) {
    return n < 2 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back (Howard Hinnant's algorithms). */
static inline int64_t linetab_days(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static inline void linetab_date(int64_t days, unsigned *y, unsigned *m, unsigned *d) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (unsigned)(yoe + era * 400) + (*m <= 2);
}
