#include "push_body.h"

#include <assert.h>
#include <errno.h>

#include "inflate.h"
#include "push_json.h"
#include "push_proto.h"

enum { HEADER_VALUE_MAX = 256, INFLATE_RATIO_GUESS = 8 };

void push_body_done(struct push_body *b) {
    buf_done(&b->plain);
    buf_done(&b->outer);
}

/* "Application/JSON; charset=utf-8" -> "application/json", in its own case; empty when there is
 * no type. */
static struct str media_type(struct str header) {
    const char *semicolon = header.size > 0 ? memchr(header.data, ';', header.size) : NULL;
    if (semicolon)
        header.size = (size_t)(semicolon - header.data);
    return str_trim(header);
}

static char first_byte(struct str body) {
    struct str text = str_trim(body);
    return text.size > 0 ? text.data[0] : '\0';
}

enum coding {
    CODING_NONE,
    CODING_GZIP,
    CODING_DEFLATE,
    CODING_SNAPPY,
    CODING_ZSTD,
    CODING_LZ4,
    CODING_OTHER
};

static enum coding coding_of(struct str header) {
    static const struct {
        struct str name;
        enum coding coding;
    } names[] = {
        {{"", 0}, CODING_NONE},           {{"identity", 8}, CODING_NONE},
        {{"gzip", 4}, CODING_GZIP},       {{"x-gzip", 6}, CODING_GZIP},
        {{"deflate", 7}, CODING_DEFLATE}, {{"snappy", 6}, CODING_SNAPPY},
        {{"zstd", 4}, CODING_ZSTD},       {{"lz4", 3}, CODING_LZ4},
    };
    struct str name = str_trim(header);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_eq_nocase(names[i].name, name))
            return names[i].coding;
    }
    return CODING_OTHER;
}

static int fail_encoding(struct str header, struct err *reterr) {
    if (header.size > HEADER_VALUE_MAX)
        header.size = HEADER_VALUE_MAX;
    struct buf quoted = buf_make(8 * HEADER_VALUE_MAX);
    go_quote(&quoted, header);
    int r =
        err_set(reterr, -ESYNTAX, "Content-Encoding %.*s not supported", STR_ARG(buf_str(&quoted)));
    buf_done(&quoted);
    return r;
}

/* A stream that was cut is good enough when the document in it is whole, as what stands behind
 * the document is never looked at. */
static int decode_packed_json(enum encoding e, struct push_body *b, struct str body,
                              struct decoded_push *out, struct err *reterr) {
    int r = inflate_body(e, body, &b->plain, reterr);
    if (r < 0 && r != -ENODATA)
        return r;
    bool cut = r == -ENODATA;
    r = push_json_decode(buf_str(&b->plain), out, reterr);
    return cut && r == -ESYNTAX ? err_set(reterr, r, "unexpected EOF") : r;
}

static int decode_json(struct push_body *b, const struct push_content *c, struct decoded_push *out,
                       struct err *reterr) {
    switch (coding_of(c->encoding)) {
    case CODING_NONE:
        break;
    case CODING_GZIP:
        return decode_packed_json(ENC_GZIP, b, c->body, out, reterr);
    case CODING_DEFLATE:
        return decode_packed_json(ENC_DEFLATE, b, c->body, out, reterr);
    case CODING_SNAPPY: {
        /* Clients that say snappy send either form. Text that begins a JSON document is no
         * snappy block. */
        int r = inflate_body(ENC_SNAPPY, c->body, &b->plain, reterr);
        if (r == 0)
            return push_json_decode(buf_str(&b->plain), out, reterr);
        if (r != -ESYNTAX)
            return r;
        break;
    }
    case CODING_ZSTD: /* Vector's; Loki refuses this one and lz4 */
        return decode_packed_json(ENC_ZSTD, b, c->body, out, reterr);
    case CODING_LZ4:
        return decode_packed_json(ENC_LZ4_FRAME, b, c->body, out, reterr);
    case CODING_OTHER:
        return fail_encoding(c->encoding, reterr);
    }
    return push_json_decode(c->body, out, reterr);
}

