/* Any bytes as a line: the level is one of the static pairs, and the same when blanks surround the line. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "level.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct str fields[] = {
    {"level", 5}, {"LEVEL", 5}, {"log.level", 9}, {"severity", 8}, {"lvl", 3}};
static const struct limits limits = {.log_level_fields = fields, .n_log_level_fields = 5};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct level_fields made = level_fields_make(&limits);
    const struct label *level = level_of_line(&made, str_make((const char *)data, size));
    assert(level);
    char *wide = malloc(size + 2);
    if (!wide)
        return 0;
    wide[0] = ' ';
    for (size_t i = 0; i < size; i++)
        wide[1 + i] = (char)data[i];
    wide[1 + size] = '\n';
    assert(level_of_line(&made, str_make(wide, size + 2)) == level);
    free(wide);
    return 0;
}
