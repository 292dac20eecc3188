/* copy (private to the compactor): files from one folder into another. Paths are relative to the folders; folders that
 * are missing in the target are made. */
#pragma once

#include <stdbool.h>

#include "err.h"

/* All of these put the file under its name when it is complete and durable (its folder's entry is not synced). */

/* A hard link where that is possible, unless `copy`. 0 also when it is there already. */
int copy_file(int from_fd, const char *from, int to_fd, const char *to, bool copy);
/* A file that may be growing and is zeros from some place on: what it has now, most of the zeros left out. */
int copy_growing(int from_fd, const char *from, int to_fd, const char *to);

/* Removes a folder and all in it; 0 also when it is not there. */
int copy_remove_tree(int dir_fd, const char *path);
