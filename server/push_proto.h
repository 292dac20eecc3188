/* push_proto: decoder of Loki's protobuf PushRequest (push.md section 3), after decompression. */
#pragma once

#include "decoded.h"

/* -ESYNTAX with the place; -ENOMEM; -E2BIG. */
int push_proto_decode(struct str body, struct decoded_push *out, struct err *reterr);
