#include "push_proto.h"

#include <assert.h>
#include <errno.h>

#include "bytes.h"

/* The messages, by field number (all others are skipped, in any order; the last of a repeated scalar counts):
 *
 *   PushRequest   1 streams (repeated StreamAdapter)
 *   StreamAdapter 1 labels text   2 entries (repeated EntryAdapter)   3 hash, ignored
 *   EntryAdapter  1 Timestamp     2 line     3 structured metadata (repeated LabelPairAdapter)
 *   LabelPair     1 name          2 value, missing = empty
 *   Timestamp     1 seconds       2 nanos
 *
 * Each message is read by one small function; the nesting is fixed, so nothing here recurses on input. */

enum {
    WIRE_VARINT = 0,
    WIRE_I64 = 1,
    WIRE_LEN = 2,
    WIRE_GROUP = 3,
    WIRE_GROUP_END = 4,
    WIRE_I32 = 5
};
enum { NANOS_MAX = 999999999 };

struct field {
    uint32_t number;
    unsigned wire;
    uint64_t varint;
    struct str bytes; /* WIRE_LEN */
};

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static struct reader reader_of(struct str s) {
    const uint8_t *p = (const uint8_t *)s.data;
    return (struct reader){.at = p, .end = p + s.size};
}

/* One- and two-byte varints are nearly all that occur. */
static inline bool read_varint(struct reader *r, uint64_t *ret) {
    if (r->at < r->end && *r->at < 0x80) {
        *ret = *r->at++;
        return true;
    }
    const uint8_t *p = get_varint(r->at, r->end, ret);
    if (!p)
        return false;
    r->at = p;
    return true;
}

static bool skip_bytes(struct reader *r, size_t count) {
    if (count > (size_t)(r->end - r->at))
        return false;
    r->at += count;
    return true;
}

/* Reads a tag; false at a tag that protobuf does not allow. */
static inline bool read_tag(struct reader *r, uint32_t *ret_number, unsigned *ret_wire) {
    uint64_t tag;
    if (!read_varint(r, &tag) || tag > UINT32_MAX || tag < 8)
        return false;
    *ret_number = (uint32_t)(tag >> 3);
    *ret_wire = (unsigned)(tag & 7);
    return true;
}

static bool read_value(struct reader *r, struct field *f) {
    uint64_t size;
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(r, &f->varint);
    case WIRE_I64:
        return skip_bytes(r, 8);
    case WIRE_I32:
        return skip_bytes(r, 4);
    case WIRE_LEN:
        if (!read_varint(r, &size) || size > (size_t)(r->end - r->at))
            return false;
        f->bytes = str_make((const char *)r->at, (size_t)size);
        r->at += size;
        return true;
    default:
        return false;
    }
}

/* Skips an (obsolete) group whose start tag has been read; groups may nest, so their depth is counted. */
static bool skip_group(struct reader *r) {
    size_t depth = 1;
    while (depth > 0) {
        struct field f;
        if (!read_tag(r, &f.number, &f.wire))
            return false;
        if (f.wire == WIRE_GROUP)
            depth++;
        else if (f.wire == WIRE_GROUP_END)
            depth--;
        else if (!read_value(r, &f))
            return false;
    }
    return true;
}

/* The next field: 1, 0 at the end, -ESYNTAX when malformed. A skipped group comes back with its number and the
 * wire type WIRE_GROUP, which no caller wants. */
static inline int next_field(struct reader *r, struct field *f) {
    if (r->at == r->end)
        return 0;
    if (!read_tag(r, &f->number, &f->wire))
        return -ESYNTAX;
    if (f->wire == WIRE_GROUP)
        return skip_group(r) ? 1 : -ESYNTAX;
    return read_value(r, f) ? 1 : -ESYNTAX;
}

/* A field that we know must have the wire type that we know. */
static inline bool wire_is(const struct field *f, unsigned wire) {
    return f->wire == wire;
}

static int64_t timestamp_ns(int64_t seconds, int32_t nanos) {
    int64_t ns;
    if (__builtin_mul_overflow(seconds, INT64_C(1000000000), &ns) ||
        __builtin_add_overflow(ns, (int64_t)nanos, &ns))
        return seconds < 0 ? PUSH_TS_TOO_OLD : PUSH_TS_TOO_NEW;
    return ns;
}

static int decode_timestamp(struct str bytes, int64_t *ret_ns) {
    struct reader r = reader_of(bytes);
    struct field f;
    int64_t seconds = 0;
    int64_t nanos = 0;
    int n;
    while ((n = next_field(&r, &f)) > 0) {
        if (f.number > 2)
            continue;
        if (!wire_is(&f, WIRE_VARINT))
            return -ESYNTAX;
        if (f.number == 1)
            seconds = (int64_t)f.varint;
        else
            nanos = (int64_t)f.varint;
    }
    if (n < 0 || nanos < 0 || nanos > NANOS_MAX)
        return -ESYNTAX;
    *ret_ns = timestamp_ns(seconds, (int32_t)nanos);
    return 0;
}

static int decode_pair(struct str bytes, struct decoded_push *out, struct entry *e) {
    struct reader r = reader_of(bytes);
    struct field f;
    struct str name = STR(""), value = STR("");
    int n;
    while ((n = next_field(&r, &f)) > 0) {
        if (f.number > 2)
            continue;
        if (!wire_is(&f, WIRE_LEN))
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

static int decode_entry(struct str bytes, struct decoded_push *out, struct decoded_stream *s) {
    struct entry *e = decoded_add_entry(out, s);
    if (!e)
        return -ENOMEM;
    struct reader r = reader_of(bytes);
    struct field f;
    int n;
    while ((n = next_field(&r, &f)) > 0) {
        if (f.number > 3)
            continue;
        if (!wire_is(&f, WIRE_LEN))
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
    struct reader r = reader_of(bytes);
    struct field f;
    int n;
    while ((n = next_field(&r, &f)) > 0) {
        if (f.number > 2)
            continue;
        if (!wire_is(&f, WIRE_LEN))
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
    return n;
}

static int fail(int code, const struct decoded_push *out, struct str body, const struct reader *r,
                struct err *reterr) {
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
    struct reader r = reader_of(body);
    struct field f;
    int n;
    while ((n = next_field(&r, &f)) > 0) {
        if (f.number != 1)
            continue;
        int status = wire_is(&f, WIRE_LEN) ? decode_stream(f.bytes, out) : -ESYNTAX;
        if (status < 0)
            return fail(status, out, body, &r, reterr);
    }
    return n < 0 ? fail(n, out, body, &r, reterr) : 0;
}
