/* The file of positions: whatever its bytes, what is taken is sorted, found, and names a tenant and labels. The first byte
 * chooses whether size and checksum are put right. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "hash.h"
#include "positions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct positions *p) {
    for (size_t i = 0; i < p->count; i++) {
        const struct position *at = &p->items[i];
        struct arena arena = arena_make(1 << 30);
        struct labels labels;
        if ((i > 0 && p->items[i - 1].stream_id >= at->stream_id) ||
            positions_find(p, at->stream_id) != at || at->tenant.size == 0 ||
            labels_decode(at->labels, &arena, &labels) < 0)
            abort();
        arena_done(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct positions p;
    struct err err;
    if (size < 1)
        return 0;
    size_t n = size - 1;
    uint8_t *copy = malloc(n + 1);
    if (!copy)
        abort();
    memcpy(copy, data + 1, n);
    if (data[0] % 2 && n >= 32) {
        put_le64(copy + 24, n);
        put_le32(copy + 8, (uint32_t)hash64(copy + 12, n - 12));
    }
    if (positions_parse(str_make((const char *)copy, n), &p, &err) == 0) {
        check(&p);
        positions_done(&p);
    }
    free(copy);
    return 0;
}
