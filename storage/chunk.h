/* chunk: one immutable file, or a member of a pack (pack.h), with blocks of one stream and one UTC day.
 *
 *   header | block 0 | block 1 | ... | filters | trailer | footer
 *
 * The header names the tenant, the stream's labels, the stream id and the WAL position up to which the
 * stream is in chunk files, so that the index can be rebuilt from chunk files alone. The trailer (block headers
 * and filter offsets) and the footer are accelerators with checksums: without them the blocks are still
 * read from the front. Byte layout in docs/format.md.
 *
 * Writing: chunk_write makes NAME.tmp and fills it; making it durable (fsync, rename, fsync folder) is done
 * for many files at once by the flusher: chunk_write leaves the file open. Reading: a struct chunk keeps what the
 * trailer says and, once they are asked again, a map of the filters (filters.h); block bytes are read by blockref.c. It is
 * immutable after opening otherwise: any thread may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "err.h"
#include "filters.h"
#include "labels.h"

struct chunk_head {
    struct str tenant;
    struct labels labels;
    uint64_t stream_id;
    uint64_t chunk_seq; /* unique in the store, grows with each chunk written */
    uint64_t
        wal_lsn; /* the stream's entries up to (wal_lsn, wal_index) are in chunk files once this */
    uint32_t wal_index; /* chunk is: see wal.h */
    int32_t day;
    /* Which of the compactor's passes has written it: 0 = a flush. */
    uint8_t grade;
    /* Chunks of the same stream and day whose entries stand in this one by now, ascending: files of these numbers
     * that a crash has left count no more. Empty for a flush. */
    const uint64_t *replaces;
    size_t n_replaces;
};

/* A chunk that would have to name more is not made: its stream writes a chunk each second, day by day. */
enum { CHUNK_REPLACES_MAX = 1 << 18 };

/* One encoded block to write. */
struct chunk_block {
    struct str encoded;
    struct str filter;
};

enum { CHUNK_BLOCKS_MAX = 16384 }; /* 4 GiB of raw lines; entries stay below 2^30 */

/* Totals of a chunk, as the index keeps them. */
struct chunk_sums {
    int64_t first_ns, last_ns;
    uint64_t file_bytes;
    uint64_t line_bytes;
    uint64_t meta_bytes;
    uint32_t entries;
    uint32_t blocks;
};

/* Creates `name` (below dir_fd, with its own .tmp suffix given by the caller) and writes everything. The fd
 * is returned open for the caller's fsync. On error the file is removed. */
int chunk_write(int dir_fd, const char *name, const struct chunk_head *head,
                const struct chunk_block *blocks, size_t n_blocks, int *ret_fd,
                struct chunk_sums *ret_sums, struct err *reterr);

/* The same block by block, for those who do not have all at once: blocks go to the file as they come, filters and
 * trailer stay in memory until the end. A failed call leaves nothing but chunk_writer_abort, which removes the file. */
struct chunk_writer;
int chunk_writer_open(int dir_fd, const char *name, const struct chunk_head *head,
                      struct chunk_writer **ret, struct err *reterr);
int chunk_writer_add(struct chunk_writer *w, const struct chunk_block *block, struct err *reterr);
/* Bytes of the file if it ended now, but for the trailer. */
uint64_t chunk_writer_size(const struct chunk_writer *w);
uint32_t chunk_writer_blocks(const struct chunk_writer *w);
/* Frees w when it returns 0. */
int chunk_writer_finish(struct chunk_writer *w, int *ret_fd, struct chunk_sums *ret_sums,
                        struct err *reterr);
void chunk_writer_abort(struct chunk_writer *w); /* NULL is fine */

/* Many chunks in one file that is the caller's (pack.h): one writer, whose buffers serve them all. Bytes gather up to a
 * megabyte and go to the end of the file then, and with chunk_writer_flush. A failed call leaves nothing but
 * chunk_writer_abort, which also ends one that is done, and leaves the file alone. The name is for texts. NULL without
 * memory. */
