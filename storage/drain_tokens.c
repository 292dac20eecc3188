#include "drain_tokens.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bytes.h"

/* What a byte is. Words are runs of bytes without B_DELIMITER and B_SPACE; the other bits gather over a word. */
enum {
    B_DELIMITER = 1,
    B_SPACE = 2,
    B_DIGIT = 4,
    B_ODD = 8, /* may make the word look like a capture or like DRAIN_WILD */
};

static const uint8_t byte_kinds[256] = {
    [DRAIN_WILD] = B_ODD, [' '] = B_SPACE,     ['\t'] = B_DELIMITER, ['\n'] = B_DELIMITER,
    ['\r'] = B_DELIMITER, ['!'] = B_DELIMITER, ['"'] = B_DELIMITER,  ['#'] = B_DELIMITER,
    ['%'] = B_DELIMITER,  ['&'] = B_DELIMITER, ['\''] = B_DELIMITER, ['('] = B_DELIMITER,
    [')'] = B_DELIMITER,  ['*'] = B_DELIMITER, [','] = B_DELIMITER,  [';'] = B_DELIMITER,
    ['='] = B_DELIMITER,  ['?'] = B_DELIMITER, ['@'] = B_DELIMITER,  ['['] = B_DELIMITER,
    ['\\'] = B_DELIMITER, [']'] = B_DELIMITER, ['{'] = B_DELIMITER,  ['}'] = B_DELIMITER,
    ['0'] = B_DIGIT,      ['1'] = B_DIGIT,     ['2'] = B_DIGIT,      ['3'] = B_DIGIT,
    ['4'] = B_DIGIT,      ['5'] = B_DIGIT,     ['6'] = B_DIGIT,      ['7'] = B_DIGIT,
    ['8'] = B_DIGIT,      ['9'] = B_DIGIT,     ['<'] = B_ODD,
};

/* Wide loads that overlap instead of a loop over bytes: words are short. */
static uint32_t hash_word(const char *p, size_t n) {
    uint64_t h = n * 0x9e3779b97f4a7c15u;
    if (n >= 8) {
        for (size_t i = 8; i < n; i += 8)
            h = (h ^ get_le64(p + i - 8)) * 0xff51afd7ed558ccdu;
        h ^= get_le64(p + n - 8);
    } else if (n >= 4) {
        h ^= get_le32(p) | (uint64_t)get_le32(p + n - 4) << 32;
    } else {
        h ^= (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
             (uint64_t)(uint8_t)p[n - 1] << 16;
    }
    h *= 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h >> 32) ^ (uint32_t)h;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Does LogQL read a part of the word as a capture, <name>, or does it hold the byte for wild? */
static bool is_odd(struct str word) {
    if (memchr(word.data, DRAIN_WILD, word.size))
        return true;
    for (size_t i = 0; i + 2 < word.size; i++) {
        if (word.data[i] != '<' || !is_letter(word.data[i + 1]))
            continue;
        size_t k = i + 2;
        while (k < word.size &&
               (is_letter(word.data[k]) || (word.data[k] >= '0' && word.data[k] <= '9')))
            k++;
        if (k < word.size && word.data[k] == '>')
            return true;
    }
    return false;
}

static void make_wild(struct token *t) {
    t->hash = TOKEN_WILD_HASH;
    t->flags = TOKEN_WILD;
}

/* The word that starts at `p`; the end of it. */
static const char *take_word(const char *text, const char *p, const char *end, bool is_template,
                             struct token *t) {
    const char *from = p;
    unsigned seen = 0, kind = 0;
    for (; p < end; p++) {
        kind = byte_kinds[(uint8_t)*p];
        if ((kind & (B_DELIMITER | B_SPACE)) || (is_template && *p == DRAIN_WILD))
            break;
        seen |= kind;
    }
    bool wild = p == from; /* DRAIN_WILD of a template */
    if (wild)
        p++;
    struct str word = str_make(from, (size_t)(p - from));
    *t = (struct token){.at = (uint16_t)(from - text), .size = (uint16_t)word.size};
    if (wild || ((seen & B_ODD) && is_odd(word))) {
        make_wild(t);
    } else {
        t->hash = hash_word(word.data, word.size);
        t->flags = seen & B_DIGIT ? TOKEN_DIGIT : 0;
    }
    return p;
}

uint32_t drain_tokenize(struct str text, bool is_template, struct token ret[DRAIN_TOKENS_MAX]) {
    if (text.size > DRAIN_LINE_MAX)
        return 0;
    const char *p = text.data, *end = text.data + text.size;
    uint32_t n = 0;
    while (p < end && *p == ' ')
        p++;
    while (p < end) {
        struct token *t = &ret[n++];
        if (n == DRAIN_TOKENS_MAX && p + 1 < end) { /* all that is left */
            *t = (struct token){.at = (uint16_t)(p - text.data), .size = (uint16_t)(end - p)};
            make_wild(t);
            break;
        }
        if (byte_kinds[(uint8_t)*p] & B_DELIMITER) {
            *t = (struct token){.hash = (uint8_t)*p,
                                .at = (uint16_t)(p - text.data),
                                .size = 1,
                                .flags = TOKEN_EXACT};
            p++;
        } else {
            p = take_word(text.data, p, end, is_template, t);
        }
        const char *word_end = p;
        while (p < end && *p == ' ')
            p++;
        t->spaces = (uint16_t)(p - word_end);
    }
    return n >= DRAIN_TOKENS_MIN ? n : 0;
}

bool drain_word_varies(struct str word) {
    size_t digits = 0;
    for (size_t i = 0; i < word.size; i++)
        digits += word.data[i] >= '0' && word.data[i] <= '9';
    return digits > 0 && (digits * 3 >= word.size || (word.data[0] >= '0' && word.data[0] <= '9'));
}

/* ---- the message of a JSON line */

/* The next quote at or behind p, or NULL. Strings are short: a call of memchr would cost more than its work. */
static const char *find_quote(const char *p, const char *end) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const void *)p);
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quote));
        if (found)
            return p + __builtin_ctz(found);
    }
