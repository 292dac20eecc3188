/* Any bytes as a protobuf push: decoded or refused with a text; decoded strings lie in the body. */
#include <stddef.h>
#include <stdint.h>

#include "decoded_check.h"
#include "push_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = arena_make(8 << 20);
    struct decoded_push d;
    decoded_push_init(&d, &arena);
    struct err err = {0};
    int r = push_proto_decode(str_make((const char *)data, size), &d, &err);
    decoded_check(&d, r, &err);
    arena_done(&arena);
    return 0;
}
