/* deletes: requests to delete entries, as Loki's delete API takes them.
 *
 * A request is durable in the index before its acceptance is told, and from then on hides its entries from all queries
 * (erase.h). When the cancel period is over, the next pass of the compactor removes them: heads are flushed, chunks that
 * are meant as a whole go, others are rewritten without them (rewrite.h). Then the request is processed, hides nothing
 * more, and keeps a receipt. The WAL is led into a new segment, so that the old ones go. Crash states:
 *   (1) request committed, nothing removed, positions of its streams written or not (positions.h): hidden after the next
 *       start, removed by a pass.
 *   (2) some chunks removed or rewritten, each at once with its index row: the next pass looks at all chunks again; what is
 *       gone already is not found. The receipt counts what its last commit has told, and what was removed since.
 *   (3) all removed, not committed as processed: as (2).
 *   (4) processed.
 * A chunk that cannot be rewritten (damaged) keeps its request unprocessed and its entries hidden.
 *
 * What a query means is known to the caller (struct delete_language): this room knows no LogQL. Any thread, but for
 * deletes_run. */
#pragma once

#include "erase.h"
#include "store.h"

enum {
    DELETE_ID_SIZE = 8, /* hex digits */
    DELETES_MAX =
        10000, /* in all tenants, processed ones included: the oldest of those make room */
    DELETE_QUERY_MAX = 128 << 10, /* as long as any query may be */
};

/* A query as a question about entries; functions as in query/erase_query.h. */
struct delete_language {
    int (*compile)(struct str query, void **ret, struct err *reterr);
    void (*release)(void *compiled);
    bool (*has_filter)(const void *compiled);
    bool (*accepts)(const void *compiled, struct labels labels);
    int (*mark)(const void *compiled, struct labels labels, int64_t start_ns, int64_t end_ns,
                struct block_reader *r, const struct block_ref_info *info, uint64_t *bits,
                struct err *reterr);
};

/* What has been done for a request. */
struct delete_receipt {
    int64_t begun_ns, finished_ns; /* 0: not yet */
    uint64_t chunks_removed, chunks_rewritten;
    uint64_t lines, bytes;                        /* removed; bytes of lines */
    uint64_t file_bytes_before, file_bytes_after; /* of those chunks */
};

enum delete_state { DELETE_RECEIVED, DELETE_RUNNING, DELETE_PROCESSED };

struct delete_view {
    char id[DELETE_ID_SIZE + 1];
    struct str tenant, query;
    int64_t start_ns, end_ns, created_ns;
    enum delete_state state;
    unsigned percent; /* of a running one */
    struct delete_receipt receipt;
};

struct deletes;

struct deletes_options {
    const struct delete_language *language;
    int64_t cancel_period_ns; /* 0: the next pass removes */
    void (*log)(int level, const char *msg, const char *pairs);
};

/* Loads the requests of the store and hides what they ask for. A request whose query does not compile any more is
 * logged and left alone. */
int deletes_open(struct store *store, const struct deletes_options *o, struct deletes **ret,
                 struct err *reterr);
/* No query may be running any more. NULL is fine. */
void deletes_close(struct deletes *d);
void deletes_set_cancel_period(struct deletes *d, int64_t period_ns);

/* Accepts a request: durable and hidden from queries when it returns 0. -ESYNTAX: the query; -E2BIG: too many. */
int deletes_add(struct deletes *d, struct str tenant, struct str query, int64_t start_ns,
                int64_t end_ns, int64_t now_ns, char ret_id[static DELETE_ID_SIZE + 1],
                struct err *reterr);
/* Of one tenant, the oldest first; fn non-zero stops and is returned. The views' texts live during the call. */
typedef int delete_fn(const struct delete_view *v, void *ctx);
int deletes_walk(struct deletes *d, struct str tenant, delete_fn *fn, void *ctx);

/* Takes a request back. -ENOENT; -EALREADY: processed; -EINPROGRESS: partly done, `force` takes it back all the
 * same; -ETIMEDOUT: the cancel period is over (not with `force`). */
int deletes_cancel(struct deletes *d, struct str tenant, struct str id, bool force, int64_t now_ns,
                   struct err *reterr);

struct deletes_result {
    uint64_t processed, failures; /* requests finished; chunks that could not be rewritten */
    struct delete_receipt sums;
};

/* Removes what is due; the caller sees to it that nobody else changes chunks. `stopped` may be NULL. */
int deletes_run(struct deletes *d, int64_t now_ns, bool (*stopped)(void *ctx), void *ctx,
                struct deletes_result *ret, struct err *reterr);

struct deletes_stats {
    uint64_t received, pending, processed;
    uint64_t due; /* of the pending: can no longer be taken back, and wait for the next pass */
    int64_t longest_due_ns; /* how long the oldest of these has waited */
};
void deletes_get_stats(struct deletes *d, int64_t now_ns, struct deletes_stats *ret);
/* Lines that requests have removed since the start, of each tenant with any; fn must not call back. */
typedef void deletes_erased_fn(struct str tenant, uint64_t lines, void *ctx);
void deletes_walk_erased(struct deletes *d, deletes_erased_fn *fn, void *ctx);
