#include "query_limits.h"

#include "units.h"

enum { NAMES_SHOWN_MAX = 1024 };

bool query_limits_concern(const struct limits *limits, struct str text) {
    if (limits->max_query_range_ns > 0 || limits->n_required_labels > 0 ||
        limits->minimum_labels_number > 0)
        return true;
    /* Each matcher has one of these. */
    size_t signs = 0;
    for (size_t i = 0; i < text.size; i++)
        signs += text.data[i] == '=' || text.data[i] == '~';
    return limits->max_streams_matchers > 0 && signs > limits->max_streams_matchers;
}

static bool has_matcher(const struct log_expr *log, struct str name) {
    for (size_t i = 0; i < log->n_matchers; i++)
        if (str_eq(log->matchers[i].name, name))
            return true;
    return false;
}

static void list_matchers(const struct log_expr *log, struct buf *out) {
    for (size_t i = 0; i < log->n_matchers; i++)
        buf_addf(out, "%s%.*s", i > 0 ? ", " : "", STR_ARG(log->matchers[i].name));
}

static int check_required(const struct limits *limits, const struct log_expr *log,
                          struct err *reterr) {
    struct buf present = buf_make(NAMES_SHOWN_MAX), missing = buf_make(NAMES_SHOWN_MAX);
    for (size_t i = 0; i < limits->n_required_labels; i++)
        if (!has_matcher(log, limits->required_labels[i]))
            buf_addf(&missing, "%s%.*s", missing.size > 0 ? ", " : "",
                     STR_ARG(limits->required_labels[i]));
    list_matchers(log, &present);
    int r = 0;
    if (missing.size > 0)
        r = err_set(reterr, -EREFUSED,
                    "stream selector is missing required matchers [%.*s], labels present in the "
                    "query were [%.*s]",
                    STR_ARG(buf_str(&missing)), STR_ARG(buf_str(&present)));
    else if (log->n_matchers < limits->minimum_labels_number)
        r = err_set(reterr, -EREFUSED,
                    "stream selector has less label matchers than required: (present: [%.*s], "
                    "number_present: %zu, required_number_label_matchers: %u)",
                    STR_ARG(buf_str(&present)), log->n_matchers, limits->minimum_labels_number);
    buf_done(&present);
    buf_done(&missing);
    return r;
}

static int check_log(const struct limits *limits, const struct log_expr *log, struct err *reterr) {
    if (limits->max_streams_matchers > 0 && log->n_matchers > limits->max_streams_matchers)
        return err_set(reterr, -EREFUSED,
                       "max streams matchers per query exceeded, matchers-count > limit (%zu > %u)",
                       log->n_matchers, limits->max_streams_matchers);
    return check_required(limits, log, reterr);
}

static int check_range(const struct limits *limits, const struct range_agg *range,
                       struct err *reterr) {
    int64_t most_ns = limits->max_query_range_ns;
    if (most_ns <= 0 || range->range_ns <= most_ns)
        return check_log(limits, &range->log, reterr);
    struct buf asked = buf_make(64), limit = buf_make(64);
    duration_format_prometheus(&asked, range->range_ns);
    duration_format_prometheus(&limit, most_ns);
    int r = err_set(reterr, -EREFUSED, "[interval] value exceeds limit: [%.*s] > [%.*s]",
                    STR_ARG(buf_str(&asked)), STR_ARG(buf_str(&limit)));
    buf_done(&asked);
    buf_done(&limit);
    return r;
}

/* As deep as the parser allows, QUERY_TREE_DEPTH_MAX. */
int query_limits_check(const struct limits *limits, const struct expr *e, struct err *reterr) {
    int r;
    switch (e->kind) {
    case EXPR_LOG:
        return check_log(limits, &e->log, reterr);
    case EXPR_RANGE:
        return check_range(limits, &e->range, reterr);
    case EXPR_VARIANTS:
        return check_range(limits, &e->variants.of, reterr);
    case EXPR_VECTOR_AGG:
        return query_limits_check(limits, e->vector_agg.inner, reterr);
    case EXPR_LABEL_REPLACE:
        return query_limits_check(limits, e->label_replace.inner, reterr);
    case EXPR_BINARY:
        r = query_limits_check(limits, e->binary.left, reterr);
        return r < 0 ? r : query_limits_check(limits, e->binary.right, reterr);
    case EXPR_LITERAL:
    case EXPR_VECTOR:
        break;
    }
    return 0;
}
