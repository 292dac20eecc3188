/* logql: LogQL text from what grep mode was asked for. Pure. */
#pragma once

#include "buf.h"
#include "err.h"
#include "options.h"
#include "str.h"

/* A LogQL string: between backquotes when nothing in it is special there, else quoted as Go
 * does. */
void logql_quote(struct buf *out, struct str text);

/* Go's "..." with escapes; bytes that are not UTF-8 as \xHH. */
void logql_quote_go(struct buf *out, struct str text);

/* "{app="api", env=~"p.*"}" of -l options (name=value, !=, =~, !~) and, when not NULL, a
 * selector {...}. All streams when neither is there. -ESYNTAX. */
int logql_selector(const struct option_list *labels, const char *selector, struct buf *out,
                   struct err *reterr);

/* The one expression (RE2) that finds what the patterns ask for in a line; empty when every line fits.
 * -ESYNTAX for a pattern that does not compile. */
int logql_pattern(const struct options *o, const char *const *patterns, size_t count,
                  struct buf *ret_regex, struct err *reterr);

/* What the patterns ask for: a line filter (empty when every line fits), and the expression
 * that finds the matches, for colours and -o; empty when there is nothing to find. */
int logql_filter(const struct options *o, const char *const *patterns, size_t count,
                 struct buf *ret_filter, struct buf *ret_regex, struct err *reterr);

/* The expression that matches exactly this text. */
void logql_literal(struct buf *out, struct str text);

/* The same expression for the line filters of a query, as far as they keep lines; empty when
 * there are none. */
void logql_highlight(struct str query, struct buf *ret_regex);
