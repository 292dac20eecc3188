/* linetab_reader: the decoder's columns. Reading the plan makes the tree of columns; values are unpacked at first
 * use. Shared by the parts of the decoder. */
#pragma once

#include "arena.h"
#include "err.h"
#include "linetab.h"
#include "linetab_format.h"

struct table;
struct group_fields;

/* What writing a row looks at comes first. */
struct column {
    enum linetab_kind kind;
    uint8_t flags, digits;
    char between, point; /* COLUMN_TIME */
    bool loaded, delta;
    const uint8_t *packed; /* numbers, hex, ids */
    const char *text;      /* COLUMN_TEXT */
    uint64_t *numbers;     /* COLUMN_NUMBER, _IP, _TIME; COLUMN_TEXT: offsets, n + 1 */
    uint32_t *ids;
    struct str *cells; /* COLUMN_DICT, _SHARED: the values as text, each followed by `after` */
    struct table *table;
    uint32_t n;
    uint32_t value_max; /* bytes of the longest value, once loaded */
    uint8_t id_width;   /* COLUMN_DICT, or IDS_IN_PLAN */
    uint64_t base;
    const uint8_t *packed_end;
    uint32_t text_size;
    uint32_t n_distinct;
    struct column *values; /* COLUMN_DICT, _SHARED: one per distinct value */
    struct column *owner;  /* COLUMN_SHARED: whose ids */
    struct str after;
    /* COLUMN_TIME: the text of the second that was written last */
    uint64_t second_number; /* of its first unit */
    int64_t day_second;     /* of its day's first second */
    char second_text[TIME_TEXT_MAX];
};

/* A column and the fixed bytes before it. */
struct slot {
    struct str before;
    struct column *column;
    bool joined; /* the dictionary before has the fixed bytes behind each of its values */
};

struct group {
    uint32_t rows, n_slots;
    uint32_t row_max; /* bytes of the longest row, once loaded */
    struct slot *slots;
    struct str after;
    bool after_joined, loaded;
};

struct table {
    uint32_t n, n_groups;
    bool loaded; /* all columns of all rows */
    uint8_t id_width;
    const uint8_t *packed; /* ids */
    const uint8_t *plan_ids;
    uint8_t *ids;   /* per row its group, 0: odd */
    uint32_t *rank; /* per row its number in its group */
    struct column *odd;
    struct group *groups; /* groups[id - 1] */
};

struct linetab_tools {
    struct arena scratch; /* of answers about the table that is open, until the next is */
    struct buf aside;
    void *zstd;
};

struct linetab {
    struct arena own_arena, *arena; /* which is the other unless it was given */
    struct linetab_tools *tools;
    bool owns_tools;
    struct str plan, text, packed; /* text: empty until it is needed */
    struct str stored_text;
    uint32_t text_size;
    bool text_zstd;
    uint32_t count;
    struct table *root;
    struct group_fields *fields; /* of the root's groups, once asked for (linetab_field.c) */
};

int column_load(struct linetab *t, struct column *c, struct err *reterr);
/* Of a dictionary: one half of it. */
int column_load_ids(struct linetab *t, struct column *c, struct err *reterr);
int column_load_cells(struct linetab *t, struct column *c, struct err *reterr);
int table_load(struct linetab *t, struct table *table, struct err *reterr);
/* Which group each row belongs to, nothing else. */
int table_load_ids(struct linetab *t, struct table *table, struct err *reterr);
/* Everything that rows of the group need. */
int group_load(struct linetab *t, struct group *g, struct err *reterr);

/* COLUMN_TIME, once its numbers are there. */
void column_start_time(struct column *c);
/* Writes the text of the second that `number` lies in. */
void column_set_second(struct column *c, uint64_t number);
/* Writes row `row` of a column that is loaded; there is room for value_max and LINETAB_SLACK bytes. */
char *column_write(struct column *c, uint32_t row, char *out);
