/* merge: the many small chunk files that flushes leave become few large ones.
 *
 * Per stream and day (UTC), for a chunk holds nothing else. While a day is being written, files of about the same size
 * are joined eight by eight, blocks copied as they are: each byte is written some few times more, and no stream keeps
 * more than a handful of files per size. When the day is over, all its files become as few as can be, sorted, in full
 * blocks, without duplicates, compressed better (merge_effort): once; what comes later is joined only when it has
 * gathered to a fair share of what is there.
 *
 * The choice is a function of sizes and grades that the index has; the work is storage/rewrite.h. */
#pragma once

#include "rewrite.h"
#include "store.h"

struct merge_policy {
    uint64_t target_bytes; /* of a file, as stored; 0 = 32 MiB */
    int64_t settle_ns;     /* a day is over so long after its end; 0 = 2 h */
    uint64_t rate_bytes;   /* read and written per second; 0 = no limit */
    unsigned
        disk_percent; /* of the free space: what one rewrite may take beside its sources; 0 = 10 */
    bool everything;  /* the present day counts as over, too */
};

/* What has written a chunk: kept in its header and its row (chunk_head.grade). */
enum merge_grade { GRADE_FLUSHED = 0, GRADE_JOINED = 1, GRADE_SETTLED = 2 };

/* The one place that says how hard what is compressed. */
enum block_effort merge_effort(enum merge_grade grade);

/* Is the day over, so that little will come? */
bool merge_is_settled(const struct merge_policy *p, int32_t day, int64_t now_ns);

/* Which of the chunks of one stream and day, in order of time, are rewritten together next: their numbers in the list,
 * ascending. 0 when all is well. Pure. */
struct merge_choice {
    size_t picked[REWRITE_SOURCES_MAX];
    size_t n;
    enum merge_grade grade;
};
void merge_choose(const struct index_chunk *chunks, size_t count, const struct merge_policy *p,
                  int64_t now_ns, uint64_t max_bytes, struct merge_choice *ret);

struct merge_result {
    uint64_t rewrites, failures;
    struct rewrite_result sums;
};

/* What a run asks its owner. */
struct merge_hooks {
    void *ctx;
    void (*enter)(void *ctx); /* before a rewrite: nobody else changes chunks now */
    void (*leave)(void *ctx);
    bool (*stopped)(void *ctx);
    void (*progress)(void *ctx, const struct rewrite_result *done); /* after each rewrite */
    void (*log)(int level, const char *msg, const char *pairs);
};

/* A merger remembers damaged chunks and its pace from run to run. One thread at a time. */
struct merger;
struct merger *merger_new(struct store *store, const struct merge_hooks *hooks);
void merger_free(struct merger *m);

/* One round over all tenants, streams and days. -ECANCELED when stopped, -ENOSPC, -EIO; a stream that cannot be merged
 * is logged, counted and left as it is. */
int merger_run(struct merger *m, const struct merge_policy *p, int64_t now_ns,
               struct merge_result *ret, struct err *reterr);
