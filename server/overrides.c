#include "overrides.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "config_keys.h"
#include "io.h"
#include "map.h"
#include "otlp_rules.h"
#include "yaml_walk.h"

enum { TENANT_MEMORY_MAX = 1 << 20, KEY_PATH_MAX = 256, LIST_MAX = 1000 };

/* The limits stand in a configuration of their own, of which nothing else is used: so the table of
 * keys serves here, too. */
struct override {
    struct str tenant;
    struct config *config;
    const struct config_retention *rules;
    size_t n_rules;
    bool has_period, has_rules;
};

struct overrides {
    atomic_uint refs;
    struct arena arena;
    struct config *base; /* a reference: lists that a tenant does not have are borrowed from it */
    struct override *items;
    size_t count;
    struct map by_tenant;
};

/* ---- reading */

static int read_key(struct yaml_walk *w, struct override *o, const struct config_key *key) {
    struct config *c = o->config;
    struct str *items;
    size_t count;
    o->has_period = o->has_period || str_ends(str_from(key->path), STR(".retention_period"));
    if (key->type == KEY_LIST) {
        int r = yaml_walk_texts(w, &c->arena, LIST_MAX, &items, &count);
        return r < 0 ? r : config_key_set_list(c, key, items, count, w->reterr);
    }
    if (w->event.type != YAML_SCALAR_EVENT)
        return yaml_walk_fail(w, "%s: one value belongs here", key->path);
    if (yaml_walk_is_null(w))
        return 0;
    size_t line = yaml_walk_line(w);
    int r = config_key_set(c, key, yaml_walk_text(w), w->reterr);
    return r < 0 ? err_prefix(w->reterr, r, "%s:%zu", w->name, line) : 0;
}

/* Only what stands in struct limits can differ between tenants. */
static bool is_limit(const struct config_key *key) {
    return key && key->offset >= offsetof(struct config, limits) &&
           key->offset < offsetof(struct config, limits) + sizeof(struct limits);
}

static int read_member(struct yaml_walk *w, struct override *o, struct str name) {
    char path[KEY_PATH_MAX];
    (void)snprintf(path, sizeof(path), "limits_config.%.*s", STR_ARG(name));
    int r = yaml_walk_next(w);
    if (r < 0)
        return r;
    if (str_eq(name, STR("retention_stream"))) {
        o->has_rules = true;
        return config_yaml_rules(w, &o->config->arena,
                                 (struct config_retention **)(uintptr_t)&o->rules, &o->n_rules);
    }
    if (str_eq(name, STR("otlp_config")))
        return otlp_rules_read(w, o->config);
    const struct config_key *key = config_key_find(str_from(path));
    if (is_limit(key))
        return read_key(w, o, key);
    struct str near = config_key_near(str_from(path));
    r = config_warn(o->config, "%s:%zu: overrides.%.*s.%.*s is not used by logqd%s%.*s%s", w->name,
                    yaml_walk_line(w), STR_ARG(o->tenant), STR_ARG(name),
                    near.data ? ": did you mean " : "", STR_ARG(near), near.data ? "?" : "");
    return r < 0 ? r : yaml_walk_skip(w);
}

static struct config *config_for_limits(const struct config *base) {
    struct config *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    c->arena = arena_make(TENANT_MEMORY_MAX);
    c->limits = base->limits;
    return c;
}

