/* stamp: times of the calendar in text, as log lines begin with them and as people type them. A
 * time without zone is local (TZ). One thread: the last minute's conversion is remembered. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

struct civil {
    int year, month, day; /* month and day from 1; year 0 = not given */
    int hour, minute, second;
    int32_t nanosecond;
    bool has_zone;
    int32_t zone_s; /* east of UTC */
};

/* False when there is no such day or hour, or it does not fit int64 nanoseconds. */
bool civil_to_ns(const struct civil *c, int64_t *ret_ns);

/* "2026-11-21", "2026-11-21T03:04:05.678+01:00" and what lies between (blank or T, '.' or ',',
 * seconds optional when !in_line). Bytes used, 0 = none. In a log line the clock is required. */
size_t civil_parse_iso(struct str text, bool in_line, struct civil *ret);

/* The time at the start of a log line: ISO 8601 (dashes or slashes), syslog's "Nov 21 03:04:05",
 * ctime's "Sat Nov 21 03:04:05.678 2026", any of them behind "[" or syslog's "<13>". A time
 * without a year gets the last year that does not put it more than a day after `reference_ns`. */
bool stamp_parse(struct str line, int64_t reference_ns, int64_t *ret_ns);
