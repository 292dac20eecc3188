/* api_guard: who may come in, asked by the HTTP server before a request's body is read. A request
 * leaves here with a visitor pinned to it: the settings that it will see, and who sent it. */
#include <errno.h>

#include "api.h"
#include "clock.h"
#include "log.h"
#include "request_limits.h"
#include "units.h"

struct visitor {
    struct settings *settings;      /* a reference */
    const struct access_user *user; /* NULL: there is no access file */
    const struct limits *limits;    /* of the tenant once it is known */
};

static void visitor_leave(void *what) {
    struct visitor *v = what;
    settings_unref(v->settings);
}

static const struct visitor *visitor_of(const struct http_request *r) {
    return http_request_pinned(r);
}

const struct config *api_config_of(const struct http_request *r) {
    return visitor_of(r)->settings->config;
}

static bool refuse_id(struct http_request *r, int status, const struct err *err) {
    struct buf text = buf_make(ERR_TEXT_MAX + 1);
    buf_addf(&text, "%s\n", err->text);
    http_reply_error(r, status, buf_str(&text));
    buf_done(&text);
    return false;
}

/* Labels that both lists ask for stand there once. */
static int join_required(struct arena *arena, struct limits *l, const struct limits *asked) {
    struct str *all =
        arena_array(arena, l->n_required_labels + asked->n_required_labels, sizeof(*all));
    if (!all)
        return -ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < l->n_required_labels; i++)
        all[count++] = l->required_labels[i];
    for (size_t i = 0; i < asked->n_required_labels; i++) {
        size_t n = 0;
        while (n < count && !str_eq(all[n], asked->required_labels[i]))
            n++;
        if (n == count)
            all[count++] = asked->required_labels[i];
    }
    l->required_labels = all;
    l->n_required_labels = count;
    return 0;
}

/* What the request itself asks for tightens what its tenant may do. */
static int take_request_limits(struct http_request *r, struct limits *l, struct err *reterr) {
    struct arena *arena = http_request_arena(r);
    struct limits asked;
    int e =
        request_limits_parse(http_request_header(r, "X-Loki-Query-Limits"), arena, &asked, reterr);
    if (e < 0)
        return e;
    settings_tighten(l, &asked);
    return asked.n_required_labels > 0 && join_required(arena, l, &asked) < 0
               ? err_set(reterr, -ENOMEM, "out of memory")
               : 0;
}

/* The tightest of each limit; labels that one tenant requires are required of all. */
static int join_limits(const struct settings *s, const struct str *tenants, size_t count,
                       struct arena *arena, struct limits *l) {
    settings_tightest(s, tenants, count, l);
    for (size_t i = 1; i < count; i++) {
        const struct limits *other = settings_limits(s, tenants[i]);
        if (other->n_required_labels > 0 && join_required(arena, l, other) < 0)
            return -ENOMEM;
    }
    return 0;
}

bool api_take_limits_of(struct http_request *r, const struct str *tenants, size_t count) {
    struct visitor *v = http_request_pinned(r);
    bool asks = v->settings->config->per_request_limits_enabled &&
                http_request_header(r, "X-Loki-Query-Limits").size > 0;
    if (count == 1 && !asks) {
        v->limits = settings_limits(v->settings, tenants[0]);
        return true;
    }
    struct arena *arena = http_request_arena(r);
    struct limits *limits = arena_alloc(arena, sizeof(*limits));
    struct err err = {0};
    int e = limits ? join_limits(v->settings, tenants, count, arena, limits) : -ENOMEM;
    if (e < 0)
        (void)err_set(&err, e, "out of memory");
    if (e == 0 && asks)
        e = take_request_limits(r, limits, &err);
    if (e < 0)
        return refuse_id(r, e == -ENOMEM ? 503 : 400, &err);
    v->limits = limits;
    return true;
}

const struct overrides *api_overrides_of(const struct http_request *r) {
    return visitor_of(r)->settings->overrides;
}

const struct access_user *api_user_of(const struct http_request *r) {
    return visitor_of(r)->user;
}

const struct limits *api_limits_of(const struct http_request *r) {
    return visitor_of(r)->limits;
}

