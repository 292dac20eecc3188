#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "err.h"
#include "units.h"

enum {
    LOG_LINE_MAX = 4096,   /* PIPE_BUF: one write of that size to a pipe is not mixed with others */
    LOG_QUOTED_MAX = 1024, /* a quoted value is cut there */
    LOG_QUOTED_COUNT = 4,
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static _Atomic int lowest_level = LOG_INFO;

void log_set_level(enum log_level level) {
    atomic_store_explicit(&lowest_level, (int)level, memory_order_relaxed);
}

int log_level_parse(struct str text, enum log_level *ret) {
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (str_eq(text, str_from(level_names[i]))) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -ESYNTAX;
}

static bool needs_quotes(struct str value) {
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = (uint8_t)value.data[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return true;
    }
    return value.size == 0;
}

/* Writes at most `room` bytes, the closing quote and the NUL included; returns the size without NUL. */
static size_t write_quoted(char *out, size_t room, struct str value) {
    enum { LONGEST_ESCAPE = 6 };
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < value.size && at + LONGEST_ESCAPE + 2 <= room; i++) {
        uint8_t c = (uint8_t)value.data[i];
        const char *short_form = c == '"'    ? "\\\""
                                 : c == '\\' ? "\\\\"
                                 : c == '\n' ? "\\n"
                                 : c == '\r' ? "\\r"
                                 : c == '\t' ? "\\t"
                                             : NULL;
        if (short_form) {
            out[at++] = short_form[0];
            out[at++] = short_form[1];
        } else if (c < ' ' || c == 0x7f) {
            memcpy(out + at, "\\u00", 4);
            out[at + 4] = hex[c >> 4];
            out[at + 5] = hex[c & 15];
            at += LONGEST_ESCAPE;
        } else {
            out[at++] = (char)c;
        }
    }
    out[at++] = '"';
    out[at] = '\0';
    return at;
}

const char *log_quote(struct str value) {
    static _Thread_local char ring[LOG_QUOTED_COUNT][LOG_QUOTED_MAX];
    static _Thread_local unsigned turn;
    char *out = ring[turn++ % LOG_QUOTED_COUNT];
    if (needs_quotes(value) || value.size >= LOG_QUOTED_MAX) {
        (void)write_quoted(out, LOG_QUOTED_MAX, value);
        return out;
    }
    memcpy(out, value.data, value.size);
    out[value.size] = '\0';
    return out;
}

const char *log_quotez(const char *value) {
    return log_quote(str_from(value));
}

/* "2026-11-21T02:29:00.123Z" */
static void write_time(char *out, size_t room) {
    int64_t now_ns = clock_now_ns();
    int32_t day = time_day(now_ns);
    int64_t ms = (now_ns - day * NS_PER_DAY) / NS_PER_MS;
    char date[11];
    day_format(date, day);
    (void)snprintf(out, room, "%sT%02d:%02d:%02d.%03dZ", date, (int)(ms / 3600000),
                   (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
}

void log_line(enum log_level level, const char *msg, const char *pairs, ...) {
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    char line[LOG_LINE_MAX], when[48];
    write_time(when, sizeof(when));
    int n = snprintf(line, sizeof(line), "ts=%s level=%s msg=", when, level_names[level]);
    size_t at = n > 0 ? (size_t)n : 0;
    at += write_quoted(line + at, sizeof(line) - at, str_from(msg));
    if (at + 2 < sizeof(line)) {
        va_list args;
        va_start(args, pairs);
        size_t room = sizeof(line) - at - 1;
        n = vsnprintf(line + at + 1, room, pairs, args);
        va_end(args);
        if (n > 0) {
            line[at++] = ' ';
            at += (size_t)n < room ? (size_t)n : room - 1;
        }
    }
    line[at++] = '\n';
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line, at);
    } while (written < 0 && errno == EINTR);
    errno = saved_errno;
}
