#include "request_limits.h"

#include <errno.h>
#include <stddef.h>

#include "json.h"
#include "units.h"

enum { LABELS_MAX = 100 };

enum field_type { FIELD_DURATION, FIELD_COUNT, FIELD_BYTES };

static const struct {
    struct str name;
    enum field_type type;
    size_t offset;
} fields[] = {
    {STR_INIT("maxQueryLength"), FIELD_DURATION, offsetof(struct limits, max_query_length_ns)},
    {STR_INIT("maxQueryInterval"), FIELD_DURATION, offsetof(struct limits, max_query_range_ns)},
    {STR_INIT("maxQueryLookback"), FIELD_DURATION, offsetof(struct limits, max_query_lookback_ns)},
    {STR_INIT("maxQueryTime"), FIELD_DURATION, offsetof(struct limits, query_timeout_ns)},
    {STR_INIT("maxEntriesLimitPerQuery"), FIELD_COUNT,
     offsetof(struct limits, max_entries_limit_per_query)},
    {STR_INIT("minimumLabelsNumber"), FIELD_COUNT, offsetof(struct limits, minimum_labels_number)},
    {STR_INIT("maxQueryBytesRead"), FIELD_BYTES, offsetof(struct limits, max_query_bytes_read)},
};

static int fail(struct err *reterr, struct str name, const char *want) {
    return err_set(reterr, -ESYNTAX, "X-Loki-Query-Limits: %.*s must be %s", STR_ARG(name), want);
}

/* The text of a string without escapes: no limit and no label's name needs one. */
static bool plain(const struct json_value *v) {
    return v->type == JSON_STRING && !v->escaped;
}

static int set_field(struct limits *l, size_t field, const struct json_value *v,
                     struct err *reterr) {
    void *place = (char *)l + fields[field].offset;
    int64_t number;
    switch (fields[field].type) {
    case FIELD_DURATION:
        if (!plain(v) || duration_parse_prometheus(v->raw, &number) < 0)
            return fail(reterr, fields[field].name, "a duration like \"1h30m\"");
        *(int64_t *)place = number;
        return 0;
    case FIELD_COUNT:
        if (v->type != JSON_NUMBER || i64_parse(v->raw, &number) < 0 || number < 0 ||
            number > UINT32_MAX)
            return fail(reterr, fields[field].name, "a whole number");
        *(uint32_t *)place = (uint32_t)number;
        return 0;
    case FIELD_BYTES:
        if (!plain(v) || bytes_parse_setting(v->raw, (uint64_t *)place) < 0)
            return fail(reterr, fields[field].name, "a size like \"100MB\"");
        return 0;
    }
    return 0;
}

static int read_labels(struct json_reader *r, const struct json_value *v, struct arena *arena,
                       struct limits *l, struct err *reterr) {
    static const struct str name = STR_INIT("requiredLabels");
    if (v->type == JSON_NULL)
        return 0;
    if (v->type != JSON_ARRAY)
        return fail(reterr, name, "a list of labels");
    struct str *labels = arena_array(arena, LABELS_MAX, sizeof(*labels));
    if (!labels)
        return err_set(reterr, -ENOMEM, "out of memory");
    struct json_value item;
    size_t count = 0;
    for (bool first = true; json_next_item(r, &first, &item);) {
        if (!plain(&item) || count == LABELS_MAX)
            return fail(reterr, name, "a list of at most 100 labels");
        labels[count++] = item.raw;
    }
    if (item.type != JSON_END)
        return fail(reterr, name, "a list of labels");
    l->required_labels = labels;
    l->n_required_labels = count;
    return 0;
}

static int read_member(struct json_reader *r, struct str name, const struct json_value *v,
                       struct arena *arena, struct limits *l, struct err *reterr) {
    if (str_eq(name, STR("requiredLabels")))
        return read_labels(r, v, arena, l, reterr);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (str_eq(name, fields[i].name))
            return v->type == JSON_NULL ? 0 : set_field(l, i, v, reterr);
    return json_skip_rest(r, v->type) ? 0 : fail(reterr, STR("the header"), "a JSON object");
}

int request_limits_parse(struct str text, struct arena *arena, struct limits *ret,
                         struct err *reterr) {
    struct json_reader r = json_reader_make(text);
    struct json_value v = json_next(&r), key;
    struct limits l = {.volume_enabled = true};
    if (v.type != JSON_OBJECT)
        return fail(reterr, STR("the header"), "a JSON object");
    for (bool first = true; json_next_member(&r, &first, &key, &v);) {
        int e = read_member(&r, key.raw, &v, arena, &l, reterr);
        if (e < 0)
            return e;
    }
    if (v.type != JSON_END)
        return fail(reterr, STR("the header"), "a JSON object");
    *ret = l;
    return 0;
}
