#include "push_proto.h"

#include <assert.h>
#include <errno.h>

#include "wire.h"

/* The messages, by field number (all others are skipped, in any order; the last of a repeated
 * scalar counts):
 *
 *   PushRequest   1 streams (repeated StreamAdapter)
 *   StreamAdapter 1 labels text   2 entries (repeated EntryAdapter)   3 hash, ignored
 *   EntryAdapter  1 Timestamp     2 line     3 structured metadata (repeated LabelPairAdapter)
 *   LabelPair     1 name          2 value, missing = empty
 *   Timestamp     1 seconds       2 nanos
 *
 * Each message is read by one small function; the nesting is fixed, so nothing here recurses on
 * input. */

enum { NANOS_MAX = 999999999 };

static int64_t timestamp_ns(int64_t seconds, int32_t nanos) {
    int64_t ns;
    if (__builtin_mul_overflow(seconds, INT64_C(1000000000), &ns) ||
        __builtin_add_overflow(ns, (int64_t)nanos, &ns))
        return seconds < 0 ? PUSH_TS_TOO_OLD : PUSH_TS_TOO_NEW;
    return ns;
}

static int decode_timestamp(struct str bytes, int64_t *ret_ns) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    int64_t seconds = 0;
    int64_t nanos = 0;
    int n;
    while ((n = wire_next(&r, &f)) > 0) {
        if (f.number > 2)
            continue;
        if (f.wire != WIRE_VARINT)
            return -ESYNTAX;
        if (f.number == 1)
            seconds = (int64_t)f.number_value;
        else
            nanos = (int64_t)f.number_value;
    }
    if (n < 0 || nanos < 0 || nanos > NANOS_MAX)
        return -ESYNTAX;
    *ret_ns = timestamp_ns(seconds, (int32_t)nanos);
    return 0;
}

static int decode_pair(struct str bytes, struct decoded_push *out, struct entry *e) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    struct str name = STR(""), value = STR("");
    int n;
    while ((n = wire_next(&r, &f)) > 0) {
        if (f.number > 2)
            continue;
        if (f.wire != WIRE_LEN)
            return -ESYNTAX;
        if (f.number == 1)
            name = f.bytes;
        else
            value = f.bytes;
    }
    if (n < 0)
        return n;
    return decoded_add_meta(out, e, name, value) ? 0 : -ENOMEM;
}

/* Time and line as nearly all clients write them: first in the entry, in this order, the time's fields once each.
 * Moves behind them; anything else is left to be read field by field. */
static inline bool take_plain_front(struct wire_reader *r, struct entry *e) {
    enum {
        TIMESTAMP = 1 << 3 | WIRE_LEN,
        LINE = 2 << 3 | WIRE_LEN,
        SECONDS = 1 << 3,
        NANOS = 2 << 3
    };
    const uint8_t *p = r->at;
    uint64_t seconds = 0, nanos = 0, size = 0;
    if (r->end - p < 6 || p[0] != TIMESTAMP || p[1] > 0x7f || p[1] >= r->end - p - 2 ||
        p[2] != SECONDS)
        return false;
    const uint8_t *end = p + 2 + p[1];
    p = get_varint(p + 3, r->end, &seconds);
    if (p && p < end && *p == NANOS)
        p = get_varint(p + 1, r->end, &nanos);
    if (p != end || seconds > (uint64_t)INT64_MAX / 1000000000 - 1 || nanos > NANOS_MAX ||
        *p != LINE)
        return false;
    p = get_varint(p + 1, r->end, &size);
    if (!p || size > (size_t)(r->end - p))
        return false;
    e->ts_ns = (int64_t)(seconds * 1000000000 + nanos);
    e->line = str_make((const char *)p, (size_t)size);
    r->at = p + size;
    return true;
}

/* An entry that is nothing but a time and a line, as nearly all are. False when it has to be read field by field; the
 * reader has not moved then. */
static inline bool take_plain_entry(struct wire_reader *r, struct entry *e) {
    enum { ENTRY = 2 << 3 | WIRE_LEN };
    uint64_t size;
    if (r->end - r->at < 2 || *r->at != ENTRY)
        return false;
    const uint8_t *p = get_varint(r->at + 1, r->end, &size);
    if (!p || size > (size_t)(r->end - p))
        return false;
    struct wire_reader inner = {.at = p, .end = p + size};
    if (!take_plain_front(&inner, e) || inner.at != inner.end)
        return false;
    r->at = inner.end;
    return true;
}

static int decode_entry(struct str bytes, struct decoded_push *out, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(out, s);
    if (!e)
        return -ENOMEM;
    struct wire_reader r = wire_reader_make(bytes);
    (void)take_plain_front(&r, e);
    struct wire_field f = {0};
    int n;
    while ((n = wire_next(&r, &f)) > 0) {
        if (f.number > 3)
            continue;
        if (f.wire != WIRE_LEN)
            return -ESYNTAX;
        int status = 0;
        if (f.number == 1)
            status = decode_timestamp(f.bytes, &e->ts_ns);
        else if (f.number == 2)
            e->line = f.bytes;
        else
            status = decode_pair(f.bytes, out, e);
        if (status < 0)
            return status;
    }
    return n;
}

static int decode_stream(struct str bytes, struct decoded_push *out) {
    struct decoded_stream *s = decoded_add_stream(out);
    if (!s)
        return -ENOMEM;
    s->labels_text = STR("");
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    struct entry plain;
    int n;
    for (;;) {
        while (take_plain_entry(&r, &plain)) {
            struct entry *e = decoded_add_entry(out, s);
            if (!e)
                return -ENOMEM;
            e->ts_ns = plain.ts_ns;
            e->line = plain.line;
        }
        n = wire_next(&r, &f);
        if (n <= 0)
            return n;
        if (f.number > 2)
            continue;
        if (f.wire != WIRE_LEN)
            return -ESYNTAX;
        if (f.number == 1) {
            if (f.bytes.size > PUSH_LABELS_TEXT_MAX)
                return -E2BIG;
            s->labels_text = f.bytes;
            continue;
        }
        int status = decode_entry(f.bytes, out, s);
        if (status < 0)
            return status;
    }
}

static int fail(int code, const struct decoded_push *out, struct str body,
                const struct wire_reader *r, struct err *reterr) {
    if (code == -ENOMEM)
        return decoded_error(out, reterr);
    if (code == -E2BIG)
        return err_set(reterr, code,
                       "request body too large: the labels of a stream have more than %d bytes",
                       PUSH_LABELS_TEXT_MAX);
    assert(code == -ESYNTAX);
    return err_set(reterr, code,
                   "malformed protobuf push: in the field that ends at byte %zu of %zu",
                   (size_t)(r->at - (const uint8_t *)body.data), body.size);
}

int push_proto_decode(struct str body, struct decoded_push *out, struct err *reterr) {
    if (body.size == 0)
        return 0;
    decoded_expect(out, body.size);
    struct wire_reader r = wire_reader_make(body);
    struct wire_field f = {0};
    int n;
    while ((n = wire_next(&r, &f)) > 0) {
        if (f.number != 1)
            continue;
        int status = f.wire == WIRE_LEN ? decode_stream(f.bytes, out) : -ESYNTAX;
        if (status < 0)
            return fail(status, out, body, &r, reterr);
    }
    return n < 0 ? fail(n, out, body, &r, reterr) : 0;
}
