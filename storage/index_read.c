/* The index' reading half. Every call opens a read transaction, copies out what it wants and ends it; walks do so
 * batch by batch and call back between the transactions, so that a slow callback pins no pages.
 *
 * Selecting streams:
 *   1. Matchers that name values (equality, alternations) each have posting lists: sorted arrays of ids. The
 *      shortest is the candidate list. The others are intersected with it while they can still shrink it for
 *      less than looking at the rows would cost.
 *   2. Without such a matcher the candidates are all streams of the tenant (one posting list, too).
 *   3. Each candidate's row is read in order of ids, its time range is compared, then ALL matchers are
 *      checked on its labels. So postings only ever narrow the search and need not be exact. Results of a
 *      regex are remembered per value, for few values are shared by many streams. */
#include "index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "hash.h"
#include "index_internal.h"

enum {
    ROWS_INSTEAD_OF_POSTINGS = 256, /* with so few candidates the rows themselves are looked at */
    MEMO_SLOTS = 512,               /* values whose regex result is remembered, per matcher */
    WALK_BATCH = 1024,              /* rows per transaction of a walk */
    WALK_ARENA_MAX = 256 << 20,     /* WALK_BATCH rows of the largest label sets */
};

static const int64_t DAY_NS = INT64_C(86400) * 1000000000;

/* ---- id lists */

struct ids {
    uint64_t *items;
    size_t count, capacity;
};

static int ids_reserve(struct ids *ids, size_t extra) {
    if (extra <= ids->capacity - ids->count)
        return 0;
    size_t capacity = ids->capacity ? ids->capacity * 2 : 512;
    if (capacity < ids->count + extra)
        capacity = ids->count + extra;
    uint64_t *items = realloc(ids->items, capacity * sizeof(*items));
    if (!items)
        return ENOMEM;
    ids->items = items;
    ids->capacity = capacity;
    return 0;
}

