/* Go's package fmt over template values: Sprint, Sprintln, Sprintf with flags, widths, precisions, explicit argument
 * indexes, and the complaints (%!d(string=x)) of verbs that do not fit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "labels.h"
#include "rune.h"
#include "template_private.h"
#include "units.h"
#include "utf8.h"

/* Whole numbers below are printed without an exponent. */
#define PLAIN_MAX 1e6

enum {
    FMT_NUMBER_MAX = 1000000, /* Go's limit of widths and precisions */
    FMT_FLOAT_MAX = 1200,     /* bytes of %f of the largest double with some precision */
    FMT_PRECISION_MAX = 800,  /* digits of floats behind the point */
};

struct verb {
    bool plus, minus, sharp, space, zero;
    bool has_width, has_precision;
    int width, precision;
    uint32_t rune;
};

static void put_rune(struct buf *out, uint32_t rune) {
    char text[4];
    buf_add(out, text, utf8_encode(text, rune));
}

/* ---- padding */

static void fill(struct buf *out, char c, size_t count) {
    if (count == 0 || buf_reserve(out, count) < 0)
        return;
    memset(out->data + out->size, c, count);
    out->size += count;
}

static void pad(struct buf *out, const struct verb *v, struct str s) {
    size_t size = v->has_width ? utf8_count(s) : 0;
    size_t missing = v->has_width && (size_t)v->width > size ? (size_t)v->width - size : 0;
    if (!v->minus)
        fill(out, v->zero ? '0' : ' ', missing);
    buf_add_str(out, s);
    if (v->minus)
        fill(out, ' ', missing);
}

/* Pads what has been written from `start` on. */
static void pad_written(struct buf *out, const struct verb *v, size_t start) {
    if (!v->has_width || out->failed)
        return;
    size_t size = utf8_count(str_make(out->data + start, out->size - start));
    size_t missing = (size_t)v->width > size ? (size_t)v->width - size : 0, written = out->size;
    fill(out, ' ', missing);
    if (v->minus || out->failed)
        return;
    memmove(out->data + start + missing, out->data + start, written - start);
    memset(out->data + start, v->zero ? '0' : ' ', missing);
}

/* A small text of its own: no memory is asked for. */
struct scratch {
    char room[96];
};
static struct buf scratch_buf(struct scratch *s) {
    return (struct buf){.data = s->room, .capacity = sizeof(s->room), .max = sizeof(s->room)};
}

/* ---- %!verb(type=value) */

static void put_value(struct exec *x, struct buf *out, const struct verb *v,
                      const struct value *value, unsigned depth);

static void bad_verb(struct exec *x, struct buf *out, const struct verb *v,
                     const struct value *value) {
    buf_add_str(out, STR("%!"));
    put_rune(out, v->rune);
    buf_add_char(out, '(');
    if (value->type == VALUE_NIL || value->type == VALUE_NONE) {
        buf_add_str(out, STR("<nil>"));
    } else {
        struct verb plain = {.rune = 'v'};
        buf_add_str(out, str_from(value_type_name(value->type)));
        buf_add_char(out, '=');
        put_value(x, out, &plain, value, 0);
    }
    buf_add_char(out, ')');
}

/* ---- integers */