#endif
    while (p < end && *p != '"')
        p++;
    return p < end ? p : NULL;
}

/* Behind the string whose opening quote is at p; NULL when it does not end. */
static const char *skip_string(const char *p, const char *end) {
    while ((p = find_quote(p + 1, end))) {
        size_t slashes = 0;
        while (p[-1 - (ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return p + 1;
    }
    return NULL;
}

static const char *skip_blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

enum { MESSAGE_KEYS = 6 };

/* The rank of a key; MESSAGE_KEYS when it is none of those. */
static unsigned message_rank(struct str key) {
    static const struct str keys[MESSAGE_KEYS] = {
        STR_INIT("log"),  STR_INIT("message"), STR_INIT("msg"),
        STR_INIT("msg_"), STR_INIT("_msg"),    STR_INIT("content"),
    };
    unsigned i = 0;
    if (key.size < 3 || key.size > 7)
        return MESSAGE_KEYS;
    while (i < MESSAGE_KEYS && !str_eq(keys[i], key))
        i++;
    return i;
}

bool drain_json_message(struct str line, struct str *ret) {
    if (line.size < 2 || line.data[0] != '{' || line.data[line.size - 1] != '}')
        return false;
    const char *p = line.data + 1, *end = line.data + line.size;
    unsigned best = MESSAGE_KEYS, depth = 1;
    while (p && p < end && best > 0) {
        char c = *p;
        if (c != '"') {
            depth += c == '{' || c == '[';
            depth -= (c == '}' || c == ']') && depth > 0;
            p++;
            continue;
        }
        const char *key = p + 1;
        p = skip_string(p, end);
        if (!p || depth != 1)
            continue;
        unsigned rank = message_rank(str_make(key, (size_t)(p - 1 - key)));
        p = skip_blanks(p, end);
        if (p == end || *p != ':')
            continue;
        p = skip_blanks(p + 1, end);
        if (p == end || *p != '"')
            continue;
        const char *value = p + 1;
        p = skip_string(p, end);
        if (p && rank < best) {
            best = rank;
            *ret = str_make(value, (size_t)(p - 1 - value));
        }
    }
    return best < MESSAGE_KEYS;
}
