/* index: the LMDB environment DATA/index: which streams exist, which chunks they have. Several processes may
 * read it; one writes. All writes happen in an explicit transaction of the one writer at a time (the store
 * serialises); read transactions are short: ids and rows are copied out.
 *
 * Databases (key -> value, all integers in keys big-endian so that they sort):
 *   meta      name -> value             format version, next stream id, next chunk seq, ...
 *   tenants   name -> u32 id
 *   streams   u64 id -> u32 tenant, first/last ns, u64 lsn + u32 index flushed, labels (labels_encode)
 *   byhash    u128 hash(tenant id, encoded labels) -> u64 id
 *   postings  u32 tenant, name, 0, value or its hash when long -> u64 ids (DUPSORT | DUPFIXED)
 *   chunks    u32 tenant, u64 stream, u64 start, u64 seq -> end, sizes, counts, day
 *   deletes   request id -> delete request (opaque to this module)
 * Map size is reserved large at once; MDB_MAP_RESIZED and MDB_MAP_FULL are handled here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "chunk.h"
#include "err.h"
#include "labels.h"
#include "matcher.h"
#include "name_set.h"

struct index;

struct index_options {
    bool read_only;     /* another process may be writing */
    bool scratch;       /* dies with the process: nothing is synced */
    uint64_t map_bytes; /* address space reserved; 0 = 64 GiB */
};

int index_open(const char *path, const struct index_options *o, struct index **ret,
               struct err *reterr);
void index_close(struct index *ix);

struct index_stream {
    uint64_t id;
    struct str tenant;
    struct labels labels;
    int64_t first_ns, last_ns; /* of its chunks; first > last when it has none */
    uint64_t flushed_lsn;      /* entries up to (flushed_lsn, flushed_index) are in chunk files */
    uint32_t flushed_index;
};

struct index_chunk {
    uint64_t stream_id;
    uint64_t chunk_seq;
    int32_t day;
    uint8_t grade;                  /* chunk_head.grade */
    uint64_t pack_seq, pack_offset; /* of the pack that it stands in; 0: it has a file of its own */
    struct chunk_sums sums;
};

/* ---- writing: one transaction at a time, by one thread */
struct index_txn;
int index_begin(struct index *ix, struct index_txn **ret, struct err *reterr);
int index_commit(struct index_txn *t, struct err *reterr); /* durable when it returns 0; frees t */
void index_abort(struct index_txn *t);                     /* NULL is fine */

/* Inserts or replaces the stream row, its hash row and postings. */
int index_put_stream(struct index_txn *t, const struct index_stream *s, struct err *reterr);
int index_put_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                    struct err *reterr);
/* 0 also when it was not there. */
int index_del_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                    struct err *reterr);
/* Is the chunk's row there, as this transaction sees it? 0, -ENOENT. */
int index_txn_has_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                        struct err *reterr);
/* Removes row, hash row and postings. */
int index_del_stream(struct index_txn *t, uint64_t stream_id, struct err *reterr);
/* Delete requests: what the bytes mean is the compactor's business. A key has 1 to 511 bytes; deleting what is not
 * there is 0. */
int index_put_delete(struct index_txn *t, struct str key, struct str value, struct err *reterr);
int index_del_delete(struct index_txn *t, struct str key, struct err *reterr);
int index_put_counter(struct index_txn *t, struct str name, uint64_t value, struct err *reterr);
/* A stream's row as this transaction sees it; strings live in the arena. -ENOENT. */
int index_txn_stream(struct index_txn *t, uint64_t stream_id, struct arena *arena,
                     struct index_stream *ret, struct err *reterr);

/* The number of the stream with these labels, as this transaction sees it. -ENOENT. */
int index_txn_find_stream(struct index_txn *t, struct str tenant, struct labels labels,
                          uint64_t *ret_id);

/* ---- reading; each call is its own short read transaction. Results live in the arena. */
int index_counter(struct index *ix, struct str name, uint64_t *ret); /* 0 when absent */
int index_find_stream(struct index *ix, struct str tenant, struct labels labels,
                      struct arena *arena, struct index_stream *ret); /* -ENOENT */
int index_stream_by_id(struct index *ix, uint64_t id, struct arena *arena,
                       struct index_stream *ret); /* -ENOENT */
int index_tenants(struct index *ix, struct arena *arena, struct str **ret, size_t *ret_count);

/* Streams of the tenant that match all matchers and whose [first, last] overlaps [start, end]; n_matchers may
 * be 0. Sorted by id. */
int index_select(struct index *ix, struct str tenant, const struct matcher *matchers,
                 size_t n_matchers, int64_t start_ns, int64_t end_ns, struct arena *arena,
                 struct index_stream **ret, size_t *ret_count, struct err *reterr);

/* What `into` has already is not looked for; q->counts is called within the transaction. */
int index_names(struct index *ix, const struct name_query *q, struct name_set *into,
                struct err *reterr);

/* Chunks of one stream that overlap [start, end], by start then seq, as a new array in the arena.
 * A reader handle makes many lookups in one transaction; it is short-lived. */
struct index_reader;
int index_reader_begin(struct index *ix, struct index_reader **ret, struct err *reterr);
void index_reader_end(struct index_reader *r);
int index_reader_chunks(struct index_reader *r, struct str tenant, uint64_t stream_id,
                        int64_t start_ns, int64_t end_ns, struct arena *arena,
                        struct index_chunk **ret, size_t *ret_count, struct err *reterr);
/* Up to where a stream's entries are in chunk files, as this reader sees it. -ENOENT. */
int index_reader_flushed(struct index_reader *r, uint64_t stream_id, uint64_t *ret_lsn,
                         uint32_t *ret_index);

/* Walks all chunk rows of a tenant (retention, listing); fn non-zero stops and is returned. No transaction is
 * open while fn runs: it may write, and a change behind the present row may or may not be seen. */
typedef int index_chunk_fn(const struct index_chunk *c, void *ctx);
int index_walk_chunks(struct index *ix, struct str tenant, index_chunk_fn *fn, void *ctx,
                      struct err *reterr);
typedef int index_stream_fn(const struct index_stream *s, void *ctx);
int index_walk_streams(struct index *ix, struct str tenant, index_stream_fn *fn, void *ctx,
                       struct err *reterr);

/* All delete requests, in the order of their keys, in one transaction: fn must not write. */
typedef int index_delete_fn(struct str key, struct str value, void *ctx);
int index_walk_deletes(struct index *ix, index_delete_fn *fn, void *ctx, struct err *reterr);

struct index_stats {
    uint64_t streams, chunks, file_bytes, map_bytes;
};
int index_get_stats(struct index *ix, struct index_stats *ret);

/* Frees the slots of readers that died; call at start and every minute. */
void index_check_readers(struct index *ix);