static size_t put_digits(char *out, uint64_t value, unsigned base, bool upper) {
    char text[64];
    size_t n = 0;
    do {
        unsigned d = (unsigned)(value % base);
        text[n++] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        value /= base;
    } while (value > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = text[n - 1 - i];
    return n;
}

/* Zeros up to the precision, or with the flag up to the width; the sign in front of them. */
static void put_integer_in(struct buf *out, const struct verb *v, uint64_t magnitude, bool negative,
                           unsigned base, bool upper) {
    char digits[64];
    size_t n = put_digits(digits, magnitude, base, upper);
    char prefix[4];
    size_t n_prefix = 0;
    if (negative || v->plus || v->space)
        prefix[n_prefix++] = negative ? '-' : v->plus ? '+' : ' ';
    if (v->rune == 'O' || (v->sharp && base == 8 && digits[0] != '0'))
        prefix[n_prefix++] = '0';
    if (v->rune == 'O')
        prefix[n_prefix++] = 'o';
    if (v->sharp && (base == 16 || base == 2)) {
        prefix[n_prefix++] = '0';
        prefix[n_prefix++] = base == 2 ? 'b' : upper ? 'X' : 'x';
    }
    size_t wanted = 0;
    if (v->has_precision) {
        wanted = (size_t)v->precision;
        if (wanted == 0 && magnitude == 0) {
            struct verb blanks = *v;
            blanks.zero = false;
            pad(out, &blanks, STR(""));
            return;
        }
    } else if (v->zero && !v->minus && v->has_width) {
        size_t sign = negative || v->plus || v->space;
        wanted = (size_t)v->width > sign ? (size_t)v->width - sign : 0;
    }
    size_t zeros = wanted > n ? wanted - n : 0, size = n_prefix + zeros + n;
    size_t missing = v->has_width && (size_t)v->width > size ? (size_t)v->width - size : 0;
    if (!v->minus)
        fill(out, ' ', missing);
    buf_add(out, prefix, n_prefix);
    fill(out, '0', zeros);
    buf_add(out, digits, n);
    if (v->minus)
        fill(out, ' ', missing);
}

static void put_unicode(struct buf *out, const struct verb *v, uint64_t value) {
    char digits[64], text[128];
    size_t n = put_digits(digits, value, 16, true), size = 2;
    size_t wanted = v->has_precision && v->precision > 4 ? (size_t)v->precision : 4;
    text[0] = 'U';
    text[1] = '+';
    for (size_t i = n; i < wanted && size < 40; i++)
        text[size++] = '0';
    memcpy(text + size, digits, n);
    size += n;
    if (v->sharp && value <= 0x10FFFF && rune_is_print((uint32_t)value)) {
        text[size++] = ' ';
        text[size++] = '\'';
        size += utf8_encode(text + size, (uint32_t)value);
        text[size++] = '\'';
    }
    struct verb blanks = *v;
    blanks.zero = false;
    pad(out, &blanks, str_make(text, size));
}

static void put_quoted_rune(struct buf *out, const struct verb *v, uint64_t value) {
    uint32_t rune = value > 0x10FFFF ? 0xFFFD : (uint32_t)value;
    char text[4];
    struct scratch scratch;
    struct buf quoted = scratch_buf(&scratch);
    struct str s = str_make(text, utf8_encode(text, rune));
    if (rune == '"') {
        buf_add_str(&quoted, STR("'\"'"));
    } else if (rune == '\'') {
        buf_add_str(&quoted, STR("'\\''"));
    } else {
        go_quote(&quoted, s);
        quoted.data[0] = quoted.data[quoted.size - 1] = '\'';
    }
    pad(out, v, buf_str(&quoted));
}

static void put_integer(struct exec *x, struct buf *out, const struct verb *v,
                        const struct value *value) {
    bool negative = value->integer < 0;
    uint64_t magnitude = negative ? 0 - (uint64_t)value->integer : (uint64_t)value->integer;
    char text[4];
    switch (v->rune) {
    case 'v':
    case 'd':
        put_integer_in(out, v, magnitude, negative, 10, false);
        return;
    case 'b':
        put_integer_in(out, v, magnitude, negative, 2, false);
        return;
    case 'o':
    case 'O':
        put_integer_in(out, v, magnitude, negative, 8, false);
        return;
    case 'x':
    case 'X':
        put_integer_in(out, v, magnitude, negative, 16, v->rune == 'X');
        return;
    case 'c':
        pad(out, v,
            str_make(text,
                     utf8_encode(text,
                                 negative || magnitude > 0x10FFFF ? 0xFFFD : (uint32_t)magnitude)));
        return;
    case 'q':
        put_quoted_rune(out, v, (uint64_t)value->integer);
        return;
    case 'U':
        put_unicode(out, v, (uint64_t)value->integer);
        return;
    default:
        bad_verb(x, out, v, value);
    }
}

/* ---- floats */

/* %e as C prints it has two digits of exponent at least, as Go's. %g with a precision is C's but for trailing
 * zeros, which neither prints. */
static size_t float_text(char *text, size_t room, const struct verb *v, double number) {
    int precision = v->has_precision ? v->precision : 6;
    if (precision > FMT_PRECISION_MAX)
        precision = FMT_PRECISION_MAX;
    double size = fabs(number);
    int n = 0;
    switch (v->rune) {
    case 'e':
        n = snprintf(text, room, "%.*e", precision, size);
        break;
    case 'E':
        n = snprintf(text, room, "%.*E", precision, size);
        break;
    case 'f':
    case 'F':
        n = snprintf(text, room, "%.*f", precision, size);
        break;
    case 'x':
    case 'X':
        if (v->has_precision)
            n = snprintf(text, room, v->rune == 'x' ? "%.*a" : "%.*A", precision, size);
        else
            n = snprintf(text, room, v->rune == 'x' ? "%a" : "%A", size);
        break;
    default: /* g, G, v */
        if (v->has_precision) {
            n = snprintf(text, room, v->sharp ? "%#.*g" : "%.*g", precision, size);
        } else {
            struct buf shortest = {.data = text, .capacity = room, .max = room};
            if (size < PLAIN_MAX && size == trunc(size))
                buf_add_u64(&shortest, (uint64_t)size);
            else
                float_format_g(&shortest, size);
            n = (int)shortest.size;
        }
        for (int i = 0; i < n && v->rune == 'G'; i++)
            if (text[i] == 'e')
                text[i] = 'E';
    }
    return n < 0 ? 0 : (size_t)n;
}

/* Go writes the exponent of %x with two digits at least: 0x1p+00. */
static size_t widen_exponent(char *text, size_t size, char letter) {
    char *p = memchr(text, letter, size);
    if (!p || (size_t)(text + size - p) != 3)
        return size;
    p[3] = p[2];
    p[2] = '0';
    return size + 1;
}

static void put_float(struct exec *x, struct buf *out, const struct verb *v,
                      const struct value *value) {
    if (v->rune > 0x7F || !strchr("veEfFgGxX", (int)v->rune)) {
        bad_verb(x, out, v, value);
        return;
    }
    char text[FMT_FLOAT_MAX + 1];
    bool negative = signbit(value->number) && !isnan(value->number);
    bool special = isnan(value->number) || isinf(value->number);
    size_t size = 0;
    text[0] = negative ? '-' : v->space && !v->plus ? ' ' : '+';
    bool sign = negative || v->plus || v->space || isinf(value->number);
    if (special) {
        memcpy(text + 1, isnan(value->number) ? "NaN" : "Inf", 3);
        size = 3;
    } else {
        size = float_text(text + 1, FMT_FLOAT_MAX, v, value->number);
        if (v->rune == 'x' || v->rune == 'X')
            size = widen_exponent(text + 1, size, v->rune == 'x' ? 'p' : 'P');
    }
    struct verb w = *v;
    w.zero = v->zero && !v->minus && !special;
    if (w.zero && sign && v->has_width && (size_t)v->width > size + 1) {
        buf_add_char(out, text[0]);
        w.width--;
        pad(out, &w, str_make(text + 1, size));
        return;
    }
    pad(out, &w, sign ? str_make(text, size + 1) : str_make(text + 1, size));
}

/* ---- strings */

static void put_hex(struct buf *out, const struct verb *v, struct str s) {
    const char *digits = v->rune == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    size_t size = v->has_precision && (size_t)v->precision < s.size ? (size_t)v->precision : s.size;
    size_t width = size == 0 ? 0 : v->space ? size * 3 - 1 : size * 2;
    if (v->sharp && size > 0)
        width += v->space ? 2 * size : 2;
    size_t missing = v->has_width && (size_t)v->width > width ? (size_t)v->width - width : 0;
    if (!v->minus)
        fill(out, v->zero ? '0' : ' ', missing);
    for (size_t i = 0; i < size; i++) {
        if (v->space && i > 0)
            buf_add_char(out, ' ');
        if (v->sharp && (v->space || i == 0)) {
            buf_add_char(out, '0');
            buf_add_char(out, (char)v->rune);
        }
        buf_add_char(out, digits[(unsigned char)s.data[i] >> 4]);
        buf_add_char(out, digits[(unsigned char)s.data[i] & 15]);
    }
    if (v->minus)
        fill(out, ' ', missing);
}

static struct str cut(const struct verb *v, struct str s) {
    if (!v->has_precision)
        return s;
    size_t size = 0;
    for (int n = 0; n < v->precision && size < s.size; n++) {
        uint32_t rune;
        size += utf8_decode(str_from_offset(s, size), &rune);
    }
    return str_make(s.data, size);
}

/* `...` when asked for by '#' and possible: no backquote, no control character but the tab. */
static bool can_backquote(struct str s) {
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c == '`' || c == 0x7F || (c < 0x20 && c != '\t'))
            return false;
    }
    return utf8_valid(s);
}

