/* rotation: what has become of a file that was given another name: PATH.1, PATH-20261121 and their like beside it.
 * Compressed ones are not looked at: their lines were there before in plain. */
#pragma once

#include <stdint.h>

#include "positions.h"

/* The name that the file of this inode has now; NULL = gone. The caller frees. */
char *rotation_find(const char *path, uint64_t device, uint64_t inode);

/* The file to read behind one that was last written at `modified_ns`: the oldest of the renamed ones that were written
 * later and not read yet; NULL = `path` itself is next. */
char *rotation_next(const char *path, const struct positions *positions, uint64_t device,
                    uint64_t inode, int64_t modified_ns);
