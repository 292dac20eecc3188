#include "otlp_map.h"

#include <assert.h>
#include <errno.h>

#include "labels.h"
#include "metadata.h"

enum { PAIRS_FIRST = 16, TRACE_ID_SIZE = 16, SPAN_ID_SIZE = 8 };

/* Resource attributes that become index labels, Loki's own list; the first ones stay labels when
 * there are more than the limit allows. */
static const struct str index_attributes[] = {
    STR_INIT("service.name"),
    STR_INIT("service.namespace"),
    STR_INIT("service.instance.id"),
    STR_INIT("deployment.environment"),
    STR_INIT("deployment.environment.name"),
    STR_INIT("cloud.region"),
    STR_INIT("cloud.availability_zone"),
    STR_INIT("k8s.cluster.name"),
    STR_INIT("k8s.namespace.name"),
    STR_INIT("k8s.pod.name"),
    STR_INIT("k8s.container.name"),
    STR_INIT("container.name"),
    STR_INIT("k8s.replicaset.name"),
    STR_INIT("k8s.deployment.name"),
    STR_INIT("k8s.statefulset.name"),
    STR_INIT("k8s.daemonset.name"),
    STR_INIT("k8s.cronjob.name"),
    STR_INIT("k8s.job.name"),
};
static_assert(sizeof(index_attributes) / sizeof(index_attributes[0]) == OTLP_INDEX_LABELS,
              "one list of pairs for each");

const struct str *otlp_index_attributes(void) {
    return index_attributes;
}

struct otlp_builder otlp_builder_make(struct decoded_push *out, const struct otlp_options *options,
                                      struct err *reterr) {
    return (struct otlp_builder){
        .out = out,
        .options = options,
        .reterr = reterr,
        .scratch = buf_make(OTLP_VALUE_TEXT_MAX),
    };
}

void otlp_builder_done(struct otlp_builder *b) {
    buf_done(&b->scratch);
}

int otlp_too_deep(struct err *reterr) {
    return err_set(reterr, -ESYNTAX,
                   "an attribute or body has lists or maps nested deeper than %d levels",
                   OTLP_DEPTH_MAX);
}

static int fail(struct otlp_builder *b) {
    if (b->scratch.failed)
        return err_set(b->reterr, -E2BIG,
                       "request body too large: a value has more than %d bytes as text",
                       OTLP_VALUE_TEXT_MAX);
    return decoded_error(b->out, b->reterr);
}

/* ---- pairs */

static int pairs_add(struct otlp_builder *b, struct otlp_pairs *p, struct str name,
                     struct str value) {
    if (value.size == 0)
        return 0;
    if (p->count == p->capacity) {
        size_t capacity = p->capacity > 0 ? p->capacity * 2 : PAIRS_FIRST, size;
        struct label *items = NULL;
        if (!__builtin_mul_overflow(capacity, sizeof(*items), &size))
            items = arena_alloc(b->out->arena, size);
        if (!items)
            return fail(b);
        if (p->count > 0)
            memcpy(items, p->items, p->count * sizeof(*items));
        p->items = items;
        p->capacity = capacity;
    }
    p->items[p->count++] = (struct label){.name = name, .value = value};
    return 0;
}

static int pairs_add_number(struct otlp_builder *b, struct otlp_pairs *p, struct str name,
                            uint64_t number) {
    if (number == 0)
        return 0;
    buf_clear(&b->scratch);
    buf_add_u64(&b->scratch, number);
    struct str text = arena_copy(b->out->arena, buf_str(&b->scratch));
    return text.data && !b->scratch.failed ? pairs_add(b, p, name, text) : fail(b);
}

/* Names and values as they will be stored; sorted, each name once. */
static int pairs_normalize(struct otlp_builder *b, struct otlp_pairs *p) {
    if (p->count == 0)
        return 0;
    int64_t count = metadata_normalize(b->out->arena, p->items, p->count);
    if (count < 0)
        return fail(b);
    p->count = (size_t)count;
    return 0;
}

/* The pairs belong to somebody else now; the next owner begins anew. */
static struct labels pairs_take(struct otlp_pairs *p) {
    struct labels taken = {.items = p->items, .count = p->count};
    *p = (struct otlp_pairs){0};
    return taken;
}

/* ---- attributes */

/* NULL: the attribute is dropped. */
static struct otlp_pairs *pairs_of(struct otlp_builder *b, enum otlp_owner owner, struct str key) {
    const struct otlp_rules *rules = b->options->rules;
    if (owner == OTLP_OF_RESOURCE && !(rules && rules->ignore_defaults)) {
        for (size_t i = 0; i < OTLP_INDEX_LABELS; i++)
            if (str_eq(index_attributes[i], key))
                return &b->index[i];
    }
    enum otlp_action action = otlp_rules_action(rules, owner, key);
    if (action == OTLP_DROP)
        return NULL;
    if (action == OTLP_LABEL)
        return &b->index[OTLP_INDEX_LABELS];
    return owner == OTLP_OF_RECORD ? &b->record : owner == OTLP_OF_SCOPE ? &b->scope : &b->resource;
}

