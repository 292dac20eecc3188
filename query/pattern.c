#include "pattern.h"

#include <errno.h>

/* "<name>" at the front of s; an empty str when there is none: then '<' is text. */
static struct str capture_ahead(struct str s) {
    const char *close = memchr(s.data, '>', s.size);
    if (s.data[0] != '<' || !close)
        return STR("");
    struct str name = str_make(s.data + 1, (size_t)(close - s.data - 1));
    return label_name_valid(name) ? name : STR("");
}

static int split(struct stage_compiler *c, struct str text, struct pattern_part *parts,
                 size_t *ret_count) {
    size_t count = 0, from = 0, at = 0;
    while (at < text.size) {
        struct str name = text.data[at] == '<' ? capture_ahead(str_from_offset(text, at)) : STR("");
        if (name.size == 0) {
            at++;
            continue;
        }
        if (count + 2 > PATTERN_PARTS_MAX)
            return err_set(c->reterr, -ESYNTAX, "more than %d parts", PATTERN_PARTS_MAX);
        if (at > from)
            parts[count++] = (struct pattern_part){.text = str_make(text.data + from, at - from)};
        parts[count++] = (struct pattern_part){.text = name, .is_capture = true};
        at += name.size + 2;
        from = at;
    }
    if (text.size > from) {
        if (count == PATTERN_PARTS_MAX)
            return err_set(c->reterr, -ESYNTAX, "more than %d parts", PATTERN_PARTS_MAX);
        parts[count++] =
            (struct pattern_part){.text = str_make(text.data + from, text.size - from)};
    }
    *ret_count = count;
    return 0;
}

static int check(struct stage_compiler *c, const struct pattern_part *parts, size_t count,
                 bool filter, size_t *ret_names) {
    size_t captures = 0, names = 0;
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].is_capture)
            continue;
        captures++;
        if (i > 0 && parts[i - 1].is_capture)
            return err_set(c->reterr, -ESYNTAX,
                           "found consecutive capture '<%.*s><%.*s>': invalid expression",
                           STR_ARG(parts[i - 1].text), STR_ARG(parts[i].text));
        if (str_eq(parts[i].text, STR("_")))
            continue;
        names++;
        for (size_t j = 0; j < i; j++)
            if (parts[j].is_capture && str_eq(parts[j].text, parts[i].text))
                return err_set(c->reterr, -ESYNTAX,
                               "duplicate capture name (%.*s): invalid expression",
                               STR_ARG(parts[i].text));
    }
    *ret_names = names;
    if (filter && names > 0)
        return err_set(c->reterr, -ESYNTAX, "named captures are not allowed");
    if (!filter && names == 0)
        return err_set(c->reterr, -ESYNTAX, "at least one capture is required");
    return 0;
}

int pattern_compile(struct stage_compiler *c, struct str text, bool filter,
                    const struct capture_pattern **ret) {
    struct pattern_part *parts = arena_array(c->arena, PATTERN_PARTS_MAX, sizeof(*parts));
    struct capture_pattern *p = arena_array(c->arena, 1, sizeof(*p));
    if (!parts || !p)
        return -ENOMEM;
    int r = split(c, text, parts, &p->count);
    if (r == 0)
        r = check(c, parts, p->count, filter, &p->n_names);
    if (r < 0)
        return r;
    for (size_t i = 0; i < p->count; i++)
        if (parts[i].is_capture && str_eq(parts[i].text, STR("_")))
            parts[i].text = STR("");
    p->parts = parts;
    *ret = p;
    return 0;
}

size_t pattern_capture(const struct capture_pattern *p, struct str line, struct str *ret) {
    size_t count = 0, i = 0;
    if (line.size == 0)
        return 0;
    if (!p->parts[0].is_capture) {
        if (!str_starts(line, p->parts[0].text))
            return 0;
        line = str_from_offset(line, p->parts[0].text.size);
        i = 1;
    }
    /* From here on captures and texts take turns. */
    for (; i < p->count; i += 2) {
        bool named = p->parts[i].text.size > 0;
        const char *found = i + 1 < p->count ? str_find(line, p->parts[i + 1].text) : NULL;
        if (!found) {
            if (named)
                ret[count++] = line;
            return count;
        }
        size_t size = (size_t)(found - line.data);
        if (named)
            ret[count++] = str_make(line.data, size);
        line = str_from_offset(line, size + p->parts[i + 1].text.size);
    }
    return count;
}

/* Each text at its first place behind the one before. A capture between two of them, or at either end, is never
 * empty; only a text in front may stand anywhere. */
bool pattern_matches(const struct capture_pattern *p, struct str line) {
    if (p->count == 0 || line.size == 0)
        return p->count == 0 && line.size == 0;
    for (size_t i = 0; i < p->count; i++) {
        if (p->parts[i].is_capture)
            continue;
        const char *found = str_find(line, p->parts[i].text);
        if (!found || (i > 0 && found == line.data))
            return false;
        line = str_from_offset(line, (size_t)(found - line.data) + p->parts[i].text.size);
    }
    return p->parts[p->count - 1].is_capture == (line.size > 0);
}
