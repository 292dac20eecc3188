/* Header and all section decoders on arbitrary bytes. The first byte chooses whether checksums are put right before
 * decoding: a mutation would hardly ever get past them. */
#include <stdlib.h>

#include "block.h"
#include "bytes.h"
#include "gram.h"
#include "hash.h"

enum { ARENA_MAX = 4 << 20, RAW_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes all checksums right as far as the table lets them be found. */
static void repair(uint8_t *p, size_t size) {
    if (size < BLOCK_HEADER_FIXED)
        return;
    size_t n = get_le16(p + 12);
    if (BLOCK_HEADER_FIXED + n * BLOCK_SECTION_SIZE > size)
        return;
    memcpy(p, "LQBLOCK1", 8);
    for (size_t i = 0; i < n; i++) {
        uint8_t *row = p + BLOCK_HEADER_FIXED + i * BLOCK_SECTION_SIZE;
        uint32_t offset = get_le32(row + 8), stored = get_le32(row + 12);
        if (offset <= size && stored <= size - offset)
            put_le32(row + 20, (uint32_t)hash64(p + offset, stored));
    }
    put_le32(p + 8, (uint32_t)hash64(p + 12, BLOCK_HEADER_FIXED + n * BLOCK_SECTION_SIZE - 12));
}

static void check_meta(const struct block_info *info, const struct meta_column *c) {
    for (uint32_t i = 0; i < info->count; i++) {
        if (c->ids[i] > c->n_values)
            abort();
    }
    volatile char last = 0;
    for (uint32_t i = 0; i < c->n_values; i++) {
        if (c->values[i].size > 0)
            last = c->values[i].data[c->values[i].size - 1];
    }
    (void)last;
}

static void decode(const struct block_info *info, const struct section *s, struct str stored,
                   struct arena *arena) {
    struct buf scratch = buf_make(RAW_MAX);
    struct meta_column c;
    struct err err;
    int64_t *times = malloc(info->count * sizeof(*times));
    uint32_t *offsets = malloc((info->count + 1) * sizeof(*offsets));
    if (times && block_decode_times(info, s, stored, &scratch, times, &err) == 0) {
        for (uint32_t i = 1; i < info->count; i++) {
            if (times[i] < times[i - 1])
                abort();
        }
        if (times[0] != info->first_ns || times[info->count - 1] != info->last_ns)
            abort();
    }
    if (offsets && block_decode_lengths(info, s, stored, &scratch, offsets, &err) == 0) {
        if (offsets[0] != 0 || offsets[info->count] != info->line_bytes + info->count)
            abort();
    }
    if (block_decode_meta(info, s, stored, arena, &c, &err) == 0)
        check_meta(info, &c);
    struct rollup rollup;
    struct rollup_row row;
    struct str raw;
    if (block_decode_rollup(info, s, stored, &scratch, &raw, &rollup, &err) == 0) {
        while (rollup_next(&rollup, &row))
            if (row.entries[0] > info->count)
                abort();
    }
    if (s->raw_size <= RAW_MAX) {
        char *lines = malloc(s->raw_size > 0 ? s->raw_size : 1);
        if (lines && s->kind == SECTION_LINES)
            (void)block_decode_lines(info, s, stored, NULL, lines, &err);
        free(lines);
    }
    free(times);
    free(offsets);
    buf_done(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    uint8_t *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 1)
        repair(copy, size - 1);
    struct str bytes = str_make((const char *)copy, size - 1);
    struct arena arena = arena_make(ARENA_MAX);
    struct block_info info;
    struct gram_query q;
    struct err err;
    gram_query_init(&q, STR("some needle"), false);
    (void)gram_may_contain(copy, size - 1, &q);
    if (block_parse_header(bytes, &arena, &info, &err) == 0 && info.stored_size <= bytes.size) {
        for (uint32_t i = 0; i < info.n_sections; i++) {
            const struct section *s = &info.sections[i];
            decode(&info, s, str_make(bytes.data + s->offset, s->stored_size), &arena);
        }
    }
    arena_done(&arena);
    free(copy);
    return 0;
}
