/* pattern: expressions of literal text and captures, `<ip> - <_> "<method> <_>"`: the pattern parser, which takes
 * what it can from the line's start, and the |> filter, which wants all of its texts in
 * order and captures that are not empty. */
#pragma once

#include "stage.h"

enum { PATTERN_PARTS_MAX = 256 };

struct pattern_part {
    struct str text; /* literal text, or a capture's name */
    bool is_capture; /* `<_>` has an empty name */
};

struct capture_pattern {
    const struct pattern_part *parts;
    size_t count;
    size_t n_names; /* captures that are not `<_>` */
};

/* -ESYNTAX with the cause in c->reterr. `filter`: the rules of |> (no names). */
int pattern_compile(struct stage_compiler *c, struct str text, bool filter,
                    const struct capture_pattern **ret);

/* Captures with names, in order; returns how many were reached. */
size_t pattern_capture(const struct capture_pattern *p, struct str line, struct str *ret);

/* The rule of |>. */
bool pattern_matches(const struct capture_pattern *p, struct str line);
