/* config_yaml: the settings file. A key's path is the names of the mappings around it joined by
 * dots. */
#include <errno.h>
#include <stdlib.h>

#include "config_keys.h"
#include "otlp_rules.h"
#include "units.h"
#include "yaml_walk.h"

enum {
    PATH_MAX_BYTES = 256,
    RULES_MAX = 1000, /* retention_stream */
    ITEMS_MAX = 1000, /* of a list */
};

struct walk {
    struct config_file *file;
    struct yaml_walk yaml;
    char path[PATH_MAX_BYTES]; /* of the present mapping */
    size_t path_size;
    bool *seen; /* by index of the table */
};

static int fail(struct walk *w, const char *text) {
    return yaml_walk_fail(&w->yaml, "%s", text);
}

static int next(struct walk *w) {
    return yaml_walk_next(&w->yaml);
}

static yaml_event_type_t event(const struct walk *w) {
    return w->yaml.event.type;
}

static struct str scalar(const struct walk *w) {
    return yaml_walk_text(&w->yaml);
}

static bool is_null(const struct walk *w) {
    return yaml_walk_is_null(&w->yaml);
}

static int read_list(struct walk *w, const struct config_key *key) {
    struct str *items;
    size_t count;
    if (key->type != KEY_LIST)
        return fail(w, "a list where one value belongs");
    int r = yaml_walk_texts(&w->yaml, &w->file->config->arena, ITEMS_MAX, &items, &count);
    return r < 0 ? r : config_key_set_list(w->file->config, key, items, count, w->yaml.reterr);
}

static int set_key(struct walk *w, const struct config_key *key) {
    size_t index = (size_t)(key - config_keys);
    if (w->seen[index])
        return fail(w, "the key is set twice");
    w->seen[index] = true;
    if (event(w) == YAML_SEQUENCE_START_EVENT)
        return read_list(w, key);
    if (event(w) != YAML_SCALAR_EVENT)
        return fail(w, "one value belongs here, not a section");
    if (is_null(w))
        return 0;
    size_t line = yaml_walk_line(&w->yaml);
    int r = config_key_set(w->file->config, key, scalar(w), w->yaml.reterr);
    return r < 0 ? err_prefix(w->yaml.reterr, r, "%s:%zu", w->file->name, line) : 0;
}

/* ---- limits_config.retention_stream */

static int fail_rule(struct yaml_walk *y, const char *text) {
    return yaml_walk_fail(y, "limits_config.retention_stream: %s", text);
}

static int set_rule_field(struct yaml_walk *y, struct config_retention *rule, struct str name,
                          struct str value) {
    int64_t number;
    if (str_eq(name, STR("selector"))) {
        rule->selector = value;
        return value.size > 0 ? 0 : fail_rule(y, "empty selector");
    }
    if (str_eq(name, STR("priority"))) {
        if (i64_parse(value, &number) < 0 || number < INT32_MIN || number > INT32_MAX)
            return fail_rule(y, "priority must be a whole number");
        rule->priority = (int32_t)number;
        return 0;
    }
    if (str_eq(name, STR("period"))) {
        if (duration_parse_setting(value, &number) < 0 || number < 0)
            return fail_rule(y, "period must be a duration like 30d");
        rule->period_ns = number;
        return 0;
    }
    if (str_eq(name, STR("max_bytes")))
        return bytes_parse_setting(value, &rule->max_bytes) < 0
                   ? fail_rule(y, "max_bytes must be a size like 10GB")
                   : 0;
    return fail_rule(y, "only selector, priority, period and max_bytes belong here");
}

static int read_rule(struct yaml_walk *y, struct arena *arena, struct config_retention *rule) {
    *rule = (struct config_retention){.period_ns = -1};
    struct str name, value;
    int r;
    while ((r = yaml_walk_member(y, arena, &name)) > 0) {
        r = yaml_walk_value(y, arena, &value);
        if (r == 0)
            r = set_rule_field(y, rule, name, value);
        if (r < 0)
            return r;
    }
    if (r == 0 && (!rule->selector.data || (rule->period_ns < 0 && rule->max_bytes == 0)))
        return fail_rule(y, "a rule needs selector and period or max_bytes");
    return r;
}

int config_yaml_rules(struct yaml_walk *y, struct arena *arena, struct config_retention **ret,
                      size_t *ret_count) {
    if (y->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(y))
        return 0;
    if (y->event.type != YAML_SEQUENCE_START_EVENT)
        return fail_rule(y, "a list of rules belongs here");
    struct config_retention *rules = arena_array(arena, RULES_MAX, sizeof(*rules));
    if (!rules)
        return fail_rule(y, "out of memory");
    for (size_t count = 0;; count++) {
        int r = yaml_walk_next(y);
        if (r < 0)
            return r;
        if (y->event.type == YAML_SEQUENCE_END_EVENT) {
            *ret = rules;
            *ret_count = count;
            return 0;
        }
        if (y->event.type != YAML_MAPPING_START_EVENT || count >= RULES_MAX)
            return fail_rule(y, "at most 1000 rules, each a mapping");
        r = read_rule(y, arena, &rules[count]);
        if (r < 0)
            return r;
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
    if (event(w) != YAML_SCALAR_EVENT)
        return fail(w, "a key must be text");
    int r = push_name(w, scalar(w));
    if (r < 0)
        return r;
    size_t line = yaml_walk_line(&w->yaml);
    r = next(w);
    if (r < 0)
        return r;
    struct str path = str_make(w->path, w->path_size);
    const struct config_key *key = config_key_find(path);
    if (key) {
        r = set_key(w, key);
    } else if (str_eq(path, STR("limits_config.retention_stream"))) {
        r = config_yaml_rules(&w->yaml, &w->file->config->arena, &w->file->rules,
                              &w->file->n_rules);
    } else if (str_eq(path, STR("limits_config.otlp_config"))) {
        r = otlp_rules_read(&w->yaml, w->file->config);
    } else if (config_key_is_section(path)) {
        if (event(w) == YAML_MAPPING_START_EVENT)
            return 0;
        r = event(w) == YAML_SCALAR_EVENT && is_null(w) ? 0 : fail(w, "a section belongs here");
    } else {
        struct str near = config_key_near(path);
        r = config_warn(w->file->config, "%s:%zu: %.*s is not used by logqd%s%.*s%s", w->file->name,
                        line, STR_ARG(path), near.data ? ": did you mean " : "", STR_ARG(near),
                        near.data ? "?" : "");
        if (r == 0)
            r = yaml_walk_skip(&w->yaml);
    }
    pop_name(w);
    return r;
}

static int read_mappings(struct walk *w) {
    for (;;) {
        int r = next(w);
        if (r < 0)
            return r;
        if (event(w) == YAML_MAPPING_END_EVENT) {
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

static int read_document(struct walk *w) {
    int r = yaml_walk_open(&w->yaml);
    if (r <= 0)
        return r;
    r = read_mappings(w);
    return r < 0 ? r : yaml_walk_close(&w->yaml);
}

int config_yaml_read(struct config_file *f, struct str text, struct err *reterr) {
    struct walk w = {.file = f};
    w.seen = calloc(config_keys_count, sizeof(*w.seen));
    int r = yaml_walk_begin(&w.yaml, f->name, text, reterr);
    if (r == 0 && !w.seen)
        r = err_set(reterr, -ENOMEM, "out of memory");
    if (r == 0)
        r = read_document(&w);
    yaml_walk_end(&w.yaml);
    free(w.seen);
    return r;
}
