/* erasure: a language for delete requests without LogQL: a query is "<app>" or "<app> <needle>". */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "deletes.h"

struct erasure_query {
    char app[16], needle[16];
};

static inline int erasure_compile(struct str text, void **ret, struct err *reterr) {
    struct erasure_query *q = calloc(1, sizeof(*q));
    char copy[40];
    (void)snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    if (!q || sscanf(copy, "%15s %15s", q->app, q->needle) < 1) {
        free(q);
        return err_set(reterr, -ESYNTAX, "no query");
    }
    *ret = q;
    return 0;
}

static inline bool erasure_has_filter(const void *compiled) {
    return ((const struct erasure_query *)compiled)->needle[0] != '\0';
}

static inline bool erasure_accepts(const void *compiled, struct labels labels) {
    const struct erasure_query *q = compiled;
    return str_eq(labels_get(labels, STR("app")), str_from(q->app));
}

static inline int erasure_mark(const void *compiled, struct labels labels, int64_t start_ns,
                               int64_t end_ns, struct block_reader *r,
                               const struct block_ref_info *info, uint64_t *bits,
                               struct err *reterr) {
    const struct erasure_query *q = compiled;
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

static const struct delete_language erasure_language = {.compile = erasure_compile,
                                                        .release = free,
                                                        .has_filter = erasure_has_filter,
                                                        .accepts = erasure_accepts,
                                                        .mark = erasure_mark};
