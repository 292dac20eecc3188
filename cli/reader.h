/* reader: lines of a file or of standard input, with their times; a followed file is read on
 * when it grows, is cut or is replaced; a renamed one is read to its end first, and so are others that came between. One
 * thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "positions.h"
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

struct reader_options {
    bool follow, forced_now;
    /* Where an earlier run has stopped, and which renamed files are done; NULL = from the beginning. */
    struct positions *positions;
};

/* `path` "-" is standard input. */
int reader_open(const char *path, const struct reader_options *o, struct reader **ret,
                struct err *reterr);
void reader_close(struct reader *s);

/* The place behind the lines given so far. */
void reader_get_place(struct reader *s, struct place *ret);
/* False when another reader of this file would read the same. */
bool reader_has(const struct reader *s, uint64_t device, uint64_t inode);
/* A file, not a pipe. */
bool reader_is_file(const struct reader *s);

/* The next line that has been read: without line break; lives until the next reader_fill. */
enum reader_state reader_next(struct reader *s, struct str *ret_line, int64_t *ret_ns);

/* Reads on. Waits up to `timeout_ms` for standard input or a followed file. 1 = read something
 * or reached the end, 0 = nothing came (or a signal did), negative = trouble. */
int reader_fill(struct reader *s, int timeout_ms, struct err *reterr);

/* Where the line given last begins in its file. */
uint64_t reader_line_offset(const struct reader *s);

/* Lines that were cut into pieces. */
uint64_t reader_cut_lines(const struct reader *s);
