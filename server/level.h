/* level: Loki's log level discovery. Hot: runs per line. Any thread. */
#pragma once

#include "config.h"
#include "labels.h"
#include "str.h"

/* Normalises a known spelling ("ERR" -> "error", "WARNING" -> "warn"); .data NULL when unknown. Static text. */
struct str level_normalize(struct str value);

/* The names that may hold a level, made once for many lines; borrows from the limits. Answers "may this key be one?" in
 * a few instructions, so that the list is only walked for keys that have the size and the first letter of one. */
struct level_fields {
    const struct str *names;
    size_t count;
    uint64_t sizes;   /* bit n: a name of n bytes, the last bit standing for all longer ones */
    uint32_t letters; /* bit c & 31: a name that starts with c in either case */
};
struct level_fields level_fields_make(const struct limits *limits);

/* Level of a line by its content (JSON, logfmt, then text); "unknown" when nothing is found. A static pair
 * detected_level=<text>, so that entries without other metadata need no memory of their own. */
const struct label *level_of_line(const struct level_fields *fields, struct str line);

/* Steps 1-6. `entry_meta` sorted; `stream` the stream's labels. The result may borrow from the inputs. */
struct str level_detect(const struct level_fields *fields, struct labels stream,
                        struct labels entry_meta, struct str line);

/* Steps 2 and 3 alone: the value of the first level field among the labels, normalised when it is known; .data
 * NULL when there is none. */
struct str level_of_labels(const struct level_fields *fields, struct labels labels);

/* Nested JSON objects are searched this deep, the line's own object being the first. */
enum { LEVEL_JSON_DEPTH = 2 };
