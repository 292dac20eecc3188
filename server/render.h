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

/* The same in parts of some 64 KiB, see struct http_body. Takes the result (renderer_free frees
 * it); NULL without memory, then the result stays the caller's. */
struct renderer;
struct renderer *renderer_new(struct query_result *result, const struct render_options *o);
bool renderer_next(void *renderer, struct buf *out); /* false behind the last part */
void renderer_free(void *renderer);
size_t renderer_held_bytes(const struct renderer *r);

/* Is categorize-labels one of the comma-separated flags? */
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
