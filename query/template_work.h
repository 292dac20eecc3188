/* template_work: what one worker keeps between lines for its templates: an arena and texts that grow once, regexes,
 * time zones. */
#pragma once

#include "template_private.h"

struct cached_regex {
    struct str pattern;  /* owned */
    struct regex *regex; /* NULL: `error` says why not */
    char *error;
    uint64_t used;
};

struct cached_zone {
    char name[GO_ZONE_NAME_MAX];
    struct go_zone *zone; /* NULL: there is none of the name */
};

enum {
    WORK_REGEXES_MAX = 16, /* patterns of one query in use; each may hold REGEX_MEMORY_MAX */
    WORK_ZONES_MAX = 16,
};

struct template_work {
    struct arena arena;
    struct buf text, cause, message;
    struct cached_regex regexes[WORK_REGEXES_MAX];
    size_t n_regexes;
    uint64_t clock;
    struct cached_zone zones[WORK_ZONES_MAX];
    size_t n_zones;
};

/* False with the error's text in x->message. */
bool template_walk(struct exec *x);
