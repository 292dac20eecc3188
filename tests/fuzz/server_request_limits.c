/* The header X-Loki-Query-Limits. */
#include "request_limits.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = arena_make(1 << 16);
    struct limits limits;
    struct err err;
    (void)request_limits_parse(str_make((const char *)data, size), &arena, &limits, &err);
    arena_done(&arena);
    return 0;
}
