#include "push_json.h"

#include <assert.h>
#include <errno.h>

#include "bytes.h"
#include "json_decoder.h"
#include "units.h"

/* The two shapes, told apart by the keys of each stream object, so both work on either path:
 *
 *   v1      {"streams":[{"stream":{"app":"x"},"values":[["1767607201000000000","line",{"meta":"data"}], ..]}, ..]}
 *   legacy  {"streams":[{"labels":"{app=\"x\"}","entries":[{"ts":"2026-01-05T10:00:01Z","line":".."}, ..]}, ..]}
 *
 * Keys may come in any order, unknown ones are skipped. What stands behind the document is not
 * looked at, as clients that pad their bodies rely on. */

/* Nanoseconds as decimal digits; everything else is a mistake that fails the request, as clients
 * that send floats or other units would otherwise lose their lines one by one. */
static int decode_nanoseconds(struct json_decoder *d, const struct json_value *v, int64_t *ret) {
    const char *wanted = "a string of nanoseconds before here";
    if (v->type != JSON_STRING || v->escaped || v->raw.size == 0)
        return json_decoder_fail(d, wanted);
    const char *p = v->raw.data, *end = p + v->raw.size;
    bool negative = *p == '-';
    if (negative && ++p == end)
        return json_decoder_fail(d, wanted);
    int64_t ns = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9 || __builtin_mul_overflow(ns, 10, &ns) ||
            __builtin_sub_overflow(ns, (int64_t)digit, &ns))
            return json_decoder_fail(d, wanted);
    }
    /* Counted downwards, so that the smallest value fits. */
    if (!negative && ns == INT64_MIN)
        return json_decoder_fail(d, wanted);
    *ret = negative ? ns : -ns;
    return 0;
}

/* A scalar as text: strings as they are, numbers and words as written. */
static int scalar_text(struct json_decoder *d, const struct json_value *v, struct str *ret) {
    if (v->type == JSON_STRING)
        return json_decoder_string(d, v, ret);
    *ret = v->raw;
    return 0;
}

/* The object of structured metadata, opened; null counts as {}. Scalars become text, null values
 * are dropped. */
static int decode_metadata(struct json_decoder *d, const struct json_value *opened,
                           struct entry *e) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return json_decoder_fail(d, "an object of structured metadata before here");
    bool first = true;
    struct json_value key, value;
    while (json_next_member(&d->r, &first, &key, &value)) {
        if (json_is_container(value.type))
            return json_decoder_fail(d, "metadata values that are strings");
        struct str name, text;
        int r = json_decoder_string(d, &key, &name);
        if (r == 0)
            r = scalar_text(d, &value, &text);
        if (r < 0)
            return r;
        if (value.type != JSON_NULL && !decoded_add_meta(d->out, e, name, text))
            return decoded_error(d->out, d->reterr);
    }
    return value.type == JSON_ERROR ? json_decoder_fail(d, "a metadata name") : 0;
}

/* One [time, line, {metadata}] of "values", of which `count` items have been read. Items behind the third are
 * ignored. */
static int decode_items(struct json_decoder *d, struct entry *e, size_t count) {
    bool first = count == 0;
    struct json_value v;
    for (; json_next_item(&d->r, &first, &v); count++) {
        int r;
        if (count == 0)
            r = decode_nanoseconds(d, &v, &e->ts_ns);
        else if (count == 1)
            r = v.type == JSON_STRING ? json_decoder_string(d, &v, &e->line)
                                      : json_decoder_fail(d, "a line that is a string before here");
        else if (count == 2)
            r = decode_metadata(d, &v, e);
        else
            r = json_decoder_skip(d, &v);
        if (r < 0)
            return r;
    }
    if (v.type == JSON_ERROR)
        return json_decoder_fail(d, "an item of an entry");
    return count > 0 ? 0 : json_decoder_fail(d, "an entry with a time before here");
}

/* An entry, opened. */
static int decode_value(struct json_decoder *d, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(d->out, s);
    return e ? decode_items(d, e, 0) : decoded_error(d->out, d->reterr);
}

