/* store_directory: opening a data directory and its index, or what does the work of one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "format_file.h"
#include "io.h"
#include "scratch.h"
#include "store_private.h"

static int take_lock(struct store *s, struct err *reterr) {
    s->lock_fd = io_open(s->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock_fd < 0)
        return err_set(reterr, s->lock_fd, "cannot open %s/LOCK: %s", s->options.data_dir,
                       err_name(s->lock_fd));
    int r = io_lock(s->lock_fd);
    if (r == -EWOULDBLOCK)
        return err_set(reterr, -EBUSY,
                       "data directory %s is in use by another logqd (its LOCK is held)",
                       s->options.data_dir);
    return r < 0 ? err_set(reterr, r, "cannot lock %s/LOCK: %s", s->options.data_dir, err_name(r))
                 : 0;
}

/* A copy of the chunk files alone is enough to read. */
static int look_for_chunks(const struct store *s, struct err *reterr) {
    int fd = io_open(s->dir_fd, "chunks", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    io_close(fd);
    return fd >= 0 ? 0
                   : err_set(reterr, -ENOENT,
                             "%s is not a data directory of logqd: no format, no chunks",
                             s->options.data_dir);
}

/* Before anything of a newer kind is written, the file says so: an older build then refuses the directory instead of
 * skipping what it cannot read. */
static int check_format(struct store *s, struct err *reterr) {
    bool is_latest = false;
    int r = format_file_check(s->dir_fd, s->options.data_dir, &is_latest, reterr);
    if (s->options.read_only)
        return r == -ENOENT ? look_for_chunks(s, reterr) : r;
    if (r == -ENOENT || (r == 0 && !is_latest)) {
        r = format_file_write(s->dir_fd);
        if (r < 0)
            (void)err_set(reterr, r, "cannot write %s/format: %s", s->options.data_dir,
                          err_name(r));
    }
    return r;
}

static int sync_tenant_folder(const char *name, bool is_dir, void *ctx) {
    const struct store *s = ctx;
    char path[CHUNK_PATH_MAX];
    (void)snprintf(path, sizeof(path), "chunks/%s", name);
    return is_dir ? io_fsync_dir(s->dir_fd, path) : 0;
}

/* A process that was killed between making a folder and syncing its parent leaves a folder that is there, but not for
 * good; whoever finds it there does not sync again. So all names are made durable once, before anything relies on
 * them: those of the folders of days, of tenants, and of what stands beside them. */
static int sync_folders(struct store *s, struct err *reterr) {
    int r = io_list(s->dir_fd, "chunks", sync_tenant_folder, s);
    if (r == 0)
        r = io_fsync_dir(s->dir_fd, "chunks");
    if (r == 0)
        r = io_fsync_dir(s->dir_fd, ".");
    return r < 0 ? err_set(reterr, r, "cannot sync the folders of %s: %s", s->options.data_dir,
                           err_name(r))
                 : 0;
}

int store_open_directory(struct store *s, struct err *reterr) {
    const char *path = s->options.data_dir;
    int r = 0;
    if (!s->options.read_only)
        r = io_mkdirs(AT_FDCWD, path, 0755);
    if (r < 0)
        return err_set(reterr, r, "cannot create %s: %s", path, err_name(r));
    s->dir_fd = io_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->dir_fd < 0)
        return err_set(reterr, s->dir_fd, "cannot open %s: %s", path, err_name(s->dir_fd));
    if (!s->options.read_only) {
        r = take_lock(s, reterr);
        if (r < 0)
            return r;
        static const char *const folders[] = {"wal", "index", "chunks"};
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
            r = io_mkdirs(s->dir_fd, folders[i], 0755);
            if (r < 0)
                return err_set(reterr, r, "cannot create %s/%s: %s", path, folders[i], err_name(r));
        }
        r = sync_folders(s, reterr);
        if (r < 0)
            return r;
    }
    return check_format(s, reterr);
}

static int reserve_numbers(struct index_txn *t, void *ctx, struct err *reterr) {
    struct store *s = ctx;
    int r = index_put_counter(t, STORE_COUNTER_STREAM,
                              atomic_load(&s->registry.next_id) + COUNTER_GAP, reterr);
    if (r == 0)
        r = index_put_counter(t, STORE_COUNTER_CHUNK, s->first_chunk_seq + COUNTER_GAP, reterr);
    return r;
}

/* An index without counters is new, or was lost, or its rebuilding was cut off: the counters come last. Chunk files
 * that it does not know must not become orphans, nor be overwritten by numbers given again. */
