#include "retention_rules.h"

#include <errno.h>
#include <stdlib.h>

#include "parser.h"

/* The compiled rules live as long as the policy. */
struct rules_owner {
    struct retention_rule *rules;
    struct parsed_query **queries; /* per rule; NULL: it matches everything */
    size_t count;
    struct arena arena; /* tenants' names */
};

enum { NAMES_MAX = 64 << 20 };

static void release_rules(void *ctx) {
    struct rules_owner *o = ctx;
    if (!o)
        return;
    for (size_t i = 0; o->queries && i < o->count; i++)
        parsed_query_free(o->queries[i]);
    arena_done(&o->arena);
    free(o->queries);
    free(o->rules);
    free(o);
}

static struct rules_owner *new_owner(size_t count) {
    struct rules_owner *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->arena = arena_make(NAMES_MAX);
    o->rules = calloc(count ? count : 1, sizeof(*o->rules));
    o->queries = calloc(count ? count : 1, sizeof(struct parsed_query *));
    if (o->rules && o->queries)
        return o;
    release_rules(o);
    return NULL;
}

static int compile_rule(struct rules_owner *o, struct str tenant,
                        const struct config_retention *rule, struct err *reterr) {
    struct parsed_query *query;
    int r = selector_parse(rule->selector, true, &query, reterr);
    if (r < 0)
        return err_prefix(reterr, r, "limits_config.retention_stream: selector %.*s",
                          STR_ARG(rule->selector));
    const struct log_expr *log = &parsed_query_expr(query)->log;
    o->queries[o->count] = query;
    o->rules[o->count++] = (struct retention_rule){
        .tenant = tenant,
        .matchers = log->matchers,
        .n_matchers = log->n_matchers,
        .priority = rule->priority,
        .period_ns = rule->period_ns,
        .max_bytes = rule->max_bytes,
    };
    return 0;
}

static int compile_source(struct rules_owner *o, const struct retention_source *s,
                          struct err *reterr) {
    struct str tenant = STR("");
    if (s->tenant.size > 0) {
        tenant = arena_copy(&o->arena, s->tenant);
        if (!tenant.data)
            return err_set(reterr, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < s->n_rules; i++) {
        int r = compile_rule(o, tenant, &s->rules[i], reterr);
        if (r < 0)
            return r;
    }
    /* Weaker than any rule that people write. */
    if (s->has_period)
        o->rules[o->count++] = (struct retention_rule){
            .tenant = tenant, .priority = INT32_MIN, .period_ns = s->period_ns};
    return 0;
}

static size_t count_budgets(const struct retention_source *sources, size_t n_sources) {
    size_t n = 0;
    for (size_t i = 0; i < n_sources; i++)
        for (size_t k = 0; k < sources[i].n_rules; k++)
            n += sources[i].rules[k].max_bytes > 0;
    return n;
}

int retention_rules_make(int64_t default_period_ns, const struct retention_source *sources,
                         size_t n_sources, const struct retention_budgets *budgets,
                         struct retention_policy **ret, struct err *reterr) {
    size_t count = 0;
    for (size_t i = 0; i < n_sources; i++)
        count += sources[i].n_rules + sources[i].has_period;
    if (count_budgets(sources, n_sources) > RETENTION_BUDGET_RULES_MAX)
        return err_set(reterr, -ESYNTAX,
                       "limits_config.retention_stream: at most %d rules with max_bytes, those of "
                       "tenants included",
                       RETENTION_BUDGET_RULES_MAX);
    struct rules_owner *owner = new_owner(count);
    if (!owner)
        return err_set(reterr, -ENOMEM, "out of memory");
    int r = 0;
    for (size_t i = 0; i < n_sources && r == 0; i++)
        r = compile_source(owner, &sources[i], reterr);
    if (r == 0) {
        *ret = retention_policy_new(default_period_ns, owner->rules, owner->count, owner,
                                    release_rules);
        if (*ret) {
            retention_policy_set_budgets(*ret, budgets);
            return 0;
        }
        r = err_set(reterr, -ENOMEM, "out of memory");
    }
    release_rules(owner);
    return r;
}
