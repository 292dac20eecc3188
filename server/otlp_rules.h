/* otlp_rules: which attributes of OTLP become labels of the stream, which metadata, and which are
 * left out: limits_config.otlp_config, in Loki's form. The first rule that names an attribute or
 * whose expression matches the whole of its name decides. Immutable once read; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "str.h"

enum otlp_owner { OTLP_OF_RESOURCE, OTLP_OF_SCOPE, OTLP_OF_RECORD, OTLP_OWNERS };

enum otlp_action {
    OTLP_UNRULED, /* no rule: as without rules */
    OTLP_METADATA,
    OTLP_LABEL, /* of resources alone */
    OTLP_DROP,
};

struct regex;
struct otlp_rule {
    enum otlp_action action;
    const struct str *names;
    size_t n_names;
    struct regex *regex; /* NULL: the names count */
};

struct otlp_rules {
    bool ignore_defaults; /* Loki's list of resource attributes makes no labels */
    struct otlp_rule *of[OTLP_OWNERS];
    size_t count[OTLP_OWNERS];
};

/* Reads the value whose first event is the present one into c->otlp_rules and c->limits.otlp;
 * nothing is written when it is null. -ESYNTAX "NAME:LINE: ...", -ENOMEM. */
struct config;
struct yaml_walk;
int otlp_rules_read(struct yaml_walk *y, struct config *c);
/* The memory is the configuration's arena's, but for the expressions. NULL is fine. */
void otlp_rules_done(struct otlp_rules *r);

enum otlp_action otlp_rules_action(const struct otlp_rules *r, enum otlp_owner owner,
                                   struct str attribute);

/* As a section in YAML, `indent` blanks before its name. */
void otlp_rules_dump(const struct otlp_rules *r, int indent, struct buf *out);
/* A rule as Loki writes it in JSON. */
void otlp_rule_json(const struct otlp_rule *rule, struct buf *out);
