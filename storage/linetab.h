/* linetab: the lines of a block as a table. Lines of one make are told apart into what they share (their template) and
 * slots; each slot becomes a column, typed and packed; values that have parts of their own are split again. Every byte
 * comes back as it was. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "str.h"

enum { LINETAB_TEXT_MAX = 4 << 20 };

struct linetab_encoder;
struct linetab_encoder *linetab_encoder_new(void);
void linetab_encoder_free(struct linetab_encoder *e);

/* Appends the encoded lines to `out`. `offsets` has count + 1 elements, line i is [offsets[i], offsets[i + 1] - 1) of
 * text. Returns 1 when done, 0 when it does not pay (nothing is appended), -ENOMEM. */
int linetab_encode(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                   uint32_t count, struct buf *out);

struct linetab;
struct linetab *linetab_new(void);
void linetab_free(struct linetab *t);

/* Reads the plan of `encoded`, which must stay. -ECORRUPT, -ENOMEM. */
int linetab_open(struct linetab *t, struct str encoded, uint32_t count, struct err *reterr);

enum { LINETAB_SLACK = 64 };
/* All lines, each followed by '\n', into `out`, which has room for `size` bytes and LINETAB_SLACK. */
int linetab_lines(struct linetab *t, char *out, size_t size, struct err *reterr);
