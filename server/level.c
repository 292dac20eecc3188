/* Budget: a line without level words goes at more than 1 GB/s on one core; nothing is allocated.
 *
 * The kinds of a line, in this order:
 *   JSON    first non-blank '{', last non-blank '}': members are walked in document order down to
 *           LEVEL_JSON_DEPTH objects; the first string under a level field decides.
 *   logfmt  holds '=': tokens are walked until the first malformed one; the level field that stands first
 *           in the list of fields wins, keys in any case.
 *   text    the words of level_word_at with blanks or brackets around them, in any case; the first place wins. Also
 *           asked when the two above gave no level that is known. */
#include "level.h"

#include <assert.h>

#include "bytes.h"
#include "json.h"
#include "units.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

enum level {
    LEVEL_TRACE,
    LEVEL_DEBUG,
    LEVEL_INFO,
    LEVEL_WARN,
    LEVEL_ERROR,
    LEVEL_CRITICAL,
    LEVEL_FATAL,
    LEVEL_UNKNOWN,
    LEVELS
};

#define PAIR(text)                                                                                 \
    {                                                                                              \
        .name = {.data = "detected_level", .size = 14}, .value = {                                 \
            .data = text,                                                                          \
            .size = sizeof(text) - 1                                                               \
        }                                                                                          \
    }

/* Indexed by enum level. The one home of the static texts. */
static const struct label level_pairs[LEVELS] = {
    PAIR("trace"), PAIR("debug"),    PAIR("info"),  PAIR("warn"),
    PAIR("error"), PAIR("critical"), PAIR("fatal"), PAIR("unknown"),
};

static struct str level_text(enum level l) {
    return level_pairs[l].value;
}

/* Of letters of one size, three at least: the first and the last two or four, which of eight are all. */
static inline bool ends_eq_nocase(struct str word, struct str v) {
    const char *last = v.data + v.size, *word_last = word.data + word.size;
    uint32_t diff = v.size < 4 ? (uint32_t)(get_le16(v.data) ^ get_le16(word.data)) |
                                     (uint32_t)(get_le16(last - 2) ^ get_le16(word_last - 2))
                               : (get_le32(v.data) ^ get_le32(word.data)) |
                                     (get_le32(last - 4) ^ get_le32(word_last - 4));
    return (diff & ~UINT32_C(0x20202020)) == 0;
}

static enum level level_parse(struct str v) {
    static const struct {
        struct str text;
        enum level level;
    } spellings[] = {
        {{"info", 4}, LEVEL_INFO},    {{"error", 5}, LEVEL_ERROR},
        {{"warn", 4}, LEVEL_WARN},    {{"debug", 5}, LEVEL_DEBUG},
        {{"warning", 7}, LEVEL_WARN}, {{"err", 3}, LEVEL_ERROR},
        {{"trace", 5}, LEVEL_TRACE},  {{"critical", 8}, LEVEL_CRITICAL},
        {{"fatal", 5}, LEVEL_FATAL},  {{"information", 11}, LEVEL_INFO},
        {{"inf", 3}, LEVEL_INFO},     {{"wrn", 3}, LEVEL_WARN},
        {{"dbg", 3}, LEVEL_DEBUG},    {{"trc", 3}, LEVEL_TRACE},
    };
    if (v.size < 3 || v.size > 11)
        return LEVEL_UNKNOWN;
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        if (spellings[i].text.size == v.size && ends_eq_nocase(spellings[i].text, v) &&
            (v.size <= 8 || str_eq_nocase(spellings[i].text, v)))
            return spellings[i].level;
    }
    return LEVEL_UNKNOWN;
}

struct str level_normalize(struct str value) {
    enum level l = level_parse(value);
    return l == LEVEL_UNKNOWN ? (struct str){0} : level_text(l);
}

/* ---- text */

enum { SEEN_LEFT = 1, SEEN_RIGHT = 2, WORD_MIN = 3 };

/* What may stand left and right of a level word; start and end of the line may as well. */
static const uint8_t neighbours[256] = {
    [' '] = SEEN_LEFT | SEEN_RIGHT,
    ['\t'] = SEEN_LEFT | SEEN_RIGHT,
    ['\n'] = SEEN_LEFT | SEEN_RIGHT,
    ['['] = SEEN_LEFT | SEEN_RIGHT,
    ['('] = SEEN_LEFT | SEEN_RIGHT,
    ['{'] = SEEN_LEFT | SEEN_RIGHT,
    ['"'] = SEEN_LEFT | SEEN_RIGHT,
    ['\''] = SEEN_LEFT | SEEN_RIGHT,
    ['='] = SEEN_LEFT | SEEN_RIGHT,
    ['|'] = SEEN_LEFT | SEEN_RIGHT,
    [']'] = SEEN_RIGHT,
    [')'] = SEEN_RIGHT,
    ['}'] = SEEN_RIGHT,
    [':'] = SEEN_RIGHT,
    [','] = SEEN_RIGHT,
    ['!'] = SEEN_RIGHT,
};

