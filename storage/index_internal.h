/* index_internal: what index.c (environment, transactions), index_rows.c, index_write.c and index_read.c share. Not for
 * others. The rows' bytes are in docs/format.md; little-endian values, big-endian keys. */
#pragma once

#include <lmdb.h>
#include <pthread.h>

#include "buf.h"
#include "index.h"

enum {
    INDEX_KEY_MAX = 511, /* LMDB's limit of keys, as built by Debian */
    INDEX_STREAM_FIXED = 4 + 4 + 8 + 8 + 8,
    INDEX_CHUNK_KEY = 4 + 8 + 8 + 8,
    INDEX_CHUNK_VALUE_MIN = 8 + 8 + 8 + 8 + 4 + 4 + 4,
    INDEX_CHUNK_VALUE = INDEX_CHUNK_VALUE_MIN + 4,
    INDEX_CHUNK_VALUE_PACKED = INDEX_CHUNK_VALUE + 8 + 8,
    INDEX_HASH_KEY = 16,
    INDEX_DELETE_CHECKSUM = 4, /* behind a delete request: it must outlive a damaged index */
    INDEX_DBI_MAX = 32,
    INDEX_RESTING_MAX = 4,  /* readers: of each thread that reads at once, not of many */
    INDEX_TENANT_KEPT = 64, /* bytes of a tenant's name; longer ones are looked up each time */
};

struct index {
    MDB_env *env;
    char *path;
    bool read_only, scratch;
    MDB_dbi meta, tenants, streams, byhash, postings, chunks, deletes;
    uint64_t name_hashes[INDEX_DBI_MAX]; /* of the databases' names, by handle */
    bool no_deletes;                     /* opened read-only, made by an earlier build */
    /* The map may change its size only while no transaction is open in this process. Guards: n_txns, the resting readers,
     * wants_growth, and the environment's map while it is changed. */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* n_txns fell to 0 */
    unsigned n_txns;
    bool wants_growth; /* a transaction found the map full */
    MDB_txn *resting[INDEX_RESTING_MAX];
    unsigned n_resting;
};

struct index_txn {
    struct index *ix;
    MDB_txn *txn;
    struct buf scratch;
    /* The tenant that was looked for last: rows of one come in a row. Size 0: none. */
    char tenant[INDEX_TENANT_KEPT];
    size_t tenant_size;
    uint32_t tenant_id;
    uint64_t sum_change; /* what this transaction adds to the sum of all rows */
    bool changed;        /* it did something */
};

/* The largest posting key is also the largest of all. */
struct index_key {
    uint8_t bytes[INDEX_KEY_MAX];
    size_t size;
};

static inline MDB_val index_val(const void *data, size_t size) {
    return (MDB_val){.mv_size = size, .mv_data = (void *)data};
}

static inline struct str index_str(MDB_val v) {
    return str_make(v.mv_data, v.mv_size);
}

/* Turns LMDB's codes into ours. */
int index_code(int rc);
/* The same with a text: "index: <what>: <reason>". */
int index_fail(struct err *reterr, int rc, const char *what);

/* A read transaction; short. Follows a map that another process has resized. */
int index_read_begin(struct index *ix, MDB_txn **ret, struct err *reterr);
void index_read_end(struct index *ix, MDB_txn *txn);

/* -ENOENT when the tenant has never had a stream; -EINVAL for names that cannot be one. */
int index_tenant_find(struct index *ix, MDB_txn *txn, struct str tenant, uint32_t *ret);
/* The name lives as long as the transaction. */
int index_tenant_name(struct index *ix, MDB_txn *txn, uint32_t tenant, struct str *ret);

/* An empty name is the posting of all the tenant's streams. */
void index_posting_key(struct index_key *ret, uint32_t tenant, struct str name, struct str value);
void index_hash_key(uint8_t out[static INDEX_HASH_KEY], uint32_t tenant, struct str encoded_labels);

void index_chunk_key(uint8_t out[static INDEX_CHUNK_KEY], uint32_t tenant, uint64_t stream_id,
                     int64_t start_ns, uint64_t chunk_seq);
/* Returns the size. */
size_t index_chunk_value(uint8_t out[static INDEX_CHUNK_VALUE_PACKED], const struct index_chunk *c);
int index_chunk_decode(MDB_val key, MDB_val value, struct index_chunk *ret);

/* Fixed part of a stream row; *ret_tenant and the encoded labels beside. Strings of *ret are left empty. */
void index_stream_fixed(uint8_t out[static INDEX_STREAM_FIXED], uint32_t tenant,
                        const struct index_stream *s);
int index_stream_decode(MDB_val value, uint64_t id, struct index_stream *ret, uint32_t *ret_tenant,
                        struct str *ret_encoded_labels);

/* Cuts the checksum off; false when it is not right. */
uint32_t index_delete_checksum(struct str key, struct str value);
bool index_delete_content(struct str key, struct str *value);

/* ---- index_rows.c: the only ways to change a row; LMDB's codes */
int index_row_put(struct index_txn *t, MDB_dbi dbi, MDB_val key, MDB_val value);
int index_row_del(struct index_txn *t, MDB_dbi dbi, MDB_val key); /* MDB_NOTFOUND */
/* Of a database with many ids per key. Fine when it is there already. */
int index_id_put(struct index_txn *t, MDB_dbi dbi, MDB_val key, uint64_t id);
int index_id_del(struct index_txn *t, MDB_dbi dbi, MDB_val key, uint64_t id); /* MDB_NOTFOUND */
/* The last change of each transaction. */
int index_sum_write(struct index_txn *t);
