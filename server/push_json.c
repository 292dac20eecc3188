#include "push_json.h"

#include <assert.h>
#include <errno.h>

#include "json.h"
#include "units.h"

/* The two shapes, told apart by the keys of each stream object, so both work on either path:
 *
 *   v1      {"streams":[{"stream":{"app":"x"},"values":[["1767607201000000000","line",{"meta":"data"}], ..]}, ..]}
 *   legacy  {"streams":[{"labels":"{app=\"x\"}","entries":[{"ts":"2026-01-05T10:00:01Z","line":".."}, ..]}, ..]}
 *
 * Keys may come in any order, unknown ones are skipped. What stands behind the document is not looked at, as
 * clients that pad their bodies rely on. */

struct decoder {
    struct json_reader r;
    const char *start;
    struct decoded_push *out;
    struct err *reterr;
};

static int fail_syntax(const struct decoder *d, const char *expected) {
    size_t at = (size_t)(d->r.at - d->start), size = (size_t)(d->r.end - d->start);
    if (at >= size)
        return err_set(d->reterr, -ESYNTAX,
                       "malformed JSON push: unexpected end of input, expected %s", expected);
    unsigned char c = (unsigned char)*d->r.at;
    if (c < 0x20 || c >= 0x7f)
        return err_set(d->reterr, -ESYNTAX,
                       "malformed JSON push: byte 0x%02x at offset %zu, expected %s", c, at,
                       expected);
    return err_set(d->reterr, -ESYNTAX, "malformed JSON push: '%c' at offset %zu, expected %s", c,
                   at, expected);
}

static int fail_memory(const struct decoder *d) {
    return decoded_error(d->out, d->reterr);
}

static bool is_container(enum json_type t) {
    return t == JSON_OBJECT || t == JSON_ARRAY;
}

/* Skips a value that has been begun with json_next and friends. */
static int skip_value(struct decoder *d, const struct json_value *v) {
    if (is_container(v->type) && !json_skip_rest(&d->r, v->type))
        return fail_syntax(d, "the rest of a value");
    return 0;
}

/* The text of a string: a view when it holds no escapes, else unescaped into the arena. */
static int string_text(struct decoder *d, const struct json_value *v, struct str *ret) {
    assert(v->type == JSON_STRING);
    if (!v->escaped) {
        *ret = v->raw;
        return 0;
    }
    char *p = arena_alloc(d->out->arena, v->raw.size);
    if (!p)
        return fail_memory(d);
    int64_t size = json_unescape(v->raw, p);
    if (size < 0)
        return fail_syntax(d, "a string without bad escapes before here");
    *ret = str_make(p, (size_t)size);
    return 0;
}

/* Nanoseconds as decimal digits; everything else is a mistake that fails the request, as clients that send
 * floats or other units would otherwise lose their lines one by one. */
static int decode_nanoseconds(struct decoder *d, const struct json_value *v, int64_t *ret) {
    const char *wanted = "a string of nanoseconds before here";
    if (v->type != JSON_STRING || v->escaped || v->raw.size == 0)
        return fail_syntax(d, wanted);
    const char *p = v->raw.data, *end = p + v->raw.size;
    bool negative = *p == '-';
    if (negative && ++p == end)
        return fail_syntax(d, wanted);
    int64_t ns = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9 || __builtin_mul_overflow(ns, 10, &ns) ||
            __builtin_sub_overflow(ns, (int64_t)digit, &ns))
            return fail_syntax(d, wanted);
    }
    /* Counted downwards, so that the smallest value fits. */
    if (!negative && ns == INT64_MIN)
        return fail_syntax(d, wanted);
    *ret = negative ? ns : -ns;
    return 0;
}

/* A scalar as text: strings as they are, numbers and words as written. */
static int scalar_text(struct decoder *d, const struct json_value *v, struct str *ret) {
    if (v->type == JSON_STRING)
        return string_text(d, v, ret);
    *ret = v->raw;
    return 0;
}

