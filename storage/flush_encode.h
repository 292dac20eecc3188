/* flush_encode (private to storage): encoding what a flush has chosen, by more threads than one. The flushing thread alone
 * fell behind what pushes bring where streams are many or blocks are cut early: heads grew to twice their budget, and pushes
 * were refused. Sealing threads help; pushes do, too, when heads are over their budget, with about as much as they have
 * brought, which slows them down to what the machine can encode. */
#pragma once

#include "store_private.h"

/* A stream that a flush looks at. */
struct candidate {
    struct stream *stream;
    size_t sealed_bytes, open_bytes;
    uint64_t oldest_lsn; /* UINT64_MAX when empty */
    bool due;            /* flush what is sealed */
    bool cut;            /* close the open block, too */
    bool hurried;        /* only for want of memory */
    int status;          /* of its encoding */
};

/* Encodes what is due of each; flush_lock is held. */
void flush_encode(struct store *s, struct candidate *list, size_t n);

/* Takes part in that, if it is under way, until so many bytes are done. */
void flush_help(struct store *s, size_t bytes);
