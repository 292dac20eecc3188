#include "disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 4096, NAME_SIZE = 256, SECTOR = 512, NO_NODE = -1, ROOT = 0 };

enum kind {
    OP_CREATE, /* name in folder `node` -> `other`, file or folder */
    OP_REMOVE, /* name in folder `node`, which was `other` */
    OP_RENAME, /* name in `node` -> name2 in `node2`, the thing is `other` */
    OP_WRITE,  /* data at offset; `direct`: through O_DSYNC */
    OP_SIZE,   /* truncate or allocate */
    OP_SYNC,   /* ends; `at` is the log's size when it began */
    OP_DIRECT, /* the write in entry `at` is durable */
    OP_NOTE,
};

struct op {
    enum kind kind;
    int node, node2, other;
    char *name, *name2;
    uint8_t *data;
    uint64_t offset, size, at;
    bool direct;
    uint32_t note;
};

/* A file or folder that was ever there. Children are kept for folders while recording. */
struct node {
    bool is_dir;
    struct child {
        char *name;
        int node;
    } * children;
    size_t n_children;
    uint8_t *first_data; /* content when watching began */
    size_t first_size;
};

struct disk_log {
    struct node *nodes;
    size_t n_nodes;
    struct op *ops;
    size_t n_ops, capacity;
    size_t n_first; /* entries that describe what was there at the beginning */
};

static struct {
    pthread_mutex_t lock; /* guards all, and the order of calls */
    bool on;
    bool dies, dead;
    unsigned calls_left; /* before it dies */
    char folder[512];
    size_t folder_size;
    struct disk_log *log;
    struct {
        int node;
        bool direct;
    } fds[FDS_MAX];
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *need(void *p) {
    if (!p)
        abort();
    return p;
}

/* ---- the log */

static struct op *add_op(enum kind kind) {
    struct disk_log *log = disk.log;
    if (log->n_ops == log->capacity) {
        log->capacity = log->capacity ? 2 * log->capacity : 1024;
        log->ops = need(realloc(log->ops, log->capacity * sizeof(*log->ops)));
    }
    struct op *op = &log->ops[log->n_ops++];
    *op = (struct op){.kind = kind, .node = NO_NODE, .node2 = NO_NODE, .other = NO_NODE};
    return op;
}

static int add_node(bool is_dir) {
    struct disk_log *log = disk.log;
    log->nodes = need(realloc(log->nodes, (log->n_nodes + 1) * sizeof(*log->nodes)));
    log->nodes[log->n_nodes] = (struct node){.is_dir = is_dir};
    return (int)log->n_nodes++;
}

static struct child *find_child(struct node *dir, const char *name) {
    for (size_t i = 0; i < dir->n_children; i++)
        if (strcmp(dir->children[i].name, name) == 0)
            return &dir->children[i];
    return NULL;
}

static void set_child(struct node *dir, const char *name, int node) {
    struct child *c = find_child(dir, name);
    if (!c) {
        dir->children =
            need(realloc(dir->children, (dir->n_children + 1) * sizeof(*dir->children)));
        c = &dir->children[dir->n_children++];
        c->name = need(strdup(name));
    }
    c->node = node;
}

static void remove_child(struct node *dir, const char *name) {
    struct child *c = find_child(dir, name);
    if (!c)
        return;
    free(c->name);
    *c = dir->children[--dir->n_children];
}

/* ---- names */

static int fd_node(int fd) {
    return disk.on && fd >= 0 && fd < FDS_MAX ? disk.fds[fd].node : NO_NODE;
}

/* Splits into the folder, which must be known, and the last name ("" for the folder itself). */
static int resolve(int dir_fd, const char *path, char name[NAME_SIZE]) {
    int at = NO_NODE;
    if (!disk.on)
        return NO_NODE;
    if (path[0] != '/') {
        at = dir_fd == AT_FDCWD ? NO_NODE : fd_node(dir_fd);
    } else if (strncmp(path, disk.folder, disk.folder_size) == 0 &&
               (path[disk.folder_size] == '/' || path[disk.folder_size] == '\0')) {
        at = ROOT;
        path += disk.folder_size;
    }
    name[0] = '\0';
    while (at != NO_NODE) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        if (size == 0)
            return at;
        if (name[0] != '\0') {
            const struct child *c = find_child(&disk.log->nodes[at], name);
            at = c ? c->node : NO_NODE;
        }
        assert(size < NAME_SIZE);
        memcpy(name, path, size);
        name[size] = '\0';
        if (strcmp(name, ".") == 0)
            name[0] = '\0';
        path += size;
    }
    return at;
}

