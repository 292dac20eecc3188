/* The index' writing half: rows in and out of the one open write transaction. A failed call leaves the
 * transaction fit only for index_abort: LMDB may have done part of the work. */
#include "index.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "index_internal.h"

static const int64_t DAY_NS = INT64_C(86400) * 1000000000;

/* Reports a failed LMDB call; remembers a full map, so that the next transaction begins in a larger one. */
static int write_fail(struct index_txn *t, int rc, const char *what, struct err *reterr) {
    if (rc == MDB_MAP_FULL) {
        pthread_mutex_lock(&t->ix->lock);
        t->ix->wants_growth = true;
        pthread_mutex_unlock(&t->ix->lock);
    }
    return index_fail(reterr, rc, what);
}

/* ---- tenants */

/* The largest id in use, 0 when none is: ids stand in front of all names. */
static int tenant_last(struct index_txn *t, uint32_t *ret) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(t->txn, t->ix->tenants, &cursor);
    if (rc != 0)
        return rc;
    MDB_val key = index_val("\x01", 1), value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cursor, &key, &value, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    *ret = 0;
    if (rc == 0 && key.mv_size == 5)
        *ret = get_be32((const uint8_t *)key.mv_data + 1);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int look_up_tenant(struct index_txn *t, struct str tenant, uint32_t *ret,
                          struct err *reterr) {
    int r = index_tenant_find(t->ix, t->txn, tenant, ret);
    if (r == -EINVAL)
        return err_set(reterr, r, "index: a tenant's name has 1 to %d bytes, the first not NUL",
                       INDEX_KEY_MAX);
    if (r != -ENOENT)
        return r == 0 ? 0 : err_set(reterr, r, "index: tenant row: %s", err_name(r));
    uint32_t id;
    int rc = tenant_last(t, &id);
    if (rc != 0)
        return write_fail(t, rc, "cannot find the last tenant", reterr);
    if (id == UINT32_MAX)
        return err_set(reterr, -E2BIG, "index: no tenant id is left");
    id++;
    uint8_t id_value[4], id_key[5] = {0};
    put_le32(id_value, id);
    put_be32(id_key + 1, id);
    MDB_val name = index_val(tenant.data, tenant.size), number = index_val(id_value, 4);
    MDB_val by_id = index_val(id_key, sizeof(id_key));
    rc = index_row_put(t, t->ix->tenants, name, number);
    if (rc == 0)
        rc = index_row_put(t, t->ix->tenants, by_id, name);
    if (rc != 0)
        return write_fail(t, rc, "cannot write the tenant", reterr);
    *ret = id;
    return 0;
}

static int tenant_find_or_add(struct index_txn *t, struct str tenant, uint32_t *ret,
                              struct err *reterr) {
    if (tenant.size > 0 && str_eq(tenant, str_make(t->tenant, t->tenant_size))) {
        *ret = t->tenant_id;
        return 0;
    }
    int r = look_up_tenant(t, tenant, ret, reterr);
    if (r == 0 && tenant.size <= sizeof(t->tenant)) {
        memcpy(t->tenant, tenant.data, tenant.size);
        t->tenant_size = tenant.size;
        t->tenant_id = *ret;
    }
    return r;
}

/* ---- streams */

