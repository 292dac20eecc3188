/* linetab: the lines of a block as a table. Lines of one make are told apart into what they share (their template) and
 * slots; each slot becomes a column, typed and packed; values that have parts of their own are split again. Every byte
 * comes back as it was. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "str.h"

enum { LINETAB_TEXT_MAX = 4 << 20 };

struct linetab_encoder;
struct linetab_encoder *linetab_encoder_new(void);
void linetab_encoder_free(struct linetab_encoder *e);

/* Appends the encoded lines to `out`. LINETAB_SLACK bytes can be read behind the text. `offsets` has count + 1 elements,
 * line i is [offsets[i], offsets[i + 1] - 1) of text. Returns 1 when done, 0 when it does not pay (nothing is appended),
 * -ENOMEM. */
int linetab_encode(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                   uint32_t count, struct buf *out);

/* After linetab_encode returned 1: spans of the text such that any gram within a line (four bytes, or LINETAB_RUN where
 * one of the four is a digit) has an equal one within a line that begins in a span, for gram_build_spans. In no order, until
 * the next call; 0: not known. */
enum { LINETAB_RUN = 5 };
struct gram_span;
const struct gram_span *linetab_encoder_fresh(const struct linetab_encoder *e, uint32_t *ret_n);

/* Blocks that did not come back as they were, and were refused for it: 0, or there is an error in this module. */
uint64_t linetab_encoder_mismatches(const struct linetab_encoder *e);

/* For tests: lines of all makes have the same hash from now on. */
void linetab_encoder_confuse(struct linetab_encoder *e);
/* For tests: uses what was compiled for all processors; the bytes are the same. */
void linetab_encoder_narrow(struct linetab_encoder *e);

/* What a table needs while it is asked, and not between: many that are open can share it, for one thread at a time. */
struct linetab_tools;
struct linetab_tools *linetab_tools_new(void);
void linetab_tools_free(struct linetab_tools *tools);

struct linetab;
struct linetab *linetab_new(void); /* with tools of its own */
struct linetab *linetab_new_with(struct linetab_tools *tools);
/* For one block only, in the caller's arena: what is decoded goes when that does. */
struct linetab *linetab_new_in(struct linetab_tools *tools, struct arena *arena);
void linetab_free(struct linetab *t);

/* Reads the plan of `encoded`, which must stay. -ECORRUPT, -ENOMEM. */
int linetab_open(struct linetab *t, struct str encoded, uint32_t count, struct err *reterr);
/* Goes on with a table that was opened with other tools, perhaps by another thread: columns that are unpacked stay so. */
void linetab_resume(struct linetab *t, struct linetab_tools *tools);
/* Memory that it holds, without tools, and without what is in the caller's arena. */
size_t linetab_cost_bytes(const struct linetab *t);

enum { LINETAB_SLACK = 64 }; /* readable bytes that linetab_encode needs behind its text */

/* All lines, each followed by '\n', into `out`; they must be `size` bytes. */
int linetab_lines(struct linetab *t, char *out, size_t size, struct err *reterr);

/* Does the table say these lines? `text` and `offsets` as for linetab_encode, with its slack. 1, 0, or an error. */
int linetab_equals(struct linetab *t, struct str text, const uint32_t *offsets, struct err *reterr);

/* The lines whose bit is set in `wanted` (bit i & 63 of word i >> 6) one behind the other, each followed by '\n', into
 * `out`, which has room for `size` bytes: as many as all lines have. Line i of them is
 * [ret_offsets[i], ret_offsets[i + 1] - 1) of it; of the count + 1 offsets the others stay as they are. */
int linetab_rows(struct linetab *t, const uint64_t *wanted, char *out, size_t size,
                 uint32_t *ret_offsets, struct err *reterr);

/* Which lines have the literal in them, with `fold` in any ASCII case, told from the table's parts without writing lines.
 * Raises levels[i] for each of the `count` lines that may (LINETAB_MAYBE) or does (LINETAB_YES) hold it. */
enum linetab_level { LINETAB_NO, LINETAB_MAYBE, LINETAB_YES };
enum { LINETAB_LITERAL_MAX = 256 }; /* of a longer one nothing is told: all lines may hold it */
int linetab_match(struct linetab *t, struct str literal, bool fold, uint8_t *levels,
                  struct err *reterr);

/* The same for a row of bytes, each from a set. */
enum { LINETAB_ROW_MAX = 64 };
struct linetab_row {
    uint32_t size;           /* 2 to LINETAB_ROW_MAX */
    const uint64_t *allowed; /* 256 words; bit i: the byte may stand at place i */
    struct str fixed;        /* a stretch where only one byte may stand; may be empty */
    uint32_t fixed_at;
};
int linetab_match_row(struct linetab *t, const struct linetab_row *row, uint8_t *levels,
                      struct err *reterr);

/* Of lines that are JSON objects, or logfmt: which have a field `key` (outermost; the first) whose value is refused. Sets
 * levels[i] to LINETAB_NO for these and leaves the others as they are: told from templates and columns, and only where
 * that is certain. The value of a string comes without its quotes, escapes as they are. */
enum linetab_form { FORM_JSON, FORM_LOGFMT };
typedef bool linetab_refuses(void *ctx, struct str value, bool quoted);
int linetab_refuse(struct linetab *t, enum linetab_form form, struct str key, linetab_refuses *fn,
                   void *ctx, uint8_t *levels, struct err *reterr);

/* Fields of such lines without the lines. Which ones is asked for each field of a template once, by the keys that lead to
 * it (as written, the outermost first): the number of what is wanted, below n_wanted, or one of two others. */
enum {
    LINETAB_UNWANTED = 1 << 30,
    LINETAB_UNSURE, /* then nothing is known of these lines */
    LINETAB_FIELDS_MAX = 32
};
struct linetab_question {
    enum linetab_form form;
    uint32_t (*wanted)(void *ctx, const struct str *path, size_t depth);
    void *ctx;
    uint32_t n_wanted; /* at most LINETAB_FIELDS_MAX */
    bool until_found;  /* the reader of a JSON line stops when it has one of each */
    /* It looks for the first value at each path, null, objects and arrays too. */
    bool by_path;
};
struct linetab_value {
    uint32_t number;
    bool quoted;
    struct str text; /* without quotes, escapes as they are */
};
/* 1: of some lines the fields are known for certain; 0: of none. */
int linetab_find_fields(struct linetab *t, const struct linetab_question *q, struct err *reterr);
/* After that: is line i one of them? */
bool linetab_has_fields(const struct linetab *t, uint32_t i);
/* Then its fields in the order in which a reader meets them, without those that are null: their number, at most
 * LINETAB_FIELDS_MAX. The texts are valid until the next call. */
size_t linetab_fields(struct linetab *t, uint32_t i, struct linetab_value *ret);
/* Lines with the same number here have the same fields; it is below LINETAB_COMBINATIONS_MAX, or LINETAB_UNWANTED: too many
 * of them, or values that are in no dictionary. */
enum { LINETAB_COMBINATIONS_MAX = 4096 };
uint32_t linetab_fields_combination(const struct linetab *t, uint32_t i);
