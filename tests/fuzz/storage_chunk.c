/* chunk_open on an arbitrary file. */
#include <stdlib.h>

#include "bytes.h"
#include "chunk.h"
#include "hash.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses whether checksums of header, footer and trailer are put right. */
static void repair(uint8_t *p, size_t size) {
    if (size < 64 + 48)
        return;
    uint8_t *footer = p + size - 48;
    uint32_t header_size = get_le32(p + 12), trailer_size = get_le32(footer + 24);
    uint64_t trailer = get_le64(footer + 8);
    if (header_size >= 64 && header_size <= size)
        put_le32(p + 8, (uint32_t)hash64(p + 12, header_size - 12));
    if (trailer <= size && trailer_size <= size - trailer)
        put_le32(footer + 28, (uint32_t)hash64(p + trailer, trailer_size));
    put_le64(footer + 16, size);
    put_le32(footer + 32, (uint32_t)hash64(footer, 32));
}

/* All ways of asking give one answer. */
static void ask(const struct chunk *c) {
    uint64_t alive[CHUNK_BLOCKS_MAX / 64];
    struct gram_query q;
    struct buf filter = buf_make(GRAM_FILTER_MAX_BYTES + GRAM_FILTER_HEADER);
    gram_query_init(&q, STR("a needle with 0123 and abc"), false);
    memset(alive, 0, sizeof(alive));
    for (uint32_t i = 0; i < chunk_block_count(c); i++)
        alive[i / 64] |= (uint64_t)1 << i % 64;
    (void)filters_expect(chunk_filters(c), &q);
    (void)filters_narrow(chunk_filters(c), &q, alive);
    for (uint32_t i = 0; i < chunk_block_count(c); i++) {
        bool may = filters_may_contain(chunk_filters(c), i, &q);
        if (may != (alive[i / 64] >> i % 64 & 1))
            abort();
        if (filters_take(chunk_filters(c), i, &filter) &&
            gram_may_contain((const uint8_t *)filter.data, filter.size, &q) != may)
            abort();
    }
    buf_done(&filter);
}

static void look_at(const struct chunk *c, size_t file_size) {
    volatile char last = 0;
    if (chunk_block_count(c) == 0 || chunk_get_sums(c)->file_bytes != file_size)
        abort();
    for (uint32_t i = 0; i < chunk_block_count(c); i++) {
        const struct block_info *info = chunk_block_info(c, i);
        if (chunk_block_offset(c, i) + info->stored_size > file_size)
            abort();
    }
    ask(c);
    const struct chunk_head *head = chunk_get_head(c);
    for (size_t i = 0; i < head->labels.count; i++) {
        if (head->labels.items[i].value.size > 0)
            last = head->labels.items[i].value.data[0];
    }
    (void)last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct memory_file f = memory_file_make(data, size, repair);
    struct chunk *c = NULL;
    struct err err;
    if (chunk_open(-1, f.path, &c, &err) == 0)
        look_at(c, f.size);
    chunk_close(c);
    memory_file_done(&f);
    return 0;
}
