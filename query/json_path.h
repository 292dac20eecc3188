/* json_path: paths into JSON documents (a.b["c d"][0]) and finding the values of several paths in one pass. */
#pragma once

#include "stage.h"

enum { JSON_PATH_PARTS_MAX = 64 }; /* deeper than any path that people write */

struct json_part {
    struct str key;
    size_t index; /* when is_index */
    bool is_index;
};

struct json_path {
    const struct json_part *parts;
    size_t count;
    uint32_t name; /* the label it makes */
};

/* -ESYNTAX with "cannot parse expression [...]: ..." in c->reterr. */
int json_path_compile(struct stage_compiler *c, struct str text, struct json_path *ret);

/* One key, bare or quoted, of logfmt's expressions. Same errors. */
int logfmt_path_compile(struct stage_compiler *c, struct str text, struct str *ret);

/* stage_json.c: what a found value is to the label */
struct json_found {
    struct str raw;
    bool is_null, is_object;
};

/* Calls fn for each path's first occurrence, in the order of the line. A value that cannot be read ends the search;
 * its message is returned (empty: none). */
typedef void json_found_fn(struct run *r, const struct json_path *path, struct json_found value);
struct str json_find_paths(struct run *r, const struct json_path *paths, size_t count,
                           struct str line, json_found_fn *fn);
