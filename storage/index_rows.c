/* Rows of the index go in and out here and nowhere else: the sum of a hash over all of them is kept beside them, in the
 * same transaction, for index_check.h to compare. Codes are LMDB's. */
#include <assert.h>
#include <string.h>

#include "bytes.h"
#include "index_check.h"
#include "index_internal.h"

static uint64_t row_hash(const struct index_txn *t, MDB_dbi dbi, MDB_val key, MDB_val value) {
    assert(dbi < INDEX_DBI_MAX && t->ix->name_hashes[dbi] != 0);
    return index_row_hash(t->ix->name_hashes[dbi], index_str(key), index_str(value));
}

static void change_sum(struct index_txn *t, uint64_t change) {
    t->sum_change += change;
    t->changed = true;
}

int index_row_put(struct index_txn *t, MDB_dbi dbi, MDB_val key, MDB_val value) {
    MDB_val old = value; /* most rows are new: one way down the tree for these */
    int rc = mdb_put(t->txn, dbi, &key, &old, MDB_NOOVERWRITE);
    uint64_t change = row_hash(t, dbi, key, value);
    if (rc == MDB_KEYEXIST) {
        change -= row_hash(t, dbi, key, old);
        rc = mdb_put(t->txn, dbi, &key, &value, 0);
    }
    if (rc == 0)
        change_sum(t, change);
    return rc;
}

int index_row_del(struct index_txn *t, MDB_dbi dbi, MDB_val key) {
    MDB_val old;
    int rc = mdb_get(t->txn, dbi, &key, &old);
    if (rc != 0)
        return rc;
    uint64_t change = row_hash(t, dbi, key, old);
    rc = mdb_del(t->txn, dbi, &key, NULL);
    if (rc == 0)
        change_sum(t, -change);
    return rc;
}

int index_id_put(struct index_txn *t, MDB_dbi dbi, MDB_val key, uint64_t id) {
    MDB_val value = index_val(&id, sizeof(id));
    uint64_t change = row_hash(t, dbi, key, value);
    int rc = mdb_put(t->txn, dbi, &key, &value, MDB_NODUPDATA);
    if (rc == 0)
        change_sum(t, change);
    return rc == MDB_KEYEXIST ? 0 : rc;
}

int index_id_del(struct index_txn *t, MDB_dbi dbi, MDB_val key, uint64_t id) {
    MDB_val value = index_val(&id, sizeof(id));
    uint64_t change = row_hash(t, dbi, key, value);
    int rc = mdb_del(t->txn, dbi, &key, &value);
    if (rc == 0)
        change_sum(t, -change);
    return rc;
}

int index_sum_write(struct index_txn *t) {
    MDB_val key = index_val(INDEX_SUM_KEY.data, INDEX_SUM_KEY.size), value;
    int rc = mdb_get(t->txn, t->ix->meta, &key, &value);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    bool has_sum = rc == 0 && value.mv_size == INDEX_SUM_SIZE;
    if (has_sum && !t->changed)
        return 0;
    uint64_t sum = has_sum ? get_le64(value.mv_data) : 0;
    uint8_t bytes[INDEX_SUM_SIZE];
    put_le64(bytes, sum + t->sum_change);
    put_le64(bytes + 8, mdb_txn_id(t->txn));
    value = index_val(bytes, sizeof(bytes));
    return mdb_put(t->txn, t->ix->meta, &key, &value, 0);
}
