#include "json_decoder.h"

#include <assert.h>

#include "arena.h"

int json_decoder_fail(const struct json_decoder *d, const char *expected) {
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

int json_decoder_skip(struct json_decoder *d, const struct json_value *v) {
    if (json_is_container(v->type) && !json_skip_rest(&d->r, v->type))
        return json_decoder_fail(d, "the rest of a value");
    return 0;
}

int json_decoder_string(struct json_decoder *d, const struct json_value *v, struct str *ret) {
    assert(v->type == JSON_STRING);
    if (!v->escaped) {
        *ret = v->raw;
        return 0;
    }
    char *p = arena_alloc(d->out->arena, v->raw.size + JSON_ROOM);
    if (!p)
        return decoded_error(d->out, d->reterr);
    bool roomy = d->r.end - (v->raw.data + v->raw.size) >= JSON_ROOM;
    int64_t size = roomy ? json_unescape_roomy(v->raw, p) : json_unescape(v->raw, p);
    if (size < 0)
        return json_decoder_fail(d, "a string without bad escapes before here");
    arena_trim(d->out->arena, p, (size_t)size);
    *ret = str_make(p, (size_t)size);
    return 0;
}
