/* Limits of single tenants, and the retention that follows from them. */
#include "test.h"

#include <stdlib.h>

#include "overrides.h"
#include "settings.h"
#include "units.h"

static struct config *base_config(void) {
    static const struct config_override settings[] = {
        {"limits_config.ingestion_rate_mb", "4"},
        {"limits_config.retention_period", "10d"},
        {"limits_config.log_level_fields", "level,lvl"},
    };
    struct config *c = NULL;
    struct err err;
    CHECK_INT(config_load(NULL, settings, 3, &c, &err), 0);
    return c;
}

static struct overrides *parse(struct config *base, const char *text, struct err *err) {
    struct overrides *o = NULL;
    err->text[0] = '\0';
    return overrides_parse("f", str_from(text), base, &o, err) == 0 ? o : NULL;
}

static void test_limits(void) {
    struct config *base = base_config();
    struct err err;
    struct overrides *o = parse(base,
                                "overrides:\n"
                                "  team.a/b:\n    ingestion_rate_mb: 10.5\n    max_line_size: 1KB\n"
                                "    discover_service_name: [x, y]\n    unheard_of: {a: [1]}\n"
                                "  other:\n    max_query_series: 7\n    max_query_length:\n"
                                "    max_query_serious: 8\n"
                                "    otlp_config: {log_attributes: [{action: drop, regex: a}]}\n"
                                "  empty:\n"
                                "multi_kv_config: {primary: consul}\n",
                                &err);
    CHECK(o != NULL);
    const struct limits *a = overrides_limits(o, STR("team.a/b"));
    const struct limits *other = overrides_limits(o, STR("other"));
    CHECK(a && other && overrides_limits(o, STR("empty")));
    CHECK(!overrides_limits(o, STR("nobody")) && !overrides_limits(NULL, STR("other")));
    if (a && other) {
        CHECK(a->ingestion_rate_mb == 10.5 && other->ingestion_rate_mb == 4.0);
        CHECK_INT(a->max_line_size, 1024);
        CHECK_INT(a->n_discover_service_name, 2);
        CHECK_STR(a->discover_service_name[1], STR("y"));
        CHECK_INT(a->n_log_level_fields, 2);
        CHECK_INT(a->max_query_series, 500);
        CHECK_INT(other->max_query_series, 7);
        CHECK(other->otlp && !a->otlp);
        CHECK_INT(other->max_query_length_ns, base->limits.max_query_length_ns);
    }
    char *lines[3];
    CHECK_INT(overrides_warnings(o, lines, 3), 2);
    CHECK_INT(overrides_warnings(o, lines, 1), 1);
    CHECK(strstr(lines[1], "overrides.other.max_query_serious is not used by logqd: did you mean "
                           "limits_config.max_query_series?") != NULL);
    CHECK(strstr(lines[0], "f:6: overrides.team.a/b.unheard_of is not used") != NULL);
    struct buf dump = buf_make(BUF_NO_MAX);
    overrides_dump(o, &dump);
    CHECK_STR(buf_str(&dump), STR("overrides:\n  team.a/b:\n    max_line_size: 1KB\n"
                                  "    ingestion_rate_mb: 10.5\n"
                                  "    discover_service_name: [x, y]\n"
                                  "  other:\n    max_query_series: 7\n    otlp_config:\n"
                                  "      resource_attributes:\n        ignore_defaults: false\n"
                                  "      log_attributes:\n      - action: drop\n"
                                  "        regex: \"a\"\n  empty:\n"));
    buf_done(&dump);
    /* Lists that are borrowed from it outlive the configuration's other users. */
    config_unref(base);
    if (a)
        CHECK_STR(a->log_level_fields[1], STR("lvl"));
    overrides_unref(o);
}

static void test_refused(void) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"overrides: 5\n", "f:1: overrides: tenants and their limits belong here"},
        {"overrides:\n  a: 5\n", "f:2: the limits of tenant \"a\" belong here"},
        {"overrides:\n  a:\n    max_query_series: many\n",
         "f:3: limits_config.max_query_series: \"many\" is not a number"},
        {"overrides:\n  a:\n    max_query_series: [1]\n", "one value belongs here"},
        {"overrides:\n  a:\n    log_level_fields: x\n", "a list of at most"},
        {"overrides:\n  a:\n    max_line_size: 1GB\n", "max_line_size: at most"},
        {"overrides:\n  a: {}\n  a: {}\n", "tenant \"a\" is there twice"},
        {"overrides: {}\noverrides: {}\n", "overrides is there twice"},
        {"overrides:\n  a:\n    retention_stream: 5\n", "a list of rules"},
        {"overrides:\n  a: &x {}\n  b: *x\n", "anchors"},
        {"- a\n", "keys and values"},
        {"overrides: {a: {max_query_series: 1}\n", "f:2:"},
    };
    struct config *base = base_config();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err;
        struct overrides *o = parse(base, cases[i].text, &err);
        bool right = !o && strstr(err.text, cases[i].want);
        CHECK(right);
        if (!right)
            printf("  case %zu: %s\n", i, err.text);
        overrides_unref(o);
    }
    struct err err;
    struct overrides *o = parse(base, "", &err);
    CHECK(o && !overrides_limits(o, STR("a")));
    overrides_unref(o);
    config_unref(base);
}

static void test_retention(void) {
    struct err err;
    struct config *base = base_config();
    static struct config_retention debug = {
        .selector = STR_INIT("{app=\"debug\"}"), .priority = 1, .period_ns = NS_PER_HOUR};
    base->retention_stream = &debug;
    base->n_retention_stream = 1;
    struct overrides *o =
        parse(base,
              "overrides:\n"
              "  short:\n    retention_period: 2d\n"
              "  own:\n    retention_stream:\n    - {selector: '{app=\"web\"}', period: 3d}\n"
              "  both:\n    retention_period: 0s\n    retention_stream: []\n",
              &err);
    CHECK(o != NULL);
    struct retention_policy *p = NULL;
    CHECK_INT(o ? overrides_retention(o, &p, &err) : -1, 0);
    overrides_unref(o);
    config_unref(base);
    if (!p)
        return;
    static struct label items[] = {{STR_INIT("app"), STR_INIT("debug")},
                                   {STR_INIT("app"), STR_INIT("web")}};
    const struct labels debugging = {&items[0], 1}, web = {&items[1], 1};
    CHECK_INT(retention_period(p, STR("fake"), debugging), NS_PER_HOUR);
    CHECK_INT(retention_period(p, STR("fake"), web), 10 * NS_PER_DAY);
    CHECK_INT(retention_period(p, STR("short"), debugging), NS_PER_HOUR);
    CHECK_INT(retention_period(p, STR("short"), web), 2 * NS_PER_DAY);
    CHECK_INT(retention_period(p, STR("own"), debugging), 10 * NS_PER_DAY);
    CHECK_INT(retention_period(p, STR("own"), web), 3 * NS_PER_DAY);
    CHECK_INT(retention_period(p, STR("both"), debugging), 0);
    retention_policy_unref(p);
}

int main(void) {
    RUN(test_limits);
    RUN(test_refused);
    RUN(test_retention);
    return test_done();
}
