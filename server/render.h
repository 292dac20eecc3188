/* render: query results as Loki's JSON, in Loki's key order. Appends to a buf; escape and
 * append, no tree. */
#pragma once

#include <stdbool.h>

#include "buf.h"
#include "engine.h"

struct render_options {
    struct str encoding_flags; /* the header's value as sent; empty = none */
    bool categorize;           /* categorize-labels is among them */
};

/* {"status":"success","data":{"resultType":..,"encodingFlags":..,"result":[..],"stats":{..}}}\n */
void render_query_result(struct buf *out, const struct query_result *r,
                         const struct render_options *o);

/* Is categorize-labels one of the comma-separated flags? Exact, as in Loki: no blanks are
 * trimmed. */
bool render_wants_categories(struct str encoding_flags);

/* The answer of /api/prom/query: {"streams":[{"labels":"{...}","entries":[...]}],"stats":{...}} */
void render_legacy_streams(struct buf *out, const struct query_result *r);

/* The "stats" object alone. */
void render_stats(struct buf *out, const struct query_stats *stats);

/* ["ns","line"], with categories a third element: {"structuredMetadata":{..},"parsed":{..}} */
void render_value(struct buf *out, int64_t ts_ns, struct str line, bool categorize,
                  struct labels metadata, struct labels parsed);

/* "encodingFlags":["categorize-labels"] */
void render_flags(struct buf *out, struct str flags);

/* {"a":"1","b":"x"} */
void render_labels(struct buf *out, struct labels labels);
