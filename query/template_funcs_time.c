/* Functions over times, durations and sizes, and the methods that such values have. */
#include <errno.h>

#include "clock.h"
#include "labels.h"
#include "template_private.h"
#include "units.h"

#define TIME_ARGS struct exec *x, const struct value *args, size_t count, struct value *ret

static struct go_time time_from(int64_t second, int64_t ns) {
    int64_t carry = ns / NS_PER_S - (ns % NS_PER_S < 0);
    return (struct go_time){
        .second = (int64_t)((uint64_t)second + (uint64_t)carry),
        .ns = (int32_t)(ns - carry * NS_PER_S),
    };
}

/* UnixNano and the like; overflows wrap. */
static int64_t scaled(const struct go_time *t, int64_t per_second) {
    return (int64_t)((uint64_t)t->second * (uint64_t)per_second +
                     (uint64_t)(t->ns / (NS_PER_S / per_second)));
}

static struct value number_text(struct exec *x, int64_t number) {
    struct value ret = value_string(STR(""));
    buf_add_i64(exec_text(x), number);
    (void)exec_text_take(x, &ret);
    return ret;
}

/* ---- functions */

static bool run_timestamp(TIME_ARGS) {
    (void)args;
    (void)count;
    *ret = value_time(time_from(0, x->run->ts_ns));
    return true;
}

static bool run_now(TIME_ARGS) {
    (void)x;
    (void)args;
    (void)count;
    *ret = value_time(time_from(0, clock_now_ns()));
    return true;
}

static bool run_date(TIME_ARGS) {
    (void)count;
    struct go_time t;
    if (args[1].type == VALUE_TIME)
        t = args[1].time;
    else if (args[1].type == VALUE_INT || args[1].type == VALUE_INT64)
        t = time_from(args[1].integer, 0);
    else
        t = time_from(0, clock_now_ns());
    struct go_time local = {.second = t.second, .ns = t.ns};
    go_time_format(exec_text(x), &local, args[0].text);
    return exec_text_take(x, ret);
}

/* The zero time when the text is not of the layout. */
static bool parse_time(struct exec *x, struct str layout, struct str text,
                       const struct go_zone *zone, struct value *ret) {
    struct go_time t = {.second = GO_TIME_ZERO_SECOND};
    char *names = exec_alloc(x, GO_ZONE_ABBREVIATION_MAX + 1);
    if (!names)
        return false;
    if (!go_time_parse(layout, text, zone, names, &t))
        t = (struct go_time){.second = GO_TIME_ZERO_SECOND};
    *ret = value_time(t);
    return true;
}

static bool run_to_date(TIME_ARGS) {
    (void)count;
    return parse_time(x, args[0].text, args[1].text, NULL, ret);
}

static bool run_to_date_in_zone(TIME_ARGS) {
    (void)count;
    const struct go_zone *zone = NULL;
    (void)exec_zone(x, args[1].text, &zone); /* unknown: UTC */
    return parse_time(x, args[0].text, args[2].text, zone, ret);
}

static bool run_unix_epoch(TIME_ARGS) {
    (void)count;
    *ret = number_text(x, args[0].time.second);
    return !x->failed;
}

static bool run_unix_millis(TIME_ARGS) {
    (void)count;
    *ret = number_text(x, scaled(&args[0].time, 1000));
    return !x->failed;
}

static bool run_unix_nanos(TIME_ARGS) {
    (void)count;
    *ret = number_text(x, scaled(&args[0].time, NS_PER_S));
    return !x->failed;
}

static bool bad_epoch(struct exec *x, struct str text, int error) {
    struct buf *out = exec_cause(x);
    buf_add_str(out, STR("unable to parse time '"));
    buf_add_str(out, text);
    if (error == 0) {
        buf_add_str(out, STR("': %!w(<nil>)"));
        return false;
    }
    buf_add_str(out, STR("': strconv.ParseInt: parsing "));
    go_quote(out, text);
    buf_add_str(out, error == -ERANGE ? STR(": value out of range") : STR(": invalid syntax"));
    return false;
}

/* The number of digits says what it counts: days, seconds, ms, us or ns. What is too large wraps, as in Go. */
static bool run_unix_to_time(TIME_ARGS) {
    (void)count;
    struct str text = args[0].text;
    int64_t n;
    int r = i64_parse(text, &n);
    if (r < 0)
        return bad_epoch(x, text, r);
    switch (text.size) {
    case 5:
        *ret = value_time(time_from(n * 86400, 0));
        return true;
    case 10:
        *ret = value_time(time_from(n, 0));
        return true;
    case 13:
        *ret = value_time(time_from(0, (int64_t)((uint64_t)n * NS_PER_MS)));
        return true;
    case 16:
        *ret = value_time(time_from(0, (int64_t)((uint64_t)n * NS_PER_US)));
        return true;
    case 19:
        *ret = value_time(time_from(0, n));
        return true;
    default:
        return bad_epoch(x, text, 0);
    }
}

