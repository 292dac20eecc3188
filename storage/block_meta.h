/* block_meta: turns the metadata sets of a block into columns, one per name, each with a dictionary of its
 * distinct values and one id per entry. Part of the encoder; the decoder of a column is in block.c. One
 * thread at a time. */
#pragma once

#include "block.h"
#include "buf.h"

struct meta_builder;
struct meta_builder *meta_builder_new(void);
void meta_builder_free(struct meta_builder *b);

/* Gathers the columns of `in`. Names and values are borrowed until the next call. 0, -ENOMEM, -E2BIG (too
 * many names, or ids that do not fit). `ret_bytes`: sizes of names and values over all entries. */
int meta_builder_load(struct meta_builder *b, const struct block_input *in, uint64_t *ret_bytes);

/* The columns, in the order of their names. */
uint32_t meta_builder_count(const struct meta_builder *b);

/* Distinct values, over all columns, and the hash of each with its name (block_meta_hash). */
size_t meta_builder_values(const struct meta_builder *b);
uint64_t meta_builder_hash(const struct meta_builder *b, size_t i);

/* The column's name and values, when it has at most `max` values; else false. */
bool meta_builder_small(const struct meta_builder *b, uint32_t i, uint32_t max,
                        struct str *ret_name, struct str *ret_values, uint32_t *ret_count);
/* Its value ids by entry, as they stand in `in`; for a column that is small. */
void meta_builder_ids(struct meta_builder *b, uint32_t i, const struct block_input *in,
                      uint8_t *ret_ids);

/* Appends the raw bytes of column `i` to `out` and gives its key; 0 or buf_reserve's error. `order[k]` is the
 * input's index of the block's k-th entry; NULL when they are the same. */
int meta_builder_write(struct meta_builder *b, uint32_t i, const struct block_input *in,
                       const uint32_t *order, struct buf *out, uint32_t *ret_key);
