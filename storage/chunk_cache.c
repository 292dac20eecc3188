#include "chunk_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "budget.h"
#include "io.h"
#include "lru.h"
#include "map.h"

/* The bytes by which the map finds a chunk: a path would have to be made for each look. */
struct chunk_key {
    uint64_t stream_id, chunk_seq;
};

enum { KEPT_ROLLUP_MAX = 1024 }; /* a larger one is of a block with many minutes: few of those */

enum {
    FILES_SHARE = 8, /* of the process's descriptors */
    FILES_LOOK = 16, /* files that are looked at for one which nobody holds */
};

struct kept_rollup {
    uint32_t offset, size;
    char bytes[];
};

struct cached_chunk {
    struct chunk_cache *cache;
    /* Per block one or NULL; all NULL until the first is kept. Written once, by whichever reader comes first. */
    _Atomic(_Atomic(struct kept_rollup *) *) rollups;
    _Atomic(struct shelf_row *) shelf; /* NULL until a block is read by who puts blocks aside */
    struct lru_link link;              /* of those that nobody holds */
    struct cached_chunk *next;         /* of those that are to be freed */
    /* Those that keep a descriptor, in the order of opening. Written under the lock, closed when nobody holds it. */
    struct lru_link file;
    atomic_int fd; /* or -1 */
    unsigned holders;
    bool forgotten; /* out of the map; freed with its last holder */
    size_t cost_bytes;
    struct chunk *chunk;
    struct chunk_key key;
    uint64_t pack_seq;
};

struct chunk_cache {
    int dir_fd;
    size_t budget_bytes;
    struct block_shelf *shelf;
    pthread_mutex_t lock; /* guards all below and the links and holders of each chunk */
    struct map by_key;
    struct lru unheld;
    size_t total_bytes;
    size_t charged_bytes; /* to BUDGET_QUERIES: what is beyond the budget */
    struct lru files;     /* chunks that keep a descriptor */
    unsigned n_files;
};

static struct str key_str(const struct chunk_key *key) {
    return str_make((const char *)key, sizeof(*key));
}