/* ---- refusals */

const char *api_refusal_name(enum api_refusal r) {
    static const char *const names[API_REFUSALS] = {
        [API_REFUSED_NOTHING] = "no_credentials",
        [API_REFUSED_WRONG] = "wrong_credentials",
        [API_REFUSED_RIGHT] = "right_missing",
        [API_REFUSED_TENANT] = "tenant_not_allowed",
    };
    return names[r];
}

/* For fail2ban and people; at most one line a second, so that guessing fills no disk. */
static void log_refusal(struct api *api, struct http_request *r, enum api_refusal why,
                        struct str user) {
    int64_t now_ns = clock_mono_ns(), last_ns = atomic_load(&api->refusal_logged_ns);
    if (last_ns != 0 && now_ns - last_ns < NS_PER_S)
        return;
    if (atomic_compare_exchange_strong(&api->refusal_logged_ns, &last_ns, now_ns))
        log_line(LOG_WARN, "access refused", "reason=%s peer=%.*s user=%s path=%s",
                 api_refusal_name(why), STR_ARG(http_request_peer(r)), log_quote(user),
                 log_quote(http_request_path(r)));
}

static void refuse(struct api *api, struct http_request *r, enum api_refusal why, struct str text) {
    static const struct http_header challenge[] = {
        {"WWW-Authenticate", "Basic realm=\"logqd\", charset=\"UTF-8\""},
        {"X-Content-Type-Options", "nosniff"},
    };
    const struct visitor *v = visitor_of(r);
    bool unknown = why == API_REFUSED_NOTHING || why == API_REFUSED_WRONG;
    (void)atomic_fetch_add_explicit(&api->refusals[why], 1, memory_order_relaxed);
    log_refusal(api, r, why, v->user ? access_name(v->user) : STR(""));
    struct buf body = buf_make(text.size + 1);
    buf_add_str(&body, text);
    http_reply_headers(r, unknown ? 401 : 403, "text/plain; charset=utf-8",
                       unknown ? challenge : challenge + 1, unknown ? 2 : 1, &body);
    buf_done(&body);
}

/* ---- tenants */

static const struct str default_tenant = STR_INIT("fake");

void api_refuse_tenant(struct api *api, struct http_request *r, struct str tenant) {
    const struct visitor *v = visitor_of(r);
    struct buf text = buf_make(ERR_TEXT_MAX);
    buf_addf(&text, "user '%.*s' has no access to tenant '%.*s'\n", STR_ARG(access_name(v->user)),
             STR_ARG(tenant));
    refuse(api, r, API_REFUSED_TENANT, buf_str(&text));
    buf_done(&text);
}

bool api_tenant(struct api *api, struct http_request *r, struct str *ret) {
    struct visitor *v = http_request_pinned(r);
    struct str tenant = default_tenant, header = http_request_header(r, "X-Scope-OrgID");
    if (v->settings->config->auth_enabled) {
        struct err err;
        /* Who has one tenant only need not name it. */
        struct str only = v->user ? access_only_tenant(v->user) : (struct str){0};
        int status = api_tenant_check(header.data ? header : only, &tenant, &err);
        if (status != 0)
            return refuse_id(r, status, &err);
    }
    if (v->user && !access_has_tenant(v->user, tenant)) {
        api_refuse_tenant(api, r, tenant);
        return false;
    }
    *ret = tenant;
    return api_take_limits_of(r, &tenant, 1);
}

/* ---- what a path needs */

/* Which of the rights a path needs; 0 = any user; *ret_open: no user at all. What is not named
 * here is the administrator's. */
