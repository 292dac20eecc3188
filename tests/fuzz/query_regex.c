/* First line: a pattern; the rest: a text. The facts about the pattern must agree with RE2 about the text. */
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(char a, char b, bool fold) {
    if (fold && a >= 'A' && a <= 'Z')
        a = (char)(a | 0x20);
    return a == b;
}

static bool starts(struct str text, struct str part, bool fold) {
    if (part.size > text.size)
        return false;
    for (size_t i = 0; i < part.size; i++)
        if (!same(text.data[i], part.data[i], fold))
            return false;
    return true;
}

static bool contains(struct str text, struct str part, bool fold) {
    for (size_t at = 0; at + part.size <= text.size; at++)
        if (starts(str_from_offset(text, at), part, fold))
            return true;
    return false;
}

static bool hits(struct str text, struct str part, bool anchored, bool fold) {
    return anchored ? text.size == part.size && starts(text, part, fold)
                    : contains(text, part, fold);
}

static bool agrees(const struct regex_facts *f, bool anchored, struct str text, bool matched) {
    bool any = f->n_any_of == 0, exact = false;
    for (size_t i = 0; i < f->n_any_of; i++) {
        any = any || contains(text, f->any_of[i], f->fold_case);
        exact = exact || hits(text, f->any_of[i], anchored, f->fold_case);
    }
    if (matched && !any)
        return false;
    for (size_t i = 0; matched && i < f->n_required; i++)
        if (!contains(text, f->required[i], f->fold_case))
            return false;
    if (matched && text.size == 0 && !f->matches_empty)
        return false;
    if (f->is_set_exact && exact != matched)
        return false;
    return !f->is_literal || matched == hits(text, f->literal, anchored, f->fold_case);
}

/* U+212A and U+017F are "k" and "s" without case to RE2; the facts leave them out on purpose. */
static bool has_odd_case(struct str text) {
    return str_find(text, STR("\xe2\x84\xaa")) || str_find(text, STR("\xc5\xbf"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_make((const char *)data, size);
    const char *newline = size > 0 ? memchr(text.data, '\n', size) : NULL;
    struct str pattern = str_make(text.data, newline ? (size_t)(newline - text.data) : size);
    text = str_from_offset(text, pattern.size + 1);
    struct arena arena = arena_make(64 << 20);
    for (int anchored = 0; anchored < 2; anchored++) {
        struct regex_facts facts;
        struct err err;
        struct regex *re;
        regex_analyze(pattern, anchored, &arena, &facts);
        if (regex_compile(pattern, anchored, &re, &err) < 0)
            continue;
        struct str groups[4];
        bool matched = regex_matches(re, text);
        (void)regex_find(re, text, 0, groups, 4);
        if (!has_odd_case(text) && !has_odd_case(pattern) &&
            !agrees(&facts, anchored, text, matched)) {
            printf("pattern %.*s, text %.*s: %d\n", STR_ARG(pattern), STR_ARG(text), matched);
            abort();
        }
        regex_free(re);
    }
    arena_done(&arena);
    return 0;
}
