#include "settings.h"

#include <errno.h>
#include <stdlib.h>

static int read_access(struct settings *s, struct err *reterr) {
    const char *file = s->config->access_file;
    return file[0] != '\0' ? access_load(file, &s->access, reterr) : 0;
}

static int read_overrides(struct settings *s, struct err *reterr) {
    const char *file = s->config->overrides_file;
    if (file[0] == '\0') {
        s->retention = retention_policy_ref(s->config->retention);
        return 0;
    }
    int r = overrides_load(file, s->config, &s->overrides, reterr);
    return r < 0 ? r : overrides_retention(s->overrides, &s->retention, reterr);
}

/* Takes the configuration's reference. `now`: what is not stale is shared with it; NULL = nothing. */
static int make(struct config *config, const struct settings *now, struct settings_stale stale,
                struct settings **ret, struct err *reterr) {
    struct settings *s = calloc(1, sizeof(*s));
    if (!s) {
        config_unref(config);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    atomic_init(&s->refs, 1);
    s->config = config;
    int r = 0;
    if (stale.access)
        r = read_access(s, reterr);
    else
        s->access = access_ref(now->access);
    if (stale.overrides && r == 0) {
        r = read_overrides(s, reterr);
    } else if (r == 0) {
        s->overrides = overrides_ref(now->overrides);
        s->retention = retention_policy_ref(now->retention);
    }
    if (r < 0) {
        settings_unref(s);
        return r;
    }
    *ret = s;
    return 0;
}

int settings_new(struct config *config, struct settings **ret, struct err *reterr) {
    const struct settings_stale all = {.access = true, .overrides = true};
    return make(config, NULL, all, ret, reterr);
}

int settings_renew(const struct settings *now, struct settings_stale stale, struct settings **ret,
                   struct err *reterr) {
    return make(config_ref(now->config), now, stale, ret, reterr);
}

struct settings *settings_ref(struct settings *s) {
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(struct settings *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    retention_policy_unref(s->retention);
    access_unref(s->access);
    overrides_unref(s->overrides);
    config_unref(s->config);
    free(s);
}

const struct limits *settings_limits(const struct settings *s, struct str tenant) {
    const struct limits *own = overrides_limits(s->overrides, tenant);
    return own ? own : &s->config->limits;
}

/* Zero is no limit. */
static void tighten_u32(uint32_t *limit, uint32_t other) {
    if (other > 0 && (*limit == 0 || other < *limit))
        *limit = other;
}

static void tighten_u64(uint64_t *limit, uint64_t other) {
    if (other > 0 && (*limit == 0 || other < *limit))
        *limit = other;
}

static void tighten_ns(int64_t *limit, int64_t other) {
    if (other > 0 && (*limit <= 0 || other < *limit))
        *limit = other;
}

void settings_tighten(struct limits *l, const struct limits *other) {
    tighten_u32(&l->max_entries_limit_per_query, other->max_entries_limit_per_query);
    tighten_ns(&l->max_query_length_ns, other->max_query_length_ns);
    tighten_ns(&l->max_query_lookback_ns, other->max_query_lookback_ns);
    tighten_ns(&l->max_query_range_ns, other->max_query_range_ns);
    tighten_u32(&l->max_streams_matchers, other->max_streams_matchers);
    tighten_u32(&l->max_query_series, other->max_query_series);
    tighten_ns(&l->query_timeout_ns, other->query_timeout_ns);
    tighten_u64(&l->max_query_bytes_read, other->max_query_bytes_read);
    tighten_u32(&l->volume_max_series, other->volume_max_series);
    tighten_u32(&l->max_concurrent_tail_requests, other->max_concurrent_tail_requests);
    l->volume_enabled = l->volume_enabled && other->volume_enabled;
    if (other->minimum_labels_number > l->minimum_labels_number)
        l->minimum_labels_number = other->minimum_labels_number;
}

void settings_tightest(const struct settings *s, const struct str *tenants, size_t count,
                       struct limits *ret) {
    *ret = *settings_limits(s, tenants[0]);
    for (size_t i = 1; i < count; i++)
        settings_tighten(ret, settings_limits(s, tenants[i]));
}
