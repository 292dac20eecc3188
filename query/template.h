/* template: Go's text/template with Loki's functions, as line_format and label_format use it.
 *
 * Compiled once per query; run line by line. The language is Go's but for named templates ({{define}}, {{template}},
 * {{block}}), complex numbers and {{range}} over functions, which are refused. Values, loops and results of one line
 * are limited (template_private.h, TEMPLATE_OUTPUT_MAX); whoever exceeds a limit gets __error__ on the line. */
#pragma once

#include "stage.h"

/* A formatted line, and any text on the way to it; Loki has no limit. */
enum { TEMPLATE_OUTPUT_MAX = 1 << 20 };

struct template;
struct template_work;

/* -ESYNTAX with Go's message in c->reterr. `name`, "line" or "label", is part of it. A line's template that is one
 * label and nothing else does not see __error__ and __error_details__, as Loki has it. `text` must live as long as the
 * pipeline. */
int template_compile(struct stage_compiler *c, struct str text, const char *name,
                     const struct template **ret);

/* Calls fn for each label that the template names in a field. */
void template_names(const struct template *t, void (*fn)(uint32_t id, void *ctx), void *ctx);

/* Appends the result for the run's line and labels. False on an error of the template: then the line has
 * __error__, and what `out` holds is not to be used. */
bool template_run(const struct template *t, struct run *r, struct buf *out);

void template_work_free(struct template_work *w);
