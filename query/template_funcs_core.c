/* The functions of the language itself: logic, comparison, indexing, printing, escaping. */
#include <stdlib.h>

#include "rune.h"
#include "template_private.h"
#include "utf8.h"

/* ---- logic */

static bool run_not(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    (void)count;
    *ret = value_bool(!value_truth(x, &args[0]));
    return true;
}

/* `and` and `or` are decided where their arguments are evaluated. */
static bool run_logic(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    (void)x;
    *ret = args[count - 1];
    return true;
}

/* ---- comparison */

enum basic { BASIC_NONE, BASIC_BOOL, BASIC_INT, BASIC_UINT, BASIC_FLOAT, BASIC_STRING };

static enum basic basic_of(const struct value *v) {
    if (v->type == VALUE_UINT8)
        return BASIC_UINT;
    if (value_is_integer(v))
        return BASIC_INT;
    return v->type == VALUE_BOOL     ? BASIC_BOOL
           : v->type == VALUE_FLOAT  ? BASIC_FLOAT
           : v->type == VALUE_STRING ? BASIC_STRING
                                     : BASIC_NONE;
}

static bool is_nil(const struct value *v) {
    return v->type == VALUE_NONE || v->type == VALUE_NIL;
}

static bool incompatible(struct exec *x, const struct value *a, const struct value *b) {
    return exec_call_error(x, "incompatible types for comparison: %s and %s",
                           value_type_name(a->type), value_type_name(b->type));
}

/* Go writes the values with %s into this complaint. */
static bool not_comparable(struct exec *x, const struct value *v) {
    struct buf *out = exec_cause(x);
    fmt_printf(x, out, STR("non-comparable type %s: "), v, 1);
    buf_add_str(out, str_from(value_type_name(v->type)));
    return false;
}

static bool differ_in_kind(struct exec *x, const struct value *a, const struct value *b) {
    struct buf *out = exec_cause(x);
    fmt_printf(x, out, STR("non-comparable types %s: "), a, 1);
    buf_addf(out, "%s, %s: ", value_type_name(a->type), value_type_name(b->type));
    fmt_value(x, out, b);
    return false;
}

static bool is_integer_kind(enum basic b) {
    return b == BASIC_INT || b == BASIC_UINT;
}

static bool equal_others(struct exec *x, const struct value *a, const struct value *b, bool *ret) {
    if (is_nil(a) || is_nil(b)) {
        *ret = is_nil(a) && is_nil(b);
        return true;
    }
    if (a->type != b->type && !(value_is_map(a) && value_is_map(b)))
        return differ_in_kind(x, a, b);
    if (b->type == VALUE_LIST || value_is_map(b))
        return not_comparable(x, b);
    *ret = a->type == VALUE_TIME && b->type == VALUE_TIME && a->time.second == b->time.second &&
           a->time.ns == b->time.ns && a->time.zone == b->time.zone &&
           a->time.offset == b->time.offset;
    return true;
}

static bool equal(struct exec *x, const struct value *a, const struct value *b, bool *ret) {
    enum basic ka = basic_of(a), kb = basic_of(b);
    if (ka != kb && !(is_integer_kind(ka) && is_integer_kind(kb))) {
        if (is_nil(a) || is_nil(b)) {
            *ret = false;
            return true;
        }
        return incompatible(x, a, b);
    }
    switch (ka) {
    case BASIC_BOOL:
        *ret = a->boolean == b->boolean;
        return true;
    case BASIC_INT:
    case BASIC_UINT:
        *ret = a->integer == b->integer;
        return true;
    case BASIC_FLOAT:
        *ret = a->number == b->number;
        return true;
    case BASIC_STRING:
        *ret = str_eq(a->text, b->text);
        return true;
    case BASIC_NONE:
        break;
    }
    return equal_others(x, a, b, ret);
}

static bool less(struct exec *x, const struct value *a, const struct value *b, bool *ret) {
    enum basic ka = basic_of(a), kb = basic_of(b);
    if (ka == BASIC_NONE || kb == BASIC_NONE)
        return exec_call_error(x, "invalid type for comparison");
    if (ka != kb && !(is_integer_kind(ka) && is_integer_kind(kb)))
        return incompatible(x, a, b);
    switch (ka) {
    case BASIC_INT:
    case BASIC_UINT:
        *ret = a->integer < b->integer;
        return true;
    case BASIC_FLOAT:
        *ret = a->number < b->number;
        return true;
    case BASIC_STRING:
        *ret = str_cmp(a->text, b->text) < 0;
        return true;
    case BASIC_BOOL:
    case BASIC_NONE:
        break;
    }
    return exec_call_error(x, "invalid type for comparison");
}

static bool run_eq(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    if (count < 2)
        return exec_call_error(x, "missing argument for comparison");
    bool same = false;
    for (size_t i = 1; i < count && !same; i++)
        if (!equal(x, &args[0], &args[i], &same))
            return false;
    *ret = value_bool(same);
    return true;
}

static bool run_ne(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    if (!run_eq(x, args, count, ret))
        return false;
    ret->boolean = !ret->boolean;
    return true;
}

