/* when: points in time as people type them, and ranges of time cut into windows that a server
 * accepts. The time zone is the process' (TZ), which when_use_zone sets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "options.h"

/* Loki refuses longer ranges than 30d1h by default (max_query_length). */
#define WINDOW_MAX_NS (INT64_C(30) * 86400 * 1000000000)

/* [start, end) */
struct range {
    int64_t start_ns, end_ns;
};

/* "Local", "UTC" or a name of the zone database. */
int when_use_zone(const char *name, struct err *reterr);

/* RFC 3339, the same without zone, seconds, or clock ("2026-11-21", "2026-11-21 03:04"),
 * "15:04", unix seconds, milliseconds or nanoseconds (by their number of digits, "@" allowed),
 * "now", "today", "yesterday", each of these three with "+" or "-" and a duration behind it. */
int when_parse(const char *text, int64_t now_ns, int64_t *ret_ns, struct err *reterr);

/* "90m", "1h30m", "1.5h", "7d", "20y". */
int when_parse_duration(const char *text, int64_t *ret_ns, struct err *reterr);

/* --since, --from, --to; the last hour without any. */
int when_range(const struct options *o, int64_t now_ns, struct range *ret, struct err *reterr);

/* The part of what is left of `rest` that the next request should ask for: at most `size_ns`
 * from its start (forward) or its end. Takes it off `rest`; false when nothing is left. */
bool when_next_window(struct range *rest, bool forward, int64_t size_ns, struct range *ret);

/* As logcli's --output-timestamp-format names it; NULL is rfc3339. False when there is no such
 * format. */
bool when_format_known(const char *format);
void when_format(struct buf *out, int64_t ns, const char *format);