static int node_of(int parent, const char *name) {
    if (parent == NO_NODE || name[0] == '\0')
        return parent;
    const struct child *c = find_child(&disk.log->nodes[parent], name);
    return c ? c->node : NO_NODE;
}

static void note_created(int parent, const char *name, int node) {
    struct op *op = add_op(OP_CREATE);
    op->node = parent;
    op->other = node;
    op->name = need(strdup(name));
    set_child(&disk.log->nodes[parent], name, node);
}

/* ---- what was there before */

static void import(int node, const char *path) {
    DIR *dir = need(opendir(path));
    for (const struct dirent *e; (e = readdir(dir));) {
        char below[1024];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
        if (stat(below, &st) < 0)
            abort();
        int child = add_node(S_ISDIR(st.st_mode));
        note_created(node, e->d_name, child);
        if (S_ISDIR(st.st_mode)) {
            import(child, below);
            continue;
        }
        FILE *f = need(fopen(below, "r"));
        uint8_t *data = need(malloc((size_t)st.st_size + 1));
        if (fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
            abort();
        (void)fclose(f);
        disk.log->nodes[child].first_data = data;
        disk.log->nodes[child].first_size = (size_t)st.st_size;
    }
    (void)closedir(dir);
}

void disk_watch(const char *folder) {
    assert(!disk.on && folder[0] == '/');
    disk.folder_size = strlen(folder);
    assert(disk.folder_size < sizeof(disk.folder));
    memcpy(disk.folder, folder, disk.folder_size + 1);
    disk.log = need(calloc(1, sizeof(*disk.log)));
    for (size_t i = 0; i < FDS_MAX; i++)
        disk.fds[i].node = NO_NODE;
    int root = add_node(true);
    assert(root == ROOT);
    import(root, folder);
    disk.log->n_first = disk.log->n_ops;
    disk.on = true;
}

void disk_note(uint32_t kind, uint64_t value) {
    pthread_mutex_lock(&disk.lock);
    if (disk.on) {
        struct op *op = add_op(OP_NOTE);
        op->note = kind;
        op->at = value;
    }
    pthread_mutex_unlock(&disk.lock);
}

struct disk_log *disk_unwatch(void) {
    pthread_mutex_lock(&disk.lock);
    struct disk_log *log = disk.log;
    disk.on = false;
    disk.log = NULL;
    pthread_mutex_unlock(&disk.lock);
    return log;
}

void disk_log_free(struct disk_log *log) {
    for (size_t i = 0; i < log->n_ops; i++) {
        free(log->ops[i].name);
        free(log->ops[i].name2);
        free(log->ops[i].data);
    }
    for (size_t i = 0; i < log->n_nodes; i++) {
        for (size_t k = 0; k < log->nodes[i].n_children; k++)
            free(log->nodes[i].children[k].name);
        free(log->nodes[i].children);
        free(log->nodes[i].first_data);
    }
    free(log->nodes);
    free(log->ops);
    free(log);
}

size_t disk_log_size(const struct disk_log *log) {
    return log->n_ops - log->n_first;
}

/* ---- system calls */

void disk_die_after(unsigned calls) {
    pthread_mutex_lock(&disk.lock);
    disk.dies = true;
    disk.calls_left = calls;
    pthread_mutex_unlock(&disk.lock);
}

void disk_revive(void) {
    pthread_mutex_lock(&disk.lock);
    disk.dies = disk.dead = false;
    pthread_mutex_unlock(&disk.lock);
}

/* Is the process dead for a call that would change something watched? */
static bool is_dead(bool watched) {
    if (watched && disk.dies && !disk.dead)
        disk.dead = disk.calls_left-- == 0;
    return watched && disk.dead;
}

/* Ends a call with the lock held. */
static int leave(int r, int error) {
    pthread_mutex_unlock(&disk.lock);
    errno = error;
    return r;
}

static int watched_open(int dir_fd, const char *path, int flags, mode_t mode) {
    char name[NAME_SIZE];
    pthread_mutex_lock(&disk.lock);
    int parent = resolve(dir_fd, path, name), node = node_of(parent, name);
    if (is_dead(parent != NO_NODE && flags & (O_CREAT | O_TRUNC)))
        return leave(-1, EIO);
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    int error = errno;
    if (disk.on && fd >= 0 && fd < FDS_MAX) {
        if (parent != NO_NODE && node == NO_NODE && flags & O_CREAT) {
            node = add_node(false);
            note_created(parent, name, node);
        } else if (node != NO_NODE && flags & O_TRUNC) {
            struct op *op = add_op(OP_SIZE);
            op->node = node;
        }
        disk.fds[fd].node = node;
        disk.fds[fd].direct = (flags & O_DSYNC) != 0;
    }
    return leave(fd, error);
}

static mode_t mode_of(int flags, va_list args) {
    return flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;
}

/* The large-file spellings are names of their own: our code uses those, libraries the plain ones. */
int plain_open(const char *path, int flags, ...) __asm__("open");
int plain_openat(int dir_fd, const char *path, int flags, ...) __asm__("openat");
ssize_t plain_pwrite(int fd, const void *data, size_t size, off_t offset) __asm__("pwrite");
int plain_ftruncate(int fd, off_t size) __asm__("ftruncate");
int plain_fallocate(int fd, int mode, off_t offset, off_t size) __asm__("fallocate");

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return watched_open(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return watched_open(dir_fd, path, flags, mode);
}

int plain_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return watched_open(AT_FDCWD, path, flags, mode);
}

