#include "sieves.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "log.h"
#include "map.h"
#include "sieve.h"
#include "units.h"

enum {
    OPEN_DAY_CHUNKS =
        64, /* a day that is being written: fewer, and fewer blocks, are not worth it yet */
    OPEN_DAY_BLOCKS = 256,
    MISSING_SHARE = 8, /* of a day that is over */
    ROOM_SHARE = 10,   /* of the free space may be used */
    SIEVE_SHARE = 8,   /* of the chunks' bytes: more than a sieve takes */
    PAIRS_MAX = 2048,
    ARENA_MAX = 256 << 20,
};

struct day {
    int32_t day;
    uint64_t rows_sum; /* of fingerprints */
    uint64_t chunks, blocks, file_bytes;
};

struct round {
    struct store *store;
    const struct merge_policy *policy;
    const struct merge_hooks *hooks;
    int64_t now_ns;
    struct sieves_result *result;
    struct err *reterr;
    struct str tenant;
    struct arena arena;
    struct map days; /* of the tenant, by the bytes of their numbers */
    struct index_chunk *rows;
    size_t n_rows, rows_capacity;
    int32_t wanted_day;
};

static bool stopped(void *ctx) {
    const struct round *x = ctx;
    return x->hooks->stopped && x->hooks->stopped(x->hooks->ctx);
}

/* ---- what there is */

static struct str day_key(const int32_t *day) {
    return str_make((const char *)day, sizeof(*day));
}

static int count_row(const struct index_chunk *c, void *ctx) {
    struct round *x = ctx;
    struct day *d = map_get(&x->days, day_key(&c->day));
    if (stopped(x))
        return -ECANCELED;
    if (!d) {
        d = arena_array(&x->arena, 1, sizeof(*d));
        if (!d)
            return -ENOMEM;
        d->day = c->day;
        if (map_put(&x->days, day_key(&d->day), d) < 0)
            return -ENOMEM;
    }
    d->rows_sum += sieve_fingerprint(c);
    d->chunks++;
    d->blocks += c->sums.blocks;
    d->file_bytes += c->sums.file_bytes;
    return 0;
}

static int collect_row(const struct index_chunk *c, void *ctx) {
    struct round *x = ctx;
    if (stopped(x))
        return -ECANCELED;
    if (c->day != x->wanted_day)
        return 0;
    if (x->n_rows == x->rows_capacity) {
        size_t capacity = x->rows_capacity ? x->rows_capacity * 2 : 256;
        struct index_chunk *rows = realloc(x->rows, sizeof(*rows) * capacity);
        if (!rows)
            return -ENOMEM;
        x->rows = rows;
        x->rows_capacity = capacity;
    }
    x->rows[x->n_rows++] = *c;
    return 0;
}

/* ---- whether it is time */

/* Without a sieve. */
static bool is_worth_one(const struct round *x, const struct day *d) {
    return merge_is_settled(x->policy, d->day, x->now_ns) || d->chunks >= OPEN_DAY_CHUNKS ||
           d->blocks >= OPEN_DAY_BLOCKS;
}

static bool is_outdated(const struct round *x, const struct day *d, const struct sieve *sieve) {
    uint64_t covered = 0, all = sieve_blocks(sieve);
    for (size_t i = 0; i < x->n_rows; i++)
        if (sieve_find(sieve, sieve_fingerprint(&x->rows[i])) >= 0)
            covered += x->rows[i].sums.blocks;
    uint64_t missing = d->blocks > covered ? d->blocks - covered : 0;
    uint64_t gone = all > covered ? all - covered : 0;
    if (x->policy->everything)
        return missing > 0 || gone > 0;
    if (merge_is_settled(x->policy, d->day, x->now_ns))
        return missing > covered / MISSING_SHARE || gone > covered;
    return missing > covered + OPEN_DAY_BLOCKS || gone > covered;
}

static bool has_room(const struct round *x, const struct day *d) {
    uint64_t free_bytes = 0, total_bytes = 0;
    return io_disk_space(store_dir_fd(x->store), &free_bytes, &total_bytes) == 0 &&
           d->file_bytes / SIEVE_SHARE <= free_bytes / ROOM_SHARE;
}

/* ---- doing it */

