/* walrec: what a WAL record of a push holds. Format in docs/format.md.
 *
 *   payload = u32 definitions size | definitions | data (compressed with the record's codec)
 *   definitions: per stream { varint id, varint size + tenant, varint size + encoded labels }
 *   data: varint streams, per stream { varint id, varint entries,
 *           per entry { zigzag varint time delta, varint size + line,
 *                       varint 0 = metadata as before | 1 + pairs, per pair sizes + bytes } }
 *
 * A push whose lines lie in a body that came compressed is stored as that body, untouched, and a table of where
 * the lines are in it: to compress them a second time was the largest single cost of a push.
 *
 *   payload = u32 definitions size | definitions | u32 table size | u32 table size when decompressed (equal: it
 *             is not) | table (LZ4) | body (the record's codec)
 *   table: as data, but a line is varint size << 1, then zigzag varint distance of its place in the body from
 *           the end of the line before (0 at first); or varint size << 1 | 1, then its bytes
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

enum walrec_type { WALREC_PUSH = 1, WALREC_PUSH_BODY = 2 };
enum walrec_codec { WALREC_NONE = 0, WALREC_LZ4 = 1, WALREC_SNAPPY = 2 };

/* The payload is front, raw and body, one behind the other; nobody joins them but the WAL. */
enum { WALREC_PARTS = 3 };

struct walrec_writer {
    struct buf front; /* definitions and what else stands before raw */
    struct buf raw;   /* data or table, compressed when that pays */
    uint8_t type, codec;
    uint32_t raw_size;   /* of the data or the body when decompressed */
    uint32_t table_size; /* of the table when decompressed */
    struct str body;     /* WALREC_PUSH_BODY: borrowed from the batch */
};

void walrec_writer_done(struct walrec_writer *w);
/* Lets go of memory above what a usual push needs. */
void walrec_writer_trim(struct walrec_writer *w);

/* Encodes the data part, or the table of a batch that has a source; compresses it when `pack` says so and it pays. What
 * the batch borrows must live until the record is complete. `line_bytes`: of all of the batch's lines. */
int walrec_write_data(struct walrec_writer *w, const struct batch *batch, size_t line_bytes,
                      bool pack);
/* Bytes of the payload as it is now; before the first definitions their size and at most 8 bytes are missing. */
size_t walrec_size(const struct walrec_writer *w);
/* Puts definitions of the streams whose bit in `define` is set in front: the payload is then complete. May be called
 * again with other bits. */
int walrec_write_definitions(struct walrec_writer *w, const struct batch *batch,
                             const bool *define);
void walrec_payload(const struct walrec_writer *w, struct str ret[static WALREC_PARTS]);

/* Reading. What definitions say borrows the record; entries borrow the arena and `scratch` alone, and live as long as what
 * is in these. */
typedef int walrec_define_fn(uint64_t id, struct str tenant, struct labels labels, void *ctx);
typedef int walrec_entries_fn(uint64_t id, const struct entry *entries, size_t count, void *ctx);
/* Does anybody want the stream's entries of this record? A body is decompressed for the first that is wanted only. */
typedef bool walrec_needs_fn(uint64_t id, size_t count, void *ctx);

struct walrec_visitor {
    walrec_define_fn *define;
    walrec_needs_fn *needs; /* NULL: all are wanted */
    walrec_entries_fn *entries;
    void *ctx;
};

/* `scratch` receives the decompressed data. -ECORRUPT, -ENOMEM, or what a function returned. */
int walrec_read(const struct wal_record *record, struct arena *arena, struct buf *scratch,
                const struct walrec_visitor *visitor, struct err *reterr);
