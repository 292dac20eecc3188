/* yaml_walk: reads settings files event by event over libyaml: never a document tree, no recursion,
 * no anchors and aliases (a few bytes of those can stand for gigabytes). Errors are -ESYNTAX with
 * "NAME:LINE: ...". One thread. */
#pragma once

#include <stdbool.h>
#include <yaml.h>

#include "arena.h"
#include "err.h"
#include "str.h"

struct yaml_walk {
    const char *name; /* of the file, for messages */
    struct err *reterr;
    yaml_parser_t parser;
    yaml_event_t event; /* the present one */
};

/* The text must live until yaml_walk_end. 0 or -ENOMEM; ended by yaml_walk_end also then. */
int yaml_walk_begin(struct yaml_walk *w, const char *name, struct str text, struct err *reterr);
void yaml_walk_end(struct yaml_walk *w);

/* Fails at the line of the present event. */
int yaml_walk_fail(struct yaml_walk *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Reads the next event into w->event. */
int yaml_walk_next(struct yaml_walk *w);
/* Goes to the first mapping of the document: 1 there is one, 0 the document is empty. */
int yaml_walk_open(struct yaml_walk *w);
/* Behind that mapping's end: nothing may follow. */
int yaml_walk_close(struct yaml_walk *w);
/* Skips the value whose first event is the present one. */
int yaml_walk_skip(struct yaml_walk *w);

/* Of a scalar event. */
struct str yaml_walk_text(const struct yaml_walk *w);
size_t yaml_walk_line(const struct yaml_walk *w);
/* Empty, null or ~, unquoted. */
bool yaml_walk_is_null(const struct yaml_walk *w);

/* The next event must be a scalar (the name of a member) or the end of the mapping: 1 or 0. The
 * name is copied to the arena. */
int yaml_walk_member(struct yaml_walk *w, struct arena *arena, struct str *ret_name);
/* Reads the value of a member that must be one text, copied to the arena; empty when null. */
int yaml_walk_value(struct yaml_walk *w, struct arena *arena, struct str *ret);
/* Reads the list of texts whose first event is the present one. */
int yaml_walk_texts(struct yaml_walk *w, struct arena *arena, size_t max, struct str **ret,
                    size_t *ret_count);