/* Appends one posting list, a page of ids at a time. An LMDB code. */
static int ids_load(struct ids *ids, MDB_cursor *cursor, const struct index_key *posting) {
    MDB_val key = index_val(posting->bytes, posting->size), value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_GET_MULTIPLE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_MULTIPLE)) {
        size_t n = value.mv_size / sizeof(uint64_t);
        rc = ids_reserve(ids, n);
        if (rc != 0)
            return rc;
        memcpy(ids->items + ids->count, value.mv_data, n * sizeof(uint64_t));
        ids->count += n;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Lists of different values never share a stream, unless a caller names a value twice. */
static void ids_sort_unique(struct ids *ids) {
    if (ids->count < 2)
        return;
    qsort(ids->items, ids->count, sizeof(*ids->items), compare_u64);
    size_t kept = 1;
    for (size_t i = 1; i < ids->count; i++)
        if (ids->items[i] != ids->items[kept - 1])
            ids->items[kept++] = ids->items[i];
    ids->count = kept;
}

/* First position at or behind `from` whose id is not below `id`: doubling steps, then halving. */
static size_t ids_gallop(const struct ids *ids, size_t from, uint64_t id) {
    size_t step = 1, low = from, high = from;
    while (high < ids->count && ids->items[high] < id) {
        low = high + 1;
        high += step;
        step *= 2;
    }
    if (high > ids->count)
        high = ids->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids->items[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keeps in `a`, the shorter, what `b` has too. */
static void ids_intersect(struct ids *a, const struct ids *b) {
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < a->count && at < b->count; i++) {
        at = ids_gallop(b, at, a->items[i]);
        if (at < b->count && b->items[at] == a->items[i])
            a->items[kept++] = a->items[i];
    }
    a->count = kept;
}

/* ---- candidates */

/* The values whose postings hold all streams that the matcher can accept; false when there are no such:
 * an absent label is equal to the empty string and stands in no posting list. */
static bool matcher_values(const struct matcher *m, const struct str **ret, size_t *ret_count) {
    if (m->op == MATCH_EQ && m->value.size > 0) {
        *ret = &m->value;
        *ret_count = 1;
        return true;
    }
    if (m->op != MATCH_RE || !m->set || m->set_count == 0)
        return false;
    for (size_t i = 0; i < m->set_count; i++)
        if (m->set[i].size == 0)
            return false;
    *ret = m->set;
    *ret_count = m->set_count;
    return true;
}

struct selection {
    struct index *ix;
    MDB_txn *txn;
    MDB_cursor *postings;
    uint32_t tenant;
    const struct matcher *matchers;
    size_t n_matchers;
    int64_t start_ns, end_ns;
    struct memo *memos; /* one per matcher; NULL = none */
    struct arena scratch;
    struct index_stream *found; /* malloc'ed */
    size_t n_found, found_capacity;
};

/* Number of streams in a matcher's posting lists. An LMDB code. */
static int matcher_count(const struct selection *sel, const struct matcher *m, size_t *ret) {
    const struct str *values;
    size_t n_values;
    *ret = 0;
    if (!matcher_values(m, &values, &n_values))
        return MDB_NOTFOUND;
    for (size_t i = 0; i < n_values; i++) {
        struct index_key posting;
        index_posting_key(&posting, sel->tenant, m->name, values[i]);
        MDB_val key = index_val(posting.bytes, posting.size), value;
        size_t n = 0;
        int rc = mdb_cursor_get(sel->postings, &key, &value, MDB_SET_KEY);
        if (rc == 0)
            rc = mdb_cursor_count(sel->postings, &n);
        if (rc != 0 && rc != MDB_NOTFOUND)
            return rc;
        *ret += n;
    }
    return 0;
}

static int matcher_load(const struct selection *sel, const struct matcher *m, struct ids *ids) {
    const struct str *values;
    size_t n_values;
    ids->count = 0;
    bool by_value = matcher_values(m, &values, &n_values);
    assert(by_value);
    for (size_t i = 0; i < n_values; i++) {
        struct index_key posting;
        index_posting_key(&posting, sel->tenant, m->name, values[i]);
        int rc = ids_load(ids, sel->postings, &posting);
        if (rc != 0)
            return rc;
    }
    if (n_values > 1)
        ids_sort_unique(ids);
    return 0;
}

struct ranked {
    const struct matcher *matcher;
    size_t count;
};

static int compare_ranked(const void *a, const void *b) {
    size_t x = ((const struct ranked *)a)->count, y = ((const struct ranked *)b)->count;
    return (x > y) - (x < y);
}

/* Fills `ids` with candidates, ascending. An LMDB code. */
static int candidates_find(struct selection *sel, struct ids *ids) {
    struct ranked *ranked = arena_array(&sel->scratch, sel->n_matchers + 1, sizeof(*ranked));
    if (!ranked)
        return ENOMEM;
    size_t n_ranked = 0;
    for (size_t i = 0; i < sel->n_matchers; i++) {
        size_t count;
        int rc = matcher_count(sel, &sel->matchers[i], &count);
        if (rc == 0)
            ranked[n_ranked++] = (struct ranked){.matcher = &sel->matchers[i], .count = count};
        else if (rc != MDB_NOTFOUND)
            return rc;
    }
    if (n_ranked == 0) {
        struct index_key all;
        index_posting_key(&all, sel->tenant, (struct str){0}, (struct str){0});
        return ids_load(ids, sel->postings, &all);
    }
    qsort(ranked, n_ranked, sizeof(*ranked), compare_ranked);
    int rc = matcher_load(sel, ranked[0].matcher, ids);
    struct ids other = {0};
    for (size_t i = 1; rc == 0 && i < n_ranked && ids->count > ROWS_INSTEAD_OF_POSTINGS; i++) {
        rc = matcher_load(sel, ranked[i].matcher, &other);
        if (rc == 0)
            ids_intersect(ids, &other);
    }
    free(other.items);
    return rc;
}

/* ---- checking rows */

struct memo_slot {
    struct str value; /* in LMDB's map, valid as long as the transaction */
    bool used, accepted;
};

struct memo {
    struct memo_slot slots[MEMO_SLOTS];
};

static bool matcher_accepts_memo(const struct matcher *m, struct memo *memo, struct str value) {
    if (!memo || (m->op != MATCH_RE && m->op != MATCH_NRE))
        return matcher_accepts(m, value);
    struct memo_slot *slot = &memo->slots[hash_str(value) % MEMO_SLOTS];
    if (!slot->used || !str_eq(slot->value, value))
        *slot =
            (struct memo_slot){.value = value, .used = true, .accepted = matcher_accepts(m, value)};
    return slot->accepted;
}

static bool labels_accepted(const struct selection *sel, struct labels labels) {
    for (size_t i = 0; i < sel->n_matchers; i++) {
        struct str value = labels_get(labels, sel->matchers[i].name);
        struct memo *memo = sel->memos ? &sel->memos[i] : NULL;
        if (!matcher_accepts_memo(&sel->matchers[i], memo, value))
            return false;
    }
    return true;
}

/* Copies an encoded label set into the arena and decodes it there. */
static int labels_copy_decode(struct str encoded, struct arena *arena, struct labels *ret) {
    struct str copy = arena_copy(arena, encoded);
    return copy.data ? labels_decode(copy, arena, ret) : -ENOMEM;
}

static int found_add(struct selection *sel, const struct index_stream *s) {
    if (sel->n_found == sel->found_capacity) {
        size_t capacity = sel->found_capacity ? sel->found_capacity * 2 : 256;
        struct index_stream *found = realloc(sel->found, capacity * sizeof(*found));
        if (!found)
            return -ENOMEM;
        sel->found = found;
        sel->found_capacity = capacity;
    }
    sel->found[sel->n_found++] = *s;
    return 0;
}

static int row_check(struct selection *sel, MDB_val value, uint64_t id, struct arena *arena) {
    struct index_stream s;
    uint32_t tenant;
    struct str encoded;
    int r = index_stream_decode(value, id, &s, &tenant, &encoded);
    if (r < 0)
        return r;
    if (tenant != sel->tenant)
        return -ECORRUPT;
    if (s.first_ns > s.last_ns || s.first_ns > sel->end_ns || s.last_ns < sel->start_ns)
        return 0;
    if (sel->n_matchers > 0) {
        arena_reset(&sel->scratch);
        r = labels_decode(encoded, &sel->scratch, &s.labels);
        if (r < 0 || !labels_accepted(sel, s.labels))
            return r;
    }
    r = labels_copy_decode(encoded, arena, &s.labels);
    return r == 0 ? found_add(sel, &s) : r;
}

static int rows_check(struct selection *sel, const struct ids *ids, struct arena *arena) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(sel->txn, sel->ix->streams, &cursor);
    if (rc != 0)
        return index_code(rc);
    int r = 0;
    for (size_t i = 0; r == 0 && i < ids->count; i++) {
        uint8_t id_key[8];
        put_be64(id_key, ids->items[i]);
        MDB_val key = index_val(id_key, sizeof(id_key)), value;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
        if (rc == 0)
            r = row_check(sel, value, ids->items[i], arena);
        else
            r = rc == MDB_NOTFOUND ? -ECORRUPT : index_code(rc); /* a posting without a row */
    }
    mdb_cursor_close(cursor);
    return r;
}

static int memos_make(struct selection *sel) {
    bool wanted = false;
    for (size_t i = 0; i < sel->n_matchers; i++)
        wanted |= sel->matchers[i].op == MATCH_RE || sel->matchers[i].op == MATCH_NRE;
    if (!wanted)
        return 0;
    sel->memos = calloc(sel->n_matchers, sizeof(*sel->memos));
    return sel->memos ? 0 : -ENOMEM;
}

static int select_streams(struct selection *sel, struct arena *arena) {
    int rc = mdb_cursor_open(sel->txn, sel->ix->postings, &sel->postings);
    if (rc != 0)
        return index_code(rc);
    struct ids ids = {0};
    rc = candidates_find(sel, &ids);
    int r = index_code(rc);
    /* Remembering costs more than it saves when there is little to check. */
    if (r == 0 && ids.count > ROWS_INSTEAD_OF_POSTINGS)
        r = memos_make(sel);
    if (r == 0)
        r = rows_check(sel, &ids, arena);
    free(ids.items);
    mdb_cursor_close(sel->postings);
    return r;
}

int index_select(struct index *ix, struct str tenant, const struct matcher *matchers,
                 size_t n_matchers, int64_t start_ns, int64_t end_ns, struct arena *arena,
                 struct index_stream **ret, size_t *ret_count, struct err *reterr) {
    struct selection sel = {
        .ix = ix,
        .matchers = matchers,
        .n_matchers = n_matchers,
        .start_ns = start_ns,
        .end_ns = end_ns,
        .scratch = arena_make(BUF_NO_MAX),
    };
    int r = index_read_begin(ix, &sel.txn, reterr);
    if (r < 0)
        return r;
    r = index_tenant_find(ix, sel.txn, tenant, &sel.tenant);
    if (r == 0)
        r = select_streams(&sel, arena);
    else if (r == -ENOENT)
        r = 0; /* no such tenant: no streams */
    index_read_end(ix, sel.txn);

    struct index_stream *streams = NULL;
    if (r == 0) {
        streams = arena_alloc(arena, sel.n_found * sizeof(*streams));
        struct str name = arena_copy(arena, tenant);
        if (!streams || !name.data)
            r = -ENOMEM;
        for (size_t i = 0; r == 0 && i < sel.n_found; i++) {
            streams[i] = sel.found[i];
            streams[i].tenant = name;
        }
    }
    free(sel.found);
    free(sel.memos);
    arena_done(&sel.scratch);
    if (r < 0)
        return err_set(reterr, r, "index: cannot select streams: %s", err_name(r));
    *ret = streams;
    *ret_count = sel.n_found;
    return 0;
}

/* ---- single rows */

int index_counter(struct index *ix, struct str name, uint64_t *ret) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, NULL);
    if (r < 0)
        return r;
    MDB_val key = index_val(name.data, name.size), value;
    int rc = mdb_get(txn, ix->meta, &key, &value);
    if (rc == MDB_NOTFOUND)
        *ret = 0;
    else if (rc == 0 && value.mv_size == 8)
        *ret = get_le64(value.mv_data);
    else
        r = rc == 0 ? -ECORRUPT : index_code(rc);
    index_read_end(ix, txn);
    return r;
}