static void put_quoted(struct buf *out, const struct verb *v, struct str s) {
    size_t start = out->size;
    s = cut(v, s);
    if (v->sharp && can_backquote(s)) {
        buf_add_char(out, '`');
        buf_add_str(out, s);
        buf_add_char(out, '`');
    } else {
        go_quote(out, s);
    }
    pad_written(out, v, start);
}

static void put_string(struct exec *x, struct buf *out, const struct verb *v,
                       const struct value *value, struct str s) {
    switch (v->rune) {
    case 'v':
    case 's':
        pad(out, v, cut(v, s));
        return;
    case 'x':
    case 'X':
        put_hex(out, v, s);
        return;
    case 'q':
        put_quoted(out, v, s);
        return;
    default:
        bad_verb(x, out, v, value);
    }
}

/* ---- values */

static void put_list(struct exec *x, struct buf *out, const struct verb *v,
                     const struct value_list *list, unsigned depth) {
    buf_add_char(out, '[');
    for (size_t i = 0; i < list->count && !out->failed; i++) {
        if (i > 0)
            buf_add_char(out, ' ');
        put_value(x, out, v, &list->items[i], depth + 1);
    }
    buf_add_char(out, ']');
}

static void put_map(struct exec *x, struct buf *out, const struct verb *v,
                    const struct value_map *map, unsigned depth) {
    buf_add_str(out, STR("map["));
    for (size_t i = 0; map && i < map->count && !out->failed; i++) {
        struct value key = value_string(map->keys[i]);
        if (i > 0)
            buf_add_char(out, ' ');
        put_value(x, out, v, &key, depth + 1);
        buf_add_char(out, ':');
        put_value(x, out, v, &map->values[i], depth + 1);
    }
    buf_add_char(out, ']');
}

