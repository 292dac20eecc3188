#include "str.h"

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_eq_nocase(struct str a, struct str b) {
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s) {
    while (s.size > 0 && is_blank(s.data[0])) {
        s.data++;
        s.size--;
    }
    while (s.size > 0 && is_blank(s.data[s.size - 1]))
        s.size--;
    return s;
}

const char *str_find(struct str haystack, struct str needle) {
    if (needle.size == 0)
        return haystack.data;
    if (needle.size > haystack.size)
        return NULL;
    if (needle.size == 1)
        return memchr(haystack.data, needle.data[0], haystack.size);
    return memmem(haystack.data, haystack.size, needle.data, needle.size);
}
