/* flush: blocks in memory become chunk files. One pass: choose streams, write many chunk files, make them durable
 * together, commit ONE index transaction, let go of the memory, remove WAL segments that nobody needs.
 *
 * Order per group: write NAME.tmp, fsync each, rename each, fsync each folder, set chunk_seq in the blocks, commit the
 * index, drop the blocks. Crash states are listed in store.c. Blocks of several days become several chunks, of which the
 * one of the last day alone carries the stream's position in the WAL; files get their names day by day, each day's when
 * those of the days before are durable: an index rebuilt from what a crash left never takes entries for flushed whose file
 * is not there.
 *
 * Small chunks of one tenant and day go into one file when there are some of them (pack.h). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "flush_encode.h"
#include "io.h"
#include "pack.h"
#include "stock.h"
#include "store_private.h"
#include "units.h"

enum {
    GROUP_STREAMS_MAX = 8192,       /* flushed by one index commit, and at most so many in a pack */
    GROUP_STREAMS_LARGE = 256,      /* so many when they have */
    GROUP_BYTES_LARGE = 10 << 20,   /* so much: their memory is let go of with the commit */
    SMALL_GROUP_STREAMS = 4,        /* on a full disk: may fit where a large group does not */
    OPEN_FILES_MAX = 256,           /* written before they are synced */
    CHUNK_TARGET_DEFAULT = 3 << 19, /* 1.5 MiB */
    SYNC_HELPERS = 3,
    SYNC_TOGETHER_FROM = 32,    /* files of a group */
    PRESSURE_GOAL_PERCENT = 50, /* under memory pressure, flush down to this share of the budget */
    EVICT_IDLE_S = 600,
    TRIM_AFTER_S = 3, /* without an append */
    FOLDER_ATTEMPTS = 5,
    TAKE_BLOCKS_MAX = 4096, /* a quarter of CHUNK_BLOCKS_MAX: one cut may become many blocks */
    TICK_MS = 1000,
    /* Streams that are encoded before the first of them is written. */
    ENCODE_TOGETHER_MAX = 256,
    ENCODE_TOGETHER_BYTES = 16 << 20, /* of open blocks */
    FRESH_SEGMENT_BYTES = 256 << 10,  /* of a WAL that nobody needs: the next start would read it */
};

/* One stream's part of a group: its oldest `n` sealed blocks. */
struct take {
    struct stream *stream;
    struct mem_block **blocks; /* references held */
    size_t n;
};

/* One chunk of a group. */
struct part {
    struct take *take;
    int32_t day; /* of all its blocks */
    uint64_t chunk_seq;
    struct chunk_sums sums;
    bool small;
    bool last; /* of its take: tells the position up to which the stream is on disk */
    uint64_t pack_seq, pack_offset;
};

/* One file of a group: a chunk, or a pack of them. */
struct file {
    size_t first, count; /* parts */
    uint64_t pack_seq;   /* 0: a chunk */
    int fd;
    bool renamed;
    char path[CHUNK_PATH_MAX];
};

struct group {
    struct store *store;
    struct take *takes;
    size_t n_takes, takes_capacity;
    size_t taken_bytes;
    struct part *parts;
    size_t n_parts, parts_capacity;
    struct file *files;
    size_t n_files, files_capacity;
};

/* ---- taking blocks out of heads (they stay there until the commit) */

static void take_done(struct take *t) {
    for (size_t i = 0; i < t->n; i++)
        mem_block_unref(t->blocks[i]);
    free(t->blocks);
    *t = (struct take){0};
}

/* The longest run of oldest encoded blocks, far from what a chunk file holds, that ends with a whole cut. s->lock
 * held. */
static size_t flushable(const struct stream *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_sealed && !s->sealed[i]->rows; i++) {
        if (i >= TAKE_BLOCKS_MAX && n > 0)
            break;
        if (s->sealed[i]->final)
            n = i + 1;
    }
    return n;
}

