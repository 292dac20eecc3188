/* The environment of the index, its transactions and the bytes of its rows.
 *
 * Crash states: LMDB's own. A transaction is wholly there or not at all; the previous state stays readable until the
 * new root page is written and synced. The folder and data file are made durable when the index is created; an
 * environment without databases (a crash before the first commit) is filled on the next open. */
#include "index.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes.h"
#include "hash.h"
#include "index_check.h"
#include "index_internal.h"
#include "io.h"
#include "scratch.h"

#define MAP_DEFAULT (UINT64_C(64) << 30)
#define MAP_SMALLEST                                                                               \
    (UINT64_C(64) << 20) /* below this a refused map is not for want of address space */

enum {
    FORMAT_VERSION = 1,
    FORMAT_VALUE = 4 + 4 + 4, /* version, compatible flags, incompatible flags */
    READERS_MAX = 2048, /* slots for read transactions of all processes; a slot costs 64 bytes */
    LOCK_FILE_BYTES = 8192 + READERS_MAX * 64,
    DATABASES_MAX = 16,
    RESIZE_WAIT_SECONDS = 10,
    CHECK_ATTEMPTS = 10, /* of a reader whose root is overwritten while it looks */
    PATH_LENGTH_MAX = 4096,
    COPY_ATTEMPTS = 10, /* of a reader without a lock: two commits during a copy are rare */
};

static const char FORMAT_KEY[] = "format";

static_assert(sizeof(size_t) == 8, "LMDB's integer keys and a 64 GiB map need 64 bits");

/* ---- errors */

int index_code(int rc) {
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
        return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return -ECORRUPT;
    case MDB_VERSION_MISMATCH:
        return -EFORMAT;
    case MDB_READERS_FULL:
        return -EBUSYNOW;
    case MDB_BAD_VALSIZE:
        return -EINVAL;
    default:
        return rc > 0 ? -rc : -EIO;
    }
}

int index_fail(struct err *reterr, int rc, const char *what) {
    return err_set(reterr, index_code(rc), "index: %s: %s", what, mdb_strerror(rc));
}

/* ---- the map and the transactions in this process */

static void txn_enter(struct index *ix) {
    pthread_mutex_lock(&ix->lock);
    ix->n_txns++;
    pthread_mutex_unlock(&ix->lock);
}

static void txn_leave(struct index *ix) {
    pthread_mutex_lock(&ix->lock);
    assert(ix->n_txns > 0);
    if (--ix->n_txns == 0)
        pthread_cond_broadcast(&ix->idle);
    pthread_mutex_unlock(&ix->lock);
}

/* Sets the map's size (0 = what another process has made it) when no transaction is open. A caller that holds a
 * reader of its own gets -EBUSYNOW after a while instead of waiting for itself. */
static int map_resize(struct index *ix, bool grow, struct err *reterr) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RESIZE_WAIT_SECONDS;
    int r = 0;
    pthread_mutex_lock(&ix->lock);
    while (ix->n_txns > 0 && r == 0)
        r = pthread_cond_timedwait(&ix->idle, &ix->lock, &until);
    if (ix->n_txns > 0) {
        r = err_set(reterr, -EBUSYNOW, "index: the map cannot be resized, %u transactions are open",
                    ix->n_txns);
    } else {
        MDB_envinfo info;
        (void)mdb_env_info(ix->env, &info);
        int rc = mdb_env_set_mapsize(ix->env, grow ? info.me_mapsize * 2 : 0);
        r = rc == 0 ? 0 : index_fail(reterr, rc, "cannot resize the map");
        if (r == 0 && grow)
            ix->wants_growth = false;
    }
    pthread_mutex_unlock(&ix->lock);
    return r;
}

static int txn_begin(struct index *ix, unsigned flags, MDB_txn **ret, struct err *reterr) {
    for (int attempt = 0;; attempt++) {
        txn_enter(ix);
        int rc = mdb_txn_begin(ix->env, NULL, flags, ret);
        if (rc == 0)
            return 0;
        txn_leave(ix);
        if (rc != MDB_MAP_RESIZED || attempt > 0)
            return index_fail(reterr, rc, "cannot begin a transaction");
        int r = map_resize(ix, false, reterr);
        if (r < 0)
            return r;
    }
}

/* A reader that has ended rests for the next one, which then needs neither memory nor a look for a place in the lock file: a
 * new stream asks the index one question. NULL: there is none. */
