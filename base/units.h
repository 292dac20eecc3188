/* units: times, durations, byte sizes and floats as people, Loki and Go write them. Pure functions, any
 * thread. Parsers take the whole of `text`; trailing bytes are an error. All return 0 or -ESYNTAX (or
 * -ERANGE where said) and write their result only on success. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

enum {
    NS_PER_US = 1000,
    NS_PER_MS = 1000000,
};
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MIN (60 * NS_PER_S)
#define NS_PER_HOUR (3600 * NS_PER_S)
#define NS_PER_DAY (86400 * NS_PER_S)

/* What ten digits of seconds can say and nanoseconds cannot (the year 2286) is the last time that there is. */
static inline int64_t ns_of_seconds(int64_t seconds) {
    int64_t ns;
    return __builtin_mul_overflow(seconds, NS_PER_S, &ns) ? (seconds < 0 ? INT64_MIN : INT64_MAX)
                                                          : ns;
}

/* Go's time.ParseDuration: "1h30m", "1.5s", "-3ms", "300us", "300µs", "0". No days. */
int duration_parse_go(struct str text, int64_t *ret_ns);

/* Prometheus' durations: "1w2d3h4m5s6ms", units once each in falling order, whole numbers; "0". */
int duration_parse_prometheus(struct str text, int64_t *ret_ns);

/* What a settings file may hold: Prometheus' form, else Go's. */
int duration_parse_setting(struct str text, int64_t *ret_ns);

/* Go's Duration.String(): "1h30m0s", "1.5s", "250ms", "0s". */
void duration_format_go(struct buf *out, int64_t ns);

/* Prometheus' model.Duration.String(): "1h30m", "1d", "30d1h", "0s". */
void duration_format_prometheus(struct buf *out, int64_t ns);

/* go-humanize's ParseBytes: "10kB", "1.5 MiB", "42", any case; KB = 1000, KiB = 1024. */
int bytes_parse(struct str text, uint64_t *ret);

/* Settings' sizes as Loki reads them (flagext.ByteSize): "256KB" = 262144, "4MB" = 4 MiB, "1GiB". */
int bytes_parse_setting(struct str text, uint64_t *ret);

/* go-humanize's Bytes(): "11 kB", "1.2 MB". */
void bytes_format(struct buf *out, uint64_t bytes);

/* RFC 3339 with optional fraction (up to ns) and zone "Z" or "+hh:mm". Years 1 to 9999 that fit int64 ns
 * (1678 to 2261). */
int time_parse_rfc3339(struct str text, int64_t *ret_ns);

/* "2006-01-02T15:04:05.999999999Z" in UTC: fraction without trailing zeros (RFC3339Nano), or none at all
 * when `whole_seconds`. */
void time_format_rfc3339(struct buf *out, int64_t ns, bool whole_seconds);

/* UTC calendar day of a time: days since 1970-01-01, rounded down; and "2026-11-21". */
int32_t time_day(int64_t ns);
void day_format(char out[static 11], int32_t day);
int day_parse(struct str text, int32_t *ret_day);

/* Go's strconv.ParseFloat(s, 64): decimal floats, hex floats with a p exponent, Inf/NaN in any case,
 * underscores between digits. -ERANGE past the largest double. */
int float_parse_go(struct str text, double *ret);

/* Go's strconv.FormatFloat(v, 'f', -1, 64): shortest digits that round-trip, no exponent; "NaN", "+Inf",
 * "-Inf". This is how Loki prints sample values. */
void float_format(struct buf *out, double value);

/* Go's %v of a float64 ('g' shortest, exponent form when it is below -4 or from 6 on): "5e+06", "123456". */
void float_format_g(struct buf *out, double value);

/* The way encoding/json writes it: as float_format from 1e-6 up to below 1e21, else with an exponent ("1e+21",
 * "5e-7"). NaN and infinities, which JSON lacks, as float_format. */
void float_format_json(struct buf *out, double value);

/* Whole decimal integers with optional sign. -ESYNTAX or -ERANGE. */
int i64_parse(struct str text, int64_t *ret);
int u64_parse(struct str text, uint64_t *ret);