/* The object of structured metadata, opened; null counts as {}. Scalars become text, null values are dropped. */
static int decode_metadata(struct decoder *d, const struct json_value *opened, struct entry *e) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return fail_syntax(d, "an object of structured metadata before here");
    bool first = true;
    struct json_value key, value;
    while (json_next_member(&d->r, &first, &key, &value)) {
        if (is_container(value.type))
            return fail_syntax(d, "metadata values that are strings");
        struct str name, text;
        int r = string_text(d, &key, &name);
        if (r == 0)
            r = scalar_text(d, &value, &text);
        if (r < 0)
            return r;
        if (value.type != JSON_NULL && !decoded_add_meta(d->out, e, name, text))
            return fail_memory(d);
    }
    return value.type == JSON_ERROR ? fail_syntax(d, "a metadata name") : 0;
}

/* One [time, line, {metadata}] of "values", opened. Items behind the third are ignored. */
static int decode_value(struct decoder *d, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(d->out, s);
    if (!e)
        return fail_memory(d);
    bool first = true;
    struct json_value v;
    size_t count = 0;
    for (; json_next_item(&d->r, &first, &v); count++) {
        int r;
        if (count == 0)
            r = decode_nanoseconds(d, &v, &e->ts_ns);
        else if (count == 1)
            r = v.type == JSON_STRING ? string_text(d, &v, &e->line)
                                      : fail_syntax(d, "a line that is a string before here");
        else if (count == 2)
            r = decode_metadata(d, &v, e);
        else
            r = skip_value(d, &v);
        if (r < 0)
            return r;
    }
    if (v.type == JSON_ERROR)
        return fail_syntax(d, "an item of an entry");
    return count > 0 ? 0 : fail_syntax(d, "an entry with a time before here");
}

