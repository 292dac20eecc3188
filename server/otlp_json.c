#include "otlp.h"

#include <assert.h>
#include <errno.h>

#include "json_decoder.h"
#include "otlp_map.h"
#include "units.h"

/* The messages of otlp_proto.c with their fields as members, in camelCase or snake_case. Numbers
 * of 64 bits come as strings or numbers, ids as hex digits, bytes as base64, which is what they
 * become in the end anyway. Unknown members are skipped, null is absent. What stands behind the
 * document is not looked at.
 *
 * Every message is read by read_object: a table of the members' names, and a function that takes
 * the value of one of them. Only AnyValue nests; its depth is counted. */

struct otlp_json {
    struct json_decoder d;
    struct otlp_builder b;
    unsigned depth; /* lists and maps that are open */
};

struct member_name {
    struct str camel, snake;
};

/* Reads a member's value, of any type but null; `member` is the index of its name. */
typedef int member_fn(struct otlp_json *j, size_t member, const struct json_value *v, void *ctx);

static int read_object(struct otlp_json *j, const struct json_value *opened,
                       const struct member_name *names, size_t n_names, member_fn *fn, void *ctx) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return json_decoder_fail(&j->d, "an object before here");
    bool first = true;
    struct json_value key, v;
    while (json_next_member(&j->d.r, &first, &key, &v)) {
        size_t i = 0;
        while (i < n_names && !str_eq(key.raw, names[i].camel) && !str_eq(key.raw, names[i].snake))
            i++;
        int r = 0;
        if (i == n_names)
            r = json_decoder_skip(&j->d, &v);
        else if (v.type != JSON_NULL)
            r = fn(j, i, &v, ctx);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(&j->d, "a member of an object") : 0;
}

typedef int item_fn(struct otlp_json *j, const struct json_value *v, void *ctx);

static int read_array(struct otlp_json *j, const struct json_value *opened, item_fn *fn,
                      void *ctx) {
    if (opened->type != JSON_ARRAY)
        return json_decoder_fail(&j->d, "an array before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&j->d.r, &first, &v)) {
        int r = fn(j, &v, ctx);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(&j->d, "an item of an array") : 0;
}

/* ---- scalars */

static int read_text(struct otlp_json *j, const struct json_value *v, struct str *ret) {
    if (v->type != JSON_STRING)
        return json_decoder_fail(&j->d, "a string before here");
    return json_decoder_string(&j->d, v, ret);
}

static bool is_number_text(const struct json_value *v) {
    return (v->type == JSON_STRING && !v->escaped) || v->type == JSON_NUMBER;
}

static int read_u64(struct otlp_json *j, const struct json_value *v, uint64_t *ret) {
    if (!is_number_text(v) || u64_parse(v->raw, ret) < 0)
        return json_decoder_fail(&j->d, "a whole number of 64 bits, not negative, before here");
    return 0;
}

static int read_i64(struct otlp_json *j, const struct json_value *v, int64_t *ret) {
    if (!is_number_text(v) || i64_parse(v->raw, ret) < 0)
        return json_decoder_fail(&j->d, "a whole number of 64 bits before here");
    return 0;
}

static int read_double(struct otlp_json *j, const struct json_value *v, double *ret) {
    if (!is_number_text(v) || float_parse_go(v->raw, ret) < 0)
        return json_decoder_fail(&j->d, "a number before here");
    return 0;
}

/* SEVERITY_NUMBER_INFO and so on up to .._INFO4; 0 for any other text. */
static int64_t severity_by_name(struct str name) {
    static const struct str levels[] = {STR_INIT("TRACE"), STR_INIT("DEBUG"), STR_INIT("INFO"),
                                        STR_INIT("WARN"),  STR_INIT("ERROR"), STR_INIT("FATAL")};
    struct str prefix = STR("SEVERITY_NUMBER_");
    if (!str_starts(name, prefix))
        return 0;
    name = str_from_offset(name, prefix.size);
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (!str_starts(name, levels[i]))
            continue;
        struct str step = str_from_offset(name, levels[i].size);
        int64_t number = (int64_t)i * 4 + 1;
        if (step.size == 0)
            return number;
        bool known = step.size == 1 && step.data[0] >= '2' && step.data[0] <= '4';
        return known ? number + (step.data[0] - '1') : 0;
    }
    return 0;
}

