#include "params.h"

#include <errno.h>
#include <math.h>

#include "labels.h"
#include "units.h"

enum { DEFAULT_SINCE_S = 3600, STEPS_PER_RANGE = 250, SECONDS_DIGITS_MAX = 10 };

/* Fails with `format` applied to the Go-quoted value. */
static int fail_quoted(struct err *reterr, const char *format, struct str value) {
    struct buf quoted = buf_make(4096);
    go_quote(&quoted, value);
    buf_add_char(&quoted, '\0');
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int r = err_set(reterr, -ESYNTAX, format, quoted.failed ? "\"...\"" : quoted.data);
#pragma GCC diagnostic pop
    buf_done(&quoted);
    return r;
}

/* Float seconds, kept to the millisecond as Loki does. */
static bool parse_float_seconds(struct str text, int64_t *ret_ns) {
    double seconds;
    if (text.size == 0 || !memchr(text.data, '.', text.size) || float_parse_go(text, &seconds) < 0)
        return false;
    double whole;
    double fraction = round(modf(seconds, &whole) * 1000) / 1000;
    double ns = whole * 1e9;
    if (!(fabs(ns) < 9.2e18))
        return false;
    *ret_ns = (int64_t)whole * NS_PER_S + (int64_t)llround(fraction * 1e9);
    return true;
}

int params_parse_time(struct str text, int64_t *ret_ns, struct err *reterr) {
    if (parse_float_seconds(text, ret_ns))
        return 0;
    int64_t value;
    int r = i64_parse(text, &value);
    if (r == 0 && text.size <= SECONDS_DIGITS_MAX)
        value = ns_of_seconds(value);
    if (r == 0) {
        *ret_ns = value;
        return 0;
    }
    if (time_parse_rfc3339(text, ret_ns) == 0)
        return 0;
    return fail_quoted(reterr,
                       r == -ERANGE ? "strconv.ParseInt: parsing %s: value out of range"
                                    : "strconv.ParseInt: parsing %s: invalid syntax",
                       text);
}

int params_parse_step(struct str text, int64_t *ret_ns, struct err *reterr) {
    double seconds;
    if (float_parse_go(text, &seconds) == 0) {
        double ns = seconds * 1e9;
        if (!(fabs(ns) < 9.2e18))
            return fail_quoted(reterr, "cannot parse %s to a valid duration. It overflows int64",
                               text);
        *ret_ns = (int64_t)ns;
        return 0;
    }
    if (duration_parse_prometheus(text, ret_ns) == 0)
        return 0;
    return fail_quoted(reterr, "cannot parse %s to a valid duration", text);
}

static int parse_int(struct str text, int64_t *ret, struct err *reterr) {
    int r = i64_parse(text, ret);
    if (r == 0)
        return 0;
    return fail_quoted(reterr,
                       r == -ERANGE ? "strconv.Atoi: parsing %s: value out of range"
                                    : "strconv.Atoi: parsing %s: invalid syntax",
                       text);
}

int params_int(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
               struct err *reterr) {
    struct str text = http_param(r, name);
    if (text.size > 0)
        return parse_int(text, ret, reterr);
    *ret = fallback;
    return 0;
}

int params_parse_limit(struct str text, uint32_t *ret, struct err *reterr) {
    int64_t value;
    int r = parse_int(text, &value, reterr);
    if (r < 0)
        return r;
    if (value <= 0)
        return err_set(reterr, -ESYNTAX, "limit must be a positive value");
    if (value > UINT32_MAX)
        return err_set(reterr, -ESYNTAX, "limit value %lld is out of range [0, 4294967295]",
                       (long long)value);
    *ret = (uint32_t)value;
    return 0;
}

int params_parse_direction(struct str text, enum query_direction *ret, struct err *reterr) {
    if (str_eq_nocase(text, STR("forward")))
        *ret = DIR_FORWARD;
    else if (str_eq_nocase(text, STR("backward")))
        *ret = DIR_BACKWARD;
    else
        return err_set(reterr, -ESYNTAX, "invalid direction '%.*s'", STR_ARG(text));
    return 0;
}

/* An empty value counts as absent. */
int params_time(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
                struct err *reterr) {
    struct str text = http_param(r, name);
    if (text.size > 0)
        return params_parse_time(text, ret, reterr);
    *ret = fallback;
    return 0;
}

static int64_t subtract(int64_t a, int64_t b) {
    int64_t result;
    return __builtin_sub_overflow(a, b, &result) ? INT64_MIN : result;
}

int params_range(struct http_request *r, int64_t now_ns, int64_t *ret_start_ns, int64_t *ret_end_ns,
                 struct err *reterr) {
    int64_t since_ns = DEFAULT_SINCE_S * NS_PER_S, start_ns, end_ns;
    struct str since = http_param(r, "since");
    if (since.size > 0 && duration_parse_prometheus(since, &since_ns) < 0)
        return fail_quoted(
            reterr, "could not parse 'since' parameter: not a valid duration string: %s", since);
    int e = params_time(r, "end", now_ns, &end_ns, reterr);
    if (e < 0)
        return err_prefix(reterr, e, "could not parse 'end' parameter");
    int64_t default_start_ns = subtract(end_ns < now_ns ? end_ns : now_ns, since_ns);
    e = params_time(r, "start", default_start_ns, &start_ns, reterr);
    if (e < 0)
        return err_prefix(reterr, e, "could not parse 'start' parameter");
    *ret_start_ns = start_ns;
    *ret_end_ns = end_ns;
    return 0;
}

int params_step(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
                struct err *reterr) {
    struct str text = http_param(r, name);
    if (text.size > 0)
        return params_parse_step(text, ret, reterr);
    *ret = fallback;
    return 0;
}

int64_t params_default_step(int64_t start_ns, int64_t end_ns) {
    int64_t range_ns;
    if (__builtin_sub_overflow(end_ns, start_ns, &range_ns))
        range_ns = INT64_MAX;
    int64_t seconds = range_ns / STEPS_PER_RANGE / NS_PER_S;
    return (seconds > 1 ? seconds : 1) * NS_PER_S;
}

int params_resolution(struct http_request *r, int64_t start_ns, int64_t end_ns,
                      int64_t *ret_step_ns, struct err *reterr) {
    int64_t range_ns, step_ns;
    int e = params_step(r, "step", params_default_step(start_ns, end_ns), &step_ns, reterr);
    if (e < 0)
        return e;
    if (step_ns <= 0)
        return err_set(reterr, -ESYNTAX,
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
    if (__builtin_sub_overflow(end_ns, start_ns, &range_ns))
        range_ns = INT64_MAX;
    if (range_ns / step_ns > PARAMS_POINTS_MAX)
        return err_set(reterr, -ESYNTAX,
                       "exceeded maximum resolution of 11,000 points per time series. Try "
                       "increasing the value of the step parameter");
    *ret_step_ns = step_ns;
    return 0;
}

int params_limit(struct http_request *r, uint32_t fallback, uint32_t *ret, struct err *reterr) {
    struct str text = http_param(r, "limit");
    if (text.size > 0)
        return params_parse_limit(text, ret, reterr);
    *ret = fallback;
    return 0;
}

int params_direction(struct http_request *r, enum query_direction *ret, struct err *reterr) {
    struct str text = http_param(r, "direction");
    if (text.size > 0)
        return params_parse_direction(text, ret, reterr);
    *ret = DIR_BACKWARD;
    return 0;
}
