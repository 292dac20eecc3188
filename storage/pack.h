/* pack: small chunks of many streams of one tenant and UTC day in one file, as one flush writes them.
 *
 *   header | chunk 0 | chunk 1 | ... | directory | footer
 *
 * 100,000 streams that write a little each would make 100,000 files per flush: an inode, a block of the disk, an fsync and
 * a rename for 2 KB. Each member is a chunk as it would stand in a file of its own (chunk.h), aligned to 8 bytes,
 * with a number of its own; its row in the index says in which pack it stands, and where. What is large has a file of
 * its own, and so has whatever the compactor writes.
 *
 * Life of a pack:
 *   - A pack never changes. Backups may link it, readers of other processes read it.
 *   - A member is gone when its index row is: retention, a merge or a delete request has taken it out. The file goes with
 *     its last member, as soon as no snapshot needs it (reap.c looks; after a crash the orphan sweep does).
 *   - Merges and deletes write chunk files in place of members, which name them as replaced: an index rebuilt from files
 *     leaves these members out, as it leaves out files. A delete request takes the other members out of the pack, too, so
 *     that the lines vanish from the disk, also where a merge had taken them out of it before (compactor/unpack.h). A pack
 *     most of which is gone is emptied likewise.
 *
 * Crash states:
 *   1. NAME.pack.tmp: removed by the orphan sweep; the WAL has the entries.
 *   2. NAME.pack durable, not in the index: the same. An index rebuilt then takes its members: they are complete.
 *   3. The index knows it. Some members gone: their rows say so. A rebuilt index takes members back whose rows went without a
 *     replacement (retention): the next pass removes them again.
 *
 * The directory is an accelerator with a checksum: without it members are found from the front, by the magic bytes of
 * their headers and footers. Byte layout in docs/format.md. A struct pack is immutable; any thread may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chunk.h"

enum {
    PACK_MEMBERS_MAX = 65536,     /* far more than one flush takes together */
    PACK_MEMBER_BYTES = 64 << 10, /* larger chunks have files of their own */
    PACK_FILTER_BYTES = 8 << 10,  /* likewise: filters of members are copied when they are opened */
    PACK_FROM_DEFAULT = 8,        /* fewer members are not worth a pack */
};

struct pack_member {
    uint64_t offset, size;
    uint64_t stream_id, chunk_seq;
    int64_t first_ns;
};

struct pack_head {
    struct str tenant;
    uint64_t seq; /* from the same counter as the numbers of chunks */
    int32_t day;
};

/* ---- writing; one thread. Making the file durable and giving it its name is the caller's business. */
struct pack_writer;
int pack_writer_open(int dir_fd, const char *name, const struct pack_head *head,
                     struct pack_writer **ret, struct err *reterr);
int pack_writer_add(struct pack_writer *w, const struct chunk_head *head,
                    const struct chunk_block *blocks, size_t n_blocks, uint64_t *ret_offset,
                    struct chunk_sums *ret_sums, struct err *reterr);
/* Frees w when it returns 0; the fd is open for the caller's fsync. */
int pack_writer_finish(struct pack_writer *w, int *ret_fd, struct err *reterr);
void pack_writer_abort(struct pack_writer *w); /* removes the file; NULL is fine */

/* ---- reading */
struct pack {
    struct pack_head head; /* tenant empty: the header is damaged */
    bool damaged;          /* the header, the directory or the footer */
    uint64_t file_size;
    struct pack_member *members; /* by offset */
    size_t n_members;
    char *tenant; /* head.tenant's bytes */
};

/* -ENOENT, -EIO, -ENOMEM, -EFORMAT, -ECORRUPT (not a pack, or nothing in it can be found). */
int pack_open(int dir_fd, const char *name, struct pack *ret, struct err *reterr);
void pack_done(struct pack *p);
