#include "otlp.h"

#include <errno.h>

#include "otlp_map.h"
#include "wire.h"

/* The messages, by field number (all others are skipped, in any order; the last of a repeated
 * scalar counts):
 *
 *   ExportLogsServiceRequest  1 resource_logs (repeated)
 *   ResourceLogs              1 resource   2 scope_logs (repeated)
 *   Resource                  1 attributes (repeated KeyValue)
 *   ScopeLogs                 1 scope   2 log_records (repeated)
 *   InstrumentationScope      1 name   2 version   3 attributes (repeated)
 *                             4 dropped_attributes_count
 *   LogRecord                 1 time_unix_nano (I64)   2 severity_number   3 severity_text
 *                             5 body (AnyValue)   6 attributes (repeated)
 *                             7 dropped_attributes_count   8 flags (I32)   9 trace_id
 *                             10 span_id   11 observed_time_unix_nano (I64)   12 event_name
 *   KeyValue                  1 key   2 value (AnyValue)
 *   AnyValue                  1 string   2 bool   3 int   4 double (I64)   5 ArrayValue
 *                             6 KeyValueList   7 bytes
 *   ArrayValue, KeyValueList  1 values (repeated)
 *
 * Only AnyValue nests; its depth is counted. */

struct otlp_proto {
    struct otlp_builder b;
    const char *start;
    size_t size;
};

static int malformed(const struct otlp_proto *p, const struct wire_reader *r) {
    return err_set(p->b.reterr, -ESYNTAX, "malformed OTLP protobuf: near byte %zu of %zu",
                   (size_t)((const char *)r->at - p->start), p->size);
}

/* The next field that the message knows: 1, 0 at the end, -ESYNTAX. `wires` holds the wire type
 * of each field by its number, as a character; '-' where there is none. */
static int next_known(const struct otlp_proto *p, struct wire_reader *r, struct wire_field *f,
                      struct str wires) {
    int n;
    while ((n = wire_next(r, f)) > 0) {
        if (f->number >= wires.size || wires.data[f->number] == '-')
            continue;
        if (f->wire != (unsigned)(wires.data[f->number] - '0'))
            break;
        return 1;
    }
    return n == 0 ? 0 : malformed(p, r);
}

/* ---- values */

static int decode_value(struct otlp_proto *p, struct str bytes, unsigned depth,
                        struct otlp_value *ret);

static int decode_key_value(struct otlp_proto *p, struct str bytes, unsigned depth,
                            struct str *ret_key, struct otlp_value *ret) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    *ret_key = STR("");
    *ret = (struct otlp_value){0};
    int n;
    while ((n = next_known(p, &r, &f, STR("-22"))) > 0) {
        if (f.number == 1) {
            *ret_key = f.bytes;
            continue;
        }
        int status = decode_value(p, f.bytes, depth, ret);
        if (status < 0)
            return status;
    }
    return n;
}

/* ArrayValue or KeyValueList. */
static int decode_container(struct otlp_proto *p, struct str bytes, unsigned depth,
                            struct otlp_value *ret) {
    if (depth >= OTLP_DEPTH_MAX)
        return otlp_too_deep(p->b.reterr);
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    int n;
    while ((n = next_known(p, &r, &f, STR("-2"))) > 0) {
        struct str key = STR("");
        struct otlp_value item;
        int status = ret->type == OTLP_MAP ? decode_key_value(p, f.bytes, depth + 1, &key, &item)
                                           : decode_value(p, f.bytes, depth + 1, &item);
        if (status == 0 && otlp_value_add(p->b.out->arena, ret, key, &item) < 0)
            status = decoded_error(p->b.out, p->b.reterr);
        if (status < 0)
            return status;
    }
    return n;
}

static int decode_value(struct otlp_proto *p, struct str bytes, unsigned depth,
                        struct otlp_value *ret) {
    static const enum otlp_type types[] = {OTLP_EMPTY,  OTLP_TEXT, OTLP_BOOL, OTLP_INT,
                                           OTLP_DOUBLE, OTLP_LIST, OTLP_MAP,  OTLP_BYTES};
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    *ret = (struct otlp_value){0};
    int n;
    while ((n = next_known(p, &r, &f, STR("-2001222"))) > 0) {
        int status = 0;
        *ret = (struct otlp_value){.type = types[f.number]};
        if (ret->type == OTLP_LIST || ret->type == OTLP_MAP)
            status = decode_container(p, f.bytes, depth, ret);
        else if (ret->type == OTLP_BOOL)
            ret->boolean = f.number_value != 0;
        else if (ret->type == OTLP_INT)
            ret->integer = (int64_t)f.number_value;
        else if (ret->type == OTLP_DOUBLE)
            memcpy(&ret->real, &f.number_value, sizeof(ret->real));
        else
            ret->text = f.bytes;
        if (status < 0)
            return status;
    }
    return n;
}

