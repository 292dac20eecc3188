#include "deletes_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "clock.h"
#include "hash.h"
#include "log.h"

enum {
    RECORD_VERSION = 1,
    RECORD_FIXED = 1 + 1 + 3 * 8 + 8 * 8,
    TENANT_MAX = 511,
    PAIRS_MAX = 4096,
    ID_ATTEMPTS = 100,
};

/* The unprocessed requests of one tenant. */
struct erase_set {
    atomic_int refs;
    struct erase_set *next; /* in deletes.sets */
    struct str tenant;      /* the first request's */
    size_t count;
    struct request *requests[];
};

/* ---- requests and sets */

static struct request *request_ref(struct request *q) {
    (void)atomic_fetch_add(&q->refs, 1);
    return q;
}

void delete_request_unref(struct request *q) {
    if (!q || atomic_fetch_sub(&q->refs, 1) != 1)
        return;
    if (q->compiled)
        q->language->release(q->compiled);
    free(q);
}

static struct request *request_new(const struct deletes *d, struct str tenant, struct str query) {
    struct request *q = calloc(1, sizeof(*q) + tenant.size + query.size + 1);
    if (!q)
        return NULL;
    char *text = (char *)(q + 1);
    memcpy(text, tenant.data, tenant.size);
    memcpy(text + tenant.size, query.data, query.size);
    q->tenant = str_make(text, tenant.size);
    q->query = str_make(text + tenant.size, query.size);
    q->language = d->o.language;
    atomic_init(&q->refs, 1);
    return q;
}

static void set_put(struct erase_set *set) {
    if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
        return;
    for (size_t i = 0; i < set->count; i++)
        delete_request_unref(set->requests[i]);
    free(set);
}

static bool is_hiding(const struct request *q) {
    return q->state != DELETE_PROCESSED && q->compiled;
}

/* Takes the tenant's present set out of the list and puts a new one in. d->lock held. Without memory nothing has
 * changed. */
static int renew_set(struct deletes *d, struct str tenant) {
    size_t count = 0, all = 0;
    for (struct request *q = d->requests; q; q = q->next) {
        count += is_hiding(q) && str_eq(q->tenant, tenant);
        all += is_hiding(q);
    }
    struct erase_set *fresh = NULL;
    if (count > 0) {
        fresh = calloc(1, sizeof(*fresh) + count * sizeof(fresh->requests[0]));
        if (!fresh)
            return -ENOMEM;
        atomic_init(&fresh->refs, 1);
        for (struct request *q = d->requests; q; q = q->next)
            if (is_hiding(q) && str_eq(q->tenant, tenant))
                fresh->requests[fresh->count++] = request_ref(q);
        fresh->tenant = fresh->requests[0]->tenant;
    }
    for (struct erase_set **at = &d->sets; *at; at = &(*at)->next)
        if (str_eq((*at)->tenant, tenant)) {
            struct erase_set *old = *at;
            *at = old->next;
            set_put(old);
            break;
        }
    if (fresh) {
        fresh->next = d->sets;
        d->sets = fresh;
    }
    atomic_store(&d->n_hiding, all);
    return 0;
}

static struct erase_set *set_get(void *ctx, struct str tenant) {
    struct deletes *d = ctx;
    if (atomic_load(&d->n_hiding) == 0)
        return NULL;
    pthread_mutex_lock(&d->lock);
    struct erase_set *set = d->sets;
    while (set && !str_eq(set->tenant, tenant))
        set = set->next;
    if (set)
        (void)atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&d->lock);
    return set;
}

bool delete_request_concerns(const struct request *q, struct labels labels, int64_t first_ns,
                             int64_t last_ns) {
    return q->start_ns <= last_ns && first_ns <= q->end_ns &&
           q->language->accepts(q->compiled, labels);
}

static bool set_concerns(const struct erase_set *set, struct labels labels, int64_t first_ns,
                         int64_t last_ns) {
    for (size_t i = 0; i < set->count; i++)
        if (delete_request_concerns(set->requests[i], labels, first_ns, last_ns))
            return true;
    return false;
}

static int set_mark(const struct erase_set *set, struct labels labels, struct block_reader *r,
                    const struct block_ref_info *info, uint64_t *bits, struct err *reterr) {
    int status = 0;
    for (size_t i = 0; i < set->count && status == 0; i++) {
        const struct request *q = set->requests[i];
        if (delete_request_concerns(q, labels, info->first_ns, info->last_ns))
            status = q->language->mark(q->compiled, labels, q->start_ns, q->end_ns, r, info, bits,
                                       reterr);
    }
    return status;
}