static int take_stream(struct stream *s, struct take *ret) {
    int r = 0;
    (void)pthread_mutex_lock(&s->lock);
    size_t n = flushable(s);
    *ret = (struct take){.stream = s, .n = n};
    if (n > 0) {
        ret->blocks = malloc(sizeof(struct mem_block *) * n);
        if (ret->blocks) {
            for (size_t i = 0; i < n; i++)
                ret->blocks[i] = mem_block_ref(s->sealed[i]);
            s->flushing = true;
        } else {
            ret->n = 0;
            r = -ENOMEM;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

static void drop_taken(struct store *s, const struct take *t) {
    struct stream *stream = t->stream;
    const struct mem_block *last = t->blocks[t->n - 1];
    size_t bytes = 0;
    (void)pthread_mutex_lock(&stream->lock);
    for (size_t i = 0; i < t->n; i++) {
        assert(stream->sealed[i] == t->blocks[i]);
        bytes += t->blocks[i]->memory_bytes;
        mem_block_unref(stream->sealed[i]);
    }
    stream->n_sealed -= t->n;
    memmove(stream->sealed, stream->sealed + t->n, sizeof(struct mem_block *) * stream->n_sealed);
    stream->sealed_bytes -= bytes;
    stream->flushed = last->end;
    stream->indexed = true;
    stream->flushing = false;
    if (stream->n_sealed == 0 && stream->open.count == 0)
        atomic_store_explicit(&stream->filled, false, memory_order_relaxed);
    (void)pthread_mutex_unlock(&stream->lock);
    registry_release(&s->registry, bytes);
}

/* ---- writing files */

/* Room for one more; NULL without memory. */
static void *grow(void *items, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity)
        return items;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *grown = realloc(items, wanted * size);
    if (grown)
        *capacity = wanted;
    return grown;
}

static struct part *add_part(struct group *g) {
    struct part *parts = grow(g->parts, g->n_parts, &g->parts_capacity, sizeof(*parts));
    if (!parts)
        return NULL;
    g->parts = parts;
    parts[g->n_parts] = (struct part){0};
    return &parts[g->n_parts++];
}

static bool is_small(const struct take *t, int32_t day) {
    size_t bytes = 0, filter_bytes = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->blocks[i]->day != day)
            continue;
        bytes += t->blocks[i]->encoded_size + t->blocks[i]->filter_size;
        filter_bytes += t->blocks[i]->filter_size;
    }
    return bytes <= PACK_MEMBER_BYTES && filter_bytes <= PACK_FILTER_BYTES;
}

/* One chunk per day of the taken blocks, blocks in order. */
static int plan_parts(struct group *g, struct take *t) {
    int32_t days_done = INT32_MIN;
    for (;;) {
        int32_t day = INT32_MAX;
        for (size_t i = 0; i < t->n; i++)
            if (t->blocks[i]->day > days_done && t->blocks[i]->day < day)
                day = t->blocks[i]->day;
        if (day == INT32_MAX)
            break;
        struct part *p = add_part(g);
        if (!p)
            return -ENOMEM;
        p->take = t;
        p->day = day;
        p->chunk_seq = atomic_fetch_add(&g->store->next_chunk_seq, 1);
        p->small = is_small(t, day);
        days_done = day;
    }
    g->parts[g->n_parts - 1].last = true;
    return 0;
}

/* By day, which is the order of publishing; then what may share a pack together. */
static int compare_parts(const void *a, const void *b) {
    const struct part *x = a, *y = b;
    const struct tenant *of_x = x->take->stream->tenant, *of_y = y->take->stream->tenant;
    if (x->day != y->day)
        return x->day < y->day ? -1 : 1;
    if (of_x != of_y)
        return (uintptr_t)of_x < (uintptr_t)of_y ? -1 : 1;
    if (x->small != y->small)
        return x->small ? 1 : -1;
    return (x->chunk_seq > y->chunk_seq) - (x->chunk_seq < y->chunk_seq);
}

static bool share_pack(const struct part *a, const struct part *b) {
    return a->small && b->small && a->day == b->day &&
           a->take->stream->tenant == b->take->stream->tenant;
}

/* Of the parts [first, first + count). */
static int add_file(struct group *g, size_t first, size_t count) {
    struct file *files = grow(g->files, g->n_files, &g->files_capacity, sizeof(*files));
    if (!files)
        return -ENOMEM;
    g->files = files;
    struct file *f = &files[g->n_files];
    *f = (struct file){.first = first, .count = count, .fd = -1};
    const struct part *p = &g->parts[first];
    struct str tenant = p->take->stream->tenant->name;
    int r;
    if (count > 1) {
        f->pack_seq = atomic_fetch_add(&g->store->next_chunk_seq, 1);
        r = pack_path(f->path, tenant, p->day, f->pack_seq);
    } else {
        r = chunk_path(f->path, tenant, p->day, p->take->stream->id, p->chunk_seq);
    }
    g->n_files += r == 0;
    return r;
}