static int posting_change(struct index_txn *t, uint32_t tenant, struct str name, struct str value,
                          uint64_t id, bool add) {
    struct index_key key;
    index_posting_key(&key, tenant, name, value);
    MDB_val k = index_val(key.bytes, key.size);
    int rc =
        add ? index_id_put(t, t->ix->postings, k, id) : index_id_del(t, t->ix->postings, k, id);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int postings_change(struct index_txn *t, uint32_t tenant, struct labels labels, uint64_t id,
                           bool add) {
    int rc = posting_change(t, tenant, (struct str){0}, (struct str){0}, id, add);
    for (size_t i = 0; rc == 0 && i < labels.count; i++)
        rc = posting_change(t, tenant, labels.items[i].name, labels.items[i].value, id, add);
    return rc;
}

/* The row's value: fixed part and labels, in the transaction's scratch. */
static int stream_value(struct index_txn *t, uint32_t tenant, const struct index_stream *s,
                        MDB_val *ret) {
    uint8_t fixed[INDEX_STREAM_FIXED];
    index_stream_fixed(fixed, tenant, s);
    buf_clear(&t->scratch);
    buf_add(&t->scratch, fixed, sizeof(fixed));
    labels_encode(&t->scratch, s->labels);
    if (t->scratch.failed)
        return -ENOMEM;
    *ret = index_val(t->scratch.data, t->scratch.size);
    return 0;
}

static bool same_identity(MDB_val a, MDB_val b) {
    return a.mv_size == b.mv_size && a.mv_size >= INDEX_STREAM_FIXED &&
           get_le32(a.mv_data) == get_le32(b.mv_data) &&
           memcmp((const char *)a.mv_data + INDEX_STREAM_FIXED,
                  (const char *)b.mv_data + INDEX_STREAM_FIXED,
                  a.mv_size - INDEX_STREAM_FIXED) == 0;
}

/* Tells whether the stream's hash row and postings stand already. A row of the same id with other labels is
 * taken out with all that belongs to it. */
static int stream_is_known(struct index_txn *t, uint64_t id, MDB_val key, MDB_val value,
                           bool *ret_known, struct err *reterr) {
    MDB_val old;
    int rc = mdb_get(t->txn, t->ix->streams, &key, &old);
    *ret_known = rc == 0 && same_identity(old, value);
    if (rc == 0 && !*ret_known)
        return index_del_stream(t, id, reterr);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_fail(t, rc, "cannot read a stream", reterr);
}

int index_put_stream(struct index_txn *t, const struct index_stream *s, struct err *reterr) {
    uint32_t tenant;
    int r = tenant_find_or_add(t, s->tenant, &tenant, reterr);
    if (r < 0)
        return r;
    uint8_t id_key[8];
    put_be64(id_key, s->id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    r = stream_value(t, tenant, s, &value);
    if (r < 0)
        return err_set(reterr, r, "index: no memory for a stream's row");
    bool known;
    r = stream_is_known(t, s->id, key, value, &known, reterr);
    if (r < 0)
        return r;
    int rc = index_row_put(t, t->ix->streams, key, value);
    if (rc == 0 && !known) {
        uint8_t hash[INDEX_HASH_KEY], id_value[8];
        index_hash_key(hash, tenant,
                       str_make((const char *)value.mv_data + INDEX_STREAM_FIXED,
                                value.mv_size - INDEX_STREAM_FIXED));
        put_le64(id_value, s->id);
        MDB_val hash_key = index_val(hash, sizeof(hash)), id = index_val(id_value, 8);
        rc = index_row_put(t, t->ix->byhash, hash_key, id);
        if (rc == 0)
            rc = postings_change(t, tenant, s->labels, s->id, true);
    }
    return rc == 0 ? 0 : write_fail(t, rc, "cannot write a stream", reterr);
}

/* Takes the hash row out unless it names another stream by now. */
static int hash_row_remove(struct index_txn *t, uint32_t tenant, struct str encoded, uint64_t id) {
    uint8_t hash[INDEX_HASH_KEY];
    index_hash_key(hash, tenant, encoded);
    MDB_val key = index_val(hash, sizeof(hash)), value;
    int rc = mdb_get(t->txn, t->ix->byhash, &key, &value);
    if (rc == 0 && value.mv_size == 8 && get_le64(value.mv_data) == id)
        rc = index_row_del(t, t->ix->byhash, key);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int index_del_stream(struct index_txn *t, uint64_t stream_id, struct err *reterr) {
    uint8_t id_key[8];
    put_be64(id_key, stream_id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_get(t->txn, t->ix->streams, &key, &value);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return write_fail(t, rc, "cannot read a stream", reterr);
    struct index_stream s;
    uint32_t tenant;
    struct str encoded;
    struct arena arena = arena_make(BUF_NO_MAX);
    int r = index_stream_decode(value, stream_id, &s, &tenant, &encoded);
    if (r == 0) {
        /* The row's page may be rewritten by the changes below: work on a copy. */
        struct str copy = arena_copy(&arena, encoded);
        r = copy.data ? labels_decode(copy, &arena, &s.labels) : -ENOMEM;
        encoded = copy;
    }
    if (r < 0) {
        err_set(reterr, r, "index: row of stream %016llx: %s", (unsigned long long)stream_id,
                err_name(r));
        goto out;
    }
    rc = postings_change(t, tenant, s.labels, stream_id, false);
    if (rc == 0)
        rc = hash_row_remove(t, tenant, encoded, stream_id);
    if (rc == 0)
        rc = index_row_del(t, t->ix->streams, key);
    if (rc != 0)
        r = write_fail(t, rc, "cannot remove a stream", reterr);
out:
    arena_done(&arena);
    return r;
}

int index_txn_stream(struct index_txn *t, uint64_t stream_id, struct arena *arena,
                     struct index_stream *ret, struct err *reterr) {
    uint8_t id_key[8];
    put_be64(id_key, stream_id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_get(t->txn, t->ix->streams, &key, &value);
    if (rc != 0)
        return index_fail(reterr, rc, "stream");
    struct index_stream s;
    uint32_t tenant;
    struct str encoded, name;
    int r = index_stream_decode(value, stream_id, &s, &tenant, &encoded);
    if (r == 0)
        r = index_tenant_name(t->ix, t->txn, tenant, &name);
    if (r == 0) {
        struct str copy = arena_copy(arena, encoded);
        s.tenant = arena_copy(arena, name);
        r = copy.data && s.tenant.data ? labels_decode(copy, arena, &s.labels) : -ENOMEM;
    }
    if (r < 0)
        return err_set(reterr, r, "index: row of stream %016llx: %s", (unsigned long long)stream_id,
                       err_name(r));
    *ret = s;
    return 0;
}

/* ---- chunks and counters */

static int64_t day_of(int64_t ns) {
    return ns / DAY_NS - (ns % DAY_NS < 0);
}

int index_put_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                    struct err *reterr) {
    /* Searching by time relies on it: a chunk that overlaps a time starts on the same day or later. */
    if (c->sums.first_ns > c->sums.last_ns || day_of(c->sums.first_ns) != day_of(c->sums.last_ns))
        return err_set(reterr, -EINVAL,
                       "index: chunk %llu of stream %016llx does not lie in one day",
                       (unsigned long long)c->chunk_seq, (unsigned long long)c->stream_id);
    uint32_t tenant_id;
    int r = tenant_find_or_add(t, tenant, &tenant_id, reterr);
    if (r < 0)
        return r;
    uint8_t key_bytes[INDEX_CHUNK_KEY], value_bytes[INDEX_CHUNK_VALUE_PACKED];
    index_chunk_key(key_bytes, tenant_id, c->stream_id, c->sums.first_ns, c->chunk_seq);
    MDB_val key = index_val(key_bytes, sizeof(key_bytes));
    MDB_val value = index_val(value_bytes, index_chunk_value(value_bytes, c));
    int rc = index_row_put(t, t->ix->chunks, key, value);
    return rc == 0 ? 0 : write_fail(t, rc, "cannot write a chunk's row", reterr);
}

int index_del_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                    struct err *reterr) {
    uint32_t tenant_id;
    int r = index_tenant_find(t->ix, t->txn, tenant, &tenant_id);
    if (r < 0)
        return r == -ENOENT ? 0 : err_set(reterr, r, "index: tenant row: %s", err_name(r));
    uint8_t key_bytes[INDEX_CHUNK_KEY];
    index_chunk_key(key_bytes, tenant_id, c->stream_id, c->sums.first_ns, c->chunk_seq);
    MDB_val key = index_val(key_bytes, sizeof(key_bytes));
    int rc = index_row_del(t, t->ix->chunks, key);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_fail(t, rc, "cannot remove a chunk", reterr);
}

int index_txn_has_chunk(struct index_txn *t, struct str tenant, const struct index_chunk *c,
                        struct err *reterr) {
    uint32_t tenant_id;
    int r = index_tenant_find(t->ix, t->txn, tenant, &tenant_id);
    if (r < 0)
        return r == -ENOENT ? r : err_set(reterr, r, "index: tenant row: %s", err_name(r));
    uint8_t key_bytes[INDEX_CHUNK_KEY];
    index_chunk_key(key_bytes, tenant_id, c->stream_id, c->sums.first_ns, c->chunk_seq);
    MDB_val key = index_val(key_bytes, sizeof(key_bytes)), value;
    int rc = mdb_get(t->txn, t->ix->chunks, &key, &value);
    return rc == 0              ? 0
           : rc == MDB_NOTFOUND ? -ENOENT
                                : index_fail(reterr, rc, "cannot read a chunk's row");
}

int index_put_counter(struct index_txn *t, struct str name, uint64_t value, struct err *reterr) {
    assert(name.size > 0 && name.size <= INDEX_KEY_MAX && !str_eq(name, STR("format")));
    uint8_t bytes[8];
    put_le64(bytes, value);
    MDB_val k = index_val(name.data, name.size), v = index_val(bytes, sizeof(bytes));
    int rc = index_row_put(t, t->ix->meta, k, v);
    return rc == 0 ? 0 : write_fail(t, rc, "cannot write a counter", reterr);
}

/* ---- delete requests */

int index_put_delete(struct index_txn *t, struct str key, struct str value, struct err *reterr) {
    assert(key.size > 0 && key.size <= INDEX_KEY_MAX);
    uint8_t checksum[INDEX_DELETE_CHECKSUM];
    put_le32(checksum, index_delete_checksum(key, value));
    buf_clear(&t->scratch);
    buf_add_str(&t->scratch, value);
    buf_add(&t->scratch, checksum, sizeof(checksum));
    if (t->scratch.failed)
        return err_set(reterr, -ENOMEM, "index: no memory for a delete request");
    MDB_val k = index_val(key.data, key.size);
    int rc = index_row_put(t, t->ix->deletes, k, index_val(t->scratch.data, t->scratch.size));
    return rc == 0 ? 0 : write_fail(t, rc, "cannot write a delete request", reterr);
}

int index_del_delete(struct index_txn *t, struct str key, struct err *reterr) {
    MDB_val k = index_val(key.data, key.size);
    int rc = index_row_del(t, t->ix->deletes, k);
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : write_fail(t, rc, "cannot remove a delete request", reterr);
}
