/* Budget: json_string_end, json_unescape and json_write_string run over every pushed and every returned byte; plain
 * runs go at more than 3 GB/s on one core (bench: 16 bytes per step with SSE2), nothing allocates but the
 * output buffer. Lines of JSON inside JSON have an escape each eight bytes: from the first escape on, strings are
 * looked at 64 bytes at a time, as bits, so that no branch depends on where the next one stands. */
#include "json.h"

#include <assert.h>
#include <string.h>

#include "utf8.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

static const char *skip_blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

#if defined(__SSE2__)
static __m128i load16(const char *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* One bit for each of the 16 bytes at p that is a quote or a backslash. */
static unsigned quote_or_backslash_mask(const char *p) {
    __m128i v = load16(p);
    __m128i hit =
        _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    return (unsigned)_mm_movemask_epi8(hit);
}

enum { BLOCK = 64 };

/* One bit for each of the 64 bytes at p that is `c`. */
static uint64_t block_mask(const char *p, char c) {
    const __m128i wanted = _mm_set1_epi8(c);
    uint64_t mask = 0;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i hit = _mm_cmpeq_epi8(load16(p + i), wanted);
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
    }
    return mask;
}

/* One bit for each byte of a block that has an odd number of backslashes in front of it. Adding the backslashes that
 * start a run at an odd place to all of them carries each such run over its end; those ends are then at places of the
 * wrong parity (as simdjson does it). *carry: does the first byte of the block stand behind such a run, and then of
 * the next block? */
static uint64_t escaped_bytes(uint64_t backslashes, uint64_t *carry) {
    const uint64_t even = UINT64_C(0x5555555555555555);
    backslashes &= ~*carry;
    uint64_t behind = backslashes << 1 | *carry, ends;
    uint64_t odd_starts = backslashes & ~even & ~behind;
    *carry = __builtin_add_overflow(odd_starts, backslashes, &ends);
    return (even ^ ends << 1) & behind;
}

/* json_string_end from a backslash on. */
static const char *escaped_string_end(const char *p, const char *end) {
    uint64_t carry = 0;
    for (; end - p >= BLOCK; p += BLOCK) {
        uint64_t escaped = escaped_bytes(block_mask(p, '\\'), &carry);
        uint64_t quotes = block_mask(p, '"') & ~escaped;
        if (quotes != 0)
            return p + __builtin_ctzll(quotes);
    }
    for (p += carry; p < end; p++) {
        if (*p == '"')
            return p;
        p += *p == '\\';
    }
    return NULL;
}
#endif