static int plan_files(struct group *g) {
    int r = 0;
    for (size_t i = 0; i < g->n_takes && r == 0; i++)
        r = plan_parts(g, &g->takes[i]);
    if (r == 0)
        qsort(g->parts, g->n_parts, sizeof(*g->parts), compare_parts);
    size_t least = g->store->options.pack_from;
    if (least == 0)
        least = PACK_FROM_DEFAULT;
    for (size_t i = 0, n; i < g->n_parts && r == 0; i += n) {
        n = 1;
        while (i + n < g->n_parts && share_pack(&g->parts[i], &g->parts[i + n]))
            n++;
        if (n >= least && n > 1) {
            r = add_file(g, i, n);
            continue;
        }
        for (size_t k = 0; k < n && r == 0; k++)
            r = add_file(g, i + k, 1);
    }
    return r;
}

static int make_folder(struct store *s, const char *path) {
    char folder[CHUNK_PATH_MAX];
    const char *slash = strrchr(path, '/');
    assert(slash);
    size_t n = (size_t)(slash - path);
    memcpy(folder, path, n);
    folder[n] = '\0';
    return io_mkdirs(s->dir_fd, folder, 0755);
}

/* What a chunk consists of. The blocks are the caller's to free; NULL without memory. */
static struct chunk_block *part_content(const struct part *p, struct chunk_head *ret_head,
                                        size_t *ret_count) {
    const struct take *t = p->take;
    const struct mem_block *last = t->blocks[t->n - 1];
    struct chunk_block *blocks = malloc(sizeof(*blocks) * t->n);
    size_t n = 0;
    for (size_t i = 0; blocks && i < t->n; i++) {
        const struct mem_block *b = t->blocks[i];
        if (b->day == p->day)
            blocks[n++] = (struct chunk_block){.encoded = str_make(b->encoded, b->encoded_size),
                                               .filter = str_make(b->filter, b->filter_size)};
    }
    *ret_count = n;
    *ret_head = (struct chunk_head){.tenant = t->stream->tenant->name,
                                    .labels = t->stream->labels,
                                    .stream_id = t->stream->id,
                                    .chunk_seq = p->chunk_seq,
                                    .wal_lsn = p->last ? last->end.lsn : 0,
                                    .wal_index = p->last ? last->end.index : 0,
                                    .day = p->day};
    return blocks;
}

static int write_chunk(struct group *g, struct file *f, const char *name, struct err *reterr) {
    struct part *p = &g->parts[f->first];
    struct chunk_head head;
    size_t n;
    struct chunk_block *blocks = part_content(p, &head, &n);
    int r = blocks ? chunk_write(g->store->dir_fd, name, &head, blocks, n, &f->fd, &p->sums, reterr)
                   : err_set(reterr, -ENOMEM, "no memory to write a chunk");
    free(blocks);
    return r;
}

static int add_to_pack(struct pack_writer *w, struct part *p, struct err *reterr) {
    struct chunk_head head;
    size_t n;
    struct chunk_block *blocks = part_content(p, &head, &n);
    int r = blocks ? pack_writer_add(w, &head, blocks, n, &p->pack_offset, &p->sums, reterr)
                   : err_set(reterr, -ENOMEM, "no memory to write a chunk");
    free(blocks);
    return r;
}

static int write_pack(struct group *g, struct file *f, const char *name, struct err *reterr) {
    const struct part *first = &g->parts[f->first];
    struct pack_head head = {
        .tenant = first->take->stream->tenant->name, .seq = f->pack_seq, .day = first->day};
    struct pack_writer *w = NULL;
    int r = pack_writer_open(g->store->dir_fd, name, &head, &w, reterr);
    for (size_t i = 0; i < f->count && r == 0; i++) {
        g->parts[f->first + i].pack_seq = f->pack_seq;
        r = add_to_pack(w, &g->parts[f->first + i], reterr);
    }
    if (r == 0)
        r = pack_writer_finish(w, &f->fd, reterr);
    if (r < 0)
        pack_writer_abort(w);
    return r;
}

