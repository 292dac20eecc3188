#include "sieve_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "bytes.h"
#include "io.h"
#include "lru.h"

enum {
    KNOWN_MAX = 1024,        /* days, most of them without a sieve */
    OPEN_MAX = 128,          /* sieves: a descriptor each */
    LIKELY_BYTES = 128 << 10 /* what opening reads */
};

struct known_sieve {
    struct lru_link link;     /* of those that nobody holds */
    struct known_sieve *next; /* of those that are to be freed */
    unsigned holders;
    bool forgotten;      /* freed with its last holder */
    bool told;           /* that it is damaged */
    struct sieve *sieve; /* NULL: there is none */
    struct str key;      /* day and tenant */
    int32_t day;
    char bytes[];
};

struct sieve_cache {
    size_t max_bytes;
    pthread_mutex_t lock; /* guards all below and all but `sieve` and `key` of each */
    struct map by_key;
    struct lru unheld;
    size_t n_open, total_bytes;
    uint64_t forgotten; /* how often something was: what was opened before that may be old */
};

struct sieve_cache *sieve_cache_new(size_t max_bytes) {
    struct sieve_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->max_bytes = max_bytes;
    (void)pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void known_free(struct known_sieve *k) {
    sieve_close(k->sieve);
    free(k);
}

void sieve_cache_free(struct sieve_cache *c) {
    if (!c)
        return;
    while (c->unheld.oldest) {
        struct known_sieve *k = LRU_OWNER(c->unheld.oldest, struct known_sieve, link);
        lru_remove(&c->unheld, &k->link);
        known_free(k);
    }
    map_done(&c->by_key);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- lock held */

static void drop(struct sieve_cache *c, struct known_sieve *k) {
    (void)map_remove(&c->by_key, k->key);
    if (k->holders == 0)
        lru_remove(&c->unheld, &k->link);
    if (k->sieve) {
        c->n_open--;
        c->total_bytes -= sieve_cost_bytes(k->sieve);
    }
    k->forgotten = true;
}

/* Takes what is beyond the limits out, into a list to be freed without the lock. */
static struct known_sieve *evict(struct sieve_cache *c) {
    struct known_sieve *dropped = NULL;
    while (c->unheld.oldest &&
           (c->by_key.count > KNOWN_MAX || c->n_open > OPEN_MAX || c->total_bytes > c->max_bytes)) {
        struct known_sieve *k = LRU_OWNER(c->unheld.oldest, struct known_sieve, link);
        drop(c, k);
        k->next = dropped;
        dropped = k;
    }
    return dropped;
}

static struct known_sieve *hold(struct sieve_cache *c, struct str key) {
    struct known_sieve *k = map_get(&c->by_key, key);
    if (k && k->holders++ == 0)
        lru_remove(&c->unheld, &k->link);
    return k;
}

/* ---- */

static void free_list(struct known_sieve *k) {
    while (k) {
        struct known_sieve *next = k->next;
        known_free(k);
        k = next;
    }
}

static struct known_sieve *known_new(struct str tenant, int32_t day) {
    struct known_sieve *k = calloc(1, sizeof(*k) + 4 + tenant.size);
    if (!k)
        return NULL;
    put_le32(k->bytes, (uint32_t)day);
    memcpy(k->bytes + 4, tenant.data, tenant.size);
    k->key = str_make(k->bytes, 4 + tenant.size);
    k->day = day;
    return k;
}

/* One that is damaged is taken away, so that the compactor makes another. */
static void tell_unusable(struct store *s, const char *path, int code, const char *why) {
    atomic_fetch_add(&s->sieves.damaged, 1);
    store_log(s, LOG_LEVEL_WARN, "a day's sieve cannot be used, queries go without",
              "file=%s error=\"%s\"", path, why);
    if (code == -ECORRUPT && !s->options.read_only)
        (void)io_unlink(s->dir_fd, path);
}

/* False: it cannot be told now whether there is one. */
static bool open_known(struct store *s, struct str tenant, struct known_sieve *k) {
    char path[CHUNK_PATH_MAX];
    struct err err = {0};
    int r = sieve_path(path, tenant, k->day);
    if (r == 0)
        r = sieve_open(s->dir_fd, path, &k->sieve, &err);
    if (r == -ECORRUPT || r == -EFORMAT)
        tell_unusable(s, path, r, err.text);
    return r == 0 || r == -ENOENT || r == -ECORRUPT || r == -EFORMAT || r == -ENAMETOOLONG;
}

/* Takes `fresh` over; what is known then, held, or NULL. */
static struct known_sieve *add(struct store *s, struct known_sieve *fresh, uint64_t forgotten) {
    struct sieve_cache *c = s->sieves.cache;
    struct known_sieve *dropped = NULL;
    (void)pthread_mutex_lock(&c->lock);
    struct known_sieve *k = hold(c, fresh->key);
    if (!k && c->forgotten == forgotten && map_put(&c->by_key, fresh->key, fresh) == 0) {
        if (fresh->sieve) {
            c->n_open++;
            c->total_bytes += sieve_cost_bytes(fresh->sieve);
        }
        k = fresh;
        k->holders = 1;
        dropped = evict(c);
    }
    (void)pthread_mutex_unlock(&c->lock);
    free_list(dropped);
    if (k != fresh)
        known_free(fresh);
    return k;
}

struct known_sieve *sieve_get(struct store *s, struct str tenant, int32_t day) {
    struct sieve_cache *c = s->sieves.cache;
    struct known_sieve *fresh = known_new(tenant, day);
    if (!fresh)
        return NULL;
    (void)pthread_mutex_lock(&c->lock);
    struct known_sieve *k = hold(c, fresh->key);
    uint64_t forgotten = c->forgotten;
    (void)pthread_mutex_unlock(&c->lock);
    if (k || !open_known(s, tenant, fresh))
        known_free(fresh);
    else
        k = add(s, fresh, forgotten);
    if (k && !k->sieve) {
        sieve_put(s, k);
        k = NULL;
    }
    return k;
}

void sieve_put(struct store *s, struct known_sieve *held) {
    struct sieve_cache *c = s->sieves.cache;
    if (!held)
        return;
    (void)pthread_mutex_lock(&c->lock);
    bool last = --held->holders == 0, gone = last && held->forgotten;
    if (last && !gone)
        lru_add(&c->unheld, &held->link);
    struct known_sieve *dropped = evict(c);
    (void)pthread_mutex_unlock(&c->lock);
    if (gone)
        known_free(held);
    free_list(dropped);
}

const struct sieve *sieve_of(const struct known_sieve *held) {
    return held->sieve;
}

void sieve_expect(struct store *s, struct str tenant, int32_t day) {
    struct sieve_cache *c = s->sieves.cache;
    struct known_sieve *key = known_new(tenant, day);
    char path[CHUNK_PATH_MAX];
    if (!key)
        return;
    (void)pthread_mutex_lock(&c->lock);
    bool known = map_get(&c->by_key, key->key) != NULL;
    (void)pthread_mutex_unlock(&c->lock);
    known_free(key);
    if (known || sieve_path(path, tenant, day) < 0)
        return;
    int fd = io_open(s->dir_fd, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    io_will_need(fd, 0, LIKELY_BYTES);
    io_close(fd);
}

void sieve_note_damage(struct store *s, struct known_sieve *held) {
    struct sieve_cache *c = s->sieves.cache;
    char path[CHUNK_PATH_MAX];
    (void)pthread_mutex_lock(&c->lock);
    bool first = !held->told;
    held->told = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (first && sieve_path(path, str_make(held->key.data + 4, held->key.size - 4), held->day) == 0)
        tell_unusable(s, path, -ECORRUPT, "some of it does not have its checksum");
}

void store_forget_sieve(struct store *s, struct str tenant, int32_t day) {
    struct sieve_cache *c = s->sieves.cache;
    struct known_sieve *key = known_new(tenant, day);
    struct known_sieve *unheld = NULL;
    (void)pthread_mutex_lock(&c->lock);
    c->forgotten++;
    struct known_sieve *k = key ? map_get(&c->by_key, key->key) : NULL;
    if (k) {
        unheld = k->holders == 0 ? k : NULL;
        drop(c, k);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (unheld)
        known_free(unheld);
    if (key)
        known_free(key);
}