static MDB_txn *take_resting(struct index *ix) {
    pthread_mutex_lock(&ix->lock);
    MDB_txn *txn = ix->n_resting > 0 ? ix->resting[--ix->n_resting] : NULL;
    ix->n_txns += txn != NULL;
    pthread_mutex_unlock(&ix->lock);
    if (txn && mdb_txn_renew(txn) != 0) {
        mdb_txn_abort(txn);
        txn_leave(ix);
        txn = NULL;
    }
    return txn;
}

int index_read_begin(struct index *ix, MDB_txn **ret, struct err *reterr) {
    MDB_txn *txn = take_resting(ix);
    if (!txn)
        return txn_begin(ix, MDB_RDONLY, ret, reterr);
    *ret = txn;
    return 0;
}

void index_read_end(struct index *ix, MDB_txn *txn) {
    if (!txn)
        return;
    mdb_txn_reset(txn);
    pthread_mutex_lock(&ix->lock);
    bool rests = ix->n_resting < INDEX_RESTING_MAX;
    if (rests)
        ix->resting[ix->n_resting++] = txn;
    pthread_mutex_unlock(&ix->lock);
    if (!rests)
        mdb_txn_abort(txn);
    txn_leave(ix);
}

int index_begin(struct index *ix, struct index_txn **ret, struct err *reterr) {
    if (ix->read_only)
        return err_set(reterr, -EROFS, "index: opened for reading only");
    pthread_mutex_lock(&ix->lock);
    bool grow = ix->wants_growth;
    pthread_mutex_unlock(&ix->lock);
    if (grow) {
        int r = map_resize(ix, true, reterr);
        if (r < 0)
            return r;
    }
    struct index_txn *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(reterr, -ENOMEM, "index: no memory for a transaction");
    t->ix = ix;
    t->scratch = buf_make(BUF_NO_MAX);
    int r = txn_begin(ix, 0, &t->txn, reterr);
    if (r < 0) {
        free(t);
        return r;
    }
    *ret = t;
    return 0;
}

static void txn_free(struct index_txn *t) {
    txn_leave(t->ix);
    buf_done(&t->scratch);
    free(t);
}

int index_commit(struct index_txn *t, struct err *reterr) {
    int r = io_hook_ask(IO_COMMIT, t->ix->path);
    if (r < 0) {
        mdb_txn_abort(t->txn);
        err_set(reterr, r, "index: cannot commit: %s", err_name(r));
    } else {
        int rc = index_sum_write(t);
        if (rc == 0)
            rc = mdb_txn_commit(t->txn);
        else
            mdb_txn_abort(t->txn);
        if (rc == MDB_MAP_FULL) {
            pthread_mutex_lock(&t->ix->lock);
            t->ix->wants_growth = true;
            pthread_mutex_unlock(&t->ix->lock);
        }
        r = rc == 0 ? 0 : index_fail(reterr, rc, "cannot commit");
    }
    txn_free(t);
    return r;
}

void index_abort(struct index_txn *t) {
    if (!t)
        return;
    mdb_txn_abort(t->txn);
    txn_free(t);
}

/* ---- opening */

static int format_check(struct index_txn *t, struct err *reterr) {
    MDB_val key = index_val(FORMAT_KEY, sizeof(FORMAT_KEY) - 1), value;
    int rc = mdb_get(t->txn, t->ix->meta, &key, &value);
    if (rc == MDB_NOTFOUND && !t->ix->read_only) {
        uint8_t format[FORMAT_VALUE] = {0};
        put_le32(format, FORMAT_VERSION);
        value = index_val(format, sizeof(format));
        rc = index_row_put(t, t->ix->meta, key, value);
        return rc == 0 ? 0 : index_fail(reterr, rc, "cannot write the format version");
    }
    if (rc != 0)
        return index_fail(reterr, rc, "cannot read the format version");
    if (value.mv_size < FORMAT_VALUE)
        return err_set(reterr, -ECORRUPT, "index: the format version is cut off");
    uint32_t version = get_le32(value.mv_data);
    uint32_t incompatible = get_le32((const uint8_t *)value.mv_data + 8);
    if (version != FORMAT_VERSION || incompatible != 0)
        return err_set(
            reterr, -EFORMAT,
            "index: format version %u, flags %#x are not known to this build (version %d)", version,
            incompatible, FORMAT_VERSION);
    return 0;
}

