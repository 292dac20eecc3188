#include "finder.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline unsigned char lower(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

static inline unsigned char upper(unsigned char c) {
    return c >= 'a' && c <= 'z' ? (unsigned char)(c & ~0x20) : c;
}

/* How common a byte is in logs, by rough classes: what counts is to avoid blanks, digits and the commonest
 * letters. */
static unsigned commonness(char c, bool fold) {
    static const char common[] = " etaoinsr0123456789.:-/=\"";
    if (memchr(common, c, sizeof(common) - 1))
        return 3;
    if (fold && memchr(common, lower(c), sizeof(common) - 1))
        return 3;
    if (c >= 'a' && c <= 'z')
        return 2;
    return fold && c >= 'A' && c <= 'Z' ? 2 : 1;
}

struct finder finder_make(struct str needle, bool fold) {
    struct finder f = {.needle = needle, .fold = fold};
    if (needle.size < 2)
        return f;
    size_t best = 0, second = needle.size - 1;
    for (size_t i = 1; i < needle.size; i++)
        if (commonness(needle.data[i], fold) < commonness(needle.data[best], fold))
            best = i;
    if (second == best)
        second = 0;
    for (size_t i = 0; i < needle.size; i++)
        if (i != best && commonness(needle.data[i], fold) < commonness(needle.data[second], fold))
            second = i;
    f.near = best < second ? best : second;
    f.far = best < second ? second : best;
    return f;
}

static bool stands_at(const struct finder *f, const char *at) {
    if (!f->fold)
        return memcmp(at, f->needle.data, f->needle.size) == 0;
    for (size_t i = 0; i < f->needle.size; i++)
        if (lower(at[i]) != lower(f->needle.data[i]))
            return false;
    return true;
}

static const char *find_bytewise(const struct finder *f, const char *at, const char *last) {
    unsigned char low = lower(f->needle.data[f->far]);
    for (; at <= last; at++)
        if (lower(at[f->far]) == low && stands_at(f, at))
            return at;
    return NULL;
}

#ifdef __SSE2__
static inline __m128i load(const char *at) {
    return _mm_loadu_si128((const __m128i *)at);
}

static const char *find_exact(const struct finder *f, const char *at, const char *last) {
    const __m128i near = _mm_set1_epi8(f->needle.data[f->near]);
    const __m128i far = _mm_set1_epi8(f->needle.data[f->far]);
    for (; last - at >= 15; at += 16) {
        __m128i both = _mm_and_si128(_mm_cmpeq_epi8(load(at + f->near), near),
                                     _mm_cmpeq_epi8(load(at + f->far), far));
        for (unsigned hits = (unsigned)_mm_movemask_epi8(both); hits; hits &= hits - 1)
            if (stands_at(f, at + __builtin_ctz(hits)))
                return at + __builtin_ctz(hits);
    }
    return find_bytewise(f, at, last);
}

static inline __m128i either(__m128i bytes, __m128i low, __m128i up) {
    return _mm_or_si128(_mm_cmpeq_epi8(bytes, low), _mm_cmpeq_epi8(bytes, up));
}

static const char *find_folded(const struct finder *f, const char *at, const char *last) {
    unsigned char n = lower(f->needle.data[f->near]), r = lower(f->needle.data[f->far]);
    const __m128i near_low = _mm_set1_epi8((char)n), near_up = _mm_set1_epi8((char)upper(n));
    const __m128i far_low = _mm_set1_epi8((char)r), far_up = _mm_set1_epi8((char)upper(r));
    for (; last - at >= 15; at += 16) {
        __m128i both = _mm_and_si128(either(load(at + f->near), near_low, near_up),
                                     either(load(at + f->far), far_low, far_up));
        for (unsigned hits = (unsigned)_mm_movemask_epi8(both); hits; hits &= hits - 1)
            if (stands_at(f, at + __builtin_ctz(hits)))
                return at + __builtin_ctz(hits);
    }
    return find_bytewise(f, at, last);
}
#endif

const char *finder_find(const struct finder *f, struct str haystack) {
    if (f->needle.size == 0)
        return haystack.data ? haystack.data : "";
    if (haystack.size < f->needle.size)
        return NULL;
    /* The last place where the needle could stand. 16 bytes are read at a place plus at most needle.size - 1:
     * inside the haystack as long as the place is 15 before it. */
    const char *last = haystack.data + (haystack.size - f->needle.size);
#ifdef __SSE2__
    return f->fold ? find_folded(f, haystack.data, last) : find_exact(f, haystack.data, last);
#else
    return find_bytewise(f, haystack.data, last);
#endif
}

/* With Go's (?i), k and s also match U+212A and U+017F, and letters above ASCII have cases of their own: such
 * bytes of a needle cannot be searched for byte by byte. The longest stretch without them can. */
struct str finder_foldable(struct str needle) {
    struct str best = {0};
    size_t from = 0;
    for (size_t i = 0; i <= needle.size; i++) {
        bool breaks = i == needle.size;
        if (!breaks) {
            unsigned char c = (unsigned char)needle.data[i];
            unsigned char low = (unsigned char)(c | 0x20);
            breaks = c >= 0x80 || low == 'k' || low == 's';
        }
        if (!breaks)
            continue;
        if (i - from > best.size)
            best = str_make(needle.data + from, i - from);
        from = i + 1;
    }
    return best;
}
