/* log: the programs' own log, logfmt lines on stderr: ts=... level=info msg="..." key=value. Only server
 * and command-line tools call it; libraries return errors. Any thread; one write(2) per line. */
#pragma once

#include "str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
/* "debug", "info", "warn", "error"; -ESYNTAX otherwise. */
int log_level_parse(struct str text, enum log_level *ret);

/* `pairs` is a format whose text is appended behind msg as it is: the caller writes key=value and quotes
 * values that may hold blanks with log_quote. Empty format = no pairs. */
void log_line(enum log_level level, const char *msg, const char *pairs, ...)
    __attribute__((format(printf, 3, 4)));

/* Quotes for logfmt into a buffer of the calling thread (valid until the fourth next call). */
const char *log_quote(struct str value);
const char *log_quotez(const char *value);
