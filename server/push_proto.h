/* push_proto: decoder of Loki's protobuf PushRequest, after decompression. Any thread. */
#pragma once

#include "decoded.h"

/* -ESYNTAX with the place; -ENOMEM; -E2BIG. */
int push_proto_decode(struct str body, struct decoded_push *out, struct err *reterr);