int plain_openat(int dir_fd, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return watched_open(dir_fd, path, flags, mode);
}

int close(int fd) {
    pthread_mutex_lock(&disk.lock);
    if (fd >= 0 && fd < FDS_MAX)
        disk.fds[fd].node = NO_NODE;
    int r = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&disk.lock);
    return r;
}

/* How many of the bytes stand in the file already, from the first one on. Whoever writes past the page cache writes a whole
 * page for its second half, as the kernel does for others: what was there stays sure. */
static size_t unchanged(int fd, const uint8_t *data, size_t size, off_t offset) {
    enum { PAGE = 4096 };
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_DIRECT) == 0)
        return 0;
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    uint8_t there[PAGE];
    ssize_t n = again < 0 ? 0 : pread(again, there, size < PAGE ? size : PAGE, offset);
    size_t same = 0;
    while ((ssize_t)same < n && there[same] == data[same])
        same++;
    if (again >= 0)
        (void)syscall(SYS_close, again);
    return same;
}

static ssize_t watched_write(int fd, const void *data, size_t size, off_t offset, bool at_offset) {
    pthread_mutex_lock(&disk.lock);
    int node = fd_node(fd);
    bool watched = node != NO_NODE && !disk.log->nodes[node].is_dir;
    if (is_dead(watched))
        return leave(-1, EIO);
    if (watched && !at_offset)
        offset = lseek(fd, 0, SEEK_CUR);
    size_t same = watched && at_offset ? unchanged(fd, data, size, offset) : 0;
    ssize_t n = at_offset ? syscall(SYS_pwrite64, fd, data, size, offset)
                          : syscall(SYS_write, fd, data, size);
    int error = errno;
    if (watched && n > 0 && same < (size_t)n) {
        size_t at = disk.log->n_ops;
        struct op *op = add_op(OP_WRITE);
        op->node = node;
        op->offset = (uint64_t)offset + same;
        op->size = (uint64_t)n - same;
        op->data = need(malloc((size_t)op->size));
        memcpy(op->data, (const uint8_t *)data + same, (size_t)op->size);
        op->direct = disk.fds[fd].direct;
        if (op->direct) {
            op = add_op(OP_DIRECT);
            op->node = node;
            op->at = at;
        }
    }
    (void)leave(0, error);
    return n;
}

