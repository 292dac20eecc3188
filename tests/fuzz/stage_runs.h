/* stage_runs: pipelines of one parser stage for fuzz targets: each runs over every input. */
#pragma once

#include <stdlib.h>

#include "pipeline.h"

/* The sets of labels that a run has seen stay with it: it is given up now and then. */
enum { STAGE_RUNS_MAX = 3, STAGE_RUN_LINES_MAX = 20000 };

struct stage_runs {
    const struct stage *stages[STAGE_RUNS_MAX]; /* the last one wants some labels alone */
    int count;
    struct pipeline *pipelines[STAGE_RUNS_MAX];
    struct pipeline_run *runs[STAGE_RUNS_MAX];
    size_t n_lines;
};

/* A filter on one of the labels, for what stands behind a parser. */
static inline struct stage *stage_runs_filter(void) {
    static struct label_filter filter = {
        .kind = FILTER_NUMBER,
        .name = {"a", 1},
        .compare = CMP_GT,
        .number = 1,
    };
    static struct stage stage = {.kind = STAGE_LABEL_FILTER, .filter = &filter};
    return &stage;
}

static inline void stage_runs_open(struct stage_runs *s) {
    static const struct str names[] = {{"a_b", 3}, {"_1", 2}, {"app_extracted", 13}};
    static const struct label stream[] = {{{"app", 3}, {"x", 1}}};
    for (int i = 0; i < s->count; i++) {
        struct pipeline_options o = {.needs.all = true};
        if (i == s->count - 1)
            o = (struct pipeline_options){.needs = {.names = names, .count = 3}};
        pipeline_run_free(s->runs[i]);
        pipeline_free(s->pipelines[i]);
        if (pipeline_compile(s->stages[i], &o, &s->pipelines[i], NULL) < 0)
            abort();
        s->runs[i] = pipeline_run_new(s->pipelines[i]);
        pipeline_run_stream(s->runs[i], (struct labels){.items = stream, .count = 1});
    }
}

static inline void stage_runs_line(struct stage_runs *s, struct str line) {
    if (s->n_lines++ % STAGE_RUN_LINES_MAX == 0)
        stage_runs_open(s);
    for (int i = 0; i < s->count; i++) {
        struct pipeline_line in = {.line = line};
        struct pipeline_output out;
        if (!pipeline_run_line(s->runs[i], &in, &out))
            continue;
        const struct line_labels *l = pipeline_run_labels(s->runs[i]);
        if (!l || l != pipeline_run_labels(s->runs[i]))
            abort();
    }
}
