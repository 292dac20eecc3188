/* Functions over numbers: sprig's, which take anything and make 0 of what is no number. */
#include <math.h>

#include "decimal.h"
#include "template_private.h"
#include "units.h"

#define MATH_ARGS struct exec *x, const struct value *args, size_t count, struct value *ret

/* ---- casts */

/* "-3.75" is -3 and ".5" is 0; what has another form stays. */
static struct str without_fraction(struct str s) {
    size_t i = 0, whole;
    bool sign = s.size > 0 && (s.data[0] == '-' || s.data[0] == '+');
    i += sign;
    while (i < s.size && s.data[i] >= '0' && s.data[i] <= '9')
        i++;
    whole = i;
    if (i < s.size && s.data[i] == '.')
        for (i++; i < s.size && s.data[i] >= '0' && s.data[i] <= '9';)
            i++;
    if (i < s.size)
        return s;
    return whole == (size_t)sign ? STR("0") : str_make(s.data, whole);
}

/* spf13/cast as sprig uses it: what does not convert is 0. */
static int64_t cast_int64(const struct value *v) {
    int64_t i = 0;
    if (value_is_integer(v))
        return v->integer;
    if (v->type == VALUE_BOOL)
        return v->boolean;
    if (v->type == VALUE_STRING)
        return template_integer(without_fraction(v->text), &i) < 0 ? 0 : i;
    if (v->type != VALUE_FLOAT)
        return 0;
    /* What x86 makes of doubles out of range. */
    return v->number >= -0x1p63 && v->number < 0x1p63 ? (int64_t)v->number : INT64_MIN;
}

static double cast_float(const struct value *v) {
    double d = 0;
    if (v->type == VALUE_FLOAT)
        return v->number;
    if (value_is_integer(v))
        return (double)v->integer;
    if (v->type == VALUE_BOOL)
        return v->boolean;
    if (v->type == VALUE_STRING && float_parse_go(v->text, &d) == 0)
        return d;
    return 0;
}

static bool run_int(MATH_ARGS) {
    (void)x;
    (void)count;
    *ret = value_int(cast_int64(&args[0]));
    return true;
}

static bool run_float64(MATH_ARGS) {
    (void)x;
    (void)count;
    *ret = value_float(cast_float(&args[0]));
    return true;
}

/* ---- whole numbers; overflows wrap */

static int64_t wrap_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static bool run_add(MATH_ARGS) {
    (void)x;
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = wrap_add(sum, cast_int64(&args[i]));
    *ret = value_int64(sum);
    return true;
}

static bool run_sub(MATH_ARGS) {
    (void)x;
    (void)count;
    *ret = value_int64((int64_t)((uint64_t)cast_int64(&args[0]) - (uint64_t)cast_int64(&args[1])));
    return true;
}

static bool run_mul(MATH_ARGS) {
    (void)x;
    uint64_t product = (uint64_t)cast_int64(&args[0]);
    for (size_t i = 1; i < count; i++)
        product *= (uint64_t)cast_int64(&args[i]);
    *ret = value_int64((int64_t)product);
    return true;
}

static bool divide(struct exec *x, const struct value *args, int64_t *quotient, int64_t *rest) {
    int64_t a = cast_int64(&args[0]), b = cast_int64(&args[1]);
    if (b == 0) {
        (void)exec_call_error(x, "runtime error: integer divide by zero");
        return false;
    }
    *quotient = b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
    *rest = b == -1 ? 0 : a % b;
    return true;
}

static bool run_div(MATH_ARGS) {
    (void)count;
    int64_t quotient, rest;
    if (!divide(x, args, &quotient, &rest))
        return false;
    *ret = value_int64(quotient);
    return true;
}

static bool run_mod(MATH_ARGS) {
    (void)count;
    int64_t quotient, rest;
    if (!divide(x, args, &quotient, &rest))
        return false;
    *ret = value_int64(rest);
    return true;
}

static bool extreme(const struct value *args, size_t count, bool largest, struct value *ret) {
    int64_t best = cast_int64(&args[0]);
    for (size_t i = 1; i < count; i++) {
        int64_t v = cast_int64(&args[i]);
        if (largest ? v > best : v < best)
            best = v;
    }
    *ret = value_int64(best);
    return true;
}

static bool run_max(MATH_ARGS) {
    (void)x;
    return extreme(args, count, true, ret);
}

static bool run_min(MATH_ARGS) {
    (void)x;
    return extreme(args, count, false, ret);
}

/* ---- floats, calculated in decimal */

typedef bool decimal_op(struct arena *a, const struct decimal *x, const struct decimal *y,
                        struct decimal *ret);

static bool subtract(struct arena *a, const struct decimal *x, const struct decimal *y,
                     struct decimal *ret) {
    struct decimal negated = *y;
    negated.negative = !y->negative && y->count > 0;
    return decimal_add(a, x, &negated, ret);
}

