/* parser: LogQL text -> ast. Recursive descent with a depth limit; errors carry Loki's wording and positions
 * ("parse error at line 1, col 17: syntax error: unexpected )"). One parser serves logqd, logq and tests. */
#pragma once

#include "arena.h"
#include "ast.h"
#include "buf.h"
#include "err.h"

enum {
    QUERY_TEXT_MAX = 128 << 10, /* Loki's own limit on query length is 131072 */
    QUERY_DEPTH_MAX = 64,
    QUERY_FILTERS_MAX =
        1000, /* conditions in one label filter: bounds the recursion over its tree */
    QUERY_TREE_DEPTH_MAX = 256, /* of nested expressions; `a + b + c ...` nests to the left */
    QUERY_REGEX_MAX = 256,      /* regexes in one query: bounds their memory */
};

/* A parsed query owns its arena and the regexes compiled for it. */
struct parsed_query;

/* Accepts log and metric expressions. -ESYNTAX with the complete message for the client, -ENOMEM. */
int query_parse(struct str text, struct parsed_query **ret, struct err *reterr);

/* As query_parse, but what Loki checks only when it builds a pipeline (arguments of stages: regexes of line
 * filters, addresses, JSON paths, ...) is neither checked nor compiled. For printing a query, and to tell a log query
 * from a metric query before its stages are judged; the result must not be run. */
int query_parse_unchecked(struct str text, struct parsed_query **ret, struct err *reterr);

/* Only a selector {..}: for series, labels, volume. With stages: -ESYNTAX "only label matchers are supported".
 * `allow_any`: {} and selectors that match everything are accepted. */
int selector_parse(struct str text, bool allow_any, struct parsed_query **ret, struct err *reterr);

void parsed_query_free(struct parsed_query *q);
const struct expr *parsed_query_expr(const struct parsed_query *q);

/* Loki's String() of an expression, on one line. */
void expr_format(struct buf *out, const struct expr *e);

/* The form of /format_query: as expr_format, broken into indented lines where a part exceeds 100 bytes. */
void expr_pretty(struct buf *out, const struct expr *e);

/* String() of one stage, as "stage '| json a=\"b\"' : ..." in messages shows it. Adjacent line filters are one stage
 * to Loki: of these, all up to the end of the run are printed. */
void stage_format(struct buf *out, const struct stage *s);

/* Names as written in LogQL: "count_over_time", "topk", "+", ... */
struct str range_op_name(enum range_op op);
struct str vector_op_name(enum vector_op op);
struct str binary_op_name(enum binary_op op);
/* The higher, the tighter. */
unsigned binary_op_precedence(enum binary_op op);
