/* detect: which fields have the lines of a log query's result, of which types, and with how many
 * values? Looks at every line as JSON, else as logfmt, whatever the query did with it;
 * structured metadata and what the query's own stages extracted are fields, too. For
 * detected_fields and its values. Any thread; the work is done in the calling one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "engine.h"
#include "err.h"

enum {
    DETECT_LINES_MAX = 5000,          /* lines looked at; Loki's own limit on entries */
    DETECT_LINE_BYTES_MAX = 64 << 20, /* of all lines together: the oldest ones are left out */
    DETECT_FIELDS_MAX = 16384,        /* of one answer, whatever is asked for */
    DETECT_VALUES_MAX = 1 << 20,
};

enum field_type {
    FIELD_INT,
    FIELD_FLOAT,
    FIELD_BOOLEAN,
    FIELD_DURATION,
    FIELD_BYTES,
    FIELD_STRING,
};

/* The first type in this order that the value is text of. */
enum field_type field_type_of(struct str value);
struct str field_type_name(enum field_type type);

struct detected_field {
    struct str name;
    enum field_type type; /* of the oldest value, as in Loki */
    uint64_t cardinality;
    bool json, logfmt; /* what a query must parse lines as to get it; neither: metadata */
    const struct str
        *path; /* keys from the JSON document's top; NULL when it is not a JSON field */
    size_t path_count;
};

struct detected {
    const struct detected_field *fields; /* sorted by name; detect_fields */
    size_t n_fields;
    const struct str *values; /* sorted; detect_values */
    size_t n_values;
    struct arena arena; /* owns all of the above */
};

/* `sample` is the result of a log query, newest first. With more than `max_fields` fields, those
 * that appear first are kept. -ENOMEM. */
int detect_fields(const struct query_result *sample, uint32_t max_fields, struct detected **ret,
                  struct err *reterr);

/* The distinct values of one field, at most max_values, the newest. Sizes are written the way a
 * query can compare them with: "10 MB" as "10MB". -ENOMEM. */
int detect_values(const struct query_result *sample, struct str field, uint32_t max_values,
                  struct detected **ret, struct err *reterr);

void detected_free(struct detected *d);
