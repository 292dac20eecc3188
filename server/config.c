#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config_env.h"
#include "config_keys.h"
#include "io.h"
#include "otlp_rules.h"
#include "retention_rules.h"
#include "units.h"

enum {
    CONFIG_FILE_MAX = 1 << 20,
    CONFIG_MEMORY_MAX = 16 << 20,
    WARNINGS_MAX = 1000, /* a file of 1 MiB could hold more unused keys than anybody reads */
};

int config_warn(struct config *c, const char *format, ...) {
    if (c->n_warnings >= WARNINGS_MAX)
        return 0;
    if (!c->warnings) {
        c->warnings = arena_array(&c->arena, WARNINGS_MAX, sizeof(*c->warnings));
        if (!c->warnings)
            return -ENOMEM;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct str copy = arena_copy(&c->arena, str_make(text, strlen(text) + 1));
    if (!copy.data)
        return -ENOMEM;
    c->warnings[c->n_warnings++] = (char *)copy.data;
    return 0;
}

static int make_policy(struct config *c, struct err *reterr) {
    const struct retention_source all = {.rules = c->retention_stream,
                                         .n_rules = c->n_retention_stream};
    static const struct retention_budgets none;
    bool on = c->retention_enabled;
    return retention_rules_make(on ? c->limits.retention_period_ns : 0, &all, on ? 1 : 0,
                                on ? &c->budgets : &none, &c->retention, reterr);
}

/* ---- loading */

static int apply_defaults(struct config *c, struct err *reterr) {
    for (size_t i = 0; i < config_keys_count; i++) {
        struct str fallback = str_from(config_keys[i].fallback);
        if (str_eq(fallback, STR("\"\"")))
            fallback = STR("");
        int r = config_key_set(c, &config_keys[i], fallback, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_file(struct config *c, const char *file, bool expand, struct err *reterr) {
    struct buf text = buf_make(CONFIG_FILE_MAX), expanded = buf_make(CONFIG_FILE_MAX);
    struct config_file f = {.config = c, .name = file};
    int r = io_read_file(AT_FDCWD, file, &text);
    if (r < 0)
        (void)err_set(reterr, r, "%s: %s", file, err_name(r));
    if (r >= 0 && expand) {
        r = config_env_expand(buf_str(&text), &expanded, reterr);
        if (r < 0)
            (void)err_prefix(reterr, r, "%s", file);
    }
    if (r >= 0)
        r = config_yaml_read(&f, buf_str(expand ? &expanded : &text), reterr);
    buf_done(&text);
    buf_done(&expanded);
    c->retention_stream = f.rules;
    c->n_retention_stream = f.n_rules;
    return r < 0 ? r : 0;
}

static bool expands(const struct config_override *overrides, size_t count) {
    bool expand = false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(overrides[i].key_path, CONFIG_EXPAND_ENV) == 0)
            expand = strcmp(overrides[i].value, "false") != 0;
    return expand;
}

static int apply_override(struct config *c, const struct config_override *o, struct err *reterr) {
    if (strcmp(o->key_path, CONFIG_EXPAND_ENV) == 0)
        return 0; /* the file has been read */
    const struct config_key *key = config_key_find(str_from(o->key_path));
    if (!key) {
        struct str near = config_key_near(str_from(o->key_path));
        return err_set(reterr, -ESYNTAX, "--set: %s is not a setting%s%.*s%s", o->key_path,
                       near.data ? ": did you mean " : "", STR_ARG(near),
                       near.data ? "?" : "; logqd --config-doc lists them");
    }
    int r = config_key_set(c, key, str_from(o->value), reterr);
    return r < 0 ? err_prefix(reterr, r, "--set") : 0;
}

static int make_allow(struct config *c, struct err *reterr) {
    c->allow = arena_array(&c->arena, c->n_allow_from, sizeof(*c->allow));
    if (!c->allow)
        return err_set(reterr, -ENOMEM, "out of memory");
    for (size_t i = 0; i < c->n_allow_from; i++)
        if (net_prefix_parse(c->allow_from[i], &c->allow[i]) < 0)
            return err_set(reterr, -ESYNTAX,
                           "logq.allow_from: \"%.*s\" is not an address or prefix like 10.0.0.0/8",
                           STR_ARG(c->allow_from[i]));
    c->n_allow = c->n_allow_from;
    return 0;
}

static int check_tls(const struct config *c, struct err *reterr) {
    enum tls_client_auth auth;
    if (tls_client_auth_parse(str_from(c->tls_client_auth_type), &auth) < 0)
        return err_set(reterr, -ESYNTAX,
                       "server.http_tls_config.client_auth_type: \"%s\" is not possible; allowed: "
                       "NoClientCert, RequestClientCert, RequireAnyClientCert, "
                       "VerifyClientCertIfGiven, RequireAndVerifyClientCert",
                       c->tls_client_auth_type);
    if (tls_min_version_check(str_from(c->tls_min_version)) < 0)
        return err_set(reterr, -ESYNTAX,
                       "server.tls_min_version: \"%s\" is not possible; allowed: VersionTLS12, "
                       "VersionTLS13",
                       c->tls_min_version);
    if ((c->tls_cert_file[0] == '\0') != (c->tls_key_file[0] == '\0'))
        return err_set(reterr, -ESYNTAX,
                       "server.http_tls_config: cert_file and key_file belong together");
    if (auth != TLS_CLIENT_NONE && c->tls_cert_file[0] == '\0')
        return err_set(reterr, -ESYNTAX,
                       "server.http_tls_config: client_auth_type needs cert_file and key_file");
    return 0;
}

int config_check_limits(const struct limits *l, struct err *reterr) {
    if (l->max_line_size > ENTRY_LINE_MAX)
        return err_set(reterr, -ESYNTAX, "limits_config.max_line_size: at most %d bytes",
                       ENTRY_LINE_MAX);
    return 0;
}

struct tls_options config_tls_options(const struct config *c) {
    struct tls_options o = {
        .cert_file = c->tls_cert_file,
        .key_file = c->tls_key_file,
        .client_ca_file = c->tls_client_ca_file,
        .min_version = c->tls_min_version,
    };
    /* It has been checked when it was loaded. */
    (void)tls_client_auth_parse(str_from(c->tls_client_auth_type), &o.client_auth);
    return o;
}

/* What the single keys cannot check alone. */
static int check_whole(struct config *c, struct err *reterr) {
    size_t size = strlen(c->path_prefix);
    while (size > 0 && c->path_prefix[size - 1] == '/')
        c->path_prefix[--size] = '\0';
    if (size > 0 && c->path_prefix[0] != '/')
        return err_set(reterr, -ESYNTAX, "server.http_path_prefix: \"%s\" must begin with a slash",
                       c->path_prefix);
    if (c->data_dir[0] == '\0')
        return err_set(reterr, -ESYNTAX, "logq.data_dir must not be empty");
    int r = check_tls(c, reterr);
    if (r == 0)
        r = make_allow(c, reterr);
    if (r < 0)
        return r;
    struct limits *l = &c->limits;
    /* An entry that has expired already would be stored for nothing. */
    if (c->retention_enabled && l->retention_period_ns > 0 && c->n_retention_stream == 0 &&
        l->reject_old_samples_max_age_ns > l->retention_period_ns)
        l->reject_old_samples_max_age_ns = l->retention_period_ns;
    return config_check_limits(l, reterr);
}

int config_load(const char *file, const struct config_override *overrides, size_t n_overrides,
                struct config **ret, struct err *reterr) {
    struct config *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(reterr, -ENOMEM, "out of memory");
    atomic_init(&c->refs, 1);
    c->arena = arena_make(CONFIG_MEMORY_MAX);
    int r = apply_defaults(c, reterr);
    if (r == 0 && file)
        r = read_file(c, file, expands(overrides, n_overrides), reterr);
    for (size_t i = 0; i < n_overrides && r == 0; i++)
        r = apply_override(c, &overrides[i], reterr);
    if (r == 0)
        r = check_whole(c, reterr);
    if (r == 0)
        r = make_policy(c, reterr);
    if (r < 0) {
        config_unref(c);
        return r;
    }
    *ret = c;
    return 0;
}

struct config *config_ref(struct config *c) {
    (void)atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void config_unref(struct config *c) {
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    if (c->retention)
        retention_policy_unref(c->retention);
    otlp_rules_done(c->otlp_rules);
    arena_done(&c->arena);
    free(c);
}

/* ---- printing */

/* Opens the sections around `path` that are not open behind the key `before`, then writes the
 * key's own name. */
static void dump_name(const char *before, const char *path, struct buf *out) {
    size_t start = 0;
    int indent = 0;
    bool open = true;
    for (const char *dot; (dot = strchr(path + start, '.')) != NULL; indent += 2) {
        size_t end = (size_t)(dot - path) + 1;
        open = open && strncmp(before, path, end) == 0;
        if (!open)
            buf_addf(out, "%*s%.*s:\n", indent, "", (int)(end - 1 - start), path + start);
        start = end;
    }
    buf_addf(out, "%*s%s: ", indent, "", path + start);
}

static void dump_rules(const struct config *c, struct buf *out) {
    if (c->n_retention_stream == 0)
        return;
    buf_add_str(out, STR("  retention_stream:\n"));
    for (size_t i = 0; i < c->n_retention_stream; i++) {
        const struct config_retention *rule = &c->retention_stream[i];
        buf_add_str(out, STR("  - selector: "));
        go_quote(out, rule->selector);
        buf_addf(out, "\n    priority: %d\n", rule->priority);
        if (rule->period_ns >= 0) {
            buf_add_str(out, STR("    period: "));
            duration_format_prometheus(out, rule->period_ns);
            buf_add_char(out, '\n');
        }
        if (rule->max_bytes > 0)
            buf_addf(out, "    max_bytes: %" PRIu64 "\n", rule->max_bytes);
    }
}

void config_dump(const struct config *c, struct buf *out) {
    const char *before = "";
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        dump_name(before, key->path, out);
        before = key->path;
        config_key_format(c, key, out);
        buf_add_char(out, '\n');
        if (str_eq(str_from(key->path), STR("limits_config.retention_period")))
            dump_rules(c, out);
    }
    if (c->otlp_rules)
        otlp_rules_dump(c->otlp_rules, 2, out);
}

static const char document_head[] = "# Settings\n\n"
                                    "`logqd --config FILE` reads YAML; `--set key=value` overrides "
                                    "one key, `--check-config` prints the effective\n"
                                    "settings and exits. Names are Loki's wherever Loki has a "
                                    "setting of that meaning, so that a single-binary\n"
                                    "Loki file starts logqd; a key that logqd does not use is "
                                    "named in one warning. A wrong value stops the start\n"
                                    "with the file, the line and what is allowed. `SIGHUP` reads "
                                    "the file again: keys marked *reloads* take\n"
                                    "effect at once, others need a restart.\n\n"
                                    "| key | default | allowed | meaning |\n|---|---|---|---|\n";

static const char document_tail[] =
    "\n`limits_config.retention_stream` (reloads) is a list of rules; the rule with the highest "
    "priority whose\n"
    "selector matches a stream gives its period, at equal priority the shorter one. `max_bytes` "
    "limits "
    "the chunk\n"
    "files of all streams that a rule matches together, whatever its priority; the oldest go "
    "first:\n\n"
    "```yaml\n"
    "limits_config:\n"
    "  retention_period: 30d\n"
    "  retention_stream:\n"
    "  - selector: '{namespace=\"dev\"}'\n"
    "    priority: 1\n"
    "    period: 24h\n"
    "  - selector: '{app=\"debugger\"}'\n"
    "    max_bytes: 10GB\n"
    "```\n"
    "\n`limits_config.otlp_config` (reloads) says which attributes of OpenTelemetry become labels, "
    "which "
    "structured\n"
    "metadata, and which are dropped: [otlp.md](otlp.md).\n";

/* A cell of a table: "|" would end it. */
static void add_cell(struct buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

void config_document(struct buf *out) {
    buf_addf(out, "%s", document_head);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        buf_addf(out, "| `%s` | `%s` | %s | ", key->path, key->fallback,
                 config_type_allowed(key->type));
        add_cell(out, key->doc);
        buf_addf(out, "%s |\n", key->reloads ? " *Reloads.*" : "");
    }
    buf_addf(out, "%s", document_tail);
}

int config_keep_fixed(const struct config *now, struct config *next, struct buf *needs_restart) {
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->reloads)
            continue;
        struct buf a = buf_make(BUF_NO_MAX), b = buf_make(BUF_NO_MAX);
        config_key_format(now, key, &a);
        config_key_format(next, key, &b);
        if (!str_eq(buf_str(&a), buf_str(&b)))
            buf_addf(needs_restart, "%s%s", needs_restart->size ? ", " : "", key->path);
        buf_done(&a);
        buf_done(&b);
    }
    /* Only now: two keys may have one place. */
    int r = 0;
    for (size_t i = 0; i < config_keys_count && r == 0; i++)
        if (!config_keys[i].reloads)
            r = config_key_copy(now, next, &config_keys[i]);
    return r;
}
