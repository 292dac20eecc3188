#include "positions.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "io.h"

enum {
    FILE_MAX = 64 << 20,
    PENDING_MAX = 128 << 20,
    NAMES_MAX = 10000,   /* files of one push */
    FINISHED_MAX = 1024, /* remembered; rotated files are deleted sooner or later */
    STAMPS_KEPT = 32,    /* of a stamper's: lines of one stamp stand close together */
    PATH_BYTES = 4096,
};

struct finished {
    uint64_t device, inode, size;
};

struct positions {
    char *path; /* NULL = in memory */
    int lock_fd;
    struct named_place {
        char *name;
        struct place place;
    } * places;
    size_t count;
    struct finished finished[FINISHED_MAX];
    size_t n_finished; /* ever; the ring holds the last */
};

/* ---- places as JSON */

static json_t *place_to_json(const char *name, const struct place *p) {
    const struct stamper *s = &p->stamper;
    json_t *stamps = json_array();
    size_t kept = 0;
    if (s->current)
        (void)json_array_append_new(stamps, json_pack("[I,I]", (json_int_t)s->current->stamp_ns,
                                                      (json_int_t)s->current->next_ns));
    /* The latest stamps are those that may come again. */
    for (int64_t below = INT64_MAX; kept < STAMPS_KEPT; kept++) {
        const struct stamper_slot *best = NULL;
        for (size_t i = 0; i < STAMPER_SLOTS; i++) {
            const struct stamper_slot *slot = &s->slots[i];
            if (slot->used && slot->stamp_ns < below && (!best || slot->stamp_ns > best->stamp_ns))
                best = slot;
        }
        if (!best)
            break;
        below = best->stamp_ns;
        if (best != s->current)
            (void)json_array_append_new(
                stamps, json_pack("[I,I]", (json_int_t)best->stamp_ns, (json_int_t)best->next_ns));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:b, s:I, s:I, s:I, s:b, s:o}",
                     "name", name, "device", (json_int_t)p->device, "inode", (json_int_t)p->inode,
                     "offset", (json_int_t)p->offset, "modified", (json_int_t)p->modified_ns,
                     "head_hash", (json_int_t)p->head_hash, "head_size", (int)p->head_size,
                     "forced_now", s->forced_now, "is_file", s->is_file, "opened_modified",
                     (json_int_t)s->modified_ns, "opened_size", (json_int_t)s->size_bytes,
                     "last_now", (json_int_t)s->last_now_ns, "has_current", s->current != NULL,
                     "stamps", stamps);
}

static void read_stamps(json_t *stamps, bool has_current, struct stamper *s) {
    for (size_t i = json_array_size(stamps); i > 0; i--) {
        json_t *pair = json_array_get(stamps, i - 1);
        stamper_restore(s, json_integer_value(json_array_get(pair, 0)),
                        json_integer_value(json_array_get(pair, 1)), has_current && i == 1);
    }
}

/* The place's stamper points into itself: `ret` must not be moved afterwards. */
static int place_from_json(json_t *o, struct place *ret) {
    json_int_t device, inode, offset, modified, hash, opened_modified, opened_size, last_now;
    int head_size, forced_now, is_file, has_current;
    json_t *stamps;
    if (json_unpack(o, "{s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:b, s:I, s:I, s:I, s:b, s:o}",
                    "device", &device, "inode", &inode, "offset", &offset, "modified", &modified,
                    "head_hash", &hash, "head_size", &head_size, "forced_now", &forced_now,
                    "is_file", &is_file, "opened_modified", &opened_modified, "opened_size",
                    &opened_size, "last_now", &last_now, "has_current", &has_current, "stamps",
                    &stamps) < 0 ||
        offset < 0 || head_size < 0 || head_size > PLACE_HEAD_BYTES)
        return -ECORRUPT;
    *ret = (struct place){
        .device = (uint64_t)device,
        .inode = (uint64_t)inode,
        .offset = (uint64_t)offset,
        .modified_ns = modified,
        .head_hash = (uint64_t)hash,
        .head_size = (uint32_t)head_size,
        .stamper = {.forced_now = forced_now,
                    .is_file = is_file,
                    .modified_ns = opened_modified,
                    .size_bytes = (uint64_t)opened_size,
                    .last_now_ns = last_now},
    };
    read_stamps(stamps, has_current, &ret->stamper);
    return 0;
}

