/* Functions over texts. */
#include <stdlib.h>

#include "labels.h"
#include "regex.h"
#include "rune.h"
#include "template_private.h"
#include "utf8.h"

#define TEXT_ARGS struct exec *x, const struct value *args, size_t count, struct value *ret

/* ---- case */

static bool is_ascii(struct str s) {
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] >= 0x80)
            return false;
    return true;
}

/* Bytes that are no UTF-8 become U+FFFD when the text holds others than ASCII, as Go maps it. */
static bool map_case(struct exec *x, struct str s, uint32_t (*map)(uint32_t), struct value *ret) {
    if (is_ascii(s)) {
        char *own = exec_alloc(x, s.size);
        if (!own)
            return false;
        for (size_t i = 0; i < s.size; i++)
            own[i] = (char)map((unsigned char)s.data[i]);
        *ret = value_string(str_make(own, s.size));
        return true;
    }
    struct buf *out = exec_text(x);
    for (size_t i = 0; i < s.size;) {
        uint32_t rune;
        char text[4];
        i += utf8_decode(str_from_offset(s, i), &rune);
        buf_add(out, text, utf8_encode(text, map(rune)));
    }
    return exec_text_take(x, ret);
}

static bool run_lower(TEXT_ARGS) {
    (void)count;
    return map_case(x, args[0].text, rune_lower, ret);
}

static bool run_upper(TEXT_ARGS) {
    (void)count;
    return map_case(x, args[0].text, rune_upper, ret);
}

/* strings.Title: what follows something that is no letter, digit, '_' or other sign than a space. */
static bool separates(uint32_t r) {
    if (r < 0x80)
        return !(rune_is_letter(r) || rune_is_digit(r) || r == '_');
    return !rune_is_letter(r) && !rune_is_digit(r) && rune_is_space(r);
}

static bool run_title(TEXT_ARGS) {
    (void)count;
    struct str s = args[0].text;
    struct buf *out = exec_text(x);
    uint32_t before = ' ';
    for (size_t i = 0; i < s.size;) {
        uint32_t rune;
        char text[4];
        i += utf8_decode(str_from_offset(s, i), &rune);
        buf_add(out, text, utf8_encode(text, separates(before) ? rune_upper(rune) : rune));
        before = rune;
    }
    return exec_text_take(x, ret);
}

/* ---- cutting */

static bool slice_panic(struct exec *x, const char *bounds, int64_t a, int64_t b) {
    struct buf *out = exec_cause(x);
    buf_add_str(out, STR("runtime error: slice bounds out of range ["));
    for (const char *p = bounds; *p; p++) {
        if (*p == 'a')
            buf_add_i64(out, a);
        else if (*p == 'b')
            buf_add_i64(out, b);
        else
            buf_add_char(out, *p);
    }
    return false;
}

static bool run_trunc(TEXT_ARGS) {
    (void)x;
    (void)count;
    int64_t n = args[0].integer;
    struct str s = args[1].text;
    int64_t size = (int64_t)s.size;
    if (n < 0 && n > -size)
        s = str_from_offset(s, (size_t)(size + n));
    else if (n >= 0 && size > n)
        s.size = (size_t)n;
    *ret = value_string(s);
    return true;
}

static bool run_substr(TEXT_ARGS) {
    (void)count;
    int64_t start = args[0].integer, end = args[1].integer;
    struct str s = args[2].text;
    int64_t size = (int64_t)s.size;
    if (start < 0) {
        if (end < 0)
            return slice_panic(x, ":a]", end, 0);
        if (end > size)
            return slice_panic(x, ":a] with length b", end, size);
        start = 0;
    } else if (end < 0 || end > size) {
        if (start > size)
            return slice_panic(x, "a:b]", start, size);
        end = size;
    } else if (start > end) {
        return slice_panic(x, "a:b]", start, end);
    }
    *ret = value_string(str_make(s.data + start, (size_t)(end - start)));
    return true;
}

/* Is the rune at p one of the set's? */
static bool in_set(struct str set, uint32_t rune) {
    for (size_t i = 0; i < set.size;) {
        uint32_t r;
        i += utf8_decode(str_from_offset(set, i), &r);
        if (r == rune)
            return true;
    }
    return false;
}