static int stream_load(struct index *ix, MDB_txn *txn, uint64_t id, struct arena *arena,
                       struct index_stream *ret, uint32_t *ret_tenant) {
    uint8_t id_key[8];
    put_be64(id_key, id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_get(txn, ix->streams, &key, &value);
    if (rc != 0)
        return index_code(rc);
    struct str encoded;
    int r = index_stream_decode(value, id, ret, ret_tenant, &encoded);
    return r == 0 ? labels_copy_decode(encoded, arena, &ret->labels) : r;
}

int index_stream_by_id(struct index *ix, uint64_t id, struct arena *arena,
                       struct index_stream *ret) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, NULL);
    if (r < 0)
        return r;
    uint32_t tenant;
    struct str name;
    struct index_stream s;
    r = stream_load(ix, txn, id, arena, &s, &tenant);
    if (r == 0)
        r = index_tenant_name(ix, txn, tenant, &name);
    if (r == 0) {
        s.tenant = arena_copy(arena, name);
        r = s.tenant.data ? 0 : -ENOMEM;
    }
    index_read_end(ix, txn);
    if (r == 0)
        *ret = s;
    return r;
}

static int stream_by_hash(struct index *ix, MDB_txn *txn, uint32_t tenant, struct labels labels,
                          uint64_t *ret) {
    struct buf encoded = buf_make(BUF_NO_MAX);
    labels_encode(&encoded, labels);
    uint8_t hash[INDEX_HASH_KEY];
    int r = encoded.failed ? -ENOMEM : 0;
    if (r == 0) {
        index_hash_key(hash, tenant, buf_str(&encoded));
        MDB_val key = index_val(hash, sizeof(hash)), value;
        int rc = mdb_get(txn, ix->byhash, &key, &value);
        if (rc != 0)
            r = index_code(rc);
        else if (value.mv_size != 8)
            r = -ECORRUPT;
        else
            *ret = get_le64(value.mv_data);
    }
    buf_done(&encoded);
    return r;
}