ssize_t write(int fd, const void *data, size_t size) {
    return watched_write(fd, data, size, 0, false);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return watched_write(fd, data, size, offset, true);
}

ssize_t plain_pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite(fd, data, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (n < 0)
            return total > 0 ? total : n;
        total += n;
        if ((size_t)n < parts[i].iov_len)
            break;
    }
    return total;
}

static int watched_sync(int fd) {
    pthread_mutex_lock(&disk.lock);
    int node = fd_node(fd);
    uint64_t begun_at = disk.log ? disk.log->n_ops : 0;
    if (is_dead(node != NO_NODE))
        return leave(-1, EIO);
    pthread_mutex_unlock(&disk.lock);
    if (node == NO_NODE)
        return 0;
    sched_yield(); /* what others write meanwhile is not covered */
    pthread_mutex_lock(&disk.lock);
    if (disk.dead)
        return leave(-1, EIO);
    if (disk.on) {
        struct op *op = add_op(OP_SYNC);
        op->node = node;
        op->at = begun_at;
    }
    return leave(0, 0);
}

int fsync(int fd) {
    return watched_sync(fd);
}

int fdatasync(int fd) {
    return watched_sync(fd);
}

static void note_size(int fd, uint64_t size) {
    int node = fd_node(fd);
    if (node == NO_NODE)
        return;
    struct op *op = add_op(OP_SIZE);
    op->node = node;
    op->size = size;
}

int ftruncate(int fd, off_t size) {
    pthread_mutex_lock(&disk.lock);
    if (is_dead(fd_node(fd) != NO_NODE))
        return leave(-1, EIO);
    int r = (int)syscall(SYS_ftruncate, fd, size);
    int error = errno;
    if (r == 0)
        note_size(fd, (uint64_t)size);
    return leave(r, error);
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
    pthread_mutex_lock(&disk.lock);
    if (is_dead(fd_node(fd) != NO_NODE))
        return leave(-1, EIO);
    int r = (int)syscall(SYS_fallocate, fd, mode, offset, size);
    int error = errno;
    struct stat st;
    if (r == 0 && mode == 0 && fstat(fd, &st) == 0)
        note_size(fd, (uint64_t)st.st_size);
    return leave(r, error);
}

int plain_ftruncate(int fd, off_t size) {
    return ftruncate(fd, size);
}

