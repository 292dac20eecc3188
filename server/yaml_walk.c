#include "yaml_walk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { SKIP_DEPTH_MAX = 1000 /* of a section that is not used */ };

int yaml_walk_begin(struct yaml_walk *w, const char *name, struct str text, struct err *reterr) {
    *w = (struct yaml_walk){.name = name, .reterr = reterr};
    if (!yaml_parser_initialize(&w->parser))
        return err_set(reterr, -ENOMEM, "out of memory");
    yaml_parser_set_input_string(&w->parser, (const unsigned char *)text.data, text.size);
    return 0;
}

void yaml_walk_end(struct yaml_walk *w) {
    yaml_event_delete(&w->event);
    yaml_parser_delete(&w->parser);
}

int yaml_walk_fail(struct yaml_walk *w, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return err_set(w->reterr, -ESYNTAX, "%s:%zu: %s", w->name, yaml_walk_line(w), text);
}

int yaml_walk_next(struct yaml_walk *w) {
    yaml_event_delete(&w->event);
    if (!yaml_parser_parse(&w->parser, &w->event)) {
        size_t line = w->parser.problem_mark.line + 1;
        const char *problem = w->parser.problem ? w->parser.problem : "not YAML";
        bool is_start = strcmp(problem, "found character that cannot start any token") == 0;
        return err_set(w->reterr, -ESYNTAX, "%s:%zu: %s%s", w->name, line, problem,
                       is_start ? ": a tab? YAML is indented with spaces" : "");
    }
    const yaml_char_t *anchor = NULL;
    if (w->event.type == YAML_SCALAR_EVENT)
        anchor = w->event.data.scalar.anchor;
    else if (w->event.type == YAML_SEQUENCE_START_EVENT)
        anchor = w->event.data.sequence_start.anchor;
    else if (w->event.type == YAML_MAPPING_START_EVENT)
        anchor = w->event.data.mapping_start.anchor;
    if (anchor || w->event.type == YAML_ALIAS_EVENT)
        return yaml_walk_fail(w, "anchors and aliases are not supported");
    return 0;
}

int yaml_walk_open(struct yaml_walk *w) {
    int r;
    do {
        r = yaml_walk_next(w);
        if (r < 0)
            return r;
    } while (w->event.type == YAML_STREAM_START_EVENT ||
             w->event.type == YAML_DOCUMENT_START_EVENT);
    if (w->event.type == YAML_STREAM_END_EVENT)
        return 0;
    if (w->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(w))
        return 0;
    if (w->event.type != YAML_MAPPING_START_EVENT)
        return yaml_walk_fail(w, "the file must hold keys and values");
    return 1;
}

int yaml_walk_close(struct yaml_walk *w) {
    int r = yaml_walk_next(w); /* end of the document */
    if (r == 0)
        r = yaml_walk_next(w);
    if (r == 0 && w->event.type != YAML_STREAM_END_EVENT)
        return yaml_walk_fail(w, "only one document belongs here");
    return r;
}

int yaml_walk_skip(struct yaml_walk *w) {
    unsigned depth = 0;
    for (;;) {
        switch ((int)w->event.type) {
        case YAML_MAPPING_START_EVENT:
        case YAML_SEQUENCE_START_EVENT:
            if (++depth > SKIP_DEPTH_MAX)
                return yaml_walk_fail(w, "nested too deep");
            break;
        case YAML_MAPPING_END_EVENT:
        case YAML_SEQUENCE_END_EVENT:
            depth--;
            break;
        default:
            break;
        }
        if (depth == 0)
            return 0;
        int r = yaml_walk_next(w);
        if (r < 0)
            return r;
    }
}

struct str yaml_walk_text(const struct yaml_walk *w) {
    return str_make((const char *)w->event.data.scalar.value, w->event.data.scalar.length);
}

size_t yaml_walk_line(const struct yaml_walk *w) {
    return w->event.start_mark.line + 1;
}

bool yaml_walk_is_null(const struct yaml_walk *w) {
    struct str text = yaml_walk_text(w);
    return w->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.size == 0 || str_eq(text, STR("~")) || str_eq(text, STR("null")));
}

static int copy_text(struct yaml_walk *w, struct arena *arena, struct str *ret) {
    *ret = arena_copy(arena, yaml_walk_text(w));
    return ret->data ? 0 : yaml_walk_fail(w, "out of memory");
}

int yaml_walk_member(struct yaml_walk *w, struct arena *arena, struct str *ret_name) {
    int r = yaml_walk_next(w);
    if (r < 0)
        return r;
    if (w->event.type == YAML_MAPPING_END_EVENT)
        return 0;
    if (w->event.type != YAML_SCALAR_EVENT)
        return yaml_walk_fail(w, "a key must be text");
    r = copy_text(w, arena, ret_name);
    return r < 0 ? r : 1;
}

int yaml_walk_value(struct yaml_walk *w, struct arena *arena, struct str *ret) {
    int r = yaml_walk_next(w);
    if (r < 0)
        return r;
    if (w->event.type != YAML_SCALAR_EVENT)
        return yaml_walk_fail(w, "one value belongs here");
    if (yaml_walk_is_null(w)) {
        *ret = STR("");
        return 0;
    }
    return copy_text(w, arena, ret);
}

int yaml_walk_texts(struct yaml_walk *w, struct arena *arena, size_t max, struct str **ret,
                    size_t *ret_count) {
    if (w->event.type != YAML_SEQUENCE_START_EVENT)
        return yaml_walk_fail(w, "a list of at most %zu texts belongs here", max);
    struct str *items = arena_array(arena, max, sizeof(*items));
    if (!items)
        return yaml_walk_fail(w, "out of memory");
    for (size_t count = 0;; count++) {
        int r = yaml_walk_next(w);
        if (r < 0)
            return r;
        if (w->event.type == YAML_SEQUENCE_END_EVENT) {
            *ret = items;
            *ret_count = count;
            return 0;
        }
        if (w->event.type != YAML_SCALAR_EVENT || count >= max)
            return yaml_walk_fail(w, "a list of at most %zu texts belongs here", max);
        r = copy_text(w, arena, &items[count]);
        if (r < 0)
            return r;
    }
}
