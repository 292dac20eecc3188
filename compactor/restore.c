/* restore: a new data directory from a backup. The chunk files of the wanted days go in first, the WAL with them, and the
 * positions, unless a chunk file is missing; a store is opened there, which makes the index from these, replays the WAL
 * and, when it closes, has turned that into chunk files, too. What does not belong to the wanted days and tenant then goes,
 * and the index is made once more. The new directory holds nothing else than chunk files, their index and the delete
 * requests. When a restore fails the directory is incomplete and is to be removed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup.h"
#include "bytes.h"
#include "chunk.h"
#include "copy.h"
#include "io.h"
#include "manifest.h"
#include "positions.h"
#include "store.h"
#include "units.h"

enum { DELETES_MAX_BYTES = 1 << 30, DAY_TEXT = 10, FOLDER_MAX = CHUNK_PATH_MAX };

struct restore {
    const struct restore_options *o;
    int from_fd, to_fd;
    struct manifest manifest;
    char tenant_folder[FOLDER_MAX]; /* "chunks/<tenant>/", empty = all */
    char tenant[FOLDER_MAX];        /* being trimmed */
    uint64_t all_files, all_bytes;
    struct restore_result result;
    struct err *reterr;
};

static int fail(struct restore *s, int r, const char *what, const char *path) {
    return err_set(s->reterr, r, "restore: cannot %s %s: %s", what, path, err_name(r));
}

/* ---- which files */

static bool day_is_wanted(const struct restore *s, struct str text) {
    int32_t day;
    return day_parse(text, &day) == 0 && day >= s->o->from_day && day <= s->o->to_day;
}

static bool is_positions(const char *path) {
    return strncmp(path, POSITIONS_NAME "-", strlen(POSITIONS_NAME "-")) == 0;
}

static bool is_wanted(const struct restore *s, const char *path) {
    if (strncmp(path, "wal-", 4) == 0)
        return true;
    if (strncmp(path, "chunks/", 7) != 0 ||
        strncmp(path, s->tenant_folder, strlen(s->tenant_folder)) != 0)
        return false;
    const char *day = strchr(path + 7, '/');
    return day && strlen(day + 1) > DAY_TEXT && day_is_wanted(s, str_make(day + 1, DAY_TEXT));
}

static int find_tenant_folder(struct restore *s) {
    char path[CHUNK_PATH_MAX];
    if (!s->o->tenant)
        return 0;
    int r = chunk_path(path, str_from(s->o->tenant), 0, 0, 0);
    if (r < 0)
        return err_set(s->reterr, r, "restore: \"%s\" cannot be a tenant", s->o->tenant);
    char *slash = strchr(path + 7, '/');
    slash[1] = '\0';
    memcpy(s->tenant_folder, path, strlen(path) + 1);
    return 0;
}

/* ---- files */

static int take_file(struct restore *s, const struct manifest_file *f) {
    uint64_t size;
    struct hash128 hash;
    char to[MANIFEST_PATH_MAX + 1];
    const char *slash = strchr(f->path, '/');
    bool wal = strncmp(f->path, "wal-", 4) == 0;
    if (is_positions(f->path))
        (void)snprintf(to, sizeof(to), POSITIONS_NAME);
    else
        (void)snprintf(to, sizeof(to), "%s%s", wal ? "wal" : "", wal ? slash : f->path);
    int r = manifest_measure(s->from_fd, f->path, &size, &hash);
    if (r == 0 && (size != f->size || hash.low != f->hash.low || hash.high != f->hash.high))
        r = -ECORRUPT;
    if (r == -ECORRUPT || r == -ENOENT || r == -EIO) {
        s->result.bad++;
        s->o->bad(s->o->ctx, f->path, err_name(r));
        return 0;
    }
    /* The WAL of the new directory is written to. */
    if (r == 0)
        r = copy_file(s->from_fd, f->path, s->to_fd, to, wal || !s->o->link);
    if (r < 0)
        return fail(s, r, "copy", f->path);
    s->result.files++;
    s->result.bytes += size;
    if (s->o->progress)
        s->o->progress(s->o->ctx, s->result.files, s->all_files, s->result.bytes, s->all_bytes);
    return 0;
}

static int take_files(struct restore *s) {
    const struct manifest *m = &s->manifest;
    int r = 0;
    for (size_t i = 0; i < m->count; i++)
        if (is_wanted(s, m->files[i].path) || is_positions(m->files[i].path)) {
            s->all_files++;
            s->all_bytes += m->files[i].size;
        }
    for (size_t i = 0; i < m->count && r == 0; i++)
        if (is_wanted(s, m->files[i].path))
            r = take_file(s, &m->files[i]);
    /* Without all chunks the WAL is to fill the gaps: replay then skips nothing of it. */
    for (size_t i = 0; i < m->count && r == 0 && s->result.bad == 0; i++)
        if (is_positions(m->files[i].path))
            r = take_file(s, &m->files[i]);
    return r;
}

/* ---- trimming */

static int trim_day(const char *name, bool is_dir, void *ctx) {
    struct restore *s = ctx;
    char path[2 * FOLDER_MAX];
    if (!is_dir || day_is_wanted(s, str_from(name)))
        return 0;
    (void)snprintf(path, sizeof(path), "%s/%s", s->tenant, name);
    return copy_remove_tree(s->to_fd, path);
}

