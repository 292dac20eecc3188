/* backup: taking one and verifying it. What is read, and in which order, is in backup.h. */
#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "chunk.h"
#include "copy.h"
#include "index.h"
#include "io.h"
#include "manifest.h"
#include "numbers.h"
#include "map.h"
#include "pack.h"
#include "positions.h"

enum {
    ATTEMPTS = 20, /* looks at the index, when files go meanwhile */
    ARENA_MAX = 1 << 30,
    NUMBER_MAX = 1 << 30,
    DELETES_MAX_BYTES = 1 << 30,
};

struct backup {
    const struct backup_options *o;
    int from_fd, to_fd, lock_fd;
    struct index *index;
    struct manifest before, now;
    struct map days;  /* "chunks/<tenant>/<day>" that the source has; keys in arena */
    struct map packs; /* whose paths are in the list */
    struct arena arena;
    unsigned number;                  /* of this run's wal, deletes and positions */
    unsigned long long first_segment; /* of the WAL that was copied */
    struct positions positions;
    struct str *paths; /* chunk files of the source */
    uint64_t *sizes;
    size_t n_paths;
    uint64_t done_files, done_bytes, all_bytes;
    char path[2 * CHUNK_PATH_MAX]; /* of the sweep */
    struct backup_result result;
    struct err *reterr;
};

static int fail(struct backup *b, int r, const char *what, const char *path) {
    return err_set(b->reterr, r, "backup: cannot %s %s: %s", what, path, err_name(r));
}

/* ---- opening */

