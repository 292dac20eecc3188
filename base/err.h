/* err: the text of a failure, for people. Filled once, where the cause is known; the code that is
 * returned beside it is 0 or negative: an errno or one of the project's causes below. */
#pragma once

enum err_cause {
    ECORRUPT = 2001, /* stored bytes do not check out */
    ESYNTAX = 2002,  /* text that a person or client wrote does not parse */
    EREFUSED = 2003, /* understood, but outside a limit or not allowed */
    EBUSYNOW = 2004, /* overload: come again later */
    EEXPIRED = 2005, /* deadline passed */
    EFORMAT = 2006,  /* a format version that this build does not know */
};

enum { ERR_TEXT_MAX = 1536 };

struct err {
    char text[ERR_TEXT_MAX];
};

/* Writes the text (cut at ERR_TEXT_MAX - 1 bytes) and returns `code`. `err` may be NULL. */
int err_set(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the present text. Returns `code`. */
int err_prefix(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Text of a code: strerror's for an errno, a phrase for a cause. */
const char *err_name(int code);
