/* rebuild: the index from chunk files alone. Each chunk names its tenant, labels, stream id, the WAL position up
 * to which its stream is on disk, and the chunks that it has replaced: they lie in the same folder and have lower
 * numbers, so each folder is read from the highest number down. What a crash has left of the replaced ones is not
 * taken in; the orphan sweep removes it. Where deletes have left no chunk that tells a position, DATA/positions does
 * (positions.h), unless a chunk is damaged, for then the WAL is to fill the gap. Members of packs are read as files of their
 * own numbers. The old index is set aside (index.damaged until its delete requests have been taken over, then
 * index.old-<n>), never deleted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "index_check.h"
#include "index_internal.h"
#include "io.h"
#include "pack.h"
#include "positions.h"
#include "store_private.h"

enum {
    ROWS_PER_COMMIT = 1000,
    SET_ASIDE_MAX = 1000,
    ROW_ARENA_MAX = 1 << 20,
    NAME_TEXT_MAX = 64, /* two numbers and ".chunk" */
    REPLACED_MAX = 1 << 30,
};

struct rebuild {
    int dir_fd;
    bool read_only; /* damaged files stay where they are */
    struct index *index;
    struct index_txn *txn;
    unsigned rows_in_txn;
    uint64_t max_stream, max_seq, max_segment;
    char path[2 * CHUNK_PATH_MAX];
    struct name *names; /* of one folder */
    size_t n_names, names_capacity;
    const struct name *at; /* the one at hand */
    size_t n_unread;       /* members of the folder's packs that cannot be opened */
    struct map replaced;   /* keys in replaced_arena: chunk numbers of the folder */
    struct arena replaced_arena;
    struct store_rebuild *result;
    struct err *reterr;
};

/* A chunk file, or a member of a pack. */
struct name {
    uint64_t seq;
    uint64_t pack_seq, offset, size; /* 0: a file of its own */
    bool unread;
    char text[NAME_TEXT_MAX]; /* of the file */
};

static int commit_some(struct rebuild *b, bool last) {
    if (b->txn && (last || b->rows_in_txn >= ROWS_PER_COMMIT)) {
        int r = index_commit(b->txn, b->reterr);
        b->txn = NULL;
        b->rows_in_txn = 0;
        if (r < 0)
            return r;
    }
    if (!b->txn && !last)
        return index_begin(b->index, &b->txn, b->reterr);
    return 0;
}

/* The number that a file's name gives its stream: it may have changed since the header was written. */
static uint64_t named_stream(const struct rebuild *b, const struct chunk_head *head) {
    unsigned long long stream, seq;
    const char *slash = strrchr(b->path, '/');
    bool named = slash && sscanf(slash, "/%16llx-%16llx.chunk", &stream, &seq) == 2;
    return named && seq == head->chunk_seq ? stream : head->stream_id;
}

/* A label set has one number. A second one is left by a crash after which a stream was met as new whose files nobody
 * knew, or were to be deleted; taken in under both, their entries would stand there twice, for only blocks of one stream
 * are compared. The file gets the number that was met first, in its name, durably before the index says so; of a member of a
 * pack the index alone says it. */
static int settle_number(struct rebuild *b, const struct chunk_head *head, uint64_t *ret_id) {
    uint64_t known;
    char path[CHUNK_PATH_MAX], folder[CHUNK_PATH_MAX];
    *ret_id = named_stream(b, head);
    int r = index_txn_find_stream(b->txn, head->tenant, head->labels, &known);
    if (r == -ENOENT || (r == 0 && (known == *ret_id || b->read_only)))
        return 0;
    if (r == 0 && b->at->pack_seq > 0) {
        *ret_id = known;
        return 0;
    }
    if (r == 0)
        r = chunk_path(path, head->tenant, head->day, known, head->chunk_seq);
    if (r == 0)
        r = io_rename(b->dir_fd, b->path, b->dir_fd, path);
    if (r == 0) {
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
        r = io_fsync_dir(b->dir_fd, folder);
    }
    if (r < 0)
        return err_set(b->reterr, r, "cannot rename %s: %s", b->path, err_name(r));
    *ret_id = known;
    return 0;
}

static void raise_position(struct index_stream *row, uint64_t lsn, uint32_t index) {
    if (lsn > row->flushed_lsn || (lsn == row->flushed_lsn && index > row->flushed_index)) {
        row->flushed_lsn = lsn;
        row->flushed_index = index;
    }
}

