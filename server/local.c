#include "local.h"

#include <errno.h>
#include <stdlib.h>

#include "api.h"
#include "http_internal.h"
#include "log.h"

enum {
    GET_MAX = 32 << 10, /* a longer form is POSTed */
    HEAD_MAX = 64 << 10,
    FORM_MAX = 16 << 20,
    TENANTS_MEMORY_MAX = 16 << 20,
    TENANTS_NAMED_MAX = 20, /* in a message */
};

/* A server of one loop without sockets and threads. */
struct local {
    struct http_server server;
    struct http_loop loop;
    struct http_route routes[API_ROUTES_MAX];
    struct api api;
    struct deletes *deletes;
    struct http_request *request; /* of the last answer */
    struct buf head;
    char *tenant;
    local_take_fn *take; /* of local_stream; NULL: answers gather */
    void *take_ctx;
};

/* ---- tenants */

static int name_tenants(const struct str *tenants, size_t count, struct err *reterr) {
    struct buf names = buf_make(HEAD_MAX);
    for (size_t i = 0; i < count && i < TENANTS_NAMED_MAX; i++)
        buf_addf(&names, "%s%.*s", i > 0 ? ", " : "", STR_ARG(tenants[i]));
    int r = err_set(reterr, -EREFUSED, "which tenant? --org-id is one of %.*s%s",
                    STR_ARG(buf_str(&names)), count > TENANTS_NAMED_MAX ? ", ..." : "");
    buf_done(&names);
    return r;
}

static int choose_tenant(struct local *l, struct err *reterr) {
    struct arena arena = arena_make(TENANTS_MEMORY_MAX);
    struct str *tenants;
    size_t count;
    const struct str usual = STR("fake");
    struct str chosen = usual;
    int r = store_tenants(l->api.store, &arena, &tenants, &count);
    if (r == 0 && count == 1)
        chosen = tenants[0];
    bool known = r == 0 && count < 2;
    for (size_t i = 0; r == 0 && i < count && !known; i++)
        known = str_eq(tenants[i], usual);
    if (r == 0 && !known)
        r = name_tenants(tenants, count, reterr);
    else if (r < 0)
        (void)err_set(reterr, r, "cannot list the tenants: %s", err_name(r));
    if (r == 0) {
        l->tenant = strndup(chosen.data, chosen.size);
        r = l->tenant ? 0 : err_set(reterr, -ENOMEM, "out of memory");
    }
    arena_done(&arena);
    return r;
}

static int set_tenant(struct local *l, const char *tenant, struct err *reterr) {
    struct str checked;
    if (!tenant || !*tenant)
        return choose_tenant(l, reterr);
    if (api_tenant_check(str_from(tenant), &checked, reterr) != 0)
        return -EREFUSED;
    l->tenant = strndup(checked.data, checked.size);
    return l->tenant ? 0 : err_set(reterr, -ENOMEM, "out of memory");
}

/* ---- opening */

/* The default limits of a server: its answers, refusals too. What guards a server's time and keeps expired entries out
 * of sight has no place here: who reads a directory wants what is in it. */
static int load_config(struct local *l, struct err *reterr) {
    static const struct config_override overrides[] = {
        {"auth_enabled", "true"},
        {"limits_config.retention_period", "0s"},
        {"limits_config.query_timeout", "0s"},
    };
    struct config *config;
    int r = config_load(NULL, overrides, sizeof(overrides) / sizeof(overrides[0]), &config, reterr);
    return r < 0 ? r : settings_new(config, &l->api.settings, reterr);
}

/* Those that read the store, answered at once. */
static void take_routes(struct local *l) {
    static const char *const of_servers[] = {
        "/tail",      "/ready",  "/metrics",         "/config", "/services",
        "/log_level", "/delete", "/admin/retention", "/debug",  "/runtime_config"};
    struct http_route all[API_ROUTES_MAX];
    size_t count = api_routes(&l->api, all);
    for (size_t i = 0; i < count; i++) {
        bool reads = (all[i].methods & HTTP_GET) != 0;
        for (size_t k = 0; k < sizeof(of_servers) / sizeof(of_servers[0]); k++)
            reads = reads && !str_ends(str_from(all[i].path), str_from(of_servers[k]));
        if (!reads)
            continue;
        struct http_route *route = &l->routes[l->server.n_routes++];
        *route = all[i];
        route->where = HTTP_ON_LOOP;
        route->choose = NULL;
    }
}

static bool take_piece(void *ctx, int status, struct buf *piece) {
    struct local *l = ctx;
    if (!l->take || status != 200)
        return !piece->failed;
    bool more = !piece->failed && (piece->size == 0 || l->take(buf_str(piece), l->take_ctx));
    buf_clear(piece);
    return more;
}