static unsigned rights_of(const char *path, bool *ret_open) {
    static const struct {
        struct str path;
        bool prefix, open;
        unsigned rights;
    } rules[] = {
        {STR_INIT("/ready"), .open = true},
        {STR_INIT("/loki/ready"), .open = true},
        {STR_INIT("/metrics"), .rights = RIGHT_METRICS},
        {STR_INIT("/services"), .rights = 0},
        {STR_INIT("/loki/api/v1/status/buildinfo"), .rights = 0},
        {STR_INIT("/loki/api/v1/push"), .rights = RIGHT_PUSH},
        {STR_INIT("/api/prom/push"), .rights = RIGHT_PUSH},
        {STR_INIT("/otlp/v1/logs"), .rights = RIGHT_PUSH},
        {STR_INIT("/v1/logs"), .rights = RIGHT_PUSH},
        {STR_INIT("/loki/api/v1/delete"), .prefix = true, .rights = RIGHT_DELETE},
        {STR_INIT("/loki/api/v1/cache/"), .prefix = true, .rights = RIGHT_DELETE},
        {STR_INIT("/loki/api/v1/"), .prefix = true, .rights = RIGHT_QUERY},
        {STR_INIT("/api/prom/"), .prefix = true, .rights = RIGHT_QUERY},
        {STR_INIT("/prometheus/api/v1/"), .prefix = true, .rights = RIGHT_QUERY},
    };
    struct str p = str_from(path);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].prefix ? !str_starts(p, rules[i].path) : !str_eq(p, rules[i].path))
            continue;
        *ret_open = rules[i].open;
        return rules[i].rights;
    }
    *ret_open = false;
    return RIGHT_ADMIN;
}

static const char *right_text(unsigned right) {
    switch (right) {
    case RIGHT_PUSH:
        return "push";
    case RIGHT_QUERY:
        return "query";
    case RIGHT_DELETE:
        return "delete";
    case RIGHT_METRICS:
        return "metrics";
    default:
        return "admin";
    }
}

/* ---- asking */

static bool admit(void *ctx, const struct http_address *peer) {
    struct settings *s = api_settings(ctx);
    const struct config *c = s->config;
    bool found = c->n_allow == 0;
    for (size_t i = 0; i < c->n_allow && !found; i++)
        found = net_prefix_has(&c->allow[i], peer->bytes);
    settings_unref(s);
    return found;
}

static struct visitor *visitor_new(struct api *api, struct http_request *r) {
    struct visitor *v = arena_alloc(http_request_arena(r), sizeof(*v));
    if (!v)
        return NULL;
    *v = (struct visitor){.settings = api_settings(api)};
    v->limits = &v->settings->config->limits;
    http_request_pin(r, v, visitor_leave);
    return v;
}

static enum http_verdict refuse_right(struct api *api, struct http_request *r,
                                      const struct visitor *v, unsigned rights) {
    struct buf text = buf_make(ACCESS_NAME_MAX + 64);
    buf_addf(&text, "user '%.*s' has no right to this: %s\n", STR_ARG(access_name(v->user)),
             right_text(rights));
    refuse(api, r, API_REFUSED_RIGHT, buf_str(&text));
    buf_done(&text);
    return HTTP_REFUSED;
}

static enum http_verdict ask(void *ctx, struct http_request *r, bool may_block) {
    struct api *api = ctx;
    struct visitor *v = http_request_pinned(r);
    if (!v)
        v = visitor_new(api, r);
    if (!v) {
        http_reply_error(r, 503, STR("out of memory\n"));
        return HTTP_REFUSED;
    }
    const struct http_route *route = http_request_route(r);
    bool open = false;
    unsigned rights = route ? rights_of(route->path, &open) : 0;
    if (!v->settings->access || open)
        return HTTP_PASS;
    const struct access_claim claim = {
        .authorization = http_request_header(r, "Authorization"),
        .certificate = http_request_certificate(r),
    };
    switch (access_identify(v->settings->access, &claim, may_block, &v->user)) {
    case ACCESS_KNOWN:
        return access_may(v->user, rights) ? HTTP_PASS : refuse_right(api, r, v, rights);
    case ACCESS_NOTHING:
        refuse(api, r, API_REFUSED_NOTHING, STR("credentials are needed\n"));
        return HTTP_REFUSED;
    case ACCESS_SLOW:
        return HTTP_ASK_SLOW;
    case ACCESS_WRONG:
        break;
    }
    refuse(api, r, API_REFUSED_WRONG, STR("wrong credentials\n"));
    return HTTP_REFUSED;
}

struct http_guard api_guard(struct api *api) {
    return (struct http_guard){.admit = admit, .ask = ask, .ctx = api};
}