static void log_day(const struct round *x, int level, const char *msg, int32_t day,
                    const char *err) {
    struct buf pairs = buf_make(PAIRS_MAX);
    char text[11];
    if (!x->hooks->log)
        return;
    day_format(text, day);
    buf_addf(&pairs, "tenant=");
    go_quote(&pairs, x->tenant);
    buf_addf(&pairs, " day=%s err=", text);
    go_quote(&pairs, str_from(err));
    buf_add_char(&pairs, '\0');
    x->hooks->log(level, msg, pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

static void remove_sieve(struct round *x, int32_t day) {
    if (store_remove_sieve(x->store, x->tenant, day) == 0)
        x->result->removed++;
    else
        x->result->failures++;
}

static int write_sieve(struct round *x, const struct day *d) {
    struct sieve_written written = {0};
    struct err err = {0};
    const struct sieve_order order = {.tenant = x->tenant,
                                      .day = d->day,
                                      .rows = x->rows,
                                      .n_rows = x->n_rows,
                                      .rows_sum = d->rows_sum,
                                      .stopped = stopped,
                                      .ctx = x};
    if (x->hooks->enter)
        x->hooks->enter(x->hooks->ctx);
    int r = store_write_sieve(x->store, &order, &written, &err);
    if (x->hooks->leave)
        x->hooks->leave(x->hooks->ctx);
    if (r == -ECANCELED || r == -ENODATA)
        return r == -ENODATA ? 0 : r;
    if (r < 0) {
        x->result->failures++;
        log_day(x, LOG_WARN, "a day's sieve was not written", d->day, err.text);
        return 0;
    }
    x->result->written++;
    x->result->written_bytes += written.file_bytes;
    return 0;
}

/* A sieve that cannot be opened is one that is not there. */
static int look_at_day(struct round *x, const struct day *d) {
    char path[CHUNK_PATH_MAX];
    uint64_t rows_sum = 0;
    struct sieve *sieve = NULL;
    int r = sieve_path(path, x->tenant, d->day);
    if (r < 0)
        return 0;
    r = sieve_peek(store_dir_fd(x->store), path, &rows_sum);
    if (d->chunks < SIEVES_CHUNKS_MIN) {
        if (r != -ENOENT)
            remove_sieve(x, d->day);
        return 0;
    }
    if (r == 0 && rows_sum == d->rows_sum)
        return 0;
    if ((r < 0 && !is_worth_one(x, d)) || !has_room(x, d))
        return 0;
    x->n_rows = 0;
    x->wanted_day = d->day;
    int walk = index_walk_chunks(store_index(x->store), x->tenant, collect_row, x, x->reterr);
    if (walk < 0)
        return walk;
    if (r == 0 && sieve_open(store_dir_fd(x->store), path, &sieve, NULL) == 0) {
        bool outdated = is_outdated(x, d, sieve);
        sieve_close(sieve);
        if (!outdated)
            return 0;
    }
    return write_sieve(x, d);
}

/* ---- folders */

struct listing {
    struct store *store;
    struct str tenant;
    struct round *round; /* NULL: bytes are counted alone */
    uint64_t file_bytes;
};

static int look_at_folder(const char *name, bool is_dir, void *ctx) {
    struct listing *l = ctx;
    char path[CHUNK_PATH_MAX];
    int32_t day;
    uint64_t size = 0;
    if (!is_dir || day_parse(str_from(name), &day) < 0 || sieve_path(path, l->tenant, day) < 0)
        return 0;
    int fd = io_open(store_dir_fd(l->store), path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    (void)io_file_size(fd, &size);
    io_close(fd);
    if (!l->round || map_get(&l->round->days, day_key(&day))) {
        l->file_bytes += size;
        return 0;
    }
    remove_sieve(l->round, day);
    *strrchr(path, '/') = '\0';
    (void)io_rmdir(store_dir_fd(l->store), path); /* fails while something else is there */
    return 0;
}

static void list_folders(struct listing *l) {
    char path[CHUNK_PATH_MAX];
    if (sieve_path(path, l->tenant, 0) < 0)
        return;
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = '\0';
    (void)io_list(store_dir_fd(l->store), path, look_at_folder, l);
}

uint64_t sieves_bytes(struct store *s, struct str tenant) {
    struct listing l = {.store = s, .tenant = tenant};
    list_folders(&l);
    return l.file_bytes;
}

/* ---- a round */

static int look_at_tenant(struct round *x) {
    x->days = map_make();
    int r = index_walk_chunks(store_index(x->store), x->tenant, count_row, x, x->reterr);
    size_t at = 0;
    struct str key;
    void *value;
    while (r == 0 && map_next(&x->days, &at, &key, &value))
        r = stopped(x) ? -ECANCELED : look_at_day(x, value);
    if (r == 0) {
        struct listing l = {.store = x->store, .tenant = x->tenant, .round = x};
        if (x->hooks->enter)
            x->hooks->enter(x->hooks->ctx);
        list_folders(&l);
        if (x->hooks->leave)
            x->hooks->leave(x->hooks->ctx);
        x->result->file_bytes += l.file_bytes;
    }
    map_done(&x->days);
    arena_reset(&x->arena);
    return r;
}

int sieves_run(struct store *s, const struct merge_policy *p, const struct merge_hooks *hooks,
               int64_t now_ns, struct sieves_result *ret, struct err *reterr) {
    *ret = (struct sieves_result){0};
    struct round x = {.store = s,
                      .policy = p,
                      .hooks = hooks,
                      .now_ns = now_ns,
                      .result = ret,
                      .reterr = reterr,
                      .arena = arena_make(ARENA_MAX)};
    struct arena names = arena_make(ARENA_MAX);
    struct str *tenants = NULL;
    size_t n = 0;
    int r = index_tenants(store_index(s), &names, &tenants, &n);
    if (r < 0)
        (void)err_set(reterr, r, "sieves: cannot list tenants: %s", err_name(r));
    for (size_t i = 0; i < n && r == 0; i++) {
        x.tenant = tenants[i];
        r = look_at_tenant(&x);
    }
    if (r == -ENOMEM)
        (void)err_set(reterr, r, "no memory to look for sieves that are due");
    if (r == -ECANCELED)
        (void)err_set(reterr, r, "the round of sieves was stopped");
    free(x.rows);
    arena_done(&x.arena);
    arena_done(&names);
    return r;
}
