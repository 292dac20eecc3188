/* source: lines of a file or of standard input, with their times; a followed file is read on
 * when it grows, is cut or is replaced. One thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "stamper.h"
#include "str.h"

enum {
    SOURCE_LINE_MAX = 256 << 10, /* Loki's max_line_size: longer lines come in pieces of it */
    SOURCE_BUFFER_SIZE = 1 << 20,
};
static_assert(SOURCE_LINE_MAX * 2 <= SOURCE_BUFFER_SIZE, "a piece must fit with room to read");

struct source;

enum source_state {
    SOURCE_LINE,  /* a line */
    SOURCE_EMPTY, /* nothing now: source_fill */
    SOURCE_END,   /* all lines were given */
};

/* `path` "-" is standard input. */
int source_open(const char *path, bool follow, bool forced_now, struct source **ret,
                struct err *reterr);
void source_close(struct source *s);

/* The next line that has been read: without line break; lives until the next source_fill. */
enum source_state source_next(struct source *s, struct str *ret_line, int64_t *ret_ns);

/* Reads on. Waits up to `timeout_ms` for standard input or a followed file. 1 = read something
 * or reached the end, 0 = nothing came (or a signal did), negative = trouble. */
int source_fill(struct source *s, int timeout_ms, struct err *reterr);

/* Lines that were cut into pieces. */
uint64_t source_cut_lines(const struct source *s);
