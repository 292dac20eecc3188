#include "textstore.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "infile.h"
#include "stamper.h"
#include "store.h"

enum {
    BLOCK_SIZE = 1 << 20,
    BATCH_LINES = 16 << 10, /* a block of empty lines would be a large batch */
    BUSY_MS = 2,            /* until the next try, when the store is busy encoding */
};

struct textstore {
    struct store *store;
    struct entry *entries; /* BATCH_LINES */
    char *block;           /* what has been read and is not stored yet */
    size_t filled, capacity;
    int64_t first_ns, last_ns;
    bool has_lines;
    _Atomic int failure; /* of the WAL */
};

int textstore_open(const char *dir, struct textstore **ret, struct err *reterr) {
    const struct store_options o = {.data_dir = dir, .wal.sync = WAL_SYNC_OFF, .no_patterns = true};
    struct textstore *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(reterr, -ENOMEM, "out of memory");
    t->entries = calloc(BATCH_LINES, sizeof(*t->entries));
    int r =
        t->entries ? store_open(&o, &t->store, reterr) : err_set(reterr, -ENOMEM, "out of memory");
    if (r < 0) {
        free(t->entries);
        free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* ---- lines */

static void stored(void *ctx, int status) {
    struct textstore *t = ctx;
    if (status < 0)
        atomic_store(&t->failure, status);
}

static int append(struct textstore *t, struct stream *stream, size_t count, struct err *reterr) {
    const struct batch_stream one = {.stream = stream, .entries = t->entries, .count = count};
    const struct batch batch = {.tenant = STR("fake"), .streams = &one, .n_streams = 1};
    if (count == 0)
        return 0;
    for (;;) {
        int r = store_append(t->store, &batch, stored, t, reterr);
        if (r != -EBUSYNOW)
            return r;
        const struct timespec pause = {.tv_nsec = BUSY_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
}

static void take_time(struct textstore *t, int64_t ns) {
    t->first_ns = !t->has_lines || ns < t->first_ns ? ns : t->first_ns;
    t->last_ns = !t->has_lines || ns > t->last_ns ? ns : t->last_ns;
    t->has_lines = true;
}

/* Whole lines; the last one may lack its line break. */
static int take_lines(struct textstore *t, struct stream *stream, struct stamper *stamps,
                      struct str text, struct err *reterr) {
    int64_t now_ns = clock_now_ns();
    size_t count = 0;
    for (size_t at = 0; at < text.size;) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        struct str line = str_make(text.data + at, size);
        at += size + 1;
        if (line.size > 0 && line.data[line.size - 1] == '\r')
            line.size--;
        if (line.size > ENTRY_LINE_MAX)
            return err_set(reterr, -E2BIG, "a line has more than %d bytes", ENTRY_LINE_MAX);
        int64_t ns = stamper_next(stamps, line, 0, now_ns);
        take_time(t, ns);
        t->entries[count++] = (struct entry){.ts_ns = ns, .line = line};
        if (count == BATCH_LINES) {
            int r = append(t, stream, count, reterr);
            if (r < 0)
                return r;
            count = 0;
        }
    }
    return append(t, stream, count, reterr);
}

static int make_room(struct textstore *t) {
    if (t->capacity - t->filled >= BLOCK_SIZE)
        return 0;
    size_t capacity = t->filled + BLOCK_SIZE;
    char *block = realloc(t->block, capacity);
    if (!block)
        return -ENOMEM;
    t->block = block;
    t->capacity = capacity;
    return 0;
}

static int read_lines(struct textstore *t, struct infile *in, struct stream *stream,
                      struct err *reterr) {
    struct stamper stamps;
    stamper_init_stream(&stamps, false);
    t->filled = 0;
    for (;;) {
        if (t->filled > (size_t)ENTRY_LINE_MAX + BLOCK_SIZE)
            return err_set(reterr, -E2BIG, "a line has more than %d bytes", ENTRY_LINE_MAX);
        if (make_room(t) < 0)
            return err_set(reterr, -ENOMEM, "out of memory");
        ssize_t n = infile_read(in, t->block + t->filled, BLOCK_SIZE, reterr);
        if (n < 0)
            return (int)n;
        const char *last = n > 0 ? memrchr(t->block + t->filled, '\n', (size_t)n) : NULL;
        t->filled += (size_t)n;
        size_t end = n == 0 ? t->filled : last ? (size_t)(last - t->block) + 1 : 0;
        int r = take_lines(t, stream, &stamps, str_make(t->block, end), reterr);
        if (r < 0 || n == 0)
            return r;
        memmove(t->block, t->block + end, t->filled - end);
        t->filled -= end;
    }
}

int textstore_add(struct textstore *t, const char *path, struct err *reterr) {
    const struct label label = {STR("filename"), str_from(strcmp(path, "-") == 0 ? "stdin" : path)};
    const struct labels labels = {.items = &label, .count = 1};
    struct infile *in = NULL;
    struct stream *stream = NULL;
    int r = infile_open(path, &in, reterr);
    if (r == 0)
        r = store_stream(t->store, STR("fake"), labels, STR(""), &stream, reterr);
    if (r == 0)
        r = read_lines(t, in, stream, reterr);
    if (stream)
        store_unpin(t->store, stream);
    infile_close(in);
    return r;
}

bool textstore_times(const struct textstore *t, int64_t *ret_first_ns, int64_t *ret_last_ns) {
    if (!t->has_lines)
        return false;
    *ret_first_ns = t->first_ns;
    *ret_last_ns = t->last_ns;
    return true;
}

int textstore_close(struct textstore *t, struct err *reterr) {
    if (!t)
        return 0;
    int r = store_flush(t->store, reterr);
    store_close(t->store);
    int failure = atomic_load(&t->failure);
    free(t->entries);
    free(t->block);
    free(t);
    return r < 0         ? r
           : failure < 0 ? err_set(reterr, failure, "cannot store the text: %s", err_name(failure))
                         : 0;
}
