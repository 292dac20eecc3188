/* label_regex: regular expressions of label filters that Loki answers with text searches.
 *
 * Loki rewrites such an expression before it anchors it, and the rewritten forms are not anchored: `a.*` finds an
 * "a" anywhere in the value, and so does `payment (accepted|declined)` its two texts; plain alternatives (GET|PUT)
 * compare the whole value. What alternatives have in common at their beginning is factored out first (`warn|wild` is
 * `w(arn|ild)`), which makes them searches. Everything else stays an anchored expression. */
#pragma once

#include "stage.h"

/* The texts to look for; 0 and *ret_count = 0 when the expression is not of that kind. -ENOMEM. */
int label_regex_simplify(struct arena *arena, struct str pattern, const struct value_test **ret,
                         size_t *ret_count);