static struct str join_names(struct arena *arena, struct str prefix, struct str name) {
    char *p = arena_alloc(arena, prefix.size + 1 + name.size);
    if (!p)
        return (struct str){0};
    memcpy(p, prefix.data, prefix.size);
    p[prefix.size] = '_';
    if (name.size > 0)
        memcpy(p + prefix.size + 1, name.data, name.size);
    return str_make(p, prefix.size + 1 + name.size);
}

static int add_flat(struct otlp_builder *b, struct otlp_pairs *p, struct str name,
                    const struct otlp_value *v, unsigned depth) {
    assert(depth <= OTLP_DEPTH_MAX);
    if (v->type != OTLP_MAP) {
        struct str text;
        if (otlp_value_text(v, b->out->arena, &b->scratch, &text) < 0)
            return fail(b);
        return pairs_add(b, p, name, text);
    }
    for (const struct otlp_item *i = v->items.first; i; i = i->next) {
        struct str joined = name.size > 0 ? join_names(b->out->arena, name, i->key) : i->key;
        if (name.size > 0 && !joined.data)
            return fail(b);
        int r = add_flat(b, p, joined, &i->value, depth + 1);
        if (r < 0)
            return r;
    }
    return 0;
}

int otlp_add_attribute(struct otlp_builder *b, enum otlp_owner owner, struct str key,
                       const struct otlp_value *value) {
    struct otlp_pairs *p = pairs_of(b, owner, key);
    return p ? add_flat(b, p, key, value, 0) : 0;
}

/* ---- resources */

void otlp_begin_resource(struct otlp_builder *b) {
    for (size_t i = 0; i <= OTLP_INDEX_LABELS; i++)
        b->index[i].count = 0;
    b->resource = (struct otlp_pairs){0};
    b->first_stream = b->out->n_streams;
}

/* Splits what the index attributes gave into labels and, beyond the limit, metadata of the
 * resource. */