/* Everything that is not called JSON is a snappy block of protobuf, whatever else the headers
 * say; a body that is no snappy block but begins as JSON is taken as JSON. */
static int decode_other(struct push_body *b, const struct push_content *c, struct decoded_push *out,
                        struct err *reterr) {
    struct str block = c->body;
    if (coding_of(c->encoding) == CODING_GZIP) {
        int r = inflate_body(ENC_GZIP, c->body, &b->outer, reterr);
        if (r < 0)
            return r == -ENODATA ? -ESYNTAX : r;
        block = buf_str(&b->outer);
    }
    struct err snappy_err = {0};
    int r = inflate_body(ENC_SNAPPY, block, &b->plain, &snappy_err);
    if (r == 0) {
        b->packed = block;
        return push_proto_decode(buf_str(&b->plain), out, reterr);
    }
    if (r == -ESYNTAX && first_byte(block) == '{')
        return push_json_decode(block, out, reterr);
    if (r == -ESYNTAX && media_type(c->type).size == 0)
        return err_set(reterr, r, "mime: no media type");
    return err_set(reterr, r, "%s", snappy_err.text);
}

/* ---- OTLP: the type says protobuf or JSON and nothing is guessed; other codings, none that
 * wrap. */

static int inflate_otlp(struct push_body *b, const struct push_content *c, struct str *ret,
                        struct err *reterr) {
    enum encoding e;
    switch (coding_of(c->encoding)) {
    case CODING_NONE:
        *ret = c->body;
        return 0;
    case CODING_GZIP:
        e = ENC_GZIP;
        break;
    case CODING_ZSTD:
        e = ENC_ZSTD;
        break;
    case CODING_LZ4:
        e = ENC_LZ4_FRAME;
        break;
    case CODING_DEFLATE:
    case CODING_SNAPPY:
    case CODING_OTHER:
    default:
        return err_set(
            reterr, -ESYNTAX,
            "unsupported content encoding %.*s: only gzip, lz4 and zstd are supported",
            (int)(c->encoding.size < HEADER_VALUE_MAX ? c->encoding.size : HEADER_VALUE_MAX),
            c->encoding.data);
    }
    int r = inflate_body(e, c->body, &b->plain, reterr);
    *ret = buf_str(&b->plain);
    return r == -ENODATA ? -ESYNTAX : r;
}

static int decode_otlp(struct push_body *b, const struct push_content *c, struct decoded_push *out,
                       struct err *reterr) {
    struct str type = media_type(c->type), body;
    bool is_json = str_eq_nocase(type, STR("application/json"));
    if (!is_json && !str_eq_nocase(type, STR("application/x-protobuf")))
        return err_set(reterr, -ESYNTAX, "content type: %.*s is not supported",
                       (int)(type.size < HEADER_VALUE_MAX ? type.size : HEADER_VALUE_MAX),
                       type.data);
    int r = inflate_otlp(b, c, &body, reterr);
    if (r < 0)
        return r;
    return is_json ? otlp_json_decode(body, &c->otlp_options, out, reterr)
                   : otlp_proto_decode(body, &c->otlp_options, out, reterr);
}

int push_body_decode(struct push_body *b, const struct push_content *c, struct decoded_push *out,
                     struct err *reterr) {
    assert(b->plain.max > 0);
    if (c->otlp)
        return decode_otlp(b, c, out, reterr);
    if (str_eq_nocase(media_type(c->type), STR("application/json")))
        return decode_json(b, c, out, reterr);
    return decode_other(b, c, out, reterr);
}

size_t push_body_size_guess(const struct push_content *c) {
    enum coding coding = coding_of(c->encoding);
    if (coding == CODING_GZIP || coding == CODING_DEFLATE || coding == CODING_ZSTD ||
        coding == CODING_LZ4)
        return c->body.size * INFLATE_RATIO_GUESS;
    if (c->otlp)
        return c->body.size;
    bool is_json = str_eq_nocase(media_type(c->type), STR("application/json"));
    if (is_json && coding != CODING_SNAPPY)
        return c->body.size;
    size_t declared = inflate_snappy_size(c->body);
    return declared > c->body.size ? declared : c->body.size;
}
