/* template: a Go text/template as line_format and label_format use it, compiled to a list of instructions. This
 * issue's language is literal text and {{.label}}; whatever else stands between braces is refused when the query
 * is compiled. */
#pragma once

#include "stage.h"

enum {
    TEMPLATE_OUTPUT_MAX = 1 << 20
}; /* a formatted line; Loki has no limit, a loop here would not end */

struct template;

/* -ESYNTAX with a message in c->reterr. `name`, "line" or "label", is part of it. A line's template that is one
 * label and nothing else does not see __error__ and __error_details__, as Loki has it. */
int template_compile(struct stage_compiler *c, struct str text, const char *name,
                     const struct template **ret);

/* Calls fn for each label that the template mentions. */
void template_names(const struct template *t, void (*fn)(uint32_t id, void *ctx), void *ctx);

/* Appends the result for the run's line and labels. False on an error of the template: then `out` is as it was
 * and the line has __error__. */
bool template_run(const struct template *t, struct run *r, struct buf *out);