int index_txn_find_stream(struct index_txn *t, struct str tenant, struct labels labels,
                          uint64_t *ret_id) {
    uint32_t tenant_id, found_tenant;
    uint64_t id = 0;
    struct index_stream s;
    struct arena arena = arena_make(BUF_NO_MAX);
    int r = index_tenant_find(t->ix, t->txn, tenant, &tenant_id);
    if (r == 0)
        r = stream_by_hash(t->ix, t->txn, tenant_id, labels, &id);
    if (r == 0)
        r = stream_load(t->ix, t->txn, id, &arena, &s, &found_tenant);
    if (r == 0 && (found_tenant != tenant_id || !labels_eq(s.labels, labels)))
        r = -ENOENT; /* another set with the same 128-bit hash */
    if (r == 0)
        *ret_id = id;
    arena_done(&arena);
    return r;
}

int index_find_stream(struct index *ix, struct str tenant, struct labels labels,
                      struct arena *arena, struct index_stream *ret) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, NULL);
    if (r < 0)
        return r;
    uint32_t tenant_id, found_tenant;
    uint64_t id = 0;
    struct index_stream s;
    r = index_tenant_find(ix, txn, tenant, &tenant_id);
    if (r == 0)
        r = stream_by_hash(ix, txn, tenant_id, labels, &id);
    if (r == 0)
        r = stream_load(ix, txn, id, arena, &s, &found_tenant);
    index_read_end(ix, txn);
    if (r < 0)
        return r;
    if (found_tenant != tenant_id || !labels_eq(s.labels, labels))
        return -ENOENT; /* another set with the same 128-bit hash */
    s.tenant = arena_copy(arena, tenant);
    if (!s.tenant.data)
        return -ENOMEM;
    *ret = s;
    return 0;
}

