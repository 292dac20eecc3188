/* The json stage over arbitrary lines: all fields, then some fields and a filter. */
#include "stage_runs.h"

static struct stage all = {.kind = STAGE_JSON}, some = {.kind = STAGE_JSON};
static struct stage_runs runs = {.stages = {&all, &some}, .count = 2};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    some.next = stage_runs_filter();
    stage_runs_line(&runs, str_make((const char *)data, size));
    return 0;
}