/* Opens, and where needed creates, the databases; checks the format. */
static int open_databases(struct index *ix, struct err *reterr) {
    struct {
        const char *name;
        unsigned flags;
        MDB_dbi *dbi;
    } databases[] = {
        {"meta", 0, &ix->meta},
        {"tenants", 0, &ix->tenants},
        {"streams", 0, &ix->streams},
        {"byhash", 0, &ix->byhash},
        {"postings", MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP, &ix->postings},
        {"chunks", 0, &ix->chunks},
        {"deletes", 0, &ix->deletes}, /* the last: earlier builds did not have it */
    };
    struct index_txn t = {.ix = ix};
    int r = txn_begin(ix, ix->read_only ? MDB_RDONLY : 0, &t.txn, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < sizeof(databases) / sizeof(databases[0]); i++) {
        unsigned flags = databases[i].flags | (ix->read_only ? 0 : MDB_CREATE);
        int rc = mdb_dbi_open(t.txn, databases[i].name, flags, databases[i].dbi);
        if (rc == 0)
            ix->name_hashes[*databases[i].dbi] = hash_str(str_from(databases[i].name));
        else if (rc == MDB_NOTFOUND && databases[i].dbi == &ix->deletes)
            ix->no_deletes = true;
        else
            r = index_fail(reterr, rc, databases[i].name);
    }
    if (r == 0)
        r = format_check(&t, reterr);
    if (r == 0 && !ix->read_only) {
        int rc = index_sum_write(&t);
        r = rc == 0 ? 0 : index_fail(reterr, rc, "cannot write the sum of the rows");
    }
    if (r == 0) {
        r = ix->read_only ? 0 : io_hook_ask(IO_COMMIT, ix->path);
        if (r < 0)
            err_set(reterr, r, "index: cannot commit: %s", err_name(r));
    }
    if (r == 0) {
        int rc = mdb_txn_commit(t.txn); /* for a reader this only keeps the handles */
        r = rc == 0 ? 0 : index_fail(reterr, rc, "cannot commit");
    } else {
        mdb_txn_abort(t.txn);
    }
    txn_leave(ix);
    return r;
}

/* One attempt; LMDB wants a new environment for each. */
static int env_try(struct index *ix, unsigned flags, uint64_t map_bytes) {
    int rc = mdb_env_create(&ix->env);
    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(ix->env, DATABASES_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(ix->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(ix->env, map_bytes);
    if (rc == 0)
        rc = mdb_env_open(ix->env, ix->path, flags, 0660);
    if (rc != 0) {
        mdb_env_close(ix->env);
        ix->env = NULL;
    }
    return rc;
}

/* LMDB maps its lock file, and a write to a hole of it on a full disk would end the process (SIGBUS): its blocks are
 * reserved beforehand. Before, and not while the environment is open: closing any descriptor of the file drops the
 * process's locks on it. Failure is harmless until the disk is full. */
static void reserve_lock_file(const struct index *ix) {
    char path[PATH_LENGTH_MAX];
    int n = snprintf(path, sizeof(path), "%s/lock.mdb", ix->path);
    int fd = n > 0 && (size_t)n < sizeof(path)
                 ? io_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0660)
                 : -1;
    if (fd >= 0)
        (void)io_reserve(fd, LOCK_FILE_BYTES);
    io_close(fd);
}

/* Before LMDB follows anything that stands in it. */
static int check_alone(struct index *ix, struct err *reterr) {
    char path[PATH_LENGTH_MAX];
    struct index_check found;
    int n = snprintf(path, sizeof(path), "%s/data.mdb", ix->path);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(reterr, -ENAMETOOLONG, "%s: the name is too long", ix->path);
    int fd = io_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd == -ENOENT)
        return 0;
    int r = fd < 0 ? err_set(reterr, fd, "cannot open %s: %s", path, err_name(fd))
                   : index_check_file(fd, 0, &found, reterr);
    io_close(fd);
    return r;
}

/* The same for a reader, beside whom somebody may write. */
static int check_beside_writer(struct index *ix, struct err *reterr) {
    struct index_check found;
    mdb_filehandle_t fd;
    int rc = mdb_env_get_fd(ix->env, &fd);
    int r = rc == 0 ? -EAGAIN : index_fail(reterr, rc, "cannot be looked at");
    for (int attempt = 0; attempt < CHECK_ATTEMPTS && r == -EAGAIN; attempt++) {
        MDB_txn *txn;
        r = index_read_begin(ix, &txn, reterr);
        if (r < 0)
            return r;
        uint64_t id = mdb_txn_id(txn);
        r = id == 0 ? 0 : index_check_file(fd, id, &found, reterr);
        index_read_end(ix, txn);
    }
    return r;
}

