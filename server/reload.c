#include "reload.h"

#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "units.h"

/* More of them say nothing new: one wrong key stands in the limits of every tenant. */
enum { OVERRIDE_WARNINGS_MAX = 100 };

/* All zero for a file that is not there. */
static struct file_stamp stamp_of(const char *path) {
    struct stat st;
    if (path[0] == '\0' || stat(path, &st) < 0)
        return (struct file_stamp){0};
    return (struct file_stamp){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .size = (uint64_t)st.st_size,
        .changed_ns = (int64_t)st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec,
    };
}

static const char *path_of(const struct config *c, enum reload_file file) {
    switch (file) {
    case RELOAD_ACCESS:
        return c->access_file;
    case RELOAD_OVERRIDES:
        return c->overrides_file;
    case RELOAD_CERT:
        return c->tls_cert_file;
    case RELOAD_KEY:
        return c->tls_key_file;
    case RELOAD_CLIENT_CA:
        return c->tls_client_ca_file;
    case RELOAD_FILES:
        break;
    }
    return "";
}

void reload_look(struct reload *r, const struct config *c) {
    for (int i = 0; i < RELOAD_FILES; i++)
        r->stamps[i] = stamp_of(path_of(c, (enum reload_file)i));
}

static bool is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static void log_ignored(char *const *lines, size_t count) {
    for (size_t i = 0; i < count; i++)
        log_line(LOG_WARN, "setting ignored", "detail=%s", log_quotez(lines[i]));
}

static void log_ignored_overrides(const struct settings *s) {
    char *lines[OVERRIDE_WARNINGS_MAX];
    if (s->overrides)
        log_ignored(lines, overrides_warnings(s->overrides, lines, OVERRIDE_WARNINGS_MAX));
}

void reload_log_warnings(const struct settings *s) {
    const struct config *c = s->config;
    const char *address = log_quotez(c->listen_address);
    log_ignored(c->warnings, c->n_warnings);
    log_ignored_overrides(s);
    if (is_loopback(c->listen_address))
        return;
    bool certificates = strcmp(c->tls_client_auth_type, "RequireAndVerifyClientCert") == 0;
    if (!s->access && !certificates)
        log_line(LOG_WARN, "listening beyond this machine without authentication",
                 "address=%s allow_from=%zu hint=\"set logq.access_file\"", address, c->n_allow);
    else if (s->access && c->tls_cert_file[0] == '\0')
        log_line(LOG_WARN, "credentials travel in the clear",
                 "address=%s hint=\"set server.http_tls_config\"", address);
}

/* A pair of files that does not fit, as while they are being replaced, leaves the old pair in
 * use. */
static void read_tls(struct reload *r, const struct config *c) {
    struct err err = {0};
    struct tls_options o = config_tls_options(c);
    bool wanted = c->tls_cert_file[0] != '\0';
    if (wanted != (r->tls != NULL))
        log_line(LOG_WARN, "TLS is switched on or off at the next start", "%s", "");
    else if (wanted && tls_context_reload(r->tls, &o, &err) < 0)
        log_line(LOG_ERROR, "TLS files kept as they were", "err=%s", log_quotez(err.text));
    else if (wanted)
        log_line(LOG_INFO, "TLS files loaded again", "cert_file=%s", log_quotez(c->tls_cert_file));
}

/* The configuration with what cannot change left as it is; NULL when it is refused. */
static struct config *load_again(struct reload *r, const struct config *now) {
    struct config *next;
    if (r->load(r->ctx, &next) < 0)
        return NULL;
    struct buf restart = buf_make(64 << 10);
    int e = config_keep_fixed(now, next, &restart);
    if (restart.size > 0)
        log_line(LOG_WARN, "settings that need a restart have changed", "keys=%s",
                 log_quote(buf_str(&restart)));
    buf_done(&restart);
    if (e == 0)
        return next;
    config_unref(next);
    return NULL;
}

void reload_all(struct reload *r) {
    struct settings *now = api_settings(r->api), *next = NULL;
    struct err err = {0};
    struct config *c = load_again(r, now->config);
    if (c)
        reload_look(r, c);
    if (c && settings_new(c, &next, &err) < 0)
        log_line(LOG_ERROR, "settings refused", "err=%s", log_quotez(err.text));
    if (next) {
        reload_log_warnings(next);
        read_tls(r, next->config);
        api_set_settings(r->api, next);
        log_line(LOG_INFO, "settings reloaded", "%s", "");
    } else {
        log_line(LOG_ERROR, "settings kept as they were", "%s", "");
    }
    settings_unref(now);
}

void reload_changed(struct reload *r) {
    struct settings *now = api_settings(r->api), *next;
    struct file_stamp before[RELOAD_FILES];
    bool changed[RELOAD_FILES];
    struct err err = {0};
    memcpy(before, r->stamps, sizeof(before));
    reload_look(r, now->config);
    for (int i = 0; i < RELOAD_FILES; i++)
        changed[i] = memcmp(&before[i], &r->stamps[i], sizeof(before[i])) != 0;
    const struct settings_stale stale = {.access = changed[RELOAD_ACCESS],
                                         .overrides = changed[RELOAD_OVERRIDES]};
    if (stale.access || stale.overrides) {
        if (settings_renew(now, stale, &next, &err) == 0) {
            if (stale.overrides)
                log_ignored_overrides(next);
            api_set_settings(r->api, next);
            log_line(LOG_INFO, "files loaded again", "access=%d overrides=%d", stale.access,
                     stale.overrides);
        } else {
            log_line(LOG_ERROR, "settings kept as they were", "err=%s", log_quotez(err.text));
        }
    }
    if (changed[RELOAD_CERT] || changed[RELOAD_KEY] || changed[RELOAD_CLIENT_CA])
        read_tls(r, now->config);
    settings_unref(now);
}
