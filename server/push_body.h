/* push_body: content negotiation of a push: from the Content-Type and
 * Content-Encoding of a request to the decoder that fits, with what Loki refuses by accident
 * accepted where the bytes leave no doubt. */
#pragma once

#include "buf.h"
#include "decoded.h"
#include "err.h"
#include "otlp.h"
#include "str.h"

/* Decompressed bytes, which the decoded push borrows from. */
struct push_body {
    struct buf plain;
    struct buf outer; /* protobuf in snappy in gzip: between the two */
    /* The snappy block that `plain` came from when lines lie in `plain` as they are; else empty. */
    struct str packed;
};

static inline struct push_body push_body_make(size_t body_max) {
    return (struct push_body){.plain = buf_make_for(BUDGET_PUSHES, body_max),
                              .outer = buf_make_for(BUDGET_PUSHES, body_max)};
}
void push_body_done(struct push_body *b);

struct push_content {
    struct str type;     /* .data NULL when the header is absent */
    struct str encoding; /* same */
    struct str body;
    bool otlp; /* else Loki's own formats */
    struct otlp_options otlp_options;
};

/* -ESYNTAX, -E2BIG, -ENOMEM with Loki's text where it has one. */
int push_body_decode(struct push_body *b, const struct push_content *c, struct decoded_push *out,
                     struct err *reterr);

/* Bytes that decoding will have to look at, from the headers alone: an estimate. */
size_t push_body_size_guess(const struct push_content *c);
