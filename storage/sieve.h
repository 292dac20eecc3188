/* sieve: the gram filters of all chunks of one tenant and UTC day once more, coarser, in one file and laid out across
 * them, so that a needle is told in one place from nearly all chunks which do not hold it.
 *
 *   header | tables | stripe 0 | stripe 1 | ...
 *
 * Filters of two blocks of one size share a column (their bits are united). A stripe has, for a range of hashes, one row
 * per bit: the bit of each column, side by side. So a gram is one place of the file, a few KB for a few GB of lines, and a
 * needle some twenty of those. What remains may hold the needle: its own filters (filters.h) are asked as if there
 * were no sieve. Byte layout in docs/format.md.
 *
 * A sieve is derived and only ever leaves out. It names a chunk by a fingerprint of the chunk's row in the index, and chunks
 * never change, so that what it says stays true whatever becomes of the day: a chunk that has gone is not asked for, one
 * that is new is not known to it and always passes. A sieve that is missing, damaged or of another format is left aside.
 * The compactor writes them anew when a day has changed enough (compactor/sieves.h).
 *
 * Crash states: (1) day.sieve.tmp: written over by the next one, or removed by the orphan sweep; verify tells of it.
 * (2) renamed: complete. (3) the day's chunks have all gone: the compactor's next round takes the sieve away.
 *
 * Immutable once opened: any thread may ask. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "gram.h"
#include "index.h"

struct store;
struct sieve;

enum {
    SIEVE_BLOCKS_MAX = 1 << 19, /* 128 GiB of lines; what is beyond is not in it */
    SIEVE_SHIFT_MIN = 7,
    SIEVE_SHIFT_MAX = 14,
};

/* chunks/<tenant>/<day>/day.sieve */
#define SIEVE_NAME "day.sieve"
int sieve_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day);

/* What a sieve knows a chunk by: all of its row that does not change with its place. */
uint64_t sieve_fingerprint(const struct index_chunk *c);

/* -ENOENT, -EIO, -ENOMEM, -EFORMAT, -ECORRUPT. */
int sieve_open(int dir_fd, const char *name, struct sieve **ret, struct err *reterr);
void sieve_close(struct sieve *s); /* NULL is fine */
size_t sieve_cost_bytes(const struct sieve *s);
uint64_t sieve_file_bytes(const struct sieve *s);
uint32_t sieve_chunks(const struct sieve *s);
uint32_t sieve_blocks(const struct sieve *s);
/* The sum of the fingerprints of all chunks that the day had when it was written. The second one reads the header alone. */
uint64_t sieve_rows_sum(const struct sieve *s);
int sieve_peek(int dir_fd, const char *name, uint64_t *ret_rows_sum);

/* Asking: a bit per column, in so many words. */
uint32_t sieve_words(const struct sieve *s);
void sieve_begin(const struct sieve *s, uint64_t *alive);
/* Clears the columns that lack one of the grams. Unless `wait`: -EAGAIN as soon as the disk would have to be waited for,
 * and it has begun. A stripe that is damaged is not asked; *ret_damaged is set then, else left alone. */
int sieve_ask(const struct sieve *s, const struct gram_query *q, bool wait, struct buf *scratch,
              uint64_t *alive, bool *ret_damaged);
/* The number of the chunk in the sieve, or a negative number; and may one of its blocks hold what has been asked? */
int64_t sieve_find(const struct sieve *s, uint64_t fingerprint);
bool sieve_may_contain(const struct sieve *s, int64_t chunk, const uint64_t *alive);
uint32_t sieve_chunk_blocks(const struct sieve *s, int64_t chunk);

/* Reads all of it and compares checksums. -ECORRUPT. */
int sieve_check(const struct sieve *s, struct err *reterr);

/* ---- writing: sieve_write.c */

struct sieve_order {
    struct str tenant;
    int32_t day;
    const struct index_chunk
        *rows; /* of the day, streams together; those that cannot be read are left out */
    size_t n_rows;
    uint64_t rows_sum;
    bool (*stopped)(void *ctx); /* NULL: never */
    void *ctx;
};
struct sieve_written {
    uint64_t file_bytes;
    uint32_t chunks, blocks;
};
/* Makes the day's sieve, durable, in place of the one that is there. Takes some 10 MiB. -ECANCELED, -ENOSPC, -ENODATA:
 * nothing to put into it, ... */
int store_write_sieve(struct store *s, const struct sieve_order *o, struct sieve_written *ret,
                      struct err *reterr);
/* Removes it; 0 also when there is none. */
int store_remove_sieve(struct store *s, struct str tenant, int32_t day);