static struct str trim_set_left(struct str s, struct str set) {
    while (s.size > 0) {
        uint32_t rune;
        unsigned size = utf8_decode(s, &rune);
        if (!in_set(set, rune))
            break;
        s = str_from_offset(s, size);
    }
    return s;
}

/* The last rune of s, which is not empty. */
static unsigned last_rune(struct str s, uint32_t *ret) {
    for (unsigned back = 1; back <= 4 && back <= s.size; back++) {
        uint32_t rune;
        struct str tail = str_from_offset(s, s.size - back);
        if (utf8_decode(tail, &rune) == back) {
            *ret = rune;
            return back;
        }
    }
    *ret = 0xFFFD;
    return 1;
}

static struct str trim_set_right(struct str s, struct str set) {
    while (s.size > 0) {
        uint32_t rune;
        unsigned size = last_rune(s, &rune);
        if (!in_set(set, rune))
            break;
        s.size -= size;
    }
    return s;
}

static struct str trim_space(struct str s) {
    uint32_t rune;
    unsigned size;
    while (s.size > 0 && (size = utf8_decode(s, &rune), rune_is_space(rune)))
        s = str_from_offset(s, size);
    while (s.size > 0 && (size = last_rune(s, &rune), rune_is_space(rune)))
        s.size -= size;
    return s;
}

static struct str trim_prefix(struct str s, struct str prefix) {
    return str_starts(s, prefix) ? str_from_offset(s, prefix.size) : s;
}

static struct str trim_suffix(struct str s, struct str suffix) {
    return str_ends(s, suffix) ? str_make(s.data, s.size - suffix.size) : s;
}

static bool run_trim_space(TEXT_ARGS) {
    (void)x;
    (void)count;
    *ret = value_string(trim_space(args[0].text));
    return true;
}

/* Go's functions take the text first, sprig's take it last. */
#define TRIMMER(name, text_at, other_at, expression)                                               \
    static bool name(TEXT_ARGS) {                                                                  \
        (void)x;                                                                                   \
        (void)count;                                                                               \
        struct str text = args[text_at].text, other = args[other_at].text;                         \
        *ret = value_string(expression);                                                           \
        return true;                                                                               \
    }
TRIMMER(run_go_trim, 0, 1, trim_set_right(trim_set_left(text, other), other))
TRIMMER(run_go_trim_left, 0, 1, trim_set_left(text, other))
TRIMMER(run_go_trim_right, 0, 1, trim_set_right(text, other))
TRIMMER(run_go_trim_prefix, 0, 1, trim_prefix(text, other))
TRIMMER(run_go_trim_suffix, 0, 1, trim_suffix(text, other))
TRIMMER(run_trim_all, 1, 0, trim_set_right(trim_set_left(text, other), other))
TRIMMER(run_trim_prefix, 1, 0, trim_prefix(text, other))
TRIMMER(run_trim_suffix, 1, 0, trim_suffix(text, other))

/* ---- asking */

static bool run_contains(TEXT_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(str_find(args[1].text, args[0].text) != NULL);
    return true;
}

static bool run_has_prefix(TEXT_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(str_starts(args[1].text, args[0].text));
    return true;
}

static bool run_has_suffix(TEXT_ARGS) {
    (void)x;
    (void)count;
    *ret = value_bool(str_ends(args[1].text, args[0].text));
    return true;
}

/* ---- replacing */

/* strings.Replace: an empty `old` is found before each rune and at the end. `max` < 0: all. */
static void put_replaced(struct buf *out, struct str s, struct str old, struct str new,
                         int64_t max) {
    for (int64_t n = 0; n != max && !out->failed; n++) {
        if (old.size == 0) {
            buf_add_str(out, new);
            if (s.size == 0)
                return;
            uint32_t rune;
            unsigned size = utf8_decode(s, &rune);
            buf_add(out, s.data, size);
            s = str_from_offset(s, size);
            continue;
        }
        const char *found = str_find(s, old);
        if (!found)
            break;
        buf_add(out, s.data, (size_t)(found - s.data));
        buf_add_str(out, new);
        s = str_from_offset(s, (size_t)(found - s.data) + old.size);
    }
    buf_add_str(out, s);
}

static bool run_replace(TEXT_ARGS) {
    (void)count;
    put_replaced(exec_text(x), args[2].text, args[0].text, args[1].text, -1);
    return exec_text_take(x, ret);
}

