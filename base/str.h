/* str: a borrowed view of bytes. It owns nothing and is passed by value. Bytes may hold anything,
 * NUL included; nothing here looks for a terminator. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data;
    size_t size;
};

#ifndef __cplusplus /* C++ (regex.cc) needs the struct alone */

/* A view of a string literal. */
#define STR(literal) ((struct str){.data = "" literal, .size = sizeof(literal) - 1})

/* The same as the initialiser of a static object, which may not hold a compound literal. */
#define STR_INIT(literal)                                                                          \
    { .data = "" literal, .size = sizeof(literal) - 1 }

static inline struct str str_make(const char *data, size_t size) {
    return (struct str){.data = data, .size = size};
}

static inline struct str str_from(const char *cstring) {
    return (struct str){.data = cstring, .size = cstring ? strlen(cstring) : 0};
}

static inline bool str_eq(struct str a, struct str b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte-wise order, a shorter prefix first: the order of labels everywhere. */
static inline int str_cmp(struct str a, struct str b) {
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    if (c != 0)
        return c;
    return (a.size > b.size) - (a.size < b.size);
}

static inline bool str_starts(struct str s, struct str prefix) {
    return s.size >= prefix.size &&
           (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

static inline bool str_ends(struct str s, struct str suffix) {
    return s.size >= suffix.size && (suffix.size == 0 || memcmp(s.data + s.size - suffix.size,
                                                                suffix.data, suffix.size) == 0);
}

/* The bytes from `from` on; empty when `from` is at or past the end. */
static inline struct str str_from_offset(struct str s, size_t from) {
    if (from >= s.size)
        return (struct str){.data = s.data + s.size, .size = 0};
    return (struct str){.data = s.data + from, .size = s.size - from};
}

/* What a hexadecimal digit of either case stands for; -1: it is none. */
static inline int hex_digit_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ASCII only: log fields and HTTP tokens. */
bool str_eq_nocase(struct str a, struct str b);

/* Without leading and trailing blanks, tabs, CR and LF. */
struct str str_trim(struct str s);

/* First occurrence of `needle`, or NULL; an empty needle is found at once. */
const char *str_find(struct str haystack, struct str needle);

/* For printf's "%.*s": STR_ARG(s) supplies both arguments. */
#define STR_ARG(s) (int)(s).size, (s).data

#endif
