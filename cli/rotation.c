#include "rotation.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "str.h"
#include "units.h"

enum { PATH_BYTES = 4096 };

static bool is_compressed(struct str name) {
    static const struct str endings[] = {STR_INIT(".gz"),  STR_INIT(".zst"), STR_INIT(".xz"),
                                         STR_INIT(".bz2"), STR_INIT(".lz4"), STR_INIT(".zip"),
                                         STR_INIT(".tmp")};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (str_ends(name, endings[i]))
            return true;
    return false;
}

/* Calls fn for each file beside `path` whose name goes on behind a dot or hyphen, until it returns true. */
typedef bool sibling_fn(const char *name, const struct stat *st, void *ctx);

static void each_sibling(const char *path, sibling_fn *fn, void *ctx) {
    char folder[PATH_BYTES], full[2 * PATH_BYTES];
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t base_size = strlen(base);
    int n = slash ? snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path)
                  : snprintf(folder, sizeof(folder), "./");
    DIR *dir = n > 0 && n < PATH_BYTES ? opendir(folder) : NULL;
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (strncmp(e->d_name, base, base_size) != 0 ||
            (e->d_name[base_size] != '.' && e->d_name[base_size] != '-') ||
            is_compressed(str_from(e->d_name)))
            continue;
        (void)snprintf(full, sizeof(full), "%s%s", slash ? folder : "", e->d_name);
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode) && fn(full, &st, ctx))
            break;
    }
    (void)closedir(dir);
}

struct wanted {
    const struct positions *positions;
    uint64_t device, inode;
    int64_t modified_ns, best_ns;
    char *found;
};

static int64_t modified(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
}

static bool is_inode(const char *name, const struct stat *st, void *ctx) {
    struct wanted *w = ctx;
    if (st->st_dev != w->device || st->st_ino != w->inode)
        return false;
    w->found = strdup(name);
    return true;
}

char *rotation_find(const char *path, uint64_t device, uint64_t inode) {
    struct wanted w = {.device = device, .inode = inode};
    each_sibling(path, is_inode, &w);
    return w.found;
}

static bool is_next(const char *name, const struct stat *st, void *ctx) {
    struct wanted *w = ctx;
    int64_t ns = modified(st);
    bool same = st->st_dev == w->device && st->st_ino == w->inode;
    if (same || ns < w->modified_ns || (w->found && ns >= w->best_ns) ||
        positions_is_finished(w->positions, st->st_dev, st->st_ino, (uint64_t)st->st_size))
        return false;
    free(w->found);
    w->found = strdup(name);
    w->best_ns = ns;
    return false;
}

char *rotation_next(const char *path, const struct positions *positions, uint64_t device,
                    uint64_t inode, int64_t modified_ns) {
    struct wanted w = {
        .positions = positions, .device = device, .inode = inode, .modified_ns = modified_ns};
    each_sibling(path, is_next, &w);
    return w.found;
}