const char *json_plain_end(const char *p, const char *end) {
#if defined(__SSE2__)
    for (; end - p >= 16; p += 16) {
        unsigned mask = quote_or_backslash_mask(p);
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p < end ? p : NULL;
}

const char *json_string_end(const char *p, const char *end, bool *escaped) {
    *escaped = false;
    for (;;) {
#if defined(__SSE2__)
        while (end - p >= 16) {
            unsigned mask = quote_or_backslash_mask(p);
            if (mask == 0) {
                p += 16;
                continue;
            }
            p += __builtin_ctz(mask);
            if (*p == '"')
                return p;
            *escaped = true;
            return escaped_string_end(p, end);
        }
#endif
        while (p < end && *p != '"' && *p != '\\')
            p++;
        if (p >= end)
            return NULL;
        if (*p == '"')
            return p;
        *escaped = true;
        if (end - p < 2)
            return NULL;
        p += 2;
    }
}

static struct json_value value_of(enum json_type type) {
    return (struct json_value){.type = type};
}

static struct json_value read_string(struct json_reader *r) {
    bool escaped;
    const char *from = r->at + 1;
    const char *quote = json_string_end(from, r->end, &escaped);
    if (!quote)
        return value_of(JSON_ERROR);
    r->at = quote + 1;
    return (struct json_value){
        .type = JSON_STRING,
        .escaped = escaped,
        .raw = str_make(from, (size_t)(quote - from)),
    };
}

/* number = ["-"] ("0" | digit1-9 digits) ["." digits] [("e" | "E") ["+" | "-"] digits] */
static struct json_value read_number(struct json_reader *r) {
    const char *from = r->at, *p = from, *end = r->end;
    if (p < end && *p == '-')
        p++;
    if (p < end && *p == '0') {
        p++;
    } else {
        if (p >= end || !is_digit(*p))
            goto bad;
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && *p == '.') {
        p++;
        if (p >= end || !is_digit(*p))
            goto bad;
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        if (p >= end || !is_digit(*p))
            goto bad;
        while (p < end && is_digit(*p))
            p++;
    }
    r->at = p;
    return (struct json_value){
        .type = JSON_NUMBER,
        .raw = str_make(from, (size_t)(p - from)),
    };
bad:
    r->at = p;
    return value_of(JSON_ERROR);
}

static struct json_value read_literal(struct json_reader *r, struct str word, enum json_type type) {
    struct str rest = str_make(r->at, (size_t)(r->end - r->at));
    if (!str_starts(rest, word))
        return value_of(JSON_ERROR);
    r->at += word.size;
    return (struct json_value){.type = type, .raw = str_make(rest.data, word.size)};
}

struct json_value json_next(struct json_reader *r) {
    r->at = skip_blanks(r->at, r->end);
    if (r->at >= r->end)
        return value_of(JSON_END);
    switch (*r->at) {
    case '{':
        r->at++;
        return value_of(JSON_OBJECT);
    case '[':
        r->at++;
        return value_of(JSON_ARRAY);
    case '"':
        return read_string(r);
    case 't':
        return read_literal(r, STR("true"), JSON_TRUE);
    case 'f':
        return read_literal(r, STR("false"), JSON_FALSE);
    case 'n':
        return read_literal(r, STR("null"), JSON_NULL);
    default:
        return read_number(r);
    }
}

/* Stands the reader at the next element of a container that ends with `close`. False when there is none:
 * *ret_value tells whether that is its end or an error. */
static bool find_element(struct json_reader *r, char close, bool *first,
                         struct json_value *ret_value) {
    r->at = skip_blanks(r->at, r->end);
    *ret_value = value_of(JSON_ERROR);
    if (r->at >= r->end)
        return false;
    if (*r->at == close) {
        r->at++;
        *ret_value = value_of(JSON_END);
        return false;
    }
    if (!*first) {
        if (*r->at != ',')
            return false;
        r->at = skip_blanks(r->at + 1, r->end);
    }
    *first = false;
    return r->at < r->end;
}

/* A value must follow here, so the end of input is an error. */
static bool read_element(struct json_reader *r, struct json_value *ret_value) {
    *ret_value = json_next(r);
    if (ret_value->type == JSON_END)
        *ret_value = value_of(JSON_ERROR);
    return ret_value->type != JSON_ERROR;
}

bool json_next_member(struct json_reader *r, bool *first, struct json_value *ret_key,
                      struct json_value *ret_value) {
    if (!find_element(r, '}', first, ret_value) || *r->at != '"')
        return false;
    *ret_key = read_string(r);
    if (ret_key->type != JSON_STRING)
        return false;
    r->at = skip_blanks(r->at, r->end);
    if (r->at >= r->end || *r->at != ':')
        return false;
    r->at++;
    return read_element(r, ret_value);
}

bool json_next_item(struct json_reader *r, bool *first, struct json_value *ret_value) {
    return find_element(r, ']', first, ret_value) && read_element(r, ret_value);
}

bool json_skip_rest(struct json_reader *r, enum json_type opened) {
    if (opened == JSON_ERROR || opened == JSON_END)
        return false;
    if (opened != JSON_OBJECT && opened != JSON_ARRAY)
        return true;
    bool is_object[JSON_DEPTH_MAX];
    size_t depth = 0;
    is_object[depth++] = opened == JSON_OBJECT;
    /* The caller may have read elements already: only behind the opening bracket itself no comma is due. An
     * element never ends with one. */
    bool first = r->at[-1] == '{' || r->at[-1] == '[';
    while (depth > 0) {
        struct json_value key, value;
        bool found = is_object[depth - 1] ? json_next_member(r, &first, &key, &value)
                                          : json_next_item(r, &first, &value);
        if (!found && value.type == JSON_ERROR)
            return false;
        if (!found) {
            depth--;
            first = false;
            continue;
        }
        if (value.type == JSON_OBJECT || value.type == JSON_ARRAY) {
            if (depth == JSON_DEPTH_MAX)
                return false;
            is_object[depth++] = value.type == JSON_OBJECT;
            first = true;
        }
    }
    return true;
}

int32_t json_read_u16(const char *p, const char *end) {
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit_value(p[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit) {
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low_surrogate(int32_t unit) {
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* Indexed by the letter behind the backslash; 0 where there is no such escape of two characters. */
static const char meaning[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* Decodes the escape at *p (a backslash) to out; returns the size written, 0 when it is bad. */
static unsigned unescape_one(const char **p, const char *end, char *out) {
    if (end - *p < 2)
        return 0;
    uint8_t letter = (uint8_t)(*p)[1];
    if (letter != 'u') {
        out[0] = meaning[letter];
        *p += 2;
        return meaning[letter] != 0;
    }
    int32_t unit = json_read_u16(*p, end);
    if (unit < 0)
        return 0;
    *p += 6;
    if (is_high_surrogate(unit)) {
        int32_t low = json_read_u16(*p, end);
        if (is_low_surrogate(low)) {
            *p += 6;
            return utf8_encode(out, 0x10000u + ((uint32_t)(unit - 0xD800) << 10) +
                                        (uint32_t)(low - 0xDC00));
        }
    }
    return utf8_encode(out, (uint32_t)unit);
}

#if defined(__SSE2__)
/* Copies `size` bytes in steps of 16, the last of which may write beyond. */
static inline void copy_over(char *to, const char *from, size_t size) {
    _mm_storeu_si128((__m128i *)(void *)to, load16(from));
    for (size_t i = 16; i < size; i += 16)
        _mm_storeu_si128((__m128i *)(void *)(to + i), load16(from + i));
}

/* As long as a block and a step are left, of which `room` bytes may lie behind the end: *p moves to where it stopped,
 * returned is the end of what was written. NULL on a bad escape. */
static char *unescape_blocks(const char **ret_p, const char *end, size_t room, char *at) {
    const char *p = *ret_p;
    while (p < end && (size_t)(end - p) + room >= BLOCK + 16) {
        const char *block = p, *block_end = end - p > BLOCK ? p + BLOCK : end;
        uint64_t backslashes = block_mask(block, '\\');
        if (block_end - block < BLOCK)
            backslashes &= ~(~UINT64_C(0) << (block_end - block));
        while (backslashes != 0) {
            const char *slash = block + __builtin_ctzll(backslashes);
            size_t run = (size_t)(slash - p);
            copy_over(at, p, run);
            at += run;
            p = slash;
            if (end - p < 2)
                return NULL;
            char short_one = meaning[(uint8_t)p[1]];
            *at = short_one;
            unsigned size = 1;
            if (short_one != 0)
                p += 2;
            else
                size = unescape_one(&p, end, at);
            if (size == 0)
                return NULL;
            at += size;
            size_t done = (size_t)(p - block);
            backslashes = done < BLOCK ? backslashes & ~UINT64_C(0) << done : 0;
        }
        if (p < block_end) {
            size_t run = (size_t)(block_end - p);
            copy_over(at, p, run);
            at += run;
            p = block_end;
        }
    }
    *ret_p = p;
    return at;
}
#endif

int64_t json_unescape(struct str raw, char *out) {
    const char *p = raw.data, *end = raw.data + raw.size;
    char *at = out;
#if defined(__SSE2__)
    /* In place, the steps of 16 bytes would write over what has not been read. */
    if (out != raw.data) {
        at = unescape_blocks(&p, end, 0, at);
        if (!at)
            return -1;
    }
#endif
    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((backslash ? backslash : end) - p);
        /* memmove: out may be raw.data itself. */
        if (run > 0 && at != p)
            memmove(at, p, run);
        at += run;
        p += run;
        while (p < end && *p == '\\') {
            unsigned size = unescape_one(&p, end, at);
            if (size == 0)
                return -1;
            at += size;
        }
    }
    assert((size_t)(at - out) <= raw.size);
    return at - out;
}

int64_t json_unescape_roomy(struct str raw, char *out) {
#if defined(__SSE2__)
    static_assert(JSON_ROOM >= BLOCK + 16, "a block and a step fit");
    const char *p = raw.data, *end = raw.data + raw.size;
    const char *at = unescape_blocks(&p, end, JSON_ROOM, out);
    return at ? at - out : -1;
#else
    return json_unescape(raw, out);
#endif
}

#if defined(__x86_64__)
/* Most escapes mean the byte behind their backslash: all backslashes of a block that open such are taken out by one
 * instruction, and no branch depends on where they stand. A block ends early before any other escape, before the quote, and
 * before a backslash that is its last byte. */
__attribute__((target("avx512bw,avx512vbmi2,bmi,popcnt"))) static int64_t unescape_wide(
    const char **ret_p, const char *end, char *out, size_t room) {
    enum { ONE_MAX = 4 };
    const char *p = *ret_p;
    char *at = out;
    while (end - p >= BLOCK && room - (size_t)(at - out) >= BLOCK + ONE_MAX) {
        __m512i v = _mm512_loadu_si512(p);
        uint64_t quotes = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"'));
        uint64_t backslashes = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\\'));
        uint64_t slashes = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('/'));
        uint64_t carry = 0, escaped = escaped_bytes(backslashes, &carry);
        uint64_t others = escaped & ~(quotes | backslashes | slashes);
        uint64_t stops = (quotes & ~escaped) | others >> 1 | carry << (BLOCK - 1);
        uint64_t keep = ~(backslashes & ~escaped) & (stops ^ (stops - 1)) & ~stops;
        _mm512_storeu_si512(at, _mm512_maskz_compress_epi8(keep, v));
        at += __builtin_popcountll(keep);
        if (stops == 0) {
            p += BLOCK;
            continue;
        }
        p += __builtin_ctzll(stops);
        if (*p == '"') {
            *ret_p = p;
            return at - out;
        }
        unsigned size = unescape_one(&p, end, at);
        if (size == 0)
            return -1;
        at += size;
    }
    return -1;
}
#endif

int64_t json_unescape_to_quote(const char **p, const char *end, char *out, size_t room) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw"))
        return unescape_wide(p, end, out, room);
#endif
    (void)p;
    (void)end;
    (void)out;
    (void)room;
    return -1;
}

/* A byte that json_write_string cannot copy as it is. */
static bool is_special(uint8_t c) {
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&';
}

#if defined(__SSE2__)
/* One bit for each of the 16 bytes for which is_special(). The signed comparison catches control characters
 * and bytes from 0x80 on together; one bit apart are '<' and '>', and '"' and '&'. */
static unsigned special_mask(__m128i v) {
    __m128i hit = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    hit = _mm_or_si128(
        hit, _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8('<' ^ '>')), _mm_set1_epi8('>')));
    hit = _mm_or_si128(
        hit, _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8('"' ^ '&')), _mm_set1_epi8('&')));
    return (unsigned)_mm_movemask_epi8(hit);
}
#endif

