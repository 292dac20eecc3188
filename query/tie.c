#include "tie.h"

#include <errno.h>
#include <xxhash.h>

int tie_hash(struct labels labels, struct buf *scratch, uint64_t *ret) {
    buf_clear(scratch);
    for (size_t i = 0; i < labels.count; i++) {
        buf_add_str(scratch, labels.items[i].name);
        buf_add_char(scratch, '\xff');
        buf_add_str(scratch, labels.items[i].value);
        buf_add_char(scratch, '\xff');
    }
    if (scratch->failed)
        return -ENOMEM;
    *ret = XXH64(scratch->data, scratch->size, 0);
    return 0;
}