/* ---- in the index: docs/format.md */

static const size_t receipt_at = 1 + 1 + 3 * 8;

static void encode(const struct request *q, struct buf *out) {
    uint8_t fixed[RECORD_FIXED], number[VARINT_MAX_BYTES];
    const struct delete_receipt *t = &q->receipt;
    const uint64_t figures[] = {(uint64_t)t->begun_ns,
                                (uint64_t)t->finished_ns,
                                t->chunks_removed,
                                t->chunks_rewritten,
                                t->lines,
                                t->bytes,
                                t->file_bytes_before,
                                t->file_bytes_after};
    static_assert(sizeof(figures) == RECORD_FIXED - (1 + 1 + 3 * 8), "on-disk layout");
    fixed[0] = RECORD_VERSION;
    fixed[1] = (uint8_t)q->state;
    put_le64(fixed + 2, (uint64_t)q->start_ns);
    put_le64(fixed + 10, (uint64_t)q->end_ns);
    put_le64(fixed + 18, (uint64_t)q->created_ns);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        put_le64(fixed + receipt_at + 8 * i, figures[i]);
    buf_add(out, fixed, sizeof(fixed));
    buf_add(out, number, (size_t)(put_varint(number, q->tenant.size) - number));
    buf_add_str(out, q->tenant);
    buf_add_str(out, q->query);
}

static void decode_receipt(const uint8_t *p, struct delete_receipt *ret) {
    *ret = (struct delete_receipt){
        .begun_ns = (int64_t)get_le64(p),
        .finished_ns = (int64_t)get_le64(p + 8),
        .chunks_removed = get_le64(p + 16),
        .chunks_rewritten = get_le64(p + 24),
        .lines = get_le64(p + 32),
        .bytes = get_le64(p + 40),
        .file_bytes_before = get_le64(p + 48),
        .file_bytes_after = get_le64(p + 56),
    };
}

static int decode(const struct deletes *d, struct str key, struct str value, struct request **ret) {
    const uint8_t *p = (const uint8_t *)value.data, *end = p + value.size;
    uint64_t tenant_size;
    if (key.size != DELETE_ID_SIZE || value.size < RECORD_FIXED || p[0] != RECORD_VERSION ||
        p[1] > DELETE_PROCESSED)
        return -ECORRUPT;
    const uint8_t *text = get_varint(p + RECORD_FIXED, end, &tenant_size);
    if (!text || tenant_size == 0 || tenant_size > (uint64_t)(end - text) ||
        value.size > RECORD_FIXED + VARINT_MAX_BYTES + TENANT_MAX + DELETE_QUERY_MAX)
        return -ECORRUPT;
    const char *query = (const char *)text + tenant_size;
    struct request *q = request_new(d, str_make((const char *)text, (size_t)tenant_size),
                                    str_make(query, (size_t)((const char *)end - query)));
    if (!q)
        return -ENOMEM;
    memcpy(q->id, key.data, DELETE_ID_SIZE);
    q->state = (enum delete_state)p[1];
    q->start_ns = (int64_t)get_le64(p + 2);
    q->end_ns = (int64_t)get_le64(p + 10);
    q->created_ns = (int64_t)get_le64(p + 18);
    decode_receipt(p + receipt_at, &q->receipt);
    *ret = q;
    return 0;
}

struct change {
    const struct request *put, *drop; /* either may be NULL */
};

static int write_change(struct index_txn *t, void *ctx, struct err *reterr) {
    const struct change *c = ctx;
    struct buf value = buf_make(BUF_NO_MAX);
    int r = 0;
    if (c->drop)
        r = index_del_delete(t, str_from(c->drop->id), reterr);
    if (c->put && r == 0) {
        encode(c->put, &value);
        r = value.failed ? err_set(reterr, -ENOMEM, "no memory for a delete request")
                         : index_put_delete(t, str_from(c->put->id), buf_str(&value), reterr);
    }
    buf_done(&value);
    return r;
}

static int save(struct deletes *d, const struct request *put, const struct request *drop,
                struct err *reterr) {
    struct change c = {.put = put, .drop = drop};
    return store_index_update(d->store, write_change, &c, reterr);
}

/* ---- opening */

