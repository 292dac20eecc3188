/* params: query parameters as Loki reads them: times, steps, limits, directions. All fail with -ESYNTAX and
 * Loki's text. Any thread. */
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
/* step or interval; `fallback` when absent. Zero and negative values are passed on. */
int params_step(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
                struct err *reterr);
/* Loki's step when none is given: a 250th of the range in whole seconds, at least one. */
int64_t params_default_step(int64_t start_ns, int64_t end_ns);
/* The step of a range, with its default; refused when it is not positive or makes more than
 * PARAMS_POINTS_MAX points. */
enum { PARAMS_POINTS_MAX = 11000 };
int params_resolution(struct http_request *r, int64_t start_ns, int64_t end_ns,
                      int64_t *ret_step_ns, struct err *reterr);
int params_limit(struct http_request *r, uint32_t fallback, uint32_t *ret, struct err *reterr);
/* A whole number; `fallback` when absent. */
int params_int(struct http_request *r, const char *name, int64_t fallback, int64_t *ret,
               struct err *reterr);
int params_direction(struct http_request *r, enum query_direction *ret, struct err *reterr);

/* The texts alone, as the functions above read them. */
int params_parse_time(struct str text, int64_t *ret_ns, struct err *reterr);
int params_parse_step(struct str text, int64_t *ret_ns, struct err *reterr);
int params_parse_limit(struct str text, uint32_t *ret, struct err *reterr);
int params_parse_direction(struct str text, enum query_direction *ret, struct err *reterr);
