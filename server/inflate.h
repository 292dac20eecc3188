/* inflate: request bodies' content encodings, with a hard cap on the output. */
#pragma once

#include "buf.h"
#include "err.h"
#include "str.h"

enum encoding { ENC_IDENTITY, ENC_GZIP, ENC_DEFLATE /* raw or zlib */, ENC_ZSTD, ENC_LZ4_FRAME, ENC_SNAPPY };

/* Replaces out's content. out->max is the cap: -E2BIG beyond it (snappy: checked from the declared length before
 * allocating). -ESYNTAX on corrupt input with Loki's text ("snappy: corrupt input", "EOF", ...). */
int inflate(enum encoding e, struct str in, struct buf *out, struct err *reterr);