static int put_chunk(struct rebuild *b, const struct chunk *chunk) {
    const struct chunk_head *head = chunk_get_head(chunk);
    const struct chunk_sums *sums = chunk_get_sums(chunk);
    struct arena arena = arena_make(ROW_ARENA_MAX);
    struct index_stream row;
    uint64_t id = 0;
    int r = settle_number(b, head, &id);
    if (r < 0)
        goto out;
    r = index_txn_stream(b->txn, id, &arena, &row, b->reterr);
    if (r == -ENOENT) {
        row = (struct index_stream){.id = id, .first_ns = INT64_MAX, .last_ns = INT64_MIN};
        b->result->streams++;
    } else if (r < 0) {
        goto out;
    }
    row.tenant = head->tenant;
    row.labels = head->labels;
    if (sums->first_ns < row.first_ns)
        row.first_ns = sums->first_ns;
    if (sums->last_ns > row.last_ns)
        row.last_ns = sums->last_ns;
    /* A damaged chunk may lack blocks: the WAL, if it still has them, fills the gap. */
    if (!chunk_is_damaged(chunk))
        raise_position(&row, head->wal_lsn, head->wal_index);
    r = index_put_stream(b->txn, &row, b->reterr);
    if (r == 0) {
        struct index_chunk c = {.stream_id = id,
                                .chunk_seq = head->chunk_seq,
                                .day = head->day,
                                .grade = head->grade,
                                .pack_seq = b->at->pack_seq,
                                .pack_offset = b->at->offset,
                                .sums = *sums};
        r = index_put_chunk(b->txn, head->tenant, &c, b->reterr);
    }
    if (head->stream_id > b->max_stream)
        b->max_stream = head->stream_id;
    if (id > b->max_stream)
        b->max_stream = id;
    if (head->chunk_seq > b->max_seq)
        b->max_seq = head->chunk_seq;
    if (head->wal_lsn >> 32 > b->max_segment)
        b->max_segment = head->wal_lsn >> 32;
    b->rows_in_txn++;
    b->result->chunks++;
    b->result->entries += sums->entries;
out:
    arena_done(&arena);
    return r;
}

/* A chunk file that cannot be opened gets another name, for the orphan sweep would remove what the index does not
 * know. A want of memory or descriptors says nothing about the file: the rebuild ends. */
static int set_file_aside(struct rebuild *b, int cause) {
    if (cause == -ENOMEM || cause == -EMFILE || cause == -ENFILE)
        return cause;
    if (b->read_only) {
        b->result->damaged++;
        return 0;
    }
    char aside[sizeof(b->path) + 16];
    (void)snprintf(aside, sizeof(aside), "%s.damaged", b->path);
    b->result->damaged++;
    /* If this rebuild is cut off, the next one does not see that the file has been. */
    int r = io_unlink(b->dir_fd, POSITIONS_NAME);
    return r < 0 && r != -ENOENT ? r : io_rename(b->dir_fd, b->path, b->dir_fd, aside);
}

/* ---- one folder, from the highest number down */

static int add_name(struct rebuild *b, const struct name *n) {
    if (b->n_names == b->names_capacity) {
        size_t capacity = b->names_capacity ? b->names_capacity * 2 : 256;
        struct name *names = realloc(b->names, sizeof(*names) * capacity);
        if (!names)
            return -ENOMEM;
        b->names = names;
        b->names_capacity = capacity;
    }
    b->names[b->n_names++] = *n;
    return 0;
}

static void note_number(struct rebuild *b, uint64_t seq) {
    if (seq > b->max_seq && seq < UINT64_MAX)
        b->max_seq = seq;
}

/* The members of a pack; n.text is its name. */
static int note_pack(struct rebuild *b, struct name n, uint64_t pack_seq) {
    struct pack pack;
    size_t size = strlen(b->path);
    (void)snprintf(b->path + size, sizeof(b->path) - size, "/%s", n.text);
    int r = pack_open(b->dir_fd, b->path, &pack, b->reterr);
    if (r < 0) {
        r = set_file_aside(b, r);
        b->path[size] = '\0';
        return r;
    }
    b->path[size] = '\0';
    n.pack_seq = pack_seq;
    for (size_t i = 0; i < pack.n_members && r == 0; i++) {
        n.seq = pack.members[i].chunk_seq;
        n.offset = pack.members[i].offset;
        n.size = pack.members[i].size;
        note_number(b, n.seq);
        r = add_name(b, &n);
    }
    pack_done(&pack);
    return r;
}

