#include "json_decoder.h"

#include <assert.h>

#include "arena.h"

/* Room for lines with escapes is taken from the arena in such steps, and given up with less left. */
enum { ROOM_STEP = 256 << 10, ROOM_LEAST = 4 << 10 };

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

/* Unescapes into room that is made for many lines. */
static const char *take_escaped(struct json_decoder *d, const char *from, struct str *ret) {
    size_t left = (size_t)(d->r.end - from);
    if (d->room_size < ROOM_LEAST) {
        size_t size = left + ROOM_LEAST < ROOM_STEP ? left + ROOM_LEAST : ROOM_STEP;
        d->room = arena_alloc(d->out->arena, size);
        d->room_size = d->room ? size : 0;
    }
    const char *p = from;
    int64_t size = json_unescape_to_quote(&p, d->r.end, d->room, d->room_size);
    if (size < 0)
        return NULL;
    *ret = str_make(d->room, (size_t)size);
    d->room += size;
    d->room_size -= (size_t)size;
    return p;
}

const char *json_decoder_line(struct json_decoder *d, const char *from, struct str *ret) {
    const char *p = json_plain_end(from, d->r.end);
    if (!p)
        return NULL;
    struct json_value v = {.type = JSON_STRING, .raw = str_make(from, (size_t)(p - from))};
    if (*p == '\\') {
        const char *quote = take_escaped(d, from, ret);
        if (quote)
            return quote;
        p = json_string_end(from, d->r.end, &v.escaped);
        if (!p)
            return NULL;
        v.raw.size = (size_t)(p - from);
    }
    return json_decoder_string(d, &v, ret) == 0 ? p : NULL;
}