static int read_severity(struct otlp_json *j, const struct json_value *v, int64_t *ret) {
    if (v->type == JSON_STRING && str_starts(v->raw, STR("SEVERITY_"))) {
        *ret = severity_by_name(v->raw);
        return 0;
    }
    return read_i64(j, v, ret);
}

/* ---- values */

static int value_item(struct otlp_json *j, const struct json_value *v, void *ctx);
static int map_item(struct otlp_json *j, const struct json_value *v, void *ctx);

enum { CONTAINER_VALUES };
static const struct member_name container_names[] = {
    [CONTAINER_VALUES] = {STR_INIT("values"), STR_INIT("values")},
};

static int container_member(struct otlp_json *j, size_t member, const struct json_value *v,
                            void *ctx) {
    assert(member == CONTAINER_VALUES);
    struct otlp_value *container = ctx;
    return read_array(j, v, container->type == OTLP_MAP ? map_item : value_item, container);
}

static int read_container(struct otlp_json *j, const struct json_value *opened,
                          struct otlp_value *ret) {
    if (j->depth == OTLP_DEPTH_MAX)
        return otlp_too_deep(j->d.reterr);
    j->depth++;
    int r = read_object(j, opened, container_names, 1, container_member, ret);
    j->depth--;
    return r;
}

enum { VALUE_STRING, VALUE_BOOL, VALUE_INT, VALUE_DOUBLE, VALUE_LIST, VALUE_MAP, VALUE_BYTES };
static const struct member_name value_names[] = {
    [VALUE_STRING] = {STR_INIT("stringValue"), STR_INIT("string_value")},
    [VALUE_BOOL] = {STR_INIT("boolValue"), STR_INIT("bool_value")},
    [VALUE_INT] = {STR_INIT("intValue"), STR_INIT("int_value")},
    [VALUE_DOUBLE] = {STR_INIT("doubleValue"), STR_INIT("double_value")},
    [VALUE_LIST] = {STR_INIT("arrayValue"), STR_INIT("array_value")},
    [VALUE_MAP] = {STR_INIT("kvlistValue"), STR_INIT("kvlist_value")},
    [VALUE_BYTES] = {STR_INIT("bytesValue"), STR_INIT("bytes_value")},
};

static int value_member(struct otlp_json *j, size_t member, const struct json_value *v, void *ctx) {
    struct otlp_value *ret = ctx;
    switch (member) {
    case VALUE_BOOL:
        if (v->type != JSON_TRUE && v->type != JSON_FALSE)
            return json_decoder_fail(&j->d, "true or false before here");
        *ret = (struct otlp_value){.type = OTLP_BOOL, .boolean = v->type == JSON_TRUE};
        return 0;
    case VALUE_INT:
        *ret = (struct otlp_value){.type = OTLP_INT};
        return read_i64(j, v, &ret->integer);
    case VALUE_DOUBLE:
        *ret = (struct otlp_value){.type = OTLP_DOUBLE};
        return read_double(j, v, &ret->real);
    case VALUE_LIST:
    case VALUE_MAP:
        *ret = (struct otlp_value){.type = member == VALUE_MAP ? OTLP_MAP : OTLP_LIST};
        return read_container(j, v, ret);
    default:
        /* Bytes are base64 here and base64 when stored. */
        *ret = (struct otlp_value){.type = OTLP_TEXT};
        return read_text(j, v, &ret->text);
    }
}

static int read_value(struct otlp_json *j, const struct json_value *opened,
                      struct otlp_value *ret) {
    *ret = (struct otlp_value){0};
    return read_object(j, opened, value_names, sizeof(value_names) / sizeof(value_names[0]),
                       value_member, ret);
}

static int container_add(struct otlp_json *j, struct otlp_value *container, struct str key,
                         const struct otlp_value *value) {
    if (otlp_value_add(j->d.out->arena, container, key, value) < 0)
        return decoded_error(j->d.out, j->d.reterr);
    return 0;
}

static int value_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    struct otlp_value value;
    int r = read_value(j, v, &value);
    return r < 0 ? r : container_add(j, ctx, STR(""), &value);
}

struct key_value {
    struct str key;
    struct otlp_value value;
};

enum { KEY_VALUE_KEY, KEY_VALUE_VALUE };
static const struct member_name key_value_names[] = {
    [KEY_VALUE_KEY] = {STR_INIT("key"), STR_INIT("key")},
    [KEY_VALUE_VALUE] = {STR_INIT("value"), STR_INIT("value")},
};

