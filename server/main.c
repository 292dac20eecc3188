/* logqd: reads options and settings, opens the store, serves, and ends in order on SIGTERM or
 * SIGINT. SIGHUP reads the settings again. `logqd NAME ...` is one of the commands of command.h. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api.h"
#include "clock.h"
#include "command.h"
#include "config_keys.h"
#include "log.h"
#include "memory_plan.h"
#include "reload.h"
#include "tail.h"
#include "tls.h"
#include "units.h"

enum { OVERRIDES_MAX = 200, STOP_GRACE_MS = 20000, FILES_WANTED = 65536 };

struct options {
    const char *config_file;
    struct config_override overrides[OVERRIDES_MAX];
    size_t n_overrides;
    bool check, version, help, document, expand_env;
    char address[256]; /* of --listen */
};

static const char usage[] =
    "logqd " LOGQ_VERSION ": a log store that speaks Loki's protocols\n\n"
    "usage: logqd [options]\n"
    "       logqd COMMAND [--help] ...\n"
    "  --config FILE         settings in YAML (also -config.file=FILE)\n"
    "  --data-dir DIR        logq.data_dir, default ./data\n"
    "  --listen ADDR:PORT    server.http_listen_address and http_listen_port, default "
    "127.0.0.1:3100\n"
    "  --set KEY=VALUE       any other setting; see docs/configuration.md. Loki's own options are\n"
    "                        understood, too: --server.path-prefix=/logs\n"
    "  --config.expand-env   ${NAME} and ${NAME:-text} in the file are environment variables\n"
    "  --check-config        print the effective settings and exit\n"
    "  --config-doc          print the documentation of all settings and exit\n"
    "  --version, --help\n\n"
    "commands:\n";

/* ---- options */

static int add_override(struct options *o, const char *key, const char *value) {
    if (o->n_overrides == OVERRIDES_MAX) {
        (void)fprintf(stderr, "logqd: more than %d settings on the command line\n", OVERRIDES_MAX);
        return -E2BIG;
    }
    o->overrides[o->n_overrides++] = (struct config_override){key, value};
    return 0;
}

/* "KEY=VALUE"; the text is cut in place, it belongs to argv. */
static int add_set(struct options *o, char *text) {
    char *equals = strchr(text, '=');
    if (!equals) {
        (void)fprintf(stderr, "logqd: --set %s: KEY=VALUE expected\n", text);
        return -EINVAL;
    }
    *equals = '\0';
    return add_override(o, text, equals + 1);
}

/* "127.0.0.1:3100", "[::1]:3100", ":3100" */
static int add_listen(struct options *o, const char *text) {
    const char *colon = strrchr(text, ':');
    size_t size = colon ? (size_t)(colon - text) : 0;
    uint64_t port;
    if (!colon || size >= sizeof(o->address) || u64_parse(str_from(colon + 1), &port) < 0 ||
        port > UINT16_MAX) {
        (void)fprintf(stderr, "logqd: --listen %s: ADDR:PORT expected, like 127.0.0.1:3100\n",
                      text);
        return -EINVAL;
    }
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']')
        (void)snprintf(o->address, sizeof(o->address), "%.*s", (int)size - 2, text + 1);
    else
        (void)snprintf(o->address, sizeof(o->address), "%.*s", (int)size, text);
    int r = add_override(o, "server.http_listen_address", o->address);
    return r < 0 ? r : add_override(o, "server.http_listen_port", colon + 1);
}

/* The key of a setting that is an option of its own, as in Loki: --server.path-prefix,
 * --server.http-listen-port. `name` is changed in place, it belongs to argv. NULL: none. */
static const char *key_of_option(char *name) {
    static const char *const odd[][2] = {
        {"server.path-prefix", "server.http_path_prefix"},
        {"log.level", "server.log_level"},
        {"auth.enabled", "auth_enabled"},
    };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        if (strcmp(name, odd[i][0]) == 0)
            return odd[i][1];
    if (!strchr(name, '.'))
        return NULL;
    for (char *c = name; *c; c++)
        *c = (char)(*c == '-' ? '_' : *c);
    const struct config_key *key = config_key_find(str_from(name));
    return key ? key->path : NULL;
}

/* Loki's choice of a component. */
static int check_target(const char *value) {
    if (strcmp(value, "all") == 0)
        return 0;
    (void)fprintf(stderr, "logqd: -target=%s: logqd is always the whole, -target=all\n", value);
    return -EINVAL;
}

static int take_valued(struct options *o, const char *name, char *value) {
    if (strcmp(name, "config") == 0 || strcmp(name, "config.file") == 0) {
        o->config_file = value;
        return 0;
    }
    if (strcmp(name, "data-dir") == 0)
        return add_override(o, "logq.data_dir", value);
    if (strcmp(name, "listen") == 0)
        return add_listen(o, value);
    if (strcmp(name, "target") == 0)
        return check_target(value);
    return add_set(o, value);
}