void deletes_log(const struct deletes *d, int level, const char *msg, const struct request *q,
                 const char *error) {
    if (!d->o.log)
        return;
    const struct delete_receipt *t = &q->receipt;
    struct buf pairs = buf_make(PAIRS_MAX);
    buf_addf(&pairs, "id=%s tenant=", q->id);
    go_quote(&pairs, q->tenant);
    buf_addf(&pairs, " query=");
    go_quote(&pairs, q->query.size < PAIRS_MAX / 4 ? q->query : STR("(long)"));
    buf_addf(&pairs, " start_ns=%" PRId64 " end_ns=%" PRId64, q->start_ns, q->end_ns);
    if (q->state == DELETE_PROCESSED)
        buf_addf(&pairs,
                 " chunks_removed=%" PRIu64 " chunks_rewritten=%" PRIu64 " lines=%" PRIu64
                 " bytes=%" PRIu64 " seconds=%.1f",
                 t->chunks_removed, t->chunks_rewritten, t->lines, t->bytes,
                 (double)(t->finished_ns - t->begun_ns) / 1e9);
    if (error) {
        buf_addf(&pairs, " err=");
        go_quote(&pairs, str_from(error));
    }
    buf_add_char(&pairs, '\0');
    d->o.log(level, msg, pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

/* Behind all that are as old. */
static void insert(struct deletes *d, struct request *q) {
    struct request **at = &d->requests;
    while (*at && (*at)->created_ns <= q->created_ns)
        at = &(*at)->next;
    q->next = *at;
    *at = q;
    d->n_requests++;
}

static void take_out(struct deletes *d, struct request *q) {
    for (struct request **at = &d->requests; *at; at = &(*at)->next)
        if (*at == q) {
            *at = q->next;
            d->n_requests--;
            return;
        }
}

static int load_one(struct str key, struct str value, void *ctx) {
    struct deletes *d = ctx;
    struct request *q = NULL;
    int r = decode(d, key, value, &q);
    if (r == -ECORRUPT) {
        if (d->o.log)
            d->o.log(LOG_ERROR, "a delete request in the index is damaged and left alone", "");
        return 0;
    }
    if (r < 0)
        return r;
    struct err err = {0};
    if (q->state != DELETE_PROCESSED && d->o.language->compile(q->query, &q->compiled, &err) < 0) {
        q->compiled = NULL;
        deletes_log(d, LOG_ERROR, "a delete request is not understood any more", q, err.text);
    }
    insert(d, q);
    return 0;
}

int deletes_open(struct store *store, const struct deletes_options *o, struct deletes **ret,
                 struct err *reterr) {
    struct deletes *d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(reterr, -ENOMEM, "no memory for delete requests");
    d->store = store;
    d->o = *o;
    atomic_store(&d->cancel_period_ns, o->cancel_period_ns);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->change_lock, NULL);
    d->eraser = (struct eraser){
        .ctx = d, .get = set_get, .put = set_put, .concerns = set_concerns, .mark = set_mark};
    int r = index_walk_deletes(store_index(store), load_one, d, reterr);
    for (struct request *q = d->requests; q && r == 0; q = q->next)
        if (is_hiding(q) && !(d->sets && str_eq(d->sets->tenant, q->tenant)))
            r = renew_set(d, q->tenant);
    if (r < 0) {
        deletes_close(d);
        return r == -ENOMEM ? err_set(reterr, r, "no memory for delete requests") : r;
    }
    store_set_eraser(store, &d->eraser);
    *ret = d;
    return 0;
}

void deletes_close(struct deletes *d) {
    if (!d)
        return;
    store_set_eraser(d->store, NULL);
    while (d->sets) {
        struct erase_set *next = d->sets->next;
        set_put(d->sets);
        d->sets = next;
    }
    while (d->requests) {
        struct request *next = d->requests->next;
        delete_request_unref(d->requests);
        d->requests = next;
    }
    while (d->erased) {
        struct erased_lines *next = d->erased->next;
        free(d->erased);
        d->erased = next;
    }
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->change_lock);
    free(d);
}

void deletes_set_cancel_period(struct deletes *d, int64_t period_ns) {
    atomic_store(&d->cancel_period_ns, period_ns);
}

/* ---- adding, listing, taking back */

static struct request *find(const struct deletes *d, struct str tenant, struct str id) {
    for (struct request *q = d->requests; q; q = q->next)
        if (str_eq(str_from(q->id), id) && str_eq(q->tenant, tenant))
            return q;
    return NULL;
}

static bool has_id(const struct deletes *d, const char *id) {
    for (const struct request *q = d->requests; q; q = q->next)
        if (strcmp(q->id, id) == 0)
            return true;
    return false;
}

