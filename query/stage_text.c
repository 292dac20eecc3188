/* Stages that take labels out of the line by other means than json and logfmt (regexp, pattern), and
 * decolorize. */
#include "stage.h"

#include <errno.h>

#include "pattern.h"
#include "regex.h"

/* ---- regexp */

int regexp_compile(struct stage_compiler *c, const struct regex *regex, struct step *ret) {
    size_t count = regex_group_count(regex) + 1;
    uint32_t *names = arena_array(c->arena, count, sizeof(*names));
    if (!names)
        return -ENOMEM;
    names[0] = NAME_NONE;
    for (size_t i = 1; i < count; i++) {
        struct str name = regex_group_name(regex, i);
        names[i] = name.size > 0 ? compiler_name(c, name) : NAME_NONE;
        if (name.size > 0 && names[i] == NAME_NONE)
            return -ENOMEM;
    }
    ret->regexp.regex = regex;
    ret->regexp.names = names;
    ret->regexp.count = count;
    return 0;
}

/* A parser stage's label under the name it may bear; nothing when the query does not want it or has it. False
 * when an early filter refuses it. */
static bool extract(struct run *r, uint32_t name, struct str value) {
    uint32_t id = labelset_target(r->set, name);
    if (id == NAME_NONE || !labelset_wants(r->set, id) || labelset_extracted(r->set, id))
        return true;
    labelset_set(r->set, GROUP_PARSED, id, value);
    return !run_refuses(r, id, value);
}

bool regexp_run(const struct step *s, struct run *r) {
    struct str groups[REGEX_GROUPS_MAX + 1];
    size_t count = s->regexp.count;
    if (count > REGEX_GROUPS_MAX + 1)
        count = REGEX_GROUPS_MAX + 1;
    if (labelset_nothing_wanted(r->set) || !regex_find(s->regexp.regex, r->line, 0, groups, count))
        return true;
    for (size_t i = 1; i < count; i++) {
        struct str value = groups[i].data ? groups[i] : STR("");
        if (s->regexp.names[i] != NAME_NONE && !extract(r, s->regexp.names[i], value))
            return false;
    }
    return true;
}

/* ---- pattern */

int pattern_stage_compile(struct stage_compiler *c, struct str text, struct step *ret) {
    int r = pattern_compile(c, text, false, &ret->pattern.pattern);
    if (r < 0)
        return r;
    const struct capture_pattern *p = ret->pattern.pattern;
    uint32_t *names = arena_array(c->arena, p->n_names, sizeof(*names));
    if (!names)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (!p->parts[i].is_capture || p->parts[i].text.size == 0)
            continue;
        names[n] = compiler_name(c, p->parts[i].text);
        if (names[n++] == NAME_NONE)
            return -ENOMEM;
    }
    ret->pattern.names = names;
    return 0;
}

bool pattern_run(const struct step *s, struct run *r) {
    if (labelset_nothing_wanted(r->set))
        return true;
    struct str values[PATTERN_PARTS_MAX];
    size_t count = pattern_capture(s->pattern.pattern, r->line, values);
    for (size_t i = 0; i < count; i++)
        if (!extract(r, s->pattern.names[i], values[i]))
            return false;
    return true;
}

/* ---- decolorize */

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool ends_sequence(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'P') || c == 'R' || c == 'Z' || c == 'c' ||
           (c >= 'f' && c <= 'n') || c == 't' || c == 'q' || c == 'r' || c == 'y' || c == '=' ||
           c == '>' || c == '<' || c == '~';
}

/* Letters and digits in groups apart by ';', ended by BEL (titles and links). */
static const char *title_end(const char *p, const char *end) {
    while (p < end && (is_alnum(*p) || *p == ';'))
        p++;
    return p < end && *p == '\a' ? p + 1 : NULL;
}

/* Up to four digits, more of them behind ';', then the letter that says what to do. Of several readings the one
 * that takes most numbers counts, as a backtracking matcher has it. */
static const char *control_end(const char *p, const char *end) {
    const char *best = p < end && ends_sequence(*p) ? p + 1 : NULL;
    const char *at = p;
    size_t digits = 0;
    while (at < end && digits < 4 && *at >= '0' && *at <= '9') {
        at++;
        digits++;
        if (at < end && ends_sequence(*at))
            best = at + 1;
    }
    while (digits > 0 && at < end && *at == ';') {
        at++;
        if (at < end && ends_sequence(*at))
            best = at + 1;
        for (size_t n = 0; n < 4 && at < end && *at >= '0' && *at <= '9'; n++) {
            at++;
            if (at < end && ends_sequence(*at))
                best = at + 1;
        }
    }
    return best;
}

/* Behind the escape sequence at p; NULL when it is none. */
static const char *sequence_end(const char *p, const char *end) {
    if (*p == '\x1b')
        p++;
    else if (end - p >= 2 && p[0] == '\xc2' && p[1] == '\x9b')
        p += 2;
    else
        return NULL;
    while (p < end && memchr("[]()#;?", *p, 7))
        p++;
    const char *after = title_end(p, end);
    return after ? after : control_end(p, end);
}

void decolorize_run(struct run *r) {
    struct str line = r->line;
    if (line.size == 0 ||
        (!memchr(line.data, '\x1b', line.size) && !memmem(line.data, line.size, "\xc2\x9b", 2)))
        return;
    char *out = run_scratch(r, line.size);
    if (!out)
        return;
    size_t size = 0;
    const char *end = line.data + line.size;
    for (const char *p = line.data; p < end;) {
        const char *after = sequence_end(p, end);
        if (after)
            p = after;
        else
            out[size++] = *p++;
    }
    r->line = str_make(out, size);
}