static bool take_decimal(struct exec *x, const struct value *v, struct decimal *ret) {
    double d = cast_float(v);
    if (isnan(d) || isinf(d))
        return exec_call_error(x, "Cannot create a Decimal from %s",
                               isnan(d) ? "NaN"
                               : d < 0  ? "-Inf"
                                        : "+Inf");
    return decimal_from_double(x->arena, d, ret) || exec_error(x, "a number has too many digits");
}

static bool calculate(struct exec *x, const struct value *args, size_t count, bool from_zero,
                      decimal_op *op, struct value *ret) {
    struct decimal result = {0}, operand;
    if (!from_zero && !take_decimal(x, &args[0], &result))
        return false;
    for (size_t i = from_zero ? 0 : 1; i < count; i++) {
        if (!take_decimal(x, &args[i], &operand))
            return false;
        if (op == decimal_divide && operand.count == 0)
            return exec_call_error(x, "decimal division by 0");
        if (!op(x->arena, &result, &operand, &result))
            return exec_error(x, "a number has too many digits");
    }
    double d;
    if (!decimal_to_double(x->arena, &result, &d))
        return exec_error(x, "a number has too many digits");
    *ret = value_float(d);
    return true;
}

static bool run_addf(MATH_ARGS) {
    return calculate(x, args, count, true, decimal_add, ret);
}

static bool run_subf(MATH_ARGS) {
    return calculate(x, args, count, false, subtract, ret);
}

static bool run_mulf(MATH_ARGS) {
    return calculate(x, args, count, false, decimal_multiply, ret);
}

static bool run_divf(MATH_ARGS) {
    return calculate(x, args, count, false, decimal_divide, ret);
}

/* ---- floats */

/* math.Max and Min: infinities win over NaN, NaN over numbers; of zeros, the sign decides. */
static double larger(double a, double b) {
    if ((isinf(a) && a > 0) || (isinf(b) && b > 0))
        return INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}

static bool run_maxf(MATH_ARGS) {
    (void)x;
    double best = cast_float(&args[0]);
    for (size_t i = 1; i < count; i++)
        best = larger(best, cast_float(&args[i]));
    *ret = value_float(best);
    return true;
}

static bool run_minf(MATH_ARGS) {
    (void)x;
    double best = cast_float(&args[0]);
    for (size_t i = 1; i < count; i++)
        best = -larger(-best, -cast_float(&args[i]));
    *ret = value_float(best);
    return true;
}

static bool run_floor(MATH_ARGS) {
    (void)x;
    (void)count;
    *ret = value_float(floor(cast_float(&args[0])));
    return true;
}

static bool run_ceil(MATH_ARGS) {
    (void)x;
    (void)count;
    *ret = value_float(ceil(cast_float(&args[0])));
    return true;
}

/* To so many places; the third is from which fraction on it goes up. */
static bool run_round(MATH_ARGS) {
    (void)x;
    double up_from = count > 2 ? args[2].number : 0.5;
    double scale = pow(10, (double)args[1].integer), digits = scale * cast_float(&args[0]), whole;
    double fraction = modf(digits, &whole);
    if (isinf(digits))
        fraction = NAN; /* as Go's Modf has it */
    double rounded = fraction >= up_from ? ceil(digits) : floor(digits);
    *ret = value_float(rounded / scale);
    return true;
}

#define A PARAM_ANY

const struct function *math_function_find(struct str name) {
    static const struct function table[] = {
        {STR_INIT("int"), run_int, 1, false, {A}, CALL_PLAIN},
        {STR_INIT("float64"), run_float64, 1, false, {A}, CALL_PLAIN},
        {STR_INIT("add"), run_add, 1, true, {A}, CALL_PLAIN},
        {STR_INIT("sub"), run_sub, 2, false, {A, A}, CALL_PLAIN},
        {STR_INIT("mul"), run_mul, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("div"), run_div, 2, false, {A, A}, CALL_PLAIN},
        {STR_INIT("mod"), run_mod, 2, false, {A, A}, CALL_PLAIN},
        {STR_INIT("max"), run_max, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("min"), run_min, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("addf"), run_addf, 1, true, {A}, CALL_PLAIN},
        {STR_INIT("subf"), run_subf, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("mulf"), run_mulf, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("divf"), run_divf, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("maxf"), run_maxf, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("minf"), run_minf, 2, true, {A, A}, CALL_PLAIN},
        {STR_INIT("floor"), run_floor, 1, false, {A}, CALL_PLAIN},
        {STR_INIT("ceil"), run_ceil, 1, false, {A}, CALL_PLAIN},
        {STR_INIT("round"), run_round, 3, true, {A, PARAM_INT, PARAM_FLOAT}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}