static int decode_values(struct decoder *d, const struct json_value *opened,
                         struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return fail_syntax(d, "an array of entries before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&d->r, &first, &v)) {
        if (v.type != JSON_ARRAY)
            return fail_syntax(d, "an entry: [\"time\", \"line\"]");
        int r = decode_value(d, s);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(d, "an entry") : 0;
}

/* A label's value: scalars as text, objects and arrays as their raw JSON. */
static int label_text(struct decoder *d, const struct json_value *v, struct str *ret) {
    if (!is_container(v->type))
        return scalar_text(d, v, ret);
    const char *start = d->r.at - 1;
    if (!json_skip_rest(&d->r, v->type))
        return fail_syntax(d, "the rest of a label's value");
    *ret = str_make(start, (size_t)(d->r.at - start));
    return 0;
}

/* The pairs of a "stream" object whose bytes have been checked. */
static int decode_labels(struct decoder *d, struct decoded_stream *s) {
    struct json_reader outer = d->r;
    d->r = json_reader_make(s->labels_key);
    size_t count = 0, capacity = 16;
    struct label *items = arena_array(d->out->arena, capacity, sizeof(*items));
    struct json_value key = json_next(&d->r), value;
    assert(key.type == JSON_OBJECT);
    bool first = true;
    int r = items ? 0 : fail_memory(d);
    while (r == 0 && json_next_member(&d->r, &first, &key, &value)) {
        if (count == capacity) {
            struct label *more = arena_array(d->out->arena, capacity * 2, sizeof(*items));
            if (!more) {
                r = fail_memory(d);
                break;
            }
            memcpy(more, items, count * sizeof(*items));
            items = more;
            capacity *= 2;
        }
        r = string_text(d, &key, &items[count].name);
        if (r == 0)
            r = label_text(d, &value, &items[count].value);
        count++;
    }
    if (r == 0)
        s->labels = (struct labels){.items = items, .count = count};
    d->r = outer;
    return r;
}

/* The "stream" object, opened. Clients send the same object again and again (Fluent Bit: a stream object for each
 * line), so equal bytes share the pairs of the stream before. */
static int decode_stream_object(struct decoder *d, const struct json_value *opened,
                                struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return fail_syntax(d, "an object of labels before here");
    const char *start = d->r.at - 1;
    if (!json_skip_rest(&d->r, JSON_OBJECT))
        return fail_syntax(d, "labels");
    s->labels_key = str_make(start, (size_t)(d->r.at - start));
    if (s->labels_key.size > PUSH_LABELS_TEXT_MAX)
        return err_set(d->reterr, -E2BIG,
                       "request body too large: the labels of a stream have more than %d bytes",
                       PUSH_LABELS_TEXT_MAX);
    if (s > d->out->streams && str_eq(s[-1].labels_key, s->labels_key)) {
        s->labels = s[-1].labels;
        return 0;
    }
    return decode_labels(d, s);
}

/* A legacy time; one that does not parse fails the request. */
static int decode_rfc3339(struct decoder *d, const struct json_value *v, int64_t *ret) {
    const char *wanted = "an RFC 3339 time as a string before here";
    if (v->type != JSON_STRING)
        return fail_syntax(d, wanted);
    struct str text;
    int r = string_text(d, v, &text);
    if (r < 0)
        return r;
    return time_parse_rfc3339(text, ret) == 0 ? 0 : fail_syntax(d, wanted);
}

/* One {"ts": .., "line": ..} of "entries", opened. */
static int decode_legacy_entry(struct decoder *d, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(d->out, s);
    if (!e)
        return fail_memory(d);
    bool first = true;
    struct json_value key, v;
    while (json_next_member(&d->r, &first, &key, &v)) {
        int r;
        if (str_eq(key.raw, STR("ts")) || str_eq(key.raw, STR("timestamp")))
            r = decode_rfc3339(d, &v, &e->ts_ns);
        else if (str_eq(key.raw, STR("line")))
            r = v.type == JSON_STRING ? string_text(d, &v, &e->line)
                                      : fail_syntax(d, "a line that is a string before here");
        else if (str_eq(key.raw, STR("structuredMetadata")))
            r = decode_metadata(d, &v, e);
        else
            r = skip_value(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(d, "a member of an entry") : 0;
}

static int decode_legacy_entries(struct decoder *d, const struct json_value *opened,
                                 struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return fail_syntax(d, "an array of entries before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&d->r, &first, &v)) {
        if (v.type != JSON_OBJECT)
            return fail_syntax(d, "an entry: {\"ts\": .., \"line\": ..}");
        int r = decode_legacy_entry(d, s);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(d, "an entry") : 0;
}

static int decode_legacy_labels(struct decoder *d, const struct json_value *v,
                                struct decoded_stream *s) {
    if (v->type == JSON_NULL)
        return 0;
    if (v->type != JSON_STRING)
        return fail_syntax(d, "a string of labels before here");
    if (v->raw.size > PUSH_LABELS_TEXT_MAX)
        return err_set(d->reterr, -E2BIG,
                       "request body too large: the labels of a stream have more than %d bytes",
                       PUSH_LABELS_TEXT_MAX);
    return string_text(d, v, &s->labels_text);
}

/* One stream, opened. */
static int decode_stream(struct decoder *d, const struct json_value *opened) {
    struct decoded_stream *s = decoded_add_stream(d->out);
    if (!s)
        return fail_memory(d);
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return fail_syntax(d, "a stream object before here");
    bool first = true;
    struct json_value key, v;
    while (json_next_member(&d->r, &first, &key, &v)) {
        int r;
        if (str_eq(key.raw, STR("stream")))
            r = decode_stream_object(d, &v, s);
        else if (str_eq(key.raw, STR("values")))
            r = decode_values(d, &v, s);
        else if (str_eq(key.raw, STR("labels")))
            r = decode_legacy_labels(d, &v, s);
        else if (str_eq(key.raw, STR("entries")))
            r = decode_legacy_entries(d, &v, s);
        else
            r = skip_value(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(d, "a member of a stream") : 0;
}

static int decode_streams(struct decoder *d, const struct json_value *opened) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return fail_syntax(d, "an array of streams before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&d->r, &first, &v)) {
        int r = decode_stream(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(d, "a stream") : 0;
}

int push_json_decode(struct str body, struct decoded_push *out, struct err *reterr) {
    struct decoder d = {
        .r = json_reader_make(body), .start = body.data, .out = out, .reterr = reterr};
    if (str_trim(body).size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    struct json_value v = json_next(&d.r), key;
    if (v.type == JSON_NULL)
        return 0;
    if (v.type != JSON_OBJECT) {
        d.r.at = str_trim(body).data;
        return fail_syntax(&d, "an object with \"streams\"");
    }
    bool first = true;
    while (json_next_member(&d.r, &first, &key, &v)) {
        int r = str_eq(key.raw, STR("streams")) ? decode_streams(&d, &v) : skip_value(&d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? fail_syntax(&d, "a member of the push") : 0;
}