static int key_value_member(struct otlp_json *j, size_t member, const struct json_value *v,
                            void *ctx) {
    struct key_value *kv = ctx;
    return member == KEY_VALUE_KEY ? read_text(j, v, &kv->key) : read_value(j, v, &kv->value);
}

static int read_key_value(struct otlp_json *j, const struct json_value *opened,
                          struct key_value *ret) {
    *ret = (struct key_value){.key = STR("")};
    return read_object(j, opened, key_value_names, 2, key_value_member, ret);
}

static int map_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    struct key_value kv;
    int r = read_key_value(j, v, &kv);
    return r < 0 ? r : container_add(j, ctx, kv.key, &kv.value);
}

/* `ctx` points to the enum otlp_owner. */
static int attribute_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    const enum otlp_owner *owner = ctx;
    struct key_value kv;
    int r = read_key_value(j, v, &kv);
    return r < 0 ? r : otlp_add_attribute(&j->b, *owner, kv.key, &kv.value);
}

static int read_attributes(struct otlp_json *j, const struct json_value *v, enum otlp_owner owner) {
    return read_array(j, v, attribute_item, &owner);
}

/* ---- records */

enum {
    RECORD_TIME,
    RECORD_OBSERVED,
    RECORD_SEVERITY_NUMBER,
    RECORD_SEVERITY_TEXT,
    RECORD_BODY,
    RECORD_ATTRIBUTES,
    RECORD_DROPPED,
    RECORD_FLAGS,
    RECORD_TRACE_ID,
    RECORD_SPAN_ID,
    RECORD_EVENT_NAME,
    RECORD_MEMBERS,
};
static const struct member_name record_names[RECORD_MEMBERS] = {
    [RECORD_TIME] = {STR_INIT("timeUnixNano"), STR_INIT("time_unix_nano")},
    [RECORD_OBSERVED] = {STR_INIT("observedTimeUnixNano"), STR_INIT("observed_time_unix_nano")},
    [RECORD_SEVERITY_NUMBER] = {STR_INIT("severityNumber"), STR_INIT("severity_number")},
    [RECORD_SEVERITY_TEXT] = {STR_INIT("severityText"), STR_INIT("severity_text")},
    [RECORD_BODY] = {STR_INIT("body"), STR_INIT("body")},
    [RECORD_ATTRIBUTES] = {STR_INIT("attributes"), STR_INIT("attributes")},
    [RECORD_DROPPED] = {STR_INIT("droppedAttributesCount"), STR_INIT("dropped_attributes_count")},
    [RECORD_FLAGS] = {STR_INIT("flags"), STR_INIT("flags")},
    [RECORD_TRACE_ID] = {STR_INIT("traceId"), STR_INIT("trace_id")},
    [RECORD_SPAN_ID] = {STR_INIT("spanId"), STR_INIT("span_id")},
    [RECORD_EVENT_NAME] = {STR_INIT("eventName"), STR_INIT("event_name")},
};

static int record_member(struct otlp_json *j, size_t member, const struct json_value *v,
                         void *ctx) {
    struct otlp_record *r = ctx;
    switch (member) {
    case RECORD_TIME:
        return read_u64(j, v, &r->time_ns);
    case RECORD_OBSERVED:
        return read_u64(j, v, &r->observed_ns);
    case RECORD_SEVERITY_NUMBER:
        return read_severity(j, v, &r->severity_number);
    case RECORD_SEVERITY_TEXT:
        return read_text(j, v, &r->severity_text);
    case RECORD_BODY:
        return read_value(j, v, &r->body);
    case RECORD_ATTRIBUTES:
        return read_attributes(j, v, OTLP_OF_RECORD);
    case RECORD_DROPPED:
        return read_u64(j, v, &r->dropped_attributes_count);
    case RECORD_FLAGS:
        return read_u64(j, v, &r->flags);
    case RECORD_TRACE_ID:
        return read_text(j, v, &r->trace_id);
    case RECORD_SPAN_ID:
        return read_text(j, v, &r->span_id);
    default:
        assert(member == RECORD_EVENT_NAME);
        return read_text(j, v, &r->event_name);
    }
}

static int record_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    (void)ctx;
    if (v->type == JSON_NULL)
        return 0;
    struct otlp_record record = {.ids_are_hex = true};
    otlp_begin_record(&j->b);
    int r = read_object(j, v, record_names, RECORD_MEMBERS, record_member, &record);
    return r < 0 ? r : otlp_end_record(&j->b, &record);
}

/* ---- scopes and resources */

