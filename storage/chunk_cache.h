/* chunk_cache: opened chunk files (what their tails say), shared by all queries, least recently used ones closed
 * when the budget is exceeded. What is held can not be closed: as far as it is beyond the budget it is charged to
 * BUDGET_QUERIES, and one more chunk is refused (-ENOMEM) when that may not grow. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_shelf.h"
#include "chunk.h"
#include "err.h"
#include "index.h"

struct chunk_cache;
struct cached_chunk;

struct chunk_cache *chunk_cache_new(int dir_fd, size_t budget_bytes);
void chunk_cache_free(struct chunk_cache *c);

/* What names a chunk file (chunk_path), or its pack and place there; stream and number are what it is found by. */
struct chunk_id {
    struct str tenant;
    int32_t day;
    uint64_t stream_id, chunk_seq;
    uint64_t pack_seq, pack_offset, size; /* pack_seq 0: it has a file of its own */
    uint32_t blocks;
};
static inline struct chunk_id chunk_id_of(struct str tenant, const struct index_chunk *c) {
    return (struct chunk_id){.tenant = tenant,
                             .day = c->day,
                             .stream_id = c->stream_id,
                             .chunk_seq = c->chunk_seq,
                             .pack_seq = c->pack_seq,
                             .pack_offset = c->pack_offset,
                             .size = c->sums.file_bytes,
                             .blocks = c->sums.blocks};
}

/* The name of the file that it stands in. */
int chunk_id_path(const struct chunk_id *id, char out[static CHUNK_PATH_MAX]);
/* Where it stands in it. */
struct chunk_span chunk_id_span(const struct chunk_id *id);

/* The chunk, held until chunk_cache_put. Errors of chunk_open. */
int chunk_cache_get(struct chunk_cache *c, const struct chunk_id *id, struct cached_chunk **ret,
                    struct err *reterr);
void chunk_cache_put(struct chunk_cache *c, struct cached_chunk *held);
/* The same of one that will hardly be needed again: closed, unless somebody else holds it. */
void chunk_cache_drop(struct chunk_cache *c, struct cached_chunk *held);
/* chunk_cache_get in two steps, for who opens many: *ret is the chunk, held, if it is there already or can be without
 * waiting for the disk. Else it is NULL and the disk has begun to read what the second step looks at. Returns a descriptor
 * of the file, which is the caller's, or a negative number: the chunk was there, or there is nothing to go on with. */
int chunk_cache_begin(struct chunk_cache *c, const struct chunk_id *id, struct cached_chunk **ret);
int chunk_cache_get_begun(struct chunk_cache *c, const struct chunk_id *id, int fd,
                          struct cached_chunk **ret, struct err *reterr);
const struct chunk *cached_chunk_get(const struct cached_chunk *held);
/* 0: it has a file of its own. */
uint64_t cached_chunk_pack(const struct cached_chunk *held);
const char *cached_chunk_path(const struct cached_chunk *held);

/* A descriptor of its file, open as long as the chunk is held: -1 when none is kept. To keep: takes over a descriptor that
 * has been opened for reading, when it has a file of its own and there is room: for CHUNK_FILES_MAX, or an eighth of what
 * the process may open. Each saves opening and closing, 5 us. What is kept is closed with the chunk, or for another one. */
enum { CHUNK_FILES_MAX = 512 };
int cached_chunk_fd(const struct cached_chunk *held);
bool cached_chunk_keep_fd(struct cached_chunk *held, int fd);

/* Rollups of its blocks, once read and found right, stay with the chunk as long as it is open: a volume is asked for
 * again and again, and they are some hundred bytes a block. `offset`: of the section in the block, whose raw bytes they
 * are. Find: without data when there is none; valid as long as the chunk is held. */
struct str cached_chunk_rollup(const struct cached_chunk *held, uint32_t block, uint32_t offset);
void cached_chunk_keep_rollup(struct cached_chunk *held, uint32_t block, uint32_t offset,
                              struct str raw);

/* Where readers put its blocks aside, of all chunks together at most a CHUNK_SHELF_SHARE of the cache's budget, besides it.
 * NULL without memory. */
enum { CHUNK_SHELF_SHARE = 8 };
struct shelf_row *cached_chunk_shelf(struct cached_chunk *held);
void chunk_cache_shelf_stats(struct chunk_cache *c, uint64_t *ret_bytes, uint64_t *ret_count);

/* The file is gone: forget it as soon as nobody holds it. */
void chunk_cache_forget(struct chunk_cache *c, uint64_t stream_id, uint64_t chunk_seq);
void chunk_cache_stats(struct chunk_cache *c, uint64_t *ret_bytes, uint64_t *ret_count);
