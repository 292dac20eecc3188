/* chart: what a query finds, drawn in the terminal: lines over time by level (--histogram), metric series as
 * sparklines, the commonest values of a label or field (--top). As wide as the terminal ($COLUMNS, 80 elsewhere); blocks in
 * UTF-8 locales, letters and # elsewhere. One thread. */
#pragma once

#include <stdbool.h>

#include "err.h"
#include "session.h"
#include "str.h"

/* `query` is a log query; *ret_found: there is a line in the range. */
int chart_histogram(struct session *s, struct str query, bool *ret_found, struct err *reterr);
int chart_top(struct session *s, struct str query, const char *name, bool *ret_found,
              struct err *reterr);
/* A metric query over the range. */
int chart_sparklines(struct session *s, struct str query, bool *ret_found, struct err *reterr);
