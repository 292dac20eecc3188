/* config_yaml: the settings file. Walks libyaml's events, never a document tree: no recursion,
 * no aliases (a few bytes of those can stand for gigabytes). A key's path is the names of the
 * mappings around it joined by dots. */
#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "config_keys.h"
#include "units.h"

enum {
    PATH_MAX_BYTES = 256,
    RULES_MAX = 1000,      /* retention_stream */
    ITEMS_MAX = 1000,      /* of a list */
    SKIP_DEPTH_MAX = 1000, /* of a section that is not used */
};

struct walk {
    struct config_file *file;
    yaml_parser_t parser;
    yaml_event_t event;
    char path[PATH_MAX_BYTES]; /* of the present mapping */
    size_t path_size;
    bool *seen; /* by index of the table */
    struct err *reterr;
};

static int fail(struct walk *w, const char *text) {
    return err_set(w->reterr, -ESYNTAX, "%s:%zu: %s", w->file->name, w->event.start_mark.line + 1,
                   text);
}

/* Reads the next event into w->event. */
static int next(struct walk *w) {
    yaml_event_delete(&w->event);
    if (!yaml_parser_parse(&w->parser, &w->event)) {
        size_t line = w->parser.problem_mark.line + 1;
        return err_set(w->reterr, -ESYNTAX, "%s:%zu: %s", w->file->name, line,
                       w->parser.problem ? w->parser.problem : "not YAML");
    }
    const yaml_char_t *anchor = NULL;
    if (w->event.type == YAML_SCALAR_EVENT)
        anchor = w->event.data.scalar.anchor;
    else if (w->event.type == YAML_SEQUENCE_START_EVENT)
        anchor = w->event.data.sequence_start.anchor;
    else if (w->event.type == YAML_MAPPING_START_EVENT)
        anchor = w->event.data.mapping_start.anchor;
    if (anchor || w->event.type == YAML_ALIAS_EVENT)
        return fail(w, "anchors and aliases are not supported");
    return 0;
}

static struct str scalar(const struct walk *w) {
    return str_make((const char *)w->event.data.scalar.value, w->event.data.scalar.length);
}

/* An empty or `null` or `~` plain scalar: the key keeps its default. */
static bool is_null(const struct walk *w) {
    struct str text = scalar(w);
    return w->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.size == 0 || str_eq(text, STR("~")) || str_eq(text, STR("null")));
}

