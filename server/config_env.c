#include "config_env.h"

#include <errno.h>
#include <stdlib.h>

enum { NAME_MAX_BYTES = 256 };

static bool is_name_char(char c, bool first) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

static size_t name_size(struct str text) {
    size_t n = 0;
    while (n < text.size && is_name_char(text.data[n], n == 0))
        n++;
    return n;
}

/* What stands behind the name: "", ":-text", "-text", ":text", and with = instead of -. */
static bool take_default(struct str rest, struct str *ret) {
    if (rest.size > 0 && rest.data[0] == ':')
        rest = str_from_offset(rest, 1);
    else if (rest.size > 0 && rest.data[0] != '-' && rest.data[0] != '=')
        return false;
    if (rest.size > 0 && (rest.data[0] == '-' || rest.data[0] == '='))
        rest = str_from_offset(rest, 1);
    *ret = rest;
    return true;
}

static int fail(struct str text, const char *at, const char *what, struct err *reterr) {
    int line = 1;
    for (const char *c = text.data; c < at; c++)
        line += *c == '\n';
    return err_set(reterr, -ESYNTAX, "line %d: %s; ${NAME} or ${NAME:-text} is expected", line,
                   what);
}

int config_env_expand(struct str text, struct buf *out, struct err *reterr) {
    struct str rest = text;
    for (;;) {
        const char *begin = str_find(rest, STR("${"));
        if (!begin) {
            buf_add_str(out, rest);
            return out->failed ? err_set(reterr, -E2BIG, "the settings are too long") : 0;
        }
        buf_add(out, rest.data, (size_t)(begin - rest.data));
        rest = str_from_offset(rest, (size_t)(begin - rest.data) + 2);
        const char *end = memchr(rest.data, '}', rest.size);
        size_t size = name_size(rest);
        if (!end)
            return fail(text, begin, "a variable without its closing brace", reterr);
        struct str fallback;
        char name[NAME_MAX_BYTES + 1];
        size_t inner = (size_t)(end - rest.data);
        if (size == 0 || size > NAME_MAX_BYTES || size > inner ||
            !take_default(str_make(rest.data + size, inner - size), &fallback))
            return fail(text, begin, "not the name of a variable", reterr);
        memcpy(name, rest.data, size);
        name[size] = '\0';
        const char *value = getenv(name);
        buf_add_str(out, value && *value ? str_from(value) : fallback);
        rest = str_from_offset(rest, inner + 1);
    }
}
