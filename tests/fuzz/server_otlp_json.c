/* Any bytes as an OTLP request in JSON: decoded or refused with a text; label texts parse. */
#include <stddef.h>
#include <stdint.h>

#include "decoded_check.h"
#include "otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = arena_make(8 << 20);
    struct decoded_push d;
    decoded_push_init(&d, &arena);
    struct err err = {0};
    struct otlp_options options = {.now_ns = 1, .labels_max = 3};
    int r = otlp_json_decode(str_make((const char *)data, size), &options, &d, &err);
    decoded_check(&d, r, &err);
    if (r == 0)
        decoded_check_texts(&d);
    arena_done(&arena);
    return 0;
}