struct chunk_writer *chunk_writer_borrow(int fd, const char *name);
int chunk_writer_chunk(struct chunk_writer *w, const struct chunk_head *head,
                       const struct chunk_block *blocks, size_t n_blocks,
                       struct chunk_sums *ret_sums, struct err *reterr);
/* What stands between chunks. */
int chunk_writer_put(struct chunk_writer *w, const void *data, size_t size, struct err *reterr);
int chunk_writer_flush(struct chunk_writer *w, struct err *reterr);

struct chunk; /* an opened chunk file */

/* Opens, checks header, footer and trailer. When the trailer is damaged, reads the blocks from the front
 * (their filters are then missing and every block passes); when the header is, chunk_has_head is false and the head
 * empty. Either sets chunk_is_damaged. The file is opened again to map its filters: `dir_fd` lives as long.
 * -ENOENT, -ECORRUPT (both), -EFORMAT. */
int chunk_open(int dir_fd, const char *name, struct chunk **ret, struct err *reterr);
/* The part of a file that is a chunk: a member of a pack (pack.h). Size 0: the whole file. */
struct chunk_span {
    uint64_t offset, size;
    /* What the index says: how large the file is, which is not asked then, and how much of its end is worth reading at
     * once. 0: nothing is known. */
    uint64_t likely_size;
    uint32_t likely_blocks;
    struct slab *slab; /* for what stays of a chunk with many blocks; NULL: the heap */
};
int chunk_open_at(int dir_fd, const char *name, struct chunk_span span, struct chunk **ret,
                  struct err *reterr);
/* The same for who opens many: returns a descriptor of the file, which is the caller's, or an error. *ret is the chunk when
 * all that opening looks at is in memory; else NULL, and the disk has begun to read it for chunk_open_begun. */
int chunk_begin(int dir_fd, const char *name, struct chunk_span span, struct chunk **ret);
int chunk_open_begun(int fd, int dir_fd, const char *name, struct chunk_span span,
                     struct chunk **ret, struct err *reterr);
void chunk_close(struct chunk *c);

const struct chunk_head *chunk_get_head(const struct chunk *c);
const struct chunk_sums *chunk_get_sums(const struct chunk *c);
bool chunk_is_damaged(const struct chunk *c);
bool chunk_has_head(const struct chunk *c);
bool chunk_has_trailer(const struct chunk *c);
uint32_t chunk_block_count(const struct chunk *c);
const struct block_info *chunk_block_info(const struct chunk *c, uint32_t i);
/* Offset of block i's first byte in the file. */
uint64_t chunk_block_offset(const struct chunk *c, uint32_t i);
/* Offset of the copy of its header in the trailer; 0 in a damaged chunk, whose trailer cannot be used. */
uint64_t chunk_block_header_copy(const struct chunk *c, uint32_t i);
/* Where the chunk begins in its file; all offsets count from the file's beginning. */
uint64_t chunk_offset(const struct chunk *c);
uint32_t chunk_header_size(const struct chunk *c);
/* The gram filters; NULL when they cannot be used. */
const struct filters *chunk_filters(const struct chunk *c);
const char *chunk_get_name(const struct chunk *c);
/* Memory that keeping this chunk open costs, with the share of its mapped filters that is likely to be in memory. */
size_t chunk_cost_bytes(const struct chunk *c);

/* The file's name inside the data directory: chunks/<tenant>/<day>/<stream>-<seq>.chunk. Tenant names are
 * encoded so that no name leaves the folder: bytes outside [A-Za-z0-9_-] as %XX. */
enum { CHUNK_PATH_MAX = 640 };
int chunk_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day, uint64_t stream_id,
               uint64_t chunk_seq);
/* The same of a pack: chunks/<tenant>/<day>/<seq>.pack. */
int pack_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day, uint64_t pack_seq);
