/* level: Loki's log level discovery (push.md section 6). Hot: runs per line. Any thread. */
#pragma once

#include "config.h"
#include "labels.h"
#include "str.h"

/* Normalises a known spelling ("ERR" -> "error", "WARNING" -> "warn"); .data NULL when unknown. Static text. */
struct str level_normalize(struct str value);

/* Level of a line by its content (JSON, logfmt, then text); "unknown" when nothing is found. Static text. */
struct str level_of_line(const struct limits *limits, struct str line);

/* Steps 1-6. `entry_meta` sorted; `stream` the stream's labels. The result may borrow from the inputs. */
struct str level_detect(const struct limits *limits, struct labels stream, struct labels entry_meta,
                        struct str line);

/* Steps 2 and 3 alone: the value of the first level field among the labels, normalised when it is known; .data
 * NULL when there is none. */
struct str level_of_labels(const struct limits *limits, struct labels labels);

/* The pair detected_level=<text> for one of the static texts above; NULL for any other text. Static, so that
 * entries without other metadata need no memory of their own. */
const struct label *level_pair(struct str static_level);

/* Nested JSON objects are searched this deep, the line's own object being the first. */
enum { LEVEL_JSON_DEPTH = 2 };
