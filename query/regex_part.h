/* regex_part: what is known of a part of a regular expression, and how what is known of neighbours and of alternatives comes
 * together. Of two kinds:
 *   exact    the part matches these few strings and nothing else: `a(b|c)` is {ab, ac}, `x?` is {"", x}
 *   facts    every match contains all strings of `required`, and at least one of `any_of`
 * Neighbours that are both exact multiply; when the product grows too large or an inexact part follows, the product
 * so far becomes a fact. Lists are never changed once somebody else may hold them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "str.h"

/* Where the strings of parts are made; they live as long as the arena. */
struct part_memory {
    struct arena *arena;
    size_t bytes;  /* taken so far; there is a limit */
    bool given_up; /* no more was to be had: what parts say is worth nothing */
};

/* NULL: given up. */
void *part_alloc(struct part_memory *m, size_t size);

struct string_list {
    const struct str *items;
    size_t count;
    size_t capacity; /* of a list that grows in place, else 0 */
};

/* Size of the shortest string; 0 when there is none. */
size_t string_list_shortest(struct string_list list);

struct part {
    bool exact;
    struct string_list set; /* exact only, never empty then; may hold "" */
    struct string_list required;
    struct string_list any_of;
    bool may_be_empty;     /* may match "" */
    bool is_anything;      /* exactly `.*` */
    bool is_anchor;        /* takes no room */
    bool is_begin, is_end; /* ^ \A and $ \z */
};

struct part part_exact(struct part_memory *m, struct str s);
/* Turns what is known exactly into facts. */
struct part part_facts(struct part p);
/* One of two. */
struct part part_either(struct part_memory *m, struct part x, struct part y);
/* The same with *p as the result, which nobody else holds: cheap for many, one after the other. */
void part_add_alternative(struct part_memory *m, struct part *p, struct part next);

/* A concatenation: facts of what is behind, and the product of the exact parts at its end. */
struct part_concat {
    struct part facts;
    struct part tail; /* exact */
    bool inexact;     /* some part was not exact, or an anchor stood in between */
    bool may_be_empty;
};
struct part_concat part_concat_begin(struct part_memory *m);
void part_concat_add(struct part_memory *m, struct part_concat *c, struct part p);
struct part part_concat_end(struct part_memory *m, struct part_concat *c);
