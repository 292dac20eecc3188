/* textsearch against line-by-line matching: the first byte chooses options, the pattern ends at the first NUL, the rest is the
 * text. Counts and selected lines are the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "logql.h"
#include "regex.h"
#include "textsearch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATTERN_MAX = 100, TEXT_MAX = 64 << 10 };

static void compare(const struct options *o, const struct regex *re, struct textsearch *t,
                    struct str text) {
    uint64_t selected = 0;
    size_t from = 0, at = 0;
    textsearch_begin(t, text);
    while (at < text.size) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        struct str line = str_make(text.data + at, size), found;
        bool wanted = (!re || regex_matches(re, line)) != o->invert;
        if (wanted) {
            size_t next;
            assert(textsearch_next(t, from, &found, &next));
            assert(found.data == line.data && found.size == line.size);
            from = next;
            selected++;
        }
        at += size + 1;
    }
    struct str none;
    size_t next;
    assert(!textsearch_next(t, from, &none, &next));
    assert(textsearch_count(t, text) == selected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct options o;
    char pattern[PATTERN_MAX + 1];
    struct buf text = buf_make(PATTERN_MAX * 10);
    struct regex *re = NULL;
    struct textsearch *t = NULL;
    struct err err = {0};
    if (size < 2)
        return 0;
    uint8_t flags = data[0];
    o = (struct options){.ignore_case = flags & 1,
                         .invert = flags & 2,
                         .fixed = flags & 4,
                         .word = flags & 8,
                         .whole_line = flags & 16,
                         .smart_case = flags & 32};
    size_t n = 0;
    for (; n < PATTERN_MAX && 1 + n < size && data[1 + n] && data[1 + n] != '\n'; n++)
        pattern[n] = (char)data[1 + n];
    pattern[n] = '\0';
    size_t at = 1 + n + (1 + n < size);
    size_t text_size = size - at < TEXT_MAX ? size - at : TEXT_MAX;
    const char *patterns[] = {pattern};
    if (logql_pattern(&o, patterns, 1, &text, &err) == 0 &&
        textsearch_new(&o, patterns, 1, &t, &err) == 0) {
        if (text.size == 0 || regex_compile(buf_str(&text), false, &re, &err) == 0)
            compare(&o, re, t, str_make((const char *)data + at, text_size));
    }
    regex_free(re);
    textsearch_free(t);
    buf_done(&text);
    return 0;
}