static inline bool right_ok(const char *p, const char *end) {
    return p == end || (neighbours[(uint8_t)*p] & SEEN_RIGHT) != 0;
}

static inline bool word_at(const char *p, const char *end, struct str word) {
    if ((size_t)(end - p) < word.size || !right_ok(p + word.size, end))
        return false;
    for (size_t i = 0; i < word.size; i++) {
        if ((p[i] | 0x20) != word.data[i])
            return false;
    }
    return true;
}

/* The level whose word stands at p; its left neighbour has been looked at. */
static enum level level_word_at(const char *p, const char *end) {
    switch (*p | 0x20) {
    case 't':
        return word_at(p, end, STR("trace")) ? LEVEL_TRACE : LEVEL_UNKNOWN;
    case 'd':
        return word_at(p, end, STR("debug")) ? LEVEL_DEBUG : LEVEL_UNKNOWN;
    case 'i':
        return word_at(p, end, STR("info")) ? LEVEL_INFO : LEVEL_UNKNOWN;
    case 'f':
        return word_at(p, end, STR("fatal")) ? LEVEL_FATAL : LEVEL_UNKNOWN;
    case 'c':
        return word_at(p, end, STR("critical")) ? LEVEL_CRITICAL : LEVEL_UNKNOWN;
    case 'e':
        return word_at(p, end, STR("error")) || word_at(p, end, STR("err")) ? LEVEL_ERROR
                                                                            : LEVEL_UNKNOWN;
    case 'w':
        return word_at(p, end, STR("warn")) || word_at(p, end, STR("warning")) ? LEVEL_WARN
                                                                               : LEVEL_UNKNOWN;
    default:
        return LEVEL_UNKNOWN;
    }
}

static inline bool left_ok(const char *start, const char *p) {
    return p == start || (neighbours[(uint8_t)p[-1]] & SEEN_LEFT) != 0;
}

static enum level scan_text_slow(const char *start, const char *p, const char *end) {
    for (; p < end; p++) {
        if (!left_ok(start, p))
            continue;
        enum level l = level_word_at(p, end);
        if (l != LEVEL_UNKNOWN)
            return l;
    }
    return LEVEL_UNKNOWN;
}

#if defined(__SSE2__)
/* 0xff in each byte of `v` within [low, low + width]. */
static inline __m128i in_range(__m128i v, char low, char width) {
    __m128i d = _mm_sub_epi8(v, _mm_set1_epi8(low));
    return _mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(width)), d);
}

static inline __m128i is(__m128i v, char c) {
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

/* One bit for each of the 16 places from p on where a level word may start: the byte before it may be a left
 * neighbour and the first two letters may be those of a word. Bit 0x20 is set in all bytes first, which joins
 * cases and some neighbours ('[' with '{', tab and newline with ')' and '*'): too many places at worst. */
static inline unsigned word_starts(const char *p) {
    __m128i fold = _mm_set1_epi8(0x20);
    __m128i before = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)(p - 1)), fold);
    __m128i first = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)p), fold);
    __m128i second = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)(p + 1)), fold);
    __m128i left = _mm_or_si128(_mm_or_si128(in_range(before, ' ', 10), in_range(before, '{', 1)),
                                is(before, '='));
    __m128i letter = _mm_or_si128(_mm_or_si128(in_range(first, 'c', 3), is(first, 'i')),
                                  _mm_or_si128(is(first, 't'), is(first, 'w')));
    __m128i next = _mm_or_si128(_mm_or_si128(is(second, 'a'), is(second, 'e')),
                                _mm_or_si128(is(second, 'n'), is(second, 'r')));
    return (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_and_si128(left, letter), next));
}
#endif

/* The first place of `mask`, counted from p, where a word stands. */
static inline enum level level_at_starts(const char *start, const char *p, const char *end,
                                         unsigned mask) {
    enum level l = LEVEL_UNKNOWN;
    for (; mask != 0 && l == LEVEL_UNKNOWN; mask &= mask - 1) {
        const char *at = p + __builtin_ctz(mask);
        if (left_ok(start, at))
            l = level_word_at(at, end);
    }
    return l;
}

