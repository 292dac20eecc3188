#include "erasure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct question {
    char app[16], needle[16];
};

static int compile(struct str text, void **ret, struct err *reterr) {
    struct question *q = calloc(1, sizeof(*q));
    char copy[40];
    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    if (!q || sscanf(copy, "%15s %15s", q->app, q->needle) < 1) {
        free(q);
        return err_set(reterr, -ESYNTAX, "no query");
    }
    *ret = q;
    return 0;
}

static bool has_filter(const void *compiled) {
    return ((const struct question *)compiled)->needle[0] != '\0';
}

static bool accepts(const void *compiled, struct labels labels) {
    const struct question *q = compiled;
    return str_eq(labels_get(labels, STR("app")), str_from(q->app));
}

static int mark(const void *compiled, struct labels labels, int64_t start_ns, int64_t end_ns,
                struct block_reader *r, const struct block_ref_info *info, uint64_t *bits,
                struct err *reterr) {
    const struct question *q = compiled;
    const int64_t *times;
    const uint32_t *offsets;
    struct str lines;
    (void)labels;
    int status = block_reader_times(r, &times, reterr);
    if (status == 0)
        status = block_reader_offsets(r, &offsets, reterr);
    if (status == 0)
        status = block_reader_lines(r, &lines, reterr);
    for (uint32_t i = 0; status == 0 && i < info->count; i++) {
        struct str line = str_make(lines.data + offsets[i], offsets[i + 1] - 1 - offsets[i]);
        if (times[i] >= start_ns && times[i] <= end_ns && str_find(line, str_from(q->needle)))
            bits[i >> 6] |= UINT64_C(1) << (i & 63);
    }
    return status;
}

const struct delete_language erasure_language = {.compile = compile,
                                                 .release = free,
                                                 .has_filter = has_filter,
                                                 .accepts = accepts,
                                                 .mark = mark};