static bool run_duration(TIME_ARGS) {
    (void)count;
    int64_t ns;
    if (duration_parse_go(args[0].text, &ns) < 0) {
        put_duration_error(exec_cause(x), args[0].text);
        return false;
    }
    *ret = value_float((double)(ns / NS_PER_S) + (double)(ns % NS_PER_S) / 1e9);
    return true;
}

static bool run_bytes(TIME_ARGS) {
    (void)count;
    uint64_t bytes;
    if (bytes_parse(args[0].text, &bytes) < 0) {
        put_bytes_error(exec_cause(x), args[0].text);
        return false;
    }
    *ret = value_float((double)bytes);
    return true;
}

/* ---- methods; args[0] is the receiver */

static bool method_format(TIME_ARGS) {
    (void)count;
    go_time_format(exec_text(x), &args[0].time, args[1].text);
    return exec_text_take(x, ret);
}

static bool method_string(TIME_ARGS) {
    (void)count;
    fmt_value(x, exec_text(x), &args[0]);
    return exec_text_take(x, ret);
}

#define COUNT_METHOD(name, made)                                                                   \
    static bool name(TIME_ARGS) {                                                                  \
        (void)x;                                                                                   \
        (void)count;                                                                               \
        const struct value *v = &args[0];                                                          \
        *ret = made;                                                                               \
        return true;                                                                               \
    }
#define DATE_METHOD(name, made)                                                                    \
    static bool name(TIME_ARGS) {                                                                  \
        (void)x;                                                                                   \
        (void)count;                                                                               \
        struct go_date d;                                                                          \
        go_time_date(&args[0].time, &d);                                                           \
        *ret = made;                                                                               \
        return true;                                                                               \
    }

COUNT_METHOD(method_unix, value_int64(v->time.second))
COUNT_METHOD(method_unix_milli, value_int64(scaled(&v->time, 1000)))
COUNT_METHOD(method_unix_micro, value_int64(scaled(&v->time, 1000000)))
COUNT_METHOD(method_unix_nano, value_int64(scaled(&v->time, NS_PER_S)))
COUNT_METHOD(method_nanosecond, value_int(v->time.ns))
COUNT_METHOD(method_is_zero, value_bool(v->time.second == GO_TIME_ZERO_SECOND && v->time.ns == 0))
DATE_METHOD(method_year, value_int(d.year))
DATE_METHOD(method_month, ((struct value){.type = VALUE_MONTH, .integer = d.month}))
DATE_METHOD(method_day, value_int(d.day))
DATE_METHOD(method_hour, value_int(d.hour))
DATE_METHOD(method_minute, value_int(d.minute))
DATE_METHOD(method_second, value_int(d.second))
DATE_METHOD(method_yearday, value_int(d.yearday))
DATE_METHOD(method_weekday, ((struct value){.type = VALUE_WEEKDAY, .integer = d.weekday}))

static bool method_utc(TIME_ARGS) {
    (void)x;
    (void)count;
    struct go_time t = {.second = args[0].time.second, .ns = args[0].time.ns};
    *ret = value_time(t);
    return true;
}

/* -1, 0 or 1 */
static int compare_times(const struct go_time *a, const struct go_time *b) {
    if (a->second != b->second)
        return a->second < b->second ? -1 : 1;
    return (a->ns > b->ns) - (a->ns < b->ns);
}

static bool method_before(TIME_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(compare_times(&args[0].time, &args[1].time) < 0);
    return true;
}

static bool method_after(TIME_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(compare_times(&args[0].time, &args[1].time) > 0);
    return true;
}

static bool method_equal(TIME_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(compare_times(&args[0].time, &args[1].time) == 0);
    return true;
}

static bool method_compare(TIME_ARGS) {
    (void)x;
    (void)count;
    *ret = value_int(compare_times(&args[0].time, &args[1].time));
    return true;
}

static bool method_add(TIME_ARGS) {
    (void)x;
    (void)count;
    struct go_time t = args[0].time;
    int64_t ns = args[1].integer % NS_PER_S + t.ns;
    struct go_time moved =
        time_from((int64_t)((uint64_t)t.second + (uint64_t)(args[1].integer / NS_PER_S)), ns);
    t.second = moved.second;
    t.ns = moved.ns;
    *ret = value_time(t);
    return true;
}

/* The difference, at most what a duration holds. */
static bool method_sub(TIME_ARGS) {
    (void)x;
    (void)count;
    const struct go_time *a = &args[0].time, *b = &args[1].time;
    bool after = compare_times(a, b) > 0;
    int64_t ns;
    if (__builtin_sub_overflow(a->second, b->second, &ns) ||
        __builtin_mul_overflow(ns, NS_PER_S, &ns) || __builtin_add_overflow(ns, a->ns - b->ns, &ns))
        ns = after ? INT64_MAX : INT64_MIN;
    *ret = (struct value){.type = VALUE_DURATION, .integer = ns};
    return true;
}

