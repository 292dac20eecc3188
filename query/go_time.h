/* go_time: times as Go's package time prints and reads them: reference layouts ("2006-01-02 15:04"), zones of the tz
 * database read from /usr/share/zoneinfo. Pure functions apart from go_zone_load; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

enum {
    GO_ZONE_ABBREVIATION_MAX = 15,
    GO_ZONE_FILE_MAX = 64 << 10, /* the largest of the tz database is below 4 KiB */
    GO_ZONE_NAME_MAX = 64,
};

struct go_zone;

/* Seconds since 1970 in UTC and what to show it in: a zone of the database, or a fixed offset. */
struct go_time {
    int64_t second;
    int32_t ns;
    int32_t offset;             /* without a zone: east of UTC, seconds */
    const struct go_zone *zone; /* NULL: fixed */
    /* Without a zone, the name: NULL is "UTC", else NUL-terminated and maybe empty (the offset is printed). */
    const char *name;
};

/* Year 1, which Go's zero time is. */
#define GO_TIME_ZERO_SECOND INT64_C(-62135596800)

struct go_zone *go_zone_load(struct str name); /* NULL: there is none */
void go_zone_free(struct go_zone *z);

/* Broken down in the time's zone. */
struct go_date {
    int64_t year;
    int month, day, hour, minute, second; /* month 1 to 12 */
    int weekday;                          /* 0 = Sunday */
    int yearday;                          /* 1 to 366 */
    int32_t offset;
    char abbreviation[GO_ZONE_ABBREVIATION_MAX + 1];
};
void go_time_date(const struct go_time *t, struct go_date *ret);

/* The second of a wall-clock date (fields may be out of their ranges) in UTC. */
int64_t go_time_second(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute,
                       int64_t second);
/* The time of a wall clock of the zone (seconds as if it were UTC), as Go's time.Date picks it around changes. */
int64_t go_zone_wall_to_second(const struct go_zone *z, int64_t wall);
/* Does the zone know the abbreviation? Its offset, preferably at that time. */
bool go_zone_offset_of(const struct go_zone *z, const char *abbreviation, int64_t wall,
                       int32_t *ret);

void go_time_format(struct buf *out, const struct go_time *t, struct str layout);
/* "2006-01-02 15:04:05.999999999 -0700 MST" */
void go_time_print(struct buf *out, const struct go_time *t);
/* In `zone` (NULL: UTC) when the text has none of its own (go_time_parse.c). `names` has room for a made-up zone's
 * abbreviation and must live as long as the time. False when the text is not of the layout. */
bool go_time_parse(struct str layout, struct str text, const struct go_zone *zone,
                   char names[GO_ZONE_ABBREVIATION_MAX + 1], struct go_time *ret);

const char *go_month_name(int64_t month); /* "January"; NULL when out of range */
const char *go_weekday_name(int64_t day);