#if defined(__x86_64__)
enum { WIDE_STEP = 32, WIDE_LEAST = 1 + WIDE_STEP + 2 };

/* A bit for each word, or for each two that begin alike; they share their first three letters with no other. */
enum {
    BIT_TRACE = 1,
    BIT_DEBUG = 2,
    BIT_INFO = 4,
    BIT_FATAL = 8,
    BIT_CRITICAL = 16,
    BIT_ERROR = 32,
    BIT_WARN = 64,
    /* By first, second and third letter, those up to o and those behind. */
    CDEFI = BIT_CRITICAL | BIT_DEBUG | BIT_ERROR | BIT_FATAL | BIT_INFO,
    TW = BIT_TRACE | BIT_WARN,
    AEN = BIT_FATAL | BIT_WARN | BIT_DEBUG | BIT_INFO,
    R = BIT_TRACE | BIT_CRITICAL | BIT_ERROR,
    ABFI = BIT_TRACE | BIT_DEBUG | BIT_INFO | BIT_CRITICAL,
    RT = BIT_ERROR | BIT_WARN | BIT_FATAL,
};

/* Of each byte: the words that have it, by its hex digits, which must agree. Letters of both cases differ in the first one:
 * 4 or 6, 5 or 7. A second digit says nothing of bytes above 0x7f, for which the instruction gives 0. */
struct digit_tables {
    uint8_t first[16], second[16];
};

static const struct digit_tables letter_tables[3] = {
    {.first = {[4] = CDEFI, [6] = CDEFI, [5] = TW, [7] = TW},
     .second = {[3] = BIT_CRITICAL,
                [4] = BIT_TRACE | BIT_DEBUG,
                [5] = BIT_ERROR,
                [6] = BIT_FATAL,
                [7] = BIT_WARN,
                [9] = BIT_INFO}},
    {.first = {[4] = AEN, [6] = AEN, [5] = R, [7] = R},
     .second = {[1] = BIT_FATAL | BIT_WARN,
                [2] = BIT_TRACE | BIT_CRITICAL | BIT_ERROR,
                [5] = BIT_DEBUG,
                [14] = BIT_INFO}},
    {.first = {[4] = ABFI, [6] = ABFI, [5] = RT, [7] = RT},
     .second = {[1] = BIT_TRACE,
                [2] = BIT_DEBUG | BIT_ERROR | BIT_WARN,
                [4] = BIT_FATAL,
                [6] = BIT_INFO,
                [9] = BIT_CRITICAL}},
};

/* 09 0a | 20 22 27 28 | 3d | 5b 7b | 7c: those of `neighbours` that are SEEN_LEFT. */
static const struct digit_tables left_tables = {
    .first = {[0] = 1, [2] = 2, [3] = 4, [5] = 8, [7] = 8 | 16},
    .second =
        {[0] = 2, [2] = 2, [7] = 2, [8] = 2, [9] = 1, [10] = 1, [11] = 8, [12] = 16, [13] = 4},
};

__attribute__((target("avx2"), always_inline)) static inline __m256i digits_agree(
    const struct digit_tables *t, const char *p) {
    const __m256i firsts =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t->first));
    const __m256i seconds =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t->second));
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
    return _mm256_and_si256(_mm256_shuffle_epi8(firsts, high), _mm256_shuffle_epi8(seconds, v));
}

/* One bit for each of the 32 places from p on that has the first three letters of a word, and a left neighbour. Reads p - 1 ..
 * p + 33. */
__attribute__((target("avx2"), always_inline)) static inline unsigned word_starts_wide(
    const char *p) {
    __m256i letters = _mm256_and_si256(digits_agree(&letter_tables[0], p),
                                       digits_agree(&letter_tables[1], p + 1));
    letters = _mm256_and_si256(letters, digits_agree(&letter_tables[2], p + 2));
    __m256i none = _mm256_setzero_si256();
    __m256i missing = _mm256_or_si256(_mm256_cmpeq_epi8(letters, none),
                                      _mm256_cmpeq_epi8(digits_agree(&left_tables, p - 1), none));
    return ~(unsigned)_mm256_movemask_epi8(missing);
}

