#include "finder.h"

#include <stdlib.h>

#include "test.h"

static unsigned char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

static const char *slow(struct str haystack, struct str needle, bool fold) {
    for (size_t i = 0; i + needle.size <= haystack.size; i++) {
        size_t j = 0;
        while (j < needle.size && (fold ? lower(haystack.data[i + j]) == lower(needle.data[j])
                                        : haystack.data[i + j] == needle.data[j]))
            j++;
        if (j == needle.size)
            return haystack.data + i;
    }
    return NULL;
}

static void finds_by_hand(void) {
    const struct {
        struct str haystack, needle;
        int at;
    } cases[] = {
        {STR("Connection Refused"), STR("refused"), 11},
        {STR("connection refused"), STR("REFUSED"), 11},
        {STR("connection refuse"), STR("refused"), -1},
        {STR("xxA"), STR("a"), 2},
        {STR("[{"), STR("{["), -1},
        {STR("@"), STR("`"), -1}, /* differ by 0x20 alone, and are no letters */
        {STR("[ERROR]"), STR("{error}"), -1},
        {STR("abc"), STR(""), 0},
        {STR(""), STR("a"), -1},
        {STR("\xc3\x89"), STR("\xc3\xa9"), -1},
        {STR("0123456789abcdefghijklmnopqrstuvwxyz END"), STR("end"), 37},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct finder f = finder_make(cases[i].needle, true);
        const char *hit = finder_find(&f, cases[i].haystack);
        CHECK_INT(hit ? hit - cases[i].haystack.data : -1, cases[i].at);
    }
}

/* Exact allocations, so that a sanitizer sees any read behind the end. */
static void agrees_with_slow_search(void) {
    static const char letters[] = "aAbB[{ ";
    srand(7);
    for (int round = 0; round < 20000; round++) {
        size_t h = (size_t)rand() % 80, n = 1 + (size_t)rand() % 6;
        char *haystack = malloc(h ? h : 1), *needle = malloc(n);
        for (size_t i = 0; i < h; i++)
            haystack[i] = letters[(size_t)rand() % (sizeof(letters) - 1)];
        for (size_t i = 0; i < n; i++)
            needle[i] = letters[(size_t)rand() % (sizeof(letters) - 1)];
        struct str hs = str_make(haystack, h), ns = str_make(needle, n);
        for (int fold = 0; fold < 2; fold++) {
            struct finder f = finder_make(ns, fold);
            CHECK(finder_find(&f, hs) == slow(hs, ns, fold));
        }
        free(haystack);
        free(needle);
    }
}

int main(void) {
    RUN(finds_by_hand);
    RUN(agrees_with_slow_search);
    return test_done();
}