static int decode_attribute(struct otlp_proto *p, struct str bytes, enum otlp_owner owner) {
    struct str key;
    struct otlp_value value;
    int r = decode_key_value(p, bytes, 0, &key, &value);
    return r < 0 ? r : otlp_add_attribute(&p->b, owner, key, &value);
}

/* ---- records, scopes, resources */

static int decode_record_field(struct otlp_proto *p, const struct wire_field *f,
                               struct otlp_record *record) {
    switch (f->number) {
    case 1:
        record->time_ns = f->number_value;
        break;
    case 2:
        record->severity_number = (int32_t)(uint32_t)f->number_value;
        break;
    case 3:
        record->severity_text = f->bytes;
        break;
    case 5:
        return decode_value(p, f->bytes, 0, &record->body);
    case 6:
        return decode_attribute(p, f->bytes, OTLP_OF_RECORD);
    case 7:
        record->dropped_attributes_count = (uint32_t)f->number_value;
        break;
    case 8:
        record->flags = f->number_value;
        break;
    case 9:
        record->trace_id = f->bytes;
        break;
    case 10:
        record->span_id = f->bytes;
        break;
    case 11:
        record->observed_ns = f->number_value;
        break;
    default:
        record->event_name = f->bytes;
        break;
    }
    return 0;
}

static int decode_record(struct otlp_proto *p, struct str bytes) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    struct otlp_record record = {0};
    otlp_begin_record(&p->b);
    int n;
    while ((n = next_known(p, &r, &f, STR("-102-22052212"))) > 0) {
        int status = decode_record_field(p, &f, &record);
        if (status < 0)
            return status;
    }
    return n < 0 ? n : otlp_end_record(&p->b, &record);
}

static int decode_scope(struct otlp_proto *p, struct str bytes, struct otlp_scope *scope) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    int n;
    while ((n = next_known(p, &r, &f, STR("-2220"))) > 0) {
        int status = 0;
        if (f.number == 1)
            scope->name = f.bytes;
        else if (f.number == 2)
            scope->version = f.bytes;
        else if (f.number == 3)
            status = decode_attribute(p, f.bytes, OTLP_OF_SCOPE);
        else
            scope->dropped_attributes_count = (uint32_t)f.number_value;
        if (status < 0)
            return status;
    }
    return n;
}

static int decode_scope_logs(struct otlp_proto *p, struct str bytes) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    struct otlp_scope scope = {0};
    otlp_begin_scope(&p->b);
    int n;
    while ((n = next_known(p, &r, &f, STR("-22"))) > 0) {
        int status = f.number == 1 ? decode_scope(p, f.bytes, &scope) : decode_record(p, f.bytes);
        if (status < 0)
            return status;
    }
    return n < 0 ? n : otlp_end_scope(&p->b, &scope);
}

static int decode_resource(struct otlp_proto *p, struct str bytes) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    int n;
    while ((n = next_known(p, &r, &f, STR("-2"))) > 0) {
        int status = decode_attribute(p, f.bytes, OTLP_OF_RESOURCE);
        if (status < 0)
            return status;
    }
    return n;
}

static int decode_resource_logs(struct otlp_proto *p, struct str bytes) {
    struct wire_reader r = wire_reader_make(bytes);
    struct wire_field f = {0};
    otlp_begin_resource(&p->b);
    int n;
    while ((n = next_known(p, &r, &f, STR("-22"))) > 0) {
        int status = f.number == 1 ? decode_resource(p, f.bytes) : decode_scope_logs(p, f.bytes);
        if (status < 0)
            return status;
    }
    return n < 0 ? n : otlp_end_resource(&p->b);
}

int otlp_proto_decode(struct str body, const struct otlp_options *options, struct decoded_push *out,
                      struct err *reterr) {
    if (body.size == 0)
        return 0;
    struct otlp_proto p = {
        .b = otlp_builder_make(out, options, reterr), .start = body.data, .size = body.size};
    struct wire_reader r = wire_reader_make(body);
    struct wire_field f = {0};
    int n, status = 0;
    while (status == 0 && (n = next_known(&p, &r, &f, STR("-2"))) != 0)
        status = n < 0 ? n : decode_resource_logs(&p, f.bytes);
    otlp_builder_done(&p.b);
    return status;
}