static bool method_add_date(TIME_ARGS) {
    (void)count;
    enum { FARTHEST = 1000000 };
    struct go_time t = args[0].time;
    struct go_date d;
    for (size_t i = 1; i < 4; i++)
        if (args[i].integer > FARTHEST || args[i].integer < -FARTHEST)
            return exec_error(x, "a date is moved by more than %d", FARTHEST);
    go_time_date(&t, &d);
    int64_t wall = go_time_second(d.year + args[1].integer, d.month + args[2].integer,
                                  d.day + args[3].integer, d.hour, d.minute, d.second);
    t.second = t.zone ? go_zone_wall_to_second(t.zone, wall) : wall - t.offset;
    *ret = value_time(t);
    return true;
}

COUNT_METHOD(method_nanoseconds, value_int64(v->integer))
COUNT_METHOD(method_microseconds, value_int64(v->integer / NS_PER_US))
COUNT_METHOD(method_milliseconds, value_int64(v->integer / NS_PER_MS))
COUNT_METHOD(method_seconds,
             value_float((double)(v->integer / NS_PER_S) + (double)(v->integer % NS_PER_S) / 1e9))
COUNT_METHOD(method_minutes, value_float((double)(v->integer / NS_PER_MIN) +
                                         (double)(v->integer % NS_PER_MIN) / 60e9))
COUNT_METHOD(method_hours, value_float((double)(v->integer / NS_PER_HOUR) +
                                       (double)(v->integer % NS_PER_HOUR) / 3600e9))

#define T PARAM_TIME
#define S PARAM_STRING
#define N PARAM_INT
#define D PARAM_DURATION

const struct function *time_function_find(struct str name) {
    static const struct function table[] = {
        {STR_INIT("__timestamp__"), run_timestamp, 0, false, {T}, CALL_PLAIN},
        {STR_INIT("now"), run_now, 0, false, {T}, CALL_PLAIN},
        {STR_INIT("date"), run_date, 2, false, {S, PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("toDate"), run_to_date, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("toDateInZone"), run_to_date_in_zone, 3, false, {S, S, S}, CALL_PLAIN},
        {STR_INIT("unixEpoch"), run_unix_epoch, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("unixEpochMillis"), run_unix_millis, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("unixEpochNanos"), run_unix_nanos, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("unixToTime"), run_unix_to_time, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("duration"), run_duration, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("duration_seconds"), run_duration, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("bytes"), run_bytes, 1, false, {S}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}

static const struct function *time_method(struct str name) {
    static const struct function table[] = {
        {STR_INIT("Format"), method_format, 2, false, {T, S}, CALL_PLAIN},
        {STR_INIT("String"), method_string, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Unix"), method_unix, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("UnixMilli"), method_unix_milli, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("UnixMicro"), method_unix_micro, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("UnixNano"), method_unix_nano, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Nanosecond"), method_nanosecond, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("IsZero"), method_is_zero, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Year"), method_year, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Month"), method_month, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Day"), method_day, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Hour"), method_hour, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Minute"), method_minute, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Second"), method_second, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("YearDay"), method_yearday, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Weekday"), method_weekday, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("UTC"), method_utc, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Local"), method_utc, 1, false, {T}, CALL_PLAIN},
        {STR_INIT("Before"), method_before, 2, false, {T, T}, CALL_PLAIN},
        {STR_INIT("After"), method_after, 2, false, {T, T}, CALL_PLAIN},
        {STR_INIT("Equal"), method_equal, 2, false, {T, T}, CALL_PLAIN},
        {STR_INIT("Compare"), method_compare, 2, false, {T, T}, CALL_PLAIN},
        {STR_INIT("Add"), method_add, 2, false, {T, D}, CALL_PLAIN},
        {STR_INIT("Sub"), method_sub, 2, false, {T, T}, CALL_PLAIN},
        {STR_INIT("AddDate"), method_add_date, 4, false, {T, N, N, N}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}

static const struct function *duration_method(struct str name) {
    static const struct function table[] = {
        {STR_INIT("String"), method_string, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Nanoseconds"), method_nanoseconds, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Microseconds"), method_microseconds, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Milliseconds"), method_milliseconds, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Seconds"), method_seconds, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Minutes"), method_minutes, 1, false, {D}, CALL_PLAIN},
        {STR_INIT("Hours"), method_hours, 1, false, {D}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}

const struct function *method_find(enum value_type type, struct str name) {
    static const struct function only_string[] = {
        {STR_INIT("String"), method_string, 1, false, {PARAM_ANY}, CALL_PLAIN},
    };
    if (type == VALUE_TIME)
        return time_method(name);
    if (type == VALUE_DURATION)
        return duration_method(name);
    return FUNCTION_FIND(only_string, name);
}
