/* The logfmt stage over arbitrary lines: lenient, strict, and with a few names. */
#include "stage_runs.h"

static struct stage all = {.kind = STAGE_LOGFMT},
                    strict = {.kind = STAGE_LOGFMT,
                              .extract = {.strict = true, .keep_empty = true}},
                    some = {.kind = STAGE_LOGFMT};
static struct stage_runs runs = {.stages = {&all, &strict, &some}, .count = 3};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    some.next = stage_runs_filter();
    stage_runs_line(&runs, str_make((const char *)data, size));
    return 0;
}