/* What has a String() method, as %v, %s, %q, %x and %X see it. */
static bool put_stringer(struct exec *x, struct buf *out, const struct verb *v,
                         const struct value *value) {
    if (v->rune > 0x7F || !strchr("vsqxX", (int)v->rune))
        return false;
    struct scratch scratch;
    struct buf text = scratch_buf(&scratch);
    const char *name = NULL;
    if (value->type == VALUE_TIME)
        go_time_print(&text, &value->time);
    else if (value->type == VALUE_DURATION)
        duration_format_go(&text, value->integer);
    else if (value->type == VALUE_MONTH)
        name = go_month_name(value->integer);
    else
        name = go_weekday_name(value->integer);
    if (name)
        buf_add_str(&text, str_from(name));
    else if (value->type == VALUE_MONTH || value->type == VALUE_WEEKDAY)
        buf_addf(&text, "%%!%s(%lld)", value->type == VALUE_MONTH ? "Month" : "Weekday",
                 (long long)value->integer);
    put_string(x, out, v, value, buf_str(&text));
    return true;
}

/* Recursion along lists and maps, which fromJson limits. */
static void put_value(struct exec *x, struct buf *out, const struct verb *v,
                      const struct value *value, unsigned depth) {
    if (v->rune == 'T') {
        struct verb w = *v;
        w.rune = 's';
        bool nil = value->type == VALUE_NIL || value->type == VALUE_NONE;
        pad(out, &w, str_from(nil ? "<nil>" : value_type_name(value->type)));
        return;
    }
    switch (value->type) {
    case VALUE_NONE:
    case VALUE_NIL:
        if (depth > 0)
            buf_add_str(out, STR("<nil>"));
        else if (v->rune == 'v')
            pad(out, v, STR("<nil>"));
        else
            bad_verb(x, out, v, value);
        return;
    case VALUE_BOOL:
        if (v->rune == 'v' || v->rune == 't')
            pad(out, v, value->boolean ? STR("true") : STR("false"));
        else
            bad_verb(x, out, v, value);
        return;
    case VALUE_TIME:
        if (!put_stringer(x, out, v, value))
            bad_verb(x, out, v, value);
        return;
    case VALUE_DURATION:
    case VALUE_MONTH:
    case VALUE_WEEKDAY:
        if (!put_stringer(x, out, v, value))
            put_integer(x, out, v, value);
        return;
    case VALUE_INT:
    case VALUE_INT64:
    case VALUE_UINT8:
        put_integer(x, out, v, value);
        return;
    case VALUE_FLOAT:
        put_float(x, out, v, value);
        return;
    case VALUE_STRING:
        put_string(x, out, v, value, value->text);
        return;
    case VALUE_LIST:
        put_list(x, out, v, value->list, depth);
        return;
    case VALUE_MAP:
    case VALUE_LABELS:
        put_map(x, out, v, value_map(x, value), depth);
        return;
    }
}

