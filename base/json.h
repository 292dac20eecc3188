/* json: the pieces of JSON that run per byte: finding the end of a string, unescaping it, and writing.
 * Documents off the hot path (configuration, small answers) use jansson instead. Any thread.
 *
 * Reading works on a `struct json_reader`, a pull reader over borrowed bytes that never allocates:
 * strings come back raw (between the quotes) with a flag telling whether they need unescaping. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

enum json_type {
    JSON_ERROR, /* malformed here; reader.at stands at the offending byte */
    JSON_END,   /* no value: end of input, or the end of the present object or array */
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_reader {
    const char *at;
    const char *end;
};

struct json_value {
    enum json_type type;
    bool escaped;   /* JSON_STRING: holds backslashes */
    struct str raw; /* string without quotes; number or literal text; empty for object and array */
};

static inline struct json_reader json_reader_make(struct str text) {
    return (struct json_reader){.at = text.data, .end = text.data + text.size};
}

/* Reads the next value. For JSON_OBJECT and JSON_ARRAY only the opening bracket is consumed: go on with
 * json_next_member/json_next_item until they give JSON_END, or json_skip_rest. Numbers are validated
 * by JSON's grammar. Control characters inside strings are accepted (real logs hold them). */
struct json_value json_next(struct json_reader *r);

/* The next member of the object just opened. `first` must be true before the first call and is kept by the
 * function. JSON_END at '}' (consumed). The value's type is returned through ret_value. */
bool json_next_member(struct json_reader *r, bool *first, struct json_value *ret_key,
                      struct json_value *ret_value);

/* The next item of the array just opened; same rules. */
bool json_next_item(struct json_reader *r, bool *first, struct json_value *ret_value);

/* Skips what is left of a value whose opening bracket has been consumed; nothing for scalars. False when
 * malformed or nested deeper than JSON_DEPTH_MAX. */
enum { JSON_DEPTH_MAX = 128 };
bool json_skip_rest(struct json_reader *r, enum json_type opened);

/* The closing quote of a string whose opening quote stands before p, or NULL; sets *escaped when a
 * backslash was seen. SIMD where the machine has it. */
const char *json_string_end(const char *p, const char *end, bool *escaped);

/* The first quote or backslash; NULL when there is none. */
const char *json_plain_end(const char *p, const char *end);

/* The UTF-16 unit of the "\uXXXX" at p, or -1 when there is none. */
int32_t json_read_u16(const char *p, const char *end);

/* Unescapes `raw` into out (room for raw.size bytes); returns the size written, or -1 on a bad escape. Lone
 * surrogates become U+FFFD. The output never exceeds the input. */
int64_t json_unescape(struct str raw, char *out);

/* Unescapes the string that begins at *p up to its closing quote, which *p then stands at: in one pass, 64 bytes at a time.
 * Up to `room` bytes of out may be written, whatever the size that is returned. -1 when that is too little, the string
 * ends badly or near `end`, or the machine cannot: nothing has been decided then. */
int64_t json_unescape_to_quote(const char **p, const char *end, char *out, size_t room);

/* The same as json_unescape, faster, where JSON_ROOM bytes behind `raw` can be read and as many behind out + raw.size
 * written (what is there does not matter, and is not kept). Not in place. */
enum { JSON_ROOM = 80 };
int64_t json_unescape_roomy(struct str raw, char *out);

/* Writes a quoted, escaped string. Invalid UTF-8 becomes U+FFFD. Control characters, '"', '\\' are escaped,
 * and <, >, & and U+2028/9 as \u003c etc. the way Go's encoder does. SIMD fast path for plain runs. */
void json_write_string(struct buf *out, struct str s);

/* The same, but <, > and & stay as they are: JSON that is kept as text rather than sent. */
void json_write_string_plain(struct buf *out, struct str s);
