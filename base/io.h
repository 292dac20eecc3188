/* io: the one seam between the store and the operating system's files. storage and compactor call files
 * only through it, so that tests can fail or tear any call (io_set_hook) without touching the code under
 * test. All return 0 (or a count or fd) or a negative errno; EINTR is retried; short reads and writes are
 * completed. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"

enum io_op {
    IO_OPEN,
    IO_READ,
    IO_WRITE,
    IO_FSYNC,
    IO_RENAME,
    IO_LINK,
    IO_UNLINK,
    IO_MKDIR,
    IO_TRUNCATE,
    IO_ALLOCATE,
    IO_MMAP,
    IO_CLOSE,
    IO_LIST,
    IO_COMMIT, /* LMDB commit, asked by index.c */
    IO_LOCK,
};

/* Called before each operation with its path or NULL; a negative return is given to the caller instead of
 * doing the operation. NULL (the default) = no hook. For tests; set before threads start. */
typedef int io_hook(enum io_op op, const char *path, void *ctx);
void io_set_hook(io_hook *hook, void *ctx);
int io_hook_ask(enum io_op op, const char *path);

int io_open(int dir_fd, const char *path, int flags, unsigned mode);
void io_close(int fd);
/* Shall what is written go past the page cache? It must then be whole 4 KiB pages, in memory and in the file. -EINVAL where
 * the file system cannot. */
int io_set_direct(int fd, bool direct);
int io_write_all(int fd, const void *data, size_t size);
int io_pwrite_all(int fd, const void *data, size_t size, uint64_t offset);
/* Bytes read; less than size only at end of file. */
ssize_t io_pread_all(int fd, void *data, size_t size, uint64_t offset);
/* The same as far as no disk has to be waited for: -EAGAIN when one has, or when the file system cannot tell. */
ssize_t io_pread_now(int fd, void *data, size_t size, uint64_t offset);
/* Does the page cache have the byte at `offset`, which must be in the file? */
bool io_is_cached(int fd, uint64_t offset);
int io_fsync(int fd);
int io_fdatasync(int fd);
/* fsync of a folder, by name. */
int io_fsync_dir(int dir_fd, const char *path);
int io_rename(int from_dir_fd, const char *from, int to_dir_fd, const char *to);
/* A second name of a file; -EXDEV across file systems, -EEXIST. */
int io_link(int from_dir_fd, const char *from, int to_dir_fd, const char *to);
int io_unlink(int dir_fd, const char *path);
int io_rmdir(int dir_fd, const char *path);
/* mkdir -p below dir_fd; fsyncs each parent in which it made something. A folder whose parent could not be synced is
 * removed again: the next attempt must not take it for durable. */
int io_mkdirs(int dir_fd, const char *path, unsigned mode);
int io_truncate(int fd, uint64_t size);
/* Reserves space and sets the size; -ENOSPC when the disk is full; quietly does ftruncate where the file
 * system cannot. */
int io_allocate(int fd, uint64_t size);
/* Reserves the blocks of the first `size` bytes and leaves the file's size alone. */
int io_reserve(int fd, uint64_t size);
int io_file_size(int fd, uint64_t *ret_size);
/* The first byte from `offset` on that may be other than zero for want of anything written there; `size`, the file's, when
 * there is none. */
uint64_t io_skip_hole(int fd, uint64_t offset, uint64_t size);
/* Hints: the file will be read in places far apart; these bytes of it soon, so the disk may begin now. */
void io_read_at_random(int fd);
void io_will_need(int fd, uint64_t offset, size_t size);
/* Read-only shared map, read at random; offset must be page-aligned. */
int io_mmap(int fd, uint64_t offset, size_t size, void **ret);
void io_munmap(void *map, size_t size);
/* Will be read soon: the kernel may begin now. `map` must be page-aligned. */
void io_map_will_need(void *map, size_t size);
/* Takes the file's exclusive lock, which ends with its last descriptor. -EWOULDBLOCK: another process has it. */
int io_lock(int fd);
/* Free bytes and size of the file system that holds dir_fd. */
int io_disk_space(int dir_fd, uint64_t *ret_free, uint64_t *ret_total);
/* Whole file into `out` (bounded by out->max). */
int io_read_file(int dir_fd, const char *path, struct buf *out);
/* Writes temp + fsync + rename + fsync dir. */
int io_write_file_durable(int dir_fd, const char *path, struct str content);

/* Calls fn for each name in the folder ("." and ".." left out) until it returns non-zero, which is passed
 * on. */
typedef int io_list_fn(const char *name, bool is_dir, void *ctx);
int io_list(int dir_fd, const char *path, io_list_fn *fn, void *ctx);
