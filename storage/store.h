/* store: the one door to stored data. Owns the data directory: LOCK, format, wal/, index/, chunks/.
 *
 * A push: store_stream() for each label set (pins a stream), store_append() for the batch, completion from the
 * WAL thread, store_unpin(). A query: store_select() makes a snapshot that stays as it is while heads grow,
 * blocks are flushed and the compactor deletes; store_snapshot_free() lets go.
 * All functions: any thread, unless said otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blockref.h"
#include "entry.h"
#include "err.h"
#include "gram.h"
#include "index.h"
#include "labels.h"
#include "matcher.h"
#include "tap.h"
#include "wal.h"

struct store;
struct stream;
struct snapshot;

/* Thousands of pages of the index: more than a batch of removals writes. */
enum { STORE_RESERVE_BYTES = 16 << 20 };

struct store_options {
    const char *data_dir;
    /* Offline reader: no LOCK, WAL replayed in memory, nothing written. An index that cannot be used is made anew in
     * memory from the chunk files. */
    bool read_only;
    bool ignore_index; /* read_only: as if there were none */
    struct wal_options wal;
    uint64_t head_budget_bytes; /* memory for all heads; 0 = default 128 MiB */
    uint64_t wal_max_bytes;     /* flush oldest heads when the WAL is larger; 0 = default 512 MiB */
    bool wal_compress; /* what does not come compressed, whether the disk keeps up or not */
    uint64_t chunk_target_bytes; /* flush a stream when its sealed blocks reach this; 0 = 1.5 MiB */
    int64_t chunk_idle_ns;       /* 0 = 30 min */
    int64_t chunk_max_age_ns;    /* 0 = 2 h */
    unsigned seal_threads;       /* 0 = 1 */
    enum block_effort effort;    /* codec of new blocks; 0 = EFFORT_FAST */
    bool no_patterns;            /* new blocks are not mined (patterns.h) */
    unsigned pack_from; /* so many small chunks of a tenant and day share a file (pack.h); 0 = 8 */
    uint64_t chunk_cache_bytes; /* opened chunk tails kept mapped; 0 = 256 MiB */
    uint64_t reserve_bytes; /* of the disk, kept for removing chunks when it is full; 0 = none */
    void (*log)(int level, const char *msg, const char *pairs); /* levels of log.h; may be NULL */
};

/* Opens or creates. Replays the WAL. -EBUSY: another server has the directory; -EFORMAT; -ECORRUPT. */
int store_open(const struct store_options *o, struct store **ret, struct err *reterr);

/* Flushes everything to chunk files, then closes. After a failed WAL, too: chunk files do not need it. */
void store_close(struct store *s);

/* Rebuilds DATA/index from chunk files alone; the store must not be open. Prints nothing; counts returned. */
struct store_rebuild {
    uint64_t chunks, streams, damaged, entries;
};
int store_rebuild_index(const char *data_dir, struct store_rebuild *ret, struct err *reterr);

/* ---- ingest */

/* The stream of a raw label text seen before, pinned; NULL when unknown. `text` is the tenant's own raw
 * spelling: the caller parses and validates only when this gives NULL. */
struct stream *store_stream_by_text(struct store *s, struct str tenant, struct str text);

/* Finds or creates the stream of a canonical, validated label set, pinned; remembers `text` (may be empty) as a
 * spelling of it. -ENOMEM, -EIO. */
int store_stream(struct store *s, struct str tenant, struct labels labels, struct str text,
                 struct stream **ret, struct err *reterr);
void store_unpin(struct store *s, struct stream *stream);
struct labels stream_labels(const struct stream *stream);
uint64_t stream_id(const struct stream *stream);

/* Streams of the tenant that are in memory (had entries lately), and whether this one is among them: for limits on
 * active streams. */
uint64_t store_active_streams(struct store *s, struct str tenant);
bool store_has_active_stream(struct store *s, struct str tenant, struct labels labels);

