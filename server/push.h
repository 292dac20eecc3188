/* push: from the bytes of a push request to batches in the store. Steps: inflate (inflate.h) ->
 * decode (push_proto.h, push_json.h, otlp.h: views into the body) -> validate and enrich (this
 * module: label limits, age, size, service_name, detected_level, metadata names) ->
 * store_append. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "err.h"
#include "store.h"
#include "str.h"

/* Counters for /metrics, by reason. */
enum discard_reason {
    DISCARD_LINE_TOO_LONG,
    DISCARD_TOO_OLD,
    DISCARD_TOO_NEW,
    DISCARD_LABEL_NAMES,
    DISCARD_LABEL_NAME_LONG,
    DISCARD_LABEL_VALUE_LONG,
    DISCARD_LABEL_TWICE,
    DISCARD_LABEL_MISSING,
    DISCARD_METADATA_OFF,
    DISCARD_METADATA_LARGE,
    DISCARD_METADATA_MANY,
    DISCARD_RATE,
    DISCARD_STREAMS,
    DISCARD_MALFORMED,
    DISCARD_STORAGE,
    DISCARD_REASONS,
};
struct push_metrics {
    atomic_uint_fast64_t requests, bytes_received, lines_received, line_bytes_received;
    atomic_uint_fast64_t discarded_lines[DISCARD_REASONS], discarded_bytes[DISCARD_REASONS];
};
struct str discard_reason_name(
    enum discard_reason r); /* Loki's label values: "line_too_long", ... */

enum push_kind {
    PUSH_LOKI,
    PUSH_OTLP,
};

struct push_request {
    enum push_kind kind;
    struct str tenant;
    struct str content_type;     /* .data NULL when the header is absent */
    struct str content_encoding; /* same */
    struct str body;
    bool
        legacy; /* /api/prom/push: either JSON shape is taken on either path, so this changes nothing */
    int64_t now_ns;
    size_t body_max; /* bytes after decompression, 0 = PUSH_BODY_DEFAULT; beyond: 413 */
};

enum { PUSH_BODY_DEFAULT = 64 << 20 };

/* Called once: HTTP status and the text of the body (empty for 204; no newline at its end), from
 * any thread. The text is the callee's only during the call. */
typedef void push_done(void *ctx, int status, struct str text);

/* Handles one push. Calls done exactly once, maybe before it returns. The body is not needed
 * after it has returned. Limits may be swapped between calls. */
void push_handle(struct store *store, const struct limits *limits, struct push_metrics *metrics,
                 const struct push_request *request, push_done *done, void *ctx);

/* True when the request is small enough to be handled on the loop (no decompression of much, few
 * lines). */
bool push_is_small(const struct push_request *request);
