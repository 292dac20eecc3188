/* The first byte picks the encoding, the rest is the body: the output stays within the cap. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    enum { OUTPUT_MAX = 100000 };
    struct buf out = buf_make(OUTPUT_MAX);
    struct err err = {0};
    enum encoding e = (enum encoding)(data[0] % (ENC_SNAPPY + 1));
    int r = inflate_body(e, str_make((const char *)data + 1, size - 1), &out, &err);
    assert(r == 0 || r == -ESYNTAX || r == -ENODATA || r == -E2BIG || r == -ENOMEM);
    assert((r == 0) == (err.text[0] == '\0'));
    assert(out.size <= OUTPUT_MAX && out.capacity <= OUTPUT_MAX);
    buf_done(&out);
    return 0;
}