/* Writes the character of several bytes at s.data; returns how many bytes of s it took. */
static unsigned write_wide(char *out, struct str s, unsigned *ret_written) {
    uint32_t rune;
    unsigned length = utf8_decode(s, &rune);
    const char *escape = length == 1      ? "\\ufffd"
                         : rune == 0x2028 ? "\\u2028"
                         : rune == 0x2029 ? "\\u2029"
                                          : NULL;
    *ret_written = escape ? 6 : length;
    memcpy(out, escape ? escape : s.data, *ret_written);
    return length;
}

/* Writes the escape of one ASCII character; returns the end. */
static inline char *write_escape(char *out, uint8_t c) {
    static const char hex[] = "0123456789abcdef";
    /* The letter of those that have an escape of two characters. */
    static const char short_escape[0x80] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
    };
    if (short_escape[c]) {
        out[0] = '\\';
        out[1] = short_escape[c];
        return out + 2;
    }
    memcpy(out, "\\u00", 4);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return out + 6;
}

/* Room that every step of write_bytes may use beyond the plain bytes: a whole vector, or one escape. */
enum { WRITE_STEP = 16, ESCAPE_MAX = 6, WRITE_BATCH = 8192, WRITE_SMALL_BATCH = 64 };

/* Writes `s` escaped at out, where there is room for s.size * ESCAPE_MAX + WRITE_STEP bytes. */
static char *write_bytes(char *out, struct str s) {
    const char *p = s.data, *end = s.data + s.size;
    while (p < end) {
#if defined(__SSE2__)
        while (end - p >= WRITE_STEP) {
            __m128i v = load16(p);
            unsigned mask = special_mask(v);
            _mm_storeu_si128((__m128i *)(void *)out, v);
            unsigned run = mask ? (unsigned)__builtin_ctz(mask) : WRITE_STEP;
            p += run;
            out += run;
            if (mask)
                break;
        }
#endif
        unsigned left = WRITE_STEP;
        while (p < end && left > 0 && !is_special((uint8_t)*p)) {
            *out++ = *p++;
            left--;
        }
        /* Special characters come in runs: text that is not Latin, indented JSON in a line. */
        while (p < end && is_special((uint8_t)*p)) {
            if ((uint8_t)*p < 0x80) {
                out = write_escape(out, (uint8_t)*p++);
                continue;
            }
            unsigned written;
            p += write_wide(out, str_make(p, (size_t)(end - p)), &written);
            out += written;
        }
    }
    return out;
}

