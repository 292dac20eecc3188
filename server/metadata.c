#include "metadata.h"

#include <errno.h>

#include "utf8.h"

enum { INSERTION_SORT_MAX = 24 };

/* Stable: equal names keep their order. */
static void insertion_sort(struct label *pairs, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct label pair = pairs[i];
        size_t at = i;
        for (; at > 0 && str_cmp(pairs[at - 1].name, pair.name) > 0; at--)
            pairs[at] = pairs[at - 1];
        pairs[at] = pair;
    }
}

static void merge(const struct label *from, size_t left, size_t middle, size_t end,
                  struct label *to) {
    size_t right = middle;
    for (size_t at = left, start = left; at < end; at++) {
        bool take_left =
            start < middle && (right >= end || str_cmp(from[start].name, from[right].name) <= 0);
        to[at] = take_left ? from[start++] : from[right++];
    }
}

/* Stable and never quadratic: large sets are somebody's mistake or mischief. */
static int merge_sort(struct arena *arena, struct label *pairs, size_t count) {
    struct label *other = arena_array(arena, count, sizeof(*other));
    if (!other)
        return -ENOMEM;
    struct label *from = pairs, *to = other;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t left = 0; left < count; left += 2 * width) {
            size_t middle = left + width < count ? left + width : count;
            size_t end = middle + width < count ? middle + width : count;
            merge(from, left, middle, end, to);
        }
        struct label *swap = from;
        from = to;
        to = swap;
    }
    if (from != pairs)
        memcpy(pairs, from, count * sizeof(*pairs));
    return 0;
}

int64_t pairs_sort_last_wins(struct arena *arena, struct label *pairs, size_t count) {
    if (count <= INSERTION_SORT_MAX)
        insertion_sort(pairs, count);
    else if (merge_sort(arena, pairs, count) < 0)
        return -ENOMEM;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool again = kept > 0 && str_eq(pairs[kept - 1].name, pairs[i].name);
        pairs[again ? kept - 1 : kept++] = pairs[i];
    }
    return (int64_t)kept;
}

static inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static inline bool is_word(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Letters and digits with single underscores between, not beginning with a digit: nearly all names are. */
static bool name_is_normal(struct str name) {
    bool word_seen = false, underscore = false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (is_word(c)) {
            word_seen = true;
            underscore = false;
        } else if (c == '_' && !underscore) {
            underscore = true;
        } else {
            return false;
        }
    }
    return word_seen && !is_digit(name.data[0]);
}

/* Gives an empty name when nothing usable is left. */
static int normalize_name(struct arena *arena, struct str *name) {
    if (name_is_normal(*name))
        return 0;
    const struct str prefix = STR("key_");
    char *p = arena_alloc(arena, prefix.size + name->size);
    if (!p)
        return -ENOMEM;
    size_t size = 0;
    bool word_seen = false;
    if (name->size > 0 && is_digit(name->data[0])) {
        memcpy(p, prefix.data, prefix.size);
        size = prefix.size;
    }
    for (size_t i = 0; i < name->size; i++) {
        char c = name->data[i];
        word_seen |= is_word(c);
        if (is_word(c))
            p[size++] = c;
        else if (size == 0 || p[size - 1] != '_')
            p[size++] = '_';
    }
    *name = str_make(p, word_seen ? size : 0);
    return 0;
}

static bool value_is_clean(struct str value) {
    if (!utf8_valid(value))
        return false;
    return !str_find(value, STR("\xef\xbf\xbd"));
}

static bool is_ascii(struct str s) {
    for (size_t i = 0; i < s.size; i++) {
        if ((s.data[i] & 0x80) != 0)
            return false;
    }
    return true;
}

static int normalize_value(struct arena *arena, struct str *value) {
    if (is_ascii(*value) || value_is_clean(*value))
        return 0;
    char *p = arena_alloc(arena, value->size);
    if (!p)
        return -ENOMEM;
    size_t size = 0;
    for (size_t i = 0; i < value->size;) {
        uint32_t rune;
        unsigned step = utf8_decode(str_from_offset(*value, i), &rune);
        if (rune != 0xfffd) {
            memcpy(p + size, value->data + i, step);
            size += step;
        }
        i += step;
    }
    *value = str_make(p, size);
    return 0;
}

int64_t metadata_normalize(struct arena *arena, struct label *pairs, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct label pair = pairs[i];
        if (normalize_name(arena, &pair.name) < 0 || normalize_value(arena, &pair.value) < 0)
            return -ENOMEM;
        if (pair.name.size > 0 && pair.value.size > 0)
            pairs[kept++] = pair;
    }
    return pairs_sort_last_wins(arena, pairs, kept);
}

size_t metadata_set(struct label *pairs, size_t count, struct label pair) {
    size_t at = 0;
    int order = 1;
    while (at < count && (order = str_cmp(pairs[at].name, pair.name)) < 0)
        at++;
    if (at < count && order == 0) {
        pairs[at] = pair;
        return count;
    }
    memmove(pairs + at + 1, pairs + at, (count - at) * sizeof(*pairs));
    pairs[at] = pair;
    return count + 1;
}

struct label *metadata_merge(struct arena *arena, struct labels under, struct labels over,
                             size_t *ret_count) {
    size_t size, places;
    if (__builtin_add_overflow(under.count, over.count + 1, &places) ||
        __builtin_mul_overflow(places, sizeof(struct label), &size))
        return NULL;
    struct label *pairs = arena_alloc(arena, size);
    if (!pairs)
        return NULL;
    size_t count = 0, u = 0, o = 0;
    while (u < under.count || o < over.count) {
        int order = u == under.count  ? 1
                    : o == over.count ? -1
                                      : str_cmp(under.items[u].name, over.items[o].name);
        pairs[count++] = order < 0 ? under.items[u] : over.items[o];
        u += order <= 0;
        o += order >= 0;
    }
    *ret_count = count;
    return pairs;
}