static bool run_go_replace(TEXT_ARGS) {
    (void)count;
    put_replaced(exec_text(x), args[0].text, args[1].text, args[2].text, args[3].integer);
    return exec_text_take(x, ret);
}

static bool put_repeated(struct exec *x, struct buf *out, struct str s, int64_t count) {
    if (count < 0)
        return exec_call_error(x, "strings: negative Repeat count");
    if (s.size > 0 && (uint64_t)count > TEMPLATE_OUTPUT_MAX / s.size)
        return exec_error(x, "a text is longer than %d bytes", TEMPLATE_OUTPUT_MAX);
    for (int64_t i = 0; i < count && s.size > 0; i++)
        buf_add_str(out, s);
    return true;
}

static bool run_repeat(TEXT_ARGS) {
    (void)count;
    return put_repeated(x, exec_text(x), args[1].text, args[0].integer) && exec_text_take(x, ret);
}

static bool put_indented(struct exec *x, struct buf *out, struct str s, int64_t spaces) {
    if (!put_repeated(x, out, STR(" "), spaces))
        return false;
    for (size_t i = 0; i < s.size && !out->failed; i++) {
        buf_add_char(out, s.data[i]);
        if (s.data[i] == '\n' && !put_repeated(x, out, STR(" "), spaces))
            return false;
    }
    return true;
}

static bool run_indent(TEXT_ARGS) {
    (void)count;
    return put_indented(x, exec_text(x), args[1].text, args[0].integer) && exec_text_take(x, ret);
}

static bool run_nindent(TEXT_ARGS) {
    (void)count;
    struct buf *out = exec_text(x);
    buf_add_char(out, '\n');
    return put_indented(x, out, args[1].text, args[0].integer) && exec_text_take(x, ret);
}

/* Bytes of the first n runes. */
static size_t runes_size(struct str s, size_t n) {
    size_t size = 0;
    for (; n > 0 && size < s.size; n--) {
        uint32_t rune;
        size += utf8_decode(str_from_offset(s, size), &rune);
    }
    return size;
}

/* Counts runes; what has too many is cut at the far side, where bad bytes become U+FFFD. */
static bool align(struct exec *x, int64_t want, struct str s, bool left, struct value *ret) {
    size_t have = utf8_count(s);
    if (want < 0 || (uint64_t)want == have) {
        *ret = value_string(s);
        return true;
    }
    struct buf *out = exec_text(x);
    if ((uint64_t)want > have) {
        if (left)
            buf_add_str(out, s);
        if (!put_repeated(x, out, STR(" "), want - (int64_t)have))
            return false;
        if (!left)
            buf_add_str(out, s);
    } else if (left) {
        utf8_add_valid(out, str_make(s.data, runes_size(s, (size_t)want)));
    } else {
        utf8_add_valid(out, str_from_offset(s, runes_size(s, have - (size_t)want)));
    }
    return exec_text_take(x, ret);
}

static bool run_align_left(TEXT_ARGS) {
    (void)count;
    return align(x, args[0].integer, args[1].text, true, ret);
}

static bool run_align_right(TEXT_ARGS) {
    (void)count;
    return align(x, args[0].integer, args[1].text, false, ret);
}

/* ---- regular expressions */

/* Go's walk over all matches: an empty one does not count right behind another match. Returns the number; `out` gets
 * the text with each replaced, when given. */
static size_t each_match(const struct regex *re, struct str s, struct str with, bool literal,
                         struct buf *out) {
    struct str groups[REGEX_GROUPS_MAX];
    size_t n_groups = regex_group_count(re) + 1, n = 0, at = 0, copied = 0;
    if (n_groups > REGEX_GROUPS_MAX)
        n_groups = REGEX_GROUPS_MAX;
    size_t last_end = SIZE_MAX;
    while (at <= s.size && regex_find(re, s, at, groups, n_groups)) {
        size_t start = s.size == 0 ? 0 : (size_t)(groups[0].data - s.data);
        size_t end = start + groups[0].size;
        if (end > start || start != last_end) {
            n++;
            if (out) {
                buf_add(out, s.data + copied, start - copied);
                if (literal)
                    buf_add_str(out, with);
                else
                    regex_expand(re, with, groups, n_groups, out);
                copied = end;
            }
        }
        last_end = end;
        uint32_t rune;
        at = end > at      ? end
             : at < s.size ? at + utf8_decode(str_from_offset(s, at), &rune)
                           : s.size + 1;
        if (out && out->failed)
            break;
    }
    if (out)
        buf_add_str(out, str_from_offset(s, copied));
    return n;
}