/* Forgets all remembered spellings (limits changed). */
void store_forget_texts(struct store *s);

struct batch_stream {
    struct stream *stream; /* pinned by the caller */
    const struct entry *entries;
    size_t count;
};
/* The snappy block in which the lines of a batch came. The WAL then keeps `packed` as it is instead of compressing
 * the lines again; lines that do not lie within `plain` are stored beside it. */
struct batch_source {
    struct str packed; /* size 0: there is none */
    struct str plain;  /* exactly what it decompresses to */
};
struct batch {
    struct str tenant;
    const struct batch_stream *streams;
    size_t n_streams;
    struct batch_source source;
};

static inline size_t batch_line_bytes(const struct batch *batch) {
    size_t bytes = 0;
    for (size_t i = 0; i < batch->n_streams; i++)
        for (size_t k = 0; k < batch->streams[i].count; k++)
            bytes += batch->streams[i].entries[k].line.size;
    return bytes;
}

/* Appends the batch: WAL first, then heads, in one order for all. Everything is copied before it returns. On 0
 * `done(ctx, status)` is called exactly once, from the WAL thread, when the batch is durable (or is not); on
 * an error it is not called and nothing is stored. -EBUSYNOW (queue full), -ENOSPC, -EIO, -ENOMEM,
 * -E2BIG (an entry beyond the limits of entry.h). */
int store_append(struct store *s, const struct batch *batch, wal_done *done, void *ctx,
                 struct err *reterr);

/* Everything in memory becomes chunk files; returns when they are durable and indexed. */
int store_flush(struct store *s, struct err *reterr);

/* 0 when pushes can be accepted, else the reason (-ENOSPC, -EIO) with text. */
int store_writable(struct store *s, struct err *reterr);

/* ---- queries */

/* Earliest visible time of a stream: entries before it do not exist for any reader. Set by the retention
 * policy; NULL = all visible. Called within locks of the store: it calls nobody back. */
typedef int64_t store_visible_fn(void *ctx, struct str tenant, struct labels labels);
void store_set_visibility(struct store *s, store_visible_fn *fn, void *ctx);

/* What is to be left out of all snapshots from now on (erase.h); NULL = nothing. Must outlive every snapshot. */
struct eraser;
void store_set_eraser(struct store *s, const struct eraser *e);

/* Tells streams of several tenants apart when they are read together. */
#define STORE_TENANT_LABEL "__tenant_id__"

struct share;

struct select {
    /* One, or several joined with '|': then each stream carries the label above, too. */
    struct str tenant;
    const struct matcher *matchers;
    size_t n_matchers;
    int64_t start_ns; /* inclusive */
    int64_t end_ns;   /* inclusive */
    struct tap *tap;  /* is told what the snapshot contains (tap.h); NULL = none */
    /* Blocks whose filter lacks one of these are left out, and streams without any other; NULL = none. Such a
     * block cannot hold a twin of a line that has them all, so duplicates are found as before. */
    const struct gram_query *grams;
    /* What block_ref_may_contain will be asked of most blocks, for reading ahead; NULL = nothing. */
    const struct gram_query *later;
    /* Threads that help to open many files; NULL: the calling one does it alone. */
    const struct share *share;
};

struct snap_stream {
    uint64_t id;
    uint64_t hash; /* labels_hash */
    struct labels labels;
    int64_t visible_from_ns;
    /* Blocks that overlap the range, ordered by first_ns, then by age. */
    const struct block_ref *const *blocks;
    size_t n_blocks;
    /* Ends of the stream's data as known, not limited to the range. */
    int64_t first_ns, last_ns;
};

/* Takes a snapshot. Streams without a block in the range are left out. Entries of blocks at the edges may lie
 * outside the range or before visible_from_ns: the reader checks. */
int store_select(struct store *s, const struct select *sel, struct snapshot **ret,
                 struct err *reterr);