enum { SCOPE_NAME, SCOPE_VERSION, SCOPE_ATTRIBUTES, SCOPE_DROPPED, SCOPE_MEMBERS };
static const struct member_name scope_names[SCOPE_MEMBERS] = {
    [SCOPE_NAME] = {STR_INIT("name"), STR_INIT("name")},
    [SCOPE_VERSION] = {STR_INIT("version"), STR_INIT("version")},
    [SCOPE_ATTRIBUTES] = {STR_INIT("attributes"), STR_INIT("attributes")},
    [SCOPE_DROPPED] = {STR_INIT("droppedAttributesCount"), STR_INIT("dropped_attributes_count")},
};

static int scope_member(struct otlp_json *j, size_t member, const struct json_value *v, void *ctx) {
    struct otlp_scope *s = ctx;
    switch (member) {
    case SCOPE_NAME:
        return read_text(j, v, &s->name);
    case SCOPE_VERSION:
        return read_text(j, v, &s->version);
    case SCOPE_ATTRIBUTES:
        return read_attributes(j, v, OTLP_OF_SCOPE);
    default:
        assert(member == SCOPE_DROPPED);
        return read_u64(j, v, &s->dropped_attributes_count);
    }
}

enum { SCOPE_LOGS_SCOPE, SCOPE_LOGS_RECORDS };
static const struct member_name scope_logs_names[] = {
    [SCOPE_LOGS_SCOPE] = {STR_INIT("scope"), STR_INIT("scope")},
    [SCOPE_LOGS_RECORDS] = {STR_INIT("logRecords"), STR_INIT("log_records")},
};

static int scope_logs_member(struct otlp_json *j, size_t member, const struct json_value *v,
                             void *ctx) {
    if (member == SCOPE_LOGS_SCOPE)
        return read_object(j, v, scope_names, SCOPE_MEMBERS, scope_member, ctx);
    return read_array(j, v, record_item, NULL);
}

static int scope_logs_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    (void)ctx;
    struct otlp_scope scope = {0};
    otlp_begin_scope(&j->b);
    int r = read_object(j, v, scope_logs_names, 2, scope_logs_member, &scope);
    return r < 0 ? r : otlp_end_scope(&j->b, &scope);
}

static const struct member_name resource_names[] = {
    {STR_INIT("attributes"), STR_INIT("attributes")},
};

static int resource_member(struct otlp_json *j, size_t member, const struct json_value *v,
                           void *ctx) {
    (void)member;
    (void)ctx;
    return read_attributes(j, v, OTLP_OF_RESOURCE);
}

enum { RESOURCE_LOGS_RESOURCE, RESOURCE_LOGS_SCOPES };
static const struct member_name resource_logs_names[] = {
    [RESOURCE_LOGS_RESOURCE] = {STR_INIT("resource"), STR_INIT("resource")},
    [RESOURCE_LOGS_SCOPES] = {STR_INIT("scopeLogs"), STR_INIT("scope_logs")},
};

static int resource_logs_member(struct otlp_json *j, size_t member, const struct json_value *v,
                                void *ctx) {
    (void)ctx;
    if (member == RESOURCE_LOGS_RESOURCE)
        return read_object(j, v, resource_names, 1, resource_member, NULL);
    return read_array(j, v, scope_logs_item, NULL);
}

static int resource_logs_item(struct otlp_json *j, const struct json_value *v, void *ctx) {
    (void)ctx;
    otlp_begin_resource(&j->b);
    int r = read_object(j, v, resource_logs_names, 2, resource_logs_member, NULL);
    return r < 0 ? r : otlp_end_resource(&j->b);
}

static const struct member_name request_names[] = {
    {STR_INIT("resourceLogs"), STR_INIT("resource_logs")},
};

static int request_member(struct otlp_json *j, size_t member, const struct json_value *v,
                          void *ctx) {
    (void)member;
    (void)ctx;
    return read_array(j, v, resource_logs_item, NULL);
}

int otlp_json_decode(struct str body, const struct otlp_options *options, struct decoded_push *out,
                     struct err *reterr) {
    if (str_trim(body).size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    struct otlp_json j = {
        .d = {.r = json_reader_make(body), .start = body.data, .out = out, .reterr = reterr},
        .b = otlp_builder_make(out, options, reterr),
    };
    struct json_value v = json_next(&j.d.r);
    int r = read_object(&j, &v, request_names, 1, request_member, NULL);
    otlp_builder_done(&j.b);
    return r;
}
