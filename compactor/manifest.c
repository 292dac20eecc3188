#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "io.h"
#include "units.h"

enum { ARENA_MAX = 1 << 30, HASH_DIGITS = 32 };

#define FIRST_LINE "logq-backup 1\n"

struct manifest manifest_make(void) {
    return (struct manifest){.arena = arena_make(ARENA_MAX)};
}

void manifest_done(struct manifest *m) {
    free(m->files);
    arena_done(&m->arena);
    *m = manifest_make();
}

int manifest_add(struct manifest *m, const char *path, uint64_t size, struct hash128 hash) {
    if (m->count == m->capacity) {
        size_t capacity = m->capacity ? m->capacity * 2 : 1024;
        struct manifest_file *files = realloc(m->files, sizeof(*files) * capacity);
        if (!files)
            return -ENOMEM;
        m->files = files;
        m->capacity = capacity;
    }
    struct str copy = arena_copy(&m->arena, str_make(path, strlen(path) + 1));
    if (!copy.data)
        return -ENOMEM;
    m->files[m->count++] = (struct manifest_file){.path = copy.data, .size = size, .hash = hash};
    return 0;
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const struct manifest_file *)a)->path, ((const struct manifest_file *)b)->path);
}

void manifest_sort(struct manifest *m) {
    size_t n = 0;
    if (m->count > 0)
        qsort(m->files, m->count, sizeof(*m->files), compare_files);
    for (size_t i = 0; i < m->count; i++)
        if (n == 0 || strcmp(m->files[n - 1].path, m->files[i].path) != 0)
            m->files[n++] = m->files[i];
    m->count = n;
}

const struct manifest_file *manifest_find(const struct manifest *m, const char *path) {
    struct manifest_file key = {.path = path};
    return m->count > 0 ? bsearch(&key, m->files, m->count, sizeof(key), compare_files) : NULL;
}

/* ---- text */

static void add_hash(struct buf *out, struct hash128 h) {
    buf_addf(out, "%016" PRIx64 "%016" PRIx64, h.high, h.low);
}

static bool parse_hash(struct str text, struct hash128 *ret) {
    uint64_t halves[2] = {0};
    if (text.size != HASH_DIGITS)
        return false;
    for (size_t i = 0; i < HASH_DIGITS; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        halves[i / 16] = halves[i / 16] << 4 | (uint64_t)digit;
    }
    *ret = (struct hash128){.high = halves[0], .low = halves[1]};
    return true;
}

/* A path that cannot leave the backup. */
static bool is_sound(struct str path) {
    if (path.size == 0 || path.size > MANIFEST_PATH_MAX || path.data[0] == '/')
        return false;
    for (size_t i = 0; i < path.size; i++)
        if ((unsigned char)path.data[i] < ' ')
            return false;
    for (size_t i = 0; i + 1 < path.size; i++)
        if (path.data[i] == '.' && path.data[i + 1] == '.' && (i == 0 || path.data[i - 1] == '/'))
            return false;
    return true;
}

/* Up to the next `end`, which is taken, too. */
static bool take(struct str *text, char end, struct str *ret) {
    const char *at = text->size > 0 ? memchr(text->data, end, text->size) : NULL;
    if (!at)
        return false;
    *ret = str_make(text->data, (size_t)(at - text->data));
    *text = str_from_offset(*text, ret->size + 1);
    return true;
}

static int parse_file(struct manifest *m, struct str size_text, struct str rest) {
    char path[MANIFEST_PATH_MAX + 1];
    struct str hash_text;
    struct hash128 hash;
    uint64_t size;
    if (u64_parse(size_text, &size) < 0 || !take(&rest, ' ', &hash_text) ||
        !parse_hash(hash_text, &hash) || !is_sound(rest))
        return -ECORRUPT;
    memcpy(path, rest.data, rest.size);
    path[rest.size] = '\0';
    return manifest_add(m, path, size, hash);
}

int manifest_parse(struct str text, struct manifest *ret, struct err *reterr) {
    struct str all = text, line, word;
    struct manifest m = manifest_make();
    int r = 0;
    if (!str_starts(text, STR("logq-backup ")))
        return err_set(reterr, -ECORRUPT, "the manifest is none of a backup");
    if (!str_starts(text, STR(FIRST_LINE)))
        return err_set(reterr, -EFORMAT, "the manifest has a format that this build does not know");
    text = str_from_offset(text, sizeof(FIRST_LINE) - 1);
    bool ended = false;
    while (r == 0 && !ended) {
        size_t above = all.size - text.size;
        if (!take(&text, '\n', &line) || !take(&line, ' ', &word)) {
            r = -ECORRUPT;
        } else if (str_eq(word, STR("end"))) {
            struct hash128 want = hash128(all.data, above), hash;
            uint64_t count;
            ended = take(&line, ' ', &word) && u64_parse(word, &count) == 0 && count == m.count &&
                    parse_hash(line, &hash) && hash.low == want.low && hash.high == want.high &&
                    text.size == 0;
            r = ended ? 0 : -ECORRUPT;
        } else {
            r = parse_file(&m, word, line);
        }
    }
    if (r < 0) {
        manifest_done(&m);
        return err_set(reterr, r, "the manifest is damaged: %s", err_name(r));
    }
    manifest_sort(&m);
    *ret = m;
    return 0;
}

int manifest_read(int dir_fd, struct manifest *ret, struct err *reterr) {
    struct buf text = buf_make(MANIFEST_BYTES_MAX);
    int r = io_read_file(dir_fd, MANIFEST_NAME, &text);
    if (r < 0)
        (void)err_set(reterr, r, "cannot read the manifest: %s", err_name(r));
    else
        r = manifest_parse(buf_str(&text), ret, reterr);
    buf_done(&text);
    return r;
}

int manifest_write(int dir_fd, struct manifest *m, struct err *reterr) {
    struct buf text = buf_make(MANIFEST_BYTES_MAX);
    manifest_sort(m);
    buf_add_str(&text, STR(FIRST_LINE));
    for (size_t i = 0; i < m->count; i++) {
        buf_addf(&text, "%" PRIu64 " ", m->files[i].size);
        add_hash(&text, m->files[i].hash);
        buf_addf(&text, " %s\n", m->files[i].path);
    }
    struct hash128 hash = hash128(text.data, text.size);
    buf_addf(&text, "end %zu ", m->count);
    add_hash(&text, hash);
    buf_add_char(&text, '\n');
    int r = text.failed ? -ENOMEM : io_write_file_durable(dir_fd, MANIFEST_NAME, buf_str(&text));
    buf_done(&text);
    return r < 0 ? err_set(reterr, r, "cannot write the manifest: %s", err_name(r)) : 0;
}

int manifest_measure(int dir_fd, const char *path, uint64_t *ret_size, struct hash128 *ret_hash) {
    int fd = io_open(dir_fd, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    void *map = NULL;
    int r = io_file_size(fd, ret_size);
    if (r == 0 && *ret_size > 0)
        r = io_mmap(fd, 0, (size_t)*ret_size, &map);
    if (r == 0) {
        *ret_hash = hash128(map ? map : "", map ? (size_t)*ret_size : 0);
        if (map)
            io_munmap(map, (size_t)*ret_size);
    }
    io_close(fd);
    return r;
}
