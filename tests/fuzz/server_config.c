/* The settings file. */
#include "config_keys.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config *c = calloc(1, sizeof(*c));
    if (!c)
        return 0;
    atomic_init(&c->refs, 1);
    c->arena = arena_make(16 << 20);
    struct config_file f = {.config = c, .name = "fuzz"};
    struct err err;
    (void)config_yaml_read(&f, str_make((const char *)data, size), &err);
    config_unref(c);
    return 0;
}
