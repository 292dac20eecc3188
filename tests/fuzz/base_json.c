/* The JSON reader on any bytes, the unescaper on every string found, and the writer on what came out: it must
 * read back as the same text. */
#include <stdint.h>
#include <stdlib.h>

#include "json.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition)
        abort();
}

static void check_round_trip(struct str text) {
    struct buf json = buf_make(BUF_NO_MAX), want = buf_make(BUF_NO_MAX);
    json_write_string(&json, text);
    utf8_add_valid(&want, text);
    must(!json.failed && !want.failed && utf8_valid(buf_str(&json)));
    struct json_reader r = json_reader_make(buf_str(&json));
    struct json_value v = json_next(&r);
    must(v.type == JSON_STRING && r.at == r.end);
    char *back = malloc(v.raw.size + 1);
    must(back != NULL);
    int64_t size = json_unescape(v.raw, back);
    must(size >= 0 && str_eq(str_make(back, (size_t)size), buf_str(&want)));
    free(back);
    buf_done(&json);
    buf_done(&want);
}

static void check_string(struct json_value v) {
    if (v.type != JSON_STRING)
        return;
    char *out = malloc(v.raw.size > 0 ? v.raw.size : 1);
    must(out != NULL);
    int64_t size = json_unescape(v.raw, out);
    must(v.escaped || size == (int64_t)v.raw.size);
    if (size >= 0)
        check_round_trip(str_make(out, (size_t)size));
    char *roomy = calloc(1, v.raw.size + JSON_ROOM), *again = malloc(v.raw.size + JSON_ROOM);
    must(roomy != NULL && again != NULL);
    memcpy(roomy, v.raw.data, v.raw.size);
    must(json_unescape_roomy(str_make(roomy, v.raw.size), again) == size);
    must(size <= 0 || memcmp(again, out, (size_t)size) == 0);
    char *to_quote = calloc(1, v.raw.size + JSON_ROOM);
    must(to_quote != NULL);
    memcpy(to_quote, v.raw.data, v.raw.size);
    to_quote[v.raw.size] = '"';
    const char *p = to_quote;
    int64_t same = json_unescape_to_quote(&p, to_quote + v.raw.size + JSON_ROOM, again,
                                          v.raw.size + JSON_ROOM);
    must(same < 0 || (same == size && p == to_quote + v.raw.size));
    must(same <= 0 || memcmp(again, out, (size_t)size) == 0);
    free(to_quote);
    free(roomy);
    free(again);
    free(out);
}

/* Both ways over a document must agree whether it is well-formed: skipping, and walking each level. */
static bool walk(struct json_reader *r, enum json_type type, int depth) {
    if (type != JSON_OBJECT && type != JSON_ARRAY)
        return type != JSON_ERROR && type != JSON_END;
    if (depth >= JSON_DEPTH_MAX)
        return false;
    bool first = true;
    struct json_value key = {0}, value = {0};
    while (type == JSON_OBJECT ? json_next_member(r, &first, &key, &value)
                               : json_next_item(r, &first, &value)) {
        if (type == JSON_OBJECT)
            check_string(key);
        check_string(value);
        if (!walk(r, value.type, depth + 1))
            return false;
    }
    return value.type == JSON_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_make((const char *)data, size);
    struct json_reader walked = json_reader_make(text), skipped = walked;
    struct json_value v = json_next(&walked);
    check_string(v);
    bool walk_fine = walk(&walked, v.type, 0);
    bool skip_fine = json_skip_rest(&skipped, json_next(&skipped).type);
    must(walk_fine == skip_fine);
    must(!walk_fine || walked.at == skipped.at);
    must(walked.at >= text.data && walked.at <= text.data + size);
    check_round_trip(text);
    return 0;
}