void fmt_value(struct exec *x, struct buf *out, const struct value *v) {
    if (v->type == VALUE_NONE) {
        buf_add_str(out, STR("<no value>"));
        return;
    }
    struct verb plain = {.rune = 'v'};
    put_value(x, out, &plain, v, 0);
}

static void put_plain(struct exec *x, struct buf *out, const struct value *v) {
    struct verb plain = {.rune = 'v'};
    put_value(x, out, &plain, v, 0);
}

/* A blank between two that are not strings. */
void fmt_print(struct exec *x, struct buf *out, const struct value *args, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && args[i].type != VALUE_STRING && args[i - 1].type != VALUE_STRING)
            buf_add_char(out, ' ');
        put_plain(x, out, &args[i]);
    }
}

void fmt_println(struct exec *x, struct buf *out, const struct value *args, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, ' ');
        put_plain(x, out, &args[i]);
    }
    buf_add_char(out, '\n');
}

/* ---- Sprintf */

struct formatter {
    struct exec *x;
    struct buf *out;
    struct str format;
    size_t at;
    const struct value *args;
    size_t count, next;
    bool reordered, bad_index;
};

static bool take_number(struct formatter *f, int *ret) {
    size_t start = f->at;
    int number = 0;
    for (; f->at < f->format.size && f->format.data[f->at] >= '0' && f->format.data[f->at] <= '9';
         f->at++) {
        number = number * 10 + (f->format.data[f->at] - '0');
        if (number > FMT_NUMBER_MAX)
            return false;
    }
    *ret = number;
    return f->at > start;
}

/* "[3]": the next argument by number. */
static bool take_index(struct formatter *f) {
    if (f->at >= f->format.size || f->format.data[f->at] != '[')
        return false;
    f->reordered = true;
    size_t start = ++f->at;
    const char *close = memchr(f->format.data + start, ']', f->format.size - start);
    if (!close) {
        f->bad_index = true;
        return false;
    }
    int number = 0;
    bool fine = take_number(f, &number) && f->format.data + f->at == close;
    f->at = (size_t)(close - f->format.data) + 1;
    if (!fine || number < 1 || (size_t)number > f->count) {
        f->bad_index = true;
        return true;
    }
    f->next = (size_t)number - 1;
    return true;
}

static void take_flags(struct formatter *f, struct verb *v) {
    for (; f->at < f->format.size; f->at++) {
        switch (f->format.data[f->at]) {
        case '#':
            v->sharp = true;
            break;
        case '0':
            v->zero = true;
            break;
        case '+':
            v->plus = true;
            break;
        case '-':
            v->minus = true;
            break;
        case ' ':
            v->space = true;
            break;
        default:
            return;
        }
    }
}

/* "*": an int argument. */
static bool take_star(struct formatter *f, int *ret) {
    const struct value *a = f->next < f->count ? &f->args[f->next++] : NULL;
    if (!a || !value_is_integer(a) || a->integer > FMT_NUMBER_MAX || a->integer < -FMT_NUMBER_MAX)
        return false;
    *ret = (int)a->integer;
    return true;
}