static bool takes_value(const char *name) {
    static const char *const names[] = {"config", "config.file", "data-dir",
                                        "listen", "set",         "target"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool *flag_of(struct options *o, const char *name) {
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"check-config", &o->check},
        {"config-doc", &o->document},
        {"version", &o->version},
        {"help", &o->help},
        {"h", &o->help},
        {CONFIG_EXPAND_ENV, &o->expand_env},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(flags[i].name, name) == 0)
            return flags[i].flag;
    return NULL;
}

/* One or two dashes, "name value" or "name=value": Loki's flags and ours. */
static int parse_options(int argc, char **argv, struct options *o) {
    for (int i = 1; i < argc; i++) {
        char *name = argv[i];
        if (name[0] != '-' || name[1] == '\0') {
            (void)fprintf(stderr, "logqd: unexpected argument %s; see --help\n", name);
            return -EINVAL;
        }
        name += name[1] == '-' ? 2 : 1;
        char *value = strchr(name, '=');
        if (value)
            *value++ = '\0';
        bool *flag = flag_of(o, name);
        if (flag) {
            *flag = !value || strcmp(value, "false") != 0;
            continue;
        }
        const char *key = takes_value(name) ? NULL : key_of_option(name);
        if (!key && !takes_value(name)) {
            (void)fprintf(stderr, "logqd: unknown option %s; see --help\n", argv[i]);
            return -EINVAL;
        }
        if (!value && i + 1 < argc)
            value = argv[++i];
        if (!value) {
            (void)fprintf(stderr, "logqd: %s needs a value\n", argv[i]);
            return -EINVAL;
        }
        int r = key ? add_override(o, key, value) : take_valued(o, name, value);
        if (r < 0)
            return r;
    }
    return o->expand_env ? add_override(o, CONFIG_EXPAND_ENV, "true") : 0;
}

/* ---- the process */

/* systemd's readiness protocol: one datagram to $NOTIFY_SOCKET; does nothing outside systemd. */
static void notify_systemd(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof(address.sun_path) || strlen(path) < 2)
        return;
    memcpy(address.sun_path, path, strlen(path));
    /* "@name" is a socket in the abstract namespace. */
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    (void)n;
    (void)close(fd);
}

static void notify_reloading(void) {
    char state[64];
    (void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)(clock_mono_ns() / NS_PER_US));
    notify_systemd(state);
}

/* A descriptor per connection and per open chunk. */
static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > FILES_WANTED
                         ? FILES_WANTED
                         : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void log_from_room(int level, const char *msg, const char *pairs) {
    log_line((enum log_level)level, msg, "%s", pairs ? pairs : "");
}

static int load_config(const struct options *o, struct config **ret) {
    struct err err = {0};
    int r = config_load(o->config_file, o->overrides, o->n_overrides, ret, &err);
    if (r < 0)
        log_line(LOG_ERROR, "settings refused", "err=%s", log_quotez(err.text));
    return r;
}

/* ---- the server */

struct server {
    struct options *options;
    struct api api;
    struct config *first; /* those that need a restart to change are borrowed from here */
    struct http_server *http;
    struct tls_context *tls; /* NULL: plain HTTP */
    struct reload reload;
    struct memory_plan memory;
};

/* What to do about the usual causes; NULL: the error says it all. */
static const char *hint_to_open(int r) {
    switch (r) {
    case -EBUSY:
        return "stop that one, or choose another directory with --data-dir";
    case -EACCES:
    case -EROFS:
    case -EPERM:
        return "the user that runs logqd must be able to write there; --data-dir chooses another "
               "directory";
    default:
        return NULL;
    }
}

static const char *hint_to_listen(int r) {
    switch (r) {
    case -EADDRINUSE:
        return "another logqd, or Loki? --listen 127.0.0.1:3101 chooses another port";
    case -EADDRNOTAVAIL:
        return "--listen takes an address of this machine, or 0.0.0.0 for all of them";
    case -EACCES:
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE; --listen chooses another";
    default:
        return NULL;
    }
}

