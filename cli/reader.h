/* reader: lines of a file or of standard input, with their times; a followed file is read on
 * when it grows, is cut or is replaced. One thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "stamper.h"
#include "str.h"

enum {
    READER_LINE_MAX = 256 << 10, /* Loki's max_line_size: longer lines come in pieces of it */
    READER_BUFFER_SIZE = 1 << 20,
};
static_assert(READER_LINE_MAX * 2 <= READER_BUFFER_SIZE, "a piece must fit with room to read");

struct reader;

enum reader_state {
    READER_LINE,  /* a line */
    READER_EMPTY, /* nothing now: reader_fill */
    READER_END,   /* all lines were given */
};

/* `path` "-" is standard input. */
int reader_open(const char *path, bool follow, bool forced_now, struct reader **ret,
                struct err *reterr);
void reader_close(struct reader *s);

/* The next line that has been read: without line break; lives until the next reader_fill. */
enum reader_state reader_next(struct reader *s, struct str *ret_line, int64_t *ret_ns);

/* Reads on. Waits up to `timeout_ms` for standard input or a followed file. 1 = read something
 * or reached the end, 0 = nothing came (or a signal did), negative = trouble. */
int reader_fill(struct reader *s, int timeout_ms, struct err *reterr);

/* Lines that were cut into pieces. */
uint64_t reader_cut_lines(const struct reader *s);