static int write_file(struct group *g, struct file *f, struct err *reterr) {
    char temporary[CHUNK_PATH_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", f->path);
    int r = -ENOENT;
    /* First chunk of this tenant and day: make the folder. More than one attempt, because the reaper removes an empty
     * one. */
    for (int attempt = 0; r == -ENOENT && attempt <= FOLDER_ATTEMPTS; attempt++) {
        r = attempt > 0 ? make_folder(g->store, f->path) : 0;
        if (r < 0)
            return err_set(reterr, r, "cannot make the folder of %s: %s", f->path, err_name(r));
        r = f->pack_seq > 0 ? write_pack(g, f, temporary, reterr)
                            : write_chunk(g, f, temporary, reterr);
    }
    return r;
}

/* Syncs and closes what has been written so far. One fsync after the other waits for the journal each time; some at once
 * share its commits (256 small files: 0.52 s one by one, 0.07 s by four threads). */
struct sync_job {
    struct group *group;
    atomic_size_t next;
    atomic_int error; /* of the first that failed */
    atomic_size_t failed;
};

static void *sync_some(void *arg) {
    struct sync_job *job = arg;
    struct group *g = job->group;
    for (;;) {
        size_t i = atomic_fetch_add(&job->next, 1);
        if (i >= g->n_files || atomic_load(&job->error) < 0)
            return NULL;
        struct file *f = &g->files[i];
        if (f->fd < 0)
            continue;
        int r = io_fsync(f->fd), none = 0;
        io_close(f->fd);
        f->fd = -1;
        if (r < 0 && atomic_compare_exchange_strong(&job->error, &none, r))
            atomic_store(&job->failed, i);
    }
}

static int sync_files(struct group *g, struct err *reterr) {
    struct sync_job job = {.group = g};
    pthread_t helpers[SYNC_HELPERS];
    unsigned n = 0;
    while (g->n_files >= SYNC_TOGETHER_FROM && n < SYNC_HELPERS &&
           pthread_create(&helpers[n], NULL, sync_some, &job) == 0)
        n++;
    (void)sync_some(&job);
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(helpers[i], NULL);
    int r = atomic_load(&job.error);
    if (r < 0)
        return err_set(reterr, r, "cannot sync %s: %s", g->files[atomic_load(&job.failed)].path,
                       err_name(r));
    return 0;
}

static int write_files(struct group *g, struct err *reterr) {
    for (size_t i = 0; i < g->n_files; i++) {
        int r = write_file(g, &g->files[i], reterr);
        if (r == 0 && (i + 1) % OPEN_FILES_MAX == 0)
            r = sync_files(g, reterr);
        if (r < 0)
            return r;
    }
    return sync_files(g, reterr);
}

static int rename_file(struct store *s, struct file *f, struct err *reterr) {
    char temporary[CHUNK_PATH_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", f->path);
    int r = io_rename(s->dir_fd, temporary, s->dir_fd, f->path);
    if (r < 0)
        return err_set(reterr, r, "cannot rename %s: %s", temporary, err_name(r));
    f->renamed = true;
    return 0;
}

/* The part of a path before its last slash. */
static void folder_of(const char *path, char out[static CHUNK_PATH_MAX]) {
    size_t n = (size_t)(strrchr(path, '/') - path);
    memcpy(out, path, n);
    out[n] = '\0';
}

/* Makes the names of files [from, to), all of one day, durable. */
static int sync_day(struct group *g, size_t from, size_t to, struct err *reterr) {
    char synced[CHUNK_PATH_MAX] = "", folder[CHUNK_PATH_MAX];
    for (size_t i = from; i < to; i++) {
        folder_of(g->files[i].path, folder);
        if (strcmp(folder, synced) == 0)
            continue;
        int r = io_fsync_dir(g->store->dir_fd, folder);
        if (r < 0)
            return err_set(reterr, r, "cannot sync folder %s: %s", folder, err_name(r));
        memcpy(synced, folder, sizeof(synced));
    }
    return 0;
}

/* Gives the files their names, day by day. */
static int publish(struct group *g, struct err *reterr) {
    int r = 0;
    for (size_t from = 0, to; from < g->n_files && r == 0; from = to) {
        int32_t day = g->parts[g->files[from].first].day;
        for (to = from; r == 0 && to < g->n_files && g->parts[g->files[to].first].day == day; to++)
            r = rename_file(g->store, &g->files[to], reterr);
        if (r == 0)
            r = sync_day(g, from, to, reterr);
    }
    return r;
}

/* ---- index */

static int put_stream(struct index_txn *txn, const struct take *t, struct err *reterr) {
    const struct stream *s = t->stream;
    struct arena arena = arena_make(1 << 20);
    struct index_stream row;
    int r = s->indexed ? index_txn_stream(txn, s->id, &arena, &row, reterr) : -ENOENT;
    if (r == -ENOENT)
        row = (struct index_stream){.first_ns = INT64_MAX, .last_ns = INT64_MIN};
    else if (r < 0)
        goto out;
    row.id = s->id;
    row.tenant = s->tenant->name;
    row.labels = s->labels;
    for (size_t i = 0; i < t->n; i++) {
        if (t->blocks[i]->first_ns < row.first_ns)
            row.first_ns = t->blocks[i]->first_ns;
        if (t->blocks[i]->last_ns > row.last_ns)
            row.last_ns = t->blocks[i]->last_ns;
    }
    row.flushed_lsn = t->blocks[t->n - 1]->end.lsn;
    row.flushed_index = t->blocks[t->n - 1]->end.index;
    r = index_put_stream(txn, &row, reterr);
out:
    arena_done(&arena);
    return r;
}

static int put_group(struct index_txn *txn, void *ctx, struct err *reterr) {
    struct group *g = ctx;
    struct store *s = g->store;
    int r = 0;
    for (size_t i = 0; i < g->n_takes && r == 0; i++)
        r = put_stream(txn, &g->takes[i], reterr);
    for (size_t i = 0; i < g->n_parts && r == 0; i++) {
        const struct part *p = &g->parts[i];
        struct index_chunk row = {.stream_id = p->take->stream->id,
                                  .chunk_seq = p->chunk_seq,
                                  .day = p->day,
                                  .pack_seq = p->pack_seq,
                                  .pack_offset = p->pack_offset,
                                  .sums = p->sums};
        r = index_put_chunk(txn, p->take->stream->tenant->name, &row, reterr);
    }
    if (r == 0)
        r = index_put_counter(txn, STORE_COUNTER_STREAM,
                              atomic_load(&s->registry.next_id) + COUNTER_GAP, reterr);
    if (r == 0)
        r = index_put_counter(txn, STORE_COUNTER_CHUNK,
                              atomic_load(&s->next_chunk_seq) + COUNTER_GAP, reterr);
    if (r == 0 && s->wal) {
        struct wal_stats w;
        wal_get_stats(s->wal, &w);
        r = index_put_counter(txn, STORE_COUNTER_SEGMENT, (w.next_lsn >> 32) + 1, reterr);
    }
    return r;
}

/* ---- a group from beginning to end */

static void group_done(struct group *g) {
    for (size_t i = 0; i < g->n_files; i++)
        if (g->files[i].fd >= 0)
            io_close(g->files[i].fd);
    for (size_t i = 0; i < g->n_takes; i++)
        take_done(&g->takes[i]);
    g->n_files = g->n_parts = g->n_takes = 0;
    g->taken_bytes = 0;
}

/* Leaves memory as it was; the files are removed, unless the index may know them. */
static void undo_group(struct group *g, bool keep_files) {
    for (size_t i = 0; i < g->n_files; i++) {
        struct file *f = &g->files[i];
        char temporary[CHUNK_PATH_MAX + 8];
        (void)snprintf(temporary, sizeof(temporary), "%s.tmp", f->path);
        if (!keep_files)
            (void)io_unlink(g->store->dir_fd, f->renamed ? f->path : temporary);
    }
    for (size_t i = 0; i < g->n_takes; i++) {
        for (size_t k = 0; k < g->takes[i].n; k++)
            atomic_store(&g->takes[i].blocks[k]->chunk_seq, 0);
        (void)pthread_mutex_lock(&g->takes[i].stream->lock);
        g->takes[i].stream->flushing = false;
        (void)pthread_mutex_unlock(&g->takes[i].stream->lock);
    }
}

/* In the order of their rows: LMDB fills pages when keys come in ascending order, and leaves them half empty otherwise. */
static int by_stream(const void *a, const void *b) {
    const struct take *x = a, *y = b;
    return (x->stream->id > y->stream->id) - (x->stream->id < y->stream->id);
}

static int commit_group(struct group *g, struct err *reterr) {
    struct store *s = g->store;
    qsort(g->takes, g->n_takes, sizeof(*g->takes), by_stream);
    bool in_doubt = false;
    int64_t begun = clock_mono_ns();
    int r = plan_files(g);
    if (r < 0) {
        (void)err_set(reterr, r, "no memory to flush");
        goto fail;
    }
    r = write_files(g, reterr);
    if (r == 0)
        r = publish(g, reterr);
    if (r < 0)
        goto fail;
    for (size_t i = 0; i < g->n_parts; i++) {
        const struct part *p = &g->parts[i];
        for (size_t k = 0; k < p->take->n; k++)
            if (p->take->blocks[k]->day == p->day)
                atomic_store(&p->take->blocks[k]->chunk_seq, p->chunk_seq);
    }
    r = store_index_update(s, put_group, g, reterr);
    if (r < 0) {
        /* After an error of the device nobody can say whether the new root page has reached it: a file that the index
         * names must be there after the next start. If it does not, the orphan sweep removes it. A full disk is
         * noticed before the root page is written. */
        in_doubt = r != -ENOSPC && r != -ENOMEM;
        goto fail;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < g->n_takes; i++)
        drop_taken(s, &g->takes[i]);
    for (size_t i = 0; i < g->n_parts; i++)
        bytes += g->parts[i].sums.file_bytes;
    (void)atomic_fetch_add(&s->flushes, 1);
    (void)atomic_fetch_add(&s->flushed_chunks, g->n_parts);
    (void)atomic_fetch_add(&s->flushed_bytes, bytes);
    (void)atomic_fetch_add(&s->flush_ns_total, (uint64_t)(clock_mono_ns() - begun));
    group_done(g);
    return 0;
fail:
    undo_group(g, in_doubt);
    group_done(g);
    return r;
}

/* ---- choosing */

static void look_at(struct store *s, enum flush_mode mode, int64_t now_mono_ns,
                    struct candidate *c) {
    struct stream *stream = c->stream;
    const struct store_options *o = &s->options;
    size_t target = o->chunk_target_bytes ? o->chunk_target_bytes : CHUNK_TARGET_DEFAULT;
    int64_t idle_ns = o->chunk_idle_ns ? o->chunk_idle_ns : 30 * NS_PER_MIN;
    int64_t age_ns = o->chunk_max_age_ns ? o->chunk_max_age_ns : 2 * NS_PER_HOUR;
    (void)pthread_mutex_lock(&stream->lock);
    struct wal_pos oldest;
    c->oldest_lsn = head_oldest(stream, &oldest) ? oldest.lsn : UINT64_MAX;
    c->sealed_bytes = stream->sealed_bytes;
    c->open_bytes = stream->open.count > 0 ? stream->open_memory : 0;
    bool idle = stream->last_append_mono_ns + idle_ns < now_mono_ns;
    int64_t since = stream->n_sealed > 0     ? stream->sealed[0]->since_mono_ns
                    : stream->open.count > 0 ? stream->open_since_mono_ns
                                             : now_mono_ns;
    bool old = since + age_ns < now_mono_ns;
    c->cut = mode == FLUSH_ALL || idle || old;
    c->due = c->cut || c->sealed_bytes >= target;
    (void)pthread_mutex_unlock(&stream->lock);
}

/* The power of two that `bytes` reaches; 0 for all that is small. */
static unsigned size_class(size_t bytes) {
    return bytes < PACK_MEMBER_BYTES ? 0 : 64 - (unsigned)__builtin_clzll(bytes);
}

/* The largest first; of those of about one size the oldest, which mostly came one after the other and have neighbouring
 * rows in the index. */
static int by_size(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    unsigned sealed_x = size_class(x->sealed_bytes), sealed_y = size_class(y->sealed_bytes);
    unsigned open_x = size_class(x->open_bytes), open_y = size_class(y->open_bytes);
    if (sealed_x != sealed_y)
        return sealed_x > sealed_y ? -1 : 1;
    if (open_x != open_y)
        return open_x > open_y ? -1 : 1;
    if (x->oldest_lsn != y->oldest_lsn)
        return x->oldest_lsn < y->oldest_lsn ? -1 : 1;
    return (x->stream->id > y->stream->id) - (x->stream->id < y->stream->id);
}

/* Memory pressure: the streams with most sealed bytes first; when that is not enough, open blocks too. */
static void choose_by_memory(struct store *s, struct candidate *list, size_t n) {
    uint64_t budget = store_head_budget(s);
    uint64_t total = atomic_load(&s->registry.head_bytes);
    if (total <= store_head_pressure(s))
        return;
    uint64_t goal = budget / 100 * PRESSURE_GOAL_PERCENT;
    for (size_t i = 0; i < n; i++)
        if (list[i].due)
            total -= list[i].sealed_bytes < total ? list[i].sealed_bytes : total;
    qsort(list, n, sizeof(*list), by_size);
    for (size_t i = 0; i < n && total > goal; i++) {
        if (list[i].due || list[i].sealed_bytes == 0)
            continue;
        list[i].due = true;
        total -= list[i].sealed_bytes < total ? list[i].sealed_bytes : total;
    }
    for (size_t i = 0; i < n && total > goal; i++) {
        if (list[i].cut || list[i].open_bytes == 0)
            continue;
        list[i].due = list[i].cut = list[i].hurried = true;
        total -= list[i].open_bytes < total ? list[i].open_bytes : total;
    }
}

/* WAL pressure: whoever holds the oldest half of the WAL; all when the disk is full, for only flushed heads let go of
 * segments. */
static void choose_by_wal(struct store *s, struct candidate *list, size_t n) {
    struct wal_stats w;
    if (!s->wal)
        return;
    wal_get_stats(s->wal, &w);
    bool full = w.failed == -ENOSPC;
    if (w.bytes <= store_wal_max(s) && !full)
        return;
    uint64_t middle = w.oldest_lsn + (w.next_lsn - w.oldest_lsn) / 2;
    for (size_t i = 0; i < n; i++)
        if (full || list[i].oldest_lsn < middle)
            list[i].due = list[i].cut = true;
}

static size_t keep_due(struct candidate *list, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].due)
            list[kept++] = list[i];
    return kept;
}