static int fill_new_index(struct store *s, struct err *reterr) {
    struct store_rebuild found = {0};
    int r = rebuild_fill(s->dir_fd, s->index, false, &found, reterr);
    if (r == 0 && (found.chunks > 0 || found.damaged > 0))
        store_log(s, LOG_LEVEL_WARN, "the index was lost and has been rebuilt from chunk files",
                  "chunks=%llu streams=%llu damaged=%llu", (unsigned long long)found.chunks,
                  (unsigned long long)found.streams, (unsigned long long)found.damaged);
    return r;
}

/* A number that cannot be read must not be taken for one that was never given. */
static int read_counters(struct store *s, uint64_t *ret_id, uint64_t *ret_seq, struct err *reterr) {
    int r = index_counter(s->index, STORE_COUNTER_STREAM, ret_id);
    if (r == 0)
        r = index_counter(s->index, STORE_COUNTER_CHUNK, ret_seq);
    return r < 0 ? err_set(reterr, r, "cannot read the index's counters: %s", err_name(r)) : 0;
}

/* A reader's own index in a scratch folder: the trailers of the chunk files say all that it needs. */
static int make_scratch_index(struct store *s, struct err *reterr) {
    char path[SCRATCH_PATH_MAX];
    struct store_rebuild found = {0};
    index_close(s->index);
    s->index = NULL;
    int r = scratch_make(path);
    if (r < 0)
        return err_set(reterr, r, "no place for an index of its own in /dev/shm, TMPDIR or /tmp");
    const struct index_options o = {.scratch = true};
    r = index_open(path, &o, &s->index, reterr);
    scratch_drop(path);
    if (r == 0)
        r = rebuild_fill(s->dir_fd, s->index, true, &found, reterr);
    if (r == 0 && found.damaged > 0)
        store_log(s, LOG_LEVEL_ERROR, "damaged chunk files are left out", "files=%llu",
                  (unsigned long long)found.damaged);
    return r;
}

/* What a reader cannot use: not there, damaged, not readable, without the counters that come last. */
static int open_index_read_only(struct store *s, const char *path, uint64_t *ret_id,
                                uint64_t *ret_seq, struct err *reterr) {
    const struct index_options o = {.read_only = true};
    struct err err = {0};
    int r = s->options.ignore_index ? -ENOENT : index_open(path, &o, &s->index, &err);
    if (r == 0)
        r = read_counters(s, ret_id, ret_seq, &err);
    if (r == 0 && *ret_seq > 0)
        return 0;
    if (r == -ENOMEM)
        return err_set(reterr, r, "%s", err.text);
    if (r < 0 && !s->options.ignore_index)
        store_log(s, LOG_LEVEL_WARN, "the index cannot be used, all chunk files are looked at",
                  "error=\"%s\"", err.text);
    r = make_scratch_index(s, reterr);
    return r < 0 ? r : read_counters(s, ret_id, ret_seq, reterr);
}

/* A damaged index is set aside and made anew from chunk files, which hold all that it tells. */
static int open_sound_index(struct store *s, const char *path, struct err *reterr) {
    const struct index_options o = {0};
    int r = index_open(path, &o, &s->index, reterr);
    if (r != -ECORRUPT)
        return r;
    store_log(s, LOG_LEVEL_ERROR,
              "the index is damaged: it is kept as index.old-*, a new one is made", "error=\"%s\"",
              reterr ? reterr->text : "");
    r = rebuild_set_index_aside(s->dir_fd);
    if (r == 0)
        r = io_mkdirs(s->dir_fd, "index", 0755);
    if (r < 0)
        return err_set(reterr, r, "cannot set %s aside: %s", path, err_name(r));
    return index_open(path, &o, &s->index, reterr);
}

int store_open_index(struct store *s, struct err *reterr) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/index", s->options.data_dir);
    uint64_t next_id = 0, next_seq = 0;
    int r;
    if (s->options.read_only) {
        r = open_index_read_only(s, path, &next_id, &next_seq, reterr);
    } else {
        r = open_sound_index(s, path, reterr);
        if (r == 0)
            r = read_counters(s, &next_id, &next_seq, reterr);
    }
    if (r == 0 && next_seq == 0 && !s->options.read_only) {
        r = fill_new_index(s, reterr);
        if (r == 0)
            r = read_counters(s, &next_id, &next_seq, reterr);
    }
    if (r < 0)
        return r;
    atomic_store(&s->registry.next_id, next_id ? next_id : 1);
    s->first_chunk_seq = next_seq ? next_seq : 1;
    atomic_store(&s->next_chunk_seq, s->first_chunk_seq);
    r = s->options.read_only ? 0 : store_index_update(s, reserve_numbers, s, reterr);
    /* On a full disk queries still want a server. Each flush commits the counters again, so nothing but an orphan of a
     * failed flush can meet its number a second time, and that one may be overwritten. */
    return r == -ENOSPC ? 0 : r;
}
