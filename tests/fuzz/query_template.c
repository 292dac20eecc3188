/* Templates as line_format and label_format: what stands before "\n---\n" is the template, what follows it the line. */
#include <stdint.h>
#include <stdlib.h>

#include "pipeline.h"

static const struct label stream_items[] = {
    {{"app", 3}, {"api", 3}},
    {{"json", 4}, {"{\"a\":[1,\"x\",null,{\"b\":true}]}", 30}},
    {{"n", 1}, {"-12.5", 5}},
    {{"t", 1}, {"2026-01-05T10:59:48Z", 20}},
};

static void run(const struct stage *stage, struct str line) {
    struct pipeline_options o = {.needs.all = true};
    struct pipeline *p;
    if (pipeline_compile(stage, &o, &p, NULL) < 0)
        return;
    struct pipeline_run *r = pipeline_run_new(p);
    if (!r)
        abort();
    pipeline_run_stream(r, (struct labels){.items = stream_items, .count = 4});
    struct pipeline_line in = {.line = line, .ts_ns = INT64_C(1767610788295001007)};
    struct pipeline_output out;
    for (int i = 0; i < 2; i++) {
        if (!pipeline_run_line(r, &in, &out))
            abort(); /* templates drop no line */
        const struct line_labels *l = pipeline_run_labels(r);
        if (!l)
            abort();
        /* Read everything, for the sanitizers. */
        size_t sum = 0;
        for (size_t k = 0; k < out.line.size; k++)
            sum += (unsigned char)out.line.data[k];
        for (size_t k = 0; k < l->merged.count; k++)
            sum += l->merged.items[k].value.size;
        if (sum == SIZE_MAX)
            abort();
    }
    pipeline_run_free(r);
    pipeline_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096)
        return 0;
    struct str text = {(const char *)data, size}, line = {"", 0};
    const char *mark = str_find(text, (struct str){"\n---\n", 5});
    if (mark) {
        line = str_from_offset(text, (size_t)(mark - text.data) + 5);
        text.size = (size_t)(mark - text.data);
    }
    struct stage stage = {.kind = STAGE_LINE_FORMAT};
    stage.text.text = text;
    run(&stage, line);
    struct label_assign assign = {.name = {"x", 1}, .value = text, .is_template = true};
    struct stage labels = {.kind = STAGE_LABEL_FORMAT, .assigns = &assign};
    run(&labels, line);
    return 0;
}
