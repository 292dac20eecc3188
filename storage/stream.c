/* The registry: which streams are in memory. */
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "hash.h"

enum { SPELLINGS_PER_STREAM_MAX = 16, LABELS_TEXT_MAX = 16 << 20 };

int registry_init(struct registry *r) {
    *r = (struct registry){0};
    atomic_init(&r->next_id, 1);
    atomic_init(&r->next_order, 1);
    return -pthread_rwlock_init(&r->lock, NULL);
}

/* What a stream and a spelling of it take, but for its head. */
enum { MAP_PLACE_BYTES = 48 };

static size_t stream_bytes(const struct stream *s) {
    return sizeof(*s) + s->encoded.size + s->labels.count * sizeof(struct label) +
           3 * (size_t)MAP_PLACE_BYTES;
}

static size_t spelling_bytes(const struct spelling *p) {
    return sizeof(*p) + p->text.size + MAP_PLACE_BYTES;
}

static void free_spellings(struct stream *s) {
    struct spelling *p = s->spellings;
    while (p) {
        struct spelling *next = p->next;
        budget_give(BUDGET_STREAMS, spelling_bytes(p));
        free(p);
        p = next;
    }
    s->spellings = NULL;
}

static void stream_free(struct stream *s) {
    if (!s)
        return;
    if (s->accounted)
        budget_give(BUDGET_STREAMS, stream_bytes(s));
    rows_builder_done(&s->open);
    for (size_t i = 0; i < s->n_sealed; i++)
        mem_block_unref(s->sealed[i]);
    if (s->sealed != &s->first_sealed)
        free(s->sealed);
    free(s->taps);
    free_spellings(s);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- names of labels in use; registry.lock is held for writing */

static void free_name_uses(struct tenant *t) {
    size_t at = 0;
    struct str key;
    void *use;
    while (map_next(&t->by_name, &at, &key, &use))
        free(use);
    map_done(&t->by_name);
}

static void drop_names(struct tenant *t, const struct label *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct name_use *use = map_get(&t->by_name, items[i].name);
        if (--use->n_streams == 0) {
            (void)map_remove(&t->by_name, items[i].name);
            free(use);
        }
    }
}

static int use_name(struct tenant *t, struct str name) {
    struct name_use *use = map_get(&t->by_name, name);
    if (!use) {
        use = malloc(sizeof(*use) + name.size);
        if (!use)
            return -ENOMEM;
        use->n_streams = 0;
        if (name.size > 0)
            memcpy(use->name, name.data, name.size);
        if (map_put(&t->by_name, str_make(use->name, name.size), use) < 0) {
            free(use);
            return -ENOMEM;
        }
    }
    use->n_streams++;
    return 0;
}

static int use_names(struct tenant *t, struct labels labels) {
    for (size_t i = 0; i < labels.count; i++)
        if (use_name(t, labels.items[i].name) < 0) {
            drop_names(t, labels.items, i);
            return -ENOMEM;
        }
    return 0;
}

/* ---- */

void registry_done(struct registry *r) {
    registry_release(r, atomic_load(&r->head_bytes));
    for (size_t i = 0; i < r->n_all; i++)
        stream_free(r->all[i]);
    free(r->all);
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(&r->tenants, &at, &key, &value)) {
        struct tenant *t = value;
        map_done(&t->by_text);
        map_done(&t->by_labels);
        free_name_uses(t);
        free(t);
    }
    map_done(&r->tenants);
    map_done(&r->by_id);
    (void)pthread_rwlock_destroy(&r->lock);
}

static struct str id_key(const struct stream *s) {
    return str_make((const char *)&s->id, sizeof(s->id));
}

struct stream *registry_find_text(struct registry *r, struct str tenant, struct str text) {
    struct stream *found = NULL;
    (void)pthread_rwlock_rdlock(&r->lock);
    struct tenant *t = map_get(&r->tenants, tenant);
    struct spelling *p = t ? map_get(&t->by_text, text) : NULL;
    if (p) {
        found = p->stream;
        stream_pin(found);
    }
    (void)pthread_rwlock_unlock(&r->lock);
    return found;
}

static int encode_labels(struct labels labels, struct buf *ret) {
    *ret = buf_make(LABELS_TEXT_MAX);
    labels_encode(ret, labels);
    if (!ret->failed)
        return 0;
    buf_done(ret);
    return -ENOMEM;
}

static struct stream *find_encoded(struct registry *r, struct str tenant, struct str encoded) {
    struct tenant *t = map_get(&r->tenants, tenant);
    struct stream *s = t ? map_get(&t->by_labels, encoded) : NULL;
    if (s)
        stream_pin(s);
    return s;
}

struct stream *registry_find(struct registry *r, struct str tenant, struct labels labels) {
    struct buf encoded;
    if (encode_labels(labels, &encoded) < 0)
        return NULL;
    (void)pthread_rwlock_rdlock(&r->lock);
    struct stream *s = find_encoded(r, tenant, buf_str(&encoded));
    (void)pthread_rwlock_unlock(&r->lock);
    buf_done(&encoded);
    return s;
}