/* scan_text of a line of WIDE_LEAST bytes or more. */
__attribute__((target("avx2"))) static enum level scan_wide(const char *start, const char *end) {
    enum level l = level_word_at(start, end);
    const char *p = start + 1;
    for (; end - p >= WIDE_STEP + 2 && l == LEVEL_UNKNOWN; p += WIDE_STEP) {
        unsigned mask = word_starts_wide(p);
        if (mask != 0)
            l = level_at_starts(start, p, end, mask);
    }
    if (l != LEVEL_UNKNOWN || end - p < WORD_MIN)
        return l;
    /* The rest, together with bytes that have been looked at already. */
    const char *last = end - WIDE_STEP - 2;
    return level_at_starts(start, last, end, word_starts_wide(last) & ~0u << (p - last));
}
#endif

static enum level scan_text(struct str line) {
    const char *start = line.data, *end = start + line.size, *p = start;
#if defined(__x86_64__)
    if (line.size >= WIDE_LEAST && __builtin_cpu_supports("avx2"))
        return scan_wide(start, end);
#endif
#if defined(__SSE2__)
    enum { STEP = 16 };
    if (line.size > STEP + 1) {
        enum level l = level_word_at(p, end);
        /* Reads p - 1 .. p + STEP. */
        for (p++; end - p > STEP && l == LEVEL_UNKNOWN; p += STEP)
            l = level_at_starts(start, p, end, word_starts(p));
        if (l != LEVEL_UNKNOWN || end - p < WORD_MIN)
            return l;
        /* The rest, together with bytes that have been looked at already. */
        const char *last = end - STEP - 1;
        return level_at_starts(start, last, end, word_starts(last) & ~0u << (p - last));
    }
#endif
    return scan_text_slow(start, p, end);
}

/* ---- windows */

/* The 64 bytes at which a walk through a line stands, as bits: which of them end what it reads. One look at them is enough
 * for several keys and values, where each would begin with a guess how far its end is. */
struct window {
    const char *start;
    uint64_t stops;
};
enum { WINDOW = 64 };

#if defined(__SSE2__)
static inline uint64_t json_stops(const char *p) {
    uint64_t stops = 0;
    for (int i = 0; i < WINDOW; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(is(v, '"'), is(v, '\\'));
        stops |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
    }
    return stops;
}

static inline uint64_t logfmt_stops(const char *p) {
    uint64_t stops = 0;
    for (int i = 0; i < WINDOW; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(_mm_or_si128(is(v, '='), is(v, '"')), in_range(v, 0, ' '));
        stops |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
    }
    return stops;
}
#else
#define json_stops(p) 0
#define logfmt_stops(p) 0
#endif

/* The first stop at or behind p that is in the window; else NULL. */
static inline const char *window_find(const struct window *w, const char *p) {
    size_t at = (size_t)(p - w->start);
    uint64_t stops = at < WINDOW ? w->stops >> at : 0;
    return stops ? p + __builtin_ctzll(stops) : NULL;
}

/* json_string_end. */
static inline const char *string_end(struct window *w, const char *p, const char *end) {
    const char *stop = window_find(w, p);
    if (!stop && end - p >= WINDOW) {
        *w = (struct window){.start = p, .stops = json_stops(p)};
        stop = window_find(w, p);
    }
    bool escaped;
    return stop && *stop == '"' ? stop : json_string_end(p, end, &escaped);
}

/* ---- level fields */

struct level_fields level_fields_make(const struct limits *limits) {
    struct level_fields f = {.names = limits->log_level_fields,
                             .count = limits->n_log_level_fields};
    for (size_t i = 0; i < f.count; i++) {
        size_t size = f.names[i].size;
        if (size == 0)
            continue;
        f.sizes |= UINT64_C(1) << (size < 63 ? size : 63);
        f.letters |= UINT32_C(1) << (f.names[i].data[0] & 31);
    }
    return f;
}

static inline bool field_possible(const struct level_fields *f, struct str key) {
    return key.size > 0 && (f->sizes >> (key.size < 63 ? key.size : 63) & 1) != 0 &&
           (f->letters >> (key.data[0] & 31) & 1) != 0;
}

static bool field_is(const struct level_fields *f, struct str key) {
    if (!field_possible(f, key))
        return false;
    for (size_t i = 0; i < f->count; i++) {
        if (str_eq(f->names[i], key))
            return true;
    }
    return false;
}

/* The first field that equals the key in any case; `count` when there is none. */
static size_t field_index_nocase(const struct level_fields *f, struct str key) {
    if (!field_possible(f, key))
        return f->count;
    for (size_t i = 0; i < f->count; i++) {
        if (str_eq_nocase(f->names[i], key))
            return i;
    }
    return f->count;
}

