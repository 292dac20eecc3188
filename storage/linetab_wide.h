/* linetab_wide: the encoder once more, for processors with AVX2, BMI and BMI2. meson compiles the same sources with
 * these instructions and with this header before everything else, which gives what they share other names; the encoder
 * asks the processor before it calls. Both write the same bytes. */
#pragma once

#ifdef LINETAB_WIDE
#define column_analyse column_analyse_wide
#define column_put column_put_wide
#define encode_lines encode_lines_wide
#define fresh_column fresh_column_wide
#define fresh_piece fresh_piece_wide
#define ids_put ids_put_wide
#define linetab_equals linetab_equals_wide
#define numbers_cost numbers_cost_wide
#define numbers_put numbers_put_wide
#define plan_put_bytes plan_put_bytes_wide
#define plan_put_varint plan_put_varint_wide
#define split_piece split_piece_wide
#define splitter_init splitter_init_wide
#define table_put table_put_wide
#define text_marks_done text_marks_done_wide
#define text_marks_load text_marks_load_wide
#else
#include <stdint.h>

#include "buf.h"
#include "str.h"

struct linetab_encoder;
int encode_lines_wide(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                      uint32_t count, struct buf *out);
#endif