static int split_index(struct otlp_builder *b, struct otlp_pairs *labels) {
    size_t counted = 0;
    for (size_t i = 0; i <= OTLP_INDEX_LABELS; i++) {
        struct otlp_pairs *p = &b->index[i];
        int r = pairs_normalize(b, p);
        for (size_t n = 0; n < p->count && r == 0; n++) {
            struct label pair = p->items[n];
            bool free_label = str_eq(pair.name, STR("service_name"));
            uint32_t max = b->options->labels_max;
            bool demoted = !free_label && max > 0 && counted >= max;
            counted += !free_label && !demoted;
            r = pairs_add(b, demoted ? &b->resource : labels, pair.name, pair.value);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* The labels as text: the spelling by which the push knows a stream that it has seen before. */
static int labels_text(struct otlp_builder *b, struct str *ret) {
    struct otlp_pairs labels = {0};
    int r = split_index(b, &labels);
    if (r < 0)
        return r;
    int64_t count = pairs_sort_last_wins(b->out->arena, labels.items, labels.count);
    if (count < 0)
        return fail(b);
    buf_clear(&b->scratch);
    labels_format(&b->scratch, (struct labels){.items = labels.items, .count = (size_t)count});
    if (b->scratch.size > PUSH_LABELS_TEXT_MAX)
        return err_set(b->reterr, -E2BIG,
                       "request body too large: the labels of a stream have more than %d bytes",
                       PUSH_LABELS_TEXT_MAX);
    *ret = arena_copy(b->out->arena, buf_str(&b->scratch));
    return ret->data && !b->scratch.failed ? 0 : fail(b);
}

int otlp_end_resource(struct otlp_builder *b) {
    if (b->first_stream == b->out->n_streams)
        return 0;
    struct str text = {0};
    int r = labels_text(b, &text);
    if (r == 0)
        r = pairs_normalize(b, &b->resource);
    if (r < 0)
        return r;
    struct labels resource = pairs_take(&b->resource);
    for (size_t i = b->first_stream; i < b->out->n_streams; i++) {
        struct decoded_stream *s = &b->out->streams[i];
        s->labels_text = text;
        if (s->shared_meta.count == 0 || resource.count == 0) {
            s->shared_meta = s->shared_meta.count == 0 ? resource : s->shared_meta;
            continue;
        }
        s->shared_meta.items =
            metadata_merge(b->out->arena, resource, s->shared_meta, &s->shared_meta.count);
        if (!s->shared_meta.items)
            return fail(b);
    }
    return 0;
}

/* ---- scopes */

void otlp_begin_scope(struct otlp_builder *b) {
    b->scope.count = 0;
    b->scope_has_stream = false;
}

int otlp_end_scope(struct otlp_builder *b, const struct otlp_scope *s) {
    if (!b->scope_has_stream)
        return 0;
    int r = pairs_add(b, &b->scope, STR("scope_name"), s->name);
    if (r == 0)
        r = pairs_add(b, &b->scope, STR("scope_version"), s->version);
    if (r == 0)
        r = pairs_add_number(b, &b->scope, STR("scope_dropped_attributes_count"),
                             s->dropped_attributes_count);
    if (r == 0)
        r = pairs_normalize(b, &b->scope);
    if (r == 0)
        b->out->streams[b->out->n_streams - 1].shared_meta = pairs_take(&b->scope);
    return r;
}

/* ---- records */

void otlp_begin_record(struct otlp_builder *b) {
    b->record.count = 0;
}

/* The four bits at `index` of an id, given as bytes or as hex digits; -1 when that is no digit. */
static int id_digit(struct str id, bool is_hex, size_t index) {
    if (is_hex)
        return hex_digit_value(id.data[index]);
    unsigned byte = (unsigned char)id.data[index / 2];
    return (int)(index % 2 == 0 ? byte >> 4 : byte & 15);
}

/* Ids of the wrong size, with other characters or all zero mean "no trace", as the protocol has
 * it. */
static int add_id(struct otlp_builder *b, struct str name, struct str id, bool is_hex,
                  size_t id_size) {
    if (id.size != (is_hex ? 2 * id_size : id_size))
        return 0;
    char *hex = arena_alloc(b->out->arena, 2 * id_size);
    if (!hex)
        return fail(b);
    int any = 0;
    for (size_t i = 0; i < 2 * id_size; i++) {
        int digit = id_digit(id, is_hex, i);
        if (digit < 0)
            return 0;
        any |= digit;
        hex[i] = "0123456789abcdef"[digit];
    }
    return any ? pairs_add(b, &b->record, name, str_make(hex, 2 * id_size)) : 0;
}

static int add_severity(struct otlp_builder *b, const struct otlp_record *r) {
    if (r->severity_number == 0)
        return 0;
    struct otlp_value number = {.type = OTLP_INT, .integer = r->severity_number};
    return add_flat(b, &b->record, STR("severity_number"), &number, 0);
}

/* Behind the attributes, as the later one of equal names wins. */
static int add_record_fields(struct otlp_builder *b, const struct otlp_record *r) {
    int status = 0;
    if (r->time_ns != 0)
        status = pairs_add_number(b, &b->record, STR("observed_timestamp"), r->observed_ns);
    if (status == 0)
        status = add_severity(b, r);
    if (status == 0)
        status = pairs_add(b, &b->record, STR("severity_text"), r->severity_text);
    if (status == 0)
        status = pairs_add_number(b, &b->record, STR("dropped_attributes_count"),
                                  r->dropped_attributes_count);
    if (status == 0)
        status = pairs_add_number(b, &b->record, STR("flags"), r->flags);
    if (status == 0)
        status = add_id(b, STR("trace_id"), r->trace_id, r->ids_are_hex, TRACE_ID_SIZE);
    if (status == 0)
        status = add_id(b, STR("span_id"), r->span_id, r->ids_are_hex, SPAN_ID_SIZE);
    if (status == 0)
        status = pairs_add(b, &b->record, STR("event_name"), r->event_name);
    return status;
}

static int64_t record_time(const struct otlp_builder *b, const struct otlp_record *r) {
    uint64_t ns = r->time_ns != 0 ? r->time_ns : r->observed_ns;
    if (ns == 0)
        return b->options->now_ns;
    return ns < INT64_MAX ? (int64_t)ns : PUSH_TS_TOO_NEW;
}

int otlp_end_record(struct otlp_builder *b, const struct otlp_record *r) {
    if (!b->scope_has_stream && !decoded_add_stream(b->out))
        return fail(b);
    b->scope_has_stream = true;
    struct entry *e = decoded_add_entry(b->out, &b->out->streams[b->out->n_streams - 1]);
    if (!e)
        return fail(b);
    e->ts_ns = record_time(b, r);
    if (otlp_value_text(&r->body, b->out->arena, &b->scratch, &e->line) < 0)
        return fail(b);
    int status = add_record_fields(b, r);
    for (size_t i = 0; i < b->record.count && status == 0; i++) {
        struct label pair = b->record.items[i];
        if (!decoded_add_meta(b->out, e, pair.name, pair.value))
            status = fail(b);
    }
    return status;
}