struct stream *registry_find_id(struct registry *r, uint64_t id) {
    (void)pthread_rwlock_rdlock(&r->lock);
    struct stream *s = map_get(&r->by_id, str_make((const char *)&id, sizeof(id)));
    if (s)
        stream_pin(s);
    (void)pthread_rwlock_unlock(&r->lock);
    return s;
}

static struct tenant *find_or_add_tenant(struct registry *r, struct str name) {
    struct tenant *t = map_get(&r->tenants, name);
    if (t)
        return t;
    t = calloc(1, sizeof(*t) + name.size + 1);
    if (!t)
        return NULL;
    char *copy = (char *)(t + 1);
    memcpy(copy, name.data, name.size);
    t->name = str_make(copy, name.size);
    if (map_put(&r->tenants, t->name, t) < 0) {
        free(t);
        return NULL;
    }
    return t;
}

/* One allocation: there may be 100,000 of them. */
static struct stream *stream_new(struct labels labels) {
    struct buf encoded;
    if (encode_labels(labels, &encoded) < 0)
        return NULL;
    size_t items_size = labels.count * sizeof(struct label);
    struct stream *s = calloc(1, sizeof(*s) + items_size + encoded.size);
    if (s) {
        struct label *items = (struct label *)(s + 1);
        char *copy = (char *)(items + labels.count);
        memcpy(copy, encoded.data, encoded.size);
        s->encoded = str_make(copy, encoded.size);
        s->labels = labels_place(labels, copy, items);
        (void)pthread_mutex_init(&s->lock, NULL);
        s->first_ns = INT64_MAX;
        s->last_ns = INT64_MIN;
        s->last_append_mono_ns = clock_mono_ns();
    }
    buf_done(&encoded);
    return s;
}

/* registry.lock is held for writing. */
static int insert_stream(struct registry *r, struct str tenant, struct stream *s) {
    struct tenant *t = find_or_add_tenant(r, tenant);
    if (!t)
        return -ENOMEM;
    s->tenant = t;
    if (r->n_all == r->all_capacity) {
        size_t capacity = r->all_capacity ? r->all_capacity * 2 : 64;
        struct stream **all = realloc(r->all, sizeof(struct stream *) * capacity);
        if (!all)
            return -ENOMEM;
        r->all = all;
        r->all_capacity = capacity;
    }
    if (use_names(t, s->labels) < 0)
        return -ENOMEM;
    int status = map_put(&t->by_labels, s->encoded, s);
    if (status == 0) {
        status = map_put(&r->by_id, id_key(s), s);
        if (status < 0)
            (void)map_remove(&t->by_labels, s->encoded);
    }
    if (status < 0) {
        drop_names(t, s->labels.items, s->labels.count);
        return status;
    }
    s->slot = r->n_all;
    r->all[r->n_all++] = s;
    return 0;
}

int registry_add(struct registry *r, struct str tenant, struct labels labels,
                 const struct stream_identity *identity, struct stream **ret) {
    struct stream *s = stream_new(labels);
    if (!s)
        return -ENOMEM;
    int status = 0;
    s->flushed = identity->flushed;
    s->indexed = identity->indexed;
    if (identity->first_ns <= identity->last_ns) {
        s->first_ns = identity->first_ns;
        s->last_ns = identity->last_ns;
    }
    (void)pthread_rwlock_wrlock(&r->lock);
    struct stream *found = find_encoded(r, tenant, s->encoded);
    if (!found) {
        s->id = identity->id ? identity->id : atomic_fetch_add(&r->next_id, 1);
        status = insert_stream(r, tenant, s);
        if (status == 0) {
            s->accounted = true;
            budget_force(BUDGET_STREAMS, stream_bytes(s));
            stream_pin(s);
        }
    }
    (void)pthread_rwlock_unlock(&r->lock);
    if (found || status < 0)
        stream_free(s);
    if (status < 0)
        return status;
    *ret = found ? found : s;
    return 0;
}

void registry_add_text(struct registry *r, struct stream *s, struct str text) {
    struct spelling *p = malloc(sizeof(*p) + text.size);
    if (!p)
        return;
    memcpy(p + 1, text.data, text.size);
    *p = (struct spelling){.stream = s, .text = str_make((const char *)(p + 1), text.size)};
    (void)pthread_rwlock_wrlock(&r->lock);
    unsigned count = 0;
    for (const struct spelling *q = s->spellings; q; q = q->next)
        count++;
    if (count < SPELLINGS_PER_STREAM_MAX && !map_get(&s->tenant->by_text, text) &&
        map_put(&s->tenant->by_text, p->text, p) == 0) {
        p->next = s->spellings;
        s->spellings = p;
        budget_force(BUDGET_STREAMS, spelling_bytes(p));
        p = NULL;
    }
    (void)pthread_rwlock_unlock(&r->lock);
    free(p);
}