struct str level_of_labels(const struct level_fields *fields, struct labels labels) {
    for (size_t i = 0; i < fields->count && labels.count > 0; i++) {
        struct str value = labels_get(labels, fields->names[i]);
        if (!value.data)
            continue;
        struct str known = level_normalize(value);
        return known.data ? known : value;
    }
    return (struct str){0};
}

/* ---- JSON */

static inline bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline const char *skip_blanks(const char *p, const char *end) {
    while (p < end && is_blank(*p))
        p++;
    return p;
}

/* Behind the object or array that opens at p, by counting brackets outside strings; NULL when it is cut. */
static const char *skip_container(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        char c = *p++;
        bool escaped;
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (--depth == 0)
                return p;
        } else if (c == '"') {
            p = json_string_end(p, end, &escaped);
            if (!p)
                return NULL;
            p++;
        }
    }
    return NULL;
}

/* Behind a number, true, false or null (whatever is written there). */
static const char *skip_scalar(const char *p, const char *end) {
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_blank(*p))
        p++;
    return p;
}

/* Reads `"key" :` at p; returns the value's first byte or NULL. */
static inline const char *read_key(struct window *w, const char *p, const char *end,
                                   struct str *ret_key) {
    if (p == end || *p != '"')
        return NULL;
    const char *quote = string_end(w, p + 1, end);
    if (!quote)
        return NULL;
    *ret_key = str_make(p + 1, (size_t)(quote - p - 1));
    p = skip_blanks(quote + 1, end);
    if (p == end || *p != ':')
        return NULL;
    p = skip_blanks(p + 1, end);
    return p < end ? p : NULL;
}

/* The first string under a level field, raw; .data NULL when there is none before the object ends or is found to
 * be malformed. */
static struct str json_level_value(const struct level_fields *f, struct str line) {
    const struct str none = {0};
    const char *p = skip_blanks(line.data, line.data + line.size) + 1, *end = line.data + line.size;
    struct window w = {.start = p};
    if (end - p >= WINDOW)
        w.stops = json_stops(p);
    for (unsigned depth = 1; depth > 0;) {
        p = skip_blanks(p, end);
        while (p < end && *p == '}' && depth > 0) {
            depth--;
            p = skip_blanks(p + 1, end);
        }
        if (depth == 0)
            return none;
        if (p < end && *p == ',')
            p = skip_blanks(p + 1, end);
        if (p < end && *p == '}')
            continue;
        struct str key;
        p = read_key(&w, p, end, &key);
        if (!p)
            return none;
        if (*p == '"') {
            const char *quote = string_end(&w, p + 1, end);
            if (!quote)
                return none;
            if (field_is(f, key))
                return str_make(p + 1, (size_t)(quote - p - 1));
            p = quote + 1;
        } else if (*p == '{' && depth < LEVEL_JSON_DEPTH) {
            depth++;
            p++;
        } else {
            p = *p == '{' || *p == '[' ? skip_container(p, end) : skip_scalar(p, end);
            if (!p)
                return none;
        }
    }
    return none;
}

static bool looks_like_json(struct str line) {
    const char *p = skip_blanks(line.data, line.data + line.size), *end = line.data + line.size;
    while (end > p && is_blank(end[-1]))
        end--;
    return end - p >= 2 && *p == '{' && end[-1] == '}';
}

/* ---- logfmt */

/* The first byte at or behind p that ends a bare token: '=', '"', or a blank or control character. */
static inline const char *token_end(struct window *w, const char *p, const char *end) {
    const char *stop = window_find(w, p);
    if (stop)
        return stop;
#if defined(__SSE2__)
    for (; end - p >= WINDOW; p += WINDOW) {
        *w = (struct window){.start = p, .stops = logfmt_stops(p)};
        if (w->stops)
            return window_find(w, p);
    }
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_or_si128(is(v, '='), is(v, '"')), in_range(v, 0, ' '));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '=' && *p != '"' && (uint8_t)*p > ' ')
        p++;
    return p;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Are the escapes of a quoted value such that a logfmt reader accepts it? */
static bool escapes_ok(struct str raw) {
    for (size_t i = 0; i < raw.size; i++) {
        if ((uint8_t)raw.data[i] < ' ')
            return false;
        if (raw.data[i] != '\\')
            continue;
        char c = ++i < raw.size ? raw.data[i] : '\0';
        if (c == 'u') {
            for (int n = 0; n < 4; n++) {
                if (++i >= raw.size || !is_hex(raw.data[i]))
                    return false;
            }
        } else if (c == '\0' || !memchr("\"\\/'bfnrt", c, 9)) {
            return false;
        }
    }
    return true;
}