static bool run_lt(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    (void)count;
    bool result = false;
    if (!less(x, &args[0], &args[1], &result))
        return false;
    *ret = value_bool(result);
    return true;
}

static bool run_le(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    return run_lt(x, args, count, ret) && (ret->boolean || run_eq(x, args, count, ret));
}

static bool run_gt(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    if (!run_le(x, args, count, ret))
        return false;
    ret->boolean = !ret->boolean;
    return true;
}

static bool run_ge(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    if (!run_lt(x, args, count, ret))
        return false;
    ret->boolean = !ret->boolean;
    return true;
}

/* ---- parts */

/* An index into something of `size` elements, or behind the last. */
static bool take_position(struct exec *x, const struct value *v, size_t size, size_t *ret) {
    if (is_nil(v))
        return exec_call_error(x, "cannot index slice/array with nil");
    if (!value_is_integer(v))
        return exec_call_error(x, "cannot index slice/array with type %s",
                               value_type_name(v->type));
    if (v->integer < 0 || (uint64_t)v->integer > size)
        return exec_call_error(x, "index out of range: %lld", (long long)v->integer);
    *ret = (size_t)v->integer;
    return true;
}

/* The one behind the last is refused elsewhere in Go, and so in other words. */
static bool take_index(struct exec *x, const struct value *v, size_t size, const char *what,
                       size_t *ret) {
    if (!take_position(x, v, size, ret))
        return false;
    return *ret < size || exec_call_error(x, "reflect: %s index out of range", what);
}

static bool index_map(struct exec *x, const struct value *v, const struct value *index,
                      struct value *ret) {
    const struct value_map *m = value_map(x, v);
    if (!m)
        return false;
    if (is_nil(index))
        return exec_call_error(x, "value is nil; should be of type string");
    if (index->type != VALUE_STRING)
        return exec_call_error(x, "value has type %s; should be string",
                               value_type_name(index->type));
    const struct value *found = map_find(m, index->text);
    if (found)
        *ret = *found;
    else
        *ret = v->type == VALUE_LABELS ? value_string(STR("")) : (struct value){.type = VALUE_NIL};
    return true;
}

static bool run_index(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    struct value v = args[0];
    if (v.type == VALUE_NONE || v.type == VALUE_NIL)
        return exec_call_error(x, "index of untyped nil");
    for (size_t i = 1; i < count; i++) {
        size_t at;
        if (v.type == VALUE_NIL)
            return exec_call_error(x, "index of nil pointer");
        if (v.type == VALUE_LIST) {
            if (!take_index(x, &args[i], v.list->count, "slice", &at))
                return false;
            v = v.list->items[at];
        } else if (v.type == VALUE_STRING) {
            if (!take_index(x, &args[i], v.text.size, "string", &at))
                return false;
            v = (struct value){.type = VALUE_UINT8, .integer = (unsigned char)v.text.data[at]};
        } else if (value_is_map(&v)) {
            struct value map = v;
            if (!index_map(x, &map, &args[i], &v))
                return false;
        } else {
            return exec_call_error(x, "can't index item of type %s", value_type_name(v.type));
        }
    }
    *ret = v;
    return true;
}

static bool run_slice(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    const struct value *v = &args[0];
    if (is_nil(v))
        return exec_call_error(x, "slice of untyped nil");
    if (count > 4)
        return exec_call_error(x, "too many slice indexes: %zu", count - 1);
    if (v->type == VALUE_STRING && count == 4)
        return exec_call_error(x, "cannot 3-index slice a string");
    if (v->type != VALUE_STRING && v->type != VALUE_LIST)
        return exec_call_error(x, "can't slice item of type %s", value_type_name(v->type));
    size_t size = v->type == VALUE_STRING ? v->text.size : v->list->count;
    size_t bounds[3] = {0, size, size};
    for (size_t i = 1; i < count; i++)
        if (!take_position(x, &args[i], size, &bounds[i - 1]))
            return false;
    if (bounds[0] > bounds[1])
        return exec_call_error(x, "invalid slice index: %zu > %zu", bounds[0], bounds[1]);
    if (bounds[1] > bounds[2])
        return exec_call_error(x, "invalid slice index: %zu > %zu", bounds[1], bounds[2]);
    if (v->type == VALUE_STRING) {
        *ret = value_string(str_make(v->text.data + bounds[0], bounds[1] - bounds[0]));
        return true;
    }
    struct value_list *list = exec_alloc(x, sizeof(*list));
    if (!list)
        return false;
    *list = (struct value_list){bounds[1] - bounds[0], v->list->items + bounds[0]};
    *ret = (struct value){.type = VALUE_LIST, .list = list};
    return true;
}