static bool replace_all(struct exec *x, const struct value *args, bool literal, struct value *ret) {
    const struct regex *re = exec_regex(x, args[0].text);
    if (!re)
        return false;
    (void)each_match(re, args[1].text, args[2].text, literal, exec_text(x));
    return exec_text_take(x, ret);
}

static bool run_regex_replace(TEXT_ARGS) {
    (void)count;
    return replace_all(x, args, false, ret);
}

static bool run_regex_replace_literal(TEXT_ARGS) {
    (void)count;
    return replace_all(x, args, true, ret);
}

static bool run_count(TEXT_ARGS) {
    (void)count;
    const struct regex *re = exec_regex(x, args[0].text);
    if (!re)
        return false;
    *ret = value_int((int64_t)each_match(re, args[1].text, STR(""), true, NULL));
    return true;
}

/* ---- encodings */

static bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

void put_query_escape(struct buf *out, struct str s) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (is_unreserved((char)c)) {
            buf_add_char(out, (char)c);
        } else if (c == ' ') {
            buf_add_char(out, '+');
        } else {
            buf_add_char(out, '%');
            buf_add_char(out, digits[c >> 4]);
            buf_add_char(out, digits[c & 15]);
        }
    }
}

static bool run_urlencode(TEXT_ARGS) {
    (void)count;
    put_query_escape(exec_text(x), args[0].text);
    return exec_text_take(x, ret);
}

static bool run_urldecode(TEXT_ARGS) {
    (void)count;
    struct str s = args[0].text;
    struct buf *out = exec_text(x);
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] != '%') {
            buf_add_char(out, s.data[i] == '+' ? ' ' : s.data[i]);
            continue;
        }
        if (i + 2 >= s.size || hex_digit_value(s.data[i + 1]) < 0 ||
            hex_digit_value(s.data[i + 2]) < 0) {
            struct str bad = str_from_offset(s, i);
            struct buf *cause = exec_cause(x);
            buf_add_str(cause, STR("invalid URL escape "));
            go_quote(cause, str_make(bad.data, bad.size < 3 ? bad.size : 3));
            return false;
        }
        buf_add_char(out,
                     (char)(hex_digit_value(s.data[i + 1]) * 16 + hex_digit_value(s.data[i + 2])));
        i += 2;
    }
    return exec_text_take(x, ret);
}

static bool run_b64enc(TEXT_ARGS) {
    (void)count;
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct str s = args[0].text;
    struct buf *out = exec_text(x);
    for (size_t i = 0; i < s.size; i += 3) {
        size_t n = s.size - i < 3 ? s.size - i : 3;
        uint32_t bits = (uint32_t)(unsigned char)s.data[i] << 16;
        if (n > 1)
            bits |= (uint32_t)(unsigned char)s.data[i + 1] << 8;
        if (n > 2)
            bits |= (uint32_t)(unsigned char)s.data[i + 2];
        buf_add_char(out, letters[bits >> 18]);
        buf_add_char(out, letters[bits >> 12 & 63]);
        buf_add_char(out, n > 1 ? letters[bits >> 6 & 63] : '=');
        buf_add_char(out, n > 2 ? letters[bits & 63] : '=');
    }
    return exec_text_take(x, ret);
}

static int b64_digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static bool is_line_end(char c) {
    return c == '\r' || c == '\n';
}

static size_t skip_line_ends(struct str s, size_t at) {
    while (at < s.size && is_line_end(s.data[at]))
        at++;
    return at;
}

/* The padding at `at` behind `have` digits of a group. Returns where the text is bad, or SIZE_MAX. */
static size_t check_padding(struct str s, size_t at, unsigned have) {
    if (have < 2)
        return at;
    size_t next = skip_line_ends(s, at + 1);
    if (have == 2) {
        if (next >= s.size)
            return s.size;
        if (s.data[next] != '=')
            return next - 1;
        next = skip_line_ends(s, next + 1);
    }
    return next < s.size ? next : SIZE_MAX;
}

