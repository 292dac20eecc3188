#include "otlp_rules.h"

#include <errno.h>

#include "config_keys.h"
#include "json.h"
#include "regex.h"
#include "units.h"
#include "yaml_walk.h"

enum { RULES_MAX = 100, NAMES_MAX = 1000 }; /* of an owner; of a rule */

static const char *const owner_keys[OTLP_OWNERS] = {
    [OTLP_OF_RESOURCE] = "resource_attributes",
    [OTLP_OF_SCOPE] = "scope_attributes",
    [OTLP_OF_RECORD] = "log_attributes",
};

static const char *action_name(enum otlp_action action) {
    return action == OTLP_LABEL  ? "index_label"
           : action == OTLP_DROP ? "drop"
                                 : "structured_metadata";
}

/* ---- reading */

static int fail(struct yaml_walk *y, const char *text) {
    return yaml_walk_fail(y, "limits_config.otlp_config: %s", text);
}

static int read_action(struct yaml_walk *y, struct arena *arena, enum otlp_owner owner,
                       struct otlp_rule *rule) {
    struct str text;
    int r = yaml_walk_value(y, arena, &text);
    if (r < 0)
        return r;
    for (enum otlp_action a = OTLP_METADATA; a <= OTLP_DROP; a++)
        if (str_eq(text, str_from(action_name(a))))
            rule->action = a;
    if (rule->action == OTLP_UNRULED)
        return fail(y, "unsupported action, it must be one of: drop, index_label, "
                       "structured_metadata");
    if (rule->action == OTLP_LABEL && owner != OTLP_OF_RESOURCE)
        return fail(y, "index_label action is only supported for resource_attributes");
    return 0;
}

static int read_regex(struct yaml_walk *y, struct arena *arena, struct otlp_rule *rule) {
    struct str text;
    int r = yaml_walk_value(y, arena, &text);
    if (r < 0 || text.size == 0)
        return r;
    if (rule->regex)
        return fail(y, "regex is there twice");
    struct err err = {0};
    r = regex_compile(text, true, &rule->regex, &err);
    return r < 0 ? fail(y, err.text) : 0;
}

static int read_names(struct yaml_walk *y, struct arena *arena, struct otlp_rule *rule) {
    int r = yaml_walk_next(y);
    if (r < 0 || (y->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(y)))
        return r;
    struct str *names;
    if (y->event.type != YAML_SEQUENCE_START_EVENT)
        return fail(y, "attributes must be a list");
    r = yaml_walk_texts(y, arena, NAMES_MAX, &names, &rule->n_names);
    rule->names = r < 0 ? NULL : names;
    return r;
}