/* Skips the value whose first event is w->event. */
static int skip_value(struct walk *w) {
    unsigned depth = 0;
    for (;;) {
        switch ((int)w->event.type) {
        case YAML_MAPPING_START_EVENT:
        case YAML_SEQUENCE_START_EVENT:
            if (++depth > SKIP_DEPTH_MAX)
                return fail(w, "nested too deep");
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
        int r = next(w);
        if (r < 0)
            return r;
    }
}

static int read_list(struct walk *w, const struct config_key *key) {
    struct str *items = NULL;
    size_t count = 0;
    int r = 0;
    if (key->type != KEY_LIST)
        return fail(w, "a list where one value belongs");
    items = arena_array(&w->file->config->arena, ITEMS_MAX, sizeof(*items));
    if (!items)
        return fail(w, "out of memory");
    for (;;) {
        r = next(w);
        if (r < 0)
            return r;
        if (w->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (w->event.type != YAML_SCALAR_EVENT || count >= ITEMS_MAX)
            return fail(w, "a list of at most 1000 texts belongs here");
        items[count] = arena_copy(&w->file->config->arena, scalar(w));
        if (!items[count++].data)
            return fail(w, "out of memory or an empty item");
    }
    return config_key_set_list(w->file->config, key, items, count, w->reterr);
}

static int set_key(struct walk *w, const struct config_key *key) {
    size_t index = (size_t)(key - config_keys);
    if (w->seen[index])
        return fail(w, "the key is set twice");
    w->seen[index] = true;
    if (w->event.type == YAML_SEQUENCE_START_EVENT)
        return read_list(w, key);
    if (w->event.type != YAML_SCALAR_EVENT)
        return fail(w, "one value belongs here, not a section");
    if (is_null(w))
        return 0;
    size_t line = w->event.start_mark.line + 1;
    int r = config_key_set(w->file->config, key, scalar(w), w->reterr);
    return r < 0 ? err_prefix(w->reterr, r, "%s:%zu", w->file->name, line) : 0;
}

/* ---- limits_config.retention_stream */

static int set_rule_field(struct walk *w, struct config_retention *rule, struct str name,
                          struct str value) {
    int64_t number;
    if (str_eq(name, STR("selector"))) {
        rule->selector = arena_copy(&w->file->config->arena, value);
        return rule->selector.data ? 0 : fail(w, "empty selector");
    }
    if (str_eq(name, STR("priority"))) {
        if (i64_parse(value, &number) < 0 || number < INT32_MIN || number > INT32_MAX)
            return fail(w, "limits_config.retention_stream: priority must be a whole number");
        rule->priority = (int32_t)number;
        return 0;
    }
    if (str_eq(name, STR("period"))) {
        if (duration_parse_setting(value, &number) < 0 || number < 0)
            return fail(w, "limits_config.retention_stream: period must be a duration like 30d");
        rule->period_ns = number;
        return 0;
    }
    return fail(w,
                "limits_config.retention_stream: only selector, priority and period belong here");
}

static int read_rule(struct walk *w, struct config_retention *rule) {
    *rule = (struct config_retention){.period_ns = -1};
    for (;;) {
        int r = next(w);
        if (r < 0)
            return r;
        if (w->event.type == YAML_MAPPING_END_EVENT)
            break;
        char name[16];
        if (w->event.type != YAML_SCALAR_EVENT || scalar(w).size >= sizeof(name))
            return fail(w, "limits_config.retention_stream: unknown key");
        struct str text = scalar(w);
        memcpy(name, text.data, text.size);
        r = next(w);
        if (r < 0)
            return r;
        if (w->event.type != YAML_SCALAR_EVENT)
            return fail(w, "limits_config.retention_stream: one value belongs here");
        r = set_rule_field(w, rule, str_make(name, text.size), scalar(w));
        if (r < 0)
            return r;
    }
    if (!rule->selector.data || rule->period_ns < 0)
        return fail(w, "limits_config.retention_stream: a rule needs selector and period");
    return 0;
}

static int read_rules(struct walk *w) {
    struct config_file *f = w->file;
    if (w->event.type == YAML_SCALAR_EVENT && is_null(w))
        return 0;
    if (w->event.type != YAML_SEQUENCE_START_EVENT)
        return fail(w, "limits_config.retention_stream: a list of rules belongs here");
    f->rules = arena_array(&f->config->arena, RULES_MAX, sizeof(*f->rules));
    if (!f->rules)
        return fail(w, "out of memory");
    for (;;) {
        int r = next(w);
        if (r < 0)
            return r;
        if (w->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        if (w->event.type != YAML_MAPPING_START_EVENT || f->n_rules >= RULES_MAX)
            return fail(w, "limits_config.retention_stream: at most 1000 rules, each a mapping");
        r = read_rule(w, &f->rules[f->n_rules]);
        if (r < 0)
            return r;
        f->n_rules++;
    }
}

/* ---- mappings */

static int push_name(struct walk *w, struct str name) {
    size_t dot = w->path_size > 0;
    if (name.size == 0 || name.size + dot >= sizeof(w->path) - w->path_size)
        return fail(w, "empty or overlong key");
    if (dot)
        w->path[w->path_size++] = '.';
    memcpy(w->path + w->path_size, name.data, name.size);
    w->path_size += name.size;
    return 0;
}

static void pop_name(struct walk *w) {
    while (w->path_size > 0 && w->path[w->path_size - 1] != '.')
        w->path_size--;
    if (w->path_size > 0)
        w->path_size--;
}

/* One key of the present mapping and its value. Entering a section leaves the path longer. */
static int read_member(struct walk *w) {
    if (w->event.type != YAML_SCALAR_EVENT)
        return fail(w, "a key must be text");
    int r = push_name(w, scalar(w));
    if (r < 0)
        return r;
    size_t line = w->event.start_mark.line + 1;
    r = next(w);
    if (r < 0)
        return r;
    struct str path = str_make(w->path, w->path_size);
    const struct config_key *key = config_key_find(path);
    if (key) {
        r = set_key(w, key);
    } else if (str_eq(path, STR("limits_config.retention_stream"))) {
        r = read_rules(w);
    } else if (config_key_is_section(path)) {
        if (w->event.type == YAML_MAPPING_START_EVENT)
            return 0;
        r = w->event.type == YAML_SCALAR_EVENT && is_null(w) ? 0
                                                             : fail(w, "a section belongs here");
    } else {
        r = config_warn(w->file->config, "%s:%zu: %.*s is not used by logqd", w->file->name, line,
                        STR_ARG(path));
        if (r == 0)
            r = skip_value(w);
    }
    pop_name(w);
    return r;
}

static int read_mappings(struct walk *w) {
    for (;;) {
        int r = next(w);
        if (r < 0)
            return r;
        if (w->event.type == YAML_MAPPING_END_EVENT) {
            if (w->path_size == 0)
                return 0;
            pop_name(w);
            continue;
        }
        r = read_member(w);
        if (r < 0)
            return r;
    }
}

static int read_stream(struct walk *w) {
    int r;
    do {
        r = next(w);
        if (r < 0)
            return r;
    } while (w->event.type == YAML_STREAM_START_EVENT ||
             w->event.type == YAML_DOCUMENT_START_EVENT);
    if (w->event.type == YAML_STREAM_END_EVENT)
        return 0;
    if (w->event.type == YAML_SCALAR_EVENT && is_null(w))
        return 0;
    if (w->event.type != YAML_MAPPING_START_EVENT)
        return fail(w, "the file must hold keys and values");
    r = read_mappings(w);
    if (r == 0)
        r = next(w); /* end of the document */
    if (r == 0)
        r = next(w);
    if (r == 0 && w->event.type != YAML_STREAM_END_EVENT)
        return fail(w, "only one document belongs here");
    return r;
}

int config_yaml_read(struct config_file *f, struct str text, struct err *reterr) {
    struct walk w = {.file = f, .reterr = reterr};
    w.seen = calloc(config_keys_count, sizeof(*w.seen));
    if (!w.seen || !yaml_parser_initialize(&w.parser)) {
        free(w.seen);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)text.data, text.size);
    int r = read_stream(&w);
    yaml_event_delete(&w.event);
    yaml_parser_delete(&w.parser);
    free(w.seen);
    return r;
}
