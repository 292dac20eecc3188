/* First line: a pattern; the rest: a line. As a parser stage and as a |> filter, against the rules written down the
 * obvious way. */
#include <stdio.h>
#include <stdlib.h>

#include "parser_private.h"
#include "pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what, struct str pattern, struct str line) {
    printf("%s: pattern %.*s, line %.*s\n", what, STR_ARG(pattern), STR_ARG(line));
    abort();
}

/* What the captures and the texts between them were must be the line's start, or all of it when a text is missing. */
static void check_captures(const struct capture_pattern *p, struct str pattern, struct str line) {
    struct str values[PATTERN_PARTS_MAX];
    size_t count = pattern_capture(p, line, values), seen = 0;
    const char *at = line.data, *end = line.data + line.size;
    if (count > p->n_names)
        fail("too many captures", pattern, line);
    for (size_t i = 0; i < p->count && seen < count; i++) {
        const struct pattern_part *part = &p->parts[i];
        if (!part->is_capture || part->text.size == 0)
            continue;
        struct str value = values[seen++];
        if (value.data < at || value.data + value.size > end)
            fail("a capture out of its place", pattern, line);
        at = value.data + value.size;
        if (i + 1 < p->count && at < end &&
            !str_starts(str_make(at, (size_t)(end - at)), p->parts[i + 1].text))
            fail("a capture before another text", pattern, line);
    }
}

static size_t find_from(struct str line, size_t at, struct str part) {
    for (; at + part.size <= line.size; at++)
        if (memcmp(line.data + at, part.data, part.size) == 0)
            return at;
    return SIZE_MAX;
}

static bool matches(const struct capture_pattern *p, struct str line) {
    if (p->count == 0 || line.size == 0)
        return p->count == 0 && line.size == 0;
    size_t at = 0;
    bool after_capture = false;
    for (size_t i = 0; i < p->count; i++) {
        after_capture = p->parts[i].is_capture;
        if (after_capture)
            continue;
        size_t found = find_from(line, at, p->parts[i].text);
        if (found == SIZE_MAX || (i > 0 && found == at))
            return false;
        at = found + p->parts[i].text.size;
    }
    return after_capture ? at < line.size : at == line.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str line = str_make((const char *)data, size);
    const char *newline = size > 0 ? memchr(line.data, '\n', size) : NULL;
    struct str pattern = str_make(line.data, newline ? (size_t)(newline - line.data) : size);
    line = str_from_offset(line, pattern.size + (newline != NULL));
    struct arena arena = arena_make(64 << 20);
    for (int filter = 0; filter < 2; filter++) {
        struct err checked = {.text = ""}, compiled = {.text = ""};
        struct stage_compiler c = {.arena = &arena, .reterr = &compiled};
        const struct capture_pattern *p;
        bool good = pattern_check(pattern, filter, &checked) == 0;
        if (pattern_compile(&c, pattern, filter, &p) < 0) {
            if (good && !strstr(compiled.text, "more than"))
                fail("checked, but not compiled", pattern, line);
            continue;
        }
        if (!good && !strstr(checked.text, "more than"))
            fail("compiled, but not checked", pattern, line);
        if (!filter)
            check_captures(p, pattern, line);
        else if (pattern_matches(p, line) != matches(p, line))
            fail("filter", pattern, line);
    }
    arena_done(&arena);
    return 0;
}