static int encode_fail(const struct stream *s, int code, struct err *reterr) {
    struct buf text = buf_make(ERR_TEXT_MAX);
    labels_format(&text, s->labels);
    (void)err_set(reterr, code, "cannot encode blocks of %.*s: %s", STR_ARG(buf_str(&text)),
                  err_name(code));
    buf_done(&text);
    return code;
}

/* Takes what has been encoded of a stream into the group. */
static int take_candidate(struct group *g, const struct candidate *c, struct err *reterr) {
    if (c->status < 0)
        return encode_fail(c->stream, c->status, reterr);
    struct take t;
    int r = take_stream(c->stream, &t);
    if (r < 0)
        return err_set(reterr, r, "no memory to flush");
    assert(g->n_takes < g->takes_capacity);
    for (size_t i = 0; i < t.n; i++)
        g->taken_bytes += t.blocks[i]->memory_bytes;
    if (t.n > 0)
        g->takes[g->n_takes++] = t;
    return 0;
}

static bool is_full(const struct group *g) {
    return g->n_takes == g->takes_capacity ||
           (g->n_takes >= GROUP_STREAMS_LARGE && g->taken_bytes >= GROUP_BYTES_LARGE);
}

/* How many of the candidates are encoded before the first of them is written. */
static size_t next_batch(const struct candidate *list, size_t n) {
    size_t bytes = 0, count = 0;
    while (count < n && count < ENCODE_TOGETHER_MAX && bytes < ENCODE_TOGETHER_BYTES)
        bytes += list[count++].open_bytes;
    return count;
}

