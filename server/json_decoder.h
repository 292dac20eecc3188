/* json_decoder: what the JSON push decoders share: a reader with the texts of its errors,
 * strings into the arena. All functions that return int give 0, or a negative error with its
 * text in reterr. */
#pragma once

#include "decoded.h"
#include "err.h"
#include "json.h"
#include "str.h"

struct json_decoder {
    struct json_reader r;
    const char *start;
    struct decoded_push *out;
    struct err *reterr;
    char *room; /* of the arena: where the next line with escapes goes */
    size_t room_size;
};

static inline bool json_is_container(enum json_type t) {
    return t == JSON_OBJECT || t == JSON_ARRAY;
}

/* -ESYNTAX at the place where the reader stands. */
int json_decoder_fail(const struct json_decoder *d, const char *expected);

/* Skips a value that has been begun with json_next and friends. */
int json_decoder_skip(struct json_decoder *d, const struct json_value *v);

/* The text of a string: a view when it holds no escapes, else unescaped into the arena. */
int json_decoder_string(struct json_decoder *d, const struct json_value *v, struct str *ret);

/* The same of the line that begins at `from`, as long as it is nothing out of the ordinary: returns its closing quote. NULL
 * says no more than that it has to be read as a value. */
const char *json_decoder_line(struct json_decoder *d, const char *from, struct str *ret);