int index_tenants(struct index *ix, struct arena *arena, struct str **ret, size_t *ret_count) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, NULL);
    if (r < 0)
        return r;
    MDB_stat stat;
    MDB_cursor *cursor = NULL;
    struct str *names = NULL;
    size_t count = 0;
    int rc = mdb_stat(txn, ix->tenants, &stat);
    if (rc == 0)
        rc = mdb_cursor_open(txn, ix->tenants, &cursor);
    if (rc == 0) {
        names = arena_array(arena, stat.ms_entries + 1, sizeof(*names));
        rc = names ? 0 : ENOMEM;
    }
    MDB_val key = index_val("\x01", 1), value; /* rows by id start with byte 0 */
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        assert(count < stat.ms_entries);
        names[count] = arena_copy(arena, index_str(key));
        rc = names[count].data ? mdb_cursor_get(cursor, &key, &value, MDB_NEXT) : ENOMEM;
        count++;
    }
    if (cursor)
        mdb_cursor_close(cursor);
    index_read_end(ix, txn);
    if (rc != MDB_NOTFOUND)
        return index_code(rc);
    *ret = names;
    *ret_count = count;
    return 0;
}

/* ---- chunks of one stream */

struct index_reader {
    struct index *ix;
    MDB_txn *txn;
    MDB_cursor *cursor;
    struct index_chunk *found; /* grows, kept from call to call */
    size_t capacity;
};

int index_reader_begin(struct index *ix, struct index_reader **ret, struct err *reterr) {
    struct index_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(reterr, -ENOMEM, "index: no memory for a reader");
    r->ix = ix;
    int code = index_read_begin(ix, &r->txn, reterr);
    if (code == 0) {
        int rc = mdb_cursor_open(r->txn, ix->chunks, &r->cursor);
        code = rc == 0 ? 0 : index_fail(reterr, rc, "cannot open a cursor");
    }
    if (code < 0) {
        index_reader_end(r);
        return code;
    }
    *ret = r;
    return 0;
}

void index_reader_end(struct index_reader *r) {
    if (!r)
        return;
    if (r->cursor)
        mdb_cursor_close(r->cursor);
    index_read_end(r->ix, r->txn);
    free(r->found);
    free(r);
}

static int64_t day_start(int64_t ns) {
    int64_t into_day = ns % DAY_NS < 0 ? ns % DAY_NS + DAY_NS : ns % DAY_NS;
    return ns < INT64_MIN + into_day ? INT64_MIN : ns - into_day;
}

static int reader_add(struct index_reader *r, size_t count, const struct index_chunk *c) {
    if (count == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 64;
        struct index_chunk *found = realloc(r->found, capacity * sizeof(*found));
        if (!found)
            return -ENOMEM;
        r->found = found;
        r->capacity = capacity;
    }
    r->found[count] = *c;
    return 0;
}

/* Collects the overlapping chunks in r->found. A chunk lies in one day, so none that starts before
 * the day of start_ns can reach it. */
