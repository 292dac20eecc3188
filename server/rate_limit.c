#include "rate_limit.h"

#include <pthread.h>
#include <stdlib.h>

#include "map.h"

struct bucket {
    double tokens;
    double burst;
    double bytes_per_second;
    int64_t filled_ns; /* when `tokens` was right */
    size_t tenant_size;
    char tenant[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards: buckets */
static struct map buckets;

static void bucket_fill(struct bucket *b, int64_t now_ns) {
    double passed_s = now_ns > b->filled_ns ? (double)(now_ns - b->filled_ns) / 1e9 : 0;
    b->tokens += passed_s * b->bytes_per_second;
    if (b->tokens > b->burst)
        b->tokens = b->burst;
    b->filled_ns = now_ns;
}

static struct str bucket_tenant(const struct bucket *b) {
    return str_make(b->tenant, b->tenant_size);
}

static void forget_full(int64_t now_ns) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(&buckets, &at, &key, &value)) {
        struct bucket *b = value;
        bucket_fill(b, now_ns);
        if (b->tokens < b->burst)
            continue;
        (void)map_remove(&buckets, key);
        free(b);
    }
}

/* NULL when there is no memory or no place. */
static struct bucket *bucket_of(struct str tenant, struct rate rate, int64_t now_ns) {
    struct bucket *b = map_get(&buckets, tenant);
    if (b)
        return b;
    if (buckets.count >= RATE_TENANTS_MAX)
        forget_full(now_ns);
    if (buckets.count >= RATE_TENANTS_MAX)
        return NULL;
    b = malloc(sizeof(*b) + tenant.size);
    if (!b)
        return NULL;
    *b = (struct bucket){
        .tokens = rate.burst_bytes, .filled_ns = now_ns, .tenant_size = tenant.size};
    memcpy(b->tenant, tenant.data, tenant.size);
    if (map_put(&buckets, bucket_tenant(b), b) < 0) {
        free(b);
        return NULL;
    }
    return b;
}

bool rate_limit_take(struct str tenant, struct rate rate, uint64_t bytes, int64_t now_ns) {
    if (!(rate.bytes_per_second > 0))
        return true;
    bool allowed = true;
    (void)pthread_mutex_lock(&lock);
    struct bucket *b = bucket_of(tenant, rate, now_ns);
    if (b) {
        b->bytes_per_second = rate.bytes_per_second;
        b->burst = rate.burst_bytes;
        bucket_fill(b, now_ns);
        allowed = b->tokens >= (double)bytes;
        if (allowed)
            b->tokens -= (double)bytes;
    }
    (void)pthread_mutex_unlock(&lock);
    return allowed;
}

void rate_limit_reset(void) {
    (void)pthread_mutex_lock(&lock);
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(&buckets, &at, &key, &value)) {
        (void)map_remove(&buckets, key);
        free(value);
    }
    map_done(&buckets);
    buckets = map_make();
    (void)pthread_mutex_unlock(&lock);
}