static bool run_len(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    (void)count;
    const struct value *v = &args[0];
    if (v->type == VALUE_NIL)
        return exec_call_error(x, "len of nil pointer");
    if (v->type == VALUE_NONE)
        return exec_call_error(x, "reflect: call of reflect.Value.Type on zero Value");
    size_t size;
    if (v->type == VALUE_STRING) {
        size = v->text.size;
    } else if (v->type == VALUE_LIST) {
        size = v->list->count;
    } else if (value_is_map(v)) {
        const struct value_map *m = value_map(x, v);
        if (!m)
            return false;
        size = m->count;
    } else {
        return exec_call_error(x, "len of type %s", value_type_name(v->type));
    }
    *ret = value_int((int64_t)size);
    return true;
}

/* No value is a function. */
static bool run_call(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    (void)count;
    (void)ret;
    if (is_nil(&args[0]))
        return exec_call_error(x, "call of nil");
    return exec_call_error(x, "non-function of type %s", value_type_name(args[0].type));
}

/* ---- printing and escaping */

static bool run_print(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    fmt_print(x, exec_text(x), args, count);
    return exec_text_take(x, ret);
}

static bool run_println(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    fmt_println(x, exec_text(x), args, count);
    return exec_text_take(x, ret);
}

static bool run_printf(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    fmt_printf(x, exec_text(x), args[0].text, args + 1, count - 1);
    return exec_text_take(x, ret);
}

/* What the escapers escape: the one string, or all as print has them ("<no value>" for nothing). */
static bool escaper_text(struct exec *x, const struct value *args, size_t count, struct str *ret) {
    if (count == 1 && args[0].type == VALUE_STRING) {
        *ret = args[0].text;
        return true;
    }
    struct value *shown = exec_alloc(x, (count + 1) * sizeof(*shown)), text;
    if (!shown)
        return false;
    for (size_t i = 0; i < count; i++)
        shown[i] = is_nil(&args[i]) ? value_string(STR("<no value>")) : args[i];
    if (!run_print(x, shown, count, &text))
        return false;
    *ret = text.text;
    return true;
}

static bool run_html(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    struct str s;
    if (!escaper_text(x, args, count, &s))
        return false;
    struct buf *out = exec_text(x);
    for (size_t i = 0; i < s.size; i++) {
        char c = s.data[i];
        switch (c) {
        case '\0':
            buf_add_str(out, STR("\xEF\xBF\xBD"));
            break;
        case '"':
            buf_add_str(out, STR("&#34;"));
            break;
        case '\'':
            buf_add_str(out, STR("&#39;"));
            break;
        case '&':
            buf_add_str(out, STR("&amp;"));
            break;
        case '<':
            buf_add_str(out, STR("&lt;"));
            break;
        case '>':
            buf_add_str(out, STR("&gt;"));
            break;
        default:
            buf_add_char(out, c);
        }
    }
    return exec_text_take(x, ret);
}

static void put_js(struct buf *out, char c) {
    switch (c) {
    case '\\':
    case '\'':
    case '"':
        buf_add_char(out, '\\');
        buf_add_char(out, c);
        return;
    case '<':
    case '>':
    case '&':
    case '=':
        buf_addf(out, "\\u%04X", (unsigned)c);
        return;
    default:
        if ((unsigned char)c < ' ')
            buf_addf(out, "\\u%04X", (unsigned)c);
        else
            buf_add_char(out, c);
    }
}

static bool run_js(struct exec *x, const struct value *args, size_t count, struct value *ret) {
    struct str s;
    if (!escaper_text(x, args, count, &s))
        return false;
    struct buf *out = exec_text(x);
    for (size_t i = 0; i < s.size;) {
        if ((unsigned char)s.data[i] < 0x80) {
            put_js(out, s.data[i++]);
            continue;
        }
        uint32_t rune;
        unsigned size = utf8_decode(str_from_offset(s, i), &rune);
        if (rune_is_print(rune))
            buf_add(out, s.data + i, size);
        else
            buf_addf(out, "\\u%04X", rune);
        i += size;
    }
    return exec_text_take(x, ret);
}

static bool run_urlquery(struct exec *x, const struct value *args, size_t count,
                         struct value *ret) {
    struct str s;
    if (!escaper_text(x, args, count, &s))
        return false;
    put_query_escape(exec_text(x), s);
    return exec_text_take(x, ret);
}

const struct function *builtin_function_find(struct str name) {
    static const struct function table[] = {
        {STR_INIT("and"), run_logic, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_AND},
        {STR_INIT("or"), run_logic, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_OR},
        {STR_INIT("not"), run_not, 1, false, {PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("eq"), run_eq, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("ne"), run_ne, 2, false, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("lt"), run_lt, 2, false, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("le"), run_le, 2, false, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("gt"), run_gt, 2, false, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("ge"), run_ge, 2, false, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("index"), run_index, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("slice"), run_slice, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("len"), run_len, 1, false, {PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("call"), run_call, 2, true, {PARAM_VALUE, PARAM_VALUE}, CALL_PLAIN},
        {STR_INIT("print"), run_print, 1, true, {PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("println"), run_println, 1, true, {PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("printf"), run_printf, 2, true, {PARAM_STRING, PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("html"), run_html, 1, true, {PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("js"), run_js, 1, true, {PARAM_ANY}, CALL_PLAIN},
        {STR_INIT("urlquery"), run_urlquery, 1, true, {PARAM_ANY}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}
