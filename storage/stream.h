/* stream (private to storage): a stream in memory, its head (open block, sealed blocks), and the registry of
 * all of them.
 *
 * Locks, in the order in which they may be taken:
 *   store.append_lock   one order of WAL records and heads; guards stream.wal_segment and the taps
 *   registry.lock       (rwlock) maps and the list of streams
 *   stream.lock         the head of one stream
 *   tap.lock            the queue of one tap
 * A pinned stream is never evicted. No lock is held across file I/O. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "block.h"
#include "budget.h"
#include "labels.h"
#include "map.h"
#include "name_set.h"
#include "rows.h"

/* The place of an entry in the WAL: the record, and the entry's number among the record's entries of this
 * stream. */
struct wal_pos {
    uint64_t lsn;
    uint32_t index;
};

static inline bool wal_pos_before(struct wal_pos a, struct wal_pos b) {
    return a.lsn < b.lsn || (a.lsn == b.lsn && a.index < b.index);
}

/* A closed block in memory: raw (just cut) or encoded. Immutable but for chunk_seq; reference counted. A cut
 * block becomes one encoded block per UTC day that it touches. */
struct mem_block {
    atomic_int refs;
    /* Set before the index commit that makes the block part of a chunk file: a snapshot that finds this chunk in the
     * index leaves the memory copy out. 0 = not flushed yet. */
    atomic_uint_fast64_t chunk_seq;
    uint64_t order; /* grows with each block cut: tells older from newer */
    int64_t first_ns, last_ns;
    uint32_t count, line_bytes, meta_bytes;
    struct wal_pos first, end; /* of its entries; end is one behind the last */
    bool hurried;              /* cut for want of memory, before it was full or old */
    bool final;            /* the last piece of its cut: `end` may become the flushed position */
    int64_t since_mono_ns; /* when its first entry arrived */
    size_t memory_bytes;
    /* raw */
    struct rows *rows;
    uint32_t n_sets;
    bool sorted;
    /* encoded; rows is NULL then */
    int32_t day;
    const char *encoded; /* behind the struct, as are the filter and info's sections */
    size_t encoded_size;
    const char *filter;
    size_t filter_size;
    struct block_info info;
};

struct mem_block *mem_block_ref(struct mem_block *b);
void mem_block_unref(struct mem_block *b);

struct tenant {
    struct str name;
    struct map by_text;   /* raw label text -> struct spelling */
    struct map by_labels; /* encoded labels -> struct stream */
    struct map by_name;   /* name of a label -> struct name_use */
};

/* How many streams in memory have a label of that name: who has met them all need not look at the other streams. */
struct name_use {
    size_t n_streams;
    char name[];
};

/* One raw text that clients use for a stream. */
struct spelling {
    struct spelling *next; /* of the same stream */
    struct stream *stream;
    struct str text;
};

struct stream {
    uint64_t id;
    struct tenant *tenant;
    struct labels labels; /* texts in `encoded`; both stand behind the struct */
    struct str encoded;   /* labels_encode: the key in tenant.by_labels */
    bool accounted;       /* counts in the budget */
    atomic_int pins;
    atomic_bool filled;   /* false: it has no entries in memory; lock, but read without */
    uint64_t wal_segment; /* last segment that holds a definition of this stream; append_lock */
    struct spelling *spellings; /* registry.lock */
    size_t slot;                /* in registry.all */
    struct tap_route *taps;     /* who follows the stream, as of tap_generation; append_lock */
    uint64_t tap_generation;

    pthread_mutex_t lock; /* guards all below */
    struct rows_builder open;
    uint64_t open_order;
    struct wal_pos open_first, open_end;
    int64_t open_since_mono_ns; /* first entry of the open block arrived */
    int64_t last_append_mono_ns;
    struct mem_block **sealed; /* oldest first; `first_sealed` while one is all that there was */
    struct mem_block *first_sealed;
    size_t n_sealed, sealed_capacity;
    size_t sealed_bytes;
    bool sealing;  /* a worker encodes raw blocks of this stream */
    bool flushing; /* the flusher writes the oldest sealed blocks */
    bool indexed;  /* has a row in the index */
    struct wal_pos flushed;
    int64_t first_ns, last_ns; /* of chunks and memory */
    size_t open_memory;        /* as counted in registry.head_bytes */
};

