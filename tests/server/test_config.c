/* Settings: the table, YAML, --set, warnings, errors, and the written documentation. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "config_keys.h"
#include "io.h"
#include "otlp_rules.h"
#include "units.h"

static char path[] = "/tmp/logq-test-config-XXXXXX";

static void write_file(const char *text) {
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0)
        abort();
    (void)close(fd);
}

static int load(const char *text, struct config **ret, struct err *err) {
    write_file(text);
    return config_load(path, NULL, 0, ret, err);
}

static void test_defaults(void) {
    struct config *c;
    struct err err = {0};
    CHECK_INT(config_load(NULL, NULL, 0, &c, &err), 0);
    CHECK(!c->auth_enabled);
    CHECK_STR(str_from(c->listen_address), STR("127.0.0.1"));
    CHECK_INT(c->listen_port, 3100);
    CHECK_STR(str_from(c->data_dir), STR("./data"));
    CHECK_STR(str_from(c->path_prefix), STR(""));
    CHECK_INT(c->wal.sync, WAL_SYNC_ALWAYS);
    CHECK_INT(c->limits.retention_period_ns, 30 * NS_PER_DAY);
    CHECK_INT(c->limits.max_query_length_ns, 30 * NS_PER_DAY + NS_PER_HOUR);
    CHECK_INT(c->limits.max_line_size, 262144);
    CHECK_INT(c->chunk_target_bytes, 1536 << 10);
    CHECK_INT(c->limits.n_discover_service_name, 13);
    CHECK_INT(c->limits.n_log_level_fields, 14);
    CHECK_STR(c->limits.log_level_fields[3], STR("log.level"));
    CHECK_INT(c->n_warnings, 0);
    CHECK(c->retention != NULL);
    config_unref(c);
}

static void test_loki_file(void) {
    struct config *c;
    struct err err = {0};
    int r =
        load("# a single-binary Loki\n"
             "auth_enabled: true\n"
             "server:\n  http_listen_port: 3200\n  grpc_listen_port: 9096\n  log_level: warn\n"
             "  http_path_prefix: /logs/\n"
             "common:\n  instance_addr: 127.0.0.1\n  path_prefix: /var/lib/loki\n"
             "  storage:\n    filesystem: {chunks_directory: /x, rules_directory: /y}\n"
             "  ring: {kvstore: {store: inmemory}}\n"
             "schema_config:\n  configs:\n  - from: 2020-10-24\n    index: {prefix: index_}\n"
             "limits_config:\n  retention_period: 744h\n  volume_enabled: off\n"
             "  discover_service_name: [app, \"job\"]\n  log_level_fields: []\n"
             "  max_line_size: 1MB\n  reject_old_samples_max_age: 1w\n  ingestion_rate_mb: 1.5\n"
             "  retention_stream:\n  - selector: '{app=\"x\"}'\n    priority: 2\n    period: 24h\n"
             "ruler:\n",
             &c, &err);
    if (r < 0)
        printf("%s\n", err.text);
    CHECK_INT(r, 0);
    CHECK(c->auth_enabled);
    CHECK_INT(c->listen_port, 3200);
    CHECK_STR(str_from(c->path_prefix), STR("/logs"));
    CHECK_STR(str_from(c->data_dir), STR("/var/lib/loki"));
    CHECK_STR(str_from(c->log_level), STR("warn"));
    CHECK_INT(c->limits.retention_period_ns, 744 * NS_PER_HOUR);
    CHECK(!c->limits.volume_enabled);
    CHECK_INT(c->limits.n_discover_service_name, 2);
    CHECK_STR(c->limits.discover_service_name[1], STR("job"));
    CHECK_INT(c->limits.n_log_level_fields, 0);
    CHECK_INT(c->limits.max_line_size, 1 << 20);
    CHECK(c->limits.ingestion_rate_mb > 1.4 && c->limits.ingestion_rate_mb < 1.6);
    CHECK_INT(c->n_retention_stream, 1);
    CHECK_INT(c->retention_stream[0].period_ns, 24 * NS_PER_HOUR);
    const char *const unused[] = {
        "5: server.grpc_listen_port", "9: common.instance_addr",
        "11: common.storage",         "13: common.ring",
        "14: schema_config",          "30: ruler",
    };
    CHECK_INT(c->n_warnings, sizeof(unused) / sizeof(unused[0]));
    for (size_t i = 0; i < c->n_warnings; i++)
        CHECK(strstr(c->warnings[i], unused[i]) && strstr(c->warnings[i], "is not used by logqd"));
    const struct label labels[] = {{STR("app"), STR("x")}};
    const struct labels set = {labels, 1};
    CHECK_INT(retention_period(c->retention, STR("fake"), set), 24 * NS_PER_HOUR);
    CHECK_INT(retention_period(c->retention, STR("fake"), (struct labels){0}), 744 * NS_PER_HOUR);
    config_unref(c);
}

/* A configuration of Loki with its own names of codecs gets what serves its owner. */
static void test_codec_names(void) {
    static const struct {
        const char *text;
        enum block_effort want;
    } cases[] = {
        {"", EFFORT_TABLE},
        {"ingester: {chunk_encoding: table}\n", EFFORT_TABLE},
        {"ingester: {chunk_encoding: zstd}\n", EFFORT_ZSTD_FAST},
        {"ingester: {chunk_encoding: lz4}\n", EFFORT_FAST},
        {"ingester: {chunk_encoding: lz4-1M}\n", EFFORT_FAST},
        {"ingester: {chunk_encoding: none}\n", EFFORT_FAST},
        {"ingester: {chunk_encoding: snappy}\n", EFFORT_TABLE},
        {"ingester: {chunk_encoding: gzip}\n", EFFORT_TABLE},
        {"ingester: {chunk_encoding: flate}\n", EFFORT_TABLE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config *c;
        struct err err = {0};
        CHECK_INT(load(cases[i].text, &c, &err), 0);
        CHECK_INT(c->effort, cases[i].want);
        config_unref(c);
    }
}

static void test_deletion_mode(void) {
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {"", true},
        {"limits_config: {deletion_mode: filter-and-delete}\n", true},
        {"limits_config: {deletion_mode: disabled}\n", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config *c;
        struct err err = {0};
        CHECK_INT(load(cases[i].text, &c, &err), 0);
        CHECK_INT(c->limits.deletion_allowed, cases[i].want);
        config_unref(c);
    }
}

static const struct {
    const char *text, *want;
} wrong_files[] = {
    /* Hiding lines for ever without removing them is not offered: removing instead would be no service. */
    {"limits_config:\n  deletion_mode: filter-only\n",
     ":2: limits_config.deletion_mode: \"filter-only\" is not a possible value; allowed: "
     "disabled"},
    {"limits_config:\n  retention_period: abc\n",
     ":2: limits_config.retention_period: \"abc\" is not a duration; allowed: a duration like"},
    {"auth_enabled: maybe\n", ":1: auth_enabled: \"maybe\" is not a possible value; allowed: true"},
    {"server:\n  http_listen_port: 70000\n",
     ":2: server.http_listen_port: \"70000\" is not a number"},
    {"server:\n  http_listen_port: -1\n", "is not a number"},
    {"server:\n  log_level: loud\n", "allowed: debug, info, warn or error"},
    {"server:\n  http_path_prefix: logs\n", "must begin with a slash"},
    {"server:\n  http_listen_port: [1]\n", ":2: a list where one value belongs"},
    {"server:\n  http_listen_port: {a: 1}\n", "one value belongs here"},
    {"server: 5\n", ":1: a section belongs here"},
    {"server: &a\n  log_level: info\n", "anchors and aliases"},
    {"x: *a\n", ""},
    {"auth_enabled: true\nauth_enabled: true\n", ":2: the key is set twice"},
    {"- a\n", "keys and values"},
    {"a: b\n---\nc: d\n", "only one document"},
    {"a: [\n", ""},
    {"\x01\x02", ""},
    {"server:\n\thttp_listen_port: 1\n", ":2: found character that cannot start any token: a tab?"},
    {"limits_config:\n  max_line_size: 99GB\n", "limits_config.max_line_size: at most"},
    {"limits_config:\n  max_line_size: -1KB\n", "is not a size"},
    {"limits_config:\n  ingestion_rate_mb: -2\n", "is not a number in range"},
    {"wal:\n  sync: sometimes\n", "allowed: always, interval or off"},
    {"limits_config:\n  retention_stream: 5\n", "a list of rules"},
    {"limits_config:\n  retention_stream:\n  - period: 1h\n", "needs selector and period"},
    {"limits_config:\n  retention_stream:\n  - {selector: '{a=\"b\"}', period: x}\n",
     "period must be a duration"},
    {"limits_config:\n  retention_stream:\n  - {selector: '{a=', period: 1h}\n",
     "limits_config.retention_stream: selector {a="},
    {"limits_config:\n  retention_stream:\n  - {selector: '{a=\"b\"}', period: 1h, x: 1}\n",
     "only selector, priority, period and max_bytes"},
    {"limits_config:\n  retention_stream:\n  - {selector: '{a=\"b\"}', period: 1h, priority: "
     "z}\n",
     "priority must be a whole number"},
    {"logq:\n  data_dir: \"\"\n", "must not be empty"},
    {"limits_config:\n  otlp_config: 5\n", "one section belongs here"},
    {"limits_config:\n  otlp_config: {}\n  otlp_config: {}\n", "one section belongs here"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n    - action: keep\n",
     ":4: limits_config.otlp_config: unsupported action"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n    - action: drop\n",
     "attributes or regex must be set"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n"
     "    - {action: drop, attributes: [a], regex: b}\n",
     "only one of attributes or regex"},
    {"limits_config:\n  otlp_config:\n    scope_attributes:\n"
     "    - {action: index_label, regex: b}\n",
     "only supported for resource_attributes"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n    - {action: drop, regex: '(a'}\n",
     "error parsing regexp: missing closing )"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n    - {regex: a, regex: b}\n",
     "regex is there twice"},
    {"limits_config:\n  otlp_config:\n    resource_attributes:\n      ignore_defaults: 1\n",
     "ignore_defaults must be true or false"},
    {"limits_config:\n  otlp_config:\n    resource_attributes:\n    - regex: a\n",
     "ignore_defaults and attributes_config"},
    {"limits_config:\n  otlp_config:\n    log_attributes:\n    - attributes: a\n",
     "attributes must be a list"},
    {"limits_config:\n  otlp_config:\n    log_attributes: []\n    log_attributes: []\n",
     "one list of rules"},
};

static void test_wrong_files(void) {
    for (size_t i = 0; i < sizeof(wrong_files) / sizeof(wrong_files[0]); i++) {
        struct config *c;
        struct err err = {0};
        int r = load(wrong_files[i].text, &c, &err);
        CHECK(r < 0);
        if (r == 0)
            config_unref(c);
        if (r == 0 || !strstr(err.text, wrong_files[i].want))
            printf("  %s\n  gave: %s\n", wrong_files[i].text, err.text);
        CHECK(strstr(err.text, wrong_files[i].want));
    }
    struct config *c;
    struct err err = {0};
    CHECK(config_load("/nonexistent/file", NULL, 0, &c, &err) < 0);
    CHECK(strstr(err.text, "/nonexistent/file"));
}

static void test_deep_nesting(void) {
    struct buf text = buf_make(BUF_NO_MAX);
    buf_add_str(&text, STR("x: "));
    for (int i = 0; i < 5000; i++)
        buf_add_char(&text, '[');
    buf_add_char(&text, '\0');
    struct config *c;
    struct err err = {0};
    CHECK(load(text.data, &c, &err) < 0);
    buf_done(&text);
}

static void test_empty_values_keep_defaults(void) {
    struct config *c;
    struct err err = {0};
    CHECK_INT(load("", &c, &err), 0);
    config_unref(c);
    CHECK_INT(
        load("server:\nlimits_config:\n  retention_period:\n  max_query_series: ~\n", &c, &err), 0);
    CHECK_INT(c->limits.retention_period_ns, 30 * NS_PER_DAY);
    CHECK_INT(c->limits.max_query_series, 500);
    config_unref(c);
}

static void test_overrides(void) {
    write_file("server:\n  http_listen_port: 1\n");
    const struct config_override good[] = {
        {"server.http_listen_port", "2"},
        {"logq.data_dir", "/srv/a=b"},
        {"limits_config.discover_service_name", "a, b,c"},
        {"limits_config.retention_period", "2h"},
        {"wal.sync", "off"},
    };
    struct config *c;
    struct err err = {0};
    CHECK_INT(config_load(path, good, sizeof(good) / sizeof(good[0]), &c, &err), 0);
    CHECK_INT(c->listen_port, 2);
    CHECK_STR(str_from(c->data_dir), STR("/srv/a=b"));
    CHECK_INT(c->limits.n_discover_service_name, 3);
    CHECK_STR(c->limits.discover_service_name[1], STR("b"));
    CHECK_INT(c->wal.sync, WAL_SYNC_OFF);
    /* Entries that have expired on arrival are refused. */
    CHECK_INT(c->limits.reject_old_samples_max_age_ns, 2 * NS_PER_HOUR);
    config_unref(c);
    const struct config_override unknown = {"server.nonsense", "1"};
    CHECK(config_load(NULL, &unknown, 1, &c, &err) < 0);
    CHECK_STR(str_from(err.text),
              STR("--set: server.nonsense is not a setting; logqd --config-doc lists them"));
    /* What was meant: a letter off, no section. */
    static const char *const meant[][2] = {
        {"limits_config.retention_perid", "limits_config.retention_period?"},
        {"server.http_listen_prot", "server.http_listen_port?"},
        {"retention_period", "limits_config.retention_period?"},
        {"limit_config", "limits_config?"},
        {"sevrer.http_listen_port", "server.http_listen_port?"},
    };
    for (size_t i = 0; i < sizeof(meant) / sizeof(meant[0]); i++) {
        const struct config_override near = {meant[i][0], "1"};
        CHECK(config_load(NULL, &near, 1, &c, &err) < 0);
        CHECK(strstr(err.text, "did you mean ") &&
              str_ends(str_from(err.text), str_from(meant[i][1])));
    }
    static const char *const nothing_near[] = {
        "", ".", "a", "sync", "wal.", "ruler", "limits_config.max_query_parallelism"};
    for (size_t i = 0; i < sizeof(nothing_near) / sizeof(nothing_near[0]); i++) {
        struct str near = config_key_near(str_from(nothing_near[i]));
        CHECK(!near.data);
    }
    const struct config_override wrong = {"server.http_listen_port", "x"};
    CHECK(config_load(NULL, &wrong, 1, &c, &err) < 0);
    const struct config_override never = {"compactor.retention_enabled", "false"};
    CHECK_INT(config_load(NULL, &never, 1, &c, &err), 0);
    CHECK_INT(retention_period(c->retention, STR("fake"), (struct labels){0}), 0);
    config_unref(c);
}

/* limits_config.otlp_config: the first rule that fits a whole name decides. */
static void test_otlp_rules(void) {
    struct config *c;
    struct err err = {0};
    CHECK_INT(load("limits_config:\n  otlp_config:\n    severity_text_as_label: true\n"
                   "    resource_attributes:\n      attributes_config:\n"
                   "      - {action: index_label, attributes: [shop.name, aisle]}\n"
                   "      - {action: drop, regex: 'shop\\..*'}\n"
                   "      - {regex: 'keep.*', action: structured_metadata}\n"
                   "    scope_attributes:\n    - {regex: s}\n    log_attributes: []\n",
                   &c, &err),
              0);
    const struct otlp_rules *r = c->limits.otlp;
    const struct {
        enum otlp_owner owner;
        const char *name;
        enum otlp_action want;
    } cases[] = {
        {OTLP_OF_RESOURCE, "shop.name", OTLP_LABEL},  {OTLP_OF_RESOURCE, "aisle", OTLP_LABEL},
        {OTLP_OF_RESOURCE, "aisle2", OTLP_UNRULED},   {OTLP_OF_RESOURCE, "shop.city", OTLP_DROP},
        {OTLP_OF_RESOURCE, "myshop.a", OTLP_UNRULED}, {OTLP_OF_RESOURCE, "keeper", OTLP_METADATA},
        {OTLP_OF_SCOPE, "s", OTLP_METADATA},          {OTLP_OF_SCOPE, "ss", OTLP_UNRULED},
        {OTLP_OF_RECORD, "shop.name", OTLP_UNRULED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_INT(otlp_rules_action(r, cases[i].owner, str_from(cases[i].name)), cases[i].want);
    CHECK(r && !r->ignore_defaults);
    CHECK_INT(otlp_rules_action(NULL, OTLP_OF_RECORD, STR("a")), OTLP_UNRULED);
    CHECK_INT(c->n_warnings, 1);
    CHECK(strstr(c->warnings[0], "otlp_config.severity_text_as_label is not used by logqd"));
    config_unref(c);
    CHECK_INT(load("limits_config:\n  otlp_config:\n", &c, &err), 0);
    CHECK(!c->limits.otlp);
    config_unref(c);
}

/* What is printed can be read again and means the same. */
static void test_dump_round_trip(void) {
    struct config *a, *b;
    struct err err = {0};
    CHECK_INT(
        load("server:\n  http_path_prefix: \"/a b\"\nwal:\n  sync: interval\n"
             "limits_config:\n  max_line_size: 1000\n  retention_stream:\n"
             "  - {selector: '{a=\"b\", c=~\"d.*\"}', period: 36h, priority: -3}\n"
             "  otlp_config:\n    resource_attributes:\n      ignore_defaults: true\n"
             "      attributes_config:\n      - {action: index_label, attributes: [a.b, \"c'd\"]}\n"
             "    log_attributes:\n    - {action: drop, regex: 'x\\.\"y.*'}\n    - {attributes: "
             "[z]}\n",
             &a, &err),
        0);
    struct buf first = buf_make(BUF_NO_MAX), second = buf_make(BUF_NO_MAX);
    config_dump(a, &first);
    buf_add_char(&first, '\0');
    first.size--;
    if (load(first.data, &b, &err) < 0)
        printf("%s\n%s", err.text, first.data);
    config_dump(b, &second);
    CHECK_STR(buf_str(&second), buf_str(&first));
    CHECK_INT(b->n_warnings, 0);
    buf_done(&first);
    buf_done(&second);
    config_unref(a);
    config_unref(b);
}

static void test_reload_keeps_fixed_keys(void) {
    struct config *now, *next;
    struct err err = {0};
    CHECK_INT(load("auth_enabled: true\n", &now, &err), 0);
    CHECK_INT(
        load("logq:\n  data_dir: /elsewhere\nlimits_config:\n  max_query_series: 7\n", &next, &err),
        0);
    struct buf changed = buf_make(BUF_NO_MAX);
    config_keep_fixed(now, next, &changed);
    CHECK_STR(buf_str(&changed), STR("auth_enabled, common.path_prefix, logq.data_dir"));
    CHECK(next->auth_enabled);
    CHECK_STR(str_from(next->data_dir), STR("./data"));
    CHECK_INT(next->limits.max_query_series, 7);
    buf_done(&changed);
    config_unref(next);
    config_unref(now);
}

/* Table, file and documentation name the same settings. __FILE__ is relative to the build folder,
 * where meson runs its tests. */
static void test_documentation(void) {
    struct buf made = buf_make(BUF_NO_MAX), kept = buf_make(BUF_NO_MAX);
    config_document(&made);
    char file[4096];
    (void)snprintf(file, sizeof(file), "%s", __FILE__);
    char *end = strstr(file, "tests/server/test_config.c");
    CHECK(end != NULL);
    (void)snprintf(end, sizeof(file) - (size_t)(end - file), "docs/configuration.md");
    CHECK_INT(io_read_file(AT_FDCWD, file, &kept), 0);
    if (!str_eq(buf_str(&made), buf_str(&kept)))
        printf("  docs/configuration.md is not what the table says: logqd --config-doc > "
               "docs/configuration.md\n");
    CHECK(str_eq(buf_str(&made), buf_str(&kept)));
    buf_done(&made);
    buf_done(&kept);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    (void)close(fd);
    RUN(test_defaults);
    RUN(test_loki_file);
    RUN(test_codec_names);
    RUN(test_deletion_mode);
    RUN(test_wrong_files);
    RUN(test_deep_nesting);
    RUN(test_empty_values_keep_defaults);
    RUN(test_overrides);
    RUN(test_otlp_rules);
    RUN(test_dump_round_trip);
    RUN(test_reload_keeps_fixed_keys);
    RUN(test_documentation);
    (void)unlink(path);
    return test_done();
}
