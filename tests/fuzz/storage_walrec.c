/* A WAL record of a push with arbitrary payload: byte 0 type, byte 1 codec, two bytes raw size, then the payload. */
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "walrec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_define(uint64_t id, struct str tenant, struct labels labels, void *ctx) {
    (void)id;
    uint64_t *sum = ctx;
    for (size_t i = 0; i < tenant.size; i++)
        *sum += (uint8_t)tenant.data[i];
    *sum += labels.count;
    return 0;
}

static int on_entries(uint64_t id, const struct entry *entries, size_t count, void *ctx) {
    (void)id;
    uint64_t *sum = ctx;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].line.size > 0)
            *sum += (uint8_t)entries[i].line.data[0] +
                    (uint8_t)entries[i].line.data[entries[i].line.size - 1];
        for (uint32_t k = 0; k < entries[i].meta_count; k++)
            *sum += entries[i].meta[k].name.size + entries[i].meta[k].value.size;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4)
        return 0;
    struct wal_record record = {
        .type = data[0],
        .codec = data[1],
        .raw_size = get_le16(data + 2),
        .payload = str_make((const char *)data + 4, size - 4),
    };
    struct arena arena = arena_make(64 << 20);
    struct buf scratch = buf_make(64 << 20);
    uint64_t sum = 0;
    struct err err = {0};
    struct walrec_visitor visitor = {.define = on_define, .entries = on_entries, .ctx = &sum};
    int r = walrec_read(&record, &arena, &scratch, &visitor, &err);
    if (r != 0 && r != -ECORRUPT && r != -ENOMEM)
        abort();
    arena_done(&arena);
    buf_done(&scratch);
    return 0;
}