/* Copies the index into `path`. A page that the copied state needs is free for the writer again from the second commit
 * after it on: a copy that took so long is thrown away. */
static int copy_once(struct index *ix, const char *path) {
    MDB_envinfo before, after;
    (void)mdb_env_info(ix->env, &before);
    int rc = mdb_env_copy(ix->env, path);
    (void)mdb_env_info(ix->env, &after);
    return rc != 0 ? index_code(rc) : after.me_last_txnid > before.me_last_txnid + 1 ? -EAGAIN : 0;
}

/* Without the lock file a writer does not know of us and may use pages again while we read them. So a copy of our own
 * is read. Where there is no room for one, the index itself has to do. */
static int read_a_copy(struct index *ix, unsigned flags, uint64_t map_bytes) {
    char path[SCRATCH_PATH_MAX];
    if (scratch_make(path) < 0)
        return 0;
    int r = -EAGAIN;
    for (int attempt = 0; attempt < COPY_ATTEMPTS && r == -EAGAIN; attempt++) {
        scratch_empty(path);
        r = copy_once(ix, path);
    }
    if (r == 0) {
        char *original = ix->path;
        MDB_env *original_env = ix->env;
        ix->path = path;
        if (env_try(ix, flags, map_bytes) == 0)
            mdb_env_close(original_env);
        else
            ix->env = original_env;
        ix->path = original;
    }
    scratch_drop(path);
    return 0;
}

static int env_open(struct index *ix, uint64_t map_bytes, struct err *reterr) {
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (ix->read_only ? MDB_RDONLY : 0) |
                     (ix->scratch ? MDB_NOSYNC : 0);
    int rc;
    if (!ix->read_only && !ix->scratch) {
        int r = check_alone(ix, reterr);
        if (r < 0)
            return r;
        reserve_lock_file(ix);
    }
    for (;;) {
        rc = env_try(ix, flags, map_bytes);
        bool lock_refused = rc == EACCES || rc == EROFS || rc == EPERM;
        if (lock_refused && ix->read_only && !(flags & MDB_NOLOCK))
            flags |= MDB_NOLOCK; /* another user's index: the lock file may not be written */
        else if (rc == ENOMEM && map_bytes / 2 >= MAP_SMALLEST)
            map_bytes /= 2; /* address space is limited (ulimit -v, small containers) */
        else
            break;
    }
    if (rc != 0)
        return err_set(reterr, index_code(rc), "cannot open the index %s: %s", ix->path,
                       mdb_strerror(rc));
    int r = flags & MDB_NOLOCK ? read_a_copy(ix, flags, map_bytes) : 0;
    return r == 0 && ix->read_only ? check_beside_writer(ix, reterr) : r;
}

int index_open(const char *path, const struct index_options *o, struct index **ret,
               struct err *reterr) {
    struct index *ix = calloc(1, sizeof(*ix));
    if (!ix)
        return err_set(reterr, -ENOMEM, "no memory for the index");
    pthread_mutex_init(&ix->lock, NULL);
    pthread_cond_init(&ix->idle, NULL);
    ix->read_only = o->read_only;
    ix->scratch = o->scratch;
    ix->path = strndup(path, PATH_LENGTH_MAX);
    int r = ix->path ? 0 : err_set(reterr, -ENOMEM, "no memory for the index");
    if (r == 0 && !ix->read_only && !ix->scratch) {
        r = io_mkdirs(AT_FDCWD, path, 0770);
        if (r < 0)
            err_set(reterr, r, "cannot create the index folder %s: %s", path, err_name(r));
    }
    if (r == 0)
        r = env_open(ix, o->map_bytes ? o->map_bytes : MAP_DEFAULT, reterr);
    if (r == 0)
        r = open_databases(ix, reterr);
    if (r == 0 && !ix->read_only && !ix->scratch) {
        r = io_fsync_dir(AT_FDCWD, path);
        if (r < 0)
            err_set(reterr, r, "cannot fsync the index folder %s: %s", path, err_name(r));
    }
    if (r < 0) {
        index_close(ix);
        return r;
    }
    index_check_readers(ix);
    *ret = ix;
    return 0;
}

