#include "api_context.h"

#include <errno.h>

#include "context.h"
#include "json.h"
#include "params.h"

static const struct str body_end = STR_INIT("}}\n");

static int read_count(struct http_request *r, const char *name, uint32_t *ret, struct err *reterr) {
    int64_t count = 0;
    int e = params_int(r, name, 0, &count, reterr);
    if (e == 0 && (count < 0 || count > CONTEXT_MAX))
        e = err_set(reterr, -ESYNTAX, "%s must be between 0 and %d", name, CONTEXT_MAX);
    if (e == 0)
        *ret = (uint32_t)count;
    return e;
}

int api_context_params(struct http_request *r, struct api_context *ret, struct err *reterr) {
    *ret = (struct api_context){0};
    int e = read_count(r, "context_before", &ret->before, reterr);
    return e < 0 ? e : read_count(r, "context_after", &ret->after, reterr);
}

static void write_group(struct buf *out, const struct context_group *g) {
    buf_add_str(out, STR("{\"stream\":"));
    render_labels(out, g->stream);
    buf_add_str(out, STR(",\"lines\":["));
    for (size_t i = 0; i < g->n_entries; i++) {
        const struct context_entry *e = &g->entries[i];
        buf_add_str(out, i > 0 ? STR(",[\"") : STR("[\""));
        buf_add_i64(out, e->ts_ns);
        buf_add_str(out, STR("\","));
        json_write_string(out, e->line);
        buf_add_str(out, e->is_match ? STR(",true]") : STR(",false]"));
    }
    buf_add_str(out, STR("]}"));
}

int api_context_render(struct api *api, const struct query *q, const struct query_result *result,
                       const struct api_context *c, const struct render_options *options,
                       struct buf *out, struct err *reterr) {
    struct context *context = NULL;
    if (result->type != RESULT_STREAMS)
        return err_set(reterr, -ESYNTAX, "context is for log queries");
    int r = context_find(api->engine, api->store, q, result, c->before, c->after, &context, reterr);
    if (r < 0)
        return r;
    render_query_result(out, result, options);
    if (str_ends(buf_str(out), body_end))
        out->size -= body_end.size;
    buf_add_str(out, STR(",\"context\":["));
    for (size_t i = 0; i < context->n_groups; i++) {
        buf_add_str(out, i > 0 ? STR(",") : STR(""));
        write_group(out, &context->groups[i]);
    }
    buf_add_str(out, STR("]"));
    buf_add_str(out, body_end);
    context_free(context);
    return out->failed ? err_set(reterr, -ENOMEM, "not enough memory for the answer") : 0;
}