static int trim_tenant(const char *name, bool is_dir, void *ctx) {
    struct restore *s = ctx;
    if (!is_dir)
        return 0;
    (void)snprintf(s->tenant, sizeof(s->tenant), "chunks/%s", name);
    size_t size = strlen(s->tenant);
    bool wanted = s->tenant_folder[0] == '\0' || (strncmp(s->tenant_folder, s->tenant, size) == 0 &&
                                                  s->tenant_folder[size] == '/');
    return wanted ? io_list(s->to_fd, s->tenant, trim_day, s)
                  : copy_remove_tree(s->to_fd, s->tenant);
}

static int open_and_close(struct restore *s,
                          int (*between)(struct restore *s, struct store *store)) {
    const struct store_options o = {.data_dir = s->o->data_dir};
    struct store *store;
    int r = store_open(&o, &store, s->reterr);
    if (r < 0)
        return r;
    if (between)
        r = between(s, store);
    /* With what was in the WAL; store_close could not say whether it worked. */
    int flushed = store_flush(store, s->reterr);
    store_close(store);
    return r < 0 ? r : flushed;
}

/* ---- delete requests */

static bool take_text(const uint8_t **p, const uint8_t *end, struct str *ret) {
    uint64_t size;
    *p = get_varint(*p, end, &size);
    if (!*p || size > (uint64_t)(end - *p))
        return false;
    *ret = str_make((const char *)*p, (size_t)size);
    *p += size;
    return true;
}

static int put_deletes(struct index_txn *t, void *ctx, struct err *reterr) {
    const struct str *text = ctx;
    const uint8_t *p = (const uint8_t *)text->data, *end = p + text->size;
    int r = 0;
    while (p < end && r == 0) {
        struct str key, value;
        if (!take_text(&p, end, &key) || !take_text(&p, end, &value) || key.size == 0 ||
            key.size > 511)
            return err_set(reterr, -ECORRUPT, "restore: the list of delete requests is damaged");
        r = index_put_delete(t, key, value, reterr);
    }
    return r;
}

static int restore_deletes(struct restore *s, struct store *store) {
    int r = 0;
    for (size_t i = 0; i < s->manifest.count && r == 0; i++) {
        const char *path = s->manifest.files[i].path;
        if (strncmp(path, "deletes-", 8) != 0)
            continue;
        struct buf text = buf_make(DELETES_MAX_BYTES);
        r = io_read_file(s->from_fd, path, &text);
        struct str content = buf_str(&text);
        if (r == 0)
            r = store_index_update(store, put_deletes, &content, s->reterr);
        else
            (void)fail(s, r, "read", path);
        buf_done(&text);
    }
    struct index_stats stats = {0};
    (void)index_get_stats(store_index(store), &stats);
    s->result.chunks = stats.chunks;
    s->result.streams = stats.streams;
    return r;
}

static int count_entries(struct restore *s) {
    struct store_rebuild found = {0};
    int r = store_rebuild_index(s->o->data_dir, &found, s->reterr);
    if (r == 0)
        s->result.entries = found.entries;
    return r;
}

static int remove_positions(struct restore *s) {
    int r = io_unlink(s->to_fd, POSITIONS_NAME);
    return r == -ENOENT ? 0 : r;
}

static int make_store(struct restore *s) {
    int r = open_and_close(s, NULL);
    if (r == 0)
        r = io_list(s->to_fd, "chunks", trim_tenant, s);
    if (r == 0)
        r = copy_remove_tree(s->to_fd, "wal");
    if (r == 0) /* they were about that WAL */
        r = remove_positions(s);
    if (r == 0)
        r = copy_remove_tree(s->to_fd, "index");
    if (r == 0)
        r = count_entries(s);
    return r < 0 ? r : open_and_close(s, restore_deletes);
}

/* ---- the door */

static int refuse_entry(const char *name, bool is_dir, void *ctx) {
    (void)name, (void)is_dir, (void)ctx;
    return -EEXIST;
}

static int open_folders(struct restore *s) {
    s->from_fd = io_open(AT_FDCWD, s->o->src, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->from_fd < 0)
        return fail(s, s->from_fd, "open", s->o->src);
    int r = manifest_read(s->from_fd, &s->manifest, s->reterr);
    if (r < 0)
        return r;
    r = io_mkdirs(AT_FDCWD, s->o->data_dir, 0755);
    if (r < 0)
        return fail(s, r, "make", s->o->data_dir);
    s->to_fd = io_open(AT_FDCWD, s->o->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->to_fd < 0)
        return fail(s, s->to_fd, "open", s->o->data_dir);
    r = io_list(s->to_fd, ".", refuse_entry, NULL);
    return r < 0 ? fail(s, r, "use", s->o->data_dir) : 0;
}

int restore_run(const struct restore_options *o, struct restore_result *ret, struct err *reterr) {
    struct restore s = {
        .o = o, .from_fd = -1, .to_fd = -1, .manifest = manifest_make(), .reterr = reterr};
    int r = open_folders(&s);
    if (r == 0)
        r = find_tenant_folder(&s);
    if (r == 0)
        r = io_mkdirs(s.to_fd, "chunks", 0755);
    if (r == 0)
        r = take_files(&s);
    if (r == 0)
        r = make_store(&s);
    if (r == 0)
        *ret = s.result;
    manifest_done(&s.manifest);
    if (s.to_fd >= 0)
        io_close(s.to_fd);
    if (s.from_fd >= 0)
        io_close(s.from_fd);
    return r;
}