int plain_fallocate(int fd, int mode, off_t offset, off_t size) {
    return fallocate(fd, mode, offset, size);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    char name[NAME_SIZE], name2[NAME_SIZE];
    pthread_mutex_lock(&disk.lock);
    int parent = resolve(from_fd, from, name), parent2 = resolve(to_fd, to, name2);
    int node = node_of(parent, name);
    if (is_dead(node != NO_NODE))
        return leave(-1, EIO);
    int r = (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
    int error = errno;
    if (r == 0 && node != NO_NODE && parent2 != NO_NODE) {
        struct op *op = add_op(OP_RENAME);
        op->node = parent;
        op->node2 = parent2;
        op->other = node;
        op->name = need(strdup(name));
        op->name2 = need(strdup(name2));
        remove_child(&disk.log->nodes[parent], name);
        set_child(&disk.log->nodes[parent2], name2, node);
    }
    return leave(r, error);
}

int unlinkat(int dir_fd, const char *path, int flags) {
    char name[NAME_SIZE];
    pthread_mutex_lock(&disk.lock);
    int parent = resolve(dir_fd, path, name), node = node_of(parent, name);
    if (is_dead(node != NO_NODE))
        return leave(-1, EIO);
    int r = (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    int error = errno;
    if (r == 0 && node != NO_NODE) {
        struct op *op = add_op(OP_REMOVE);
        op->node = parent;
        op->other = node;
        op->name = need(strdup(name));
        remove_child(&disk.log->nodes[parent], name);
    }
    return leave(r, error);
}

int mkdirat(int dir_fd, const char *path, mode_t mode) {
    char name[NAME_SIZE];
    pthread_mutex_lock(&disk.lock);
    int parent = resolve(dir_fd, path, name);
    if (is_dead(parent != NO_NODE))
        return leave(-1, EIO);
    int r = (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    int error = errno;
    if (r == 0 && parent != NO_NODE)
        note_created(parent, name, add_node(true));
    return leave(r, error);
}

/* ---- replay: what the disk is sure to hold, and what is pending */

struct content {
    uint8_t *data;
    size_t size, capacity;
};

struct state {
    struct content content; /* of a file */
    struct child *children; /* of a folder; names are the log's */
    size_t n_children;
    size_t *pending; /* entries of the log, ascending */
    size_t n_pending, capacity;
};

struct disk_replay {
    const struct disk_log *log;
    struct state *states; /* one per node */
    size_t at;
};

static void content_resize(struct content *c, size_t size) {
    if (size > c->capacity) {
        c->capacity = size + size / 2 + SECTOR;
        c->data = need(realloc(c->data, c->capacity));
    }
    if (size > c->size)
        memset(c->data + c->size, 0, size - c->size);
    c->size = size;
}

static void content_write(struct content *c, uint64_t offset, const uint8_t *data, size_t size) {
    if (size == 0)
        return;
    if (offset + size > c->size)
        content_resize(c, (size_t)offset + size);
    memcpy(c->data + offset, data, size);
}

static void apply_to_file(struct content *c, const struct op *op) {
    if (op->kind == OP_WRITE)
        content_write(c, op->offset, op->data, (size_t)op->size);
    else
        content_resize(c, (size_t)op->size);
}

struct names {
    struct child *items;
    size_t n;
};

static void names_remove(struct names *l, const char *name, int node) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].name, name) == 0 && l->items[i].node == node) {
            l->items[i] = l->items[--l->n];
            return;
        }
}

static void names_set(struct names *l, char *name, int node) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].name, name) == 0) {
            l->items[i].node = node;
            return;
        }
    l->items = need(realloc(l->items, (l->n + 1) * sizeof(*l->items)));
    l->items[l->n++] = (struct child){.name = name, .node = node};
}

static void apply_to_folder(struct names *l, int node, const struct op *op) {
    if (op->kind == OP_CREATE)
        names_set(l, op->name, op->other);
    else if (op->kind == OP_REMOVE || op->node == node)
        names_remove(l, op->name, op->other);
    if (op->kind == OP_RENAME && op->node2 == node)
        names_set(l, op->name2, op->other);
}

static void make_durable(struct disk_replay *r, int node, size_t entry) {
    struct state *s = &r->states[node];
    if (!r->log->nodes[node].is_dir) {
        apply_to_file(&s->content, &r->log->ops[entry]);
        return;
    }
    struct names l = {.items = s->children, .n = s->n_children};
    apply_to_folder(&l, node, &r->log->ops[entry]);
    s->children = l.items;
    s->n_children = l.n;
}

static void pend(struct disk_replay *r, int node, size_t entry) {
    struct state *s = &r->states[node];
    if (s->n_pending == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 16;
        s->pending = need(realloc(s->pending, s->capacity * sizeof(*s->pending)));
    }
    s->pending[s->n_pending++] = entry;
}