/* Writes what was chosen. A stream that cannot be encoded must not keep the others in memory: they go on, and
 * its error is told at the end. */
static int flush_candidates(struct group *g, struct candidate *list, size_t n, struct err *reterr) {
    int first_error = 0;
    for (size_t from = 0, count; from < n; from += count) {
        count = next_batch(list + from, n - from);
        flush_encode(g->store, list + from, count);
        for (size_t i = from; i < from + count; i++) {
            struct err err = {0};
            int r = take_candidate(g, &list[i], &err);
            if (r < 0 && first_error == 0) {
                first_error = r;
                if (reterr)
                    *reterr = err;
            }
            if (is_full(g) && (r = commit_group(g, reterr)) < 0)
                return r;
        }
    }
    int r = g->n_takes > 0 ? commit_group(g, reterr) : 0;
    return r < 0 ? r : first_error;
}

/* ---- WAL */

static void truncate_wal(struct store *s) {
    if (!s->wal)
        return;
    /* Appends that come after this look have positions at or behind it. */
    struct wal_stats w;
    (void)pthread_mutex_lock(&s->append_lock);
    wal_get_stats(s->wal, &w);
    (void)pthread_mutex_unlock(&s->append_lock);
    uint64_t lowest = w.next_lsn;
    size_t n = 0;
    struct stream **list = registry_list_filled(&s->registry, &n);
    if (!list)
        return;
    for (size_t i = 0; i < n; i++) {
        struct wal_pos oldest;
        (void)pthread_mutex_lock(&list[i]->lock);
        if (head_oldest(list[i], &oldest) && oldest.lsn < lowest)
            lowest = oldest.lsn;
        (void)pthread_mutex_unlock(&list[i]->lock);
    }
    registry_list_done(list, n);
    if (lowest == w.next_lsn && w.bytes >= FRESH_SEGMENT_BYTES)
        wal_begin_fresh(s->wal);
    (void)wal_truncate(s->wal, lowest);
}

