/* jsontext: base's JSON writer for files that also include jansson, whose names clash with
 * json.h's. */
#pragma once

#include "buf.h"
#include "str.h"

/* A quoted, escaped string; bytes that are not UTF-8 become U+FFFD. */
void json_text(struct buf *out, struct str s);