static int read_rule(struct yaml_walk *y, struct arena *arena, enum otlp_owner owner,
                     struct otlp_rule *rule) {
    struct str name;
    int r;
    while ((r = yaml_walk_member(y, arena, &name)) > 0) {
        if (str_eq(name, STR("action")))
            r = read_action(y, arena, owner, rule);
        else if (str_eq(name, STR("attributes")))
            r = read_names(y, arena, rule);
        else if (str_eq(name, STR("regex")))
            r = read_regex(y, arena, rule);
        else
            r = fail(y, "only action, attributes and regex belong here");
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    if (rule->action == OTLP_UNRULED)
        rule->action = OTLP_METADATA;
    if (!rule->regex && rule->n_names == 0)
        return fail(y, "attributes or regex must be set");
    return rule->regex && rule->n_names > 0 ? fail(y, "only one of attributes or regex must be set")
                                            : 0;
}

/* The rules count as soon as they are in the list, so that a failure leaves none behind. */
static int read_list(struct yaml_walk *y, struct arena *arena, struct otlp_rules *rules,
                     enum otlp_owner owner) {
    int r = yaml_walk_next(y);
    if (r < 0 || (y->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(y)))
        return r;
    if (y->event.type != YAML_SEQUENCE_START_EVENT || rules->of[owner])
        return fail(y, "one list of rules belongs here");
    rules->of[owner] = arena_array(arena, RULES_MAX, sizeof(*rules->of[owner]));
    if (!rules->of[owner])
        return fail(y, "out of memory");
    for (;;) {
        r = yaml_walk_next(y);
        if (r < 0 || y->event.type == YAML_SEQUENCE_END_EVENT)
            return r;
        if (y->event.type != YAML_MAPPING_START_EVENT || rules->count[owner] == RULES_MAX)
            return fail(y, "at most 100 rules, each a mapping");
        struct otlp_rule *rule = &rules->of[owner][rules->count[owner]++];
        *rule = (struct otlp_rule){0};
        r = read_rule(y, arena, owner, rule);
        if (r < 0)
            return r;
    }
}

static int read_resource(struct yaml_walk *y, struct arena *arena, struct otlp_rules *rules) {
    int r = yaml_walk_next(y);
    if (r < 0 || (y->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(y)))
        return r;
    if (y->event.type != YAML_MAPPING_START_EVENT)
        return fail(y, "resource_attributes has ignore_defaults and attributes_config");
    struct str name, value;
    while ((r = yaml_walk_member(y, arena, &name)) > 0) {
        if (str_eq(name, STR("attributes_config"))) {
            r = read_list(y, arena, rules, OTLP_OF_RESOURCE);
        } else if (str_eq(name, STR("ignore_defaults"))) {
            r = yaml_walk_value(y, arena, &value);
            rules->ignore_defaults = r == 0 && str_eq(value, STR("true"));
            if (r == 0 && !rules->ignore_defaults && !str_eq(value, STR("false")))
                r = fail(y, "ignore_defaults must be true or false");
        } else {
            r = fail(y, "only ignore_defaults and attributes_config belong here");
        }
        if (r < 0)
            return r;
    }
    return r;
}

static int read_member(struct yaml_walk *y, struct config *c, struct str name) {
    struct otlp_rules *rules = c->otlp_rules;
    if (str_eq(name, str_from(owner_keys[OTLP_OF_RESOURCE])))
        return read_resource(y, &c->arena, rules);
    for (enum otlp_owner o = OTLP_OF_SCOPE; o < OTLP_OWNERS; o++)
        if (str_eq(name, str_from(owner_keys[o])))
            return read_list(y, &c->arena, rules, o);
    int r = config_warn(c, "%s:%zu: limits_config.otlp_config.%.*s is not used by logqd", y->name,
                        yaml_walk_line(y), STR_ARG(name));
    if (r == 0)
        r = yaml_walk_next(y);
    return r < 0 ? r : yaml_walk_skip(y);
}

int otlp_rules_read(struct yaml_walk *y, struct config *c) {
    if (y->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(y))
        return 0;
    if (y->event.type != YAML_MAPPING_START_EVENT || c->otlp_rules)
        return fail(y, "one section belongs here");
    c->otlp_rules = arena_array(&c->arena, 1, sizeof(*c->otlp_rules));
    if (!c->otlp_rules)
        return fail(y, "out of memory");
    *c->otlp_rules = (struct otlp_rules){0};
    c->limits.otlp = c->otlp_rules;
    struct str name;
    int r;
    while ((r = yaml_walk_member(y, &c->arena, &name)) > 0) {
        r = read_member(y, c, name);
        if (r < 0)
            return r;
    }
    return r;
}

void otlp_rules_done(struct otlp_rules *r) {
    for (enum otlp_owner o = OTLP_OF_RESOURCE; r && o < OTLP_OWNERS; o++)
        for (size_t i = 0; i < r->count[o]; i++)
            regex_free(r->of[o][i].regex);
}

/* ---- asking */

static bool rule_matches(const struct otlp_rule *rule, struct str attribute) {
    if (rule->regex)
        return regex_matches(rule->regex, attribute);
    for (size_t i = 0; i < rule->n_names; i++)
        if (str_eq(rule->names[i], attribute))
            return true;
    return false;
}

enum otlp_action otlp_rules_action(const struct otlp_rules *r, enum otlp_owner owner,
                                   struct str attribute) {
    for (size_t i = 0; r && i < r->count[owner]; i++)
        if (rule_matches(&r->of[owner][i], attribute))
            return r->of[owner][i].action;
    return OTLP_UNRULED;
}

/* ---- printing */

static void dump_list(const struct otlp_rules *r, enum otlp_owner owner, int indent,
                      struct buf *out) {
    for (size_t i = 0; i < r->count[owner]; i++) {
        const struct otlp_rule *rule = &r->of[owner][i];
        buf_addf(out, "%*s- action: %s\n", indent, "", action_name(rule->action));
        if (rule->regex) {
            buf_addf(out, "%*s  regex: ", indent, "");
            go_quote(out, regex_pattern(rule->regex));
            buf_add_char(out, '\n');
            continue;
        }
        buf_addf(out, "%*s  attributes:\n", indent, "");
        for (size_t n = 0; n < rule->n_names; n++) {
            buf_addf(out, "%*s  - ", indent, "");
            go_quote(out, rule->names[n]);
            buf_add_char(out, '\n');
        }
    }
}

void otlp_rules_dump(const struct otlp_rules *r, int indent, struct buf *out) {
    buf_addf(out, "%*sotlp_config:\n%*sresource_attributes:\n%*signore_defaults: %s\n", indent, "",
             indent + 2, "", indent + 4, "", r->ignore_defaults ? "true" : "false");
    if (r->count[OTLP_OF_RESOURCE] > 0)
        buf_addf(out, "%*sattributes_config:\n", indent + 4, "");
    dump_list(r, OTLP_OF_RESOURCE, indent + 4, out);
    for (enum otlp_owner o = OTLP_OF_SCOPE; o < OTLP_OWNERS; o++) {
        if (r->count[o] > 0)
            buf_addf(out, "%*s%s:\n", indent + 2, "", owner_keys[o]);
        dump_list(r, o, indent + 2, out);
    }
}

void otlp_rule_json(const struct otlp_rule *rule, struct buf *out) {
    buf_addf(out, "{\"action\":\"%s\",", action_name(rule->action));
    if (rule->regex) {
        buf_add_str(out, STR("\"regex\":"));
        json_write_string(out, regex_pattern(rule->regex));
    } else {
        buf_add_str(out, STR("\"attributes\":["));
        for (size_t i = 0; i < rule->n_names; i++) {
            if (i > 0)
                buf_add_char(out, ',');
            json_write_string(out, rule->names[i]);
        }
        buf_add_char(out, ']');
    }
    buf_add_char(out, '}');
}