static bool at_char(const struct formatter *f, char c) {
    return f->at < f->format.size && f->format.data[f->at] == c;
}

static void take_width(struct formatter *f, struct verb *v, bool *after_index) {
    if (at_char(f, '*')) {
        f->at++;
        v->has_width = take_star(f, &v->width);
        if (!v->has_width)
            buf_add_str(f->out, STR("%!(BADWIDTH)"));
        if (v->has_width && v->width < 0) {
            v->width = -v->width;
            v->minus = true;
            v->zero = false;
        }
        *after_index = false;
        return;
    }
    v->has_width = take_number(f, &v->width);
    if (*after_index && v->has_width)
        f->bad_index = true;
}

static void take_precision(struct formatter *f, struct verb *v, bool *after_index) {
    if (!at_char(f, '.'))
        return;
    f->at++;
    if (*after_index)
        f->bad_index = true;
    *after_index = take_index(f);
    if (at_char(f, '*')) {
        f->at++;
        v->has_precision = take_star(f, &v->precision) && v->precision >= 0;
        if (!v->has_precision)
            buf_add_str(f->out, STR("%!(BADPREC)"));
        *after_index = false;
        return;
    }
    v->has_precision = true;
    if (!take_number(f, &v->precision))
        v->precision = 0;
}

static void put_missing(struct formatter *f, uint32_t rune, const char *what) {
    buf_add_str(f->out, STR("%!"));
    put_rune(f->out, rune);
    buf_add_str(f->out, str_from(what));
}

/* Behind a '%'. */
static void put_verb(struct formatter *f) {
    struct verb v = {0};
    f->bad_index = false;
    take_flags(f, &v);
    bool after_index = take_index(f);
    take_width(f, &v, &after_index);
    take_precision(f, &v, &after_index);
    if (!after_index)
        (void)take_index(f);
    if (f->at >= f->format.size) {
        buf_add_str(f->out, STR("%!(NOVERB)"));
        return;
    }
    f->at += utf8_decode(str_from_offset(f->format, f->at), &v.rune);
    if (v.rune == '%') {
        buf_add_char(f->out, '%');
    } else if (f->bad_index) {
        put_missing(f, v.rune, "(BADINDEX)");
    } else if (f->next >= f->count) {
        put_missing(f, v.rune, "(MISSING)");
    } else {
        const struct value *a = &f->args[f->next++];
        if (v.minus)
            v.zero = false;
        if (v.rune == 'v') { /* %+v and %#v ask for names and types, which these values lack */
            if (v.sharp && a->type == VALUE_STRING)
                v.rune = 'q';
            v.plus = v.sharp = false;
        }
        if (v.rune == 'w')
            bad_verb(f->x, f->out, &v, a);
        else
            put_value(f->x, f->out, &v, a, 0);
    }
}

static void put_extra(struct formatter *f) {
    buf_add_str(f->out, STR("%!(EXTRA "));
    for (size_t i = f->next; i < f->count; i++) {
        const struct value *a = &f->args[i];
        if (i > f->next)
            buf_add_str(f->out, STR(", "));
        if (a->type == VALUE_NIL || a->type == VALUE_NONE) {
            buf_add_str(f->out, STR("<nil>"));
            continue;
        }
        buf_add_str(f->out, str_from(value_type_name(a->type)));
        buf_add_char(f->out, '=');
        put_plain(f->x, f->out, a);
    }
    buf_add_char(f->out, ')');
}

void fmt_printf(struct exec *x, struct buf *out, struct str format, const struct value *args,
                size_t count) {
    struct formatter f = {.x = x, .out = out, .format = format, .args = args, .count = count};
    while (f.at < format.size && !out->failed) {
        struct str rest = str_from_offset(format, f.at);
        const char *percent = memchr(rest.data, '%', rest.size);
        size_t plain = percent ? (size_t)(percent - rest.data) : rest.size;
        buf_add(out, rest.data, plain);
        f.at += plain;
        if (!percent)
            break;
        f.at++;
        put_verb(&f);
    }
    if (!f.reordered && f.next < count)
        put_extra(&f);
}
