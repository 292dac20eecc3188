/* inflate: request bodies' content encodings, with a hard cap on the output. Any thread. */
#pragma once

#include "buf.h"
#include "err.h"
#include "str.h"

enum encoding {
    ENC_IDENTITY,
    ENC_GZIP,
    ENC_DEFLATE /* raw or zlib */,
    ENC_ZSTD,
    ENC_LZ4_FRAME,
    ENC_SNAPPY
};

/* Replaces out's content. out->max is the cap: -E2BIG beyond it (snappy: checked from the declared length before
 * allocating). -ESYNTAX on corrupt input with Loki's text ("snappy: corrupt input", "EOF", ...); -ENODATA when the
 * input ends too early, out then holds what there was (not for snappy, which is all or nothing); -ENOMEM. Not
 * named after the format alone, as zlib has a function of that name. */
int inflate_body(enum encoding e, struct str in, struct buf *out, struct err *reterr);

/* The length that a snappy block declares; 0 when it declares none. */
size_t inflate_snappy_size(struct str in);
