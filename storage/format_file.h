/* format_file: DATA/format, which says of what format the directory is: version, then flag words. Any thread. */
#pragma once

#include <stdbool.h>

#include "err.h"

/* Bits of the incompatible word that this build writes and understands. */
enum {
    FORMAT_WAL_BODIES = 1,     /* the WAL may hold WALREC_PUSH_BODY */
    FORMAT_SLICED_FILTERS = 2, /* the filters of chunk files may be sliced */
    FORMAT_PACKS = 4,          /* chunks may stand in packs */
};
enum { FORMAT_INCOMPAT_KNOWN = FORMAT_WAL_BODIES | FORMAT_SLICED_FILTERS | FORMAT_PACKS };

/* 0: this build understands the directory; *ret_is_latest: the file says what this build would write. -ENOENT: there is
 * no such file; -EFORMAT: of another version, or with flags that this build does not know. `dir` is for texts. */
int format_file_check(int dir_fd, const char *dir, bool *ret_is_latest, struct err *reterr);
int format_file_write(int dir_fd);