void index_close(struct index *ix) {
    if (!ix)
        return;
    assert(ix->n_txns == 0);
    while (ix->n_resting > 0)
        mdb_txn_abort(ix->resting[--ix->n_resting]);
    if (ix->env)
        mdb_env_close(ix->env);
    pthread_cond_destroy(&ix->idle);
    pthread_mutex_destroy(&ix->lock);
    free(ix->path);
    free(ix);
}

void index_check_readers(struct index *ix) {
    int dead = 0;
    (void)mdb_reader_check(ix->env, &dead);
}

int index_get_stats(struct index *ix, struct index_stats *ret) {
    MDB_txn *txn;
    int r = index_read_begin(ix, &txn, NULL);
    if (r < 0)
        return r;
    MDB_stat streams, chunks;
    MDB_envinfo info;
    int rc = mdb_stat(txn, ix->streams, &streams);
    if (rc == 0)
        rc = mdb_stat(txn, ix->chunks, &chunks);
    if (rc == 0)
        rc = mdb_env_info(ix->env, &info);
    if (rc == 0)
        *ret = (struct index_stats){
            .streams = streams.ms_entries,
            .chunks = chunks.ms_entries,
            .file_bytes = (info.me_last_pgno + 1) * (uint64_t)streams.ms_psize,
            .map_bytes = info.me_mapsize,
        };
    index_read_end(ix, txn);
    return index_code(rc);
}

/* ---- tenants: name -> u32 id, and byte 0 + u32 big-endian id -> name */

int index_tenant_find(struct index *ix, MDB_txn *txn, struct str tenant, uint32_t *ret) {
    if (tenant.size == 0 || tenant.size > INDEX_KEY_MAX || tenant.data[0] == 0)
        return -EINVAL;
    MDB_val key = index_val(tenant.data, tenant.size), value;
    int rc = mdb_get(txn, ix->tenants, &key, &value);
    if (rc != 0)
        return index_code(rc);
    if (value.mv_size != 4)
        return -ECORRUPT;
    *ret = get_le32(value.mv_data);
    return 0;
}

