/* infile: the bytes of a file or of standard input; gzip, zstd and lz4 (frames) are recognised by their first bytes and
 * decompressed, also when several stand one behind the other. One thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "err.h"

struct infile;

/* `path` "-" is standard input. */
int infile_open(const char *path, struct infile **ret, struct err *reterr);
void infile_close(struct infile *f);

/* Up to `size` bytes; 0 = the end. -ECORRUPT for compressed data that is damaged or cut off. */
ssize_t infile_read(struct infile *f, void *to, size_t size, struct err *reterr);
