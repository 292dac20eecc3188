/* push_json: decoder of JSON pushes, v1 ({"streams":[{"stream":{},"values":[[..]]}]}) and legacy
 * ({"streams":[{"labels":"{..}","entries":[{"ts","line"}]}]}); either shape is accepted on either path.
 * Strings that hold escapes are unescaped into the arena; all others are views. */
#pragma once

#include "decoded.h"

/* -ESYNTAX; -ENOMEM; -E2BIG. Nothing counts as stored unless 0 is returned. */
int push_json_decode(struct str body, struct decoded_push *out, struct err *reterr);