static int note_name(const char *name, bool is_dir, void *ctx) {
    struct rebuild *b = ctx;
    struct name n = {.seq = UINT64_MAX}; /* a name of somebody else's is looked at, too */
    unsigned long long stream, seq = UINT64_MAX;
    int end = 0;
    bool is_pack = sscanf(name, "%16llx.pack%n", &seq, &end) == 1 && end > 0;
    if (is_pack || sscanf(name, "%16llx-%16llx.chunk", &stream, &seq) == 2) {
        n.seq = seq;
        note_number(b, seq); /* of unfinished and damaged files, too: it has been given */
    }
    if (is_dir || (size_t)snprintf(n.text, sizeof(n.text), "%s", name) >= sizeof(n.text))
        return 0;
    if (is_pack)
        return name[end] == '\0' ? note_pack(b, n, seq) : 0;
    return str_ends(str_from(name), STR(".chunk")) ? add_name(b, &n) : 0;
}

static int compare_names(const void *a, const void *b) {
    const struct name *x = a, *y = b;
    return (x->seq < y->seq) - (x->seq > y->seq);
}

static struct str seq_key(const uint64_t *seq) {
    return str_make((const char *)seq, sizeof(*seq));
}

static int note_replaced(struct rebuild *b, const struct chunk_head *head) {
    for (size_t i = 0; i < head->n_replaces; i++) {
        struct str key = arena_copy(&b->replaced_arena, seq_key(&head->replaces[i]));
        if (!key.data || map_put(&b->replaced, key, b) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int take_chunk(struct rebuild *b, const struct chunk *chunk) {
    const struct chunk_head *head = chunk_get_head(chunk);
    if (map_get(&b->replaced, seq_key(&head->chunk_seq)))
        return 0;
    if (chunk_is_damaged(chunk))
        b->result->damaged++;
    else if (note_replaced(b, head) < 0) /* a damaged one may lack what the replaced ones have */
        return -ENOMEM;
    return chunk_block_count(chunk) > 0 ? put_chunk(b, chunk) : 0;
}

/* The pack stays for its other members. */
static int leave_member(struct rebuild *b, struct name *n, int cause) {
    if (cause == -ENOMEM || cause == -EMFILE || cause == -ENFILE)
        return cause;
    b->result->damaged++;
    b->n_unread++;
    n->unread = true;
    return 0;
}

static int rebuild_file(struct rebuild *b, struct name *n) {
    int r = commit_some(b, false);
    if (r < 0)
        return r;
    size_t size = strlen(b->path);
    (void)snprintf(b->path + size, sizeof(b->path) - size, "/%s", n->text);
    struct chunk *chunk = NULL;
    b->at = n;
    r = n->pack_seq > 0 ? chunk_open_at(b->dir_fd, b->path,
                                        (struct chunk_span){.offset = n->offset, .size = n->size},
                                        &chunk, b->reterr)
                        : chunk_open(b->dir_fd, b->path, &chunk, b->reterr);
    if (r == 0 && !chunk_has_head(chunk))
        r = -ECORRUPT; /* it does not say whose it is */
    if (r < 0)
        r = n->pack_seq > 0 ? leave_member(b, n, r) : set_file_aside(b, r);
    else
        r = take_chunk(b, chunk);
    b->path[size] = '\0';
    chunk_close(chunk);
    return r;
}

static bool is_lost_pack(const struct rebuild *b, uint64_t pack_seq) {
    for (size_t i = 0; i < b->n_names; i++)
        if (b->names[i].pack_seq == pack_seq && !b->names[i].unread)
            return false;
    return true;
}

/* A pack of which no member can be opened is set aside as a file is: the index does not know it now. */
static int set_lost_packs_aside(struct rebuild *b) {
    int r = 0;
    size_t size = strlen(b->path);
    uint64_t done = 0;
    for (size_t i = 0; i < b->n_names && r == 0; i++) {
        const struct name *n = &b->names[i];
        if (!n->unread || n->pack_seq == done || !is_lost_pack(b, n->pack_seq))
            continue;
        done = n->pack_seq;
        (void)snprintf(b->path + size, sizeof(b->path) - size, "/%s", n->text);
        r = set_file_aside(b, -ECORRUPT);
        b->path[size] = '\0';
        if (r == -ENOENT)
            r = 0; /* already */
    }
    return r;
}

static int rebuild_day(const char *name, bool is_dir, void *ctx) {
    struct rebuild *b = ctx;
    size_t size = strlen(b->path);
    if (!is_dir)
        return 0;
    (void)snprintf(b->path + size, sizeof(b->path) - size, "/%s", name);
    b->n_names = b->n_unread = 0;
    int r = io_list(b->dir_fd, b->path, note_name, b);
    if (b->n_names > 0)
        qsort(b->names, b->n_names, sizeof(*b->names), compare_names);
    for (size_t i = 0; i < b->n_names && r == 0; i++)
        r = rebuild_file(b, &b->names[i]);
    if (r == 0 && b->n_unread > 0)
        r = set_lost_packs_aside(b);
    map_done(&b->replaced);
    b->replaced = map_make();
    arena_reset(&b->replaced_arena);
    b->path[size] = '\0';
    return r;
}

static int rebuild_tenant(const char *name, bool is_dir, void *ctx) {
    struct rebuild *b = ctx;
    if (!is_dir)
        return 0;
    (void)snprintf(b->path, sizeof(b->path), "chunks/%s", name);
    return io_list(b->dir_fd, b->path, rebuild_day, b);
}

/* The old index is worth keeping, but no more than that. */
static int keep_old_index(int dir_fd, const char *from) {
    for (unsigned i = 1; i <= SET_ASIDE_MAX; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "index.old-%u", i);
        int fd = io_open(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd >= 0) {
            io_close(fd);
            continue;
        }
        int r = io_rename(dir_fd, from, dir_fd, name);
        return r == -ENOENT ? 0 : r;
    }
    return -EEXIST;
}

#define DAMAGED_INDEX "index.damaged"

/* A damaged index that is there already is one whose rebuilding was cut off: then the present one holds nothing. */
int rebuild_set_index_aside(int dir_fd) {
    int fd = io_open(dir_fd, DAMAGED_INDEX, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    io_close(fd);
    if (fd >= 0)
        return keep_old_index(dir_fd, "index");
    int r = io_rename(dir_fd, "index", dir_fd, DAMAGED_INDEX);
    return r == -ENOENT ? 0 : r;
}

static int take_request(struct str key, struct str value, void *ctx) {
    struct rebuild *b = ctx;
    return index_delete_content(key, &value) ? index_put_delete(b->txn, key, value, b->reterr) : 0;
}

/* Delete requests stand in the index alone: those that can be read of the damaged one come into the new one. */
static int take_requests(struct rebuild *b) {
    struct err err = {0};
    int fd = io_open(b->dir_fd, DAMAGED_INDEX "/data.mdb", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    int r = index_salvage(fd, STR("deletes"), take_request, b, &err);
    io_close(fd);
    return r == -ENOMEM || r == -ENOSPC ? r : 0;
}

/* ---- positions */

/* The row that a position belongs to, made if no chunk has told of the stream. -EEXIST: its number is another's. */
static int find_row(struct rebuild *b, const struct position *p, struct arena *arena,
                    struct index_stream *ret) {
    uint64_t id;
    struct labels labels;
    int r = labels_decode(p->labels, arena, &labels);
    if (r == 0)
        r = index_txn_find_stream(b->txn, p->tenant, labels, &id);
    if (r == 0)
        return index_txn_stream(b->txn, id, arena, ret, b->reterr);
    if (r == -ENOENT) {
        r = index_txn_stream(b->txn, p->stream_id, arena, ret, b->reterr);
        r = r == 0 ? -EEXIST : r;
    }
    if (r != -ENOENT)
        return r;
    *ret = (struct index_stream){.id = p->stream_id,
                                 .tenant = p->tenant,
                                 .labels = labels,
                                 .first_ns = INT64_MAX,
                                 .last_ns = INT64_MIN};
    return 0;
}

static int put_position(struct rebuild *b, const struct position *p) {
    struct arena arena = arena_make(ROW_ARENA_MAX);
    struct index_stream row;
    int r = commit_some(b, false);
    if (r == 0)
        r = find_row(b, p, &arena, &row);
    if (r == 0) {
        raise_position(&row, p->flushed_lsn, p->flushed_index);
        r = index_put_stream(b->txn, &row, b->reterr);
        b->rows_in_txn++;
    }
    if (p->stream_id > b->max_stream)
        b->max_stream = p->stream_id;
    if (p->flushed_lsn >> 32 > b->max_segment)
        b->max_segment = p->flushed_lsn >> 32;
    arena_done(&arena);
    return r == -EEXIST ? 0 : r;
}

/* What deletes have left of streams whose last chunks they took. A damaged file says nothing: what it would have kept away
 * comes back, and may be deleted again. */
static int take_positions(struct rebuild *b) {
    struct positions p = positions_make();
    int r = positions_read(b->dir_fd, POSITIONS_NAME, &p, NULL);
    if (r == -ECORRUPT || r == -EFORMAT)
        b->result->damaged++;
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    for (size_t i = 0; i < p.count && r == 0; i++)
        r = put_position(b, &p.items[i]);
    positions_done(&p);
    return r;
}

static int fill_index(struct rebuild *b) {
    int r = io_list(b->dir_fd, "chunks", rebuild_tenant, b);
    if (r == -ENOENT && b->read_only)
        r = 0; /* all that there is may be in the WAL */
    if (r == 0 && b->result->damaged == 0)
        r = take_positions(b);
    if (r == 0)
        r = commit_some(b, false);
    if (r == 0 && !b->read_only)
        r = take_requests(b);
    if (r == 0)
        /* Numbers of streams that stand in the WAL alone, so far, must not be given again. */
        r = index_put_counter(b->txn, STORE_COUNTER_STREAM, b->max_stream + 1 + COUNTER_GAP,
                              b->reterr);
    if (r == 0)
        r = index_put_counter(b->txn, STORE_COUNTER_CHUNK, b->max_seq + 1, b->reterr);
    if (r == 0)
        r = index_put_counter(b->txn, STORE_COUNTER_SEGMENT, b->max_segment + 1, b->reterr);
    if (r == 0) {
        r = commit_some(b, true);
        return r == 0 && !b->read_only ? keep_old_index(b->dir_fd, DAMAGED_INDEX) : r;
    }
    index_abort(b->txn);
    b->txn = NULL;
    return r;
}

int rebuild_fill(int dir_fd, struct index *index, bool read_only, struct store_rebuild *ret,
                 struct err *reterr) {
    struct rebuild b = {.dir_fd = dir_fd,
                        .index = index,
                        .read_only = read_only,
                        .replaced = map_make(),
                        .replaced_arena = arena_make(REPLACED_MAX),
                        .result = ret,
                        .reterr = reterr};
    int r = fill_index(&b);
    free(b.names);
    map_done(&b.replaced);
    arena_done(&b.replaced_arena);
    return r < 0 ? err_prefix(reterr, r, "cannot rebuild the index") : 0;
}

int store_rebuild_index(const char *data_dir, struct store_rebuild *ret, struct err *reterr) {
    *ret = (struct store_rebuild){0};
    struct index *index = NULL;
    int lock_fd = -1;
    char path[4096];
    int dir_fd = io_open(AT_FDCWD, data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int r = dir_fd;
    if (r < 0)
        return err_set(reterr, r, "cannot open %s: %s", data_dir, err_name(r));
    lock_fd = io_open(dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_fd < 0 || io_lock(lock_fd) < 0) {
        r = err_set(reterr, -EBUSY, "%s is in use by a running logqd: stop it first", data_dir);
        goto out;
    }
    r = rebuild_set_index_aside(dir_fd);
    if (r == 0)
        r = io_mkdirs(dir_fd, "index", 0755);
    if (r < 0) {
        (void)err_set(reterr, r, "cannot set %s/index aside: %s", data_dir, err_name(r));
        goto out;
    }
    (void)snprintf(path, sizeof(path), "%s/index", data_dir);
    struct index_options o = {0};
    r = index_open(path, &o, &index, reterr);
    if (r == 0)
        r = rebuild_fill(dir_fd, index, false, ret, reterr);
    index_close(index);
out:
    if (lock_fd >= 0)
        io_close(lock_fd);
    io_close(dir_fd);
    return r < 0 ? r : 0;
}
