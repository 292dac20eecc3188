/* blockref: one block of a snapshot, wherever it lives (open head, sealed in memory, chunk file), and a reader
 * that decodes only the columns that are asked for.
 *
 * A struct block_ref is immutable and belongs to its snapshot; any thread may read it. A struct block_reader
 * belongs to one worker thread and keeps its buffers from block to block; what it returns is valid until the
 * next block_reader_open on it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "gram.h"
#include "patterns.h"

struct block_ref;
struct block_reader;

struct block_ref_info {
    int64_t first_ns, last_ns;
    uint32_t count;
    uint32_t line_bytes;
    uint32_t meta_bytes;
    uint32_t stored_bytes; /* compressed; 0 for an open head */
    bool in_memory;
    /* Some entries may have to be left out (block_reader_dead): another block of the stream covers part of its
     * time range, or some have been asked to vanish. */
    bool may_overlap;
    uint64_t order; /* among the stream's blocks: a later arrival has a larger one */
};
void block_ref_get(const struct block_ref *b, struct block_ref_info *ret);

/* Asks the gram filter. True when there is none. Touches only filter bytes. */
bool block_ref_may_contain(const struct block_ref *b, const struct gram_query *q);
/* Bit n: some line may hold \u00n, see struct block_info. */
uint8_t block_ref_escapes(const struct block_ref *b);
/* May an entry have structured metadata of that name, with that value? `value`: gram_query_add_value of it. Touches no
 * column. */
bool block_ref_may_have_meta(const struct block_ref *b, struct str name,
                             const struct gram_query *value);

struct block_reader *block_reader_new(void);
void block_reader_free(struct block_reader *r);

/* No I/O yet, unless the block overlaps others: then duplicates among them are found first. */
int block_reader_open(struct block_reader *r, const struct block_ref *b, struct err *reterr);
/* The same without looking for duplicates: never any I/O. */
void block_reader_open_raw(struct block_reader *r, const struct block_ref *b);

/* From now on the reader's blocks of chunk files are taken as a reader before it has left them, and left for the next one
 * (block_shelf.h), or not any more. It must then be freed before the snapshot. */
enum block_sharing {
    SHARE_NOT,
    SHARE,
    SHARE_TWICE /* each block is going to be opened once more, soon */
};
void block_reader_share(struct block_reader *r, enum block_sharing sharing);
/* Will what is decoded of the open block be there when it is opened again, as far as can be told? */
bool block_reader_keeps(const struct block_reader *r);
/* Leaves the open block to others. */
void block_reader_leave(struct block_reader *r);

/* Lines will be asked for, and columns, too: one read does for both. */
void block_reader_expect_lines(struct block_reader *r);

/* After a failed call: are the block's bytes in their file damaged, gone or unreadable? The answer then goes on without
 * it. False for want of memory or descriptors, and for blocks in memory: these end the query. */
bool block_ref_is_lost(const struct block_ref *b, int status);

/* All of these decode at first use and cost nothing when called again. -ECORRUPT, -EIO, -ENOENT (the
 * file has gone), -ENOMEM. Arrays have `count` elements (offsets: count + 1). */
int block_reader_times(struct block_reader *r, const int64_t **ret, struct err *reterr);
/* Line i is [offsets[i], offsets[i + 1] - 1): each line is followed by '\n'. Lengths only: no line byte is
 * decoded. */
int block_reader_offsets(struct block_reader *r, const uint32_t **ret, struct err *reterr);
int block_reader_lines(struct block_reader *r, struct str *ret, struct err *reterr);
/* Are the lines a table? Opens it then. 1, 0. */
int block_reader_is_table(struct block_reader *r, struct err *reterr);
/* Blocks whose lines are a table can be searched without being decoded: 1 and per entry a level as linetab_match
 * raises it; 0: this block cannot. */
int block_reader_match(struct block_reader *r, struct str literal, bool fold, uint8_t *levels,
                       struct err *reterr);
int block_reader_match_row(struct block_reader *r, const struct linetab_row *row, uint8_t *levels,
                           struct err *reterr);
/* As linetab_refuse; 1, or 0: this block cannot. */
int block_reader_refuse(struct block_reader *r, enum linetab_form form, struct str key,
                        linetab_refuses *fn, void *ctx, uint8_t *levels, struct err *reterr);
/* As linetab_find_fields: 1, or 0: of no line. Then linetab_has_fields, linetab_fields and
 * linetab_fields_combination. */
int block_reader_find_fields(struct block_reader *r, const struct linetab_question *q,
                             struct err *reterr);
bool block_reader_has_fields(const struct block_reader *r, uint32_t i);
size_t block_reader_fields(struct block_reader *r, uint32_t i, struct linetab_value *ret);
uint32_t block_reader_fields_combination(const struct block_reader *r, uint32_t i);
/* As block_reader_lines, but only the lines whose bit is set need be there, and only their offsets. No lengths are
 * decoded for them. */
int block_reader_some_lines(struct block_reader *r, const uint64_t *wanted, struct str *ret,
                            const uint32_t **ret_offsets, struct err *reterr);
/* All metadata columns, sorted by name. */
int block_reader_meta(struct block_reader *r, const struct meta_column **ret, size_t *ret_count,
                      struct err *reterr);
/* One column; *ret is NULL when the block has no such name. Decodes no other column. */
int block_reader_meta_column(struct block_reader *r, struct str name,
                             const struct meta_column **ret, struct err *reterr);

/* The rollup of an encoded block in which entries are told apart by the one of `names` that the block has (n_names
 * SIZE_MAX: by all that it has); any rollup, its name empty, when it has none of them. 1, 0 when there is none of that kind, or
 * negative. Valid until another column is asked for. */
int block_reader_rollup(struct block_reader *r, const struct str *names, size_t n_names,
                        struct rollup *ret, struct err *reterr);
/* The patterns of the block: those it was written with (none by a server that does not mine), or found now: of what is not
 * encoded yet, and of small blocks. Duplicates count. */
int block_reader_patterns(struct block_reader *r, struct pattern_list *ret, struct err *reterr);

/* The block that is open. */
const struct block_ref *block_reader_block(const struct block_reader *r);

/* The whole encoded block, its checksums looked at. Not for an open head. */
int block_reader_encoded(struct block_reader *r, struct str *ret, struct err *reterr);

/* Bitmap of entries that are duplicates of an entry in an overlapping block, or have been asked to vanish, and must be
 * left out; NULL when there is none:
 * bit i & 63 of word i >> 6. */
const uint64_t *block_reader_dead(const struct block_reader *r);

static inline bool dead_test(const uint64_t *dead, uint32_t i) {
    return dead && (dead[i >> 6] >> (i & 63) & 1);
}
