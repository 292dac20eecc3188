/* index_check: is the file of an LMDB environment sound? LMDB puts no checksums on its pages and follows what stands in
 * them: a flipped bit leads it out of its map, to a wrong row, or to overwrite a page in use. So the file is read
 * here, without LMDB, before LMDB may: each page that the newest root leads to, once.
 *
 * Checked: every number that LMDB relies on (page numbers, sizes, counts, depths, flags, the order of keys, free
 * pages that are not in use), and, as none of this tells a wrong key or value, the sum of a hash over all rows, which
 * index_rows.c keeps in the database `meta` with the number of the transaction: an older root is not taken for the
 * newest. What passes is sound up to a collision of 64 bits.
 *
 * One thread; the environment may be open, and written to, when the caller holds a read transaction. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "hash.h"
#include "str.h"

struct index_check {
    bool is_new; /* empty, or nothing was ever committed */
    uint64_t pages, rows;
    uint64_t sum; /* over all rows but its own */
};

/* Checks a data.mdb that nobody writes to, or, as the open read transaction `txn` sees it (0: none), one that somebody
 * does. -ECORRUPT says which page and what is wrong with it; -EAGAIN: the transaction's root has been overwritten, try
 * with a new one; -ENOMEM and errors of reading. */
int index_check_file(int fd, uint64_t txn, struct index_check *ret, struct err *reterr);

/* Rows of one database of a file that does not pass, if that database hangs on a sound root by sound pages: what stands
 * in others does not matter. Whether the rows are what was written the caller has to see. -ECORRUPT also after
 * some rows were told. */
typedef int index_salvage_fn(struct str key, struct str value, void *ctx);
int index_salvage(int fd, struct str database, index_salvage_fn *fn, void *ctx, struct err *reterr);

/* The row of the sum, in `meta`: u64 sum, u64 transaction. */
enum { INDEX_SUM_SIZE = 8 + 8 };
#define INDEX_SUM_KEY STR("sum")

/* A row's part of the sum: of databases by name. The order of rows does not matter. */
static inline uint64_t index_row_hash(uint64_t name_hash, struct str key, struct str value) {
    return hash_mix(name_hash ^ hash_str(key), hash_str(value));
}
