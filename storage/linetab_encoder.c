/* An encoder's life, and which of its two compilations does the work: what splits lines, types columns and compares is
 * compiled once more for processors with AVX2 and BMI2 (linetab_wide.h). */
#include <stdlib.h>

#include <zstd.h>

#include "linetab_encoder.h"
#include "linetab_wide.h"

enum { FRESH_MAX = 16 << 20 }; /* bytes of spans: where there were more, they would save nothing */

struct linetab_encoder *linetab_encoder_new(void) {
    struct linetab_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->plan = e->text = e->packed = buf_make(4 * (size_t)LINETAB_TEXT_MAX);
    e->fresh = buf_make(FRESH_MAX);
    e->shape_mask = UINT64_MAX;
#ifdef __x86_64__
    e->avx2 = __builtin_cpu_supports("avx2");
    e->wide = e->avx2 && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#endif
    e->zstd = ZSTD_createCCtx();
    e->reader = linetab_new();
    if (!e->zstd || !e->reader) {
        linetab_encoder_free(e);
        return NULL;
    }
    return e;
}

void linetab_encoder_free(struct linetab_encoder *e) {
    if (!e)
        return;
    text_marks_done(&e->marks);
    buf_done(&e->plan);
    buf_done(&e->text);
    buf_done(&e->packed);
    buf_done(&e->fresh);
    linetab_free(e->reader);
    ZSTD_freeCCtx(e->zstd);
    free(e->slots);
    free(e->scratch);
    free(e);
}

int linetab_encode(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                   uint32_t count, struct buf *out) {
#ifdef __x86_64__
    if (e->wide)
        return encode_lines_wide(e, text, offsets, count, out);
#endif
    return encode_lines(e, text, offsets, count, out);
}

const struct gram_span *linetab_encoder_fresh(const struct linetab_encoder *e, uint32_t *ret_n) {
    *ret_n = e->fresh.failed ? 0 : (uint32_t)(e->fresh.size / sizeof(struct gram_span));
    return (const struct gram_span *)(const void *)e->fresh.data;
}

uint64_t linetab_encoder_mismatches(const struct linetab_encoder *e) {
    return e->mismatches;
}

void linetab_encoder_confuse(struct linetab_encoder *e) {
    e->shape_mask = 0;
}

void linetab_encoder_narrow(struct linetab_encoder *e) {
    e->wide = false;
}