static int reader_collect(struct index_reader *r, uint32_t tenant, uint64_t stream_id,
                          int64_t start_ns, int64_t end_ns, size_t *ret_count) {
    uint8_t from[INDEX_CHUNK_KEY];
    index_chunk_key(from, tenant, stream_id, day_start(start_ns), 0);
    MDB_val key = index_val(from, sizeof(from)), value;
    int rc = mdb_cursor_get(r->cursor, &key, &value, MDB_SET_RANGE);
    *ret_count = 0;
    for (; rc == 0; rc = mdb_cursor_get(r->cursor, &key, &value, MDB_NEXT)) {
        struct index_chunk c;
        int code = index_chunk_decode(key, value, &c);
        if (code < 0)
            return code;
        if (memcmp(key.mv_data, from, 4 + 8) != 0 || c.sums.first_ns > end_ns)
            return 0;
        if (c.sums.last_ns < start_ns)
            continue;
        code = reader_add(r, *ret_count, &c);
        if (code < 0)
            return code;
        (*ret_count)++;
    }
    return rc == MDB_NOTFOUND ? 0 : index_code(rc);
}

int index_reader_chunks(struct index_reader *r, struct str tenant, uint64_t stream_id,
                        int64_t start_ns, int64_t end_ns, struct arena *arena,
                        struct index_chunk **ret, size_t *ret_count, struct err *reterr) {
    uint32_t tenant_id;
    size_t count = 0;
    int code = index_tenant_find(r->ix, r->txn, tenant, &tenant_id);
    if (code == 0)
        code = reader_collect(r, tenant_id, stream_id, start_ns, end_ns, &count);
    else if (code == -ENOENT)
        code = 0;
    struct index_chunk *chunks = NULL;
    if (code == 0) {
        chunks = arena_alloc(arena, count * sizeof(*chunks));
        code = chunks ? 0 : -ENOMEM;
    }
    if (code < 0)
        return err_set(reterr, code, "index: cannot list chunks of stream %016llx: %s",
                       (unsigned long long)stream_id, err_name(code));
    if (count > 0)
        memcpy(chunks, r->found, count * sizeof(*chunks));
    *ret = chunks;
    *ret_count = count;
    return 0;
}

int index_reader_flushed(struct index_reader *r, uint64_t stream_id, uint64_t *ret_lsn,
                         uint32_t *ret_index) {
    uint8_t id_key[8];
    put_be64(id_key, stream_id);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_get(r->txn, r->ix->streams, &key, &value);
    if (rc != 0)
        return index_code(rc);
    struct index_stream row;
    uint32_t tenant;
    struct str encoded;
    int code = index_stream_decode(value, stream_id, &row, &tenant, &encoded);
    if (code < 0)
        return code;
    *ret_lsn = row.flushed_lsn;
    *ret_index = row.flushed_index;
    return 0;
}

/* ---- walks */

/* Up to WALK_BATCH chunk rows of a tenant behind `after` (its key; at first the tenant alone). */
static int walk_chunk_batch(struct index *ix, struct str tenant, struct index_key *after,
                            struct index_chunk *chunks, size_t *ret_count, struct err *reterr) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, reterr);
    if (r < 0)
        return r;
    uint32_t tenant_id;
    MDB_cursor *cursor = NULL;
    *ret_count = 0;
    r = index_tenant_find(ix, txn, tenant, &tenant_id);
    if (r < 0)
        goto out;
    if (after->size == 0) {
        put_be32(after->bytes, tenant_id);
        after->size = 4;
    }
    int rc = mdb_cursor_open(txn, ix->chunks, &cursor);
    MDB_val key = index_val(after->bytes, after->size), value;
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == after->size &&
        memcmp(key.mv_data, after->bytes, after->size) == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    while (rc == 0 && r == 0 && *ret_count < WALK_BATCH) {
        if (key.mv_size < 4 || get_be32(key.mv_data) != tenant_id)
            break;
        r = index_chunk_decode(key, value, &chunks[*ret_count]);
        if (r == 0) {
            (*ret_count)++;
            memcpy(after->bytes, key.mv_data, key.mv_size);
            after->size = key.mv_size;
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
    }
    if (r == 0 && rc != 0 && rc != MDB_NOTFOUND)
        r = index_code(rc);
out:
    if (cursor)
        mdb_cursor_close(cursor);
    index_read_end(ix, txn);
    if (r == -ENOENT)
        return 0; /* no such tenant */
    return r < 0 ? err_set(reterr, r, "index: cannot walk chunks: %s", err_name(r)) : 0;
}