void registry_forget_texts(struct registry *r) {
    (void)pthread_rwlock_wrlock(&r->lock);
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(&r->tenants, &at, &key, &value))
        map_done(&((struct tenant *)value)->by_text);
    for (size_t i = 0; i < r->n_all; i++)
        free_spellings(r->all[i]);
    (void)pthread_rwlock_unlock(&r->lock);
}

/* ---- names */

/* Streams lie far apart in memory: each is fetched so many before it is looked at, its labels half as many. */
enum { STREAMS_AHEAD = 16 };

static void prefetch_stream(const struct registry *r, size_t i) {
    if (i + STREAMS_AHEAD < r->n_all)
        __builtin_prefetch(r->all[i + STREAMS_AHEAD]);
    if (i + STREAMS_AHEAD / 2 < r->n_all)
        __builtin_prefetch(r->all[i + STREAMS_AHEAD / 2]->labels.items);
}

static bool stream_meets(struct stream *s, const struct name_query *q) {
    (void)pthread_mutex_lock(&s->lock);
    int64_t first_ns = s->first_ns, last_ns = s->last_ns;
    (void)pthread_mutex_unlock(&s->lock);
    return first_ns <= last_ns && first_ns <= q->end_ns && last_ns >= q->start_ns &&
           q->counts(q->ctx, s->labels, last_ns);
}

static bool has_news(const struct name_set *n, const struct name_query *q, struct labels labels) {
    if (q->label.data) {
        struct str value = labels_get(labels, q->label);
        return value.size > 0 && !name_set_have(n, value);
    }
    for (size_t i = 0; i < labels.count; i++)
        if (!name_set_have(n, labels.items[i].name))
            return true;
    return false;
}

int registry_names(struct registry *r, const struct name_query *q, struct name_set *into) {
    int status = 0;
    size_t left = SIZE_MAX, at = 0;
    struct str name;
    void *use;
    (void)pthread_rwlock_rdlock(&r->lock);
    const struct tenant *t = map_get(&r->tenants, q->tenant);
    if (t && !q->label.data)
        for (left = 0; map_next(&t->by_name, &at, &name, &use);)
            left += !name_set_have(into, name);
    for (size_t i = 0; t && i < r->n_all && left > 0 && status == 0; i++) {
        struct stream *s = r->all[i];
        prefetch_stream(r, i);
        if (s->tenant == t && has_news(into, q, s->labels) && stream_meets(s, q))
            status = name_set_add_labels(into, q, s->labels, &left);
    }
    (void)pthread_rwlock_unlock(&r->lock);
    return status;
}

size_t registry_count(struct registry *r) {
    (void)pthread_rwlock_rdlock(&r->lock);
    size_t n = r->n_all;
    (void)pthread_rwlock_unlock(&r->lock);
    return n;
}

struct stream **registry_list_filled(struct registry *r, size_t *ret_count) {
    (void)pthread_rwlock_rdlock(&r->lock);
    struct stream **list = malloc(sizeof(struct stream *) * (r->n_all + 1));
    size_t n = 0;
    for (size_t i = 0; list && i < r->n_all; i++) {
        if (i + STREAMS_AHEAD < r->n_all)
            __builtin_prefetch(&r->all[i + STREAMS_AHEAD]->filled);
        if (!atomic_load(&r->all[i]->filled))
            continue;
        list[n] = r->all[i];
        stream_pin(list[n++]);
    }
    (void)pthread_rwlock_unlock(&r->lock);
    *ret_count = n;
    return list;
}

void registry_list_done(struct stream **list, size_t count) {
    for (size_t i = 0; list && i < count; i++)
        stream_unpin(list[i]);
    free(list);
}

/* registry.lock is held for writing, so nobody can pin the stream meanwhile. */
static void remove_stream(struct registry *r, struct stream *s) {
    for (const struct spelling *p = s->spellings; p; p = p->next)
        (void)map_remove(&s->tenant->by_text, p->text);
    (void)map_remove(&s->tenant->by_labels, s->encoded);
    drop_names(s->tenant, s->labels.items, s->labels.count);
    (void)map_remove(&r->by_id, id_key(s));
    assert(r->all[s->slot] == s);
    struct stream *last = r->all[--r->n_all];
    r->all[s->slot] = last;
    last->slot = s->slot;
    stream_free(s);
}

void registry_evict(struct registry *r, int64_t idle_before_mono_ns) {
    (void)pthread_rwlock_wrlock(&r->lock);
    for (size_t i = r->n_all; i > 0; i--) {
        struct stream *s = r->all[i - 1];
        if (atomic_load(&s->pins) > 0)
            continue;
        (void)pthread_mutex_lock(&s->lock);
        bool empty = s->open.count == 0 && s->n_sealed == 0 && !s->flushing &&
                     s->last_append_mono_ns < idle_before_mono_ns;
        (void)pthread_mutex_unlock(&s->lock);
        if (empty)
            remove_stream(r, s);
    }
    (void)pthread_rwlock_unlock(&r->lock);
}
