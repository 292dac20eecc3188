/* params: query parameters as query-api.md section 1 has them. All fail with -ESYNTAX and Loki's text. */
#pragma once

#include <stdint.h>

#include "engine.h"
#include "err.h"
#include "http.h"

/* start, end, since with their defaults relative to now_ns. */
int params_range(struct http_request *r, int64_t now_ns, int64_t *ret_start_ns, int64_t *ret_end_ns,
                 struct err *reterr);
/* One time value; `fallback` when absent. */
int params_time(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
                struct err *reterr);
/* step or interval; `fallback` when absent. */
int params_step(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
                struct err *reterr);
int params_limit(struct http_request *r, uint32_t fallback, uint32_t *ret, struct err *reterr);
int params_direction(struct http_request *r, enum query_direction *ret, struct err *reterr);
