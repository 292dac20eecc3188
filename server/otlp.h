/* otlp: OpenTelemetry's log protocol (docs/otlp.md), protobuf and JSON, as decoded streams:
 * index labels from the resource, what the resource and the scope share as metadata, lines and
 * metadata from the records. The formats are read by otlp_proto.c and otlp_json.c; what the
 * fields become is decided in otlp_map.c alone. */
#pragma once

#include <stdint.h>

#include "decoded.h"
#include "err.h"
#include "str.h"

struct otlp_options {
    int64_t now_ns; /* of records without a time */
    /* Index labels of a stream besides service_name; 0 = no limit. The rest, in the order of the
     * index list, becomes metadata instead of costing the lines. */
    uint32_t labels_max;
    const struct otlp_rules *rules; /* NULL = none */
};

/* Lines and metadata are views of the body or live in the arena. -ESYNTAX, -E2BIG, -ENOMEM with
 * text. */
int otlp_proto_decode(struct str body, const struct otlp_options *options, struct decoded_push *out,
                      struct err *reterr);
int otlp_json_decode(struct str body, const struct otlp_options *options, struct decoded_push *out,
                     struct err *reterr);