struct chunk_cache *chunk_cache_new(int dir_fd, size_t budget_bytes) {
    struct chunk_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->dir_fd = dir_fd;
    c->budget_bytes = budget_bytes;
    c->shelf = block_shelf_new(budget_bytes / CHUNK_SHELF_SHARE);
    if (!c->shelf) {
        free(c);
        return NULL;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void cached_free(struct cached_chunk *k) {
    _Atomic(struct kept_rollup *) *rollups = atomic_load(&k->rollups);
    for (uint32_t i = 0; rollups && i < chunk_block_count(k->chunk); i++)
        free(atomic_load(&rollups[i]));
    free(rollups);
    shelf_row_free(atomic_load(&k->shelf));
    chunk_close(k->chunk);
    if (atomic_load(&k->fd) >= 0)
        io_close(atomic_load(&k->fd));
    free(k);
}

void chunk_cache_free(struct chunk_cache *c) {
    if (!c)
        return;
    while (c->unheld.oldest) {
        struct cached_chunk *k = LRU_OWNER(c->unheld.oldest, struct cached_chunk, link);
        lru_remove(&c->unheld, &k->link);
        cached_free(k);
    }
    map_done(&c->by_key);
    block_shelf_free(c->shelf);
    budget_give(BUDGET_QUERIES, c->charged_bytes);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- descriptors. Lock held. */

static void link_file(struct chunk_cache *c, struct cached_chunk *k) {
    lru_add(&c->files, &k->file);
    c->n_files++;
}

static void unlink_file(struct chunk_cache *c, struct cached_chunk *k) {
    lru_remove(&c->files, &k->file);
    c->n_files--;
}

/* Takes the descriptor of the file that was opened first of those which nobody holds; -1: all are held. */
static int take_file(struct chunk_cache *c) {
    struct lru_link *at = c->files.oldest;
    for (unsigned i = 0; at && i < FILES_LOOK; i++, at = at->newer) {
        struct cached_chunk *k = LRU_OWNER(at, struct cached_chunk, file);
        if (k->holders > 0)
            continue;
        unlink_file(c, k);
        return atomic_exchange(&k->fd, -1);
    }
    return -1;
}

/* ---- the budget. Lock held. */

/* Takes the chunk out of the cache; the caller frees it when nobody holds it. */
static void drop(struct chunk_cache *c, struct cached_chunk *k) {
    (void)map_remove(&c->by_key, key_str(&k->key));
    if (k->holders == 0)
        lru_remove(&c->unheld, &k->link);
    if (atomic_load(&k->fd) >= 0)
        unlink_file(c, k); /* closed with the chunk */
    c->total_bytes -= k->cost_bytes;
    k->forgotten = true;
}

/* Unlinks unheld chunks beyond the budget into a list to be freed without the lock. */
static struct cached_chunk *evict(struct chunk_cache *c) {
    struct cached_chunk *dropped = NULL;
    while (c->unheld.oldest && c->total_bytes > c->budget_bytes) {
        struct cached_chunk *k = LRU_OWNER(c->unheld.oldest, struct cached_chunk, link);
        drop(c, k);
        k->next = dropped;
        dropped = k;
    }
    return dropped;
}

/* What is held beyond the budget is memory of the queries that hold it. False: they may not use so much. */
static bool charge(struct chunk_cache *c) {
    size_t beyond = c->total_bytes > c->budget_bytes ? c->total_bytes - c->budget_bytes : 0;
    if (beyond > c->charged_bytes && !budget_take(BUDGET_QUERIES, beyond - c->charged_bytes))
        return false;
    if (beyond < c->charged_bytes)
        budget_give(BUDGET_QUERIES, c->charged_bytes - beyond);
    c->charged_bytes = beyond;
    return true;
}

static void free_list(struct cached_chunk *k) {
    while (k) {
        struct cached_chunk *next = k->next;
        cached_free(k);
        k = next;
    }
}

static struct cached_chunk *hold_present(struct chunk_cache *c, const struct chunk_key *key) {
    struct cached_chunk *k = map_get(&c->by_key, key_str(key));
    if (!k)
        return NULL;
    if (k->holders++ == 0)
        lru_remove(&c->unheld, &k->link);
    return k;
}

/* The header agrees with the index. The number of its stream may have changed in the file's name alone. */
static bool is_the_one(const struct chunk *chunk, const struct chunk_id *id) {
    const struct chunk_head *head = chunk_get_head(chunk);
    return !chunk_has_head(chunk) || (head->chunk_seq == id->chunk_seq && head->day == id->day &&
                                      str_eq(head->tenant, id->tenant));
}

int chunk_id_path(const struct chunk_id *id, char out[static CHUNK_PATH_MAX]) {
    return id->pack_seq > 0 ? pack_path(out, id->tenant, id->day, id->pack_seq)
                            : chunk_path(out, id->tenant, id->day, id->stream_id, id->chunk_seq);
}

struct chunk_span chunk_id_span(const struct chunk_id *id) {
    if (id->pack_seq == 0)
        return (struct chunk_span){.likely_size = id->size, .likely_blocks = id->blocks};
    return (struct chunk_span){
        .offset = id->pack_offset, .size = id->size, .likely_blocks = id->blocks};
}

/* Takes the chunk over, also when there is no memory. */
static struct cached_chunk *wrap(struct chunk_cache *c, const struct chunk_id *id,
                                 struct chunk *chunk) {
    struct cached_chunk *fresh = calloc(1, sizeof(*fresh));
    if (!fresh) {
        chunk_close(chunk);
        return NULL;
    }
    fresh->cache = c;
    atomic_init(&fresh->fd, -1);
    fresh->chunk = chunk;
    fresh->pack_seq = id->pack_seq;
    fresh->key = (struct chunk_key){.stream_id = id->stream_id, .chunk_seq = id->chunk_seq};
    fresh->holders = 1;
    fresh->cost_bytes = chunk_cost_bytes(chunk) + sizeof(*fresh);
    return fresh;
}

static struct chunk_span span_in(const struct chunk_cache *c, const struct chunk_id *id) {
    struct chunk_span span = chunk_id_span(id);
    span.slab = block_shelf_slab(c->shelf);
    return span;
}

/* `fd`: of the file, or negative. */
static int open_fresh(struct chunk_cache *c, const struct chunk_id *id, int fd,
                      struct cached_chunk **ret, struct err *reterr) {
    char path[CHUNK_PATH_MAX];
    struct chunk *chunk;
    int r = chunk_id_path(id, path);
    if (r < 0)
        return r;
    r = fd < 0 ? chunk_open_at(c->dir_fd, path, span_in(c, id), &chunk, reterr)
               : chunk_open_begun(fd, c->dir_fd, path, span_in(c, id), &chunk, reterr);
    if (r < 0)
        return r;
    if (!is_the_one(chunk, id)) {
        chunk_close(chunk);
        return err_set(reterr, -ECORRUPT, "chunk %s: its header says that it is another one", path);
    }
    *ret = wrap(c, id, chunk);
    return *ret ? 0 : err_set(reterr, -ENOMEM, "no memory to open a chunk");
}

/* Takes `fresh` over and returns what is in the cache then, held; NULL without memory. */
static struct cached_chunk *add_fresh(struct chunk_cache *c, struct cached_chunk *fresh) {
    struct cached_chunk *dropped = NULL;
    (void)pthread_mutex_lock(&c->lock);
    struct cached_chunk *k = hold_present(c, &fresh->key); /* another thread may have been faster */
    if (!k && map_put(&c->by_key, key_str(&fresh->key), fresh) == 0) {
        c->total_bytes += fresh->cost_bytes;
        dropped = evict(c);
        if (charge(c)) {
            k = fresh;
            fresh = NULL;
        } else {
            drop(c, fresh);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    free_list(dropped);
    if (fresh)
        cached_free(fresh);
    return k;
}

static int get_fresh(struct chunk_cache *c, const struct chunk_id *id, int fd,
                     struct cached_chunk **ret, struct err *reterr) {
    struct cached_chunk *fresh;
    int r = open_fresh(c, id, fd, &fresh, reterr);
    if (r < 0)
        return r;
    struct cached_chunk *k = add_fresh(c, fresh);
    if (!k)
        return err_set(reterr, -ENOMEM, "no memory to open a chunk");
    *ret = k;
    return 0;
}

static struct cached_chunk *find_present(struct chunk_cache *c, const struct chunk_id *id) {
    struct chunk_key key = {.stream_id = id->stream_id, .chunk_seq = id->chunk_seq};
    (void)pthread_mutex_lock(&c->lock);
    struct cached_chunk *k = hold_present(c, &key);
    (void)pthread_mutex_unlock(&c->lock);
    return k;
}

int chunk_cache_get(struct chunk_cache *c, const struct chunk_id *id, struct cached_chunk **ret,
                    struct err *reterr) {
    struct cached_chunk *k = find_present(c, id);
    if (!k)
        return get_fresh(c, id, -1, ret, reterr);
    *ret = k;
    return 0;
}

int chunk_cache_begin(struct chunk_cache *c, const struct chunk_id *id, struct cached_chunk **ret) {
    char path[CHUNK_PATH_MAX];
    *ret = find_present(c, id);
    if (*ret) {
        __builtin_prefetch((*ret)->chunk);
        return -1;
    }
    int r = chunk_id_path(id, path);
    if (r < 0)
        return r;
    struct chunk *chunk;
    int fd = chunk_begin(c->dir_fd, path, span_in(c, id), &chunk);
    if (fd < 0 || !chunk)
        return fd;
    if (is_the_one(chunk, id)) {
        struct cached_chunk *fresh = wrap(c, id, chunk);
        *ret = fresh ? add_fresh(c, fresh) : NULL;
    } else {
        chunk_close(chunk); /* the second step says so */
    }
    return fd;
}

int chunk_cache_get_begun(struct chunk_cache *c, const struct chunk_id *id, int fd,
                          struct cached_chunk **ret, struct err *reterr) {
    return get_fresh(c, id, fd, ret, reterr);
}

void chunk_cache_put(struct chunk_cache *c, struct cached_chunk *held) {
    if (!held)
        return;
    (void)pthread_mutex_lock(&c->lock);
    bool last = --held->holders == 0;
    bool gone = last && held->forgotten;
    if (last && !gone)
        lru_add(&c->unheld, &held->link);
    struct cached_chunk *dropped = evict(c);
    (void)charge(c);
    (void)pthread_mutex_unlock(&c->lock);
    if (gone)
        cached_free(held);
    free_list(dropped);
}

void chunk_cache_drop(struct chunk_cache *c, struct cached_chunk *held) {
    (void)pthread_mutex_lock(&c->lock);
    if (held->holders == 1 && !held->forgotten)
        drop(c, held);
    (void)pthread_mutex_unlock(&c->lock);
    chunk_cache_put(c, held);
}

const struct chunk *cached_chunk_get(const struct cached_chunk *held) {
    return held->chunk;
}

uint64_t cached_chunk_pack(const struct cached_chunk *held) {
    return held->pack_seq;
}

const char *cached_chunk_path(const struct cached_chunk *held) {
    return chunk_get_name(held->chunk);
}

int cached_chunk_fd(const struct cached_chunk *held) {
    return atomic_load_explicit(&held->fd, memory_order_acquire);
}

/* How many may be kept: the process's limit may have been changed. */
static unsigned files_max(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    rlim_t share = limit.rlim_cur / FILES_SHARE;
    return share < CHUNK_FILES_MAX ? (unsigned)share : CHUNK_FILES_MAX;
}

bool cached_chunk_keep_fd(struct cached_chunk *held, int fd) {
    struct chunk_cache *c = held->cache;
    unsigned most = held->pack_seq == 0 ? files_max() : 0;
    if (most == 0)
        return false;
    int closed = -1;
    (void)pthread_mutex_lock(&c->lock);
    bool keeps = !held->forgotten && atomic_load(&held->fd) < 0;
    if (keeps && c->n_files >= most) {
        closed = take_file(c);
        keeps = closed >= 0;
    }
    if (keeps) {
        link_file(c, held);
        atomic_store_explicit(&held->fd, fd, memory_order_release);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (closed >= 0)
        io_close(closed);
    return keeps;
}

/* ---- rollups */

struct str cached_chunk_rollup(const struct cached_chunk *held, uint32_t block, uint32_t offset) {
    _Atomic(struct kept_rollup *) *all = atomic_load_explicit(&held->rollups, memory_order_acquire);
    struct kept_rollup *kept = all ? atomic_load_explicit(&all[block], memory_order_acquire) : NULL;
    return kept && kept->offset == offset ? str_make(kept->bytes, kept->size) : (struct str){0};
}

/* The table of the chunk's rollups; NULL without memory. */
static _Atomic(struct kept_rollup *) *rollup_table(struct cached_chunk *k) {
    _Atomic(struct kept_rollup *) *all = atomic_load(&k->rollups);
    if (all)
        return all;
    _Atomic(struct kept_rollup *) *fresh = calloc(chunk_block_count(k->chunk), sizeof(*fresh));
    if (fresh && !atomic_compare_exchange_strong(&k->rollups, &all, fresh)) {
        free(fresh);
        fresh = all;
    }
    return fresh;
}

void cached_chunk_keep_rollup(struct cached_chunk *held, uint32_t block, uint32_t offset,
                              struct str raw) {
    if (raw.size > KEPT_ROLLUP_MAX)
        return;
    _Atomic(struct kept_rollup *) *all = rollup_table(held);
    struct kept_rollup *kept = all ? malloc(sizeof(*kept) + raw.size) : NULL, *none = NULL;
    if (!kept)
        return; /* it is read again, then */
    *kept = (struct kept_rollup){.offset = offset, .size = (uint32_t)raw.size};
    memcpy(kept->bytes, raw.data, raw.size);
    if (!atomic_compare_exchange_strong(&all[block], &none, kept)) {
        free(kept);
        return;
    }
    struct chunk_cache *c = held->cache;
    size_t cost = sizeof(*kept) + raw.size + sizeof(*all);
    (void)pthread_mutex_lock(&c->lock);
    held->cost_bytes += cost;
    if (!held->forgotten)
        c->total_bytes += cost;
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- blocks put aside */

struct shelf_row *cached_chunk_shelf(struct cached_chunk *held) {
    struct shelf_row *row = atomic_load_explicit(&held->shelf, memory_order_acquire);
    if (row)
        return row;
    struct shelf_row *fresh = shelf_row_new(held->cache->shelf, chunk_block_count(held->chunk));
    if (fresh && !atomic_compare_exchange_strong(&held->shelf, &row, fresh)) {
        shelf_row_free(fresh);
        fresh = row;
    }
    return fresh;
}

void chunk_cache_shelf_stats(struct chunk_cache *c, uint64_t *ret_bytes, uint64_t *ret_count) {
    block_shelf_stats(c->shelf, ret_bytes, ret_count);
}

void chunk_cache_forget(struct chunk_cache *c, uint64_t stream_id, uint64_t chunk_seq) {
    struct chunk_key key = {.stream_id = stream_id, .chunk_seq = chunk_seq};
    (void)pthread_mutex_lock(&c->lock);
    struct cached_chunk *k = map_get(&c->by_key, key_str(&key));
    bool unheld = k && k->holders == 0;
    if (k)
        drop(c, k);
    (void)charge(c);
    (void)pthread_mutex_unlock(&c->lock);
    if (unheld)
        cached_free(k);
}

void chunk_cache_stats(struct chunk_cache *c, uint64_t *ret_bytes, uint64_t *ret_count) {
    (void)pthread_mutex_lock(&c->lock);
    *ret_bytes = c->total_bytes;
    *ret_count = c->by_key.count;
    (void)pthread_mutex_unlock(&c->lock);
}