int flush_pass(struct store *s, enum flush_mode mode, struct err *reterr) {
    size_t n = 0;
    struct group g = {.store = s, .takes_capacity = GROUP_STREAMS_MAX};
    int r = 0;
    (void)pthread_mutex_lock(&s->flush_lock);
    if (s->flush_found_no_space)
        g.takes_capacity = SMALL_GROUP_STREAMS;
    struct stream **list = registry_list_filled(&s->registry, &n);
    struct candidate *candidates = list ? calloc(n + 1, sizeof(*candidates)) : NULL;
    g.takes = malloc(sizeof(*g.takes) * (n < g.takes_capacity ? n + 1 : g.takes_capacity));
    if (!candidates || !g.takes) {
        r = err_set(reterr, -ENOMEM, "no memory to flush");
        goto out;
    }
    int64_t now = clock_mono_ns();
    size_t n_candidates = 0;
    for (size_t i = 0; i < n; i++) {
        struct candidate *c = &candidates[n_candidates];
        c->stream = list[i];
        look_at(s, mode, now, c);
        n_candidates += c->sealed_bytes > 0 || c->open_bytes > 0;
    }
    choose_by_memory(s, candidates, n_candidates);
    choose_by_wal(s, candidates, n_candidates);
    n_candidates = keep_due(candidates, n_candidates);
    r = flush_candidates(&g, candidates, n_candidates, reterr);
    s->flush_found_no_space = r == -ENOSPC;
out:
    free(candidates);
    registry_list_done(list, n);
    free(g.takes);
    free(g.parts);
    free(g.files);
    /* After a failure, too: on a full disk what the first groups have released is what the next attempt needs. */
    truncate_wal(s);
    (void)pthread_mutex_unlock(&s->flush_lock);
    return r;
}