/* A cut of at most `size` bytes from the front of s that does not split a character. */
static struct str front(struct str s, size_t size) {
    if (s.size <= size)
        return s;
    size_t cut = size;
    while (cut > size - 3 && ((uint8_t)s.data[cut] & 0xC0) == 0x80)
        cut--;
    return str_make(s.data, cut);
}

/* Near out->max the worst case has no room although the actual bytes may. */
static void write_near_max(struct buf *out, struct str s) {
    char escaped[WRITE_SMALL_BATCH * ESCAPE_MAX + WRITE_STEP];
    while (s.size > 0 && !out->failed) {
        struct str part = front(s, WRITE_SMALL_BATCH);
        char *end = write_bytes(escaped, part);
        buf_add(out, escaped, (size_t)(end - escaped));
        s = str_from_offset(s, part.size);
    }
}

static void write_escaped(struct buf *out, struct str s) {
    while (s.size > 0 && !out->failed) {
        /* The worst case is reserved per batch, so that long strings do not claim six times their size. */
        struct str part = front(s, WRITE_BATCH);
        size_t worst = part.size * ESCAPE_MAX + WRITE_STEP;
        if (worst > out->max - out->size) {
            write_near_max(out, s);
            break;
        }
        if (buf_reserve(out, worst) < 0)
            return;
        char *at = write_bytes(out->data + out->size, part);
        out->size = (size_t)(at - out->data);
        s = str_from_offset(s, part.size);
    }
}

void json_write_string(struct buf *out, struct str s) {
    buf_add_char(out, '"');
    write_escaped(out, s);
    buf_add_char(out, '"');
}

void json_write_string_plain(struct buf *out, struct str s) {
    buf_add_char(out, '"');
    while (s.size > 0 && !out->failed) {
        size_t run = 0;
        while (run < s.size && s.data[run] != '<' && s.data[run] != '>' && s.data[run] != '&')
            run++;
        write_escaped(out, str_make(s.data, run));
        for (; run < s.size && (s.data[run] == '<' || s.data[run] == '>' || s.data[run] == '&');
             run++)
            buf_add_char(out, s.data[run]);
        s = str_from_offset(s, run);
    }
    buf_add_char(out, '"');
}
