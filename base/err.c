#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return code;
}

int err_prefix(struct err *err, int code, const char *format, ...) {
    if (!err)
        return code;
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof(old));
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t at = (size_t)n;
    if (at + 3 > sizeof(err->text))
        return code;
    size_t size = strnlen(old, sizeof(err->text) - at - 3);
    memcpy(err->text + at, ": ", 2);
    memcpy(err->text + at + 2, old, size);
    err->text[at + 2 + size] = '\0';
    return code;
}

const char *err_name(int code) {
    int cause = code < 0 ? -code : code;
    switch (cause) {
    case ECORRUPT:
        return "corrupt data";
    case ESYNTAX:
        return "syntax error";
    case EREFUSED:
        return "refused";
    case EBUSYNOW:
        return "overloaded";
    case EEXPIRED:
        return "deadline exceeded";
    case EFORMAT:
        return "unknown format version";
    default:
        return strerror(cause);
    }
}
