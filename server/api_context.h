/* api_context: the parameters context_before and context_after of query_range, which other clients do not know: the
 * answer has data.context besides data.result, [{"stream":{..},"lines":[["ns","line",is_match],..]},..], groups of lines
 * that follow each other in one stream, ordered by the time of their first line. */
#pragma once

#include "api.h"
#include "render.h"

struct api_context {
    uint32_t before, after;
};

/* Both 0 when the request asks for none. -ESYNTAX. */
int api_context_params(struct http_request *r, struct api_context *ret, struct err *reterr);

/* Renders the result with its context. */
int api_context_render(struct api *api, const struct query *q, const struct query_result *result,
                       const struct api_context *c, const struct render_options *options,
                       struct buf *out, struct err *reterr);
