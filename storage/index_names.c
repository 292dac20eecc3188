/* Names of labels, and values of one, without a look at each stream.
 *
 * Posting keys say which names and values a tenant has at all; a row is read only to learn whether its stream counts. Names:
 * rows are read from the newest stream on until each name has been seen, which mostly is after the first. Values: of
 * each one, rows are read until one counts. */
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "index_internal.h"

enum { NAMES_MAX_BYTES = 64 << 20 };

struct search {
    struct index *ix;
    MDB_txn *txn;
    const struct name_query *q;
    uint32_t tenant;
    struct arena scratch;
    MDB_cursor *postings, *streams;
};

/* 1 and the labels of a stream that counts, 0 of one that does not. */
static int look_at_row(struct search *s, uint64_t id, struct labels *ret) {
    uint8_t id_key[8];
    put_be64(id_key, id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_cursor_get(s->streams, &key, &value, MDB_SET_KEY);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? -ECORRUPT : index_code(rc);
    struct index_stream row;
    uint32_t tenant;
    struct str encoded;
    int r = index_stream_decode(value, id, &row, &tenant, &encoded);
    if (r < 0)
        return r;
    if (tenant != s->tenant)
        return -ECORRUPT;
    if (row.first_ns > row.last_ns || row.first_ns > s->q->end_ns || row.last_ns < s->q->start_ns)
        return 0;
    arena_reset(&s->scratch);
    r = labels_decode(encoded, &s->scratch, ret);
    return r < 0 ? r : s->q->counts(s->q->ctx, *ret, row.last_ns) ? 1 : 0;
}

/* The first posting key of the tenant at or behind `from`. 1 found, 0 none. */
static int seek(struct search *s, const struct index_key *from, MDB_val *key) {
    MDB_val value;
    *key = index_val(from->bytes, from->size);
    int rc = mdb_cursor_get(s->postings, key, &value, MDB_SET_RANGE);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : index_code(rc);
    return key->mv_size > 4 && memcmp(key->mv_data, from->bytes, 4) == 0 ? 1 : 0;
}

/* All names that stand in posting keys; false in *ret_all when one is too long to stand there. */
static int list_names(struct search *s, struct name_set *names, bool *ret_all) {
    struct index_key from;
    index_posting_key(&from, s->tenant, (struct str){0}, (struct str){0});
    from.bytes[from.size - 1] = 1; /* behind the posting of all streams */
    *ret_all = true;
    MDB_val key;
    int r;
    while ((r = seek(s, &from, &key)) == 1) {
        const char *name = (const char *)key.mv_data + 4;
        const char *end = memchr(name, 0, key.mv_size - 4);
        if (!end) {
            *ret_all = false;
            return 0;
        }
        size_t size = (size_t)(end - name);
        memcpy(from.bytes, key.mv_data, 4 + size);
        from.bytes[4 + size] = 1; /* behind all values of the name */
        from.size = 4 + size + 1;
        r = name_set_add(names, str_make(name, size));
        if (r < 0)
            return r;
    }
    return r;
}

/* Rows of all the tenant's streams, the newest first, until none of `left` names is missing. */
static int walk_rows(struct search *s, struct name_set *into, size_t left) {
    struct index_key all;
    index_posting_key(&all, s->tenant, (struct str){0}, (struct str){0});
    MDB_val key = index_val(all.bytes, all.size), value;
    int rc = mdb_cursor_get(s->postings, &key, &value, MDB_SET_KEY);
    if (rc == 0)
        rc = mdb_cursor_get(s->postings, &key, &value, MDB_LAST_DUP);
    while (rc == 0 && left > 0) {
        uint64_t id;
        memcpy(&id, value.mv_data, sizeof(id));
        struct labels labels;
        int r = look_at_row(s, id, &labels);
        if (r == 1)
            r = name_set_add_labels(into, s->q, labels, &left);
        if (r < 0)
            return r;
        rc = mdb_cursor_get(s->postings, &key, &value, MDB_PREV_DUP);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : index_code(rc);
}

static int find_names(struct search *s, struct name_set *into) {
    struct name_set all;
    name_set_init(&all, BUDGET_QUERIES, NAMES_MAX_BYTES);
    bool complete;
    int r = list_names(s, &all, &complete);
    size_t left = complete ? 0 : SIZE_MAX;
    for (size_t i = 0; complete && i < all.count; i++)
        left += !name_set_have(into, all.items[i]);
    name_set_done(&all);
    return r < 0 ? r : walk_rows(s, into, left);
}

/* Streams of the posting at the cursor, the newest first, until one counts; all of them when the key is a hash, which
 * two values may share. */
static int find_value(struct search *s, struct name_set *into, bool hashed) {
    MDB_val key, value;
    int rc = mdb_cursor_get(s->postings, &key, &value, MDB_LAST_DUP);
    while (rc == 0) {
        uint64_t id;
        memcpy(&id, value.mv_data, sizeof(id));
        struct labels labels;
        int r = look_at_row(s, id, &labels);
        struct str found = r == 1 ? labels_get(labels, s->q->label) : (struct str){0};
        if (found.size > 0)
            r = name_set_add(into, found);
        if (r < 0)
            return r;
        if (found.size > 0 && !hashed)
            return 0;
        rc = mdb_cursor_get(s->postings, &key, &value, MDB_PREV_DUP);
    }
    return rc == MDB_NOTFOUND ? 0 : index_code(rc);
}

static int find_values(struct search *s, struct name_set *into) {
    struct index_key from;
    index_posting_key(&from, s->tenant, s->q->label, (struct str){0});
    if (from.size == INDEX_KEY_MAX) /* the name itself is a hash */
        return walk_rows(s, into, SIZE_MAX);
    MDB_val key, value;
    int r = seek(s, &from, &key), rc = 0;
    if (r <= 0)
        return r;
    while (rc == 0 && key.mv_size >= from.size && memcmp(key.mv_data, from.bytes, from.size) == 0) {
        struct str known = str_make((const char *)key.mv_data + from.size, key.mv_size - from.size);
        bool hashed = key.mv_size == INDEX_KEY_MAX;
        r = hashed || !name_set_have(into, known) ? find_value(s, into, hashed) : 0;
        if (r < 0)
            return r;
        rc = mdb_cursor_get(s->postings, &key, &value, MDB_NEXT_NODUP);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : index_code(rc);
}

int index_names(struct index *ix, const struct name_query *q, struct name_set *into,
                struct err *reterr) {
    struct search s = {.ix = ix, .q = q, .scratch = arena_make(BUF_NO_MAX)};
    int r = index_read_begin(ix, &s.txn, reterr);
    if (r < 0)
        return r;
    r = index_tenant_find(ix, s.txn, q->tenant, &s.tenant);
    if (r == 0)
        r = index_code(mdb_cursor_open(s.txn, ix->postings, &s.postings));
    if (r == 0)
        r = index_code(mdb_cursor_open(s.txn, ix->streams, &s.streams));
    if (r == 0)
        r = q->label.data ? find_values(&s, into) : find_names(&s, into);
    else if (r == -ENOENT)
        r = 0; /* no such tenant */
    if (s.streams)
        mdb_cursor_close(s.streams);
    if (s.postings)
        mdb_cursor_close(s.postings);
    index_read_end(ix, s.txn);
    arena_done(&s.scratch);
    return r < 0 ? err_set(reterr, r, "index: cannot list names of labels: %s", err_name(r)) : 0;
}