/* Reads the value behind '='; returns its end, or NULL where a logfmt reader would stop. */
static inline const char *logfmt_value(struct window *w, const char *p, const char *end,
                                       struct str *ret) {
    *ret = str_make(p, 0);
    if (p == end || (uint8_t)*p <= ' ')
        return p;
    if (*p != '"') {
        const char *stop = token_end(w, p, end);
        *ret = str_make(p, (size_t)(stop - p));
        return stop == end || (uint8_t)*stop <= ' ' ? stop : NULL;
    }
    bool escaped;
    const char *quote = json_string_end(p + 1, end, &escaped);
    if (!quote)
        return NULL;
    *ret = str_make(p + 1, (size_t)(quote - p - 1));
    return !escaped || escapes_ok(*ret) ? quote + 1 : NULL;
}

/* The value of the best level field before the first malformed token; .data NULL when there is none. */
static struct str logfmt_level_value(const struct level_fields *f, struct str line) {
    struct str best = {0};
    size_t best_index = f->count;
    const char *p = line.data, *end = p + line.size;
    struct window w = {.start = p};
    while (p < end) {
        while (p < end && (uint8_t)*p <= ' ')
            p++;
        const char *stop = token_end(&w, p, end);
        struct str key = str_make(p, (size_t)(stop - p)), value = str_make(stop, 0);
        if (stop < end && *stop == '"')
            break;
        p = stop;
        if (stop < end && *stop == '=') {
            p = key.size > 0 ? logfmt_value(&w, stop + 1, end, &value) : NULL;
            if (!p)
                break;
        }
        size_t index = field_index_nocase(f, key);
        if (index < best_index) {
            best = value;
            best_index = index;
            if (index == 0)
                break;
        }
    }
    return best;
}

/* Does a '=' come before any '"'? Else a reader meets no key with a value: it stops at that quote. */
#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool has_logfmt_wide(struct str line) {
    const char *p = line.data, *last = p + line.size - WIDE_STEP;
    for (;; p = last - p > WIDE_STEP ? p + WIDE_STEP : last) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i hit = _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('=')),
                                      _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')));
        unsigned mask = (unsigned)_mm256_movemask_epi8(hit);
        if (mask != 0)
            return p[__builtin_ctz(mask)] == '=';
        if (p == last)
            return false;
    }
}
#endif

static bool has_logfmt(struct str line) {
#if defined(__x86_64__)
    if (line.size >= WIDE_STEP && __builtin_cpu_supports("avx2"))
        return has_logfmt_wide(line);
#endif
    const char *equals = memchr(line.data, '=', line.size);
    return equals && !memchr(line.data, '"', (size_t)(equals - line.data));
}

/* ---- the steps */

const struct label *level_of_line(const struct level_fields *fields, struct str line) {
    enum level l = LEVEL_UNKNOWN;
    if (line.size == 0)
        return &level_pairs[l];
    if (looks_like_json(line))
        l = level_parse(json_level_value(fields, line));
    else if (has_logfmt(line))
        l = level_parse(logfmt_level_value(fields, line));
    return &level_pairs[l != LEVEL_UNKNOWN ? l : scan_text(line)];
}

/* OpenTelemetry's severity numbers, four to a level. */
static enum level level_of_severity_number(struct str text) {
    int64_t n;
    if (i64_parse(text, &n) < 0)
        return LEVEL_INFO;
    static const enum level levels[] = {LEVEL_TRACE, LEVEL_DEBUG, LEVEL_INFO,
                                        LEVEL_WARN,  LEVEL_ERROR, LEVEL_FATAL};
    if (n == 0 || n > 24)
        return LEVEL_UNKNOWN;
    return n < 0 ? LEVEL_TRACE : levels[(n - 1) / 4];
}

struct str level_detect(const struct level_fields *fields, struct labels stream,
                        struct labels entry_meta, struct str line) {
    struct str given = labels_get(entry_meta, STR("detected_level"));
    if (given.data) {
        struct str known = level_normalize(given);
        return known.data ? known : given;
    }
    struct str level = level_of_labels(fields, stream);
    if (!level.data)
        level = level_of_labels(fields, entry_meta);
    if (level.data)
        return level;
    struct str number = labels_get(entry_meta, STR("severity_number"));
    if (number.size > 0)
        return level_text(level_of_severity_number(number));
    return level_of_line(fields, line)->value;
}
