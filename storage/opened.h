/* opened (private to storage): what has been read and decoded of an encoded block, without its lines: all that stays of it
 * when it is put on the shelf between two queries (block_shelf.h). Columns of blocks that are not encoded yet use the
 * same place. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "block.h"
#include "block_shelf.h"
#include "linetab.h"

/* The literal that was looked for last, and what the table says of it: a search that is asked again asks for the same. */
enum { OPENED_LITERAL_MAX = 48 };
struct opened_answer {
    bool is_known, fold;
    uint8_t size;
    char literal[OPENED_LITERAL_MAX];
    uint64_t *maybe, *yes; /* a bit per line */
};

struct opened {
    struct shelved shelved;
    bool on_shelf; /* it is of one block for good, and all of it is in the arena */
    bool have_times, have_head, have_all_meta, table_open;
    bool reads_lines; /* with the columns that stand before them */
    int64_t *times;
    size_t times_capacity; /* bytes */
    char *head;
    size_t head_capacity;
    uint32_t head_offset;  /* of head's first byte in the encoded block */
    struct linetab *table; /* of the block's lines, when they are one; made at first use */
    struct arena arena;
    struct meta_column
        *columns; /* encoded: one slot per section, .ids NULL = not decoded; rows: all */
    size_t n_columns;
    struct opened_answer answer;
};

/* A reader's own, which it uses for one block after the other. */
void opened_init(struct opened *o);
void opened_done(struct opened *o);
/* Room for so many bytes in `times` or `head`; what is there is lost. 0 or -ENOMEM. */
int opened_reserve(struct opened *o, void **buffer, size_t *capacity_bytes, size_t size);
/* 0 or -ENOMEM: there is a table to be opened. */
int opened_make_table(struct opened *o, struct linetab_tools *tools);
/* Forgets the block, keeps the memory. */
void opened_reset(struct opened *o);

/* Raises levels of the block's lines as linetab_match does. False: the literal was not the last one. */
bool opened_recall(const struct opened *o, uint32_t count, struct str literal, bool fold,
                   uint8_t *levels);
/* `levels`: what linetab_match has made of zeros. */
void opened_remember(struct opened *o, uint32_t count, struct str literal, bool fold,
                     const uint8_t *levels);

/* A block of a chunk whose row on the shelf this is: as it was put there, or, for who is to put one there, empty. NULL:
 * neither, or no memory. `again` as for shelf_take. */
struct opened *opened_take(struct shelf_row *row, uint32_t block, bool again);
/* Puts it back, or, when it is not worth it, frees it. */
void opened_put(struct opened *o, struct shelf_row *row, uint32_t block, bool worth);