int store_flush(struct store *s, struct err *reterr) {
    if (s->options.read_only)
        return err_set(reterr, -EROFS, "opened read-only");
    return flush_pass(s, FLUSH_ALL, reterr);
}

/* ---- the thread */

void flush_wake(struct store *s) {
    (void)pthread_mutex_lock(&s->wake_lock);
    s->wake = true;
    (void)pthread_cond_signal(&s->wake_cond);
    (void)pthread_mutex_unlock(&s->wake_lock);
}

/* False when the store closes. */
static bool wait_for_work(struct store *s) {
    int64_t until = clock_mono_ns() + (int64_t)TICK_MS * NS_PER_MS;
    struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    (void)pthread_mutex_lock(&s->wake_lock);
    while (!s->wake && !s->stop)
        if (pthread_cond_timedwait(&s->wake_cond, &s->wake_lock, &deadline) == ETIMEDOUT)
            break;
    s->wake = false;
    bool go_on = !s->stop;
    (void)pthread_mutex_unlock(&s->wake_lock);
    return go_on;
}

struct trim {
    uint64_t appended; /* entries, at the last look */
    int64_t quiet_since_mono_ns, done_mono_ns;
};

/* Freed memory stays with malloc, in holes between what is kept: after a load a process holds ten times its heads. Some
 * quiet seconds later it goes back to the system; while pushes come it would only be asked for again. What
 * queries leave behind goes at the next turn. */
static void trim_memory(struct store *s, struct trim *t, int64_t now) {
    uint64_t appended = atomic_load(&s->registry.appended);
    if (appended != t->appended) {
        t->appended = appended;
        t->quiet_since_mono_ns = now;
        return;
    }
    bool news = t->done_mono_ns < t->quiet_since_mono_ns;
    if (now < t->quiet_since_mono_ns + TRIM_AFTER_S * NS_PER_S ||
        (!news && now < t->done_mono_ns + NS_PER_MIN))
        return;
    /* One store at a time: where another allocator serves the process (a sanitizer's), the first call sets up malloc's own
     * state, and not for two threads at once. */
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&one_at_a_time);
    stock_empty();
    (void)malloc_trim(0);
    (void)pthread_mutex_unlock(&one_at_a_time);
    t->done_mono_ns = now;
}

void *flush_thread(void *store) {
    struct store *s = store;
    bool failing = false;
    int64_t next_evict = 0;
    struct trim trim = {0};
    (void)pthread_setname_np(pthread_self(), "logq-flush");
    while (wait_for_work(s)) {
        struct err err = {0};
        int r = flush_pass(s, FLUSH_DUE, &err);
        if (r < 0 && !failing)
            store_log(s, LOG_LEVEL_ERROR, "flush failed, will be tried again", "error=\"%s\"",
                      err.text);
        if (r == 0 && failing)
            store_log(s, LOG_LEVEL_INFO, "flush works again", "%s", "");
        failing = r < 0;
        if (failing) { /* a full disk: do not spin on wake-ups */
            (void)atomic_fetch_add(&s->flush_failures, 1);
            struct timespec pause = {.tv_sec = 1};
            (void)nanosleep(&pause, NULL);
        }
        (void)store_reap(s);
        int64_t now = clock_mono_ns();
        if (now >= next_evict) {
            registry_evict(&s->registry, now - EVICT_IDLE_S * NS_PER_S);
            store_refill_reserve(s);
            next_evict = now + NS_PER_MIN;
        }
        trim_memory(s, &trim, now);
    }
    return NULL;
}