/* As Loki's: eight hex digits of a hash of what is asked and when. */
static int make_id(const struct deletes *d, struct request *q) {
    uint64_t h = hash_mix(hash_str(q->tenant), hash_str(q->query));
    h = hash_mix(hash_mix(h, (uint64_t)q->start_ns), hash_mix((uint64_t)q->end_ns, d->received));
    for (uint64_t i = 0; i < ID_ATTEMPTS; i++) {
        (void)snprintf(q->id, sizeof(q->id), "%08" PRIx32,
                       (uint32_t)hash_mix(h, (uint64_t)q->created_ns + i));
        if (!has_id(d, q->id))
            return 0;
    }
    return -E2BIG;
}

/* The oldest processed one, when there are too many. */
static struct request *too_many(const struct deletes *d) {
    struct request *q = d->n_requests >= DELETES_MAX ? d->requests : NULL;
    while (q && q->state != DELETE_PROCESSED)
        q = q->next;
    return q;
}

/* With change_lock held, so that nobody else changes the list; readers need lock. */
static int add_locked(struct deletes *d, struct request *q, struct err *reterr) {
    struct request *drop = too_many(d);
    if (d->n_requests >= DELETES_MAX && !drop)
        return err_set(reterr, -E2BIG, "there are %d delete requests to be processed, the limit",
                       DELETES_MAX);
    int r = make_id(d, q);
    if (r < 0)
        return err_set(reterr, r, "cannot name a delete request");
    r = save(d, q, drop, reterr);
    if (r < 0)
        return r;
    pthread_mutex_lock(&d->lock);
    if (drop)
        take_out(d, drop);
    insert(d, q);
    d->received++;
    r = renew_set(d, q->tenant);
    if (r < 0)
        take_out(d, q);
    pthread_mutex_unlock(&d->lock);
    if (r < 0) {
        (void)save(d, NULL, q, NULL);
        return err_set(reterr, r, "no memory for a delete request");
    }
    delete_request_unref(drop);
    return 0;
}

int deletes_add(struct deletes *d, struct str tenant, struct str query, int64_t start_ns,
                int64_t end_ns, int64_t now_ns, char ret_id[static DELETE_ID_SIZE + 1],
                struct err *reterr) {
    if (query.size > DELETE_QUERY_MAX || tenant.size > TENANT_MAX || tenant.size == 0)
        return err_set(reterr, -ESYNTAX, "the query is longer than %d bytes", DELETE_QUERY_MAX);
    struct request *q = request_new(d, tenant, query);
    if (!q)
        return err_set(reterr, -ENOMEM, "no memory for a delete request");
    q->start_ns = start_ns;
    q->end_ns = end_ns;
    q->created_ns = now_ns;
    int r = d->o.language->compile(query, &q->compiled, reterr);
    if (r < 0) {
        q->compiled = NULL;
    } else {
        pthread_mutex_lock(&d->change_lock);
        r = add_locked(d, q, reterr);
        if (r == 0) {
            memcpy(ret_id, q->id, sizeof(q->id));
            deletes_log(d, LOG_INFO, "delete request accepted", q, NULL);
        }
        pthread_mutex_unlock(&d->change_lock);
    }
    if (r < 0)
        delete_request_unref(q);
    return r;
}

