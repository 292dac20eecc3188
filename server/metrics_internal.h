/* metrics_internal: what the files of metrics share. */
#pragma once

#include "buf.h"

struct figure {
    const char *name, *type, *help;
    double value;
};

void metrics_write_help(struct buf *out, const char *name, const char *type, const char *help);
void metrics_write_figures(struct buf *out, const struct figure *figures, size_t count);
/* metrics_process.c */
void metrics_write_process(struct buf *out);
