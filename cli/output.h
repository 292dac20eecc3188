/* output: lines and metric results on stdout, in the forms of logcli (default, raw, jsonl) and
 * of grep. Colours only where asked for. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "buf.h"
#include "err.h"
#include "options.h"
#include "pages.h"

enum output_form { OUTPUT_DEFAULT, OUTPUT_RAW, OUTPUT_JSONL, OUTPUT_JSON, OUTPUT_TABLE };

int output_form_parse(const char *text, enum output_form *ret, struct err *reterr);

/* --color, NO_COLOR, and whether stdout is a terminal. */
bool output_use_color(const struct options *o);

/* {a="b", c="d"} in the order of names; labels that `skip` holds with the same value are left
 * out (NULL = none). */
void output_labels(struct buf *out, json_t *labels, json_t *skip, const struct options *o);

struct printer;

/* `regex` (RE2; empty = none) marks matches; with o->only_matching they alone are printed. In
 * grep mode the raw form gets the time with -T and the labels with -H in front. */
int printer_new(const struct options *o, enum output_form form, struct str regex,
                struct printer **ret, struct err *reterr);
void printer_free(struct printer *p);

/* A page_fn; ctx is the printer. Stops with an error when stdout cannot be written. */
int printer_page(const struct page *page, void *ctx);

/* A metric result: an aligned table (table, and default on a terminal), tab-separated (raw), one series
 * a line (jsonl), one indented array (json, and default elsewhere, as scripts for logcli expect). The number of its
 * values. */
size_t output_metric(const struct options *o, enum output_form form, const char *type,
                     json_t *result);