/* ---- in memory */

static struct named_place *find(const struct positions *p, const char *name) {
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->places[i].name, name) == 0)
            return &p->places[i];
    return NULL;
}

static int put(struct positions *p, const char *name, const struct place *place) {
    struct named_place *at = find(p, name);
    if (!at) {
        struct named_place *places =
            p->count < NAMES_MAX ? realloc(p->places, (p->count + 1) * sizeof(*places)) : NULL;
        if (!places)
            return -ENOMEM;
        /* realloc has moved the stampers, whose `current` points into them. */
        for (size_t i = 0; i < p->count; i++)
            stamper_moved(&places[i].place.stamper);
        p->places = places;
        at = &places[p->count];
        *at = (struct named_place){.name = strdup(name)};
        if (!at->name)
            return -ENOMEM;
        p->count++;
    }
    place_copy(&at->place, place);
    return 0;
}

void place_copy(struct place *to, const struct place *from) {
    *to = *from;
    stamper_moved(&to->stamper);
}

const struct place *positions_get(const struct positions *p, const char *name) {
    const struct named_place *at = find(p, name);
    return at ? &at->place : NULL;
}

void positions_finish(struct positions *p, uint64_t device, uint64_t inode, uint64_t size) {
    p->finished[p->n_finished++ % FINISHED_MAX] = (struct finished){device, inode, size};
}

bool positions_is_finished(const struct positions *p, uint64_t device, uint64_t inode,
                           uint64_t size) {
    size_t n = p->n_finished < FINISHED_MAX ? p->n_finished : FINISHED_MAX;
    for (size_t i = 0; i < n; i++) {
        const struct finished *f = &p->finished[i];
        if (f->device == device && f->inode == inode && f->size == size)
            return true;
    }
    return false;
}

/* ---- on disk */