static bool overlap(const struct op *a, const struct op *b) {
    return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* Takes entries out of a node's pending ones and makes them durable: those before `before`, or, for a write through
 * O_DSYNC, the one entry `only` and older ones in its place. A rename between folders is durable for both at once. */
static void settle(struct disk_replay *r, int node, size_t before, const struct op *only) {
    struct state *s = &r->states[node];
    size_t kept = 0;
    for (size_t i = 0; i < s->n_pending; i++) {
        size_t entry = s->pending[i];
        const struct op *op = &r->log->ops[entry];
        if (entry >= before ||
            (only && op != only && !(op->kind == OP_WRITE && overlap(op, only)))) {
            s->pending[kept++] = entry;
            continue;
        }
        make_durable(r, node, entry);
        int other = op->kind != OP_RENAME || op->node == op->node2 ? NO_NODE
                    : op->node == node                             ? op->node2
                                                                   : op->node;
        struct state *o = other == NO_NODE ? NULL : &r->states[other];
        for (size_t k = 0; o && k < o->n_pending; k++)
            if (o->pending[k] == entry) {
                make_durable(r, other, entry);
                memmove(o->pending + k, o->pending + k + 1,
                        (--o->n_pending - k) * sizeof(*o->pending));
            }
    }
    s->n_pending = kept;
}

static void step(struct disk_replay *r, size_t entry) {
    const struct op *op = &r->log->ops[entry];
    switch (op->kind) {
    case OP_RENAME:
        pend(r, op->node, entry);
        if (op->node2 != op->node)
            pend(r, op->node2, entry);
        break;
    case OP_CREATE:
    case OP_REMOVE:
    case OP_WRITE:
    case OP_SIZE:
        pend(r, op->node, entry);
        break;
    case OP_SYNC:
        settle(r, op->node, (size_t)op->at, NULL);
        break;
    case OP_DIRECT:
        settle(r, op->node, (size_t)op->at + 1, &r->log->ops[op->at]);
        break;
    case OP_NOTE:
        break;
    }
}

struct disk_replay *disk_replay_new(const struct disk_log *log) {
    struct disk_replay *r = need(calloc(1, sizeof(*r)));
    r->log = log;
    r->states = need(calloc(log->n_nodes, sizeof(*r->states)));
    for (size_t i = 0; i < log->n_nodes; i++)
        if (log->nodes[i].first_size > 0)
            content_write(&r->states[i].content, 0, log->nodes[i].first_data,
                          log->nodes[i].first_size);
    for (; r->at < log->n_first; r->at++)
        make_durable(r, log->ops[r->at].node, r->at);
    return r;
}

void disk_replay_free(struct disk_replay *r) {
    for (size_t i = 0; i < r->log->n_nodes; i++) {
        free(r->states[i].content.data);
        free(r->states[i].children);
        free(r->states[i].pending);
    }
    free(r->states);
    free(r);
}

void disk_replay_to(struct disk_replay *r, size_t place, disk_note_fn *fn, void *ctx) {
    for (; r->at < r->log->n_first + place; r->at++) {
        const struct op *op = &r->log->ops[r->at];
        if (op->kind == OP_NOTE)
            fn(op->note, op->at, ctx);
        else
            step(r, r->at);
    }
}

/* ---- the power fails */

enum fate { FATE_NOTHING, FATE_ALL, FATE_FIRST, FATE_SOME, FATE_GARBLED, FATES };

static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A write of which each sector meets its own fate. */
static void crash_write(struct content *c, const struct op *op, uint64_t seed, bool garble) {
    for (uint64_t from = op->offset; from < op->offset + op->size;) {
        uint64_t to = from / SECTOR * SECTOR + SECTOR;
        if (to > op->offset + op->size)
            to = op->offset + op->size;
        uint64_t dice = mix(seed ^ from);
        const uint8_t *data = op->data + (from - op->offset);
        if (garble && !op->direct && dice % 4 == 0) {
            uint8_t noise[SECTOR];
            for (size_t i = 0; i < to - from; i++)
                noise[i] = (uint8_t)mix(dice + i);
            content_write(c, from, noise, (size_t)(to - from));
        } else if (dice % 2 == 0) {
            content_write(c, from, data, (size_t)(to - from));
        }
        from = to;
    }
}

static void crash_file(const struct disk_replay *r, int node, uint64_t seed, struct content *ret) {
    const struct state *s = &r->states[node];
    content_write(ret, 0, s->content.data, s->content.size);
    enum fate fate = (enum fate)(mix(seed) % FATES);
    size_t first = s->n_pending > 0 ? (size_t)(mix(seed + 1) % s->n_pending) : 0;
    for (size_t i = 0; i < s->n_pending; i++) {
        const struct op *op = &r->log->ops[s->pending[i]];
        uint64_t own = mix(seed ^ (s->pending[i] << 20));
        bool whole = fate == FATE_ALL || (fate == FATE_FIRST && i < first);
        bool parts =
            fate == FATE_SOME || fate == FATE_GARBLED || (fate == FATE_FIRST && i == first);
        if (whole || (parts && op->kind == OP_SIZE && own % 2 == 0))
            apply_to_file(ret, op);
        else if (parts && op->kind == OP_WRITE)
            crash_write(ret, op, own, fate == FATE_GARBLED);
    }
}

static struct names crash_folder(const struct disk_replay *r, int node, uint64_t seed) {
    const struct state *s = &r->states[node];
    struct names l = {0};
    for (size_t i = 0; i < s->n_children; i++)
        names_set(&l, s->children[i].name, s->children[i].node);
    enum fate fate = (enum fate)(mix(seed + (uint64_t)node) % FATES);
    size_t first = s->n_pending > 0 ? (size_t)(mix(seed + 1) % s->n_pending) : 0;
    for (size_t i = 0; i < s->n_pending; i++) {
        const struct op *op = &r->log->ops[s->pending[i]];
        /* The same for both folders of a rename. */
        bool alone = op->kind == OP_RENAME && op->node != op->node2;
        bool some = mix(seed ^ (s->pending[i] << 20)) % 2 == 0;
        if (alone ? some
                  : fate == FATE_ALL ||
                        (fate == FATE_FIRST ? i < first : fate != FATE_NOTHING && some))
            apply_to_folder(&l, node, op);
    }
    return l;
}

/* Zeros are left out: segments of the WAL are mostly spare. */
static void write_content(int dir_fd, const char *name, const struct content *c) {
    int fd = (int)syscall(SYS_openat, dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || syscall(SYS_ftruncate, fd, c->size) < 0)
        abort();
    size_t used = c->size;
    while (used > 0 && c->data[used - 1] == 0)
        used--;
    for (size_t at = 0; at < used;) {
        ssize_t n = syscall(SYS_pwrite64, fd, c->data + at, used - at, at);
        if (n <= 0)
            abort();
        at += (size_t)n;
    }
    (void)syscall(SYS_close, fd);
}

static void make_folder(const struct disk_replay *r, int node, int dir_fd, uint64_t seed) {
    struct names l = crash_folder(r, node, seed);
    for (size_t i = 0; i < l.n; i++) {
        int child = l.items[i].node;
        if (r->log->nodes[child].is_dir) {
            if (syscall(SYS_mkdirat, dir_fd, l.items[i].name, 0755) < 0)
                abort();
            int fd = (int)syscall(SYS_openat, dir_fd, l.items[i].name, O_RDONLY | O_DIRECTORY, 0);
            make_folder(r, child, fd, seed);
            (void)syscall(SYS_close, fd);
        } else if (strcmp(l.items[i].name, "lock.mdb") != 0) { /* means nothing after a restart */
            struct content c = {0};
            crash_file(r, child, mix(seed + (uint64_t)child), &c);
            write_content(dir_fd, l.items[i].name, &c);
            free(c.data);
        }
    }
    free(l.items);
}

void disk_crash(const struct disk_replay *r, const char *folder, uint64_t seed) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        abort();
    make_folder(r, ROOT, fd, mix(seed));
    (void)syscall(SYS_close, fd);
}