static int read_tenant(struct yaml_walk *w, struct overrides *all, struct str tenant) {
    struct override *o = &all->items[all->count];
    *o = (struct override){.tenant = tenant, .config = config_for_limits(all->base)};
    if (!o->config)
        return yaml_walk_fail(w, "out of memory");
    all->count++;
    if (map_get(&all->by_tenant, tenant))
        return yaml_walk_fail(w, "tenant \"%.*s\" is there twice", STR_ARG(tenant));
    if (map_put(&all->by_tenant, o->tenant, o) < 0)
        return yaml_walk_fail(w, "out of memory");
    int r = yaml_walk_next(w);
    if (r < 0 || (w->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(w)))
        return r;
    if (w->event.type != YAML_MAPPING_START_EVENT)
        return yaml_walk_fail(w, "the limits of tenant \"%.*s\" belong here", STR_ARG(tenant));
    struct str name;
    while ((r = yaml_walk_member(w, &o->config->arena, &name)) > 0) {
        r = read_member(w, o, name);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : config_check_limits(&o->config->limits, w->reterr);
}

static int read_tenants(struct yaml_walk *w, struct overrides *all) {
    int r = yaml_walk_next(w);
    if (r < 0 || (w->event.type == YAML_SCALAR_EVENT && yaml_walk_is_null(w)))
        return r;
    if (w->event.type != YAML_MAPPING_START_EVENT)
        return yaml_walk_fail(w, "overrides: tenants and their limits belong here");
    struct str tenant;
    while ((r = yaml_walk_member(w, &all->arena, &tenant)) > 0) {
        if (all->count == OVERRIDES_TENANTS_MAX)
            return yaml_walk_fail(w, "at most %d tenants have limits of their own",
                                  OVERRIDES_TENANTS_MAX);
        r = read_tenant(w, all, tenant);
        if (r < 0)
            return r;
    }
    return r;
}

static int read_file(struct yaml_walk *w, struct overrides *all) {
    bool seen = false;
    struct str name;
    int r = yaml_walk_open(w);
    if (r <= 0)
        return r;
    while ((r = yaml_walk_member(w, &all->arena, &name)) > 0) {
        if (!str_eq(name, STR("overrides"))) {
            /* Loki keeps more in this file. */
            r = yaml_walk_next(w);
            r = r < 0 ? r : yaml_walk_skip(w);
        } else if (seen) {
            r = yaml_walk_fail(w, "overrides is there twice");
        } else {
            seen = true;
            r = read_tenants(w, all);
        }
        if (r < 0)
            return r;
    }
    return r < 0 ? r : yaml_walk_close(w);
}

int overrides_parse(const char *name, struct str text, struct config *base, struct overrides **ret,
                    struct err *reterr) {
    struct overrides *o = calloc(1, sizeof(*o));
    if (!o)
        return err_set(reterr, -ENOMEM, "out of memory");
    atomic_init(&o->refs, 1);
    o->base = config_ref(base);
    o->arena = arena_make(2 * (size_t)OVERRIDES_FILE_MAX);
    o->by_tenant = map_make();
    o->items = calloc(OVERRIDES_TENANTS_MAX, sizeof(*o->items));
    struct yaml_walk w;
    int r = yaml_walk_begin(&w, name, text, reterr);
    if (r == 0 && !o->items)
        r = err_set(reterr, -ENOMEM, "out of memory");
    if (r == 0)
        r = read_file(&w, o);
    yaml_walk_end(&w);
    if (r < 0) {
        overrides_unref(o);
        return r;
    }
    *ret = o;
    return 0;
}

int overrides_load(const char *file, struct config *base, struct overrides **ret,
                   struct err *reterr) {
    struct buf text = buf_make(OVERRIDES_FILE_MAX);
    int r = io_read_file(AT_FDCWD, file, &text);
    if (r < 0)
        (void)err_set(reterr, r, "limits_config.per_tenant_override_config %s: %s", file,
                      err_name(r));
    else
        r = overrides_parse(file, buf_str(&text), base, ret, reterr);
    buf_done(&text);
    return r < 0 ? r : 0;
}

struct overrides *overrides_ref(struct overrides *o) {
    if (o)
        (void)atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void overrides_unref(struct overrides *o) {
    if (!o || atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    for (size_t i = 0; i < o->count; i++)
        config_unref(o->items[i].config);
    free(o->items);
    map_done(&o->by_tenant);
    config_unref(o->base);
    arena_done(&o->arena);
    free(o);
}

/* ---- asking */

const struct limits *overrides_limits(const struct overrides *o, struct str tenant) {
    const struct override *found = o ? map_get(&o->by_tenant, tenant) : NULL;
    return found ? &found->config->limits : NULL;
}

size_t overrides_warnings(const struct overrides *o, char **ret, size_t max) {
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct config *c = o->items[i].config;
        for (size_t k = 0; k < c->n_warnings && count < max; k++)
            ret[count++] = c->warnings[k];
    }
    return count;
}

int overrides_retention(const struct overrides *o, struct retention_policy **ret,
                        struct err *reterr) {
    const struct config *base = o->base;
    struct retention_source *sources = calloc(o->count + 1, sizeof(*sources));
    if (!sources)
        return err_set(reterr, -ENOMEM, "out of memory");
    size_t n = 0;
    sources[n++] = (struct retention_source){.rules = base->retention_stream,
                                             .n_rules = base->n_retention_stream};
    for (size_t i = 0; i < o->count; i++) {
        const struct override *item = &o->items[i];
        if (!item->has_period && !item->has_rules)
            continue;
        sources[n++] = (struct retention_source){
            .tenant = item->tenant,
            .rules = item->has_rules ? item->rules : base->retention_stream,
            .n_rules = item->has_rules ? item->n_rules : base->n_retention_stream,
            .has_period = true,
            .period_ns = item->config->limits.retention_period_ns,
        };
    }
    static const struct retention_budgets none;
    bool on = base->retention_enabled;
    int r = retention_rules_make(on ? base->limits.retention_period_ns : 0, sources, on ? n : 0,
                                 on ? &base->budgets : &none, ret, reterr);
    free(sources);
    return r;
}

static void dump_tenant(const struct overrides *o, const struct override *item, struct buf *out) {
    buf_addf(out, "  %.*s:\n", STR_ARG(item->tenant));
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (!is_limit(key))
            continue;
        struct buf own = buf_make(BUF_NO_MAX), usual = buf_make(BUF_NO_MAX);
        config_key_format(item->config, key, &own);
        config_key_format(o->base, key, &usual);
        if (!str_eq(buf_str(&own), buf_str(&usual)))
            buf_addf(out, "    %s: %.*s\n", key->path + strlen("limits_config."),
                     STR_ARG(buf_str(&own)));
        buf_done(&own);
        buf_done(&usual);
    }
    if (item->config->otlp_rules)
        otlp_rules_dump(item->config->otlp_rules, 4, out);
}

void overrides_dump(const struct overrides *o, struct buf *out) {
    buf_add_str(out, o && o->count > 0 ? STR("overrides:\n") : STR("overrides: {}\n"));
    for (size_t i = 0; o && i < o->count; i++)
        dump_tenant(o, &o->items[i], out);
}
