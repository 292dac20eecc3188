/* batch: lines of one stream on their way to a server, as Loki's protobuf (PushRequest),
 * compressed as a snappy block. Bytes of lines travel as they are, valid UTF-8 or not. Owns its
 * memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

struct batch {
    struct buf entries; /* encoded */
    struct buf message, packed;
    size_t n_lines;
    size_t line_bytes;
};

struct batch batch_make(void);
void batch_done(struct batch *b);
void batch_clear(struct batch *b);

void batch_add(struct batch *b, int64_t ns, struct str line);

/* The body of a push request; lives until the next call. `labels` is {a="b"}. 0 or -ENOMEM. */
int batch_encode(struct batch *b, struct str labels, struct str *ret);