void store_snapshot_free(struct snapshot *snap);
size_t snapshot_streams(const struct snapshot *snap, const struct snap_stream **ret);
/* Blocks in the range that select.grams left out. */
uint64_t snapshot_excluded(const struct snapshot *snap);
/* Chunk files with entries in the range that cannot be opened: the snapshot is without them. */
uint64_t snapshot_lost(const struct snapshot *snap);

/* Label sets only, without touching blocks: for labels, values, series. A stream counts when its [first, last]
 * overlaps the range and is visible. fn non-zero stops and is returned. */
typedef int store_series_fn(struct labels labels, void *ctx);
int store_series(struct store *s, const struct select *sel, store_series_fn *fn, void *ctx,
                 struct err *reterr);

/* Names of labels, or values of `label` when it has data, of the label sets that store_series tells: added to what is in
 * `into`. Without matchers most streams are not looked at. */
int store_names(struct store *s, const struct select *sel, struct str label, struct name_set *into,
                struct err *reterr);

int store_tenants(struct store *s, struct arena *arena, struct str **ret, size_t *ret_count);

/* ---- for the compactor */

struct index *store_index(struct store *s);
int store_dir_fd(struct store *s);

/* One index transaction of the compactor: calls fn with an open write transaction, serialised with flushes, and
 * commits when fn returns 0. On a full disk fn is called a second time, with the reserve's space. */
int store_index_update(struct store *s,
                       int (*fn)(struct index_txn *t, void *ctx, struct err *reterr), void *ctx,
                       struct err *reterr);

/* Deletes the file of a chunk whose index row has gone, as soon as no running snapshot can need it; the pack that it stood
 * in, when it was the last of its members. */
void store_delete_chunk(struct store *s, struct str tenant, const struct index_chunk *c);
/* Deletes pending files whose time has come; the number still waiting. */
size_t store_reap(struct store *s);
/* Chunk files that the index does not know (a crash left them): removed; returns the number, or a negative
 * errno. */
int64_t store_sweep_orphans(struct store *s, struct err *reterr);
/* Is the stream active in memory (head with entries, or pinned)? Such rows must not be removed. */
bool store_stream_active(struct store *s, uint64_t stream_id);

/* May the WAL still hold entries of a stream that is on disk up to `flushed_lsn`? Then its row must stay: it is what keeps
 * replay from bringing removed entries back. */
bool store_wal_reaches(struct store *s, uint64_t flushed_lsn);

/* Begins a new segment of the WAL: the present one, with what it has of removed entries, then goes as soon as its others are
 * in chunk files, and not only when it is full. */
void store_renew_wal(struct store *s);

/* Writes down up to where these streams are in chunk files, as far as the WAL may hold what is before that (positions.h).
 * To be called before the rows of chunks go whose entries must not come back even if the index is lost; by one
 * thread at a time. */
int store_keep_positions(struct store *s, const uint64_t *stream_ids, size_t count,
                         struct err *reterr);

struct store_stats {
    uint64_t streams_in_memory;
    uint64_t head_bytes, head_budget_bytes;
    uint64_t open_entries, sealed_blocks, sealed_bytes;
    uint64_t appended_entries, appended_bytes, duplicate_entries;
    uint64_t flushes, flushed_chunks, flushed_bytes, flush_ns_total;
    uint64_t flush_failures; /* passes that failed; each is tried again */
    uint64_t chunk_cache_bytes, chunk_cache_count;
    uint64_t shelved_bytes, shelved_blocks;                       /* block_shelf.h */
    uint64_t sieve_queries, sieve_chunks_skipped, sieves_damaged; /* sieve.h */
    uint64_t replayed_entries, replay_ns, lost_wal_bytes;
    struct wal_stats wal;
    struct index_stats index;
    uint64_t disk_free_bytes, disk_total_bytes;
};
void store_get_stats(struct store *s, struct store_stats *ret);