int local_open(const struct local_options *o, struct local **ret, struct err *reterr) {
    struct local *l = calloc(1, sizeof(*l));
    if (!l)
        return err_set(reterr, -ENOMEM, "out of memory");
    const struct store_options store = {
        .data_dir = o->data_dir,
        .read_only = true,
        .ignore_index = o->ignore_index,
        .log = o->log,
    };
    l->head = buf_make(HEAD_MAX);
    l->server.options.body_max = l->server.options.bodies_max = FORM_MAX;
    l->server.path_prefix = "";
    l->server.take_piece = take_piece;
    l->server.take_ctx = l;
    l->server.routes = l->routes;
    l->loop.server = &l->server;
    l->server.options.guard = api_guard(&l->api);
    pthread_mutex_init(&l->api.lock, NULL);
    log_set_level(LOG_ERROR);
    int r = load_config(l, reterr);
    if (r == 0)
        r = store_open(&store, &l->api.store, reterr);
    /* Whom a delete request hides entries from: from a reader beside the server, too. */
    const struct deletes_options deletes = {.language = api_delete_language(), .log = o->log};
    if (r == 0)
        r = deletes_open(l->api.store, &deletes, &l->deletes, reterr);
    if (r == 0)
        r = set_tenant(l, o->tenant, reterr);
    if (r == 0) {
        l->api.engine = engine_new(l->api.store, &(struct engine_options){0});
        r = l->api.engine ? 0 : err_set(reterr, -ENOMEM, "out of memory");
    }
    if (r < 0) {
        local_close(l);
        return r;
    }
    take_routes(l);
    http_own_loop(&l->loop);
    *ret = l;
    return 0;
}

void local_close(struct local *l) {
    if (!l)
        return;
    request_free(l->request);
    engine_free(l->api.engine);
    deletes_close(l->deletes);
    store_close(l->api.store);
    settings_unref(l->api.settings);
    pthread_mutex_destroy(&l->api.lock);
    buf_done(&l->head);
    free(l->tenant);
    free(l);
}

/* ---- asking */

/* As GET where it fits, for some endpoints know nothing else. */
static int read_head(struct local *l, struct str path, struct str form, struct str flags,
                     struct err *reterr) {
    bool post = form.size > 0 && (form.size > GET_MAX || memchr(path.data, '?', path.size));
    const char *mark = post || form.size == 0 ? "" : "?";
    buf_clear(&l->head);
    buf_addf(&l->head, "%s %.*s%s%.*s HTTP/1.1\r\nHost: localhost\r\nX-Scope-OrgID: %s\r\n",
             post ? "POST" : "GET", STR_ARG(path), mark, post ? 0 : (int)form.size, form.data,
             l->tenant);
    if (post)
        buf_add_str(&l->head, STR("Content-Type: application/x-www-form-urlencoded\r\n"));
    buf_add_str(&l->request->body, post ? form : STR(""));
    if (flags.size > 0)
        buf_addf(&l->head, "X-Loki-Response-Encoding-Flags: %.*s\r\n", STR_ARG(flags));
    buf_add_str(&l->head, STR("\r\n"));
    if (l->head.failed)
        return err_set(reterr, -ESYNTAX, "the path is longer than %d bytes", HEAD_MAX);
    return http_head_parse(buf_str(&l->head), &l->request->head, reterr) == 0 ? 0 : -ESYNTAX;
}

int local_ask(struct local *l, struct str path, struct str form, struct str flags,
              struct local_answer *ret, struct err *reterr) {
    request_free(l->request);
    l->request = request_new(&l->loop, "local");
    if (!l->request)
        return err_set(reterr, -ENOMEM, "out of memory");
    struct http_request *r = l->request;
    int e = read_head(l, path, form, flags, reterr);
    if (e < 0)
        return e;
    if (r->body.failed)
        return err_set(reterr, -ENOMEM, "the request is longer than %d bytes", FORM_MAX);
    if (http_find(r) < 0)
        return err_set(reterr, -ENOMEM, "out of memory");
    l->loop.in_handler = r;
    if (http_ask_guard(r) == HTTP_PASS)
        http_dispatch(r);
    l->loop.in_handler = NULL;
    *ret = (struct local_answer){.status = r->status, .body = buf_str(&r->reply_body)};
    return 0;
}

int local_stream(struct local *l, struct str path, struct str form, local_take_fn *take, void *ctx,
                 struct local_answer *ret, struct err *reterr) {
    l->take = take;
    l->take_ctx = ctx;
    int r = local_ask(l, path, form, STR(""), ret, reterr);
    l->take = NULL;
    return r;
}
