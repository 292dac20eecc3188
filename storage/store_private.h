/* store_private: what the modules behind the one door share. Nobody outside storage includes it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "chunk_cache.h"
#include "map.h"
#include "pool.h"
#include "reserve.h"
#include "store.h"
#include "stream.h"
#include "tap_private.h"

/* A chunk file whose index row has gone and that waits until no snapshot can need it. */
struct doomed {
    struct doomed *next;
    uint64_t at_clock; /* snapshots that began at or before this may still read it */
    uint64_t stream_id, chunk_seq;
    char path[];
};

/* A pack of which a member has gone. */
struct thinned {
    struct thinned *next;
    uint64_t pack_seq;
    int32_t day;
    bool alive;
    struct str tenant;
};

struct store {
    struct store_options options;
    int dir_fd;
    int lock_fd;
    int wal_dir_fd; /* lent to wal */
    struct registry registry;
    struct wal *wal; /* NULL when read-only */
    struct index *index;
    struct chunk_cache *cache;
    struct {
        struct sieve_cache *cache;
        /* Queries that asked some, chunks that those then left alone, sieves that could not be used. */
        atomic_uint_fast64_t asked, chunks_skipped, damaged;
    } sieves;
    struct pool *sealers;
    struct block_encoder *encoder; /* of the flusher's thread; flush_lock */

    pthread_mutex_t
        append_lock; /* the one order of WAL records and heads; guards stream.wal_segment, taps */
    struct tap_list taps;
    pthread_mutex_t
        index_lock; /* one index write transaction at a time; held across its I/O on purpose */
    struct reserve reserve; /* index_lock */

    pthread_mutex_t flush_lock; /* one flush pass at a time; held across its I/O on purpose */
    bool flush_found_no_space;  /* the last pass did; flush_lock */
    pthread_t flusher;
    bool flusher_runs;
    pthread_mutex_t encoding_lock; /* guards: encoding */
    struct encoding
        *encoding; /* what the flushing thread is at; NULL: nothing that one can help with */
    pthread_mutex_t wake_lock; /* guards: wake, stop */
    pthread_cond_t wake_cond;
    bool wake, stop;

    pthread_mutex_t snap_lock;  /* guards: snapshots, clock, doomed, thinned */
    struct snapshot *snapshots; /* running ones */
    uint64_t clock;
    struct doomed *doomed;
    struct thinned *thinned;

    _Atomic(const struct eraser *) eraser;
    _Atomic(store_visible_fn *) visible;
    _Atomic(void *) visible_ctx;

    /* Numbers are reserved in the index COUNTER_GAP ahead, so that a number that a crash left in an orphan file is
     * never given again. */
    atomic_uint_fast64_t next_chunk_seq;
    uint64_t first_chunk_seq; /* this process's own chunks have this number or a higher one */
    atomic_uint_fast64_t flushes, flushed_chunks, flushed_bytes, flush_ns_total;
    atomic_uint_fast64_t flush_failures;
    uint64_t replayed_entries, replay_ns;
    atomic_uint_fast64_t
        replay_excess_bytes;    /* of heads above their budget, until they are sealed */
    struct wal_found wal_found; /* by replay */
};

/* Effective sizes of options that are 0. */
uint64_t store_head_budget(const struct store *s);
/* Where flushing for the sake of memory begins, so that heads stay within the budget while it goes on. */
uint64_t store_head_pressure(const struct store *s);
uint64_t store_wal_max(const struct store *s);

void store_log(const struct store *s, int level, const char *msg, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Takes back the space that an index update on a full disk was given. */
void store_refill_reserve(struct store *s);

/* ---- flush.c */

enum flush_mode {
    FLUSH_DUE, /* what is big, idle or old, and what memory or WAL pressure demands */
    FLUSH_ALL, /* everything */
};
int flush_pass(struct store *s, enum flush_mode mode, struct err *reterr);
void flush_wake(struct store *s);
void *flush_thread(void *store);

/* ---- sieve_cache.c */

/* The day's sieve has been written anew, or removed. */
void store_forget_sieve(struct store *s, struct str tenant, int32_t day);

/* ---- reap.c */
void store_forget_thinned(struct store *s);

/* The pool of sealing threads. */
enum {
    SEAL_QUEUE_MAX =
        8, /* more waiting: the appending thread encodes by itself, which slows pushes down */
    /* Queues of the pool, which takes twice as many jobs as one of them: whoever fills the first leaves room in the
     * second, which is seal_rest's alone. */
    SEAL_LANE = 0,
    SEAL_REST_LANE = 1,
    SEAL_FLUSH_LANE =
        2, /* help for the flushing thread: one job per thread of the pool at a time, or few more */
};

/* ---- store_directory.c */

/* Takes the lock and makes folders, unless the store is read-only; refuses formats that are not known. */
int store_open_directory(struct store *s, struct err *reterr);
/* Opens the index, or makes it from chunk files, and reserves numbers. */
int store_open_index(struct store *s, struct err *reterr);

/* ---- store_replay.c */

int store_replay(struct store *s, struct err *reterr);

/* ---- store_append.c */

/* Has the stream's cut blocks encoded: by a sealing thread, or by the caller when those have enough to do. */
void store_seal_soon(struct store *s, struct stream *stream);
/* By a sealing thread; false when those have enough to do. */
bool store_seal_submit(struct store *s, struct stream *stream);
/* By a sealing thread: the cut blocks of all streams, as replay leaves them. */
void store_seal_rest(struct store *s);

/* The calling thread's own; NULL without memory. */
struct block_encoder *store_thread_encoder(void);

/* ---- rebuild.c */

/* Renames the folder of an index that nobody has open to index.damaged, which rebuild_fill takes delete requests from and
 * then renames to index.old-<n>; 0 also when there is none. */
int rebuild_set_index_aside(int dir_fd);
/* Puts all chunk files into an index, the counters last. `read_only`: the folder is not touched. */
int rebuild_fill(int dir_fd, struct index *index, bool read_only, struct store_rebuild *ret,
                 struct err *reterr);

/* Looks a stream up in memory, then in the index, else makes it. Pinned. */
int store_find_or_add(struct store *s, struct str tenant, struct labels labels, struct stream **ret,
                      struct err *reterr);

enum { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR }; /* = enum log_level */

/* Far more than what one process hands out between two index commits. */
#define COUNTER_GAP (UINT64_C(1) << 20)

#define STORE_COUNTER_STREAM STR("next_stream_id")
#define STORE_COUNTER_CHUNK STR("next_chunk_seq")
#define STORE_COUNTER_SEGMENT STR("next_wal_segment")