struct registry {
    pthread_rwlock_t lock; /* guards the maps, `all`, spellings */
    struct map tenants;
    struct map by_id; /* key: the stream's id field */
    struct stream **all;
    size_t n_all, all_capacity;
    atomic_uint_fast64_t next_id;
    atomic_uint_fast64_t next_order;
    atomic_uint_fast64_t head_bytes; /* memory of all heads */
    atomic_uint_fast64_t duplicates, appended, appended_bytes;
    enum block_effort effort; /* of new blocks; constant */
    bool no_patterns;         /* likewise */
};

/* Counts memory of heads. */
static inline void registry_hold(struct registry *r, size_t bytes) {
    (void)atomic_fetch_add(&r->head_bytes, bytes);
    budget_force(BUDGET_HEADS, bytes);
}
static inline void registry_release(struct registry *r, size_t bytes) {
    (void)atomic_fetch_sub(&r->head_bytes, bytes);
    budget_give(BUDGET_HEADS, bytes);
}

int registry_init(struct registry *r);
void registry_done(struct registry *r);

/* All three give a pinned stream or NULL. */
struct stream *registry_find_text(struct registry *r, struct str tenant, struct str text);
struct stream *registry_find(struct registry *r, struct str tenant, struct labels labels);
struct stream *registry_find_id(struct registry *r, uint64_t id);

/* Finds, or adds a stream with this identity. `id` 0 = give a new one. */
struct stream_identity {
    uint64_t id;
    bool indexed;
    struct wal_pos flushed;
    int64_t first_ns, last_ns; /* first > last: none */
};
int registry_add(struct registry *r, struct str tenant, struct labels labels,
                 const struct stream_identity *identity, struct stream **ret);

/* Remembers a spelling. Failure is harmless (the next push parses again). */
void registry_add_text(struct registry *r, struct stream *s, struct str text);
void registry_forget_texts(struct registry *r);

static inline void stream_pin(struct stream *s) {
    (void)atomic_fetch_add(&s->pins, 1);
}
static inline void stream_unpin(struct stream *s) {
    (void)atomic_fetch_sub(&s->pins, 1);
}

/* Of the streams in memory; q->counts is called with the lock held. */
int registry_names(struct registry *r, const struct name_query *q, struct name_set *into);

/* Streams in memory, with and without entries. */
size_t registry_count(struct registry *r);

/* The streams that have entries in memory, each pinned, and others among them; free the array with registry_list_done. NULL
 * without memory. What was appended before the call is seen. */
struct stream **registry_list_filled(struct registry *r, size_t *ret_count);
void registry_list_done(struct stream **list, size_t count);

/* Drops streams without data and pins that had no append since `idle_before`. */
void registry_evict(struct registry *r, int64_t idle_before_mono_ns);

/* ---- head.c */

/* Appends entries [from, count) in order; cuts blocks. Adds to the counters. Returns true in *ret_sealable when raw
 * sealed blocks wait. Entries before `flushed` are skipped (replay). New entries are offered to the taps of `route`
 * (NULL = none). */
struct tap_route;
int head_append(struct registry *r, struct stream *s, const struct entry *entries, size_t count,
                uint64_t lsn, const struct tap_route *route, bool *ret_sealable);

/* Closes the open block, if it has entries. Called with s->lock held. */
int head_cut(struct registry *r, struct stream *s);

/* Encodes all raw sealed blocks of the stream; any thread. Skips when another one is at it, unless `wait`. */
int head_seal(struct registry *r, struct stream *s, struct block_encoder *encoder, bool wait);

/* Position of the oldest entry in memory; false when there is none. s->lock held. */
bool head_oldest(const struct stream *s, struct wal_pos *ret);