static int open_store(struct server *s, const struct config *c) {
    struct err err = {0};
    struct wal_options wal = c->wal;
    wal.buffer_max_bytes = s->memory.wal_buffer;
    const struct store_options o = {
        .data_dir = c->data_dir,
        .wal = wal,
        .head_budget_bytes = s->memory.head_budget,
        .wal_max_bytes = c->wal_max_bytes,
        .wal_compress = c->wal_compress,
        .chunk_target_bytes = c->chunk_target_bytes,
        .effort = c->effort,
        .no_patterns = !c->patterns_enabled,
        .chunk_idle_ns = c->chunk_idle_ns,
        .chunk_max_age_ns = c->chunk_max_age_ns,
        .reserve_bytes = STORE_RESERVE_BYTES,
        .chunk_cache_bytes = s->memory.chunk_cache,
        .log = log_from_room,
    };
    int r = store_open(&o, &s->api.store, &err);
    if (r < 0) {
        const char *hint = hint_to_open(r);
        log_line(LOG_ERROR, "cannot open the store", "dir=%s err=%s%s%s", log_quotez(c->data_dir),
                 log_quotez(err.text), hint ? " hint=" : "", hint ? log_quotez(hint) : "");
        return r;
    }
    const struct engine_options engine = {
        .threads = c->query_threads,
        .max_concurrent = c->query_max_concurrent,
    };
    s->api.engine = engine_new(s->api.store, &engine);
    const struct compactor_options compactor = {
        .interval_ns = c->compaction_interval_ns,
        .delete_language = api_delete_language(),
        .delete_cancel_period_ns = c->delete_cancel_period_ns,
        .merge = c->merge_enabled,
        .merge_policy = c->merge,
        .log = log_from_room,
    };
    r = compactor_start(s->api.store, s->api.settings->retention, &compactor, &s->api.compactor,
                        &err);
    if (s->api.engine)
        s->api.tails = tails_new(s->api.store, s->api.engine);
    if (r < 0 || !s->api.tails) {
        log_line(LOG_ERROR, "cannot start", "err=%s",
                 log_quotez(r < 0 ? err.text : "out of memory"));
        return r < 0 ? r : -ENOMEM;
    }
    return 0;
}

static int seconds_of(int64_t ns) {
    int64_t seconds = (ns + NS_PER_S - 1) / NS_PER_S;
    return seconds > INT32_MAX ? INT32_MAX : (int)seconds;
}

static int start_tls(struct server *s, const struct config *c) {
    struct err err = {0};
    struct tls_options o = config_tls_options(c);
    if (c->tls_cert_file[0] == '\0')
        return 0;
    int r = tls_context_new(&o, &s->tls, &err);
    if (r < 0)
        log_line(LOG_ERROR, "cannot set up TLS", "err=%s", log_quotez(err.text));
    s->reload.tls = s->tls;
    return r;
}

static int start_http(struct server *s, const struct config *c) {
    struct err err = {0};
    int tls = start_tls(s, c);
    if (tls < 0)
        return tls;
    struct http_route routes[API_ROUTES_MAX];
    size_t n_routes = api_routes(&s->api, routes);
    const struct http_options o = {
        .address = c->listen_address,
        .port = c->listen_port,
        .loops = c->loops,
        .workers = s->memory.workers,
        .body_max = (size_t)s->memory.push_body_max,
        .bodies_max = (size_t)s->memory.bodies_max,
        .read_timeout_s = seconds_of(c->server_read_timeout_ns),
        .write_timeout_s = seconds_of(c->server_write_timeout_ns),
        .idle_timeout_s = seconds_of(c->server_idle_timeout_ns),
        .path_prefix = c->path_prefix,
        .cors_origins = c->cors_origins,
        .n_cors_origins = c->n_cors_origins,
        .connections_max = c->connections_max,
        .guard = api_guard(&s->api),
        .tls = s->tls,
        .observe = metrics_observe,
        .observe_ctx = s->api.metrics,
    };
    int r = http_start(&o, routes, n_routes, &s->http, &err);
    if (r < 0) {
        const char *hint = hint_to_listen(r);
        log_line(LOG_ERROR, "cannot listen", "err=%s%s%s", log_quotez(err.text),
                 hint ? " hint=" : "", hint ? log_quotez(hint) : "");
        return r;
    }
    s->api.http = s->http;
    return 0;
}

/* Returns the signal that ends the process. Between signals it looks after changed files. */
static int wait_for_end(struct server *s, const sigset_t *signals) {
    for (;;) {
        struct settings *now = api_settings(&s->api);
        int64_t period_ns = now->config->reload_period_ns;
        settings_unref(now);
        const struct timespec period = {.tv_sec = (time_t)(period_ns / NS_PER_S),
                                        .tv_nsec = (long)(period_ns % NS_PER_S)};
        int number = sigtimedwait(signals, NULL, period_ns > 0 ? &period : NULL);
        if (number < 0 && errno == EAGAIN) {
            reload_changed(&s->reload);
        } else if (number == SIGHUP) {
            notify_reloading();
            reload_all(&s->reload);
            notify_systemd("READY=1");
        } else if (number > 0) {
            return number;
        }
    }
}

