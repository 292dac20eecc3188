/* scratch: a folder for an index that nobody keeps: in memory (/dev/shm) where that is possible, else in TMPDIR. The
 * folder is dropped as soon as its files are open, so that nothing stays behind however the process ends. */
#pragma once

enum { SCRATCH_PATH_MAX = 512 };

/* Makes the folder; a negative errno when there is no place for one. */
int scratch_make(char ret_path[static SCRATCH_PATH_MAX]);
/* Removes LMDB's files from it. */
void scratch_empty(const char *path);
/* Removes it, files included. */
void scratch_drop(const char *path);
