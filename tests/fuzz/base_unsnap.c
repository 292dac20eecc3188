/* A snappy block: decoded or refused as the library does it, nothing beyond the ends. */
#include <assert.h>
#include <snappy-c.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "unsnap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { OUTPUT_MAX = 1 << 20 };
    struct str block = str_make((const char *)data, size);
    size_t declared = 0, wanted = 0;
    bool known = unsnap_size(block, &declared);
    assert(known == (snappy_uncompressed_length(block.data, size, &wanted) == SNAPPY_OK));
    if (!known || declared > OUTPUT_MAX)
        return 0;
    assert(declared == wanted);
    char *ours = malloc(declared + 1), *theirs = malloc(declared + 1);
    bool fine = unsnap(block, ours, declared);
    assert(fine == (snappy_uncompress(block.data, size, theirs, &wanted) == SNAPPY_OK));
    assert(!fine || memcmp(ours, theirs, declared) == 0);
    free(ours);
    free(theirs);
    return 0;
}