int index_walk_chunks(struct index *ix, struct str tenant, index_chunk_fn *fn, void *ctx,
                      struct err *reterr) {
    struct index_chunk *chunks = malloc(WALK_BATCH * sizeof(*chunks));
    if (!chunks)
        return err_set(reterr, -ENOMEM, "index: no memory for a walk");
    struct index_key after = {.size = 0};
    size_t count = WALK_BATCH;
    int r = 0;
    while (r == 0 && count == WALK_BATCH) {
        r = walk_chunk_batch(ix, tenant, &after, chunks, &count, reterr);
        for (size_t i = 0; r == 0 && i < count; i++)
            r = fn(&chunks[i], ctx);
    }
    free(chunks);
    return r;
}

/* Up to WALK_BATCH ids of the tenant's streams above *after; loads their rows. */
static int walk_stream_batch(struct index *ix, struct str tenant, uint64_t after, bool first,
                             struct arena *arena, struct index_stream *streams, size_t *ret_count,
                             struct err *reterr) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, reterr);
    if (r < 0)
        return r;
    uint32_t tenant_id, row_tenant;
    MDB_cursor *cursor = NULL;
    *ret_count = 0;
    r = index_tenant_find(ix, txn, tenant, &tenant_id);
    if (r < 0)
        goto out;
    struct index_key all;
    index_posting_key(&all, tenant_id, (struct str){0}, (struct str){0});
    uint64_t from = first ? 0 : after + 1;
    MDB_val key = index_val(all.bytes, all.size), value = index_val(&from, sizeof(from));
    int rc = mdb_cursor_open(txn, ix->postings, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_GET_BOTH_RANGE);
    while (rc == 0 && r == 0 && *ret_count < WALK_BATCH) {
        uint64_t id;
        memcpy(&id, value.mv_data, sizeof(id));
        r = stream_load(ix, txn, id, arena, &streams[*ret_count], &row_tenant);
        if (r == -ENOENT)
            r = -ECORRUPT;
        streams[*ret_count].tenant = tenant;
        (*ret_count)++;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_DUP);
    }
    if (r == 0 && rc != 0 && rc != MDB_NOTFOUND)
        r = index_code(rc);
out:
    if (cursor)
        mdb_cursor_close(cursor);
    index_read_end(ix, txn);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? err_set(reterr, r, "index: cannot walk streams: %s", err_name(r)) : 0;
}

int index_walk_streams(struct index *ix, struct str tenant, index_stream_fn *fn, void *ctx,
                       struct err *reterr) {
    struct index_stream *streams = malloc(WALK_BATCH * sizeof(*streams));
    if (!streams)
        return err_set(reterr, -ENOMEM, "index: no memory for a walk");
    struct arena arena = arena_make(WALK_ARENA_MAX);
    uint64_t after = 0;
    bool first = true;
    size_t count = WALK_BATCH;
    int r = 0;
    while (r == 0 && count == WALK_BATCH && after < UINT64_MAX) {
        arena_reset(&arena);
        r = walk_stream_batch(ix, tenant, after, first, &arena, streams, &count, reterr);
        if (r == 0 && count > 0)
            after = streams[count - 1].id;
        first = false;
        for (size_t i = 0; r == 0 && i < count; i++)
            r = fn(&streams[i], ctx);
    }
    arena_done(&arena);
    free(streams);
    return r;
}

int index_walk_deletes(struct index *ix, index_delete_fn *fn, void *ctx, struct err *reterr) {
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    if (ix->no_deletes)
        return 0;
    int r = index_read_begin(ix, &txn, reterr);
    if (r < 0)
        return r;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, ix->deletes, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == 0 && r == 0) {
        struct str content = index_str(value);
        r = index_delete_content(index_str(key), &content)
                ? fn(index_str(key), content, ctx)
                : err_set(reterr, -ECORRUPT, "index: delete request %.*s is damaged",
                          (int)key.mv_size, (const char *)key.mv_data);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (r == 0 && rc != MDB_NOTFOUND)
        r = index_fail(reterr, rc, "cannot walk the delete requests");
    if (cursor)
        mdb_cursor_close(cursor);
    index_read_end(ix, txn);
    return r;
}
