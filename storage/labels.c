/* The label text of a push is read by one loop over tokens. Most values hold no escapes and are borrowed;
 * positions in messages are counted from 1, in bytes within the line, as Prometheus' parser does. */
#include "labels.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "utf8.h"

enum {
    /* Far above any tenant's limit of labels per stream (15 by default); keeps sorting and memory of one
     * hostile push small. */
    LABELS_TEXT_MAX_PAIRS = 4096,
    INSERTION_SORT_MAX = 32,
    QUOTED_IN_MESSAGE_MAX = 256,
};

/* ---- Go string literals */

/* Runes that Go's unicode.IsPrint refuses: controls, spaces other than U+0020, format characters, surrogates,
 * private use, noncharacters. Code points without a character are taken as printable. */
static bool rune_is_printable(uint32_t r) {
    static const struct {
        uint32_t first, last;
    } hidden[] = {
        {0x0000, 0x001f},    {0x007f, 0x00a0},   {0x00ad, 0x00ad},   {0x0600, 0x0605},
        {0x061c, 0x061c},    {0x06dd, 0x06dd},   {0x070f, 0x070f},   {0x0890, 0x0891},
        {0x08e2, 0x08e2},    {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},
        {0x2028, 0x202f},    {0x205f, 0x206f},   {0x3000, 0x3000},   {0xd800, 0xf8ff},
        {0xfdd0, 0xfdef},    {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},
        {0x110bd, 0x110bd},  {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
        {0x1d173, 0x1d17a},  {0x1fffe, 0x1ffff}, {0x2fffe, 0x2ffff}, {0x3fffe, 0xe00ff},
        {0xe01f0, 0x10ffff},
    };
    if (r < 0x7f)
        return r >= 0x20;
    size_t low = 0, high = sizeof(hidden) / sizeof(hidden[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r > hidden[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low == sizeof(hidden) / sizeof(hidden[0]) || r < hidden[low].first;
}

static void quote_rune(struct buf *out, uint32_t r) {
    static const char letters[] = "abtnvfr"; /* 7 to 13 */
    if (r == '"' || r == '\\') {
        buf_add_char(out, '\\');
        buf_add_char(out, (char)r);
    } else if (r >= 7 && r <= 13) {
        buf_add_char(out, '\\');
        buf_add_char(out, letters[r - 7]);
    } else if (r < 0x20 || r == 0x7f) {
        buf_addf(out, "\\x%02x", r);
    } else if (r < 0x10000) {
        buf_addf(out, "\\u%04x", r);
    } else {
        buf_addf(out, "\\U%08x", r);
    }
}

void go_quote(struct buf *out, struct str value) {
    buf_add_char(out, '"');
    size_t plain = 0, at = 0;
    while (at < value.size) {
        unsigned char c = (unsigned char)value.data[at];
        uint32_t rune = c;
        unsigned size = 1;
        if (c >= 0x80)
            size = utf8_decode(str_from_offset(value, at), &rune);
        bool bad = c >= 0x80 && size == 1;
        if (!bad && rune != '"' && rune != '\\' && rune_is_printable(rune)) {
            at += size;
            continue;
        }
        buf_add(out, value.data + plain, at - plain);
        if (bad)
            buf_addf(out, "\\x%02x", c);
        else
            quote_rune(out, rune);
        at += size;
        plain = at;
    }
    buf_add(out, value.data + plain, value.size - plain);
    buf_add_char(out, '"');
}

/* `count` digits of `base` at p, or -1. */
static int64_t digits_value(const char *p, const char *end, unsigned count, int base) {
    if ((size_t)(end - p) < count)
        return -1;
    int64_t v = 0;
    for (unsigned i = 0; i < count; i++) {
        int d = hex_digit_value(p[i]);
        if (d < 0 || d >= base)
            return -1;
        v = v * base + d;
    }
    return v;
}

/* One escape; *p stands behind the backslash. Writes at most 4 bytes; returns their count, 0 for a bad one. An
 * escape is never shorter than what it stands for. */
static unsigned unescape(const char **p, const char *end, char quote, char out[4]) {
    if (*p == end)
        return 0;
    static const char letters[] = "abtnvfr";
    char c = *(*p)++;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        out[0] = (char)(7 + (letter - letters));
        return 1;
    }
    if (c == '\\' || c == quote) {
        out[0] = c;
        return 1;
    }
    unsigned count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 3;
    bool octal = c >= '0' && c <= '7';
    if (count == 3 && !octal)
        return 0;
    if (octal)
        (*p)--;
    int64_t v = digits_value(*p, end, count, octal ? 8 : 16);
    if (v < 0)
        return 0;
    *p += count;
    if (count <= 3) {
        out[0] = (char)v;
        return v <= 255 ? 1 : 0;
    }
    return v <= 0x10ffff ? utf8_encode(out, (uint32_t)v) : 0;
}

int go_unquote(struct str literal, struct arena *arena, struct str *ret) {
    if (literal.size < 2)
        return -ESYNTAX;
    char quote = literal.data[0];
    const char *p = literal.data + 1, *end = literal.data + literal.size - 1;
    if ((quote != '"' && quote != '\'' && quote != '`') || *end != quote)
        return -ESYNTAX;
    size_t size = (size_t)(end - p);
    if (memchr(p, quote == '`' ? '`' : '\n', size))
        return -ESYNTAX;
    if (quote == '`' || (!memchr(p, '\\', size) && !memchr(p, quote, size))) {
        *ret = str_make(p, size);
        return 0;
    }
    char *data = arena_alloc(arena, size);
    if (!data)
        return -ENOMEM;
    size_t n = 0;
    while (p < end) {
        if (*p == quote)
            return -ESYNTAX;
        if (*p != '\\') {
            data[n++] = *p++;
            continue;
        }
        p++;
        char bytes[4];
        unsigned added = unescape(&p, end, quote, bytes);
        if (added == 0)
            return -ESYNTAX;
        memcpy(data + n, bytes, added);
        n += added;
    }
    *ret = str_make(data, n);
    return 0;
}

/* ---- sets */

static int label_cmp(const void *a, const void *b) {
    const struct label *x = a, *y = b;
    int c = str_cmp(x->name, y->name);
    return c != 0 ? c : str_cmp(x->value, y->value);
}

size_t labels_normalize(struct label *items, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (items[i].value.size > 0)
            items[kept++] = items[i];
    if (kept > INSERTION_SORT_MAX) {
        qsort(items, kept, sizeof(items[0]), label_cmp);
        return kept;
    }
    for (size_t i = 1; i < kept; i++) {
        struct label item = items[i];
        size_t at = i;
        for (; at > 0 && str_cmp(items[at - 1].name, item.name) > 0; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
    return kept;
}

void labels_format(struct buf *out, struct labels labels) {
    buf_add_char(out, '{');
    for (size_t i = 0; i < labels.count; i++) {
        if (i > 0)
            buf_add_str(out, STR(", "));
        buf_add_str(out, labels.items[i].name);
        buf_add_char(out, '=');
        go_quote(out, labels.items[i].value);
    }
    buf_add_char(out, '}');
}

struct str labels_get(struct labels labels, struct str name) {
    for (size_t i = 0; i < labels.count; i++)
        if (str_eq(labels.items[i].name, name))
            return labels.items[i].value;
    return (struct str){0};
}

uint64_t labels_hash(struct labels labels) {
    uint64_t h = labels.count;
    for (size_t i = 0; i < labels.count; i++) {
        h = hash_mix(h, hash_str(labels.items[i].name));
        h = hash_mix(h, hash_str(labels.items[i].value));
    }
    return h;
}

bool labels_eq(struct labels a, struct labels b) {
    if (a.count != b.count)
        return false;
    for (size_t i = 0; i < a.count; i++)
        if (!str_eq(a.items[i].name, b.items[i].name) ||
            !str_eq(a.items[i].value, b.items[i].value))
            return false;
    return true;
}

int labels_order(struct labels a, struct labels b) {
    for (size_t i = 0; i < a.count && i < b.count; i++) {
        int c = str_cmp(a.items[i].name, b.items[i].name);
        if (c == 0)
            c = str_cmp(a.items[i].value, b.items[i].value);
        if (c != 0)
            return c;
    }
    return (a.count > b.count) - (a.count < b.count);
}

/* ---- binary form */

static void encode_varint(struct buf *out, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(out, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static size_t varint_size(uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    return (size_t)(put_varint(bytes, v) - bytes);
}

static size_t encoded_size(struct labels labels) {
    size_t size = varint_size(labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        size_t name = labels.items[i].name.size, value = labels.items[i].value.size;
        size += varint_size(name) + varint_size(value) + name + value;
    }
    return size;
}

void labels_encode(struct buf *out, struct labels labels) {
    /* All of it at once: a buffer that grew on the way was copied two or three times. */
    if (buf_reserve(out, encoded_size(labels)) < 0)
        return;
    encode_varint(out, labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        encode_varint(out, labels.items[i].name.size);
        encode_varint(out, labels.items[i].value.size);
        buf_add_str(out, labels.items[i].name);
        buf_add_str(out, labels.items[i].value);
    }
}

static const char *skip_varint(const char *at, uint64_t v) {
    return at + varint_size(v);
}

struct labels labels_place(struct labels labels, const char *encoded, struct label *items) {
    const char *at = skip_varint(encoded, labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        struct str name = labels.items[i].name, value = labels.items[i].value;
        at = skip_varint(skip_varint(at, name.size), value.size);
        items[i].name = str_make(at, name.size);
        items[i].value = str_make(at + name.size, value.size);
        at += name.size + value.size;
    }
    return (struct labels){.items = items, .count = labels.count};
}

int labels_decode(struct str bytes, struct arena *arena, struct labels *ret) {
    const uint8_t *p = (const uint8_t *)bytes.data, *end = p + bytes.size;
    uint64_t count;
    p = get_varint(p, end, &count);
    /* A pair takes at least its two sizes. */
    if (!p || count > (uint64_t)(end - p) / 2)
        return -ECORRUPT;
    struct label *items = count > 0 ? arena_array(arena, (size_t)count, sizeof(*items)) : NULL;
    if (count > 0 && !items)
        return -ENOMEM;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t name_size, value_size;
        p = get_varint(p, end, &name_size);
        p = p ? get_varint(p, end, &value_size) : NULL;
        if (!p || name_size > (uint64_t)(end - p) || value_size > (uint64_t)(end - p) - name_size)
            return -ECORRUPT;
        items[i].name = str_make((const char *)p, (size_t)name_size);
        items[i].value = str_make((const char *)p + name_size, (size_t)value_size);
        p += name_size + value_size;
    }
    if (p != end)
        return -ECORRUPT;
    *ret = (struct labels){.items = items, .count = (size_t)count};
    return 0;
}

/* ---- the text of a push */

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c) {
    return is_name_start(c) || (c >= '0' && c <= '9');
}

bool label_name_valid(struct str name) {
    if (name.size == 0 || !is_name_start(name.data[0]))
        return false;
    for (size_t i = 1; i < name.size; i++)
        if (!is_name_char(name.data[i]))
            return false;
    return true;
}

/* Token kinds: a punctuation character stands for itself. */
enum { TOKEN_END = 256, TOKEN_NAME, TOKEN_STRING, TOKEN_OPERATOR };

struct scanner {
    struct str text;
    size_t at;
    size_t start; /* of the present token */
    int token;
    struct str token_text;
    struct err *reterr;
};

static int fail_at(const struct scanner *s, size_t offset, const char *what) {
    unsigned line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < offset; i++) {
        if (s->text.data[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    return err_set(s->reterr, -ESYNTAX, "%u:%zu: parse error: %s", line, offset - line_start + 1,
                   what);
}

static int fail_character(const struct scanner *s) {
    struct str rest = str_from_offset(s->text, s->start);
    uint32_t rune;
    unsigned size = utf8_decode(rest, &rune);
    char what[96];
    if (rune == '\'' || rune == '\\')
        (void)snprintf(what, sizeof(what), "unexpected character inside braces: '\\%c'", (int)rune);
    else if (rune < 0x20 || rune == 0x7f)
        (void)snprintf(what, sizeof(what), "unexpected character inside braces: '\\x%02x'", rune);
    else
        (void)snprintf(what, sizeof(what), "unexpected character inside braces: '%.*s'", (int)size,
                       size == 1 && rune == 0xfffd ? "?" : rest.data);
    return fail_at(s, s->start, what);
}

/* The parser met a token that does not belong here. */
static int fail_unexpected(const struct scanner *s, const char *expected) {
    struct buf b = buf_make(2 * ERR_TEXT_MAX);
    struct str text = s->token_text;
    bool cut = text.size > QUOTED_IN_MESSAGE_MAX;
    if (cut)
        text.size = QUOTED_IN_MESSAGE_MAX;
    buf_add_str(&b, STR("unexpected "));
    if (s->token == TOKEN_END) {
        buf_add_str(&b, STR("end of input"));
    } else if (s->token == TOKEN_OPERATOR) {
        buf_addf(&b, "<op:%.*s>", STR_ARG(text));
    } else {
        if (s->token == TOKEN_NAME)
            buf_add_str(&b, STR("identifier "));
        if (s->token == TOKEN_STRING)
            buf_add_str(&b, STR("string "));
        go_quote(&b, text);
        if (cut)
            buf_add_str(&b, STR("..."));
    }
    if (expected)
        buf_addf(&b, " in label set, expected %s", expected);
    buf_add_char(&b, '\0');
    int r = fail_at(s, s->start, b.failed ? "unexpected text" : b.data);
    buf_done(&b);
    return r;
}

static int scan_string(struct scanner *s, char quote) {
    const char *data = s->text.data;
    size_t at = s->at + 1;
    for (; at < s->text.size && data[at] != quote; at++) {
        if (quote == '`')
            continue;
        if (data[at] == '\n')
            break;
        if (data[at] == '\\' && at + 1 < s->text.size)
            at++;
    }
    if (at >= s->text.size || data[at] != quote)
        return fail_at(s, s->start,
                       quote == '`' ? "unterminated raw string" : "unterminated quoted string");
    s->at = at + 1;
    s->token = TOKEN_STRING;
    s->token_text = str_make(data + s->start, s->at - s->start);
    if (!utf8_valid(s->token_text))
        return fail_at(s, s->start, "invalid UTF-8 rune");
    return 0;
}

static int scan_operator(struct scanner *s) {
    char c = s->text.data[s->at];
    char next = s->at + 1 < s->text.size ? s->text.data[s->at + 1] : '\0';
    bool two = next == '~' || (c == '!' && next == '=');
    if (c == '!' && !two)
        return fail_at(s, s->start, "unexpected character after '!' inside braces");
    s->token = two ? TOKEN_OPERATOR : c;
    s->at += two ? 2 : 1;
    s->token_text = str_make(s->text.data + s->start, s->at - s->start);
    return 0;
}

static int scan(struct scanner *s) {
    const char *data = s->text.data;
    size_t size = s->text.size;
    while (s->at < size && (data[s->at] == ' ' || data[s->at] == '\t' || data[s->at] == '\n' ||
                            data[s->at] == '\r'))
        s->at++;
    s->start = s->at;
    s->token_text = str_make(data + s->at, 0);
    if (s->at == size) {
        s->token = TOKEN_END;
        return 0;
    }
    char c = data[s->at];
    if (is_name_start(c)) {
        while (s->at < size && is_name_char(data[s->at]))
            s->at++;
        s->token = TOKEN_NAME;
        s->token_text = str_make(data + s->start, s->at - s->start);
        return 0;
    }
    if (c == '"' || c == '\'' || c == '`')
        return scan_string(s, c);
    if (c == '=' || c == '!')
        return scan_operator(s);
    if (c != '{' && c != '}' && c != ',')
        return fail_character(s);
    s->token = c;
    s->token_text = str_make(data + s->at++, 1);
    return 0;
}

/* name = value; the present token is the name. Leaves the token behind the value. */
static int parse_pair(struct scanner *s, struct arena *arena, struct label *ret) {
    if (s->token != TOKEN_NAME)
        return fail_unexpected(s, "identifier or \"}\"");
    ret->name = s->token_text;
    int r = scan(s);
    if (r < 0)
        return r;
    if (s->token != '=')
        return fail_unexpected(s, "\"=\"");
    r = scan(s);
    if (r < 0)
        return r;
    if (s->token != TOKEN_STRING)
        return fail_unexpected(s, "string");
    r = go_unquote(s->token_text, arena, &ret->value);
    if (r == -ENOMEM)
        return err_set(s->reterr, r, "label set is too large");
    if (r < 0)
        return fail_at(s, s->start, "error unquoting string: invalid syntax");
    if (!utf8_valid(ret->value))
        return fail_at(s, s->start, "invalid UTF-8 rune");
    return scan(s);
}

/* Every pair needs an "=", so their number bounds the array. */
static size_t count_pairs_max(struct str text) {
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++)
        n += text.data[i] == '=';
    return n < LABELS_TEXT_MAX_PAIRS ? n : LABELS_TEXT_MAX_PAIRS;
}

int labels_parse(struct str text, struct arena *arena, struct labels *ret, struct err *reterr) {
    struct scanner s = {.text = text, .reterr = reterr};
    int r = scan(&s);
    if (r < 0)
        return r;
    if (s.token != '{')
        return fail_unexpected(&s, "\"{\"");
    size_t count = 0, max = count_pairs_max(text);
    struct label *items = arena_array(arena, max + 1, sizeof(*items));
    if (!items)
        return err_set(reterr, -ENOMEM, "label set is too large");
    r = scan(&s);
    while (r == 0 && s.token != '}') {
        if (count == LABELS_TEXT_MAX_PAIRS)
            return err_set(reterr, -ESYNTAX, "label set has more than %d labels",
                           LABELS_TEXT_MAX_PAIRS);
        struct label item;
        r = parse_pair(&s, arena, &item);
        if (r < 0)
            return r;
        assert(count <= max);
        items[count++] = item;
        if (s.token == ',')
            r = scan(&s);
        else if (s.token != '}')
            return fail_unexpected(&s, "\",\" or \"}\"");
    }
    if (r < 0 || (r = scan(&s)) < 0)
        return r;
    if (s.token != TOKEN_END)
        return fail_unexpected(&s, NULL);
    *ret = (struct labels){.items = items, .count = labels_normalize(items, count)};
    return 0;
}
