/* walrec: what a WAL record of a push holds. Format in docs/format.md.
 *
 *   payload = u32 definitions size | definitions | data (compressed with the record's codec)
 *   definitions: per stream { varint id, varint size + tenant, varint size + encoded labels }
 *   data: varint streams, per stream { varint id, varint entries,
 *           per entry { zigzag varint time delta, varint size + line,
 *                       varint 0 = metadata as before | 1 + pairs, per pair sizes + bytes } }
 *
 * Stream ids mean something only together with a definition in the same segment or earlier in it. Any thread; a
 * struct walrec_writer belongs to one. */
#pragma once

#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "entry.h"
#include "err.h"
#include "store.h"

enum { WALREC_PUSH = 1 };

struct walrec_writer {
    struct buf raw;     /* data, not compressed */
    struct buf payload; /* what goes to the WAL */
    uint8_t codec;
    uint32_t raw_size;
};

void walrec_writer_done(struct walrec_writer *w);
/* Lets go of memory above what a usual push needs. */
void walrec_writer_trim(struct walrec_writer *w);

/* Encodes and compresses the data part. */
int walrec_write_data(struct walrec_writer *w, const struct batch *batch);
/* Puts definitions of the streams whose bit in `define` is set in front: payload is then complete. May be called
 * again with other bits. */
int walrec_write_definitions(struct walrec_writer *w, const struct batch *batch,
                             const bool *define);

/* Reading. Strings borrow the record or the arena. */
typedef int walrec_define_fn(uint64_t id, struct str tenant, struct labels labels, void *ctx);
typedef int walrec_entries_fn(uint64_t id, const struct entry *entries, size_t count, void *ctx);

/* `scratch` receives the decompressed data. -ECORRUPT, -ENOMEM, or what a function returned. */
int walrec_read(const struct wal_record *record, struct arena *arena, struct buf *scratch,
                walrec_define_fn *define, walrec_entries_fn *entries, void *ctx,
                struct err *reterr);