static void stop(struct server *s) {
    atomic_store(&s->api.stopping, true);
    notify_systemd("STOPPING=1");
    tails_stop(s->api.tails);
    compactor_interrupt(
        s->api.compactor); /* a merge that a request waits for may have hours to go */
    http_stop(s->http, STOP_GRACE_MS);
    tls_context_free(s->tls);
    tails_free(s->api.tails);
    engine_free(s->api.engine); /* queries ask the compactor's policy what is visible */
    if (s->api.compactor)
        compactor_stop(s->api.compactor);
    if (s->api.store)
        store_close(s->api.store);
    metrics_free(s->api.metrics);
    push_figures_free(s->api.pushes);
    settings_unref(s->api.settings);
    config_unref(s->first);
}

static int load_again(void *options, struct config **ret) {
    return load_config(options, ret);
}

/* Takes the configuration over. */
static int start_settings(struct server *s, struct config *c) {
    struct err err = {0};
    pthread_mutex_init(&s->api.lock, NULL);
    s->first = config_ref(c);
    s->reload = (struct reload){.api = &s->api, .load = load_again, .ctx = s->options};
    reload_look(&s->reload, c);
    int r = settings_new(c, &s->api.settings, &err);
    if (r < 0)
        log_line(LOG_ERROR, "settings refused", "err=%s", log_quotez(err.text));
    else
        reload_log_warnings(s->api.settings);
    return r;
}

static int serve(struct options *o, struct config *c) {
    struct server s = {.options = o};
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    /* Before any thread starts, so that all inherit it and sigwait alone gets them. */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    s.api.metrics = metrics_new();
    s.api.pushes = push_figures_new();
    if (s.api.pushes && !c->auth_enabled)
        (void)push_figures_of(s.api.pushes,
                              STR("fake")); /* its counters are there from the start */
    (void)api_set_log_level(&s.api, str_from(c->log_level));
    int64_t start_ns = clock_mono_ns();
    s.memory = memory_plan_make(c, memory_of_machine());
    memory_plan_apply(&s.memory);
    s.api.push_body_max = (size_t)s.memory.push_body_max;
    int r = start_settings(&s, c);
    if (r == 0)
        r = s.api.metrics && s.api.pushes ? open_store(&s, c) : -ENOMEM;
    if (r == 0)
        r = start_http(&s, c);
    if (r == 0) {
        atomic_store(&s.api.ready, true);
        log_line(LOG_INFO, "ready",
                 "version=%s address=%s port=%u tls=%s memory_limit_mb=%llu data_dir=%s "
                 "start_ms=%lld",
                 LOGQ_VERSION, log_quotez(c->listen_address), http_port(s.http),
                 s.tls ? "yes" : "no", (unsigned long long)(s.memory.limit >> 20),
                 log_quotez(c->data_dir), (long long)((clock_mono_ns() - start_ns) / NS_PER_MS));
        notify_systemd("READY=1");
        int number = wait_for_end(&s, &signals);
        log_line(LOG_INFO, "stopping", "signal=%s", strsignal(number));
    }
    int64_t stop_ns = clock_mono_ns();
    stop(&s);
    if (r == 0)
        log_line(LOG_INFO, "stopped", "stop_ms=%lld",
                 (long long)((clock_mono_ns() - stop_ns) / NS_PER_MS));
    return r < 0 ? 1 : 0;
}

static int print_buf(struct buf *text) {
    size_t written = fwrite(text->data, 1, text->size, stdout);
    bool failed = text->failed || written != text->size || fflush(stdout) != 0;
    buf_done(text);
    return failed ? 1 : 0;
}

/* Requests of a few MB come and go all the time: with glibc's defaults each would map and unmap
 * its memory, and page faults were a tenth of the ingest CPU. Few arenas, and memory is given
 * back in larger portions. */
static void tune_malloc(void) {
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
    (void)mallopt(M_TOP_PAD, 1 << 20);
}

int main(int argc, char **argv) {
    static struct options o;
    tune_malloc();
    /* `logqd help` and `logqd help NAME`, as logq has them. */
    if (argc > 1 && strcmp(argv[1], "help") == 0) {
        argv[1] = argc > 2 ? argv[2] : "--help";
        if (argc > 2)
            argv[2] = "--help";
    }
    const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;
    if (command)
        return command_main(command, argc - 1, argv + 1);
    if (parse_options(argc, argv, &o) < 0)
        return 2;
    if (o.help || o.version) {
        (void)fputs(o.help ? usage : "logqd " LOGQ_VERSION "\n", stdout);
        if (o.help)
            command_list(stdout);
        return 0;
    }
    struct buf text = buf_make(BUF_NO_MAX);
    if (o.document) {
        config_document(&text);
        return print_buf(&text);
    }
    struct config *config;
    if (load_config(&o, &config) < 0)
        return 2;
    int r;
    if (o.check) {
        for (size_t i = 0; i < config->n_warnings; i++)
            (void)fprintf(stderr, "logqd: warning: %s\n", config->warnings[i]);
        config_dump(config, &text);
        r = print_buf(&text);
        config_unref(config);
    } else {
        r = serve(&o, config);
    }
    return r;
}