static int write_file(const char *path, const char *ending, struct str head, struct str body,
                      struct err *reterr) {
    char name[PATH_BYTES], temporary[PATH_BYTES];
    (void)snprintf(name, sizeof(name), "%s%s", path, ending);
    (void)snprintf(temporary, sizeof(temporary), "%s%s.tmp", path, ending);
    int fd = io_open(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? fd : io_write_all(fd, head.data, head.size);
    if (r == 0)
        r = io_write_all(fd, body.data, body.size);
    if (r == 0)
        r = io_fdatasync(fd);
    io_close(fd);
    if (r == 0)
        r = io_rename(AT_FDCWD, temporary, AT_FDCWD, name);
    return r < 0 ? err_set(reterr, r, "cannot write %s: %s", name, err_name(r)) : 0;
}

static int save(struct positions *p, struct err *reterr) {
    json_t *files = json_array(), *finished = json_array();
    for (size_t i = 0; i < p->count; i++)
        (void)json_array_append_new(files, place_to_json(p->places[i].name, &p->places[i].place));
    size_t n = p->n_finished < FINISHED_MAX ? p->n_finished : FINISHED_MAX;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(
            finished, json_pack("[I,I,I]", (json_int_t)p->finished[i].device,
                                (json_int_t)p->finished[i].inode, (json_int_t)p->finished[i].size));
    json_t *root = json_pack("{s:i, s:o, s:o}", "version", 1, "files", files, "finished", finished);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    int r = text ? write_file(p->path, "", str_from(text), STR("\n"), reterr)
                 : err_set(reterr, -ENOMEM, "out of memory");
    free(text);
    json_decref(root);
    return r;
}

static int load(struct positions *p, struct err *reterr) {
    struct buf text = buf_make(FILE_MAX);
    json_error_t error;
    int r = io_read_file(AT_FDCWD, p->path, &text);
    if (r == -ENOENT) {
        buf_done(&text);
        return 0;
    }
    json_t *root = r == 0 ? json_loadb(text.data, text.size, 0, &error) : NULL;
    bool known = json_integer_value(json_object_get(root, "version")) == 1;
    json_t *files = json_object_get(root, "files"), *item;
    size_t i;
    if (r == 0 && !known)
        r = -ECORRUPT;
    struct place *place = malloc(sizeof(*place));
    json_array_foreach(files, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (r == 0)
            r = place && name ? place_from_json(item, place) : -ECORRUPT;
        if (r == 0)
            r = put(p, name, place);
    }
    json_array_foreach(json_object_get(root, "finished"), i, item)
        positions_finish(p, (uint64_t)json_integer_value(json_array_get(item, 0)),
                         (uint64_t)json_integer_value(json_array_get(item, 1)),
                         (uint64_t)json_integer_value(json_array_get(item, 2)));
    free(place);
    json_decref(root);
    buf_done(&text);
    return r < 0 ? err_set(reterr, r,
                           "%s is not a file of positions that can be read (%s): move it "
                           "away to begin anew",
                           p->path, err_name(r))
                 : 0;
}

static int take_lock(struct positions *p, struct err *reterr) {
    char name[PATH_BYTES];
    (void)snprintf(name, sizeof(name), "%s.lock", p->path);
    p->lock_fd = io_open(AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock_fd < 0)
        return err_set(reterr, p->lock_fd, "cannot open %s: %s", name, err_name(p->lock_fd));
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(reterr, -EBUSY, "%s is in use by another logq push", p->path);
    return 0;
}

int positions_open(const char *path, struct positions **ret, struct err *reterr) {
    struct positions *p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(reterr, -ENOMEM, "out of memory");
    p->lock_fd = -1;
    int r = 0;
    if (path) {
        p->path = strdup(path);
        r = !p->path ? err_set(reterr, -ENOMEM, "out of memory")
            : strlen(path) > PATH_BYTES - 32
                ? err_set(reterr, -ENAMETOOLONG, "the name of the positions file is too long")
                : take_lock(p, reterr);
        if (r == 0)
            r = load(p, reterr);
    }
    if (r < 0) {
        positions_close(p);
        return r;
    }
    *ret = p;
    return 0;
}

void positions_close(struct positions *p) {
    if (!p)
        return;
    io_close(p->lock_fd);
    for (size_t i = 0; i < p->count; i++)
        free(p->places[i].name);
    free(p->places);
    free(p->path);
    free(p);
}

int positions_begin(struct positions *p, const char *name, const struct place *place,
                    struct str body, struct err *reterr) {
    if (!p->path)
        return 0;
    json_t *head = place_to_json(name, place);
    char *text = head ? json_dumps(head, JSON_COMPACT) : NULL;
    struct buf line = buf_make(FILE_MAX);
    buf_add_str(&line, str_from(text ? text : ""));
    buf_add_char(&line, '\n');
    int r = text && !line.failed ? write_file(p->path, ".pending", buf_str(&line), body, reterr)
                                 : err_set(reterr, -ENOMEM, "out of memory");
    buf_done(&line);
    free(text);
    json_decref(head);
    return r;
}

int positions_commit(struct positions *p, const char *name, const struct place *place,
                     struct err *reterr) {
    char pending[PATH_BYTES];
    int r = put(p, name, place);
    if (r < 0)
        return err_set(reterr, r, "more than %d files", NAMES_MAX);
    if (!p->path)
        return 0;
    r = save(p, reterr);
    if (r < 0)
        return r;
    (void)snprintf(pending, sizeof(pending), "%s.pending", p->path);
    (void)io_unlink(AT_FDCWD, pending);
    return 0;
}

int positions_pending(struct positions *p, struct buf *ret_body, char **ret_name,
                      struct place *ret_place, struct err *reterr) {
    char pending[PATH_BYTES];
    struct buf text = buf_make(PENDING_MAX);
    json_error_t error;
    json_t *head = NULL;
    if (!p->path)
        return 0;
    (void)snprintf(pending, sizeof(pending), "%s.pending", p->path);
    int r = io_read_file(AT_FDCWD, pending, &text);
    if (r == -ENOENT) {
        buf_done(&text);
        return 0;
    }
    const char *end = r == 0 && text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    if (end)
        head = json_loadb(text.data, (size_t)(end - text.data), 0, &error);
    const char *name = json_string_value(json_object_get(head, "name"));
    if (r == 0)
        r = name ? place_from_json(head, ret_place) : -ECORRUPT;
    if (r == 0) {
        buf_add_str(ret_body, str_from_offset(buf_str(&text), (size_t)(end - text.data) + 1));
        *ret_name = strdup(name);
        r = *ret_name && !ret_body->failed ? 1 : -ENOMEM;
    }
    json_decref(head);
    buf_done(&text);
    return r < 0 ? err_set(reterr, r, "cannot read %s: %s", pending, err_name(r)) : r;
}