/* The value of eight digits, or UINT64_MAX when not all are digits. */
static uint64_t eight_digits(const char *p) {
    uint64_t x = get_le64(p) ^ UINT64_C(0x3030303030303030);
    if (((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080))
        return UINT64_MAX;
    x = x * 10 + (x >> 8); /* pairs stand in the even bytes */
    x = ((x & UINT64_C(0x000000FF000000FF)) * (100 + (UINT64_C(1000000) << 32)) +
         (x >> 16 & UINT64_C(0x000000FF000000FF)) * (1 + (UINT64_C(10000) << 32))) >>
        32;
    return x & UINT32_MAX;
}

/* The time of 19 digits at p, below the largest; -1 when it is anything else. */
static int64_t plain_time(const char *p) {
    uint64_t high = eight_digits(p), middle = eight_digits(p + 8), low = 0;
    for (int i = 16; i < 19; i++) {
        unsigned digit = (unsigned)(unsigned char)p[i] - '0';
        if (digit > 9)
            return -1;
        low = low * 10 + digit;
    }
    if (high >= 90000000 || middle == UINT64_MAX)
        return -1;
    return (int64_t)((high * 100000000 + middle) * 1000 + low);
}

/* An entry that is spelled as nearly all are: ["19 digits","line" without blanks, behind its comma if one is due. 1
 * when it was one, 0 when it has to be looked at more closely; the reader has not moved then. */
static int decode_plain_value(struct json_decoder *d, struct decoded_stream *s, bool first) {
    enum { TIME = 2, TIME_SIZE = 19, LINE = TIME + TIME_SIZE + 3 };
    const char *p = d->r.at, *end = d->r.end;
    if (!first && p < end && *p++ != ',')
        return 0;
    if (end - p < LINE + 2 || memcmp(p, "[\"", TIME) != 0 ||
        memcmp(p + TIME + TIME_SIZE, "\",\"", 3) != 0)
        return 0;
    int64_t time_ns = plain_time(p + TIME);
    struct str line;
    const char *quote = time_ns < 0 ? NULL : json_decoder_line(d, p + LINE, &line);
    if (!quote || quote + 1 == end)
        return 0;
    struct entry *e = decoded_add_entry(d->out, s);
    if (!e)
        return decoded_error(d->out, d->reterr);
    e->ts_ns = time_ns;
    e->line = line;
    d->r.at = quote + 1;
    if (*d->r.at == ']') {
        d->r.at++;
        return 1;
    }
    int r = decode_items(d, e, 2);
    return r < 0 ? r : 1;
}

static int decode_values(struct json_decoder *d, const struct json_value *opened,
                         struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return json_decoder_fail(d, "an array of entries before here");
    bool first = true;
    for (;;) {
        int r;
        while ((r = decode_plain_value(d, s, first)) > 0)
            first = false;
        struct json_value v;
        if (r < 0)
            return r;
        if (!json_next_item(&d->r, &first, &v))
            return v.type == JSON_ERROR ? json_decoder_fail(d, "an entry") : 0;
        if (v.type != JSON_ARRAY)
            return json_decoder_fail(d, "an entry: [\"time\", \"line\"]");
        r = decode_value(d, s);
        if (r < 0)
            return r;
    }
}

/* A label's value: scalars as text, objects and arrays as their raw JSON. */
static int label_text(struct json_decoder *d, const struct json_value *v, struct str *ret) {
    if (!json_is_container(v->type))
        return scalar_text(d, v, ret);
    const char *start = d->r.at - 1;
    if (!json_skip_rest(&d->r, v->type))
        return json_decoder_fail(d, "the rest of a label's value");
    *ret = str_make(start, (size_t)(d->r.at - start));
    return 0;
}

/* The pairs of a "stream" object whose bytes have been checked. */
static int decode_labels(struct json_decoder *d, struct decoded_stream *s) {
    struct json_reader outer = d->r;
    d->r = json_reader_make(s->labels_key);
    size_t count = 0, capacity = 16;
    struct label *items = arena_array(d->out->arena, capacity, sizeof(*items));
    struct json_value key = json_next(&d->r), value;
    assert(key.type == JSON_OBJECT);
    bool first = true;
    int r = items ? 0 : decoded_error(d->out, d->reterr);
    while (r == 0 && json_next_member(&d->r, &first, &key, &value)) {
        if (count == capacity) {
            struct label *more = arena_array(d->out->arena, capacity * 2, sizeof(*items));
            if (!more) {
                r = decoded_error(d->out, d->reterr);
                break;
            }
            memcpy(more, items, count * sizeof(*items));
            items = more;
            capacity *= 2;
        }
        r = json_decoder_string(d, &key, &items[count].name);
        if (r == 0)
            r = label_text(d, &value, &items[count].value);
        count++;
    }
    if (r == 0)
        s->labels = (struct labels){.items = items, .count = count};
    d->r = outer;
    return r;
}

/* The "stream" object, opened. Clients send the same object again and again (Fluent Bit: a
 * stream object for each line), so equal bytes share the pairs of the stream before. */
static int decode_stream_object(struct json_decoder *d, const struct json_value *opened,
                                struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return json_decoder_fail(d, "an object of labels before here");
    const char *start = d->r.at - 1;
    if (!json_skip_rest(&d->r, JSON_OBJECT))
        return json_decoder_fail(d, "labels");
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
static int decode_rfc3339(struct json_decoder *d, const struct json_value *v, int64_t *ret) {
    const char *wanted = "an RFC 3339 time as a string before here";
    if (v->type != JSON_STRING)
        return json_decoder_fail(d, wanted);
    struct str text;
    int r = json_decoder_string(d, v, &text);
    if (r < 0)
        return r;
    return time_parse_rfc3339(text, ret) == 0 ? 0 : json_decoder_fail(d, wanted);
}

/* One {"ts": .., "line": ..} of "entries", opened. */
static int decode_legacy_entry(struct json_decoder *d, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(d->out, s);
    if (!e)
        return decoded_error(d->out, d->reterr);
    bool first = true;
    struct json_value key, v;
    while (json_next_member(&d->r, &first, &key, &v)) {
        int r;
        if (str_eq(key.raw, STR("ts")) || str_eq(key.raw, STR("timestamp")))
            r = decode_rfc3339(d, &v, &e->ts_ns);
        else if (str_eq(key.raw, STR("line")))
            r = v.type == JSON_STRING ? json_decoder_string(d, &v, &e->line)
                                      : json_decoder_fail(d, "a line that is a string before here");
        else if (str_eq(key.raw, STR("structuredMetadata")))
            r = decode_metadata(d, &v, e);
        else
            r = json_decoder_skip(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(d, "a member of an entry") : 0;
}

static int decode_legacy_entries(struct json_decoder *d, const struct json_value *opened,
                                 struct decoded_stream *s) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return json_decoder_fail(d, "an array of entries before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&d->r, &first, &v)) {
        if (v.type != JSON_OBJECT)
            return json_decoder_fail(d, "an entry: {\"ts\": .., \"line\": ..}");
        int r = decode_legacy_entry(d, s);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(d, "an entry") : 0;
}

static int decode_legacy_labels(struct json_decoder *d, const struct json_value *v,
                                struct decoded_stream *s) {
    if (v->type == JSON_NULL)
        return 0;
    if (v->type != JSON_STRING)
        return json_decoder_fail(d, "a string of labels before here");
    if (v->raw.size > PUSH_LABELS_TEXT_MAX)
        return err_set(d->reterr, -E2BIG,
                       "request body too large: the labels of a stream have more than %d bytes",
                       PUSH_LABELS_TEXT_MAX);
    return json_decoder_string(d, v, &s->labels_text);
}

/* One stream, opened. */
static int decode_stream(struct json_decoder *d, const struct json_value *opened) {
    struct decoded_stream *s = decoded_add_stream(d->out);
    if (!s)
        return decoded_error(d->out, d->reterr);
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_OBJECT)
        return json_decoder_fail(d, "a stream object before here");
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
            r = json_decoder_skip(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(d, "a member of a stream") : 0;
}

static int decode_streams(struct json_decoder *d, const struct json_value *opened) {
    if (opened->type == JSON_NULL)
        return 0;
    if (opened->type != JSON_ARRAY)
        return json_decoder_fail(d, "an array of streams before here");
    bool first = true;
    struct json_value v;
    while (json_next_item(&d->r, &first, &v)) {
        int r = decode_stream(d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(d, "a stream") : 0;
}

int push_json_decode(struct str body, struct decoded_push *out, struct err *reterr) {
    struct json_decoder d = {
        .r = json_reader_make(body), .start = body.data, .out = out, .reterr = reterr};
    if (str_trim(body).size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    decoded_expect(out, body.size);
    struct json_value v = json_next(&d.r), key;
    if (v.type == JSON_NULL)
        return 0;
    if (v.type != JSON_OBJECT) {
        d.r.at = str_trim(body).data;
        return json_decoder_fail(&d, "an object with \"streams\"");
    }
    bool first = true;
    while (json_next_member(&d.r, &first, &key, &v)) {
        int r =
            str_eq(key.raw, STR("streams")) ? decode_streams(&d, &v) : json_decoder_skip(&d, &v);
        if (r < 0)
            return r;
    }
    return v.type == JSON_ERROR ? json_decoder_fail(&d, "a member of the push") : 0;
}