/* Where the text is bad, or SIZE_MAX. Line ends do not count. */
static size_t put_b64_decoded(struct buf *out, struct str s) {
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    for (; at < s.size; at++) {
        char c = s.data[at];
        if (is_line_end(c))
            continue;
        int digit = b64_digit(c);
        if (digit < 0) {
            size_t bad = c == '=' ? check_padding(s, at, have) : at;
            if (bad != SIZE_MAX)
                return bad;
            break;
        }
        bits = bits << 6 | (uint32_t)digit;
        if (++have < 4)
            continue;
        buf_add_char(out, (char)(bits >> 16));
        buf_add_char(out, (char)(bits >> 8));
        buf_add_char(out, (char)bits);
        bits = have = 0;
    }
    if (at >= s.size)
        return have > 0 ? s.size - have : SIZE_MAX;
    bits <<= 6 * (4 - have);
    buf_add_char(out, (char)(bits >> 16));
    if (have == 3)
        buf_add_char(out, (char)(bits >> 8));
    return SIZE_MAX;
}

/* The complaint is the result. */
static bool run_b64dec(TEXT_ARGS) {
    (void)count;
    struct buf *out = exec_text(x);
    size_t bad = put_b64_decoded(out, args[0].text);
    if (bad != SIZE_MAX) {
        buf_clear(out);
        buf_addf(out, "illegal base64 data at input byte %zu", bad);
    }
    return exec_text_take(x, ret);
}

static bool run_from_json(TEXT_ARGS) {
    (void)count;
    if (!json_to_value(x, args[0].text, ret))
        *ret = (struct value){.type = VALUE_NIL};
    return !x->failed;
}

/* ---- the rest */

static bool run_line(TEXT_ARGS) {
    (void)args;
    (void)count;
    *ret = value_string(x->run->line.data ? x->run->line : STR(""));
    return true;
}

/* The first when there is no second or it is empty. */
static bool run_default(TEXT_ARGS) {
    bool given = count > 1 && value_truth(x, &args[1]);
    *ret = given ? args[1] : args[0];
    return true;
}

#define S PARAM_STRING
#define N PARAM_INT
#define A PARAM_ANY

const struct function *text_function_find(struct str name) {
    static const struct function table[] = {
        {STR_INIT("__line__"), run_line, 0, false, {A}, CALL_PLAIN},
        {STR_INIT("lower"), run_lower, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("upper"), run_upper, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("title"), run_title, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("ToLower"), run_lower, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("ToUpper"), run_upper, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("trunc"), run_trunc, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("substr"), run_substr, 3, false, {N, N, S}, CALL_PLAIN},
        {STR_INIT("contains"), run_contains, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("hasPrefix"), run_has_prefix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("hasSuffix"), run_has_suffix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("replace"), run_replace, 3, false, {S, S, S}, CALL_PLAIN},
        {STR_INIT("Replace"), run_go_replace, 4, false, {S, S, S, N}, CALL_PLAIN},
        {STR_INIT("repeat"), run_repeat, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("indent"), run_indent, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("nindent"), run_nindent, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("trim"), run_trim_space, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("trimAll"), run_trim_all, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("trimPrefix"), run_trim_prefix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("trimSuffix"), run_trim_suffix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("Trim"), run_go_trim, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("TrimLeft"), run_go_trim_left, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("TrimRight"), run_go_trim_right, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("TrimPrefix"), run_go_trim_prefix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("TrimSuffix"), run_go_trim_suffix, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("TrimSpace"), run_trim_space, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("alignLeft"), run_align_left, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("alignRight"), run_align_right, 2, false, {N, S}, CALL_PLAIN},
        {STR_INIT("regexReplaceAll"), run_regex_replace, 3, false, {S, S, S}, CALL_PLAIN},
        {STR_INIT("regexReplaceAllLiteral"),
         run_regex_replace_literal,
         3,
         false,
         {S, S, S},
         CALL_PLAIN},
        {STR_INIT("count"), run_count, 2, false, {S, S}, CALL_PLAIN},
        {STR_INIT("urlencode"), run_urlencode, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("urldecode"), run_urldecode, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("b64enc"), run_b64enc, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("b64dec"), run_b64dec, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("fromJson"), run_from_json, 1, false, {S}, CALL_PLAIN},
        {STR_INIT("default"), run_default, 2, true, {A, A}, CALL_PLAIN},
    };
    return FUNCTION_FIND(table, name);
}
