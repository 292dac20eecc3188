/* The logfmt stage over arbitrary lines: lenient, strict, and with a few names. */
#include <stdlib.h>

#include "pipeline.h"

/* The sets of labels that a run has seen stay with it: it is given up now and then. */
enum { RUN_LINES_MAX = 20000 };

static struct pipeline_run *runs[3];
static struct pipeline *pipelines[3];
static size_t n_lines;

static void open_runs(void) {
    static struct label_filter filter = {
        .kind = FILTER_NUMBER,
        .name = {"a", 1},
        .compare = CMP_GT,
        .number = 1,
    };
    static struct stage filter_stage = {.kind = STAGE_LABEL_FILTER, .filter = &filter};
    static struct stage all = {.kind = STAGE_LOGFMT},
                        strict = {.kind = STAGE_LOGFMT,
                                  .extract = {.strict = true, .keep_empty = true}},
                        some = {.kind = STAGE_LOGFMT, .next = &filter_stage};
    static const struct str names[] = {{"a_b", 3}, {"_1", 2}, {"app_extracted", 13}};
    static const struct label stream[] = {{{"app", 3}, {"x", 1}}};
    struct pipeline_options o[3] = {
        {.needs.all = true}, {.needs.all = true}, {.needs = {.names = names, .count = 3}}};
    const struct stage *stages[3] = {&all, &strict, &some};
    for (int i = 0; i < 3; i++) {
        pipeline_run_free(runs[i]);
        pipeline_free(pipelines[i]);
        if (pipeline_compile(stages[i], &o[i], &pipelines[i], NULL) < 0)
            abort();
        runs[i] = pipeline_run_new(pipelines[i]);
        pipeline_run_stream(runs[i], (struct labels){.items = stream, .count = 1});
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (n_lines++ % RUN_LINES_MAX == 0)
        open_runs();
    for (int i = 0; i < 3; i++) {
        struct pipeline_line in = {.line = {(const char *)data, size}};
        struct pipeline_output out;
        if (!pipeline_run_line(runs[i], &in, &out))
            continue;
        const struct line_labels *l = pipeline_run_labels(runs[i]);
        if (!l || l != pipeline_run_labels(runs[i]))
            abort();
    }
    return 0;
}