int deletes_walk(struct deletes *d, struct str tenant, delete_fn *fn, void *ctx) {
    int r = 0;
    pthread_mutex_lock(&d->lock);
    for (const struct request *q = d->requests; q && r == 0; q = q->next) {
        if (!str_eq(q->tenant, tenant))
            continue;
        struct delete_view v = {.tenant = q->tenant,
                                .query = q->query,
                                .start_ns = q->start_ns,
                                .end_ns = q->end_ns,
                                .created_ns = q->created_ns,
                                .state = q->state,
                                .percent = q->percent,
                                .receipt = q->receipt};
        memcpy(v.id, q->id, sizeof(v.id));
        r = fn(&v, ctx);
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

/* May it be taken back? */
static int check_cancel(const struct deletes *d, const struct request *q, bool force,
                        int64_t now_ns, struct err *reterr) {
    if (!q)
        return err_set(reterr, -ENOENT, "could not find delete request with given id");
    if (q->state == DELETE_PROCESSED)
        return err_set(
            reterr, -EALREADY,
            "deletion of request which is in process or already processed is not allowed");
    if (q->state == DELETE_RUNNING && !force)
        return err_set(reterr, -EINPROGRESS,
                       "Unable to cancel partially completed delete request. To force, use the "
                       "?force query parameter");
    int64_t period_ns = atomic_load(&d->cancel_period_ns), until_ns;
    bool over = !__builtin_add_overflow(q->created_ns, period_ns, &until_ns) && until_ns <= now_ns;
    if (over && period_ns > 0 && !force)
        return -ETIMEDOUT; /* the caller says how long it was */
    return 0;
}

int deletes_cancel(struct deletes *d, struct str tenant, struct str id, bool force, int64_t now_ns,
                   struct err *reterr) {
    pthread_mutex_lock(&d->change_lock);
    struct request *q = find(d, tenant, id);
    int r = check_cancel(d, q, force, now_ns, reterr);
    if (r == 0)
        r = save(d, NULL, q, reterr);
    if (r == 0) {
        pthread_mutex_lock(&d->lock);
        take_out(d, q);
        r = renew_set(d, q->tenant);
        pthread_mutex_unlock(&d->lock);
        /* Without memory the old set still hides what is asked for, until the next change or start. */
        r = 0;
        deletes_log(d, LOG_INFO, "delete request taken back", q, NULL);
        delete_request_unref(q);
    }
    pthread_mutex_unlock(&d->change_lock);
    return r;
}

/* ---- for who removes */

int deletes_save_progress(struct deletes *d, struct request *q,
                          const struct request_progress *progress, struct err *reterr) {
    pthread_mutex_lock(&d->change_lock);
    pthread_mutex_lock(&d->lock);
    q->state = progress->state;
    q->receipt = progress->receipt;
    q->percent = progress->percent;
    pthread_mutex_unlock(&d->lock);
    /* Taken back meanwhile by force: it must not come back. */
    int r = find(d, q->tenant, str_from(q->id)) == q ? save(d, q, NULL, reterr) : -ECANCELED;
    pthread_mutex_unlock(&d->change_lock);
    return r;
}

void deletes_show_again(struct deletes *d, struct str tenant) {
    pthread_mutex_lock(&d->lock);
    (void)renew_set(d, tenant); /* without memory it is hidden for longer than needed */
    pthread_mutex_unlock(&d->lock);
}

static bool is_due(const struct request *q, int64_t period_ns, int64_t now_ns) {
    int64_t until_ns;
    return is_hiding(q) && !__builtin_add_overflow(q->created_ns, period_ns, &until_ns) &&
           until_ns <= now_ns;
}

struct request *deletes_next_due(struct deletes *d, int64_t now_ns, const struct request *after) {
    int64_t period_ns = atomic_load(&d->cancel_period_ns);
    pthread_mutex_lock(&d->lock);
    struct request *q = d->requests;
    if (after) {
        while (q && q != after)
            q = q->next;
        q = q ? q->next : NULL;
    }
    while (q && !is_due(q, period_ns, now_ns))
        q = q->next;
    if (q)
        (void)request_ref(q);
    pthread_mutex_unlock(&d->lock);
    return q;
}

void deletes_get_stats(struct deletes *d, int64_t now_ns, struct deletes_stats *ret) {
    int64_t period_ns = atomic_load(&d->cancel_period_ns);
    *ret = (struct deletes_stats){0};
    pthread_mutex_lock(&d->lock);
    ret->received = d->received;
    for (const struct request *q = d->requests; q; q = q->next) {
        ret->pending += q->state != DELETE_PROCESSED;
        ret->processed += q->state == DELETE_PROCESSED;
        if (!is_due(q, period_ns, now_ns))
            continue;
        int64_t waited_ns = now_ns - period_ns - q->created_ns;
        ret->due++;
        if (waited_ns > ret->longest_due_ns)
            ret->longest_due_ns = waited_ns;
    }
    pthread_mutex_unlock(&d->lock);
}

static struct erased_lines *erased_new(struct str tenant) {
    struct erased_lines *e = malloc(sizeof(*e) + tenant.size);
    if (!e)
        return NULL;
    memcpy(e + 1, tenant.data, tenant.size);
    *e = (struct erased_lines){.tenant = str_make((const char *)(e + 1), tenant.size)};
    return e;
}

void deletes_count_erased(struct deletes *d, struct str tenant, uint64_t lines) {
    if (lines == 0)
        return;
    pthread_mutex_lock(&d->lock);
    struct erased_lines *e = d->erased;
    while (e && !str_eq(e->tenant, tenant))
        e = e->next;
    if (!e && (e = erased_new(tenant)) != NULL) {
        e->next = d->erased;
        d->erased = e;
    }
    if (e)
        e->lines += lines;
    pthread_mutex_unlock(&d->lock);
}

void deletes_walk_erased(struct deletes *d, deletes_erased_fn *fn, void *ctx) {
    pthread_mutex_lock(&d->lock);
    for (const struct erased_lines *e = d->erased; e; e = e->next)
        fn(e->tenant, e->lines, ctx);
    pthread_mutex_unlock(&d->lock);
}
