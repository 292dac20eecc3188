/* volume: how many bytes were logged, by labels and over time. Asks block headers, times and
 * line lengths; never touches line bytes. Any thread; the work is done in the calling one. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "err.h"
#include "store.h"
#include "str.h"

enum {
    VOLUME_POINTS_MAX = 1 << 21, /* series times steps of one answer: some 16 MiB of sums */
    VOLUME_TARGETS_MAX = 1000,   /* target labels of one request */
};

enum volume_by {
    VOLUME_BY_SERIES, /* one row per distinct set of the wanted labels */
    VOLUME_BY_LABELS, /* one row per label name, with an empty value */
};

struct volume_query {
    struct str tenant;
    struct str selector; /* "{}" selects everything */
    int64_t start_ns;    /* inclusive */
    int64_t end_ns;      /* exclusive */
    int64_t step_ns;     /* buckets start at multiples of it; 0 = one bucket */
    /* Labels to sum by. None: those that the selector names, and all of them for "{}". */
    const struct str *targets;
    size_t n_targets;
    enum volume_by by;
    uint32_t limit; /* rows of the answer: the largest; in order, over time by their first point */
    uint32_t max_series;       /* more distinct rows are refused; 0 = no limit */
    int64_t deadline_mono_ns;  /* 0 = none */
    const atomic_bool *cancel; /* may be NULL */
};

/* The answer is a vector when no row has more than one point, else a matrix, as Loki has it:
 * points stand one millisecond before the end of their bucket, the last at end_ns. Bytes are
 * those of lines, and a little for metadata as Loki counts it. -ESYNTAX, -EREFUSED, -EEXPIRED,
 * -ECANCELED, -ENOMEM, -EIO, -ECORRUPT. */
int volume_query(struct store *store, const struct volume_query *q, struct query_result **ret,
                 struct err *reterr);