int index_tenant_name(struct index *ix, MDB_txn *txn, uint32_t tenant, struct str *ret) {
    uint8_t id_key[5] = {0};
    put_be32(id_key + 1, tenant);
    MDB_val key = index_val(id_key, sizeof(id_key)), value;
    int rc = mdb_get(txn, ix->tenants, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? -ECORRUPT : index_code(rc);
    *ret = index_str(value);
    return 0;
}

/* ---- keys and rows */

uint32_t index_delete_checksum(struct str key, struct str value) {
    return (uint32_t)hash_mix(hash_str(key), hash_str(value));
}

bool index_delete_content(struct str key, struct str *value) {
    if (value->size < INDEX_DELETE_CHECKSUM)
        return false;
    struct str content = str_make(value->data, value->size - INDEX_DELETE_CHECKSUM);
    if (get_le32(value->data + content.size) != index_delete_checksum(key, content))
        return false;
    *value = content;
    return true;
}

void index_posting_key(struct index_key *ret, uint32_t tenant, struct str name, struct str value) {
    put_be32(ret->bytes, tenant);
    uint8_t *p = ret->bytes + 4;
    size_t room = INDEX_KEY_MAX - 4;
    if (name.size + 1 + value.size <= room) {
        if (name.size > 0)
            memcpy(p, name.data, name.size);
        p[name.size] = 0;
        if (value.size > 0)
            memcpy(p + name.size + 1, value.data, value.size);
        ret->size = 4 + name.size + 1 + value.size;
        return;
    }
    /* Too long: what fits, then a hash of both. That two of them fall together costs a look at the stream's
     * labels, never a wrong answer: index_select checks every matcher on the row. */
    size_t prefix = room - 16;
    size_t from_name = name.size < prefix ? name.size : prefix;
    memcpy(p, name.data, from_name);
    if (from_name < prefix) {
        p[from_name] = 0;
        memcpy(p + from_name + 1, value.data, prefix - from_name - 1);
    }
    struct hash128 of_name = hash128(name.data, name.size);
    struct hash128 of_value = hash128(value.data, value.size);
    put_le64(p + prefix, hash_mix(of_name.low, of_value.low));
    put_le64(p + prefix + 8, hash_mix(of_name.high, of_value.high));
    ret->size = INDEX_KEY_MAX;
}

void index_hash_key(uint8_t out[static INDEX_HASH_KEY], uint32_t tenant,
                    struct str encoded_labels) {
    struct hash128 h = hash128(encoded_labels.data, encoded_labels.size);
    put_le64(out, hash_mix(h.low, tenant));
    put_le64(out + 8, h.high);
}

/* Times may be negative: the sign bit is flipped so that they sort as bytes. */
static uint64_t time_to_key(int64_t ns) {
    return (uint64_t)ns ^ (UINT64_C(1) << 63);
}

void index_chunk_key(uint8_t out[static INDEX_CHUNK_KEY], uint32_t tenant, uint64_t stream_id,
                     int64_t start_ns, uint64_t chunk_seq) {
    put_be32(out, tenant);
    put_be64(out + 4, stream_id);
    put_be64(out + 12, time_to_key(start_ns));
    put_be64(out + 20, chunk_seq);
}

size_t index_chunk_value(uint8_t out[static INDEX_CHUNK_VALUE_PACKED],
                         const struct index_chunk *c) {
    put_le64(out, (uint64_t)c->sums.last_ns);
    put_le64(out + 8, c->sums.file_bytes);
    put_le64(out + 16, c->sums.line_bytes);
    put_le64(out + 24, c->sums.meta_bytes);
    put_le32(out + 32, c->sums.entries);
    put_le32(out + 36, c->sums.blocks);
    put_le32(out + 40, (uint32_t)c->day);
    put_le32(out + 44, c->grade); /* one byte, three reserved */
    if (c->pack_seq == 0)
        return INDEX_CHUNK_VALUE;
    put_le64(out + 48, c->pack_seq);
    put_le64(out + 56, c->pack_offset);
    return INDEX_CHUNK_VALUE_PACKED;
}

int index_chunk_decode(MDB_val key, MDB_val value, struct index_chunk *ret) {
    if (key.mv_size != INDEX_CHUNK_KEY || value.mv_size < INDEX_CHUNK_VALUE_MIN)
        return -ECORRUPT;
    const uint8_t *k = key.mv_data, *v = value.mv_data;
    *ret = (struct index_chunk){
        .stream_id = get_be64(k + 4),
        .chunk_seq = get_be64(k + 20),
        .day = (int32_t)get_le32(v + 40),
        .grade = value.mv_size > INDEX_CHUNK_VALUE_MIN ? v[44] : 0,
        .sums =
            {
                .first_ns = (int64_t)(get_be64(k + 12) ^ (UINT64_C(1) << 63)),
                .last_ns = (int64_t)get_le64(v),
                .file_bytes = get_le64(v + 8),
                .line_bytes = get_le64(v + 16),
                .meta_bytes = get_le64(v + 24),
                .entries = get_le32(v + 32),
                .blocks = get_le32(v + 36),
            },
    };
    if (value.mv_size >= INDEX_CHUNK_VALUE_PACKED) {
        ret->pack_seq = get_le64(v + 48);
        ret->pack_offset = get_le64(v + 56);
    }
    return 0;
}

void index_stream_fixed(uint8_t out[static INDEX_STREAM_FIXED], uint32_t tenant,
                        const struct index_stream *s) {
    put_le32(out, tenant);
    put_le32(out + 4, s->flushed_index);
    put_le64(out + 8, (uint64_t)s->first_ns);
    put_le64(out + 16, (uint64_t)s->last_ns);
    put_le64(out + 24, s->flushed_lsn);
}

int index_stream_decode(MDB_val value, uint64_t id, struct index_stream *ret, uint32_t *ret_tenant,
                        struct str *ret_encoded_labels) {
    if (value.mv_size < INDEX_STREAM_FIXED)
        return -ECORRUPT;
    const uint8_t *v = value.mv_data;
    *ret = (struct index_stream){
        .id = id,
        .flushed_index = get_le32(v + 4),
        .first_ns = (int64_t)get_le64(v + 8),
        .last_ns = (int64_t)get_le64(v + 16),
        .flushed_lsn = get_le64(v + 24),
    };
    *ret_tenant = get_le32(v);
    *ret_encoded_labels =
        str_make((const char *)v + INDEX_STREAM_FIXED, value.mv_size - INDEX_STREAM_FIXED);
    return 0;
}
