/* go_layout: cuts a reference layout of Go's package time into its pieces; for go_time.c and go_time_parse.c. */
#pragma once

#include "str.h"

enum layout_kind {
    LAYOUT_END, /* no piece is left: all is text */
    LAYOUT_LONG_MONTH,
    LAYOUT_MONTH,
    LAYOUT_NUM_MONTH,
    LAYOUT_ZERO_MONTH,
    LAYOUT_LONG_WEEKDAY,
    LAYOUT_WEEKDAY,
    LAYOUT_DAY,
    LAYOUT_UNDER_DAY,
    LAYOUT_ZERO_DAY,
    LAYOUT_UNDER_YEARDAY,
    LAYOUT_ZERO_YEARDAY,
    LAYOUT_HOUR,
    LAYOUT_HOUR12,
    LAYOUT_ZERO_HOUR12,
    LAYOUT_MINUTE,
    LAYOUT_ZERO_MINUTE,
    LAYOUT_SECOND,
    LAYOUT_ZERO_SECOND,
    LAYOUT_LONG_YEAR,
    LAYOUT_YEAR,
    LAYOUT_PM,
    LAYOUT_PM_LOWER,
    LAYOUT_ZONE,          /* MST */
    LAYOUT_ISO_Z,         /* Z0700 */
    LAYOUT_ISO_Z_SECONDS, /* Z070000 */
    LAYOUT_ISO_Z_SHORT,   /* Z07 */
    LAYOUT_ISO_Z_COLON,   /* Z07:00 */
    LAYOUT_ISO_Z_COLON_SECONDS,
    LAYOUT_NUM,         /* -0700 */
    LAYOUT_NUM_SECONDS, /* -070000 */
    LAYOUT_NUM_SHORT,   /* -07 */
    LAYOUT_NUM_COLON,   /* -07:00 */
    LAYOUT_NUM_COLON_SECONDS,
    LAYOUT_FRACTION_ZEROS, /* .000 */
    LAYOUT_FRACTION_NINES, /* .999 */
};

struct layout_piece {
    enum layout_kind kind;
    struct str before; /* text in front of the piece */
    struct str text;   /* the piece; of fractions with the point */
    struct str after;
};

struct layout_piece layout_next(struct str layout);