static int open_folders(struct backup *b) {
    b->from_fd = io_open(AT_FDCWD, b->o->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (b->from_fd < 0)
        return fail(b, b->from_fd, "open", b->o->data_dir);
    int r = io_mkdirs(AT_FDCWD, b->o->dest, 0755);
    if (r < 0)
        return fail(b, r, "make", b->o->dest);
    b->to_fd = io_open(AT_FDCWD, b->o->dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (b->to_fd < 0)
        return fail(b, b->to_fd, "open", b->o->dest);
    b->lock_fd = io_open(b->to_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    r = b->lock_fd < 0 ? b->lock_fd : io_lock(b->lock_fd);
    if (r < 0)
        return err_set(b->reterr, r, "backup: %s is in use by another backup", b->o->dest);
    r = manifest_read(b->to_fd, &b->before, b->reterr);
    return r == -ENOENT ? 0 : r;
}

/* The number behind wal-<n> in the manifest of before. */
static void choose_number(struct backup *b) {
    for (size_t i = 0; i < b->before.count; i++) {
        unsigned n;
        const char *path = b->before.files[i].path;
        if ((sscanf(path, "wal-%u/", &n) == 1 || sscanf(path, "deletes-%u", &n) == 1) &&
            n >= b->number && n < NUMBER_MAX)
            b->number = n + 1;
    }
}

/* Lists a file that has just been written. */
static int add_new(struct backup *b, const char *path) {
    uint64_t size;
    struct hash128 hash;
    int r = manifest_measure(b->to_fd, path, &size, &hash);
    if (r == 0)
        r = manifest_add(&b->now, path, size, hash);
    if (r < 0)
        return fail(b, r, "read", path);
    b->result.new_files++;
    b->result.new_bytes += size;
    return 0;
}

/* ---- WAL and delete requests */

static int copy_segment(const char *name, bool is_dir, void *ctx) {
    struct backup *b = ctx;
    char from[300], to[300];
    if (is_dir || !str_ends(str_from(name), STR(".wal")))
        return 0;
    (void)snprintf(from, sizeof(from), "wal/%s", name);
    (void)snprintf(to, sizeof(to), "wal-%u/%s", b->number, name);
    int r = copy_growing(b->from_fd, from, b->to_fd, to);
    if (r == -ENOENT) /* all of it has become chunk files meanwhile */
        return 0;
    unsigned long long segment;
    if (sscanf(name, "%16llx.wal", &segment) == 1 && segment < b->first_segment)
        b->first_segment = segment;
    return r < 0 ? fail(b, r, "copy", from) : add_new(b, to);
}

static int copy_wal(struct backup *b) {
    char folder[32];
    (void)snprintf(folder, sizeof(folder), "wal-%u", b->number);
    int r = io_mkdirs(b->to_fd, folder, 0755);
    if (r == 0)
        r = io_list(b->from_fd, "wal", copy_segment, b);
    if (r == -ENOENT)
        r = fail(b, r, "find", "the WAL: is this a data directory?");
    if (r == 0)
        r = io_fsync_dir(b->to_fd, folder);
    return r;
}

static int add_delete(struct str key, struct str value, void *ctx) {
    struct buf *out = ctx;
    uint8_t number[VARINT_MAX_BYTES];
    buf_add(out, number, (size_t)(put_varint(number, key.size) - number));
    buf_add_str(out, key);
    buf_add(out, number, (size_t)(put_varint(number, value.size) - number));
    buf_add_str(out, value);
    return out->failed ? -ENOMEM : 0;
}

static int copy_deletes(struct backup *b) {
    struct buf text = buf_make(DELETES_MAX_BYTES);
    char name[32];
    (void)snprintf(name, sizeof(name), "deletes-%u", b->number);
    int r = index_walk_deletes(b->index, add_delete, &text, b->reterr);
    if (r == 0)
        r = io_write_file_durable(b->to_fd, name, buf_str(&text));
    buf_done(&text);
    return r < 0 ? fail(b, r, "write", name) : add_new(b, name);
}

/* ---- chunk files */

struct streams {
    struct backup *b;
    struct numbers *ids;
};

/* A position keeps replay from what is in chunk files or deleted; of an older WAL than the copied one it says nothing. */
static int note_stream(const struct index_stream *s, void *ctx) {
    const struct streams *all = ctx;
    int r = numbers_add(all->ids, s->id);
    if (r == 0 && s->flushed_lsn >> 32 >= all->b->first_segment)
        r = positions_add(&all->b->positions, s);
    return r;
}

/* -EAGAIN: it has gone since the index was read. */
static int pack_size(struct backup *b, const char *path, uint64_t *ret) {
    int fd = io_open(b->from_fd, path, O_RDONLY | O_CLOEXEC, 0);
    int r = fd < 0 ? fd : io_file_size(fd, ret);
    io_close(fd);
    return r == -ENOENT ? -EAGAIN : r;
}

static int note_path(struct backup *b, struct str tenant, const struct index_chunk *c,
                     size_t *capacity) {
    char path[CHUNK_PATH_MAX];
    uint64_t size = c->sums.file_bytes;
    bool packed = c->pack_seq > 0;
    int r = packed ? pack_path(path, tenant, c->day, c->pack_seq)
                   : chunk_path(path, tenant, c->day, c->stream_id, c->chunk_seq);
    if (r == 0 && packed && map_get(&b->packs, str_from(path)))
        return 0; /* with another member */
    if (r == 0 && packed)
        r = pack_size(b, path, &size);
    if (r < 0)
        return r;
    if (b->n_paths == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 1024;
        struct str *paths = realloc(b->paths, sizeof(*paths) * *capacity);
        if (paths)
            b->paths = paths;
        uint64_t *sizes = realloc(b->sizes, sizeof(*sizes) * *capacity);
        if (sizes)
            b->sizes = sizes;
        if (!paths || !sizes)
            return -ENOMEM;
    }
    struct str copy = arena_copy(&b->arena, str_make(path, strlen(path) + 1));
    struct str day = str_make(copy.data, copy.data ? (size_t)(strrchr(path, '/') - path) : 0);
    if (!copy.data || (!map_get(&b->days, day) && map_put(&b->days, day, b) < 0))
        return -ENOMEM;
    if (packed && map_put(&b->packs, str_make(copy.data, copy.size - 1), b) < 0)
        return -ENOMEM;
    b->paths[b->n_paths] = copy;
    b->sizes[b->n_paths++] = size;
    b->all_bytes += size;
    return 0;
}

/* All chunks in one transaction of the index: a merge in between would show some of them in neither form. The streams are
 * listed before it; who has come since had all its entries in the WAL that was copied. So are their positions: all that is
 * before one and has not been deleted is in the chunks that are listed after it. */
static int list_tenant(struct backup *b, struct str tenant, struct index_reader *reader,
                       const struct numbers *ids, size_t *capacity) {
    struct arena arena = arena_make(ARENA_MAX);
    int r = 0;
    for (size_t i = 0; i < ids->n && r == 0; i++) {
        struct index_chunk *chunks;
        size_t count;
        arena_reset(&arena);
        r = index_reader_chunks(reader, tenant, ids->items[i], INT64_MIN, INT64_MAX, &arena,
                                &chunks, &count, b->reterr);
        for (size_t k = 0; k < count && r == 0; k++)
            r = note_path(b, tenant, &chunks[k], capacity);
    }
    arena_done(&arena);
    return r;
}

static int list_chunks(struct backup *b) {
    struct str *tenants = NULL;
    size_t n_tenants = 0, capacity = 0;
    struct index_reader *reader = NULL;
    map_done(&b->days);
    map_done(&b->packs);
    b->days = map_make();
    b->packs = map_make();
    positions_done(&b->positions);
    arena_reset(&b->arena);
    free(b->paths);
    free(b->sizes);
    b->paths = NULL;
    b->sizes = NULL;
    b->n_paths = 0;
    b->all_bytes = 0;
    int r = index_tenants(b->index, &b->arena, &tenants, &n_tenants);
    struct numbers *ids = calloc(n_tenants + 1, sizeof(*ids));
    if (r == 0 && !ids)
        r = -ENOMEM;
    for (size_t i = 0; i < n_tenants && r == 0; i++) {
        struct streams all = {.b = b, .ids = &ids[i]};
        r = index_walk_streams(b->index, tenants[i], note_stream, &all, b->reterr);
    }
    if (r == 0)
        r = index_reader_begin(b->index, &reader, b->reterr);
    for (size_t i = 0; i < n_tenants && r == 0; i++)
        r = list_tenant(b, tenants[i], reader, &ids[i], &capacity);
    index_reader_end(reader);
    for (size_t i = 0; ids && i < n_tenants; i++)
        numbers_done(&ids[i]);
    free(ids);
    return r == -ENOMEM ? err_set(b->reterr, r, "backup: no memory for the list of files") : r;
}

static bool is_there(int dir_fd, const char *path, uint64_t size) {
    uint64_t found = 0;
    int fd = io_open(dir_fd, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool same = io_file_size(fd, &found) == 0 && found == size;
    io_close(fd);
    return same;
}

/* 0, or -EAGAIN when the file has gone from the source. */
static int take_chunk(struct backup *b, size_t i) {
    const char *path = b->paths[i].data;
    const struct manifest_file *old = manifest_find(&b->before, path);
    int r = 0;
    if (old && old->size == b->sizes[i] && is_there(b->to_fd, path, old->size)) {
        r = manifest_add(&b->now, path, old->size, old->hash);
    } else {
        r = copy_file(b->from_fd, path, b->to_fd, path, b->o->copy);
        if (r == -ENOENT)
            return -EAGAIN;
        r = r < 0 ? fail(b, r, "copy", path) : add_new(b, path);
    }
    b->done_files++;
    b->done_bytes += b->sizes[i];
    if (r == 0 && b->o->progress)
        b->o->progress(b->o->ctx, b->done_files, b->n_paths, b->done_bytes, b->all_bytes);
    return r;
}

static int sync_days(struct backup *b) {
    size_t at = 0;
    struct str day;
    void *value;
    int r = 0;
    while (r == 0 && map_next(&b->days, &at, &day, &value)) {
        char folder[CHUNK_PATH_MAX];
        memcpy(folder, day.data, day.size);
        folder[day.size] = '\0';
        r = io_fsync_dir(b->to_fd, folder);
    }
    return r;
}

static int take_chunks(struct backup *b) {
    size_t listed = b->now.count;
    int r = -EAGAIN;
    for (int attempt = 0; r == -EAGAIN && attempt < ATTEMPTS; attempt++) {
        b->now.count = listed;
        b->done_files = b->done_bytes = 0;
        r = list_chunks(b);
        for (size_t i = 0; i < b->n_paths && r == 0; i++)
            r = take_chunk(b, i);
        if (r == -EAGAIN) { /* what has been taken need not be taken again */
            for (size_t i = listed; i < b->now.count; i++)
                if (manifest_add(&b->before, b->now.files[i].path, b->now.files[i].size,
                                 b->now.files[i].hash) < 0)
                    return err_set(b->reterr, -ENOMEM, "backup: no memory");
            manifest_sort(&b->before);
        }
    }
    if (r == -EAGAIN)
        return err_set(b->reterr, r, "backup: files go faster than they can be copied");
    if (r == 0)
        r = sync_days(b);
    return r;
}

static int write_positions(struct backup *b) {
    char name[32];
    (void)snprintf(name, sizeof(name), POSITIONS_NAME "-%u", b->number);
    int r = positions_write(b->to_fd, name, &b->positions, b->reterr);
    return r < 0 ? err_prefix(b->reterr, r, "backup") : add_new(b, name);
}

/* ---- what the backup keeps, and what it loses */

/* Files of days that the source does not have any more. */
static int keep_old_days(struct backup *b) {
    int r = 0;
    for (size_t i = 0; i < b->before.count && r == 0 && !b->o->prune; i++) {
        const struct manifest_file *f = &b->before.files[i];
        const char *slash = strrchr(f->path, '/');
        if (strncmp(f->path, "chunks/", 7) == 0 && slash &&
            !map_get(&b->days, str_make(f->path, (size_t)(slash - f->path))) &&
            is_there(b->to_fd, f->path, f->size))
            r = manifest_add(&b->now, f->path, f->size, f->hash);
    }
    return r < 0 ? err_set(b->reterr, r, "backup: no memory") : 0;
}

static int sweep_entry(const char *name, bool is_dir, void *ctx) {
    struct backup *b = ctx;
    size_t size = strlen(b->path);
    if ((size_t)snprintf(b->path + size, sizeof(b->path) - size, "%s%s", size > 0 ? "/" : "",
                         name) >= sizeof(b->path) - size)
        return 0;
    int r = 0;
    bool ours = size > 0 || strcmp(name, "chunks") == 0 || strncmp(name, "wal-", 4) == 0 ||
                strncmp(name, "deletes-", 8) == 0 || strncmp(name, "positions-", 10) == 0;
    if (ours && is_dir) {
        r = io_list(b->to_fd, b->path, sweep_entry, b);
        (void)io_rmdir(b->to_fd, b->path); /* when it has become empty */
    } else if (ours && !manifest_find(&b->now, b->path)) {
        r = io_unlink(b->to_fd, b->path);
        b->result.removed_files++;
    }
    b->path[size] = '\0';
    return r;
}

static int finish(struct backup *b) {
    int r = manifest_write(b->to_fd, &b->now, b->reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->now.count; i++)
        b->result.bytes += b->now.files[i].size;
    b->result.files = b->now.count;
    r = io_list(b->to_fd, ".", sweep_entry, b);
    return r < 0 ? fail(b, r, "sweep", b->o->dest) : 0;
}

int backup_run(const struct backup_options *o, struct backup_result *ret, struct err *reterr) {
    struct backup b = {.o = o,
                       .from_fd = -1,
                       .to_fd = -1,
                       .lock_fd = -1,
                       .before = manifest_make(),
                       .now = manifest_make(),
                       .days = map_make(),
                       .packs = map_make(),
                       .arena = arena_make(ARENA_MAX),
                       .first_segment = ULLONG_MAX,
                       .positions = positions_make(),
                       .reterr = reterr};
    char index_path[4096];
    const struct index_options index = {.read_only = true};
    int r = open_folders(&b);
    if (r < 0)
        goto out;
    choose_number(&b);
    r = copy_wal(&b);
    if (r < 0)
        goto out;
    (void)snprintf(index_path, sizeof(index_path), "%s/index", o->data_dir);
    r = index_open(index_path, &index, &b.index, reterr);
    if (r == 0)
        r = copy_deletes(&b);
    if (r == 0)
        r = take_chunks(&b);
    if (r == 0)
        r = write_positions(&b);
    if (r == 0)
        r = keep_old_days(&b);
    if (r == 0)
        r = finish(&b);
    if (r == 0)
        *ret = b.result;
out:
    index_close(b.index);
    if (b.lock_fd >= 0)
        io_close(b.lock_fd);
    if (b.to_fd >= 0)
        io_close(b.to_fd);
    if (b.from_fd >= 0)
        io_close(b.from_fd);
    manifest_done(&b.before);
    manifest_done(&b.now);
    map_done(&b.days);
    map_done(&b.packs);
    positions_done(&b.positions);
    arena_done(&b.arena);
    free(b.paths);
    free(b.sizes);
    return r;
}

/* ---- verifying */

/* `m`: its place in a pack; NULL: the whole file. */
static const char *check_chunk(int dir_fd, const char *path, const struct pack_member *m,
                               struct backup_check *ret, struct err *err) {
    struct chunk *chunk = NULL;
    int r =
        m ? chunk_open_at(dir_fd, path, (struct chunk_span){.offset = m->offset, .size = m->size},
                          &chunk, err)
          : chunk_open(dir_fd, path, &chunk, err);
    if (r < 0)
        return err->text;
    ret->chunks++;
    ret->entries += chunk_get_sums(chunk)->entries;
    bool damaged = chunk_is_damaged(chunk);
    chunk_close(chunk);
    return damaged ? "it was damaged when it was taken" : NULL;
}

static const char *check_pack(int dir_fd, const char *path, struct backup_check *ret,
                              struct err *err) {
    struct pack pack;
    if (pack_open(dir_fd, path, &pack, err) < 0)
        return err->text;
    const char *why = pack.damaged ? "it was damaged when it was taken" : NULL;
    for (size_t i = 0; i < pack.n_members && !why; i++)
        why = check_chunk(dir_fd, path, &pack.members[i], ret, err);
    pack_done(&pack);
    return why;
}

static const char *check_file(int dir_fd, const struct manifest_file *f, struct backup_check *ret,
                              struct err *err) {
    uint64_t size;
    struct hash128 hash;
    int r = manifest_measure(dir_fd, f->path, &size, &hash);
    if (r < 0)
        return err_name(r);
    if (size != f->size)
        return "its size is not that of the manifest";
    if (hash.low != f->hash.low || hash.high != f->hash.high)
        return "its content does not match the manifest";
    if (strncmp(f->path, "chunks/", 7) != 0)
        return NULL;
    if (str_ends(str_from(f->path), STR(".pack")))
        return check_pack(dir_fd, f->path, ret, err);
    return check_chunk(dir_fd, f->path, NULL, ret, err);
}

int backup_verify(const char *dest, backup_bad_fn *bad, backup_progress_fn *progress, void *ctx,
                  struct backup_check *ret, struct err *reterr) {
    struct manifest m = manifest_make();
    uint64_t all = 0;
    *ret = (struct backup_check){0};
    int dir_fd = io_open(AT_FDCWD, dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir_fd < 0)
        return err_set(reterr, dir_fd, "cannot open %s: %s", dest, err_name(dir_fd));
    int r = manifest_read(dir_fd, &m, reterr);
    for (size_t i = 0; i < m.count; i++)
        all += m.files[i].size;
    for (size_t i = 0; i < m.count && r == 0; i++) {
        struct err err = {0};
        const char *why = check_file(dir_fd, &m.files[i], ret, &err);
        ret->files++;
        ret->bytes += m.files[i].size;
        if (why) {
            ret->bad++;
            bad(ctx, m.files[i].path, why);
        }
        if (progress)
            progress(ctx, ret->files, m.count, ret->bytes, all);
    }
    manifest_done(&m);
    io_close(dir_fd);
    return r;
}
