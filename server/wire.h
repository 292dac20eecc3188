/* wire: reading protobuf messages field by field. Strings and messages come as views; nothing is
 * allocated. All is inline, as it runs for each field of each pushed line. Any thread. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "err.h"
#include "str.h"

enum {
    WIRE_VARINT = 0,
    WIRE_I64 = 1,
    WIRE_LEN = 2,
    WIRE_GROUP = 3,
    WIRE_GROUP_END = 4,
    WIRE_I32 = 5
};

struct wire_field {
    uint32_t number;
    unsigned wire;
    uint64_t number_value; /* WIRE_VARINT, WIRE_I64, WIRE_I32 */
    struct str bytes;      /* WIRE_LEN */
};

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct wire_reader wire_reader_make(struct str s) {
    const uint8_t *p = (const uint8_t *)s.data;
    return (struct wire_reader){.at = p, .end = p + s.size};
}

/* One- and two-byte varints are nearly all that occur. */
static inline bool wire_read_varint(struct wire_reader *r, uint64_t *ret) {
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

/* Steps over `count` bytes; NULL when they are not there. */
static inline const uint8_t *wire_take(struct wire_reader *r, uint64_t count) {
    if (count > (size_t)(r->end - r->at))
        return NULL;
    const uint8_t *p = r->at;
    r->at += count;
    return p;
}

/* Reads a tag; false at a tag that protobuf does not allow. */
static inline bool wire_read_tag(struct wire_reader *r, uint32_t *ret_number, unsigned *ret_wire) {
    uint64_t tag;
    if (!wire_read_varint(r, &tag) || tag > UINT32_MAX || tag < 8)
        return false;
    *ret_number = (uint32_t)(tag >> 3);
    *ret_wire = (unsigned)(tag & 7);
    return true;
}

static inline bool wire_read_value(struct wire_reader *r, struct wire_field *f) {
    const uint8_t *p;
    uint64_t size;
    switch (f->wire) {
    case WIRE_VARINT:
        return wire_read_varint(r, &f->number_value);
    case WIRE_I64:
        p = wire_take(r, 8);
        if (p)
            f->number_value = get_le64(p);
        return p != NULL;
    case WIRE_I32:
        p = wire_take(r, 4);
        if (p)
            f->number_value = get_le32(p);
        return p != NULL;
    case WIRE_LEN:
        if (!wire_read_varint(r, &size))
            return false;
        p = wire_take(r, size);
        f->bytes = str_make((const char *)p, (size_t)size);
        return p != NULL;
    default:
        return false;
    }
}

/* Skips an (obsolete) group whose start tag has been read; groups may nest, so their depth is
 * counted. */
static inline bool wire_skip_group(struct wire_reader *r) {
    size_t depth = 1;
    while (depth > 0) {
        struct wire_field f;
        if (!wire_read_tag(r, &f.number, &f.wire))
            return false;
        if (f.wire == WIRE_GROUP)
            depth++;
        else if (f.wire == WIRE_GROUP_END)
            depth--;
        else if (!wire_read_value(r, &f))
            return false;
    }
    return true;
}

/* The next field: 1, 0 at the end, -ESYNTAX when malformed. A skipped group comes back with its
 * number and the wire type WIRE_GROUP, which no caller wants. */
static inline int wire_next(struct wire_reader *r, struct wire_field *f) {
    if (r->at == r->end)
        return 0;
    if (!wire_read_tag(r, &f->number, &f->wire))
        return -ESYNTAX;
    if (f->wire == WIRE_GROUP)
        return wire_skip_group(r) ? 1 : -ESYNTAX;
    return wire_read_value(r, f) ? 1 : -ESYNTAX;
}
